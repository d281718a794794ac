//! Who did what is kept, and shown.

use serde_json::{Value, json};

use crate::support::{Server, Site, alert, promansible, run};

const OPS: &str = "operate-0123456789abcdef";
const METRICS: &str = "metrics-0123456789abcdef";

fn site() -> Site {
    let site = Site::new().sections(
        "web:\n  tokens:\n    - {name: ops, file: SITE/ops.token, scopes: [operate]}\n    - {name: prom, file: SITE/prom.token, scopes: [metrics]}\n",
    );
    site.secret("ops.token", OPS);
    site.secret("prom.token", METRICS);
    site.write(
        "http.yml",
        &format!(
            "authorization: {{credentials_file: {}}}\n",
            site.path("ops.token").display()
        ),
    );
    site
}

fn start(site: &Site) -> Server {
    let server = site.start_only();
    server.wait_for_log("inventory read");
    server
}

fn data(server: &Server, path: &str) -> Value {
    let got = server.curl(path, &["-H", &format!("Authorization: Bearer {OPS}")]);
    let (_, body) = got.text.split_once("\r\n\r\n").unwrap();
    let answer: Value = serde_json::from_str(body).unwrap();
    answer["data"].clone()
}

/// Who, by what, did what, and what became of it.
fn told(entry: &Value) -> Value {
    json!([
        entry["who"],
        entry["proof"],
        entry["method"],
        entry["path"],
        entry["status"]
    ])
}

#[test]
fn what_changes_something_is_listed_with_who_did_it_and_what_became_of_it() {
    let site = site();
    let server = start(&site);
    let (ops, prom) = (
        format!("Authorization: Bearer {OPS}"),
        format!("Authorization: Bearer {METRICS}"),
    );
    let json = "Content-Type: application/json";
    let post = |path: &str, token: &str, body: &str| {
        server
            .curl(path, &["-H", token, "-H", json, "--data-binary", body])
            .status
    };
    let hold = r#"{"roles":["ok"],"target":{"hosts":["web1"]}}"#;
    assert_eq!(post("/api/v1/runs", &ops, hold), 202);
    assert_eq!(post("/api/v1/runs?x=SECRET", &ops, "{}"), 400);
    assert_eq!(post("/api/v1/runs", &prom, hold), 403);
    assert_eq!(post("/api/v1/runs", "X: y", hold), 401);
    assert_eq!(
        server
            .curl("/api/v1/runs/99/cancel", &["-X", "POST", "-H", &ops])
            .status
            / 100,
        4
    );
    assert_eq!(data(&server, "/api/v1/runs/1")["run"]["started_by"], "ops");
    let page = data(&server, "/api/v1/audit");
    let entries: Vec<Value> = page["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(told)
        .collect();
    let cancel = entries[0][4].clone();
    assert_eq!(
        entries,
        [
            json!(["ops", "token", "POST", "/api/v1/runs/99/cancel", cancel]),
            json!(["ops", "token", "POST", "/api/v1/runs", 400]),
            json!(["ops", "token", "POST", "/api/v1/runs", 202]),
        ]
    );
    assert_eq!(page["next"], Value::Null);
    let address = page["entries"][0]["address"].as_str().unwrap();
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    // By pages, and after a restart.
    let first = data(&server, "/api/v1/audit?limit=2");
    assert_eq!(first["next"], 2);
    drop(server);
    let server = start(&site);
    let rest = data(&server, "/api/v1/audit?limit=2&cursor=2");
    assert_eq!(rest["entries"].as_array().unwrap().len(), 1);
    assert_eq!(rest["entries"][0]["id"], 1);
    assert_eq!(rest["entries"][0]["summary"], "started run 1: ok on web1");
    let shown = run(promansible()
        .args(["audit", "--limit=2"])
        .arg(format!("--server.url=http://{}", server.address))
        .arg(format!(
            "--http.config.file={}",
            site.path("http.yml").display()
        )));
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.starts_with("ID  TIME ") && shown.contains("POST /api/v1/runs/99/cancel"),
        "{shown}"
    );
    assert!(shown.ends_with("More: --cursor=2\n"), "{shown}");
    let html = server.curl("/audit", &["-H", &ops]);
    assert!(
        html.text.contains("POST /api/v1/runs/99/cancel"),
        "{}",
        html.text
    );
    for text in [server.log(), html.text, shown] {
        assert!(!text.contains("SECRET"), "{text}");
    }
}

