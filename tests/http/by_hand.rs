//! Runs that a person asks for.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Answer, Server, Site, alert, inventory};

const OK_ON_WEB1: &str = r#"{"roles":["ok"],"target":{"hosts":["web1"]}}"#;
const WAIT_ON_WEB1: &str = r#"{"roles":["wait"],"target":{"hosts":["web1"]}}"#;

fn error(answer: &Answer) -> (u16, String, String) {
    let error: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(error["status"], "error");
    let text = |key: &str| error[key].as_str().unwrap().to_owned();
    (answer.status, text("errorType"), text("error"))
}

#[track_caller]
fn refused(server: &Server, body: &str) -> (u16, String, String) {
    error(&server.start_run(body))
}

#[test]
fn a_run_is_made_as_it_was_asked_for() {
    let site = Site::new();
    fs::create_dir_all(site.path("playbook/routine/roles/check_dns")).unwrap();
    let server = site.start();
    let answer = server.start_run(
        r#"{"roles":["check_dns","ok"],"target":{"group":"web"},"vars":{"zone":"secret"},
            "check":true,"become":true,"gather_facts":false,"timeout":"90s","allow_overlap":true}"#,
    );
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (202, r#"{"status":"success","data":{"id":1}}"#)
    );
    let run = server.wait_run(1, "finished");
    assert_eq!(run["outcome"], "successful");
    assert_eq!(run["trigger"], "manual");
    assert_eq!(run["binding"], json!(null));
    assert_eq!(run["hosts"], json!(["web1", "web2"]));
    assert_eq!(
        run["work"],
        json!({
            "roles": ["check_dns", "ok"], "controller": false, "vars": {"zone": "(hidden)"}, "become": true,
            "gather_facts": false, "check": true, "timeout_seconds": 90.0, "allow_overlap": true,
            "rerun_on_interrupt": false, "inert_vars": true,
        })
    );
    assert_eq!(server.data("runs/1")["episodes"], json!([]));
    assert_eq!(
        site.journal()[0],
        "begin 1 (check) check_dns ok @ web1 web2",
        "the roles, in their order"
    );
    let counted =
        r#"promansible_runs_total{outcome="successful",role="check_dns",trigger="manual"}"#;
    assert_eq!(server.metric(counted), 1.0);
    // A check changed nothing, so it is no success of the role.
    assert!(
        !server
            .get("/metrics")
            .text()
            .contains("promansible_role_last_success_timestamp_seconds{")
    );

    let id = server.started_run(r#"{"roles":["ok"],"target":"controller"}"#);
    let run = server.wait_run(id, "finished");
    assert_eq!(run["hosts"], json!(["localhost"]));
    assert_eq!(run["work"]["controller"], true);
    assert_eq!(run["work"]["timeout_seconds"], 600.0);
}

#[test]
fn variables_are_checked_before_anything_is_queued() {
    let site = Site::new();
    let spec = "argument_specs: {main: {options: {
        dns_name: {required: true}, dns_tries: {type: int}, dns_servers: {type: list, elements: dict, options: {address: {}, port: {type: int}}}}}}";
    site.write(
        "playbook/routine/roles/check_dns/meta/argument_specs.yml",
        spec,
    );
    let mut inventory = inventory();
    inventory["_meta"]["hostvars"]["web1"]["dns_name"] = json!("{{ site }}");
    site.write("hosts", &inventory.to_string());
    let server = site.start();
    let ask = |host: &str, vars: &Value| {
        let body =
            json!({"roles": ["check_dns"], "target": {"hosts": [host]}, "vars": vars}).to_string();
        server.start_run(&body)
    };
    let (status, kind, why) = error(&ask(
        "web2",
        &json!({"dns_tries": "x", "dns_servers": [{"address": "a"}, {"prot": 53}], "tires": 1}),
    ));
    assert_eq!((status, kind.as_str()), (400, "bad_data"));
    assert_eq!(
        why,
        "vars.dns_name: it is required but missing; want a text; \
         vars.dns_tries: found \"x\"; want a whole number; \
         vars.dns_servers[1].prot: unknown key; did you mean \"port\"? the keys here are address, port; \
         vars.tires: check_dns has no such variable; the variables are dns_name, dns_tries, dns_servers"
    );
    assert_eq!(server.data("runs")["runs"], json!([]));
    // The inventory sets it for web1, and what Ansible can convert is right.
    let vars = json!({"dns_tries": "3", "dns_servers": ["address=b port=53"]});
    assert_eq!(ask("web1", &vars).status, 202);
    assert_eq!(ask("web2", &json!({"dns_name": "x"})).status, 202);
}

#[test]
fn a_binding_that_only_checks_makes_runs_that_only_check() {
    let site = Site::new()
        .no_bindings()
        .binding("try", "[ok]", "mode: check");
    let server = site.start();
    server.deliver(&[alert("A", "web1").label("for", "try")]);
    let run = server.wait_run(1, "finished");
    assert_eq!(run["work"]["check"], true);
    assert_eq!(site.journal()[0], "begin 1 (check) ok @ web1");
}

