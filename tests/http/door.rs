//! Who may come in: users, tokens, scopes, and files that change. Asked by the real curl.

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::{Server, Site, WEBHOOK, alert, notification};

pub(crate) const RECEIVE: &str = "receive-0123456789abcdef";
const METRICS: &str = "metrics-0123456789abcdef";
const OPERATE: &str = "operate-0123456789abcdef";

fn hash() -> String {
    bcrypt::hash("hunter2", 4).unwrap()
}

/// Users alice (everything) and bob (metrics), and a token for each scope.
fn site(web: &str) -> Site {
    let site = Site::new().sections(
        "web:\n  tokens:\n    - {name: am, file: SITE/am.token, scopes: [receive]}\n    - {name: prom, file: SITE/prom.token, scopes: [metrics]}\n    - {name: ops, file: SITE/ops.token, scopes: [operate]}\n",
    );
    site.secret("am.token", RECEIVE);
    site.secret("prom.token", METRICS);
    site.secret("ops.token", OPERATE);
    site.secret("web.yml", web);
    let file = format!("--web.config.file={}", site.path("web.yml").display());
    site.arg(&file)
}

fn users() -> String {
    format!("basic_auth_users: {{alice: '{0}', bob: '{0}'}}\n", hash())
}

fn start(site: &Site) -> Server {
    let server = site.start_only();
    server.wait_for_log("inventory read");
    server
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

#[test]
fn each_scope_opens_its_own_paths_and_nothing_else() {
    let site = site(&users()).sections(
        "web:\n  tokens:\n    - {name: am, file: SITE/am.token, scopes: [receive]}\n    - {name: prom, file: SITE/prom.token, scopes: [metrics]}\n    - {name: ops, file: SITE/ops.token, scopes: [operate]}\n  users: {bob: [metrics]}\n",
    );
    site.write("body.json", "");
    fs::write(
        site.path("body.json"),
        notification(&[alert("A", "web1:9100")]),
    )
    .unwrap();
    let server = start(&site);
    let body = format!("@{}", site.path("body.json").display());
    let post = [
        "--data-binary",
        &body,
        "-H",
        "Content-Type: application/json",
    ];
    let (am, prom, ops) = (bearer(RECEIVE), bearer(METRICS), bearer(OPERATE));
    let callers: [(&str, Vec<&str>, [u16; 6]); 10] = [
        ("nobody", vec![], [401, 401, 401, 401, 401, 401]),
        ("alice", vec!["-u", "alice:hunter2"], [200; 6]),
        (
            "bob",
            vec!["-u", "bob:hunter2"],
            [200, 200, 403, 403, 403, 200],
        ),
        ("wrong password", vec!["-u", "alice:hunter3"], [401; 6]),
        ("unknown user", vec!["-u", "carol:hunter2"], [401; 6]),
        ("am", vec!["-H", &am], [403, 403, 200, 403, 403, 200]),
        ("prom", vec!["-H", &prom], [200, 200, 403, 403, 403, 200]),
        ("ops", vec!["-H", &ops], [200; 6]),
        (
            "wrong token",
            vec!["-H", "Authorization: Bearer receive-0123456789abcdeg"],
            [401; 6],
        ),
        (
            "another scheme",
            vec!["-H", "Authorization: Digest x"],
            [401; 6],
        ),
    ];
    for (who, options, statuses) in callers {
        let found = [
            server.curl("/metrics", &options).status,
            server.curl("/api/v1/sd", &options).status,
            server
                .curl("/api/v1/webhook", &[&options[..], &post[..]].concat())
                .status,
            server.curl("/api/v1/runs", &options).status,
            server.curl("/", &options).status,
            server.curl("/-/healthy", &options).status,
        ];
        assert_eq!(found, statuses, "{who}");
    }
    let refused = server.curl("/api/v1/runs", &[]);
    assert_eq!(
        refused.header("www-authenticate"),
        Some("Basic realm=\"promansible\", charset=\"UTF-8\"")
    );
    assert!(
        refused.text.contains(r#""errorType":"unauthorized""#),
        "{}",
        refused.text
    );
    let refused = server.curl("/api/v1/runs", &["-H", &am]);
    assert!(
        refused
            .text
            .contains("am may not do this: it needs the scope operate"),
        "{}",
        refused.text
    );
    // What is refused does nothing, and is counted as what it was.
    assert_eq!(server.curl("/metrics", &["-H", &am]).status, 403);
    for secret in ["hunter", RECEIVE, METRICS, OPERATE] {
        assert!(!server.log().contains(secret), "{}", server.log());
    }
}

#[test]
fn with_tokens_alone_health_is_open_and_nothing_else() {
    let server = start(&site(""));
    assert_eq!(server.curl("/-/healthy", &[]).status, 200);
    assert_eq!(server.curl("/-/ready", &[]).status, 200);
    assert_eq!(
        server.curl("/-/ready", &["-u", "alice:hunter2"]).status,
        200
    );
    for path in [
        "/",
        "/metrics",
        "/api/v1/runs",
        "/-/reload",
        "/%6cogin",
        "//login",
    ] {
        assert_eq!(server.curl(path, &[]).status, 401, "{path}");
    }
    assert_eq!(
        server.curl("/metrics", &["-H", &bearer(METRICS)]).status,
        200
    );
}

#[test]
fn what_the_files_say_now_counts_and_bad_ones_change_nothing() {
    let site = site(&users());
    let server = start(&site);
    let alice = |password: &str| {
        let user = format!("alice:{password}");
        server.curl("/metrics", &["-u", &user]).status
    };
    assert_eq!(alice("hunter2"), 200);
    let other = bcrypt::hash("other", 4).unwrap();
    site.secret(
        "web.yml",
        &format!("basic_auth_users: {{alice: '{other}'}}\n"),
    );
    assert_eq!((alice("hunter2"), alice("other")), (401, 200));
    for (bad, said) in [
        ("basic_auth_users: {alice: junk}\n", "is not a bcrypt hash"),
        ("nonsense: 1\n", "unknown key"),
        (
            "tls_server_config: {cert_file: nowhere.pem, key_file: nowhere.key}\n",
            "nowhere.pem cannot be read",
        ),
    ] {
        site.secret("web.yml", bad);
        assert_eq!((alice("hunter2"), alice("other")), (401, 200), "{bad}");
        server.wait_for_log(said);
    }
    let log = server.log();
    assert_eq!(
        log.matches("the old one stays in force").count(),
        3,
        "{log}"
    );
    fs::remove_file(site.path("web.yml")).unwrap();
    assert_eq!((alice("hunter2"), alice("other")), (401, 200));
    site.secret("web.yml", &users());
    assert_eq!((alice("hunter2"), alice("other")), (200, 401));
    // Everybody on the machine can read it: the users of before stay.
    site.secret(
        "web.yml",
        &format!("basic_auth_users: {{alice: '{other}'}} \n"),
    );
    fs::set_permissions(site.path("web.yml"), Permissions::from_mode(0o644)).unwrap();
    assert_eq!(alice("hunter2"), 200);
    server.wait_for_log("everyone on this machine can read it");
    fs::set_permissions(site.path("web.yml"), Permissions::from_mode(0o602)).unwrap();
    assert_eq!(alice("hunter2"), 200);
    server.wait_for_log("web.yml: everyone on this machine can write it");
    // A token that is changed in its file is another token at once.
    site.secret("prom.token", "changed-0123456789abcdef");
    fs::set_permissions(site.path("web.yml"), Permissions::from_mode(0o600)).unwrap();
    assert_eq!(
        server.curl("/metrics", &["-H", &bearer(METRICS)]).status,
        401
    );
    let changed = bearer("changed-0123456789abcdef");
    assert_eq!(server.curl("/metrics", &["-H", &changed]).status, 200);
}

#[test]
fn beyond_loopback_nobody_comes_in_unasked() {
    let open = Site::new().arg("--web.listen-address=0.0.0.0:0");
    let (code, said) = open.refused();
    assert_eq!(code, 1);
    for wanted in [
        "0.0.0.0:0",
        "basic_auth_users",
        "web.tokens",
        "--web.allow-remote-without-authentication",
    ] {
        assert!(said.contains(wanted), "{said}");
    }
    // Headers alone, or certificates that nobody verifies, are no authentication.
    let headers = site("http_server_config: {headers: {X-Frame-Options: deny}}\n")
        .sections("")
        .arg("--web.listen-address=[::]:0");
    assert!(
        headers
            .refused()
            .1
            .contains("can be reached from other machines")
    );
}

#[test]
fn users_and_tokens_that_would_let_in_others_than_it_seems_are_refused() {
    let refused = |web: &str, config: &str| {
        let site = site(web).sections(config);
        site.secret("short.token", "short");
        site.secret("same.token", OPERATE);
        let (code, said) = site.refused();
        assert_eq!(code, 1, "{said}");
        said
    };
    for (config, said) in [
        (
            "web: {users: {alise: [metrics]}}\n",
            "the web configuration has no such user",
        ),
        (
            "web: {certificates: {prom: [metrics]}}\n",
            "no client certificate is verified",
        ),
        (
            "web: {tokens: [{name: a, file: SITE/short.token, scopes: [operate]}]}\n",
            "at least 16 characters",
        ),
        (
            "web: {tokens: [{name: a, file: SITE/same.token, scopes: [operate]}, {name: b, file: SITE/ops.token, scopes: [metrics]}]}\n",
            "are the same",
        ),
    ] {
        let found = refused(&users(), config);
        assert!(found.contains(said), "{found}");
        assert!(!found.contains(OPERATE), "{found}");
    }
    assert!(refused("basic_auth_users: {a: CANARY}\n", "").contains("is not a bcrypt hash"));
    assert!(!refused("basic_auth_users: {a: CANARY}\n", "").contains("CANARY"));
}

#[test]
fn headers_are_set_and_the_rate_is_limited() {
    let site = site(
        "http_server_config: {headers: {X-Frame-Options: sameorigin, Strict-Transport-Security: max-age=1}}\nrate_limit: {interval: 1h, burst: 3}\n",
    )
    .sections("");
    let server = start(&site);
    let first = server.curl("/-/healthy", &[]);
    assert_eq!(first.status, 200);
    assert_eq!(first.header("strict-transport-security"), Some("max-age=1"));
    assert_eq!(first.header("x-frame-options"), Some("sameorigin"));
    // A page has its own, which is stricter.
    assert_eq!(
        server.curl("/", &[]).header("x-frame-options"),
        Some("DENY")
    );
    assert_eq!(server.curl("/-/healthy", &[]).status, 200);
    let limited = server.curl("/-/healthy", &[]);
    assert_eq!(limited.status, 429);
    assert_eq!(
        limited.header("strict-transport-security"),
        Some("max-age=1")
    );
    // Alertmanager would drop it on 429, and tries again on 503.
    assert_eq!(server.curl("/api/v1/webhook", &["-d", "{}"]).status, 503);
}

/// Begins to watch events; yields the connection once there are some.
fn watch(server: &Server, header: &str) -> TcpStream {
    let mut stream = server.connect();
    let (name, value) = header.split_once(": ").unwrap();
    let request = server.bytes_of("GET", "/api/v1/events", &[(name, value)], b"");
    stream.write_all(&request).unwrap();
    let mut head = vec![0; 4096];
    let read = stream.read(&mut head).unwrap();
    let head = String::from_utf8_lossy(&head[..read]).into_owned();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    stream
}

/// Whether the server ends it, before anybody's patience is over.
fn ends(stream: &mut TcpStream) -> bool {
    stream.read_to_end(&mut Vec::new()).is_ok()
}

#[test]
fn a_stream_of_events_ends_with_the_right_to_it() {
    let site = site(&users());
    let server = start(&site);
    let basic = format!("Authorization: Basic {}", STANDARD.encode("alice:hunter2"));
    let own = ["-H", "Sec-Fetch-Site: same-origin"];
    let form = ["-d", "user=bob&password=hunter2"];
    let signed_in = server.curl("/login", &[&own[..], &form].concat());
    let cookie = signed_in.header("set-cookie").unwrap();
    let cookie = format!("Cookie: {}", cookie.split(';').next().unwrap());
    let mut by_token = watch(&server, &bearer(OPERATE));
    let mut by_password = watch(&server, &basic);
    let mut by_session = watch(&server, &cookie);
    let mut stays = watch(&server, &basic);
    let form = [
        "-X",
        "POST",
        "-H",
        "Content-Type: application/x-www-form-urlencoded",
    ];
    let out = server.curl("/logout", &[&own[..], &form, &["-H", &cookie]].concat());
    assert_eq!(out.status, 303);
    assert!(ends(&mut by_session), "signed out");
    site.secret("ops.token", "changed-0123456789abcdef");
    assert!(ends(&mut by_token), "another token");
    // It is not the others' end.
    stays
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(!ends(&mut stays));
    let other = bcrypt::hash("other", 4).unwrap();
    let web = format!("basic_auth_users: {{alice: '{other}'}}\n");
    site.secret("web.yml", &web);
    assert!(ends(&mut by_password), "another password");
}

#[test]
fn a_name_that_another_site_may_have_reads_nothing_where_nobody_is_asked() {
    let server = Site::new().start();
    let evil = ["-H", "Host: evil.example:10942"];
    for path in [
        "/",
        "/runs",
        "/metrics",
        "/api/v1/runs",
        "/api/v1/events",
        "/api/v1/sd",
        "/assets/portal.css",
    ] {
        let got = server.curl(path, &evil);
        assert_eq!(got.status, 421, "{path}: {}", got.text);
        assert!(got.text.contains("--web.external-url"), "{}", got.text);
    }
    for (path, host) in [
        ("/-/healthy", "evil.example"),
        ("/", "localhost:10942"),
        ("/metrics", "[::1]"),
    ] {
        let host = format!("Host: {host}");
        assert_eq!(
            server.curl(path, &["-H", &host]).status,
            200,
            "{path} {host}"
        );
    }
    // Alertmanager may know us by any name.
    let headers = [("Host", "promansible.example:10942")];
    let body = notification(&[alert("A", "web1")]);
    let mut bytes = format!("POST {WEBHOOK} HTTP/1.1\r\nHost: {}\r\n", headers[0].1).into_bytes();
    bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes());
    bytes.extend(&body);
    assert_eq!(server.raw(&bytes).status, 200);
    let external = Site::new()
        .arg("--web.external-url=https://pm.example.org/")
        .start();
    let status = |host: &str| external.curl("/", &["-H", host]).status;
    assert_eq!(
        (status("Host: pm.example.org"), status("Host: evil.example")),
        (200, 421)
    );
    // Where everybody must say who he is, the name does not matter.
    let asked = start(&site(&users()));
    let with = [&evil[..], &["-u", "alice:hunter2"]].concat();
    assert_eq!(asked.curl("/api/v1/runs", &with).status, 200);
    assert_eq!(asked.curl("/api/v1/runs", &evil).status, 401);
}

#[test]
fn a_request_names_one_host() {
    let server = Site::new().start();
    for (sent, status) in [
        ("GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        ("GET /-/healthy HTTP/1.1\r\n\r\n", 400),
        (
            "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
            400,
        ),
        (
            "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nhost: evil.example\r\n\r\n",
            400,
        ),
        ("GET /-/healthy HTTP/1.0\r\n\r\n", 200),
    ] {
        assert_eq!(server.raw(sent.as_bytes()).status, status, "{sent}");
    }
}

#[test]
fn two_hundred_wrong_passwords_hold_up_no_right_one_for_long() {
    let hash = bcrypt::hash("hunter2", 10).unwrap();
    let site = site(&format!("basic_auth_users: {{alice: '{hash}'}}\n"));
    let server = start(&site);
    let begin = Instant::now();
    assert_eq!(server.curl("/metrics", &["-u", "nobody:x"]).status, 401);
    let one = begin.elapsed();
    let wrong = format!("Basic {}", STANDARD.encode("alice:wrong"));
    let request = server.bytes_of("GET", "/metrics", &[("Authorization", &wrong)], b"");
    let guesses: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(&request).unwrap();
            stream
        })
        .collect();
    let begin = Instant::now();
    // From the same address, and not known yet.
    let mut status = 0;
    while status != 200 && begin.elapsed() < Duration::from_mins(1) {
        status = server.curl("/metrics", &["-u", "alice:hunter2"]).status;
    }
    let took = begin.elapsed();
    // A line of a few, where two hundred would be a hundred times as long.
    assert!(
        status == 200 && took < 40 * one + Duration::from_secs(2),
        "{took:?}, one takes {one:?}"
    );
    // On a busy machine the right one may come before most of the wrong ones.
    server.wait("refused", || {
        let metrics = server.curl("/metrics", &["-u", "alice:hunter2"]).text;
        !metrics.contains("{reason=\"too_many_passwords\"} 0\n")
    });
    drop(guesses);
}
