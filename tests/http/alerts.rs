//! What fires, and the catalogue of alert types. The real Prometheus is asked in `tests/e2e`.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Server, Site, alert};

/// Pretends to be Prometheus, with this answer to everything, until the test ends; counts what it is asked.
fn prometheus(answer: &'static str) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (port, asked)
}

const RULES: &str = "groups:
  - name: sites
    rules:
      - alert: SiteDown
        expr: up == 0
        for: 2m
        labels: {severity: critical}
        annotations: {summary: '{{ $labels.instance }} is down', runbook_url: 'http://wiki/site-down'}
      - alert: Unbound
        expr: up > 1
";

fn names(list: &Value) -> Vec<&str> {
    let alerts = list["alerts"].as_array().unwrap();
    alerts
        .iter()
        .map(|a| a["alertname"].as_str().unwrap())
        .collect()
}

fn of<'a>(types: &'a Value, name: &str) -> &'a Value {
    let types = types["alert_types"].as_array().unwrap();
    types
        .iter()
        .find(|of| of["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {types:?}"))
}

fn refused(server: &Server, path: &str, status: u16) -> String {
    let answer = server.get(&format!("/api/v1/{path}"));
    assert_eq!(answer.status, status, "{}", answer.text());
    let envelope: Value = serde_json::from_slice(&answer.body).unwrap();
    envelope["error"].as_str().unwrap().to_owned()
}

#[test]
fn what_fires_is_told_with_what_is_done_about_it() {
    let site = Site::new()
        .no_bindings()
        .binding("good", "[ok]", "")
        .binding("long", "[wait]", "target: {alerting_host: node}");
    let server = site.start();
    let one = alert("A", "web1")
        .label("for", "good")
        .annotation("summary", "s");
    let two = alert("B", "nowhere").label("for", "good").since(2);
    let three = alert("A", "x")
        .label("node", "web2")
        .label("for", "long")
        .since(3);
    let four = alert("C", "web1").since(4);
    server.deliver(&[one.clone(), two, three, four]);
    server.wait_run(1, "finished");
    server.wait_run(2, "running");

    let list = server.data("alerts");
    assert_eq!(names(&list), ["C", "A", "B", "A"]);
    assert_eq!(list["next"], Value::Null);
    let alerts = &list["alerts"];
    assert_eq!(alerts[0]["decisions"], json!([]));
    assert_eq!(alerts[1]["host"], "web2");
    let long = &alerts[1]["decisions"][0];
    assert_eq!(
        (&long["binding"], &long["run"]),
        (&json!("long"), &json!(2))
    );
    assert_eq!(long["run_state"], "running");
    let skipped = &alerts[2]["decisions"][0];
    assert_eq!(skipped["decision"], "unknown_host");
    assert!(skipped["why"].as_str().unwrap().contains("nowhere"));
    assert_eq!(alerts[2].get("host"), None);
    let good = &alerts[3];
    assert_eq!(good["decisions"][0]["run_outcome"], "successful");
    assert_eq!(good["labels"]["instance"], "web1");
    assert_eq!(good["annotations"]["summary"], "s");
    assert_eq!(good["starts_at"], "2026-01-02T03:00:05.123Z");

    assert_eq!(names(&server.data("alerts?alertname=A")), ["A", "A"]);
    assert_eq!(names(&server.data("alerts?host=web1")), ["C", "A"]);
    assert_eq!(names(&server.data("alerts?host=nobody")), [""; 0]);
    let first = server.data("alerts?limit=3");
    assert_eq!(names(&first), ["C", "A", "B"]);
    let next = first["next"].as_str().unwrap();
    let second = server.data(&format!("alerts?limit=3&cursor={next}"));
    assert_eq!((names(&second), &second["next"]), (vec!["A"], &Value::Null));

    server.deliver(&[one.resolved()]);
    assert_eq!(names(&server.data("alerts?alertname=A")), ["A"]);

    assert!(refused(&server, "alerts?cursor=x", 400).starts_with("cursor: "));
    assert!(refused(&server, "alerts?x=1", 400).starts_with("x: unknown"));
    assert_eq!(
        server.request("POST", "/api/v1/alerts", &[], b"").status,
        405
    );
    site.go();
}

