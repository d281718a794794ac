//! Parses query strings. Each error begins with the name of its field.

use std::borrow::Cow;
use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};

/// A name and a value.
type Field<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Returns the fields in order. *Errors*: a field occurs twice.
pub(crate) fn fields(query: &str) -> Result<Vec<Field<'_>>, String> {
    let fields: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let mut seen = BTreeSet::new();
    match fields.iter().find(|(name, _)| !seen.insert(name.clone())) {
        Some((name, _)) => Err(format!("{name}: given more than once")),
        None => Ok(fields),
    }
}

/// Parses a whole number from 1 to `most`.
pub(crate) fn number(name: &str, value: &str, most: u64) -> Result<u64, String> {
    match value.parse() {
        Ok(n) if (1..=most).contains(&n) => Ok(n),
        _ => Err(format!(
            "{name}: {value:?} is not a number from 1 to {most}"
        )),
    }
}

/// Parses a value of an enum. *Errors*: serde's, which list the allowed values.
pub(crate) fn word<'a, T: serde::Deserialize<'a>>(name: &str, value: &'a str) -> Result<T, String> {
    let word: StrDeserializer<'a, Error> = value.into_deserializer();
    T::deserialize(word).map_err(|e| format!("{name}: {e}"))
}

/// Parses a name, which must not be empty.
pub(crate) fn name(field: &str, value: &str) -> Result<String, String> {
    if value.is_empty() {
        return Err(format!("{field}: it is empty; want a name"));
    }
    Ok(value.to_owned())
}

/// Parses a time as Prometheus's API does: RFC 3339, or Unix seconds with or without a fraction.
pub(crate) fn time(name: &str, value: &str) -> Result<DateTime<Utc>, String> {
    seconds(value)
        .or_else(|| Some(DateTime::parse_from_rfc3339(value).ok()?.to_utc()))
        .ok_or_else(|| {
            format!(
                "{name}: {value:?} is not a time; want RFC 3339, such as 2026-11-22T10:00:00Z (with a + written as %2B), or Unix seconds, such as 1795341600.5"
            )
        })
}

fn seconds(value: &str) -> Option<DateTime<Utc>> {
    let number: f64 = value.parse().ok()?;
    // At these times, a double is exact to milliseconds; values out of range are not times.
    #[allow(clippy::cast_possible_truncation)]
    let millis = number
        .is_finite()
        .then_some((number * 1000.0).round() as i64)?;
    DateTime::from_timestamp_millis(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_parsed_as_in_prometheus() {
        for (value, wanted) in [
            ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z"),
            ("2026-11-22T18:00:00.25+08:00", "2026-11-22T10:00:00.25Z"),
            ("1795341600", "2026-11-22T10:00:00Z"),
            ("1795341600.5", "2026-11-22T10:00:00.5Z"),
            ("-1", "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(time("since", value), Ok(wanted.parse().unwrap()), "{value}");
        }
        for value in [
            "",
            "now",
            "2026-11-22",
            "NaN",
            "inf",
            "1e300",
            "2026-11-22T10:00:00",
            // With an unescaped +.
            "2026-11-22T18:00:00 08:00",
        ] {
            let why = time("since", value).unwrap_err();
            assert!(why.starts_with("since: "), "{why}");
        }
    }

    #[test]
    fn a_repeated_field_is_rejected() {
        assert!(fields("a=1&b=1").is_ok());
        assert_eq!(
            fields("a=1&b=1&a=1"),
            Err("a: given more than once".to_owned())
        );
    }
}
