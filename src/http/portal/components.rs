//! The building blocks of pages: times, badges, links. They print HTML.

use std::fmt::{self, Display, Formatter};

use askama::filters::HtmlSafe;
use chrono::{DateTime, TimeDelta, Utc};

use crate::model::alert::Status;
use crate::model::run::{Approval, Outcome, Run, State, TaskStatus, Trigger};
use crate::model::verdict::{Verdict, Verdicts};

/// A time: UTC as text, which the script converts to the reader's time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(pub DateTime<Utc>);

impl Display for Moment {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let iso = self.0.format("%Y-%m-%dT%H:%M:%S%.3fZ");
        let utc = self.0.format("%Y-%m-%d %H:%M:%S UTC");
        write!(f, r#"<time datetime="{iso}" title="{utc}">{utc}</time>"#)
    }
}

impl HtmlSafe for Moment {}

/// A duration. *Units*: seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Took(pub f64);

impl Took {
    pub(super) fn between(from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        Self(seconds(to - from))
    }
}

impl Display for Took {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let seconds = self.0.max(0.0);
        if seconds < 9.95 {
            return write!(f, "{seconds:.1} s");
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // not below 0, and cut at the top
        let whole = seconds.round() as u64;
        match whole {
            0..60 => write!(f, "{whole} s"),
            60..3600 => write!(f, "{} min {} s", whole / 60, whole % 60),
            3600..86_400 => write!(f, "{} h {} min", whole / 3600, whole / 60 % 60),
            _ => write!(f, "{} d {} h", whole / 86_400, whole / 3600 % 24),
        }
    }
}

impl HtmlSafe for Took {}

#[allow(clippy::cast_precision_loss)] // milliseconds of centuries are exact
pub(super) fn seconds(span: TimeDelta) -> f64 {
    span.num_milliseconds() as f64 / 1000.0
}

/// A size. *Units*: bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bytes(pub f64);

impl Display for Bytes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut value = self.0;
        for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
            if value < 1024.0 || unit == "TiB" {
                let digits = usize::from(value < 10.0 && unit != "B");
                return write!(f, "{value:.digits$} {unit}");
            }
            value /= 1024.0;
        }
        Ok(())
    }
}

impl HtmlSafe for Bytes {}

/// A state as a word and a shape, so that the colour is never the only sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Badge(pub &'static str);

impl Badge {
    pub(super) fn of(run: &Run) -> Self {
        Self(run.outcome.map_or(run.state.as_str(), Outcome::as_str))
    }

    /// The verdict that is still to come.
    pub(super) const PENDING: Self = Self("pending");

    /// The worst verdict on the episodes of a run.
    pub(super) fn of_verdicts(verdicts: &Verdicts) -> Option<Self> {
        [
            (verdicts.ineffective, Self::from(Verdict::Ineffective)),
            (verdicts.pending, Self::PENDING),
            (verdicts.unknown, Self::from(Verdict::Unknown)),
            (verdicts.effective, Self::from(Verdict::Effective)),
        ]
        .into_iter()
        .find_map(|(n, badge)| (n > 0).then_some(badge))
    }
}

impl From<Verdict> for Badge {
    fn from(verdict: Verdict) -> Self {
        Self(match verdict {
            Verdict::Effective => "helped",
            Verdict::Ineffective => "did not help",
            Verdict::Unknown => "unknown",
        })
    }
}

impl From<Outcome> for Badge {
    fn from(outcome: Outcome) -> Self {
        Self(outcome.as_str())
    }
}

impl From<TaskStatus> for Badge {
    fn from(status: TaskStatus) -> Self {
        Self(status.as_str())
    }
}

impl From<Status> for Badge {
    fn from(status: Status) -> Self {
        Self(status.as_str())
    }
}

const TICK: &str = "M2 6.5 4.8 9.2 10 3.2";
const CROSS: &str = "M3 3l6 6M9 3l-6 6";
const BARS: &str = "M4.2 2.5v7M7.8 2.5v7";
const DASH: &str = "M2.5 6h7";

impl Display for Badge {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (tone, shape) = match self.0 {
            "successful" | "ok" | "resolved" | "helped" => ("good", TICK),
            "changed" => ("changed", "M6 1.8 10.2 6 6 10.2 1.8 6Z"),
            "failed" | "did not help" | "never helped" | "circuit open" => ("bad", CROSS),
            "unreachable" => ("bad", "M2 6h2.4M7.6 6H10M6 1.6v2M6 8.4v2"),
            "timeout" => ("warn", "M6 1.5a4.5 4.5 0 1 0 .01 0M6 3.6V6l1.8 1.2"),
            "interrupted" | "held" => ("warn", BARS),
            "firing" => ("bad", "M6 1.6 10.8 10.2H1.2Z"),
            "ignored" => ("warn", CROSS),
            "running" => ("live", "M3.4 2.2 9.6 6 3.4 9.8Z"),
            "queued" | "pending" => ("calm", "M2 6h.01M6 6h.01M10 6h.01"),
            "canceled" => ("calm", "M6 1.5a4.5 4.5 0 1 0 .01 0M2.9 9.1l6.2-6.2"),
            _ => ("calm", DASH),
        };
        write!(
            f,
            r#"<span class="badge {tone}"><svg class="shape" viewBox="0 0 12 12" aria-hidden="true"><path d="{shape}"/></svg>{}</span>"#,
            self.0
        )
    }
}