#[test]
fn what_cannot_be_run_is_refused_with_its_field() {
    let server = Site::new().start();
    for (body, error) in [
        ("[]", "the body is not a JSON object"),
        (
            r#"{"roles":["flod"],"target":"controller"}"#,
            r#"roles: unknown role "flod"; did you mean "flood"?"#,
        ),
        (
            r#"{"roles":["ok"],"target":{"hosts":["web1"]},"dry":1}"#,
            "unknown field `dry`, expected one of",
        ),
        (
            r#"{"roles":["ok"],"target":{"hosts":["web1","web9"]}}"#,
            r#"target: no host of the inventory has the name or address "web9""#,
        ),
        (
            r#"{"roles":["ok"],"target":{"hosts":["10.0.0.1"]}}"#,
            "target: no host of the inventory has the name",
        ),
        (
            r#"{"roles":["ok"],"target":{"hosts":["edge"]}}"#,
            r#"target: "edge" is the name of an inventory group"#,
        ),
        (
            r#"{"roles":["ok"],"target":{"group":"wbe"}}"#,
            r#"target: no group of the inventory is named "wbe""#,
        ),
        (
            r#"{"roles":["ok"],"target":{"group":"empty"}}"#,
            r#"target: the group "empty" has no hosts"#,
        ),
    ] {
        let (status, kind, why) = refused(&server, body);
        assert_eq!((status, kind.as_str()), (400, "bad_data"), "{body}");
        assert!(why.starts_with(error), "{body}: {why}");
    }
    let long = format!(r#"{{"vars":{{"a":"{}"}}}}"#, "x".repeat(64 << 10));
    let (status, _, why) = refused(&server, &long);
    assert_eq!(
        (status, why.as_str()),
        (413, "the body is larger than 65536 bytes")
    );
    assert_eq!(server.list(""), [0; 0]);
}

#[test]
fn a_page_of_another_site_cannot_start_a_run() {
    let server = Site::new().start();
    let post = |headers: &[(&str, &str)]| {
        error(&server.request("POST", "/api/v1/runs", headers, OK_ON_WEB1.as_bytes()))
    };
    // What a form can be sent as, and nothing at all.
    for headers in [
        &[("Content-Type", "text/plain")][..],
        &[("Content-Type", "application/x-www-form-urlencoded")],
        &[(
            "Content-Type",
            "multipart/form-data; boundary=application/json",
        )],
        &[],
    ] {
        let (status, _, why) = post(headers);
        assert_eq!(
            (status, why.as_str()),
            (415, "want Content-Type: application/json")
        );
    }
    let json = ("Content-Type", "application/json");
    for header in [
        ("Sec-Fetch-Site", "cross-site"),
        ("Origin", "http://evil.example"),
    ] {
        let (status, kind, _) = post(&[json, header]);
        assert_eq!((status, kind.as_str()), (403, "forbidden"));
    }
    assert_eq!(server.list(""), [0; 0]);
    let typed = [("Content-Type", "Application/JSON; charset=utf-8")];
    let answer = server.request("POST", "/api/v1/runs", &typed, OK_ON_WEB1.as_bytes());
    assert_eq!(answer.status, 202);
    let answer = server.request("PUT", "/api/v1/runs", &[json], b"{}");
    assert_eq!(
        (answer.status, answer.header("allow")),
        (405, Some("GET, HEAD, POST"))
    );
}

#[test]
fn while_it_cannot_be_taken_it_is_said_to_come_again() {
    let site = Site::new().runs("queue_limit", "1");
    site.write("hold", "");
    let server = site.start_only();
    server.wait_for_log("the inventory is held");
    let (status, kind, why) = refused(&server, OK_ON_WEB1);
    assert_eq!((status, kind.as_str()), (503, "unavailable"));
    assert!(why.starts_with("the inventory cannot be read"), "{why}");
    site.remove("hold");
    server.wait("taken", || server.start_run(WAIT_ON_WEB1).status == 202);
    server.wait_run(1, "running");
    assert_eq!(server.started_run(OK_ON_WEB1), 2);
    let (status, kind, why) = refused(&server, OK_ON_WEB1);
    assert_eq!((status, kind.as_str()), (503, "unavailable"));
    assert_eq!(
        why,
        "the queue is full: 1 runs are queued, 1 more are wanted and runs.queue_limit is 1"
    );
    assert_eq!(server.list(""), [2, 1]);
    site.go();
}

#[test]
fn it_meets_no_other_run_on_its_host_unless_that_was_asked_for() {
    let site = Site::new().no_bindings().binding("long", "[wait]", "");
    let server = site.start();
    server.deliver(&[alert("A", "web1").label("for", "long")]);
    server.wait_run(1, "running");
    server.started_run(OK_ON_WEB1);
    let beside = server.started_run(r#"{"roles":["ok"],"target":{"hosts":["web2"]}}"#);
    let overlapping = OK_ON_WEB1.replace(r#"["ok"]"#, r#"["ok"],"allow_overlap":true"#);
    let overlapping = server.started_run(&overlapping);
    server.wait_run(beside, "finished");
    server.wait_run(overlapping, "finished");
    assert_eq!(server.run(2)["state"], "queued");
    site.go();
    server.wait_run(2, "finished");
    let journal = site.journal();
    let place = |line: &str| journal.iter().position(|l| l.starts_with(line)).unwrap();
    assert!(place("end 1") < place("begin 2"), "{journal:?}");
}

#[test]
fn it_survives_a_kill_while_it_waits_and_is_interrupted_while_it_runs() {
    let site = Site::new();
    let server = site.start();
    server.started_run(WAIT_ON_WEB1);
    server.wait_run(1, "running");
    server.wait("begun", || !site.journal().is_empty());
    server.started_run(OK_ON_WEB1);
    server.started_run(WAIT_ON_WEB1);
    server.kill();
    site.assert_nothing_left();
    let server = site.start();
    assert_eq!(server.run(1)["outcome"], "interrupted");
    assert_eq!(server.wait_run(2, "finished")["outcome"], "successful");
    server.wait_run(3, "running");
    assert_eq!(server.cancel(3).status, 200);
    assert_eq!(server.wait_run(3, "finished")["outcome"], "canceled");
    assert_eq!(server.list(""), [3, 2, 1], "nothing is queued again");
    site.assert_nothing_left();
}
