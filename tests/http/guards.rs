//! Pausing, holding and releasing over the API, and what is told of all that.

use serde_json::{Value, json};

use crate::support::{Answer, Server, Site, alert};

fn post(server: &Server, path: &str, body: &str) -> Answer {
    let headers = [("Content-Type", "application/json")];
    let headers = if body.is_empty() { &[][..] } else { &headers };
    server.request("POST", &format!("/api/v1/{path}"), headers, body.as_bytes())
}

fn delete(server: &Server, path: &str) -> Answer {
    server.request("DELETE", &format!("/api/v1/{path}"), &[], b"")
}

#[track_caller]
fn done(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut envelope: Value = serde_json::from_slice(&answer.body).unwrap();
    envelope["data"].take()
}

#[track_caller]
fn refused(answer: &Answer, status: u16, why: &str) {
    let envelope: Value = serde_json::from_slice(&answer.body).unwrap();
    let said = envelope["error"].as_str().unwrap();
    assert_eq!((answer.status, said), (status, why));
}

#[test]
fn what_is_paused_waits_until_it_is_resumed_and_a_restart_changes_nothing() {
    let site = Site::new();
    let server = site.start();
    let paused = done(&post(&server, "pause", r#"{"why": " a new network "}"#));
    assert_eq!(paused["pause"]["by"], "the API");
    assert_eq!(paused["pause"]["why"], "a new network");
    // The first who paused it is the one to ask.
    let again = done(&post(&server, "pause", ""));
    assert_eq!(again, paused);
    server.deliver(&[alert("A", "web1")]);
    let server = {
        server.stop();
        site.start()
    };
    let guards = server.data("guards");
    assert_eq!(guards["pause"], paused["pause"]);
    assert_eq!(
        guards["held"],
        json!({"paused": 1, "storm": 0, "approval": 0})
    );
    assert_eq!(
        guards["runs"],
        json!([{"id": 1, "held": "paused", "binding": "all", "roles": ["ok"], "hosts": ["web1"]}])
    );
    let run = server.run(1);
    assert_eq!(
        (&run["state"], &run["held"]),
        (&json!("queued"), &json!("paused"))
    );
    assert_eq!(server.data("runs")["runs"][0]["held"], "paused");

    for _ in 0..2 {
        assert_eq!(done(&post(&server, "resume", "")), json!({"pause": null}));
    }
    let run = server.wait_run(1, "finished");
    assert_eq!(
        (&run["outcome"], &run["held"]),
        (&json!("successful"), &Value::Null)
    );
    assert_eq!(server.data("guards")["pause"], Value::Null);
}

#[test]
fn a_held_host_is_left_alone_until_it_is_released() {
    let server = Site::new().start();
    let two_hours = r#"{"for": "2h", "why": "it gets a new disk"}"#;
    let held = done(&post(&server, "hosts/web1/hold", two_hours));
    assert_eq!(
        (&held["host"], &held["by"], &held["why"]),
        (
            &json!("web1"),
            &json!("the API"),
            &json!("it gets a new disk")
        )
    );
    assert!(held["until"].is_string());
    server.deliver(&[alert("A", "web1"), alert("A", "web2")]);
    assert_eq!(server.decided("all", "host_held"), 1.0);
    let answer = server.start_run(r#"{"roles": ["ok"], "target": {"hosts": ["web1"]}}"#);
    assert_eq!(answer.status, 409, "{}", answer.text());

    // Held again, it is for as long as was said last.
    let held = done(&post(&server, "hosts/web1/hold", r#"{"why": "for good"}"#));
    let told = server.data("guards")["hosts"]["web1"].clone();
    assert_eq!(told["until"], Value::Null);
    assert_eq!(
        (&told["why"], &told["since"]),
        (&held["why"], &held["since"])
    );

    assert_eq!(
        done(&delete(&server, "hosts/web1/hold")),
        json!({"host": "web1"})
    );
    server.wait_run(2, "finished");
    assert_eq!(server.run(2)["hosts"], json!(["web1"]));
    refused(
        &delete(&server, "hosts/web1/hold"),
        404,
        r#""web1" is not held; no host is"#,
    );

    // One whose time is up is not told of any more.
    done(&post(
        &server,
        "hosts/localhost/hold",
        r#"{"for": "1s", "why": "x"}"#,
    ));
    refused(
        &delete(&server, "hosts/local%2Dhost/hold"),
        404,
        r#""local-host" is not held; did you mean "localhost"? the held hosts are localhost"#,
    );
    server.wait("released", || server.data("guards")["hosts"] == json!({}));
}

#[test]
fn what_is_typed_wrong_is_refused_by_its_field() {
    let server = Site::new().start();
    for (path, body, status, why) in [
        (
            "pause",
            "[]",
            400,
            "the body is not a JSON object: want {\"why\": \"the network is being rebuilt\"}",
        ),
        ("pause", r#"{"why": 7}"#, 400, "why: 7 is not a string"),
        (
            "pause",
            r#"{"reason": "x"}"#,
            400,
            "unknown field `reason`, expected `why` at line 1 column 9",
        ),
        (
            "hosts/web1/hold",
            "{}",
            400,
            "why: it is missing; give the reason for the hold",
        ),
        (
            "hosts/web1/hold",
            r#"{"why": "x", "for": "2 hours"}"#,
            400,
            "for: \"2 hours\": \" hours\" is not a unit; write it as Prometheus does, in whole numbers: 500ms, 10s, 5m, 1h30m, 90d, 1w, 1y",
        ),
        (
            "hosts/web1/hold",
            r#"{"why": "x", "until": "2h"}"#,
            400,
            "unknown field `until`, expected `for` or `why` at line 1 column 20",
        ),
        (
            "hosts/wbe1/hold",
            r#"{"why": "x"}"#,
            404,
            "no host of the inventory is named \"wbe1\"; did you mean \"web1\"? the hosts are web1, web2, twin1, twin2",
        ),
        (
            "hosts/%2A/hold",
            r#"{"why": "x"}"#,
            404,
            "no host of the inventory is named \"*\"; the hosts are web1, web2, twin1, twin2",
        ),
        (
            "bindings/al/release",
            "",
            404,
            "no binding is named \"al\"; did you mean \"all\"? the bindings are all",
        ),
        (
            "bindings//release",
            "",
            404,
            "there is no /api/v1/bindings//release",
        ),
        (
            "roles/fial/close",
            "",
            404,
            "no role is named \"fial\"; did you mean \"fail\"? the roles are fail, flood, ok, wait",
        ),
        ("runs/7/approve", "", 404, "there is no run 7"),
        ("runs/7/reject", "", 404, "there is no run 7"),
        ("runs/x/approve", "", 400, "\"x\" is not a run's number"),
    ] {
        refused(&post(&server, path, body), status, why);
    }
    let field: Value =
        serde_json::from_slice(&post(&server, "hosts/web1/hold", "{}").body).unwrap();
    assert_eq!(field["field"], "why");
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let form = server.request("POST", "/api/v1/pause", &form, b"why=x");
    assert_eq!(form.status, 415);
    for path in [
        "pause",
        "resume",
        "release",
        "hosts/web1/hold",
        "roles/ok/close",
    ] {
        let of_a_page = [("Origin", "http://evil.example")];
        let answer = server.request("POST", &format!("/api/v1/{path}"), &of_a_page, b"");
        assert_eq!(answer.status, 403, "{path}");
    }
    assert_eq!(server.data("guards")["pause"], Value::Null);
}

#[test]
fn a_storm_holds_its_binding_until_it_is_released() {
    let site = Site::new()
        .no_bindings()
        .binding("disk", "[ok]", "storm: {max_hosts: 1}");
    let server = site.start();
    let disk = |host: &str| alert("A", host).label("for", "disk");
    server.deliver(&[disk("web1"), disk("web2")]);
    let guards = server.data("guards");
    assert_eq!(guards["storms"]["disk"]["limit"], 1);
    assert_eq!(guards["held"]["storm"], 1);
    assert_eq!(server.run(1)["held"], "storm");
    assert_eq!(
        done(&post(&server, "bindings/disk/release", "")),
        json!({"released": ["disk"]})
    );
    server.wait_run(1, "finished");
    // Nothing is held any more.
    for path in ["bindings/disk/release", "release"] {
        assert_eq!(done(&post(&server, path, "")), json!({"released": []}));
    }
    server.deliver(&[disk("twin1").since(1), disk("twin2").since(1)]);
    assert_eq!(
        done(&post(&server, "release", "")),
        json!({"released": ["disk"]})
    );
}

#[test]
fn a_role_that_fails_is_told_of_and_closed_by_a_person() {
    let site = Site::new()
        .no_bindings()
        .binding("all", "[fail]", "")
        .sections("guards: {circuit: {failures: 2, retry_after: 1h}}\n");
    let server = site.start();
    server.deliver(&[alert("A", "web1")]);
    server.wait_run(1, "finished");
    let roles = server.data("guards")["roles"].clone();
    assert_eq!(roles, json!({"fail": {"hosts": ["web1"]}}));
    server.deliver(&[alert("A", "web2")]);
    server.wait_run(2, "finished");
    let role = server.data("guards")["roles"]["fail"].clone();
    assert_eq!(role["hosts"], json!(["web1", "web2"]));
    assert!(role["open"]["probe_at"].as_str() > role["open"]["since"].as_str());
    server.deliver(&[alert("B", "web1")]);
    assert_eq!(server.decided("all", "circuit_open"), 1.0);

    assert_eq!(
        done(&post(&server, "roles/fail/close", "")),
        json!({"role": "fail", "was_open": true})
    );
    assert_eq!(
        done(&post(&server, "roles/ok/close", "")),
        json!({"role": "ok", "was_open": false})
    );
    // What it held up is decided again.
    server.wait_run(3, "finished");
}

#[test]
fn a_run_waits_until_a_person_approves_or_rejects_it() {
    let site = Site::new()
        .no_bindings()
        .binding("all", "[ok]", "approval: {ttl: 2h}");
    let server = site.start();
    server.deliver(&[alert("A", "web1")]);
    server.deliver(&[alert("B", "web2")]);
    let guards = server.data("guards");
    assert_eq!(guards["held"]["approval"], 2);
    assert_eq!(guards["runs"][1]["id"], 2);
    assert_eq!(
        guards["runs"][1]["until"],
        server.run(2)["approval"]["until"]
    );
    assert_eq!(server.run(2)["held"], "approval");

    assert_eq!(
        done(&post(&server, "runs/1/approve", "")),
        json!({"state": "approved"})
    );
    let run = server.wait_run(1, "finished");
    assert_eq!(run["outcome"], "successful");
    assert_eq!(run["approval"]["by"], "the API");
    assert!(run["approval"]["at"].is_string());
    assert_eq!(
        done(&post(&server, "runs/2/reject", "")),
        json!({"state": "rejected"})
    );
    let run = server.run(2);
    assert_eq!(
        (&run["outcome"], &run["message"]),
        (&json!("canceled"), &json!("rejected by the API"))
    );
    for run in [1, 2] {
        let why = format!("run {run} does not wait for approval");
        refused(
            &post(&server, &format!("runs/{run}/approve"), ""),
            409,
            &why,
        );
        refused(&post(&server, &format!("runs/{run}/reject"), ""), 409, &why);
    }
}

#[test]
fn roles_and_bindings_tell_how_often_they_helped() {
    let site = Site::new()
        .no_bindings()
        .binding("disk", "[ok]", "verify_within: 1h")
        .binding("other", "[ok]", "");
    let server = site.start();
    let disk = |name: &str| alert(name, "web1").label("for", "disk");
    for name in ["A", "B"] {
        server.deliver(&[disk(name)]);
    }
    for run in [1, 2] {
        server.wait_run(run, "finished");
    }
    server.deliver(&[disk("A").resolved()]);
    let counts = json!({"effective": 1, "ineffective": 0, "unknown": 0});
    let none = json!({"effective": 0, "ineffective": 0, "unknown": 0, "by_binding": {}});
    let mut of_role = counts.clone();
    of_role["by_binding"] = json!({"disk": counts});
    assert_eq!(server.data("roles/ok")["verdicts"], of_role);
    let roles = server.data("roles")["roles"].clone();
    let of = |name: &str| {
        let mut roles = roles.as_array().unwrap().iter();
        roles.find(|role| role["name"] == name).unwrap()["verdicts"].clone()
    };
    assert_eq!((of("ok"), of("fail")), (of_role, none));
    let bindings = server.data("bindings")["bindings"].clone();
    assert_eq!(bindings[0]["verdicts"], json!({"ok": counts}));
    assert_eq!(bindings[1]["verdicts"], json!({}));
    assert_eq!(
        server.data("bindings/disk")["verdicts"],
        json!({"ok": counts})
    );
}
