//! One value as typed → a number, a time, a size, a text; bounded, or noted as a defect.

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

/// The bounds that `runs.timeout` and a binding's `timeout` share.
pub(super) const TIMEOUT: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(7 * 24);
/// The bounds that `runs.batch_window` and a binding's `batch_window` share; 0 means that nothing is waited for.
pub(super) const BATCH_WINDOW: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(1);

/// A duration within bounds, or its default.
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

/// A kind of value that is written with a unit.
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
                format!("{key} is out of bounds: {text}"),
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

/// A whole number within bounds, or its default.
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
        _ if whole => format!("{key} is out of bounds: {text}"),
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

/// A path that the system can take.
pub(super) fn path(key: &str, typed: Option<Scalar>, report: &mut Report<'_>) -> Option<PathBuf> {
    text(key, typed, report).map(PathBuf::from)
}

/// A text that is there and can be an argument of a program.
pub(super) fn text(key: &str, typed: Option<Scalar>, report: &mut Report<'_>) -> Option<String> {
    let typed = typed?;
    if !is_usable(&typed) {
        report.add(
            place(typed.referenced),
            format!(
                "{key} is empty or holds control characters: {:?}",
                typed.value
            ),
            Some("write its value, or leave the key out".to_owned()),
        );
        return None;
    }
    Some(typed.value)
}

/// A time zone, or UTC where nothing is typed or it was noted as a defect.
pub(super) fn zone(key: &str, typed: Option<&Scalar>, report: &mut Report<'_>) -> Zone {
    let Some(typed) = typed else { return Zone::UTC };
    let error: String = match typed.value.parse() {
        Ok(zone) => return zone,
        Err(error) => error,
    };
    let names: Vec<&str> = Zone::names().collect();
    let meant = match nearest(&typed.value, &names) {
        _ if typed.value.eq_ignore_ascii_case("local") => {
            "it would be another one on another machine: ".to_owned()
        }
        Some(name) => format!("did you mean {name:?}? "),
        None => String::new(),
    };
    report.add(
        place(typed.referenced),
        error,
        Some(format!(
            "{meant}write a name of the IANA data base, as in {key}: Asia/Shanghai"
        )),
    );
    Zone::UTC
}

/// Whether a value can be a path or an argument.
pub(super) fn is_usable(typed: &Scalar) -> bool {
    !typed.value.is_empty() && !typed.value.contains(char::is_control)
}

/// Whether Ansible takes it as a variable's name, and a shell as an environment variable's.
pub(super) fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
