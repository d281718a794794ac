//! Durations and sizes in the format of Prometheus.
//!
//! *Source*: `model.ParseDuration` of prometheus/common; the retention sizes of Prometheus's storage page ("based on
//! powers-of-2, so 1KB is 1024B").

use std::fmt::Write as _;
use std::time::Duration;

use thiserror::Error;

const SECOND: u64 = 1_000;
const DAY: u64 = 24 * 60 * 60 * SECOND;

/// Units of time in milliseconds, in the required order.
const TIME_UNITS: [(&str, u64); 7] = [
    ("y", 365 * DAY),
    ("w", 7 * DAY),
    ("d", DAY),
    ("h", 60 * 60 * SECOND),
    ("m", 60 * SECOND),
    ("s", SECOND),
    ("ms", 1),
];

/// Units of size in powers of 1024.
const SIZE_UNITS: [(&str, &str, u32); 5] = [
    ("KB", "KiB", 1),
    ("MB", "MiB", 2),
    ("GB", "GiB", 3),
    ("TB", "TiB", 4),
    ("PB", "PiB", 5),
];

/// The longest duration that Prometheus accepts, in milliseconds: it counts nanoseconds in a signed 64-bit integer.
const MAX_MILLIS: u64 = i64::MAX.unsigned_abs() / 1_000_000;

/// Why a text is not a duration or size.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnitError {
    /// The text is empty.
    #[error("it is empty")]
    Empty,
    /// A number is missing.
    #[error("expected a number before {0:?}")]
    NoNumber(String),
    /// A number has no unit.
    #[error("{0} has no unit")]
    NoUnit(String),
    /// The unit is unknown.
    #[error("{0:?} is not a unit")]
    UnknownUnit(String),
    /// A unit is repeated, or follows a smaller one.
    #[error("{0:?} is repeated or out of order: write each unit once, the larger ones first")]
    Order(String),
    /// The value is too large.
    #[error("it is too large")]
    TooLarge,
}

/// The help for a bad duration.
pub(crate) const DURATION_HELP: &str =
    "write it as Prometheus does, in whole numbers: 500ms, 10s, 5m, 1h30m, 90d, 1w, 1y";

/// The help for a bad size.
pub(crate) const SIZE_HELP: &str = "write whole bytes, or a whole number with a unit: 65536, 512KB, 8MiB, 1GiB (1KB and 1KiB are 1024 bytes)";

/// Parses `1h30m`, `90d`, `500ms` or a bare `0`.
///
/// *Units*: `y` is 365 days, `w` 7 days, `d` 24 hours.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    match text {
        "" => return Err(UnitError::Empty),
        "0" => return Ok(Duration::ZERO),
        _ => {}
    }
    let mut rest = text;
    let mut millis: u64 = 0;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let (digits, tail) = split_at_non_digit(rest);
        let unit = &tail[..tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len())];
        if digits.is_empty() {
            return Err(UnitError::NoNumber(rest.to_owned()));
        }
        if unit.is_empty() {
            return Err(UnitError::NoUnit(digits.to_owned()));
        }
        let place = TIME_UNITS
            .iter()
            .position(|(name, _)| *name == unit)
            .ok_or_else(|| UnitError::UnknownUnit(unit.to_owned()))?;
        if place < next_unit {
            return Err(UnitError::Order(unit.to_owned()));
        }
        next_unit = place + 1;
        millis = digits
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(TIME_UNITS[place].1))
            .and_then(|n| n.checked_add(millis))
            .filter(|n| *n <= MAX_MILLIS)
            .ok_or(UnitError::TooLarge)?;
        rest = &tail[unit.len()..];
    }
    Ok(Duration::from_millis(millis))
}

/// Formats a duration so that [`parse_duration`] accepts it. Fractions of a millisecond are cut off.
pub fn format_duration(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0".to_owned();
    }
    let mut text = String::new();
    for (name, unit) in TIME_UNITS {
        // As in Prometheus: years and weeks only if there is no remainder, or 90d would become 12w6d.
        if matches!(name, "y" | "w") && millis % unit != 0 {
            continue;
        }
        if millis >= unit {
            let _ = write!(text, "{}{name}", millis / unit);
            millis %= unit;
        }
    }
    text
}

/// Parses `65536`, `512KB`, `8MiB`, `1GiB`.
///
/// *Units*: bytes; every unit is a power of 1024, with or without the `i`.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    if text.is_empty() {
        return Err(UnitError::Empty);
    }
    let (digits, unit) = split_at_non_digit(text);
    if digits.is_empty() {
        return Err(UnitError::NoNumber(text.to_owned()));
    }
    let power = match unit {
        "" | "B" => 0,
        _ => SIZE_UNITS
            .iter()
            .find_map(|(short, long, power)| (*short == unit || *long == unit).then_some(*power))
            .ok_or_else(|| UnitError::UnknownUnit(unit.to_owned()))?,
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(1024_u64.pow(power)))
        .ok_or(UnitError::TooLarge)
}

/// Formats a size so that [`parse_size`] accepts it.
pub fn format_size(bytes: u64) -> String {
    SIZE_UNITS
        .iter()
        .rev()
        .find_map(|(_, name, power)| {
            let unit = 1024_u64.pow(*power);
            (bytes >= unit && bytes.is_multiple_of(unit)).then(|| format!("{}{name}", bytes / unit))
        })
        .unwrap_or_else(|| bytes.to_string())
}

fn split_at_non_digit(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_prometheus() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("324ms", 324),
            ("3s", 3_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("4d", 4 * DAY),
            ("4d1h", 4 * DAY + 3_600_000),
            ("14d", 14 * DAY),
            ("3w", 21 * DAY),
            ("3w2d1h", 23 * DAY + 3_600_000),
            ("10y", 3650 * DAY),
            ("1h30m5s250ms", 5_405_250),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in [
            "",
            "1",
            "00",
            "1y1m1d",
            "-1w",
            "1.5d",
            "d",
            "1h 30m",
            " 1h",
            "1h ",
            "1H",
            "1s1s",
            "1µs",
            "1ns",
            "9999999999y",
            "99999999999999999999s",
            "293y",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("17B", 17),
            ("512KB", 512 * 1024),
            ("512KiB", 512 * 1024),
            ("8MiB", 8 << 20),
            ("1GiB", 1 << 30),
            ("2TB", 2 << 40),
            ("1PB", 1 << 50),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "MiB",
            "1.5GiB",
            "-1",
            "1 GiB",
            "1gib",
            "1k",
            "99999999PiB",
            "1٣",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_written_duration_or_size_is_the_shortest_people_would_write() {
        for text in [
            "0", "500ms", "10s", "5m", "1h30m", "90d", "1w", "1y", "1d6h",
        ] {
            let read = parse_duration(text).expect("a good duration");
            assert_eq!(format_duration(read), text);
        }
        for text in ["0", "4KiB", "1MiB", "1536MiB", "1000"] {
            assert_eq!(format_size(parse_size(text).expect("a good size")), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(millis in 0..=MAX_MILLIS, bytes: u64) {
            let duration = Duration::from_millis(millis);
            proptest::prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
            proptest::prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_is_too_strange(text: String) {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }
    }
}
