//! Secrets are put wherever they may be, and looked for wherever they must not come out.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Pki, Server, Site, alert, notification, promansible, run};

/// In every secret. The files that hold them are the site's own.
const CANARY: &str = "cAnArY";

fn secret(of: &str) -> String {
    format!("{CANARY}-{of}-0123456789abcdef")
}

/// Files with secrets, each of another kind.
const FILES: [&str; 8] = [
    "ops.token",
    "am.token",
    "vault-pass",
    "become-pass",
    "prometheus-pass",
    "alertmanager-token",
    "slack-url",
    "hook-token",
];

fn site() -> Site {
    let site = Site::new()
        .no_bindings()
        .binding("all", "[wait]", &format!("vars: {{ok_password: {}}}", secret("var")))
        .sections(
            "web:
  tokens:
    - {name: ops, file: SITE/ops.token, scopes: [operate]}
    - {name: am, file: SITE/am.token, scopes: [receive]}
prometheus: {url: 'http://127.0.0.1:9', basic_auth: {username: me, password_file: SITE/prometheus-pass}}
alertmanager: {url: 'http://127.0.0.1:9', authorization: {credentials_file: SITE/alertmanager-token}}
notifiers:
  - {name: chat, slack: {api_url_file: SITE/slack-url}}
  - {name: hook, webhook: {url: 'http://127.0.0.1:9', http_config: {authorization: {credentials_file: SITE/hook-token}}}}
",
        );
    for file in FILES {
        site.secret(file, &secret(file));
    }
    site.secret(
        "slack-url",
        &format!("http://127.0.0.1:9/{}", secret("slack-url")),
    );
    let pki = Pki::new(&site.path("pki"), "authority");
    pki.issue("server", &["127.0.0.1"]);
    let hash = bcrypt::hash(secret("password"), 4).unwrap();
    let key = fs::read_to_string(pki.path("server.key")).unwrap();
    let key = key.trim().replace('\n', "\n    ");
    site.secret(
        "web.yml",
        &format!(
            "tls_server_config:\n  cert_file: pki/server.pem\n  key: |\n    {key}\nbasic_auth_users: {{alice: '{hash}'}}\n"
        ),
    );
    let file = format!("--web.config.file={}", site.path("web.yml").display());
    site.arg(&file)
}

/// The configuration with the keys of Ansible that name a secret's file, and an environment for runs.
fn command(site: &Site) -> Command {
    let command = site.command();
    let file = site.path("promansible.yml");
    let text = fs::read_to_string(&file).unwrap();
    let dir = file.parent().unwrap().display().to_string();
    let more = format!(
        "ansible: {{vault_password_file: {dir}/vault-pass, become_password_file: {dir}/become-pass, environment: {{SOME_API_KEY: {}}}, ",
        secret("environment")
    );
    fs::write(&file, text.replacen("ansible: {", &more, 1)).unwrap();
    command
}

