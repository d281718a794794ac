//! The ranges in the lists of a span: times, days, months and years, as written in the configuration.

use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::util::suggest::did_you_mean;

/// The error of a text that is not a range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}: {help}")]
pub struct SyntaxError {
    pub message: String,
    /// How to correct it.
    pub help: String,
}

impl SyntaxError {
    fn new(message: String, help: impl Into<String>) -> Self {
        Self {
            message,
            help: help.into(),
        }
    }
}

/// A range of minutes of a day; the end is exclusive.
///
/// *Units*: minutes of wall-clock time since 00:00; the end is at most 1440.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl TimeRange {
    /// Parses `start_time` and `end_time`, each in the form `HH:MM`; `24:00` is the end of the day.
    pub fn new(start: &str, end: &str) -> Result<Self, SyntaxError> {
        let range = Self {
            start: Self::minute("start_time", start)?,
            end: Self::minute("end_time", end)?,
        };
        if range.start < range.end {
            return Ok(range);
        }
        Err(SyntaxError::new(
            format!("start_time {start} is not before end_time {end}"),
            "for a range across midnight write two: one up to '24:00' and one from '00:00'",
        ))
    }

    fn minute(key: &str, text: &str) -> Result<u32, SyntaxError> {
        let number = |text: &str| {
            let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse::<u32>().ok()).flatten()
        };
        let parts = text.split_once(':');
        match parts.map(|(hour, minute)| (number(hour), number(minute))) {
            Some((Some(hour @ 0..24), Some(minute @ 0..60))) => Ok(hour * 60 + minute),
            Some((Some(24), Some(0))) => Ok(24 * 60),
            _ => Err(SyntaxError::new(
                format!("{key} {text:?} is not a time of the day"),
                "write two digits each for hours and minutes, from '00:00' to '24:00'",
            )),
        }
    }
}

/// Days of the week, numbered from 0 for Sunday.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeekdayRange(pub(super) RangeInclusive<usize>);

const WEEKDAYS: [&str; 7] = [
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];

impl FromStr for WeekdayRange {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let day = |word: &str| {
            WEEKDAYS
                .iter()
                .position(|name| *name == word)
                .ok_or_else(|| {
                    SyntaxError::new(
                        format!("{word:?} is not a day of the week"),
                        did_you_mean(word, &WEEKDAYS, "the days are"),
                    )
                })
        };
        let (first, last) = ends(text, day, "'monday:friday'")?;
        if first > last {
            return Err(SyntaxError::new(
                format!("{text:?} ends before it begins: the week begins on Sunday"),
                "write two, one up to saturday and one from sunday: ['friday:saturday', 'sunday:monday']",
            ));
        }
        Ok(Self(first..=last))
    }
}

/// Days of the month; negative ones count from the end, where -1 is the last day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayRange {
    first: i64,
    last: i64,
}

impl DayRange {
    /// Returns whether the range contains a day of a month with `days_in_month` days.
    pub(super) fn contains(self, day: u32, days_in_month: u32) -> bool {
        let from_start = |day: i64| {
            if day < 0 {
                i64::from(days_in_month) + day + 1
            } else {
                day
            }
        };
        (from_start(self.first)..=from_start(self.last)).contains(&i64::from(day))
    }
}

impl FromStr for DayRange {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let day = |word: &str| match word.parse() {
            Ok(day @ (1..=31 | -31..=-1)) => Ok(day),
            _ => Err(SyntaxError::new(
                format!("{word:?} is not a day of the month"),
                "write 1 to 31, or -1 to -31, counted from the month's end",
            )),
        };
        let (first, last): (i64, i64) = ends(text, day, "'1:5', or '-3:-1'")?;
        if first < 0 && last > 0 {
            return Err(SyntaxError::new(
                format!("{text:?} begins at the end of the month and ends at its start"),
                "write a negative last day too, as in '-3:-1', or two ranges",
            ));
        }
        // The shortest month decides whether the range is in order in at least one month.
        let of_28 = |day: i64| if day < 0 { 28 + day } else { day };
        if of_28(first) > of_28(last) {
            return Err(SyntaxError::new(
                format!("{text:?} ends before it begins"),
                "write the first day first, or two ranges: ['28:31', '1:3']",
            ));
        }
        Ok(Self { first, last })
    }
}

/// Months, numbered from 1 for January.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonthRange(pub(super) RangeInclusive<usize>);

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

impl FromStr for MonthRange {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let month = |word: &str| {
            let named = MONTHS.iter().position(|name| *name == word);
            let number = named.map(|index| index + 1).or_else(|| word.parse().ok());
            number
                .filter(|number| (1..=12).contains(number))
                .ok_or_else(|| {
                    SyntaxError::new(
                        format!("{word:?} is not a month"),
                        did_you_mean(word, &MONTHS, "write 1 to 12, or one of"),
                    )
                })
        };
        let (first, last) = ends(text, month, "'may:august', or '5:8'")?;
        if first > last {
            return Err(SyntaxError::new(
                format!("{text:?} ends before it begins"),
                "write two, one up to december and one from january: ['november:december', 'january:february']",
            ));
        }
        Ok(Self(first..=last))
    }
}

/// Years.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YearRange(pub(super) RangeInclusive<i32>);

impl FromStr for YearRange {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let year = |word: &str| match word.parse() {
            Ok(year @ 1000..=9999) => Ok(year),
            _ => Err(SyntaxError::new(
                format!("{word:?} is not a year"),
                "write years in full, and a range with a colon: '2026:2028'",
            )),
        };
        let (first, last) = ends(text, year, "'2026:2028'")?;
        if first > last {
            return Err(SyntaxError::new(
                format!("{text:?} ends before it begins"),
                "write the first year first",
            ));
        }
        Ok(Self(first..=last))
    }
}

/// Parses the ends of a range, which are equal if only one value is written. Case is ignored.
fn ends<T: Copy>(
    text: &str,
    member: impl Fn(&str) -> Result<T, SyntaxError>,
    example: &str,
) -> Result<(T, T), SyntaxError> {
    let text = text.to_lowercase();
    let parts: Vec<&str> = text.split(':').collect();
    match parts[..] {
        [one] => member(one).map(|one| (one, one)),
        [first, last] => Ok((member(first)?, member(last)?)),
        _ => Err(SyntaxError::new(
            format!("{text:?} is not a range"),
            format!(
                "write the first and the last value with one colon between them, as in {example}"
            ),
        )),
    }
}
