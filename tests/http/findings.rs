//! What a role finds: in the run's history, and as gauges where the role declares it.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::support::{Server, Site, alert, inventory, run_with};

const CHECKS: &str = r#"checks:
  dns_answer_seconds: {help: "How long the resolver took to answer.", labels: [name, resolver]}
  dns_up: {help: "Whether the resolver gave a right answer."}
"#;

const FINDINGS: &str = r#"{"dns_up":true,"note":"as ever","dns_answer_seconds":[{"value":0.25,"name":"example.org","resolver":"10.0.0.53"},{"value":"never","name":"a","resolver":"b"}]}"#;

const ANSWER: &str = "dns_answer_seconds{host=\"web1\",name=\"example.org\",resolver=\"10.0.0.53\",role=\"look\"} 0.25";

fn site() -> Site {
    let site = Site::new()
        .looking(CHECKS)
        .no_bindings()
        .binding("all", "[look]", "");
    site.write("findings", FINDINGS);
    site
}

/// The samples of checks, without what they share and without times.
#[track_caller]
fn checks(server: &Server) -> Vec<String> {
    let page = server.get("/metrics").text();
    let judged = run_with(
        Command::new("promtool").args(["check", "metrics"]),
        page.as_bytes(),
    );
    let said = String::from_utf8_lossy(&judged.stderr) + String::from_utf8_lossy(&judged.stdout);
    assert!(judged.status.success() && said.is_empty(), "{said}\n{page}");
    let samples = page
        .lines()
        .filter_map(|line| line.strip_prefix("promansible_check_"));
    samples
        .map(|line| match line.split_once("} ") {
            Some((series, _)) if line.starts_with("timestamp_seconds") => format!("{series}}}"),
            _ => line.to_owned(),
        })
        .collect()
}

fn rejected(count: u32) -> String {
    format!("values_rejected_total{{role=\"look\"}} {count}")
}

fn reported(host: &str, up: u32) -> [String; 2] {
    [
        format!("dns_up{{host=\"{host}\",role=\"look\"}} {up}"),
        format!("timestamp_seconds{{host=\"{host}\",role=\"look\"}}"),
    ]
}

#[test]
fn a_report_is_in_the_history_and_on_the_metrics_until_its_host_leaves() {
    let site = site();
    let server = site.start();
    assert_eq!(checks(&server), [rejected(0)]);
    server.deliver(&[alert("A", "web1")]);
    server.wait_run(1, "finished");
    let findings = server.data("runs/1")["events"][0]["findings"].take();
    assert_eq!(
        findings,
        serde_json::from_str::<serde_json::Value>(FINDINGS).unwrap()
    );
    let [up, at] = reported("web1", 1);
    let shown = [ANSWER.to_owned(), up, at];
    assert_eq!(
        checks(&server),
        [&shown[..], &[rejected(1)]].concat(),
        "one value is none"
    );
    let at = server.metric("promansible_check_timestamp_seconds{host=\"web1\",role=\"look\"}");

    // The gauges are those of the store, and what was counted was counted then.
    server.stop();
    let server = site.start();
    assert_eq!(checks(&server), [&shown[..], &[rejected(0)]].concat());
    assert_eq!(
        server.metric("promansible_check_timestamp_seconds{host=\"web1\",role=\"look\"}"),
        at
    );

    site.write("findings", r#"{"dns_up":false}"#);
    server.deliver(&[alert("A", "web2")]);
    server.wait_run(2, "finished");
    let [up2, at2] = reported("web2", 0);
    let both = [
        shown[0].clone(),
        shown[1].clone(),
        up2.clone(),
        shown[2].clone(),
        at2.clone(),
        rejected(0),
    ];
    assert_eq!(checks(&server), both);

    let mut hosts = inventory();
    hosts["web"]["hosts"] = json!(["web2"]);
    hosts["_meta"]["hostvars"]
        .as_object_mut()
        .unwrap()
        .remove("web1");
    site.write("hosts", &hosts.to_string());
    let left = vec![up2, at2, rejected(0)];
    server.wait("forgotten", || checks(&server) == left);
    server.stop();
    assert_eq!(checks(&site.start()), left, "it is forgotten on the disk");
}

#[test]
fn a_reload_shows_what_is_stored_as_it_is_declared_now() {
    let site = site().arg("--web.enable-lifecycle");
    let server = site.start();
    server.deliver(&[alert("A", "web1")]);
    server.wait_run(1, "finished");
    let reload = || {
        let answer = server.request("POST", "/-/reload", &[], b"");
        (answer.status, answer.text())
    };
    let before = checks(&server);
    site.declare("checks: {dns_up_total: {help: It is up.}}\n");
    let (status, why) = reload();
    let file = "alert/roles/look/meta/promansible.yml:1:10: ";
    assert!(status == 500 && why.contains(file), "{why}");
    assert_eq!(checks(&server), before);

    site.declare("checks: {dns_up: {help: It is up.}}\n");
    assert_eq!(reload().0, 200);
    let [up, at] = reported("web1", 1);
    assert_eq!(checks(&server), [up, at, rejected(1)]);

    fs::remove_file(site.path("playbook/alert/roles/look/meta/promansible.yml")).unwrap();
    assert_eq!(reload().0, 200);
    // A role that declares nothing has no series, not even of what was rejected.
    assert!(checks(&server).is_empty());
}

#[test]
fn a_check_that_failed_has_figures_too_and_a_role_that_declares_none_has_its_history() {
    let site = site().binding("both", "[look, fail]", "");
    let server = site.start();
    server.deliver(&[alert("A", "web1").label("for", "both")]);
    server.wait("ended", || server.list("state=finished").len() == 2);
    let failed = server.list("outcome=failed");
    assert_eq!(failed.len(), 1);
    assert!(checks(&server).contains(&reported("web1", 1)[0]));
    drop(server);

    let site = Site::new()
        .looking("# none\n")
        .no_bindings()
        .binding("all", "[look]", "");
    site.write("findings", FINDINGS);
    let server = site.start();
    server.deliver(&[alert("A", "web1")]);
    server.wait_run(1, "finished");
    assert_eq!(
        server.data("runs/1")["events"][0]["findings"]["note"],
        "as ever"
    );
    assert!(checks(&server).is_empty());
}