impl HtmlSafe for Badge {}

/// Encodes a name as a segment of a path.
pub(super) fn part(name: &str) -> String {
    let encoded: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    encoded.replace('+', "%20")
}

/// Lists the first `most` names, and the number of the others.
pub(super) fn few(names: &[String], most: usize) -> String {
    let more = names.len().saturating_sub(most);
    let shown = names[..names.len() - more].join(", ");
    if more == 0 {
        shown
    } else {
        format!("{shown} and {more} more")
    }
}

/// Formats a number with its noun: `1 host`, `2 hosts`.
pub(super) fn count(n: usize, one: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n => format!("{n} {one}s"),
    }
}

/// A row of a table of runs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub id: u64,
    pub badge: Badge,
    pub roles: String,
    pub check: bool,
    /// Whether it waits for approval.
    pub asks: bool,
    /// The verdict, also while it is pending.
    pub verdict: Option<Badge>,
    pub hosts: String,
    pub cause: String,
    pub at: Moment,
    pub took: Option<Took>,
}

impl Row {
    pub(super) fn of(run: &Run, now: DateTime<Utc>) -> Self {
        let end = run
            .finished_at
            .or((run.state == State::Running).then_some(now));
        Self {
            id: run.id.0,
            badge: Badge::of(run),
            roles: run.work.roles.join(", "),
            check: run.work.check,
            asks: run.state == State::Queued
                && run.approval.as_ref().is_some_and(Approval::is_wanted),
            verdict: Badge::of_verdicts(&run.verdicts),
            hosts: few(&run.hosts, 3),
            cause: cause(run),
            at: Moment(run.finished_at.or(run.started_at).unwrap_or(run.created_at)),
            took: run
                .started_at
                .zip(end)
                .map(|(from, to)| Took::between(from, to)),
        }
    }
}

/// Describes the trigger of a run.
pub(super) fn cause(run: &Run) -> String {
    match (run.trigger, &run.binding, &run.schedule) {
        (Trigger::Alert, Some(binding), _) if run.on_resolved => {
            format!("binding {binding}, alert resolved")
        }
        (Trigger::Alert, Some(binding), _) => format!("binding {binding}"),
        (Trigger::Alert, None, _) => "alert".to_owned(),
        (Trigger::Schedule, _, Some(schedule)) => format!("schedule {schedule}"),
        (Trigger::Schedule, _, None) => "schedule".to_owned(),
        (Trigger::Manual, _, Some(schedule)) => format!("{}, schedule {schedule}", manually(run)),
        (Trigger::Manual, _, None) => manually(run),
    }
}

fn manually(run: &Run) -> String {
    match &run.started_by {
        Some(who) => format!("manually by {who}"),
        None => "manually".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_read_well() {
        for (seconds, text) in [
            (-1.0, "0.0 s"),
            (0.04, "0.0 s"),
            (9.94, "9.9 s"),
            (9.96, "10 s"),
            (59.4, "59 s"),
            (59.6, "1 min 0 s"),
            (3600.0, "1 h 0 min"),
            (90_000.0, "1 d 1 h"),
        ] {
            assert_eq!(Took(seconds).to_string(), text);
        }
        for (bytes, text) in [
            (0.0, "0 B"),
            (1023.0, "1023 B"),
            (1536.0, "1.5 KiB"),
            (10.0 * 1024.0 * 1024.0, "10 MiB"),
            (3e15, "2728 TiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn a_name_survives_a_path() {
        for name in ["web1", "a b+c/d?e#f&g", "fe80::1%eth0", "<script>"] {
            let part = part(name);
            assert_eq!(crate::http::core::path::decoded(&part), name);
            assert!(!part.contains(['/', '?', '#', '<', ' ', '+']), "{part}");
        }
    }

    #[test]
    fn every_state_has_a_word_and_a_shape() {
        let words = Outcome::ALL.iter().map(|o| o.as_str());
        for word in words.chain(["queued", "running", "firing", "skipped"]) {
            let html = Badge(word).to_string();
            assert!(html.contains("<path d=\"M") && html.contains(&format!(">{word}<")));
        }
    }

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let names = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(few(&names, 3), "a, b, c");
        assert_eq!(few(&names, 1), "a and 2 more");
        assert_eq!(few(&[], 1), "");
    }
}
