//! Named time intervals with the meaning that they have in Alertmanager. Pure.
//!
//! *Source*: <https://prometheus.io/docs/alerting/latest/configuration/#time_interval>, and `timeinterval/timeinterval.go`.
//! In contrast to Alertmanager, an empty list and a month after December are rejected: the first would never match
//! although it restricts nothing, and the second never occurs.

mod change;
mod range;
mod span;
#[cfg(test)]
mod tests;
mod windows;

use chrono::{DateTime, Utc};

pub use range::{DayRange, MonthRange, SyntaxError, TimeRange, WeekdayRange, YearRange};
pub use span::Span;
pub use windows::{Closed, Windows};

/// A named time interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeInterval {
    /// The name, unique among time intervals.
    pub name: String,
    /// A time is in the interval if it is in one of these spans.
    pub spans: Vec<Span>,
}

impl TimeInterval {
    /// Returns whether a time is in the interval.
    pub fn contains(&self, at: DateTime<Utc>) -> bool {
        self.spans.iter().any(|span| span.contains(at))
    }

    /// Returns the first time after `after` at which [`contains`](Self::contains) changes; `None` if it does not change
    /// within five years.
    pub fn next_change(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let spans: Vec<&Span> = self.spans.iter().collect();
        change::next(&spans, after, |at| self.contains(at))
    }
}