#[test]
fn where_nobody_says_who_he_is_it_is_listed_from_where_he_came() {
    let server = Site::new().start();
    server.deliver(&[alert("A", "web1:9100")]);
    server.started_run(r#"{"roles":["ok"],"target":{"hosts":["web1"]}}"#);
    let page = server.data("audit");
    let entries: Vec<Value> = page["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(told)
        .collect();
    assert_eq!(
        entries,
        [json!([null, "nothing", "POST", "/api/v1/runs", 202])]
    );
}

#[test]
fn the_list_says_what_was_done_and_not_what_the_variables_were() {
    let site = site();
    let server = start(&site);
    let ops = format!("Authorization: Bearer {OPS}");
    let ask = |method: &str, path: &str, body: &str| {
        let json = "Content-Type: application/json";
        let got = server.curl(
            path,
            &["-X", method, "-H", &ops, "-H", json, "--data-binary", body],
        );
        assert!(got.status < 300, "{path}: {}", got.text);
    };
    let binding = |cooldown: &str| {
        format!(
            r#"{{"name":"mine","matchers":["alertname=A"],"roles":["ok"],"target":{{"alerting_host":"instance"}},"cooldown":"{cooldown}","vars":{{"key":"CANARY-{cooldown}"}}}}"#
        )
    };
    ask("POST", "/api/v1/bindings", &binding("1m"));
    ask("PUT", "/api/v1/bindings/mine", &binding("2m"));
    ask("DELETE", "/api/v1/bindings/mine", "");
    ask(
        "POST",
        "/api/v1/hosts",
        r#"{"name":"new","address":"10.0.0.7","groups":["web"],"vars":{"key":"CANARY"}}"#,
    );
    ask("DELETE", "/api/v1/hosts/new", "");
    ask(
        "POST",
        "/api/v1/pause",
        r#"{"why":"the network is rebuilt"}"#,
    );
    ask(
        "POST",
        "/api/v1/runs",
        r#"{"roles":["ok"],"target":{"hosts":["web1","web2"]},"check":true,"vars":{"key":"CANARY"}}"#,
    );
    ask("POST", "/api/v1/runs/1/cancel", "");
    ask("POST", "/api/v1/resume", "");
    ask("POST", "/api/v1/hosts/web1/hold", r#"{"why":"a new disk"}"#);
    let page = data(&server, "/api/v1/audit");
    let entries = page["entries"].as_array().unwrap();
    let summaries: Vec<&str> = entries
        .iter()
        .map(|entry| entry["summary"].as_str().unwrap())
        .collect();
    assert_eq!(
        summaries,
        [
            "held web1 until it is released: a new disk",
            "resumed: runs are started again",
            "canceled run 1: ok on web1, web2, in check mode, with the variables key",
            "started run 1: ok on web1, web2, in check mode, with the variables key",
            "paused everything: the network is rebuilt",
            "removed the enrolled host new",
            "enrolled new, address 10.0.0.7, groups web, variables key",
            "removed the binding mine",
            "changed the binding mine",
            "created the binding mine",
        ]
    );
    let typed = |n: usize, field: &str| entries[n][field].as_str().unwrap_or("-").to_owned();
    assert_eq!(typed(9, "before"), "-");
    assert!(typed(9, "after").contains(r#""cooldown":"1m","vars":{"key":"(hidden)"}"#));
    assert_eq!(typed(8, "before"), typed(9, "after"));
    assert!(typed(8, "after").contains(r#""cooldown":"2m","vars":{"key":"(hidden, changed)"}"#));
    assert!(typed(7, "before").contains(r#""cooldown":"2m""#) && typed(7, "after") == "-");
    let html = server.curl("/audit", &["-H", &ops]).text;
    assert!(html.contains("changed the binding mine") && html.contains("Before and after"));
    let shown = run(promansible()
        .arg("audit")
        .arg(format!("--server.url=http://{}", server.address))
        .arg(format!(
            "--http.config.file={}",
            site.path("http.yml").display()
        )));
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("changed the binding mine"), "{shown}");
    assert!(shown.contains("\n    before {\"name\":\"mine\""), "{shown}");
    for text in [page.to_string(), html, shown, server.log()] {
        assert!(!text.contains("CANARY"), "{text}");
    }
}

#[test]
fn who_is_not_known_or_may_not_writes_nothing_and_is_counted() {
    let site = site();
    let server = start(&site);
    let (ops, prom) = (
        format!("Authorization: Bearer {OPS}"),
        format!("Authorization: Bearer {METRICS}"),
    );
    for (path, token) in [
        ("/assets/x", "X: y"),
        ("/login", "X: y"),
        ("/logout", "X: y"),
        ("/api/v1/runs", "X: y"),
        (
            "/api/v1/runs",
            "Authorization: Bearer wrong-0123456789abcdef",
        ),
        ("/api/v1/runs", &prom),
        ("/logout", &prom),
        ("/login", &ops),
        ("/assets/x", &ops),
    ] {
        let status = server.curl(path, &["-X", "POST", "-H", token]).status;
        assert!(status >= 400, "{path} {token}: {status}");
    }
    assert_eq!(data(&server, "/api/v1/audit")["entries"], json!([]));
    let path = format!("/{}", "x".repeat(9000));
    for _ in 0..100 {
        assert_eq!(server.curl(&path, &[]).status, 401);
    }
    let metrics = server.curl("/metrics", &["-H", &prom]).text;
    for counted in [
        "{reason=\"no_credentials\"} 101",
        "{reason=\"wrong_credentials\"} 1",
        "{reason=\"forbidden\"} 1",
        "{reason=\"rate_limit\"} 0",
    ] {
        let line = format!("promansible_requests_rejected_total{counted}");
        assert!(metrics.contains(&line), "{line} in\n{metrics}");
    }
    let log = server.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("request rejected"))
        .collect();
    assert_eq!(lines.len(), 5, "{log}");
    assert!(lines.iter().all(|line| line.len() < 500), "{log}");
}
