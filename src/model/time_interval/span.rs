//! One entry of a time interval. All its conditions must hold.

use chrono::{DateTime, Datelike, Offset as _, Timelike, Utc};

use super::range::{DayRange, MonthRange, TimeRange, WeekdayRange, YearRange};
use crate::util::zone::Zone;

const SECONDS_OF_DAY: i64 = 24 * 60 * 60;

/// Conditions on the local time in a zone. An empty list is no restriction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub times: Vec<TimeRange>,
    pub weekdays: Vec<WeekdayRange>,
    pub days_of_month: Vec<DayRange>,
    pub months: Vec<MonthRange>,
    pub years: Vec<YearRange>,
    /// The time zone; UTC by default.
    pub location: Zone,
}

impl Span {
    /// Returns whether a time is in the span.
    pub fn contains(&self, at: DateTime<Utc>) -> bool {
        let there = at.with_timezone(&self.location.tz());
        let minute = there.hour() * 60 + there.minute();
        any(&self.times, |range| {
            (range.start..range.end).contains(&minute)
        }) && self.has_date(&there)
    }

    fn has_date(&self, there: &impl Datelike) -> bool {
        let day_of_week = there.weekday().num_days_from_sunday() as usize;
        let days_in_month = u32::from(there.num_days_in_month());
        any(&self.days_of_month, |range| {
            range.contains(there.day(), days_in_month)
        }) && any(&self.months, |range| {
            range.0.contains(&(there.month() as usize))
        }) && any(&self.weekdays, |range| range.0.contains(&day_of_week))
            && any(&self.years, |range| range.0.contains(&there.year()))
    }

    /// Returns a later time up to which [`contains`](Self::contains) cannot change: the next start or end of a day or
    /// of one of the times, or the next change of the zone's offset.
    pub(super) fn same_until(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let there = |at: DateTime<Utc>| at.with_timezone(&self.location.tz());
        let ahead_of_utc =
            |at: DateTime<Utc>| i64::from(there(at).offset().fix().local_minus_utc());
        let ahead = ahead_of_utc(at);
        let second = (at.timestamp() + ahead).rem_euclid(SECONDS_OF_DAY);
        // On a day that is not in the span, nothing changes before its end.
        let times = if self.has_date(&there(at)) {
            &self.times[..]
        } else {
            &[]
        };
        let edges = times.iter().flat_map(|range| [range.start, range.end]);
        let edge = edges
            .map(|minute| i64::from(minute) * 60)
            .filter(|edge| *edge > second)
            .min()
            .unwrap_or(SECONDS_OF_DAY);
        let later = |seconds: i64| DateTime::from_timestamp(at.timestamp() + seconds, 0);
        let (mut same, mut other) = (0, edge - second);
        if ahead_of_utc(later(other)?) == ahead {
            return later(other);
        }
        // The offset changes in between. It never changes twice within a day.
        while other - same > 1 {
            let middle = i64::midpoint(same, other);
            if ahead_of_utc(later(middle)?) == ahead {
                same = middle;
            } else {
                other = middle;
            }
        }
        later(other)
    }
}

/// Returns whether a range matches, or there are no ranges.
fn any<T>(ranges: &[T], is: impl Fn(&T) -> bool) -> bool {
    ranges.is_empty() || ranges.iter().any(is)
}
