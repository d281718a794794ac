//! Schedules and bindings over HTTP.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Answer, Server, Site, alert};

const JSON: &[(&str, &str)] = &[("Content-Type", "application/json")];

fn site() -> Site {
    let site = Site::new().no_bindings();
    for role in ["routine/roles/check_dns", "routine/roles/wait_long"] {
        fs::create_dir_all(site.path(&format!("playbook/{role}"))).unwrap();
    }
    site
}

fn send(server: &Server, method: &str, path: &str, body: &Value) -> Answer {
    let path = format!("/api/v1/{path}");
    server.request(method, &path, JSON, body.to_string().as_bytes())
}

fn value(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

/// Status, field and error of a refusal.
#[track_caller]
fn refused(answer: &Answer) -> (u16, Value, String) {
    let value = value(answer);
    assert_eq!(value["status"], "error", "{value}");
    let error = value["error"].as_str().unwrap().to_owned();
    (answer.status, value["field"].clone(), error)
}

fn every_minute(name: &str) -> Value {
    json!({"name": name, "cron": "* * * * *", "roles": ["check_dns"], "target": {"hosts": ["web1"]}})
}

#[test]
fn a_schedule_that_is_made_starts_when_its_minute_comes_and_once() {
    let site = site();
    let server = site.start();
    let made = send(&server, "POST", "schedules", &every_minute("dns"));
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.header("etag"), Some("\"r1\""));
    let data = &value(&made)["data"];
    assert_eq!(data["source"], "api");
    assert_eq!(data["next"].as_array().unwrap().len(), 5);
    let due = data["next"][0].as_str().unwrap().to_owned();
    let next = "promansible_schedule_next_run_timestamp_seconds{schedule=\"dns\"}";
    server.wait("the next time", || {
        server.get("/metrics").text().contains(next)
    });
    assert!(server.metric(next) > 1.7e9);
    // A minute is the shortest that cron knows.
    for _ in 0..80 {
        if !server.list("schedule=dns").is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    let run = server.wait_run(1, "finished");
    assert_eq!(run["trigger"], "schedule");
    assert_eq!(
        (&run["schedule"], &run["due_at"]),
        (&json!("dns"), &json!(due))
    );
    assert_eq!(
        (&run["outcome"], &run["hosts"]),
        (&json!("successful"), &json!(["web1"]))
    );
    server.kill();
    let server = site.start();
    assert_eq!(server.list("schedule=dns").len(), 1, "one time, one run");
    let shown = server.data("schedules/dns");
    assert_eq!(
        (&shown["last"]["run"], &shown["last"]["due_at"]),
        (&json!(1), &json!(due))
    );
    assert_eq!(shown["missed_times"], 0);
    let last = server.metric("promansible_schedule_last_run_timestamp_seconds{schedule=\"dns\"}");
    assert!(last > 1.7e9);
}

#[test]
fn a_schedule_is_made_and_changed_by_who_knows_it_as_it_is() {
    let site = site().sections(
        "schedules: [{name: filed, cron: '0 4 * * *', timezone: Asia/Shanghai, roles: [check_dns], target: {group: web}, vars: {zone: secret}}]",
    );
    let server = site.start();
    let filed = server.data("schedules/filed");
    assert_eq!(
        (&filed["source"], &filed["vars"]),
        (&json!("file"), &json!({"zone": "(hidden)"}))
    );
    assert!(filed["next"][0].as_str().unwrap().ends_with("T20:00:00Z"));

    let yearly = json!({"name": "new-year", "cron": "0 0 1 1 *", "roles": ["check_dns"],
        "target": "controller", "vars": {"zone": "{{ 7 * 7 }}"}});
    assert_eq!(send(&server, "POST", "schedules", &yearly).status, 201);
    let (status, _, error) = refused(&send(&server, "POST", "schedules", &yearly));
    assert_eq!((status, error.contains("already")), (409, true), "{error}");
    let taken =
        json!({"name": "filed", "cron": "@daily", "roles": ["check_dns"], "target": "controller"});
    let (status, _, error) = refused(&send(&server, "POST", "schedules", &taken));
    assert_eq!(
        (status, error.contains("configuration file")),
        (409, true),
        "{error}"
    );
    for (method, name) in [("PUT", "filed"), ("DELETE", "filed")] {
        assert_eq!(
            send(&server, method, &format!("schedules/{name}"), &taken).status,
            409,
            "{method}"
        );
    }

    let shown = server.get("/api/v1/schedules/new-year");
    let etag = shown.header("etag").unwrap().to_owned();
    let typed = value(&shown)["data"]["typed"].clone();
    assert_eq!(typed["vars"], json!({"zone": "{{ 7 * 7 }}"}));
    let mut changed = typed.clone();
    changed["timezone"] = json!("Europe/Berlin");
    let matching = [
        ("Content-Type", "application/json"),
        ("If-Match", etag.as_str()),
    ];
    let put = |body: &Value| {
        let body = body.to_string();
        server.request(
            "PUT",
            "/api/v1/schedules/new-year",
            &matching,
            body.as_bytes(),
        )
    };
    let answer = put(&changed);
    assert_eq!(
        (answer.status, answer.header("etag")),
        (200, Some("\"r2\""))
    );
    assert_eq!(
        value(&answer)["data"]["next"][0].as_str().unwrap()[4..],
        *"-12-31T23:00:00Z"
    );
    let (status, _, error) = refused(&put(&typed));
    assert_eq!(
        (status, error.contains("changed in the meantime")),
        (412, true),
        "{error}"
    );
    changed["name"] = json!("other");
    assert_eq!(
        send(&server, "PUT", "schedules/new-year", &changed).status,
        400
    );
}

#[test]
fn a_schedule_is_paused_run_by_hand_and_removed() {
    let site = site();
    let server = site.start();
    let yearly = json!({"name": "new-year", "cron": "0 0 1 1 *", "roles": ["check_dns"],
        "target": "controller", "vars": {"zone": "{{ 7 * 7 }}"}});
    assert_eq!(send(&server, "POST", "schedules", &yearly).status, 201);
    let paused = send(&server, "POST", "schedules/new-year/pause", &json!(null));
    assert_eq!(paused.status, 200, "{}", paused.text());
    let data = &value(&paused)["data"];
    assert_eq!(
        (&data["paused"]["by"], &data["next"]),
        (&json!("the API"), &json!([]))
    );
    let gauge = "promansible_schedule_paused{schedule=\"new-year\"}";
    server.wait("the gauge", || server.metric(gauge) > 0.5);
    // Also a paused one can be run by hand.
    let run = send(&server, "POST", "schedules/new-year/run", &json!(null));
    assert_eq!((run.status, &value(&run)["data"]["id"]), (202, &json!(1)));
    let run = server.wait_run(1, "finished");
    assert_eq!(
        (&run["trigger"], &run["schedule"]),
        (&json!("manual"), &json!("new-year"))
    );
    let vars = site.vars_of(1);
    assert_eq!(
        vars["zone"],
        json!({"__ansible_unsafe": "{{ 7 * 7 }}"}),
        "what came over the API is data"
    );
    assert_eq!(
        send(&server, "POST", "schedules/new-year/resume", &json!(null)).status,
        200
    );
    server.wait("the gauge", || server.metric(gauge) < 0.5);

    assert_eq!(
        send(&server, "DELETE", "schedules/new-year", &json!(null)).status,
        200
    );
    assert_eq!(
        send(&server, "DELETE", "schedules/new-year", &json!(null)).status,
        404
    );
    assert_eq!(server.get("/api/v1/schedules/new-year").status, 404);
    assert!(
        !server
            .get("/metrics")
            .text()
            .contains("schedule=\"new-year\"")
    );
}

#[test]
fn a_binding_that_is_made_handles_alerts_from_then_on() {
    let site = site();
    let server = site.start();
    server.deliver(&[alert("DiskFull", "web1")]);
    assert_eq!(server.list(""), Vec::<u64>::new());
    let binding = json!({"name": "disk", "matchers": ["alertname=\"DiskFull\""], "roles": ["ok"],
        "batch_window": "0s", "vars": {"path": "{{ lookup('pipe', 'id') }}"}});
    let made = send(&server, "POST", "bindings", &binding);
    assert_eq!(made.status, 201, "{}", made.text());
    // What was skipped because nothing was bound runs when it is told again.
    server.deliver(&[alert("DiskFull", "web1")]);
    let run = server.wait_run(1, "finished");
    assert_eq!(
        (&run["binding"], &run["outcome"]),
        (&json!("disk"), &json!("successful"))
    );
    assert_eq!(
        site.vars_of(1)["path"],
        json!({"__ansible_unsafe": "{{ lookup('pipe', 'id') }}"})
    );
    assert_eq!(server.decided("disk", "run"), 1.0);

    // It stays, also where the file comes to have one of its name; then it takes no part.
    server.stop();
    let site = site.binding("disk", "[fail]", "");
    let server = site.start();
    server.wait_for_log("an object made over the API is ignored");
    let all = server.data("bindings");
    assert_eq!(all["bindings"].as_array().unwrap().len(), 1);
    assert_eq!(all["bindings"][0]["source"], "file");
    assert_eq!(all["conflicts"][0]["name"], "disk");
    assert_eq!(server.metric("promansible_objects_in_conflict"), 1.0);
    assert!(server.data("bindings/disk")["conflict"].is_string());
    assert_eq!(
        send(&server, "DELETE", "bindings/disk", &json!(null)).status,
        200
    );
    assert_eq!(server.metric("promansible_objects_in_conflict"), 0.0);
}

#[test]
fn what_is_wrong_is_refused_with_its_field() {
    let site = site();
    let server = site.start();
    for (path, body, field) in [
        (
            "schedules",
            json!({"name": "a", "cron": "x", "roles": ["check_dns"], "target": "controller"}),
            json!("cron"),
        ),
        (
            "schedules",
            json!({"name": "a", "cron": "@daily", "roles": ["nope"], "target": "controller"}),
            json!("roles"),
        ),
        (
            "schedules",
            json!({"name": "a", "cron": "@daily", "roles": ["check_dns"], "target": {"group": "*"}}),
            json!("target"),
        ),
        (
            "bindings",
            json!({"name": "a", "matchers": ["alertname"], "roles": ["ok"]}),
            json!("matchers"),
        ),
        (
            "bindings",
            json!({"name": "a", "matchers": ["a=b"], "roles": ["ok"], "vars": {"ansible_user": "root"}}),
            json!("vars"),
        ),
        (
            "bindings",
            json!({"name": "a", "matchers": ["a=b"], "roles": ["ok"], "timeout": "1y"}),
            json!("timeout"),
        ),
    ] {
        let (status, found, error) = refused(&send(&server, "POST", path, &body));
        assert_eq!((status, &found), (400, &field), "{error}");
        assert!(error.starts_with(field.as_str().unwrap()), "{error}");
    }
    for (query, field) in [
        ("cron=%40daily&timezone=Mars", "timezone"),
        ("cron=1", "cron"),
        ("", "cron"),
        ("cron=%40daily&count=0", "count"),
    ] {
        let (status, found, _) = refused(&server.get(&format!("/api/v1/cron?{query}")));
        assert_eq!((status, found), (400, json!(field)), "{query}");
    }
    let times = server
        .data("cron?cron=30+2+*+*+*&timezone=Europe/Berlin&count=2&from=2026-10-24T12:00:00Z");
    assert_eq!(
        times["next"],
        json!(["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"])
    );
    assert_eq!(server.data("schedules")["schedules"], json!([]));
    let answer = server.request("POST", "/api/v1/schedules", &[], b"{}");
    assert_eq!(answer.status, 415);
}