#[test]
fn alert_types_are_known_from_files_from_prometheus_and_from_what_came() {
    let (port, asked) = prometheus(
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"status\":\"success\",\"data\":{\"groups\":[{\"name\":\"g\",\"file\":\"/r.yml\",\"rules\":[\
         {\"state\":\"firing\",\"name\":\"Remote\",\"query\":\"q\",\"duration\":60,\"health\":\"err\",\"lastError\":\"it is broken\",\"type\":\"alerting\"},\
         {\"state\":\"inactive\",\"name\":\"SiteDown\",\"query\":\"up == 0\",\"duration\":120,\"health\":\"ok\",\"type\":\"alerting\"}]}]}}",
    );
    let site = Site::new()
        .no_bindings()
        .binding(
            "down",
            "[ok]",
            "matchers: ['alertname=\"SiteDown\", severity=\"critical\"']",
        )
        .binding(
            "minor",
            "[ok]",
            "matchers: ['alertname=\"SiteDown\", severity=\"minor\"']",
        )
        .sections(&format!(
            "prometheus: {{url: 'http://127.0.0.1:{port}', rule_files: [SITE/rules/*.yml]}}\n"
        ));
    site.write("rules/a.yml", RULES);
    site.write("rules/broken.yml", "groups: 7\n");
    let server = site.start();
    assert_eq!(asked.load(Ordering::SeqCst), 0, "nobody has asked yet");
    server.deliver(&[
        alert("SiteDown", "web1").label("severity", "critical"),
        alert("Seen", "web1").label("severity", "info"),
        alert("Seen", "web2").label("severity", "info").resolved(),
    ]);

    let types = server.data("alert-types");
    let all = types["alert_types"].as_array().unwrap();
    let found: Vec<_> = all.iter().map(|of| of["name"].as_str().unwrap()).collect();
    assert_eq!(found, ["Remote", "Seen", "SiteDown", "Unbound"]);
    let down = of(&types, "SiteDown");
    let kinds: Vec<_> = down["sources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["kind"])
        .collect();
    assert_eq!(kinds, ["rule_file", "prometheus", "seen"]);
    let place = down["sources"][0]["where"].as_str().unwrap();
    assert!(place.ends_with("rules/a.yml:4"), "{place}");
    assert_eq!(down["severities"], json!(["critical"]));
    assert_eq!(down["summary"], "{{ $labels.instance }} is down");
    assert_eq!(down["runbook_url"], "http://wiki/site-down");
    assert_eq!((&down["firing"], &down["episodes"]), (&json!(1), &json!(1)));
    // One of its rules, that of Prometheus, says nothing of its severity.
    assert_eq!(down["bindings"], json!(["down", "minor"]));
    assert_eq!(of(&types, "Remote")["sources"][0]["error"], "it is broken");
    let seen = of(&types, "Seen");
    assert_eq!((&seen["firing"], &seen["episodes"]), (&json!(1), &json!(2)));
    assert_eq!(seen["severities"], json!(["info"]));
    assert_eq!(types["prometheus"]["available"], true);
    let problem = &types["problems"][0];
    assert!(problem["file"].as_str().unwrap().ends_with("broken.yml"));
    assert!(
        problem["why"]
            .as_str()
            .unwrap()
            .starts_with("line 1, column 9: ")
    );

    let unbound = server.data("alert-types?unbound=true");
    let unbound: Vec<_> = unbound["alert_types"]
        .as_array()
        .unwrap()
        .iter()
        .map(|of| &of["name"])
        .collect();
    assert_eq!(unbound, ["Remote", "Seen", "Unbound"]);

    let down = server.data("alert-types/SiteDown");
    assert_eq!(
        (&down["name"], &down["firing"]),
        (&json!("SiteDown"), &json!(1))
    );
    assert_eq!(down["rules"][0]["expr"], "up == 0");
    assert_eq!(
        (&down["rules"][0]["for"], &down["rules"][1]["for"]),
        (&json!("2m"), &json!("2m"))
    );
    assert_eq!(down["rules"][1]["state"], "inactive");
    assert_eq!(down["last_episodes"][0]["decisions"][0]["binding"], "down");
    let none = refused(&server, "alert-types/No%20such", 404);
    assert_eq!(
        none,
        "no rule and no received alert has the name \"No such\""
    );
    assert_eq!(
        asked.load(Ordering::SeqCst),
        1,
        "what it said holds for a while"
    );

    // A file that changed is read again.
    site.write("rules/a.yml", &RULES.replace("Unbound", "Another"));
    let types = server.data("alert-types");
    assert_eq!(of(&types, "Another")["bindings"], json!([]));
}

#[test]
fn a_prometheus_that_cannot_be_asked_is_told_with_why_and_since_when() {
    for (answer, why) in [
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<html>",
            "its answer is not that of",
        ),
        (
            "HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\nx",
            "it answered 502 Bad Gateway",
        ),
        ("SSH-2.0-OpenSSH_9\r\n", "it does not speak HTTP: "),
        // It says how much is to come, and then nothing.
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n",
            "its answer cannot be read: ",
        ),
    ] {
        let (port, _) = prometheus(answer);
        let sections = format!(
            "prometheus: {{url: 'http://127.0.0.1:{port}', timeout: 1s, rule_files: [SITE/r.yml]}}\n"
        );
        let site = Site::new().sections(&sections);
        site.write("r.yml", RULES);
        let server = site.start();
        let types = server.data("alert-types");
        assert_eq!(
            types["alert_types"].as_array().unwrap().len(),
            2,
            "the file's are there"
        );
        let health = &types["prometheus"];
        assert_eq!(health["available"], false);
        let said = health["why"].as_str().unwrap();
        assert!(said.starts_with(why), "{said}");
        assert_eq!(health["since"], health["asked_at"]);
    }
}

#[test]
fn a_prometheus_that_hangs_holds_nobody_up_for_longer_than_its_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let sections = format!("prometheus: {{url: 'http://127.0.0.1:{port}', timeout: 500ms}}\n");
    let server = Site::new().sections(&sections).start();
    let begin = Instant::now();
    let health = server.data("alert-types")["prometheus"].take();
    assert!(begin.elapsed() >= Duration::from_millis(500));
    assert_eq!(health["why"], "it did not answer within 500ms");
    // Those who ask next are told the same at once: nobody connects again.
    let again = server.data("alert-types")["prometheus"].take();
    assert_eq!(again, health);
}
