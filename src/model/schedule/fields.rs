//! The five fields of a cron expression, as Debian's cron reads them.
//!
//! *Source*: crontab(5) of Debian, and `entry.c` of its cron, which rejects more than the manual page documents.

use chrono::{Datelike, NaiveDate};

use super::CronError;

/// The times of a cron expression: in each set, bit `n` stands for the number `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) minutes: u64,
    pub(super) hours: u64,
    pub(super) days: u64,
    pub(super) months: u64,
    /// Sunday is 0.
    pub(super) weekdays: u64,
    /// Whether a day must be in both sets of days. If neither field begins with `*`, one of them is enough.
    pub(super) both_days: bool,
    /// Whether the minute or the hour begins with `*`: then wall-clock time counts, even while the clock is changed.
    pub(super) by_wall_clock: bool,
}

struct Field {
    name: &'static str,
    low: u32,
    high: u32,
    /// The names of the numbers, beginning with `low`.
    names: &'static [&'static str],
}

const MINUTE: Field = Field::numbers("minute", 0, 59);
const HOUR: Field = Field::numbers("hour", 0, 23);
const DAY: Field = Field::numbers("day of the month", 1, 31);
const MONTH: Field = Field {
    name: "month",
    low: 1,
    high: 12,
    names: &[
        "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
    ],
};
const WEEKDAY: Field = Field {
    name: "day of the week",
    low: 0,
    high: 7,
    names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
};

const WORDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// The number of days after which the calendar repeats: 400 years.
pub(super) const CALENDAR_DAYS: usize = 146_097;

impl Fields {
    /// Parses an expression.
    pub(super) fn read(text: &str) -> Result<Self, CronError> {
        let text = text.trim();
        if text.starts_with('@') {
            return Self::read(meaning(text)?);
        }
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(wrong_count(fields.len()));
        };
        let begins = |field: &str| field.starts_with('*');
        let mut weekdays = WEEKDAY.read(weekday)?;
        let sunday = 1 << 7;
        if weekdays & sunday != 0 {
            weekdays = (weekdays & !sunday) | 1;
        }
        let fields = Self {
            minutes: MINUTE.read(minute)?,
            hours: HOUR.read(hour)?,
            days: DAY.read(day)?,
            months: MONTH.read(month)?,
            weekdays,
            both_days: begins(day) || begins(weekday),
            by_wall_clock: begins(minute) || begins(hour),
        };
        let mut days = NaiveDate::default().iter_days().take(CALENDAR_DAYS);
        if days.any(|day| fields.takes(day)) {
            Ok(fields)
        } else {
            Err(CronError::Never)
        }
    }

    /// Returns whether the expression has times on this day.
    pub(super) fn takes(&self, day: NaiveDate) -> bool {
        let in_days = has(self.days, day.day());
        let in_weekdays = has(self.weekdays, day.weekday().num_days_from_sunday());
        has(self.months, day.month())
            && if self.both_days {
                in_days && in_weekdays
            } else {
                in_days || in_weekdays
            }
    }

    /// Iterates over the times of a day, in seconds from midnight.
    pub(super) fn times(&self) -> impl Iterator<Item = i64> {
        let minutes = self.minutes;
        numbers(self.hours).flat_map(move |hour| {
            numbers(minutes).map(move |minute| i64::from(hour) * 3600 + i64::from(minute) * 60)
        })
    }
}

/// Iterates over the numbers in a set.
pub(super) fn numbers(set: u64) -> impl Iterator<Item = u32> {
    (0..u64::BITS).filter(move |number| has(set, *number))
}

fn has(set: u64, number: u32) -> bool {
    set & (1 << number) != 0
}

fn meaning(word: &str) -> Result<&'static str, CronError> {
    if let Some((_, fields)) = WORDS.iter().find(|(known, _)| *known == word) {
        return Ok(fields);
    }
    let known = WORDS.map(|(word, _)| word).join(", ");
    let why = if word.eq_ignore_ascii_case("@reboot") {
        format!(
            "{word:?} is not supported: schedules follow the clock, and a restart of promansible is not a boot; \
             write five fields, or one of {known}"
        )
    } else {
        format!("{word:?} is not a cron keyword; write five fields, or one of {known}")
    };
    Err(CronError::Syntax(why))
}

