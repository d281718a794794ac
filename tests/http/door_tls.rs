//! TLS and client certificates, asked by the real curl.

use std::process::Command;

use crate::bench::{Pki, Server, Site, run};

/// A site with an authority, a server's certificate of it for 127.0.0.1, and two clients'.
fn site(more: &str) -> (Site, Pki) {
    let site = Site::new();
    let pki = Pki::new(&site.path("pki"), "authority");
    pki.issue("server", &["127.0.0.1", "localhost"]);
    pki.issue("prom", &["prom.example"]);
    pki.issue("other", &["other.example"]);
    write(&site, more);
    let file = format!("--web.config.file={}", site.path("web.yml").display());
    (site.arg(&file), pki)
}

/// Relative paths start at the file's folder.
fn write(site: &Site, more: &str) {
    site.secret(
        "web.yml",
        &format!(
            "tls_server_config: {{cert_file: pki/server.pem, key_file: pki/server.key{more}}}\n"
        ),
    );
}

fn start(site: &Site) -> Server {
    let server = site.start_only();
    server.wait_for_log("inventory read");
    server
}

/// Options of curl's for a client with this certificate.
fn with(pki: &Pki, name: &str) -> Vec<String> {
    let path = |file: &str| pki.path(file).display().to_string();
    let mut options = vec!["--cacert".to_owned(), path("ca.pem")];
    if !name.is_empty() {
        options.extend(["--cert".to_owned(), path(&format!("{name}.pem"))]);
        options.extend(["--key".to_owned(), path(&format!("{name}.key"))]);
    }
    options
}

fn status(server: &Server, path: &str, options: &[String], more: &[&str]) -> u16 {
    let options: Vec<&str> = options
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    server.curl_tls(path, &options).status
}

#[test]
fn tls_is_spoken_with_what_was_chosen_and_nothing_else() {
    let (site, pki) = site(
        ", min_version: TLS12, max_version: TLS12, cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256], curve_preferences: [CurveP256]",
    );
    let server = start(&site);
    let curl = with(&pki, "");
    let ask = |more: &[&str]| status(&server, "/-/healthy", &curl, more);
    assert_eq!(ask(&[]), 200);
    assert_eq!(
        ask(&["--tlsv1.2", "--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"]),
        200
    );
    assert_eq!(ask(&["--tlsv1.3"]), 0);
    assert_eq!(ask(&["--ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384"]), 0);
    assert_eq!(ask(&["--curves", "X25519"]), 0);
    assert_eq!(server.curl("/-/healthy", &["--http0.9"]).status, 0);
    // Nobody is who he is not.
    assert_eq!(server.curl_tls("/-/healthy", &[]).status, 0);
}

