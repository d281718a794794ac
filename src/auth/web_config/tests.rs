use super::*;

fn read(text: &str) -> Result<WebConfig, String> {
    parse(Path::new("/etc/p/web.yml"), text).map_err(|e| e.to_string())
}

const HASH: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

const TLS: &str = "cert_file: a.crt, key_file: /k/a.key";

fn tls(more: &str) -> Result<Tls, String> {
    read(&format!("tls_server_config: {{{TLS}{more}}}\n")).map(|web| web.tls.unwrap())
}

#[test]
fn an_empty_file_asks_for_nothing() {
    for text in ["", "# nothing yet\n", "tls_server_config:\n", "{}\n"] {
        let web = read(text).unwrap();
        assert!(
            web == WebConfig {
                http2: true,
                ..WebConfig::default()
            },
            "{text:?}"
        );
        assert!(!web.authenticates() && !web.holds_secrets());
    }
    // TLS needs at least one certificate setting.
    let web = read("tls_server_config: {min_version: TLS13}\n").unwrap();
    assert!(web.tls.is_none());
}

#[test]
fn paths_start_at_the_folder_of_the_file() {
    let tls = tls("").unwrap();
    assert!(tls.cert == Pem::File("/etc/p/a.crt".into()));
    assert!(tls.key == Pem::File("/k/a.key".into()));
    assert_eq!(
        (tls.min_version, tls.max_version),
        (Version::Tls12, Version::Tls13)
    );
    assert!(tls.prefer_server_cipher_suites && tls.client_auth == ClientAuth::None);
}

#[test]
fn a_file_takes_precedence_over_inline_text() {
    let text = "tls_server_config: {cert: c, cert_file: f, key: k, key_file: ''}\n";
    let web = read(text).unwrap();
    assert!(web.holds_secrets());
    let tls = web.tls.unwrap();
    assert!(tls.cert == Pem::File("/etc/p/f".into()) && tls.key == Pem::Inline("k".into()));
}

#[test]
fn all_keys_are_read() {
    let web = read(&format!(
        "tls_server_config:
  {TLS_LINES}
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.crt
  client_allowed_sans: [prometheus, 10.0.0.1]
  min_version: TLS13
  max_version: TLS13
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]
  prefer_server_cipher_suites: false
  curve_preferences: [CurveP256, X25519]
http_server_config:
  http2: true
  headers:
    X-Frame-Options: deny
    Content-Security-Policy: ''
    Strict-Transport-Security: max-age=1
basic_auth_users: {{alice: {HASH}}}
rate_limit: {{interval: 10ms, burst: 5}}
",
        TLS_LINES = "cert_file: a\n  key_file: b"
    ))
    .unwrap();
    assert!(web.authenticates() && web.holds_secrets() && web.http2);
    let limit = RateLimit {
        interval: Duration::from_millis(10),
        burst: 5,
    };
    assert_eq!(web.rate_limit, Some(limit));
    let headers: Vec<String> = web
        .headers
        .iter()
        .map(|(n, v)| format!("{n}: {v:?}"))
        .collect();
    assert_eq!(
        headers,
        [
            "x-frame-options: \"deny\"",
            "strict-transport-security: \"max-age=1\""
        ]
    );
    let tls = web.tls.unwrap();
    assert_eq!(tls.client_auth, ClientAuth::RequireAndVerify);
    assert_eq!(tls.curves, ["CurveP256", "X25519"]);
    assert_eq!(tls.min_version, Version::Tls13);
}

#[test]
fn every_type_of_client_authentication_is_known() {
    for (name, auth) in [
        ("NoClientCert", ClientAuth::None),
        ("RequestClientCert", ClientAuth::Request),
        ("RequireAnyClientCert", ClientAuth::RequireAny),
        ("RequireClientCert", ClientAuth::RequireAny),
    ] {
        let found = tls(&format!(", client_auth_type: {name}")).unwrap();
        assert_eq!(found.client_auth, auth);
    }
    let found = tls(", client_auth_type: VerifyClientCertIfGiven, client_ca_file: c").unwrap();
    assert_eq!(found.client_auth, ClientAuth::VerifyIfGiven);
    let web = read(&format!(
        "tls_server_config: {{{TLS}, client_auth_type: VerifyClientCertIfGiven, client_ca_file: c}}\n"
    ));
    assert!(
        !web.unwrap().authenticates(),
        "clients without a certificate are accepted as well"
    );
}