/// The command lines of a process and all below it, and the environments of those.
fn processes(root: u32) -> (String, String) {
    let (mut lines, mut environments) = (String::new(), String::new());
    let mut left = vec![root];
    while let Some(pid) = left.pop() {
        let dir = Path::new("/proc").join(pid.to_string());
        let text = |name: &str| {
            let bytes = fs::read(dir.join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', "\n")
        };
        lines.push_str(&text("cmdline"));
        if pid != root {
            environments.push_str(&text("environ"));
        }
        for task in fs::read_dir(dir.join("task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            left.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
    }
    (lines, environments)
}

#[test]
#[allow(clippy::too_many_lines)] // one story: each step adds places to look at
fn no_secret_comes_out_anywhere() {
    let site = site();
    let server = Server::start({
        let mut command = command(&site);
        command.env("OF_THE_SERVICE", secret("own-environment"));
        command
    });
    server.wait_for_log("inventory read");
    let ca = site.path("pki/ca.pem").display().to_string();
    let user = format!("alice:{}", secret("password"));
    let ask =
        |path: &str, more: &[&str]| server.curl_tls(path, &[&["--cacert", &ca][..], more].concat());
    let get = |path: &str| ask(path, &["-u", &user]);
    fs::write(
        site.path("body.json"),
        notification(&[alert("A", "web1:9100")]),
    )
    .unwrap();
    let am = format!("Authorization: Bearer {}", secret("am.token"));
    let body = format!("@{}", site.path("body.json").display());
    assert_eq!(
        ask("/api/v1/webhook", &["-H", &am, "--data-binary", &body]).status,
        200
    );
    server.wait("running", || {
        get("/api/v1/runs/1").text.contains("\"state\":\"running\"")
    });
    let (lines, environments) = processes(server.pid());
    assert!(lines.contains("ansible-playbook"), "{lines}");
    assert!(environments.contains("ANSIBLE_HOME="), "{environments}");
    assert!(!lines.contains(CANARY), "{lines}");
    // A run gets what the configuration gives it, and of the service's own environment nothing.
    assert!(
        environments.contains(&secret("environment")),
        "{environments}"
    );
    assert!(!environments.contains("OF_THE_SERVICE"), "{environments}");
    site.go();
    server.wait("finished", || {
        get("/api/v1/runs/1")
            .text
            .contains("\"state\":\"finished\"")
    });

    // Whoever is not let in is told of as well, and so is what cannot be read again.
    for wrong in ["alice:cAnArY-typed", "cAnArY-typed:x"] {
        assert_eq!(ask("/api/v1/runs", &["-u", wrong]).status, 401);
    }
    assert_eq!(
        ask(
            "/api/v1/runs",
            &["-H", "Authorization: Bearer cAnArY-typed"]
        )
        .status,
        401
    );
    let form = format!("password={}", secret("password"));
    let own = [
        "-H",
        "Sec-Fetch-Site: same-origin",
        "-d",
        "user=alice",
        "-d",
        &form,
    ];
    let cookie = ask("/login", &own);
    assert_eq!(cookie.status, 303, "{}", cookie.text);
    let kept = fs::read_to_string(site.path("web.yml")).unwrap();
    site.secret(
        "web.yml",
        &kept.replace("basic_auth_users: {", "basic_auth_users: {bob: cAnArY, "),
    );
    get("/");
    server.wait_for_log("the old one stays in force");
    server.signal(nix::sys::signal::Signal::SIGHUP);
    server.wait_for_log("the configuration is rejected");
    site.secret("web.yml", &kept);

    for path in [
        "/metrics",
        "/api/v1/runs",
        "/api/v1/runs/1",
        "/api/v1/runs/1/output",
        "/api/v1/bindings",
        "/api/v1/bindings/all",
        "/api/v1/schedules",
        "/api/v1/roles",
        "/api/v1/alerts",
        "/api/v1/alert-types",
        "/api/v1/hosts",
        "/api/v1/audit",
        "/api/v1/inventory",
        "/",
        "/runs/1",
        "/alerts",
        "/alerts/A",
        "/bindings/all",
        "/schedules",
        "/roles",
        "/hosts",
        "/audit",
        "/login",
        "/nowhere",
    ] {
        let got = get(path);
        assert!(got.status < 500, "{path}: {}", got.text);
        assert!(!got.text.contains(CANARY), "{path}: {}", got.text);
    }
    assert!(!server.log().contains(CANARY), "{}", server.log());
    server.stop();
    // What the configuration gives a run is kept with it until then; what is in files is not.
    let store = fs::read(site.store()).unwrap();
    let store = String::from_utf8_lossy(&store);
    for of in FILES
        .into_iter()
        .chain(["password", "environment", "own-environment"])
    {
        assert!(!store.contains(&secret(of)), "{of} is in the store");
    }
}

#[test]
fn the_command_line_says_no_secret_either() {
    let site = site();
    command(&site);
    let file = site.path("promansible.yml").display().to_string();
    let checked = run(promansible().args(["check", "config", &file]));
    let said = [checked.stdout, checked.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(checked.status.success(), "{said}");
    assert!(!said.contains(CANARY), "{said}");
}
