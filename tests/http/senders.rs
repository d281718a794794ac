//! Who posts notifications, in which version, and to which path.

use crate::support::{Answer, Server, Site, WEBHOOK, alert, notification};

fn sample(name: &str) -> Vec<u8> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/notifications/");
    std::fs::read(format!("{dir}{name}")).unwrap()
}

fn post(server: &Server, path: &str, agent: &str, body: &[u8]) -> Answer {
    let headers = [("Content-Type", "application/json"), ("User-Agent", agent)];
    server.request("POST", path, &headers, body)
}

#[test]
fn grafana_and_old_alertmanagers_are_taken_and_run_once() {
    let site = Site::new();
    let server = site.start();
    let said = server.post(&sample("grafana.json"));
    assert_eq!(
        (said.status, said.text().as_str()),
        (200, "accepted: 2 alerts: 1 run, 1 resolved\n")
    );
    let said = server.post(&sample("grafana.json")).text();
    assert_eq!(said, "accepted: 2 alerts: 1 resolved, 1 duplicate\n");
    // Of the same alert, by versions without a fingerprint: one episode.
    let said = server.post(&sample("alertmanager-0.5.json")).text();
    assert_eq!(said, "accepted: 1 alert: 1 run\n");
    let said = server.post(&sample("alertmanager-0.18.json")).text();
    assert_eq!(said, "accepted: 1 alert: 1 duplicate\n");
    server.wait_run(1, "finished");
    server.wait_run(2, "finished");
    let episode = &server.data("runs/1")["episodes"][0];
    assert_eq!(episode["alertname"], "High memory usage");
    assert_eq!(episode["fingerprint"], "c6eadffa33fcdf37");
    assert_eq!(
        server.data("runs/2")["episodes"][0]["fingerprint"],
        "522caff31536c140"
    );
}

#[test]
fn a_version_that_is_not_known_is_named_before_anything_else() {
    let server = Site::new().start();
    let refused = server.post(br#"{"version":"7","alerts":[{"what":"else"}]}"#);
    assert_eq!(refused.status, 400);
    let said = refused.text();
    assert!(
        said.starts_with("version: want \"4\" (Alertmanager from 0.6 on)"),
        "{said}"
    );
    assert!(said.contains("found \"7\"; update the sender"), "{said}");
    assert_eq!(server.post(&sample("alertmanager-0.0.json")).status, 400);
}

#[test]
fn an_answer_holds_nothing_that_a_terminal_would_obey() {
    let server = Site::new().start();
    let hostile = r"\u001b]0;x\u0007\u009b31m\u202e";
    let body = notification(&[alert("A", "web1")]);
    let body = String::from_utf8(body).unwrap();
    for (from, to) in [
        ("\"firing\"", format!("\"{hostile}\"")),
        ("\"version\":\"4\"", format!("\"version\":\"{hostile}\"")),
        ("\"alertname\":\"A\"", format!("\"{hostile}\":7")),
    ] {
        assert!(body.contains(from), "{body}");
        let refused = server.post(body.replace(from, &to).as_bytes());
        assert_eq!(refused.status, 400);
        let said = refused.text();
        let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!said.contains(bad), "{said:?}");
    }
}

