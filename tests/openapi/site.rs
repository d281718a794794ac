//! A server that has something of everything.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Server, Site, alert};

const RULES: &str = "groups:
  - name: disks
    rules:
      - alert: DiskWillFill
        expr: up == 0
        labels: {severity: critical}
        annotations: {summary: '{{ $labels.instance }}', runbook_url: 'http://wiki/disk'}
";

const SPEC: &str = "argument_specs:
  main:
    short_description: Asks for a name
    options:
      zone: {type: str, default: example.org, description: Whose name.}
      servers: {type: list, elements: dict, options: {address: {type: str, required: true}}}
";

/// Starts it: runs of every trigger, an alert that fires, facts, a host that was enrolled, a binding and a schedule of
/// each origin, rules.
pub(crate) fn start() -> (Site, Server) {
    let site = Site::new()
        .binding("filed", "[ok]", "vars: {a: 1}; storm: {max_hosts: 9}")
        .binding("asks", "[fail]", "approval: {}; active_times: [nights]")
        .arg("--web.enable-lifecycle")
        .sections(
            "schedules: [{name: filed, cron: '0 4 * * *', roles: [check_dns], target: {group: web}}]
time_intervals: [{name: nights, time_intervals: [{times: [{start_time: '00:00', end_time: '24:00'}]}]}]
prometheus: {rule_files: [SITE/rules.yml, SITE/none.yml]}
",
        );
    site.write("rules.yml", RULES);
    fs::create_dir_all(site.path("playbook/routine/roles/check_dns")).unwrap();
    let role = "playbook/routine/roles/check_names";
    site.write(&format!("{role}/meta/argument_specs.yml"), SPEC);
    site.write(&format!("{role}/README.md"), "# check_names\n");
    fs::create_dir_all(site.path(&format!("{role}/tasks"))).unwrap();
    let server = site.start();
    server.deliver(&[
        alert("DiskWillFill", "web1:9100").annotation("summary", "It will be full."),
        alert("Elsewhere", "nowhere"),
        alert("DiskWillFill", "web2").since(1).resolved(),
    ]);
    server.started_run(r#"{"roles": ["check_names"], "target": {"hosts": ["web2"]}}"#);
    server.started_run(r#"{"roles": ["fail"], "target": {"group": "web"}, "vars": {"a": 1}}"#);
    for (path, body) in [
        (
            "hosts",
            json!({"name": "web9", "address": "10.0.0.5", "groups": ["new"]}),
        ),
        (
            "bindings",
            json!({"name": "spare", "matchers": ["team=db"], "roles": ["ok"]}),
        ),
        (
            "schedules",
            json!({"name": "spare", "cron": "@yearly", "roles": ["check_dns"], "target": "controller"}),
        ),
    ] {
        made(&server, path, &body, 201);
    }
    for gathered in ["Debian", "Devuan"] {
        made(
            &server,
            "facts",
            &json!({"facts": {"web1": {"distribution": gathered}}}),
            200,
        );
    }
    made(&server, "schedules/spare/run", &Value::Null, 202);
    made(&server, "schedules/filed/pause", &Value::Null, 200);
    server.deliver(&[alert("A", "web1").label("for", "asks").since(7)]);
    let asks = &server.data("guards")["runs"][0];
    let approve = format!("runs/{}/approve", asks["id"]);
    made(&server, &approve, &Value::Null, 200);
    let hold = json!({"for": "1y", "why": "it gets a new disk"});
    made(&server, "hosts/twin1/hold", &hold, 200);
    for run in server.list("limit=100") {
        server.wait_run(run, "finished");
    }
    (site, server)
}

#[track_caller]
fn made(server: &Server, path: &str, body: &Value, status: u16) {
    let path = format!("/api/v1/{path}");
    let headers = [("Content-Type", "application/json")];
    let answer = server.request("POST", &path, &headers, body.to_string().as_bytes());
    assert_eq!(answer.status, status, "{path}: {}", answer.text());
}

/// The document as it is given out.
pub(crate) fn document(server: &Server) -> Value {
    let answer = server.get("/api/v1/openapi.json");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    serde_json::from_slice(&answer.body).unwrap()
}
