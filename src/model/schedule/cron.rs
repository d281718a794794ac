//! A cron expression, and the zone whose clock it is read by.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveTime, Offset, TimeZone, Utc};

use super::fields::{CALENDAR_DAYS, Fields};
use super::words;
use crate::util::zone::Zone;

/// Five fields (minute, hour, day of the month, month, day of the week) or a word such as `@daily`, with the meaning that
/// they have for Debian's cron.
///
/// Where the minute or the hour begins with `*`, the clock on the wall counts: what lies in the gap of a clock that is put
/// forward is left out, and what comes twice when it is put back is there twice. All else are fixed times: those in the
/// gap come right after it, those that come twice come at their first hour alone. A change of three hours or more, as
/// where a whole day is left out, is a correction: the new time counts for all.
///
/// *Source*: cron(8) of Debian.
#[derive(Debug, Clone, PartialEq)]
pub struct Cron {
    text: String,
    fields: Fields,
}

/// Why a text is no [`Cron`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// It cannot be read: the field, the value, and what would be right.
    #[error("{0}")]
    Syntax(String),
    /// There is no such time, as on the 30th of February.
    #[error("this time never comes")]
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
    /// The first time after this one, by the clock of this zone.
    pub fn after(&self, zone: &Zone, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let first_of = |day: NaiveDate| {
            let taken = self.fields.takes(day);
            taken.then(|| self.first_on(day, *zone, time)).flatten()
        };
        // A gap over midnight brings times of the day before.
        let from = time.with_timezone(&zone.tz()).date_naive().pred_opt()?;
        let mut days = from.iter_days().take(CALENDAR_DAYS);
        let (day, first) = days.find_map(|day| Some((day, first_of(day)?)))?;
        // When a clock is put back over midnight, the next day begins before this one ends.
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

    /// As typed, with single spaces.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// In words, without a full stop.
    pub fn describe(&self) -> String {
        words::describe(&self.fields)
    }
}

/// How a zone's clock goes around a day.
///
/// *Units*: seconds.
struct Clock {
    /// What it is ahead of UTC.
    ahead: i64,
    /// When that changes, and to what.
    change: Option<(i64, i64)>,
}

/// By how much a clock may be ahead of or behind UTC.
const FARTHEST: i64 = 16 * 3600;

/// From here on, a change is a correction.
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

    /// When it shows a time, which is given as if it went by UTC.
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