#[test]
#[allow(clippy::too_many_lines)] // a table: one line for each defect
fn errors_have_their_place_and_a_fix() {
    let tls = |more: &str| format!("tls_server_config:\n  {{{TLS}{more}}}\n");
    for (text, message, help) in [
        (
            "user: {}\n".to_owned(),
            "web.yml:1:1: unknown key \"user\"",
            "keys here are",
        ),
        (
            tls(", crt: x"),
            "web.yml:2:42: unknown key \"crt\"",
            "did you mean \"cert\"",
        ),
        (
            tls(", min_version: TLS10"),
            "web.yml:2:55: min_version: TLS 1.0 is insecure",
            "TLS12 or TLS13",
        ),
        (
            tls(", max_version: TLS11"),
            "max_version: TLS 1.1 is insecure",
            "TLS12 or TLS13",
        ),
        (
            tls(", min_version: SSL3"),
            "min_version: unknown TLS version \"SSL3\"",
            "TLS12 or TLS13",
        ),
        (
            tls(", min_version: TLS13, max_version: TLS12"),
            "min_version is above max_version",
            "omit one",
        ),
        (
            tls(", client_ca_file: c"),
            "client_ca is set, but clients are not asked for a certificate",
            "RequireAndVerifyClientCert",
        ),
        (
            tls(", client_auth_type: RequireAndVerifyClientCert"),
            "but no client CA is set",
            "client_ca_file",
        ),
        (
            tls(", client_allowed_sans: [a]"),
            "client_allowed_sans would have no effect",
            "client_auth_type",
        ),
        (
            tls(", client_auth_type: Always"),
            "unknown client_auth_type \"Always\"",
            "NoClientCert, ",
        ),
        (
            tls(", cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]"),
            "TLS_RSA_WITH_AES_128_CBC_SHA\" is not supported",
            "TLS_ECDHE_RSA",
        ),
        (
            tls(", curve_preferences: [CurveP521]"),
            "\"CurveP521\" is not supported",
            "X25519, CurveP256",
        ),
        (
            "tls_server_config: {cert_file: a}\n".to_owned(),
            "neither key_file nor key",
            "key_file: ",
        ),
        (
            "tls_server_config: {client_auth_type: NoClientCert}\n".to_owned(),
            "neither cert_file nor cert",
            "cert_file: ",
        ),
        (
            "http_server_config: {headers: {Server: x}}\n".to_owned(),
            "\"Server\" cannot be set",
            "X-Frame-Options",
        ),
        (
            "http_server_config: {headers: {X-Frame-Options: DENY}}\n".to_owned(),
            "X-Frame-Options cannot be \"DENY\"",
            "deny or sameorigin",
        ),
        (
            "basic_auth_users: {'a:b': x}\n".to_owned(),
            "\"a:b\" cannot be a user's name",
            "colon",
        ),
        (
            "rate_limit: {interval: 5}\n".to_owned(),
            "rate_limit.interval is not a duration",
            "10ms",
        ),
        (
            "rate_limit: {interval: 1s, burst: 0}\n".to_owned(),
            "every request would be rejected",
            "burst: 100",
        ),
    ] {
        let Err(error) = read(&text) else {
            panic!("taken: {text}")
        };
        assert!(error.contains(message), "{error}");
        assert!(error.contains(help), "{error}");
    }
}

#[test]
fn errors_contain_no_secret() {
    for text in [
        "basic_auth_users: {alice: CANARY}\n",
        "basic_auth_users: {alice: CANARY, alice: x}\n",
        "basic_auth_users: CANARY\n",
        "tls_server_config: {key: [CANARY]}\n",
        "tls_server_config: {ky: CANARY}\n",
        "rate_limit: CANARY\n",
    ] {
        let Err(error) = read(text) else {
            panic!("taken: {text}")
        };
        assert!(!error.contains("CANARY"), "{error}");
    }
}