#[test]
fn a_notification_that_goes_astray_is_told_where_to_go_and_is_seen() {
    let server = Site::new().no_bindings().start();
    let body = notification(&[alert("A", "web1")]);
    // A slash at the end is forgiven.
    let slash = post(&server, "/api/v1/webhook/", "Alertmanager/0.27.0", &body);
    assert_eq!(slash.status, 200, "{}", slash.text());
    for (path, status) in [
        ("/", 405),
        ("/webhook", 404),
        ("/api/v1/webhooks", 404),
        ("/run", 403),
    ] {
        let answer = post(&server, path, "Alertmanager/0.27.0", &body);
        assert_eq!(answer.status, status, "{path}");
        let said = answer.text();
        assert!(
            said.contains("post notifications to /api/v1/webhook"),
            "{said}"
        );
    }
    let grafana = post(&server, "/", "Grafana", &sample("grafana.json"));
    assert!(grafana.text().contains(WEBHOOK), "{}", grafana.text());
    let prometheus = post(
        &server,
        "/api/v2/alerts",
        "Prometheus/2.42.0",
        &sample("prometheus.json"),
    );
    assert_eq!(prometheus.status, 404);
    assert!(
        prometheus
            .text()
            .contains("promansible is not an Alertmanager"),
        "{}",
        prometheus.text()
    );
    post(&server, "/hook", "own/1", &body);
    server.wait_for_log("POST to a path that does not accept notifications");
    let log = server.log();
    assert_eq!(
        log.matches("POST to a path that does not accept").count(),
        1,
        "{log}"
    );
    let counted = |sender: &str| {
        server.metric(&format!(
            "promansible_misdirected_notifications_total{{sender=\"{sender}\"}}"
        ))
    };
    let found = ["alertmanager", "grafana", "prometheus", "other"].map(counted);
    assert_eq!(found, [4.0, 1.0, 1.0, 1.0]);
    // What is asked of the API, and of pages, is no notification.
    assert_eq!(server.cancel(7).status, 404);
    assert_eq!(counted("other"), 1.0);
    assert_eq!(server.answered(200), 1.0);
}

#[test]
fn who_may_only_send_notifications_is_told_where_too() {
    let site = Site::new().sections(
        "web: {tokens: [{name: am, file: SITE/token, scopes: [receive]}, {name: op, file: SITE/op, scopes: [operate]}]}\n",
    );
    site.secret("token", "0123456789abcdef-receive");
    site.secret("op", "0123456789abcdef-operate");
    let server = site.start_only();
    server.wait_for_log("inventory read");
    let body = notification(&[alert("A", "web1")]);
    let with = |path: &str, token: &str| {
        let token = format!("Bearer {token}");
        let headers = [
            ("Content-Type", "application/json"),
            ("User-Agent", "Alertmanager/0.27.0"),
            ("Authorization", token.as_str()),
        ];
        server.request("POST", path, &headers, &body)
    };
    assert_eq!(
        with("/api/v1/webhook/", "0123456789abcdef-receive").status,
        200
    );
    for (path, token, status) in [
        ("/webhook", "0123456789abcdef-receive", 403),
        ("/webhook", "wrong", 401),
    ] {
        let answer = with(path, token);
        assert_eq!(answer.status, status);
        assert!(
            answer
                .text()
                .contains("post notifications to /api/v1/webhook"),
            "{}",
            answer.text()
        );
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401);
    }
}

#[test]
fn long_texts_of_alerts_are_cut_in_lists_and_whole_alone() {
    let site = Site::new();
    let server = site.start();
    let long = "x".repeat(300_000);
    let alerts: Vec<_> = (0..6)
        .map(|n| {
            alert("Long", "web1")
                .since(n)
                .label("n", &n.to_string())
                .annotation("summary", &long)
                .annotation("description", &format!("<{long}>"))
        })
        .collect();
    server.deliver(&alerts);
    server.wait_run(1, "finished");
    for path in [
        "/",
        "/alerts",
        "/alerts/Long",
        "/runs",
        "/runs/1",
        "/hosts/web1",
        "/api/v1/alerts",
        "/api/v1/alert-types",
        "/api/v1/alert-types/Long",
        "/api/v1/runs",
        "/api/v1/runs/1",
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, 200, "{path}");
        let bytes = answer.body.len();
        assert!(bytes < 100_000, "{path} has {bytes} bytes");
    }
    let listed = server.data("alerts")["alerts"][0].clone();
    assert_eq!(listed["cut"], true);
    let id = listed["id"].as_str().unwrap();
    let whole = server.data(&format!("alerts/{id}"));
    assert_eq!(whole["annotations"]["summary"], long.as_str());
    assert_eq!(whole.get("cut"), None);
    assert_eq!(whole["labels"], listed["labels"]);
    let page = server.get("/").text();
    assert!(
        page.contains(&format!("href=\"/api/v1/alerts/{id}\"")),
        "{page}"
    );
    let page = server.get("/runs/1").text();
    assert!(page.contains(&format!("href=\"/api/v1/alerts/{id}\"")));
    assert_eq!(server.get("/api/v1/alerts/x").status, 400);
    assert_eq!(server.get("/api/v1/alerts/00000000000000ff-1").status, 404);
}
