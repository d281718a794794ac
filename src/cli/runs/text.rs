//! Runs as a person reads them.

use std::fmt::Write;

use chrono::{DateTime, Utc};

use super::findings::findings;
use super::{Detail, Episode};
use crate::cli::table::{Cell, columns};
use crate::cli::terminal::{Ink, cut, folded, plain};
use crate::cli::words::{alert_name, duration, firing, labels, second};
use crate::run::{HostResult, Outcome, Run, RunId, State, TaskEvent, TaskStatus};

/// What a run's state is called in a list: how it ended, or where it is.
fn status(run: &Run) -> &'static str {
    run.outcome.map_or(run.state.as_str(), Outcome::as_str)
}

fn ink(run: &Run) -> Ink {
    match (run.outcome, run.state) {
        (Some(outcome), _) => ink_of_outcome(outcome),
        (None, State::Running) => Ink::Cyan,
        (None, _) => Ink::Plain,
    }
}

fn ink_of_outcome(outcome: Outcome) -> Ink {
    match outcome {
        Outcome::Successful => Ink::Green,
        Outcome::Canceled => Ink::Dim,
        Outcome::Interrupted => Ink::Yellow,
        Outcome::Failed | Outcome::Unreachable | Outcome::Timeout => Ink::Red,
    }
}

/// Ansible's own colours, with what matters less dimmed.
fn ink_of_task(status: TaskStatus) -> Ink {
    match status {
        TaskStatus::Ok => Ink::Green,
        TaskStatus::Changed => Ink::Yellow,
        TaskStatus::Skipped | TaskStatus::Ignored => Ink::Dim,
        TaskStatus::Failed | TaskStatus::Unreachable => Ink::Red,
    }
}

/// How long a run took, or has taken until now; nothing for one that never started.
fn took(run: &Run, now: DateTime<Utc>) -> Option<String> {
    let until = run.finished_at.unwrap_or(now);
    Some(duration((until - run.started_at?).as_seconds_f64()))
}

fn hosts(names: &[String], separator: &str, most: usize) -> String {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(most);
    names.truncate(most);
    let shown = plain(&names.join(separator));
    if more == 0 {
        shown
    } else {
        format!("{shown} and {more} more")
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S%.3f UTC").to_string()
}

/// The runs of a page, and where the next one begins.
pub(super) fn table(runs: &[Run], next: Option<RunId>, now: DateTime<Utc>, color: bool) -> String {
    let mut text = match runs {
        // A search for a text looks at so many runs at a time.
        [] if next.is_some() => "No runs so far.\n".to_owned(),
        [] => "No runs.\n".to_owned(),
        runs => table_of(runs, now, color),
    };
    if let Some(next) = next {
        let _ = writeln!(text, "\nMore: --cursor={next}");
    }
    text
}

fn table_of(runs: &[Run], now: DateTime<Utc>, color: bool) -> String {
    let mut rows = vec![
        [
            "RUN",
            "STATUS",
            "CREATED (UTC)",
            "TOOK",
            "MADE BY",
            "ROLES",
            "HOSTS",
        ]
        .map(Cell::new),
    ];
    rows.extend(runs.iter().map(|run| {
        [
            Cell::new(&run.id.to_string()),
            Cell::inked(ink(run), status(run)),
            Cell::new(&run.created_at.format("%Y-%m-%d %H:%M:%S").to_string()),
            Cell::new(took(run, now).as_deref().unwrap_or("-")),
            Cell::new(run.binding.as_deref().unwrap_or(run.trigger.as_str())),
            Cell::new(&run.work.roles.join(",")),
            Cell::new(&hosts(&run.hosts, ",", 3)),
        ]
    }));
    columns("", &rows, color)
}

pub(super) fn describe(detail: &Detail, now: DateTime<Utc>, color: bool) -> String {
    let mut text = head(&detail.run, now, color);
    let mut section = |name: &str, lines: &str| {
        if !lines.is_empty() {
            let _ = write!(text, "\n{}\n{lines}", Ink::Bold.paint(name, color));
        }
    };
    section("alerts", &alerts(&detail.episodes));
    section("hosts", &results(&detail.run, color));
    section("findings", &findings(&detail.events));
    let mut tasks = tasks(&detail.events, color);
    if detail.run.events_dropped > 0 {
        let _ = writeln!(
            tasks,
            "  and {} more, beyond runs.events_limit",
            detail.run.events_dropped
        );
    }
    section("tasks", &tasks);
    text
}

fn head(run: &Run, now: DateTime<Utc>, color: bool) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<10} {value}");
    };
    line("run", &run.id.to_string());
    line("status", &ink(run).paint(status(run), color));
    if let Some(message) = &run.message {
        line("because", &folded(message));
    }
    line("made by", &made_by(run));
    if run.work.check {
        line("mode", "check (only says what it would change)");
    }
    line("roles", &plain(&run.work.roles.join(", ")));
    line("hosts", &hosts(&run.hosts, ", ", 20));
    line("created", &time(run.created_at));
    let took = took(run, now);
    if let Some(at) = run.started_at {
        let so_far = match (&took, run.finished_at) {
            (Some(took), None) => format!(" (running for {took})"),
            _ => String::new(),
        };
        line("started", &format!("{}{so_far}", time(at)));
    }
    if let Some(at) = run.finished_at {
        let after = took.map_or_else(String::new, |took| format!(" (after {took})"));
        line("ended", &format!("{}{after}", time(at)));
    }
    if let Some(old) = run.rerun_of {
        line("repeats", &format!("run {old}"));
    }
    text
}

