//! Describes cron expressions in words.

use super::fields::{Fields, numbers};

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The maximum number of times of a day that are listed individually.
const LISTED: usize = 6;

/// Describes fields in words, without a full stop.
pub(super) fn describe(fields: &Fields) -> String {
    format!("{}{}{}", times(fields), days(fields), months(fields))
}

fn times(fields: &Fields) -> String {
    let minutes: Vec<u32> = numbers(fields.minutes).collect();
    let hours: Vec<u32> = numbers(fields.hours).collect();
    let every_minutes = even_step(&minutes, 60);
    if hours.len() == 24 {
        return match (every_minutes, minutes.as_slice()) {
            (Some(1), _) => "Every minute".to_owned(),
            (Some(step), _) => format!("Every {step} minutes"),
            (None, [0]) => "Every hour".to_owned(),
            (None, minutes) => format!("At {} of every hour", counted("minute", minutes)),
        };
    }
    if hours.len() * minutes.len() <= LISTED {
        let times = fields.times().map(|second| {
            let minute = second / 60;
            format!("{:02}:{:02}", minute / 60, minute % 60)
        });
        return format!("At {}", listed(times.collect()));
    }
    let of = counted("hour", &hours);
    match (every_minutes, minutes.as_slice()) {
        (Some(1), _) => format!("Every minute of {of}"),
        (Some(step), _) => format!("Every {step} minutes of {of}"),
        (None, [0]) => match even_step(&hours, 24) {
            Some(step) => format!("Every {step} hours"),
            None => format!("At the beginning of {of}"),
        },
        (None, minutes) => format!("At {} of {of}", counted("minute", minutes)),
    }
}

fn days(fields: &Fields) -> String {
    let days: Vec<u32> = numbers(fields.days).collect();
    let weekdays: Vec<u32> = numbers(fields.weekdays).collect();
    let on_days = counted("day", &days);
    let names = ranges(&weekdays, &|day| WEEKDAYS[day as usize].to_owned());
    let (all_days, all_weekdays) = (days.len() == 31, weekdays.len() == 7);
    match (fields.both_days, all_days, all_weekdays) {
        (true, true, true) => String::new(),
        (true, false, true) => format!(", on {on_days}"),
        (true, true, false) => format!(", on {names}"),
        (true, false, false) => format!(", on {on_days} if that is {names}"),
        (false, ..) if all_days || all_weekdays => String::new(),
        (false, ..) => format!(", on {on_days} and on each {names}"),
    }
}

fn months(fields: &Fields) -> String {
    let months: Vec<u32> = numbers(fields.months).collect();
    if months.len() == MONTHS.len() {
        return String::new();
    }
    let names = ranges(&months, &|month| MONTHS[month as usize - 1].to_owned());
    format!(", in {names}")
}

/// Returns the step of numbers that are evenly spaced around the clock, beginning with 0.
fn even_step(numbers: &[u32], around: u32) -> Option<u32> {
    let [0, step, ..] = *numbers else { return None };
    let even = around.is_multiple_of(step)
        && (0..around)
            .step_by(step as usize)
            .eq(numbers.iter().copied());
    even.then_some(step)
}

/// `day 5`, `days 1 to 7 and 15`.
fn counted(noun: &str, numbers: &[u32]) -> String {
    let plural = if numbers.len() == 1 { "" } else { "s" };
    format!("{noun}{plural} {}", ranges(numbers, &|n| n.to_string()))
}

/// Lists sorted numbers by name; three or more consecutive ones as a range.
fn ranges(numbers: &[u32], name: &dyn Fn(u32) -> String) -> String {
    let mut parts = Vec::new();
    for row in numbers.chunk_by(|a, b| a + 1 == *b) {
        match row {
            [first, _, .., last] => parts.push(format!("{} to {}", name(*first), name(*last))),
            few => parts.extend(few.iter().map(|number| name(*number))),
        }
    }
    listed(parts)
}

fn listed(mut parts: Vec<String>) -> String {
    let last = parts.pop().unwrap_or_default();
    if parts.is_empty() {
        last
    } else {
        format!("{} and {last}", parts.join(", "))
    }
}
