//! Reads single values: numbers, durations, sizes, texts. Reports values that are invalid or out of range.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::error::{Report, place};
use super::spanned::Scalar;
use super::yaml::nearest;
use crate::util::units::{
    DURATION_HELP, SIZE_HELP, UnitError, format_duration, format_size, parse_duration, parse_size,
};
use crate::util::zone::Zone;

/// The bounds of `runs.timeout` and of the `timeout` of a binding.
pub(super) const TIMEOUT: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(7 * 24);
/// The bounds of `runs.batch_window` and of the `batch_window` of a binding; 0 means no waiting.
pub(super) const BATCH_WINDOW: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(1);

/// Reads a duration within bounds; returns the default if it is missing or invalid.
pub(super) fn duration(
    key: &str,
    typed: Option<&Scalar>,
    default: Duration,
    bounds: RangeInclusive<Duration>,
    report: &mut Report<'_>,
) -> Duration {
    let unit = Unit {
        noun: "a duration",
        help: DURATION_HELP,
        parse: parse_duration,
        format: format_duration,
    };
    unit.read(key, typed, default, &bounds, report)
}

pub(super) fn size(
    key: &str,
    typed: Option<&Scalar>,
    default: u64,
    bounds: RangeInclusive<u64>,
    report: &mut Report<'_>,
) -> u64 {
    let unit = Unit {
        noun: "a size",
        help: SIZE_HELP,
        parse: parse_size,
        format: format_size,
    };
    unit.read(key, typed, default, &bounds, report)
}

/// A kind of value with a unit.
struct Unit<T> {
    noun: &'static str,
    help: &'static str,
    parse: fn(&str) -> Result<T, UnitError>,
    format: fn(T) -> String,
}

impl<T: PartialOrd + Copy> Unit<T> {
    fn read(
        &self,
        key: &str,
        typed: Option<&Scalar>,
        default: T,
        bounds: &RangeInclusive<T>,
        report: &mut Report<'_>,
    ) -> T {
        let Some(typed) = typed else { return default };
        let text = &typed.value;
        let (message, help) = match (self.parse)(text) {
            Ok(value) if bounds.contains(&value) => return value,
            Ok(_) => (
                format!("{key} is out of range: {text}"),
                within(
                    &(self.format)(*bounds.start()),
                    &(self.format)(*bounds.end()),
                ),
            ),
            Err(error) => (
                format!("{key} is not {}: {text:?}: {error}", self.noun),
                self.help.to_owned(),
            ),
        };
        report.add(place(typed.referenced), message, Some(help));
        default
    }
}

/// Reads a whole number within bounds; returns the default if it is missing or invalid.
pub(super) fn count<T: FromStr + PartialOrd + Display + Copy>(
    key: &str,
    typed: Option<&Scalar>,
    default: T,
    bounds: RangeInclusive<T>,
    report: &mut Report<'_>,
) -> T {
    let Some(typed) = typed else { return default };
    let text = &typed.value;
    let whole = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let message = match text.parse() {
        Ok(value) if whole && bounds.contains(&value) => return value,
        _ if whole => format!("{key} is out of range: {text}"),
        _ => format!("{key} is not a whole number: {text:?}"),
    };
    report.add(
        place(typed.referenced),
        message,
        Some(within(bounds.start(), bounds.end())),
    );
    default
}

fn within(least: &impl Display, most: &impl Display) -> String {
    format!("write a value from {least} to {most}")
}

/// Reads a path that the system accepts.
pub(super) fn path(key: &str, typed: Option<Scalar>, report: &mut Report<'_>) -> Option<PathBuf> {
    text(key, typed, report).map(PathBuf::from)
}

/// Reads a text that is not empty and can be an argument of a program.
pub(super) fn text(key: &str, typed: Option<Scalar>, report: &mut Report<'_>) -> Option<String> {
    let typed = typed?;
    if !is_usable(&typed) {
        report.add(
            place(typed.referenced),
            format!(
                "{key} is empty or contains control characters: {:?}",
                typed.value
            ),
            Some("set a value, or remove the key".to_owned()),
        );
        return None;
    }
    Some(typed.value)
}

/// Reads a time zone; returns UTC if it is missing or invalid.
pub(super) fn zone(key: &str, typed: Option<&Scalar>, report: &mut Report<'_>) -> Zone {
    let Some(typed) = typed else { return Zone::UTC };
    let error: String = match typed.value.parse() {
        Ok(zone) => return zone,
        Err(error) => error,
    };
    let names: Vec<&str> = Zone::names().collect();
    let meant = match nearest(&typed.value, &names) {
        _ if typed.value.eq_ignore_ascii_case("local") => {
            "local differs from machine to machine: ".to_owned()
        }
        Some(name) => format!("did you mean {name:?}? "),
        None => String::new(),
    };
    report.add(
        place(typed.referenced),
        error,
        Some(format!(
            "{meant}write an IANA time zone name, as in {key}: Asia/Shanghai"
        )),
    );
    Zone::UTC
}

/// Whether a value can be a path or an argument.
pub(super) fn is_usable(typed: &Scalar) -> bool {
    !typed.value.is_empty() && !typed.value.contains(char::is_control)
}

/// Whether a text is a valid variable name for Ansible, and a valid environment variable name for a shell.
pub(super) fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
