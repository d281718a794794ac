//! Active and muted time intervals.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{Span, TimeInterval, change};

/// `active_time_intervals` and `mute_time_intervals`, as in a route of Alertmanager. Without any, always active.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Windows {
    /// Active only in one of these, unless empty.
    pub active: Vec<Arc<TimeInterval>>,
    /// Muted in each of these.
    pub mute: Vec<Arc<TimeInterval>>,
}

/// The reason for being inactive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed<'a> {
    /// The time is in none of the active intervals.
    Inactive(&'a [Arc<TimeInterval>]),
    /// The time is in this muted interval.
    Muted(&'a TimeInterval),
}

impl Windows {
    /// Returns why the windows are closed at this time; `None` if they are open.
    pub fn closed(&self, at: DateTime<Utc>) -> Option<Closed<'_>> {
        if !self.active.is_empty() && !self.active.iter().any(|active| active.contains(at)) {
            return Some(Closed::Inactive(&self.active));
        }
        let muted = self.mute.iter().find(|mute| mute.contains(at));
        muted.map(|mute| Closed::Muted(mute))
    }

    /// Returns when the windows next open or close; `None` if that is more than five years away.
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