fn wrong_count(count: usize) -> CronError {
    let seconds = if count > 5 {
        " (there is none for seconds or years)"
    } else {
        ""
    };
    let fields = if count == 1 { "field" } else { "fields" };
    CronError::Syntax(format!(
        "it has {count} {fields}; write five{seconds}: minute, hour, day of the month, month, day of the week"
    ))
}

impl Field {
    const fn numbers(name: &'static str, low: u32, high: u32) -> Self {
        Self {
            name,
            low,
            high,
            names: &[],
        }
    }

    fn read(&self, text: &str) -> Result<u64, CronError> {
        let mut set = 0;
        for element in text.split(',') {
            if element.is_empty() {
                let why = "has an empty element; write numbers with one comma between them";
                return Err(self.wrong(text, why));
            }
            set |= self.element(element)?;
        }
        Ok(set)
    }

    /// Parses `*`, a number or a range, and a step after `*` or a range.
    fn element(&self, text: &str) -> Result<u64, CronError> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (text, None),
        };
        let (low, high) = match range.split_once('-') {
            Some((low, high)) => (self.number(low, text)?, self.number(high, text)?),
            None if range == "*" => (self.low, self.high),
            None => {
                let number = self.number(range, text)?;
                if let Some(step) = step {
                    let high = self.high;
                    let why = format!(
                        "has a step after a single number; write a range, as {range}-{high}/{step}, or {range} alone"
                    );
                    return Err(self.wrong(text, &why));
                }
                (number, number)
            }
        };
        if low > high {
            let why = "is a range from a larger to a smaller number; write the smaller one first, or two ranges with a comma";
            return Err(self.wrong(text, why));
        }
        let step = match step {
            None => 1,
            Some(step) => self.step(step, text)?,
        };
        let numbers = (low..=high).step_by(step);
        Ok(numbers.fold(0, |set, number| set | 1 << number))
    }

    fn number(&self, text: &str, element: &str) -> Result<u32, CronError> {
        if is_number(text) {
            let number = text.parse().ok();
            let number = number.filter(|number| (self.low..=self.high).contains(number));
            return number.ok_or_else(|| {
                let why = format!("is out of range; write {}", self.want());
                self.wrong(element, &why)
            });
        }
        let name = self.names.iter().zip(self.low..);
        let mut found = name.filter(|(name, _)| name.eq_ignore_ascii_case(text));
        if let Some((_, number)) = found.next() {
            return Ok(number);
        }
        let other = [&MONTH, &WEEKDAY].into_iter().find(|field| {
            let mut names = field.names.iter();
            names.any(|name| name.eq_ignore_ascii_case(text))
        });
        let why = match other {
            Some(other) => format!("belongs in the field {}; ", other.name),
            None => "cannot be read; ".to_owned(),
        };
        Err(self.wrong(element, &format!("{why}write {}", self.want())))
    }

    fn step(&self, text: &str, element: &str) -> Result<usize, CronError> {
        // A step beyond the field selects only its first number.
        let step = is_number(text).then(|| text.parse().unwrap_or(usize::MAX));
        step.filter(|step| *step > 0).ok_or_else(|| {
            self.wrong(
                element,
                "has a step that is not a positive number; write it as */15 or 0-30/10",
            )
        })
    }

    fn want(&self) -> String {
        let Self { low, high, .. } = self;
        let or_name = match self.names {
            [] => String::new(),
            [first, .., last] => format!(", or a name from {first} to {last}"),
            [only] => format!(", or {only}"),
        };
        format!("a number from {low} to {high}{or_name}, `*`, a range or a list of them")
    }

    fn wrong(&self, text: &str, why: &str) -> CronError {
        CronError::Syntax(format!("{}: {text:?} {why}", self.name))
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}
