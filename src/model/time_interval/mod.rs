//! Named intervals of time, in which something is done or left alone, with the meaning that Alertmanager gives them. Pure.
//!
//! *Source*: <https://prometheus.io/docs/alerting/latest/configuration/#time_interval>, and `timeinterval/timeinterval.go`.
//! Other than there, an empty list and a month beyond December are refused: the first would never match although it says
//! nothing, and the second never comes.

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

/// Times under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeInterval {
    /// Its name, unique among time intervals.
    pub name: String,
    /// What it consists of; a time is in it that is in one of them.
    pub spans: Vec<Span>,
}

impl TimeInterval {
    /// Whether this time is in it.
    pub fn contains(&self, at: DateTime<Utc>) -> bool {
        self.spans.iter().any(|span| span.contains(at))
    }

    /// When [`contains`](Self::contains) first has another answer than at this time; `None` if it has none for the next
    /// five years.
    pub fn next_change(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let spans: Vec<&Span> = self.spans.iter().collect();
        change::next(&spans, after, |at| self.contains(at))
    }
}
