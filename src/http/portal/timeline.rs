//! The timeline of a run: one strip per host, one bar per task. Pure.

use chrono::{DateTime, TimeDelta, Utc};

use super::components::{Moment, Took, count, seconds};
use crate::model::run::{TaskEvent, TaskStatus};

/// The most hosts to draw; the table of results lists all, the worst first.
const HOSTS: usize = 60;

/// The width of a strip in its own units.
const WIDTH: f64 = 1000.0;

/// The narrowest bar that is still visible.
const NARROWEST: f64 = 2.0;

/// One task on a strip.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bar {
    /// *Units*: thousandths of the strip.
    pub x: String,
    pub width: String,
    pub class: &'static str,
    pub title: String,
}

/// The tasks of a host.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Strip {
    pub host: String,
    /// The description for screen readers.
    pub label: String,
    pub bars: Vec<Bar>,
}

/// The strips of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Timeline {
    pub strips: Vec<Strip>,
    pub more: usize,
    pub from: Moment,
    pub to: Moment,
    pub span: Took,
}

/// Lays out the events; `None` if there are none.
pub(super) fn timeline(
    hosts: &[String],
    events: &[TaskEvent],
    started_at: DateTime<Utc>,
    end: DateTime<Utc>,
) -> Option<Timeline> {
    let end = events.iter().map(|event| event.at).fold(end, DateTime::max);
    let span = seconds(end - started_at);
    if events.is_empty() || span <= 0.0 {
        return None;
    }
    let shown = &hosts[..hosts.len().min(HOSTS)];
    let strips = shown.iter().map(|host| {
        let of_host: Vec<&TaskEvent> = events.iter().filter(|event| event.host == *host).collect();
        Strip {
            host: host.clone(),
            label: label(host, &of_host),
            bars: of_host
                .iter()
                .map(|event| bar(event, started_at, span))
                .collect(),
        }
    });
    Some(Timeline {
        strips: strips.collect(),
        more: hosts.len() - shown.len(),
        from: Moment(started_at),
        to: Moment(end),
        span: Took(span),
    })
}

fn bar(event: &TaskEvent, started_at: DateTime<Utc>, span: f64) -> Bar {
    let took = event.duration_seconds.clamp(0.0, span);
    #[allow(clippy::cast_possible_truncation)] // not longer than the run
    let begin = event.at - TimeDelta::milliseconds((took * 1000.0) as i64);
    let width = (took / span * WIDTH).max(NARROWEST);
    let x = (seconds(begin - started_at) / span * WIDTH).clamp(0.0, WIDTH - width);
    let role = event
        .role
        .as_ref()
        .map_or_else(String::new, |role| format!("{role}: "));
    Bar {
        x: format!("{x:.1}"),
        width: format!("{width:.1}"),
        class: event.status.as_str(),
        title: format!(
            "{role}{}, {}, {}",
            event.task,
            event.status.as_str(),
            Took(took)
        ),
    }
}

fn label(host: &str, events: &[&TaskEvent]) -> String {
    let bad =
        |event: &&&TaskEvent| matches!(event.status, TaskStatus::Failed | TaskStatus::Unreachable);
    let failed = events.iter().filter(bad).count();
    let tasks = count(events.len(), "task");
    match failed {
        0 => format!("{host}: {tasks}"),
        n => format!("{host}: {tasks}, {n} failed"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    fn event(host: &str, second: i64, took: f64, status: &str) -> TaskEvent {
        serde_json::from_value(json!({
            "at": at(second), "host": host, "role": "r", "task": "<t>", "action": "command", "status": status,
            "duration_seconds": took,
        }))
        .unwrap()
    }

    #[test]
    fn a_task_lies_where_it_ran() {
        let hosts = ["a".to_owned(), "b".to_owned()];
        let events = [
            event("a", 5, 5.0, "ok"),
            event("a", 10, 0.0, "failed"),
            event("b", 20, 99.0, "changed"),
            event("gone", 7, 1.0, "ok"),
        ];
        let timeline = timeline(&hosts, &events, at(0), at(10)).unwrap();
        assert_eq!(
            timeline.span,
            Took(20.0),
            "an event after the end extends the span"
        );
        let places: Vec<_> = timeline
            .strips
            .iter()
            .map(|strip| {
                strip
                    .bars
                    .iter()
                    .map(|bar| (bar.x.as_str(), bar.width.as_str(), bar.class))
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(
            places,
            [
                vec![("0.0", "250.0", "ok"), ("500.0", "2.0", "failed")],
                vec![("0.0", "1000.0", "changed")]
            ]
        );
        assert_eq!(timeline.strips[0].label, "a: 2 tasks, 1 failed");
        assert_eq!(timeline.strips[0].bars[0].title, "r: <t>, ok, 5.0 s");
    }

    #[test]
    fn without_tasks_or_time_there_is_none() {
        let hosts = ["a".to_owned()];
        assert_eq!(timeline(&hosts, &[], at(0), at(10)), None);
        assert_eq!(
            timeline(&hosts, &[event("a", 0, 0.0, "ok")], at(0), at(0)),
            None
        );
    }

    #[test]
    fn of_many_hosts_the_first_are_drawn_and_the_others_counted() {
        let hosts: Vec<String> = (0..100).map(|n| format!("h{n}")).collect();
        let timeline = timeline(&hosts, &[event("h1", 1, 1.0, "ok")], at(0), at(2)).unwrap();
        assert_eq!((timeline.strips.len(), timeline.more), (60, 40));
    }
}
