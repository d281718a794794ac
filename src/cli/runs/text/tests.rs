//! What a run looks like to a person.

use serde_json::{Value, json};

use super::*;

fn at(seconds: f64) -> DateTime<Utc> {
    #[allow(clippy::cast_possible_truncation)] // a few seconds
    DateTime::from_timestamp_millis((seconds * 1000.0) as i64).unwrap()
}

fn run(more: &Value) -> Value {
    let mut run = json!({
        "id": 7, "trigger": "alert", "binding": "fleet", "state": "queued",
        "work": {"roles": ["reach", "mend"], "become": true, "gather_facts": true, "timeout_seconds": 600.0},
        "hosts": ["web10", "db1"],
        "created_at": at(1.0), "ready_at": at(1.0),
    });
    let more = more.as_object().unwrap().clone();
    run.as_object_mut().unwrap().extend(more);
    run
}

fn shown(run: &Value, episodes: &Value, events: &Value, color: bool) -> String {
    let detail = json!({"run": run, "episodes": episodes, "events": events});
    describe(&serde_json::from_value(detail).unwrap(), at(75.5), color)
}

fn failed() -> (Value, Value, Value) {
    let run = run(&json!({
        "state": "finished", "started_at": at(2.0), "finished_at": at(4.5), "outcome": "failed",
        "message": "mend : ask: no\n  such   file", "events_dropped": 2,
        "results": {
            "db1": {"outcome": "unreachable", "unreachable": 1, "message": "reach : gather: timed out"},
            "web10": {"outcome": "failed", "ok": 2, "changed": 1, "failed": 1, "message": "mend : ask: no\n  such   file"},
        },
    }));
    let alert = |name: &str, host: &str, more: Value| {
        json!({
            "alertname": name, "fingerprint": "00000000000000ff", "starts_at": at(0.0), "hosts": [host],
            "episode": more,
        })
    };
    let known = |name: &str, status: &str| json!({"status": status, "labels": {"alertname": name, "host": "a\u{1b}[2J"}, "ends_at": (status == "resolved").then(|| at(60.0))});
    let mut gone = alert("Gone", "db1", Value::Null);
    gone["left_out"] = true.into();
    let episodes = json!([
        alert("Slow", "web10", known("Slow", "resolved")),
        gone,
        alert("Full", "web10", known("Full", "firing")),
    ]);
    let task = |host: &str, status: &str, task: &str| json!({"at": at(3.0), "host": host, "role": "mend", "task": task, "action": "command", "status": status});
    let events = json!([
        task("db1", "unreachable", "gather"),
        task("web10", "ok", "look"),
        task("web10", "changed", "turn"),
        task("web10", "skipped", "wait"),
        task("web10", "ignored", "try"),
        task("web10", "failed", &format!("ask {}", "x".repeat(90))),
    ]);
    (run, episodes, events)
}

#[test]
fn a_failed_run_says_why_where_and_what() {
    let (run, episodes, events) = failed();
    assert_eq!(
        shown(&run, &episodes, &events, false),
        r#"run        7
status     failed
because    mend : ask: no such file
trigger    alert (binding fleet)
roles      reach, mend
hosts      db1, web10
created    1970-01-01 00:00:01.000 UTC
started    1970-01-01 00:00:02.000 UTC
ended      1970-01-01 00:00:04.500 UTC (after 2.5s)

alerts
  Full  firing since 1970-01-01 00:00:00 UTC  00000000000000ff  on web10
    alertname="Full" host="a\u{1b}[2J"
  Gone  since 1970-01-01 00:00:00 UTC  00000000000000ff  on db1  (resolved before the start)
  Slow  resolved, fired from 1970-01-01 00:00:00 to 1970-01-01 00:01:00 UTC  00000000000000ff  on web10
    alertname="Slow" host="a\u{1b}[2J"

hosts
  db1    unreachable  ok=0 changed=0 failed=0 unreachable=1 skipped=0
    reach : gather: timed out
  web10  failed       ok=2 changed=1 failed=1 unreachable=0 skipped=0
    mend : ask: no such file

tasks
  00:00:03.000  unreachable  db1    mend : gather
  00:00:03.000  ok           web10  mend : look
  00:00:03.000  changed      web10  mend : turn
  00:00:03.000  skipped      web10  mend : wait
  00:00:03.000  ignored      web10  mend : try
  00:00:03.000  failed       web10  mend : ask xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
  and 2 more, beyond runs.events_limit
"#
    );
}

#[test]
fn colours_say_how_each_host_and_each_task_ended() {
    let (run, episodes, events) = failed();
    let text = shown(&run, &episodes, &events, true);
    for painted in [
        "status     \x1b[31mfailed\x1b[0m\n",
        "  db1    \x1b[31munreachable\x1b[0m  ok=0",
        "  web10  \x1b[31mfailed\x1b[0m       ok=2",
        "  \x1b[31munreachable\x1b[0m  db1    mend : gather",
        "  \x1b[32mok\x1b[0m           web10",
        "  \x1b[33mchanged\x1b[0m      web10",
        "  \x1b[2mskipped\x1b[0m      web10",
        "  \x1b[2mignored\x1b[0m      web10",
        "  \x1b[31mfailed\x1b[0m       web10  mend : ask",
    ] {
        assert!(text.contains(painted), "{painted:?} in {text}");
    }
}

#[test]
fn a_run_that_is_under_way_says_for_how_long_and_one_that_never_was_says_nothing() {
    let running = run(&json!({"state": "running", "started_at": at(2.0)}));
    let text = shown(&running, &json!([]), &json!([]), false);
    assert!(
        text.ends_with("started    1970-01-01 00:00:02.000 UTC (running for 1m14s)\n"),
        "{text}"
    );
    assert!(!text.contains("mode"), "{text}");
    let canceled =
        run(&json!({"state": "finished", "finished_at": at(3.0), "outcome": "canceled"}));
    let text = shown(&canceled, &json!([]), &json!([]), false);
    assert!(
        text.ends_with("ended      1970-01-01 00:00:03.000 UTC\n"),
        "{text}"
    );
}

#[test]
fn a_check_says_that_it_is_one() {
    let mut check = run(&json!({"trigger": "manual", "binding": null}));
    check["work"]["check"] = true.into();
    let text = shown(&check, &json!([]), &json!([]), false);
    let begins = "run        7\nstatus     queued\ntrigger    manual\nmode       check (reports changes without making them)\n";
    assert!(text.starts_with(begins), "{text}");
}

#[test]
fn hosts_are_sorted_and_not_too_many() {
    let names = ["c", "a", "d", "b"].map(str::to_owned);
    assert_eq!(hosts(&names, ",", 3), "a,b,c and 1 more");
    assert_eq!(hosts(&names, ", ", 4), "a, b, c, d");
}
