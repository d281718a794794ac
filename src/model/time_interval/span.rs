//! One entry of a time interval: all that it says must be so.

use chrono::{DateTime, Datelike, Offset as _, Timelike, Utc};

use super::range::{DayRange, MonthRange, TimeRange, WeekdayRange, YearRange};
use crate::util::zone::Zone;

const SECONDS_OF_DAY: i64 = 24 * 60 * 60;

/// Times by the clock of a zone. An empty list means any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Of the day.
    pub times: Vec<TimeRange>,
    /// Of the week.
    pub weekdays: Vec<WeekdayRange>,
    /// Of the month.
    pub days_of_month: Vec<DayRange>,
    /// Of the year.
    pub months: Vec<MonthRange>,
    /// The years.
    pub years: Vec<YearRange>,
    /// Whose clock that is; UTC's.
    pub location: Zone,
}

impl Span {
    /// Whether this time is in it.
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

    /// A later time before which [`contains`](Self::contains) has no other answer than at this one: where a day or one of
    /// the times begins or ends, or where the clock is put forward or back.
    pub(super) fn same_until(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let there = |at: DateTime<Utc>| at.with_timezone(&self.location.tz());
        let ahead_of_utc =
            |at: DateTime<Utc>| i64::from(there(at).offset().fix().local_minus_utc());
        let ahead = ahead_of_utc(at);
        let second = (at.timestamp() + ahead).rem_euclid(SECONDS_OF_DAY);
        // A day that is not in it has no edge but its end.
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
        // The clock is changed in between. It never is twice within a day.
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

/// Whether one of them is it, or there is none.
fn any<T>(ranges: &[T], is: impl Fn(&T) -> bool) -> bool {
    ranges.is_empty() || ranges.iter().any(is)
}
