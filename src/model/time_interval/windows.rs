//! When something may be done: in some time intervals, and not in others.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{Span, TimeInterval, change};

/// `active_time_intervals` and `mute_time_intervals`, as a route of Alertmanager has them. Without any, always.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Windows {
    /// It is done only in one of these, if there are any.
    pub active: Vec<Arc<TimeInterval>>,
    /// It is not done in any of these.
    pub mute: Vec<Arc<TimeInterval>>,
}

/// Why nothing is done at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed<'a> {
    /// It is in none of the intervals in which it would be done.
    Inactive(&'a [Arc<TimeInterval>]),
    /// It is in this one.
    Muted(&'a TimeInterval),
}

impl Windows {
    /// Why nothing is done at this time; `None` if it is.
    pub fn closed(&self, at: DateTime<Utc>) -> Option<Closed<'_>> {
        if !self.active.is_empty() && !self.active.iter().any(|active| active.contains(at)) {
            return Some(Closed::Inactive(&self.active));
        }
        let muted = self.mute.iter().find(|mute| mute.contains(at));
        muted.map(|mute| Closed::Muted(mute))
    }

    /// When they first open, if they are closed at this time, or close; `None` if that is more than five years away.
    pub fn next_change(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let spans: Vec<&Span> = self.intervals().flat_map(|i| &i.spans).collect();
        change::next(&spans, after, |at| self.closed(at).is_some())
    }

    fn intervals(&self) -> impl Iterator<Item = &TimeInterval> {
        self.active.iter().chain(&self.mute).map(Arc::as_ref)
    }
}

impl fmt::Display for Closed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inactive(active) => {
                let names: Vec<String> = active.iter().map(|i| format!("{:?}", i.name)).collect();
                let intervals = if names.len() == 1 {
                    "interval"
                } else {
                    "intervals"
                };
                write!(
                    f,
                    "it is active only in the time {intervals} {}",
                    names.join(", ")
                )
            }
            Self::Muted(mute) => write!(f, "it is muted by the time interval {:?}", mute.name),
        }
    }
}
