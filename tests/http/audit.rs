//! Who did what is kept, and shown.

use serde_json::{Value, json};

use crate::bench::{Server, Site, alert, promansible, run};

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
            json!(["prom", "token", "POST", "/api/v1/runs", 403]),
            json!(["ops", "token", "POST", "/api/v1/runs", 400]),
            json!(["ops", "token", "POST", "/api/v1/runs", 202]),
        ]
    );
    assert_eq!(page["next"], Value::Null);
    let address = page["entries"][0]["address"].as_str().unwrap();
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    // By pages, and after a restart.
    let first = data(&server, "/api/v1/audit?limit=3");
    assert_eq!(first["next"], 2);
    drop(server);
    let server = start(&site);
    let rest = data(&server, "/api/v1/audit?limit=3&cursor=2");
    assert_eq!(rest["entries"].as_array().unwrap().len(), 1);
    assert_eq!(rest["entries"][0]["id"], 1);
    let shown = run(promansible()
        .args(["audit", "--limit=2"])
        .arg(format!("--server.url=http://{}", server.address))
        .arg(format!(
            "--http.config.file={}",
            site.path("http.yml").display()
        )));
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("ops   token") && shown.contains("POST /api/v1/runs/99/cancel"),
        "{shown}"
    );
    assert!(shown.ends_with("more: --cursor=3\n"), "{shown}");
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