#[test]
fn certificates_are_read_again_and_broken_ones_are_not_taken() {
    let (site, pki) = site("");
    let server = start(&site);
    let curl = with(&pki, "");
    let serial = || {
        let verbose: Vec<&str> = curl
            .iter()
            .map(String::as_str)
            .chain(["-w", "%{certs}"])
            .collect();
        let output = run(Command::new("curl")
            .arg("-sS")
            .args(["-o", "/dev/null"])
            .args(verbose)
            .arg(format!("https://{}/-/healthy", server.address)));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let first = serial();
    assert!(first.contains("BEGIN CERTIFICATE"), "{first}");
    assert_eq!(serial(), first);
    pki.issue("server", &["127.0.0.1"]);
    let second = serial();
    assert!(second.contains("BEGIN CERTIFICATE") && second != first);
    // A key of another certificate, as between the two writes of a renewal.
    site.secret(
        "pki/server.key",
        &std::fs::read_to_string(pki.path("prom.key")).unwrap(),
    );
    assert_eq!(serial(), second);
    server.wait_for_log("the old one stays in force");
    site.write("pki/server.pem", "junk");
    assert_eq!(serial(), second);
    pki.issue("server", &["127.0.0.1"]);
    assert!(serial().contains("BEGIN CERTIFICATE") && serial() != second);
}

#[test]
fn each_type_of_client_authentication_asks_for_what_it_says() {
    let (site, pki) = site("");
    let strangers = Pki::new(&site.path("strangers"), "somebody else");
    strangers.issue("stranger", &["prom.example"]);
    let server = start(&site);
    let ca = pki.path("ca.pem").display().to_string();
    let mut stranger = with(&strangers, "stranger");
    stranger[1].clone_from(&ca);
    for (more, [none, known, other, strange]) in [
        ("", [200, 200, 200, 200]),
        (
            ", client_auth_type: RequestClientCert",
            [200, 200, 200, 200],
        ),
        (
            ", client_auth_type: RequireAnyClientCert",
            [0, 200, 200, 200],
        ),
        (
            ", client_auth_type: VerifyClientCertIfGiven, client_ca_file: pki/ca.pem",
            [200, 200, 200, 0],
        ),
        (
            ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: pki/ca.pem",
            [0, 200, 200, 0],
        ),
        (
            ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: pki/ca.pem, client_allowed_sans: [prom.example]",
            [0, 200, 0, 0],
        ),
    ] {
        write(&site, more);
        let found = [
            status(&server, "/metrics", &with(&pki, ""), &[]),
            status(&server, "/metrics", &with(&pki, "prom"), &[]),
            status(&server, "/metrics", &with(&pki, "other"), &[]),
            status(&server, "/metrics", &stranger, &[]),
        ];
        assert_eq!(
            found,
            [none, known, other, strange],
            "{more}\n{}",
            server.log()
        );
    }
}

#[test]
fn a_certificate_may_have_scopes_of_its_own() {
    let (site, pki) =
        site(", client_auth_type: VerifyClientCertIfGiven, client_ca_file: pki/ca.pem");
    let site = site.sections("web: {certificates: {prom.example: [metrics]}}\n");
    let server = start(&site);
    for (name, metrics, runs) in [("", 401, 401), ("prom", 200, 403), ("other", 401, 401)] {
        let options = with(&pki, name);
        assert_eq!(
            status(&server, "/metrics", &options, &[]),
            metrics,
            "{name}"
        );
        assert_eq!(
            status(&server, "/api/v1/runs", &options, &[]),
            runs,
            "{name}"
        );
    }
}

#[test]
fn a_certificate_does_not_stand_for_a_password() {
    let (site, pki) =
        site(", client_auth_type: RequireAndVerifyClientCert, client_ca_file: pki/ca.pem");
    let web = std::fs::read_to_string(site.path("web.yml")).unwrap();
    let hash = bcrypt::hash("hunter2", 4).unwrap();
    site.secret(
        "web.yml",
        &format!("{web}basic_auth_users: {{alice: '{hash}'}}\n"),
    );
    let server = start(&site);
    let prom = with(&pki, "prom");
    assert_eq!(status(&server, "/metrics", &prom, &[]), 401);
    assert_eq!(
        status(&server, "/metrics", &prom, &["-u", "alice:hunter2"]),
        200
    );
    assert_eq!(
        status(
            &server,
            "/metrics",
            &with(&pki, ""),
            &["-u", "alice:hunter2"]
        ),
        0
    );
}

#[test]
fn http2_is_spoken_where_it_is_offered() {
    let (site, pki) = site("");
    let server = start(&site);
    let curl = with(&pki, "");
    let got = |path: &str, more: &[&str]| {
        let options: Vec<&str> = curl.iter().map(String::as_str).collect();
        server.curl_tls(path, &[&options[..], more].concat())
    };
    let page = got("/", &["--http2"]);
    assert!(page.text.starts_with("HTTP/2 200"), "{}", page.text);
    assert!(page.text.contains("</html>"));
    let old = got("/-/healthy", &["--http1.1"]);
    assert!(old.text.starts_with("HTTP/1.1 200"), "{}", old.text);
    // No body, and its length.
    let head = got("/metrics", &["--http2", "-I"]);
    assert!(head.text.starts_with("HTTP/2 200"), "{}", head.text);
    assert!(head.text.contains("content-length: "), "{}", head.text);
    // A form proves by the host where it comes from.
    let form = ["--http2", "-X", "POST", "-d", "why=x"];
    let of = |origin: &str| {
        let header = format!("Origin: {origin}");
        got("/pause", &[&form[..], &["-H", &header]].concat()).status
    };
    assert_eq!(of("https://evil.example"), 403);
    assert_eq!(of(&format!("https://{}", server.address)), 303);
    // A large body, in frames, and one that is larger than may be.
    site.write(
        "large.json",
        &format!("{{\"x\": \"{}\"}}", "x".repeat(9 << 20)),
    );
    let large = format!("@{}", site.path("large.json").display());
    let json = "Content-Type: application/json";
    let posted = got(
        "/api/v1/webhook",
        &["--http2", "-H", json, "--data-binary", &large],
    );
    assert_eq!(posted.status, 413, "{}", posted.text);
    assert_eq!(got("/-/healthy", &["--http2"]).status, 200);

    // Where it is not wanted, it is not offered.
    let web = std::fs::read_to_string(site.path("web.yml")).unwrap();
    site.secret(
        "web.yml",
        &format!("{web}http_server_config: {{http2: false}}\n"),
    );
    let plain = got("/-/healthy", &["--http2"]);
    assert!(plain.text.starts_with("HTTP/1.1 200"), "{}", plain.text);
    server.stop();
}
