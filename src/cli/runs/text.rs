//! Runs as a person reads them.

use std::fmt::Write;

use chrono::{DateTime, Utc};

use super::{Detail, List};
use crate::cli::terminal::plain;
use crate::run::{Outcome, Run, State};

/// What a run's state is called in a list: how it ended, or where it is.
fn status(run: &Run) -> &'static str {
    run.outcome.map_or(run.state.as_str(), Outcome::as_str)
}

fn paint(run: &Run, text: &str, color: bool) -> String {
    let code = match (run.state, run.outcome) {
        (_, Some(Outcome::Successful)) => "32",
        (_, Some(Outcome::Canceled)) => "90",
        (_, Some(Outcome::Interrupted)) => "33",
        (_, Some(_)) => "31",
        (State::Running, None) => "36",
        _ => return text.to_owned(),
    };
    if color {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

fn took(run: &Run, now: DateTime<Utc>) -> String {
    let Some(started) = run.started_at else {
        return "-".to_owned();
    };
    let seconds = (run.finished_at.unwrap_or(now) - started)
        .as_seconds_f64()
        .max(0.0);
    if seconds < 60.0 {
        format!("{seconds:.1}s")
    } else {
        format!("{:.0}m{:02.0}s", (seconds / 60.0).floor(), seconds % 60.0)
    }
}

fn hosts(names: &[String], most: usize) -> String {
    let shown = names
        .iter()
        .take(most)
        .cloned()
        .collect::<Vec<_>>()
        .join(",");
    match names.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

pub(super) fn table(list: &List, now: DateTime<Utc>, color: bool) -> String {
    if list.runs.is_empty() {
        return "No runs.\n".to_owned();
    }
    let head = [
        "RUN",
        "STATUS",
        "CREATED (UTC)",
        "TOOK",
        "MADE BY",
        "ROLES",
        "HOSTS",
    ];
    let rows: Vec<[String; 7]> = list
        .runs
        .iter()
        .map(|run| {
            [
                run.id.to_string(),
                status(run).to_owned(),
                run.created_at.format("%Y-%m-%d %H:%M:%S").to_string(),
                took(run, now),
                run.binding
                    .clone()
                    .unwrap_or_else(|| run.trigger.as_str().to_owned()),
                run.work.roles.join(","),
                hosts(&run.hosts, 3),
            ]
        })
        .collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .chain([head[column].len()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for (column, title) in head.iter().enumerate() {
        let _ = write!(text, "{title:<width$}  ", width = widths[column]);
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    for (run, row) in list.runs.iter().zip(&rows) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let padded = format!("{cell:<width$}  ", width = widths[column]);
            if column == 1 {
                line.push_str(&paint(run, &padded, color));
            } else {
                line.push_str(&padded);
            }
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if let Some(next) = list.next {
        let _ = writeln!(text, "\nOlder ones: --before {next}");
    }
    text
}

pub(super) fn describe(detail: &Detail, color: bool) -> String {
    let run = &detail.run;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<10} {value}");
    };
    line("run", &run.id.to_string());
    line("status", &paint(run, status(run), color));
    if let Some(message) = &run.message {
        line("because", &plain(message));
    }
    line("made by", &made_by(run));
    line("roles", &run.work.roles.join(", "));
    line("hosts", &hosts(&run.hosts, 20));
    let time = |at: DateTime<Utc>| at.format("%Y-%m-%d %H:%M:%S%.3f UTC").to_string();
    line("created", &time(run.created_at));
    if let Some(at) = run.started_at {
        line("started", &time(at));
    }
    if let Some(at) = run.finished_at {
        line("ended", &format!("{} (after {})", time(at), took(run, at)));
    }
    if let Some(old) = run.rerun_of {
        line("repeats", &format!("run {old}"));
    }
    if !detail.episodes.is_empty() {
        text.push_str("\nalerts\n");
        for episode in &detail.episodes {
            let left_out = if episode.left_out {
                "  (resolved before the start)"
            } else {
                ""
            };
            let _ = writeln!(
                text,
                "  {}  since {}  on {}{left_out}",
                plain(&episode.alertname),
                time(episode.starts_at),
                hosts(&episode.hosts, 10)
            );
        }
    }
    if !run.results.is_empty() {
        text.push_str("\nhosts\n");
        for (host, result) in &run.results {
            let _ = writeln!(
                text,
                "  {host}  {}  ok={} changed={} failed={} unreachable={} skipped={}{}",
                result.outcome,
                result.ok,
                result.changed,
                result.failed,
                result.unreachable,
                result.skipped,
                result
                    .message
                    .as_ref()
                    .map_or_else(String::new, |m| format!("\n      {}", plain(first_line(m))))
            );
        }
    }
    if !detail.events.is_empty() {
        text.push_str("\ntasks\n");
        for event in &detail.events {
            let role = event
                .role
                .as_ref()
                .map_or_else(String::new, |r| format!("{} : ", plain(r)));
            let _ = writeln!(
                text,
                "  {}  {:<11} {}  {role}{}",
                event.at.format("%H:%M:%S%.3f"),
                event.status.as_str(),
                event.host,
                plain(&event.task)
            );
        }
    }
    text
}

fn made_by(run: &Run) -> String {
    match &run.binding {
        Some(binding) => format!("{} (binding {binding})", run.trigger.as_str()),
        None => run.trigger.as_str().to_owned(),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("")
}
