//! Cron expressions and their evaluation in a time zone.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveTime, Offset, TimeZone, Utc};

use super::fields::{CALENDAR_DAYS, Fields};
use super::words;
use crate::util::zone::Zone;

/// Five fields (minute, hour, day of the month, month, day of the week) or a keyword such as `@daily`, with the meaning
/// of Debian's cron.
///
/// If the minute or the hour begins with `*`, wall-clock time counts: times in the gap of a clock that is set forward
/// are skipped, and times that occur twice when it is set back are run twice. All other expressions are fixed times:
/// those in the gap run right after it, and those that occur twice run only the first time. A change of three hours or
/// more, such as a skipped day, is a correction: the new time counts for all.
///
/// *Source*: cron(8) of Debian.
#[derive(Debug, Clone, PartialEq)]
pub struct Cron {
    text: String,
    fields: Fields,
}

/// The error of a text that is not a [`Cron`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// The syntax is invalid: the field, the value and the expected syntax.
    #[error("{0}")]
    Syntax(String),
    /// The time does not exist, such as the 30th of February.
    #[error("this time never occurs")]
    Never,
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        Ok(Self {
            fields: Fields::read(text)?,
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
        })
    }
}

impl Cron {
    /// Returns the first time after `time` in this zone.
    pub fn after(&self, zone: &Zone, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let first_of = |day: NaiveDate| {
            let taken = self.fields.takes(day);
            taken.then(|| self.first_on(day, *zone, time)).flatten()
        };
        // A gap across midnight moves times of the previous day.
        let from = time.with_timezone(&zone.tz()).date_naive().pred_opt()?;
        let mut days = from.iter_days().take(CALENDAR_DAYS);
        let (day, first) = days.find_map(|day| Some((day, first_of(day)?)))?;
        // When a clock is set back across midnight, the next day begins before this one ends.
        let next = day.succ_opt().and_then(first_of);
        Some(next.map_or(first, |next| next.min(first)))
    }

    fn first_on(&self, day: NaiveDate, zone: Zone, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let clock = Clock::of(zone, day);
        let midnight = day.and_time(NaiveTime::MIN).and_utc().timestamp();
        let fixed = !self.fields.by_wall_clock;
        let moments = self.fields.times().flat_map(|second| {
            let moments = clock.moments(midnight + second, fixed);
            moments.into_iter().flatten()
        });
        let moments = moments.filter_map(|second| DateTime::from_timestamp(second, 0));
        moments.filter(|moment| *moment > time).min()
    }

    /// Returns the expression as written, with single spaces.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Describes the expression in words, without a full stop.
    pub fn describe(&self) -> String {
        words::describe(&self.fields)
    }
}

/// The offsets of a zone around a day.
///
/// *Units*: seconds.
struct Clock {
    /// The offset from UTC.
    ahead: i64,
    /// The time of a change, and the new offset.
    change: Option<(i64, i64)>,
}

/// The largest possible offset from UTC.
const FARTHEST: i64 = 16 * 3600;

/// A change of this size or more is a correction.
const CORRECTION: i64 = 3 * 3600;

impl Clock {
    fn of(zone: Zone, day: NaiveDate) -> Self {
        let ahead = |second: i64| {
            let moment = DateTime::from_timestamp(second, 0).unwrap_or_default();
            let offset = zone.tz().offset_from_utc_datetime(&moment.naive_utc());
            i64::from(offset.fix().local_minus_utc())
        };
        let midnight = day.and_time(NaiveTime::MIN).and_utc().timestamp();
        let (mut from, mut to) = (midnight - FARTHEST, midnight + 24 * 3600 + FARTHEST);
        let (before, after) = (ahead(from), ahead(to));
        if before == after {
            return Self {
                ahead: before,
                change: None,
            };
        }
        while to - from > 1 {
            let middle = i64::midpoint(from, to);
            if ahead(middle) == before {
                from = middle;
            } else {
                to = middle;
            }
        }
        Self {
            ahead: before,
            change: Some((to, after)),
        }
    }

    /// Returns the moments at which the clock shows a time, which is given as if it were UTC.
    fn moments(&self, shown: i64, fixed: bool) -> [Option<i64>; 2] {
        let Some((change, ahead)) = self.change else {
            return [Some(shown - self.ahead), None];
        };
        let before = Some(shown - self.ahead).filter(|moment| *moment < change);
        let after = Some(shown - ahead).filter(|moment| *moment >= change);
        let forward = ahead - self.ahead;
        let correction = !(-CORRECTION..CORRECTION).contains(&forward);
        if fixed && !correction {
            [before.or(after).or(Some(change)), None]
        } else {
            [before, after]
        }
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Default for Cron {
    /// Midnight.
    fn default() -> Self {
        "0 0 * * *".parse().expect("it is a cron expression")
    }
}

#[cfg(test)]
mod tests;
