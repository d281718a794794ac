//! Who may come in: users, tokens, scopes, and files that change. Asked by the real curl.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use crate::bench::{Server, Site, alert, notification};

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