fn made_by(run: &Run) -> String {
    let trigger = run.trigger.as_str();
    match (&run.binding, &run.started_by) {
        (Some(binding), _) => format!("{trigger} (binding {})", plain(binding)),
        (None, Some(who)) => format!("{trigger} ({})", plain(who)),
        (None, None) => trigger.to_owned(),
    }
}

/// Each alert, and under it its labels: they say why this run was made.
fn alerts(episodes: &[Episode]) -> String {
    let mut episodes: Vec<&Episode> = episodes.iter().collect();
    episodes.sort_by_key(|e| (e.starts_at, &e.alertname, &e.hosts, e.fingerprint));
    let mut text = String::new();
    for episode in episodes {
        let since = match &episode.known {
            Some(known) => firing(known.status, episode.starts_at, known.ends_at),
            None => format!("since {}", second(episode.starts_at)),
        };
        let left_out = if episode.left_out {
            "  (resolved before the start)"
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "  {}  {since}  {}  on {}{left_out}",
            alert_name(&episode.alertname),
            episode.fingerprint,
            hosts(&episode.hosts, ", ", 10)
        );
        if let Some(known) = &episode.known {
            let _ = writeln!(text, "    {}", labels(&known.labels));
        }
    }
    text
}

/// Each host with what Ansible counted, and under it what went wrong there.
fn results(run: &Run, color: bool) -> String {
    let rows: Vec<_> = run
        .results
        .iter()
        .map(|(host, result)| {
            [
                Cell::new(host),
                Cell::inked(ink_of_outcome(result.outcome), result.outcome.as_str()),
                Cell::new(&counts(result)),
            ]
        })
        .collect();
    let mut text = String::new();
    let lines = columns("  ", &rows, color);
    for (line, result) in lines.lines().zip(run.results.values()) {
        let _ = writeln!(text, "{line}");
        if let Some(message) = &result.message {
            let _ = writeln!(text, "    {}", folded(message));
        }
    }
    text
}

fn counts(result: &HostResult) -> String {
    format!(
        "ok={} changed={} failed={} unreachable={} skipped={}",
        result.ok, result.changed, result.failed, result.unreachable, result.skipped
    )
}

/// How many characters are shown of a role and a task: Ansible's own check of a role's arguments quotes the role.
const TASK: usize = 80;

fn tasks(events: &[TaskEvent], color: bool) -> String {
    let rows: Vec<_> = events
        .iter()
        .map(|event| {
            let role = event.role.as_ref();
            let role = role.map_or_else(String::new, |role| format!("{role} : "));
            [
                Cell::inked(Ink::Dim, &event.at.format("%H:%M:%S%.3f").to_string()),
                Cell::inked(ink_of_task(event.status), event.status.as_str()),
                Cell::new(&event.host),
                Cell::new(&cut(&format!("{role}{}", event.task), TASK)),
            ]
        })
        .collect();
    columns("  ", &rows, color)
}

#[cfg(test)]
mod tests {
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
made by    alert (binding fleet)
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
        let begins = "run        7\nstatus     queued\nmade by    manual\nmode       check (only says what it would change)\n";
        assert!(text.starts_with(begins), "{text}");
    }

    #[test]
    fn hosts_are_sorted_and_not_too_many() {
        let names = ["c", "a", "d", "b"].map(str::to_owned);
        assert_eq!(hosts(&names, ",", 3), "a,b,c and 1 more");
        assert_eq!(hosts(&names, ", ", 4), "a, b, c, d");
    }
}
