//! Common formats of all subcommands: counts, times, alerts.

use chrono::{DateTime, Utc};

use crate::cli::terminal::{cut, plain};
use crate::model::alert::{LabelSet, Status};
use crate::util::zone::Zone;

/// The maximum number of characters to show of a name or label value of an alert.
const SHOWN: usize = 80;

/// The maximum length of a line of labels.
const LABELS: usize = 1000;

const SECOND: &str = "%Y-%m-%d %H:%M:%S";

/// Returns a count with a noun whose plural ends with an s.
pub(super) fn count(number: u64, thing: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{s}")
}

/// Returns the name of an alert for a line of its own.
pub(super) fn alert_name(name: &str) -> String {
    if name.is_empty() {
        return "(no alertname)".to_owned();
    }
    cut(&plain(name), SHOWN)
}

/// Returns since when an alert is firing, or the period in which it fired.
pub(super) fn firing(status: Status, since: DateTime<Utc>, until: Option<DateTime<Utc>>) -> String {
    match (status, until) {
        (Status::Firing, _) => format!("firing since {}", second(since)),
        (Status::Resolved, None) => format!("resolved, fired since {}", second(since)),
        (Status::Resolved, Some(until)) => {
            let since = since.format(SECOND);
            format!("resolved, fired from {since} to {}", second(until))
        }
    }
}

/// Formats a time, to the second.
pub(super) fn second(at: DateTime<Utc>) -> String {
    format!("{} UTC", at.format(SECOND))
}

/// The same in a time zone, with its offset from UTC.
pub(super) fn second_in(at: DateTime<Utc>, zone: Zone) -> String {
    let there = at.with_timezone(&zone.tz());
    format!("{} {zone}", there.format("%Y-%m-%d %H:%M:%S %:z"))
}

/// Formats labels in a line, like Alertmanager.
pub(super) fn labels(labels: &LabelSet) -> String {
    let mut line = String::new();
    for (number, (name, value)) in labels.iter().enumerate() {
        let label = format!("{}={:?}", cut(&plain(name), SHOWN), cut(value, SHOWN));
        if line.chars().count() + label.chars().count() > LABELS {
            return format!("{line} and {} more", labels.len() - number);
        }
        if number > 0 {
            line.push(' ');
        }
        line.push_str(&label);
    }
    line
}

/// Formats a duration, as precisely as a person needs it.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // rounded, and not negative
pub(super) fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    if seconds < 59.95 {
        return format!("{seconds:.1}s");
    }
    let whole = seconds.round() as u64;
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 {
        format!("{hours}h{minutes:02}m")
    } else {
        format!("{minutes}m{seconds:02}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(&str, &str)]) -> LabelSet {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(own).collect()
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!(count(0, "alert"), "0 alerts");
        assert_eq!(count(1, "alert role"), "1 alert role");
        assert_eq!(count(2, "alert"), "2 alerts");
    }

    #[test]
    fn a_duration_never_shows_sixty() {
        for (seconds, shown) in [
            (-1.0, "0.0s"),
            (0.04, "0.0s"),
            (59.94, "59.9s"),
            (59.96, "1m00s"),
            (119.4, "1m59s"),
            (119.7, "2m00s"),
            (3599.6, "1h00m"),
            (7384.0, "2h03m"),
        ] {
            assert_eq!(duration(seconds), shown);
        }
    }

    #[test]
    fn labels_stay_within_a_line_that_can_be_read() {
        let long = "x".repeat(100);
        let cut = format!("{}…", "x".repeat(80));
        assert_eq!(
            labels(&set(&[("a\x1b", "1\n\u{202e}\x1b[2J"), ("b", &long)])),
            format!(r#"a�="1\n\u{{202e}}\u{{1b}}[2J" b="{cut}""#)
        );
        let names: Vec<String> = (10..40).map(|n| format!("n{n}")).collect();
        let many: Vec<_> = names.iter().map(|n| (n.as_str(), long.as_str())).collect();
        let line = labels(&set(&many));
        assert!(line.ends_with("…\" and 19 more"), "{line}");
        assert!(line.chars().count() < LABELS + 20);
        assert_eq!(labels(&LabelSet::new()), "");
    }
}
