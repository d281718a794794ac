//! A cron expression, and the zone whose clock it is read by.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use croner::parser::{CronParser, Seconds, Year};

use crate::zone::Zone;

/// Five fields (minute, hour, day of the month, month, day of the week) or a word such as `@daily`.
///
/// When the clock of the zone is put forward, a fixed time in the gap comes right after it, and of repeated ones
/// (`*/10`, `*`) what lies in the gap is left out. When it is put back, a fixed time comes once, at its first hour, and
/// repeated ones go on through both.
#[derive(Debug, Clone, PartialEq)]
pub struct Cron {
    text: String,
    cron: croner::Cron,
}

/// Why a text is no [`Cron`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// It cannot be read.
    #[error("{0}")]
    Syntax(String),
    /// There is no such time, as on the 30th of February.
    #[error("this time never comes")]
    Never,
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let cron = parser
            .parse(text)
            .map_err(|e| CronError::Syntax(e.to_string()))?;
        let cron = Self {
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
            cron,
        };
        // The calendar repeats itself after 400 years; a leap day comes within eight.
        let epoch = DateTime::UNIX_EPOCH;
        match cron.after(&Zone::UTC, epoch) {
            Some(_) => Ok(cron),
            None => Err(CronError::Never),
        }
    }
}

impl Cron {
    /// The first time after this one, by the clock of this zone.
    pub fn after(&self, zone: &Zone, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let there = time.with_timezone(&zone.tz());
        let mut next = self.cron.find_next_occurrence(&there, false).ok()?;
        // Whatever the library makes of a change of clocks: a time that is not later would come for ever.
        while next.with_timezone(&Utc) <= time {
            next = self.cron.find_next_occurrence(&next, false).ok()?;
        }
        Some(next.with_timezone(&Utc))
    }

    /// As typed, with single spaces.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// In words, without a full stop.
    pub fn describe(&self) -> String {
        let words = self.cron.describe();
        words.strip_suffix('.').unwrap_or(&words).to_owned()
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
