//! Formats runs as text.

use std::fmt::Write;

use chrono::{DateTime, Utc};

use super::findings::findings;
use super::{Detail, Episode, Shown, guarded};
use crate::cli::format::{alert_name, duration, firing, labels, second};
use crate::cli::table::{Cell, columns};
use crate::cli::terminal::{Ink, cut, folded, plain};
use crate::model::run::{HostResult, Outcome, Run, RunId, State, TaskEvent, TaskStatus};

/// Returns the status of a run in a list: its outcome, or its state.
fn status(Shown { run, held }: &Shown) -> &'static str {
    match (run.outcome, held) {
        (Some(outcome), _) => outcome.as_str(),
        (None, Some(held)) => guarded::status(*held),
        (None, None) => run.state.as_str(),
    }
}

fn ink(Shown { run, held }: &Shown) -> Ink {
    if held.is_some() {
        return Ink::Yellow;
    }
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

/// The colours of Ansible, with less important results dimmed.
fn ink_of_task(status: TaskStatus) -> Ink {
    match status {
        TaskStatus::Ok => Ink::Green,
        TaskStatus::Changed => Ink::Yellow,
        TaskStatus::Skipped | TaskStatus::Ignored => Ink::Dim,
        TaskStatus::Failed | TaskStatus::Unreachable => Ink::Red,
    }
}

/// Returns how long a run took, or has been running; `None` if it never started.
fn elapsed(run: &Run, now: DateTime<Utc>) -> Option<String> {
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

/// Formats the runs of a page, and the cursor of the next page.
pub(super) fn table(
    runs: &[Shown],
    next: Option<RunId>,
    now: DateTime<Utc>,
    color: bool,
) -> String {
    let mut text = match runs {
        // A search for a text is limited to a number of runs per page.
        [] if next.is_some() => "No runs so far.\n".to_owned(),
        [] => "No runs.\n".to_owned(),
        runs => table_of(runs, now, color),
    };
    if let Some(next) = next {
        let _ = writeln!(text, "\nMore: --cursor={next}");
    }
    text
}

fn table_of(runs: &[Shown], now: DateTime<Utc>, color: bool) -> String {
    let mut rows = vec![
        [
            "RUN",
            "STATUS",
            "CREATED (UTC)",
            "TOOK",
            "HELPED",
            "TRIGGER",
            "ROLES",
            "HOSTS",
        ]
        .map(Cell::new),
    ];
    rows.extend(runs.iter().map(|shown| {
        let run = &shown.run;
        [
            Cell::new(&run.id.to_string()),
            Cell::inked(ink(shown), status(shown)),
            Cell::new(&run.created_at.format("%Y-%m-%d %H:%M:%S").to_string()),
            Cell::new(elapsed(run, now).as_deref().unwrap_or("-")),
            Cell::new(&guarded::short(&run.verdicts)),
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
    let run = &detail.run.run;
    section("hosts", &results(run, color));
    section("skipped hosts", &skipped_hosts(run));
    section("findings", &findings(&detail.events));
    let mut tasks = tasks(&detail.events, color);
    if run.events_dropped > 0 {
        let _ = writeln!(
            tasks,
            "  and {} more, beyond runs.events_limit",
            run.events_dropped
        );
    }
    section("tasks", &tasks);
    text
}

fn head(shown: &Shown, now: DateTime<Utc>, color: bool) -> String {
    let run = &shown.run;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<10} {value}");
    };
    line("run", &run.id.to_string());
    line("status", &ink(shown).paint(status(shown), color));
    if let Some(message) = &run.message {
        line("because", &folded(message));
    }
    line("trigger", &made_by(run));
    if run.vain_starts > 0 {
        let starts = format!("{} failed before the first task", run.vain_starts);
        line("starts", &starts);
    }
    let narrowing = &run.work.narrowing;
    for (name, tags) in [
        ("tags", &narrowing.tags),
        ("skip tags", &narrowing.skip_tags),
    ] {
        if !tags.is_empty() {
            line(name, &plain(&tags.join(", ")));
        }
    }
    if narrowing.verbosity > 0 {
        line("verbosity", &narrowing.verbosity.to_string());
    }
    if run.work.check {
        line("mode", "check (reports changes without making them)");
    }
    line("roles", &plain(&run.work.roles.join(", ")));
    line("hosts", &hosts(&run.hosts, ", ", 20));
    line("created", &time(run.created_at));
    let took = elapsed(run, now);
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
    for (name, value) in guarded::lines(run, shown.held) {
        line(name, &value);
    }
    text
}

fn made_by(run: &Run) -> String {
    let trigger = run.trigger.as_str();
    match (&run.binding, &run.started_by) {
        (Some(binding), who) => {
            let resolved = if run.on_resolved { ", resolved" } else { "" };
            let who = who
                .as_ref()
                .map_or_else(String::new, |who| format!(", requested by {who}"));
            format!(
                "{trigger} (binding {}{resolved}{})",
                plain(binding),
                plain(&who)
            )
        }
        (None, Some(who)) => format!("{trigger} ({})", plain(who)),
        (None, None) => trigger.to_owned(),
    }
}

/// Formats each alert with its labels, which show why the run was made.
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

/// Formats the hosts that a guard skipped.
fn skipped_hosts(run: &Run) -> String {
    let spared = run.spared.iter();
    let rows: Vec<_> = spared
        .map(|spared| {
            [
                Cell::new(&spared.host),
                Cell::new(spared.reason.as_str()),
                Cell::new(&spared.why),
            ]
        })
        .collect();
    columns("  ", &rows, false)
}

/// Formats each host with the counts of Ansible, and its error message below.
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

/// The maximum number of characters to show of a role and a task. The name of Ansible's own task that validates the
/// arguments of a role contains the role.
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
mod tests;
