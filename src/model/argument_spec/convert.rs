//! Converts values to types as Ansible does.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Number, Value};

use super::Kind;

/// The result of a conversion.
pub(super) enum Converted<'a> {
    To(Cow<'a, Value>),
    /// Ansible accepts the value, or may accept it; the result is not known here.
    Unknown,
}

use Converted::{To, Unknown};

/// Converts a value to a type; `None` if Ansible rejects it.
pub(super) fn convert<'a>(value: &'a Value, kind: &Kind) -> Option<Converted<'a>> {
    Some(match kind {
        Kind::Raw => To(Cow::Borrowed(value)),
        Kind::Str => To(text(value)),
        // Ansible expands ~ and $NAME.
        Kind::Path => match text(value) {
            text if text.as_str().is_some_and(|s| s.contains(['~', '$'])) => Unknown,
            text => To(text),
        },
        Kind::Int => int(value)?,
        Kind::Float => float(value)?,
        Kind::Bool => To(Cow::Owned(bool(value)?.into())),
        Kind::List => list(value)?,
        Kind::Dict => dict(value)?,
        Kind::Json => match value {
            Value::String(text) => To(Cow::Owned(text.trim_matches(is_space).into())),
            Value::Array(_) | Value::Object(_) => Unknown,
            _ => return None,
        },
        Kind::Bytes => size(value, false)?,
        Kind::Bits => size(value, true)?,
        Kind::Other(_) => Unknown,
    })
}

/// Python's `str.isspace`, which `strip`, `int` and `float` use.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Python's `str()`. The notation of lists and maps differs, but begins with the same character.
fn text(value: &Value) -> Cow<'_, Value> {
    match value {
        Value::String(_) => Cow::Borrowed(value),
        Value::Null => Cow::Owned("".into()),
        Value::Bool(true) => Cow::Owned("True".into()),
        Value::Bool(false) => Cow::Owned("False".into()),
        Value::Number(number) => Cow::Owned(number_text(number).into()),
        Value::Array(_) | Value::Object(_) => Cow::Owned(value.to_string().into()),
    }
}

fn number_text(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => {
            if float == 0.0 || (1e-4..1e16).contains(&float.abs()) {
                return format!("{float:?}");
            }
            let written = format!("{float:e}");
            let (digits, exponent) = written.split_once('e').expect("it has an exponent");
            format!("{digits}e{:+03}", exponent.parse::<i32>().unwrap_or(0))
        }
        _ => number.to_string(),
    }
}

/// Normalizes a number as Python reads it: digits of every script (their values do not matter here), and underscores.
fn ascii(text: &str) -> String {
    let digit = |c: char| match c {
        c if c.is_ascii() => c,
        c if c.is_numeric() => '0',
        c => c,
    };
    text.trim_matches(is_space).chars().map(digit).collect()
}

fn int(value: &Value) -> Option<Converted<'_>> {
    match value {
        // To Python, a bool is an int.
        Value::Bool(_) => Some(To(Cow::Borrowed(value))),
        Value::Number(number) if !number.is_f64() => Some(To(Cow::Borrowed(value))),
        Value::Number(number) => {
            let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
            #[allow(clippy::cast_possible_truncation)] // whole, and small enough
            Some(if float.abs() < 1e15 {
                To(Cow::Owned((float as i64).into()))
            } else {
                Unknown
            })
        }
        Value::String(text) => {
            let typed = ascii(text);
            if let Ok(whole) = typed.parse::<i64>()
                && text.is_ascii()
            {
                return Some(To(Cow::Owned(whole.into())));
            }
            is_whole_decimal(&typed.replace('_', "")).then_some(Unknown)
        }
        // Python's Decimal accepts a tuple of sign, digits and exponent.
        Value::Array(parts) if parts.len() == 3 => Some(Unknown),
        _ => None,
    }
}

/// Returns whether Python's `Decimal` accepts a text and its value is a whole number.
fn is_whole_decimal(text: &str) -> bool {
    static DECIMAL: LazyLock<Regex> = LazyLock::new(|| {
        let decimal = r"^[+-]?(?:([0-9]+)(?:\.([0-9]*))?|\.([0-9]+))(?:[eE]([+-]?[0-9]+))?$";
        Regex::new(decimal).expect("it is one")
    });
    let Some(parts) = DECIMAL.captures(text) else {
        return false;
    };
    let part = |n: usize| parts.get(n).map_or("", |part| part.as_str());
    let fraction = format!("{}{}", part(2), part(3));
    // An exponent outside the range of i64 is left to Ansible.
    let Ok(exponent) = part(4).parse::<i64>().or_else(|_| match part(4) {
        "" => Ok(0),
        _ => Err(()),
    }) else {
        return true;
    };
    let digits = format!("{}{fraction}", part(1));
    let places = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    let behind = places.saturating_sub(exponent);
    let behind = usize::try_from(behind).unwrap_or(0).min(digits.len());
    digits[digits.len() - behind..].bytes().all(|b| b == b'0')
}

fn float(value: &Value) -> Option<Converted<'_>> {
    match value {
        Value::Bool(yes) => Some(To(Cow::Owned(f64::from(u8::from(*yes)).into()))),
        Value::Number(_) => Some(To(Cow::Borrowed(value))),
        Value::String(text) => {
            let typed = ascii(text);
            let bytes = typed.as_bytes();
            let digit = |at: Option<usize>| {
                at.and_then(|at| bytes.get(at))
                    .is_some_and(u8::is_ascii_digit)
            };
            let mut underscores = typed.match_indices('_').map(|(at, _)| at);
            if !underscores.all(|at| digit(at.checked_sub(1)) && digit(Some(at + 1))) {
                return None;
            }
            let float: f64 = typed.replace('_', "").parse().ok()?;
            let number = Number::from_f64(float).filter(|_| text.is_ascii());
            Some(number.map_or(Unknown, |number| To(Cow::Owned(number.into()))))
        }
        _ => None,
    }
}

fn bool(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::Number(number) => match number.as_f64()? {
            0.0 => Some(false),
            1.0 => Some(true),
            _ => None,
        },
        Value::String(text) => match text.to_lowercase().trim_matches(is_space) {
            "y" | "yes" | "on" | "1" | "true" | "t" => Some(true),
            "n" | "no" | "off" | "0" | "false" | "f" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn list(value: &Value) -> Option<Converted<'_>> {
    match value {
        Value::Array(_) => Some(To(Cow::Borrowed(value))),
        Value::String(text) => {
            let items: Vec<Value> = text.split(',').map(Value::from).collect();
            Some(To(Cow::Owned(items.into())))
        }
        Value::Number(_) | Value::Bool(_) => {
            let items = vec![text(value).into_owned()];
            Some(To(Cow::Owned(items.into())))
        }
        Value::Null | Value::Object(_) => None,
    }
}

fn dict(value: &Value) -> Option<Converted<'_>> {
    match value {
        Value::Object(_) => Some(To(Cow::Borrowed(value))),
        // JSON or a Python literal.
        Value::String(text) if text.starts_with('{') => Some(match serde_json::from_str(text) {
            Ok(map @ Value::Object(_)) => To(Cow::Owned(map)),
            _ => Unknown,
        }),
        Value::String(text) if text.contains('=') => {
            let mut map = Map::new();
            for field in fields(text) {
                let (key, value) = field.split_once('=')?;
                map.insert(key.to_owned(), value.into());
            }
            Some(To(Cow::Owned(map.into())))
        }
        _ => None,
    }
}

/// Splits `a=1, b="2 3"` into its fields.
fn fields(text: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let (mut field, mut quote, mut escaped) = (String::new(), None, false);
    for c in text.trim_matches(is_space).chars() {
        match c {
            c if escaped => {
                field.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '\'' | '"' if quote.is_none() => quote = Some(c),
            c if quote == Some(c) => quote = None,
            ',' | ' ' if quote.is_none() => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    fields.retain(|field| !field.is_empty());
    fields
}

/// Checks a size as ansible-core 2.16 does, which is less strict: trailing text is ignored.
fn size(value: &Value, bits: bool) -> Option<Converted<'static>> {
    static SIZE: LazyLock<Regex> = LazyLock::new(|| {
        let size = r"^([0-9]*\.?[0-9]*)[\s\x1c-\x1f]*([A-Za-z]+)?";
        Regex::new(size).expect("it is one")
    });
    let text = match value {
        Value::String(text) => ascii(text),
        Value::Number(number) => number_text(number),
        _ => return None,
    };
    let found = SIZE.captures(&text)?;
    found[1].parse::<f64>().ok()?;
    let Some(unit) = found.get(2).map(|unit| unit.as_str()) else {
        return Some(Unknown);
    };
    let (word, letter) = if bits { ("bit", 'b') } else { ("byte", 'B') };
    let mut letters = unit.chars();
    let is_prefix = letters
        .next()
        .is_some_and(|c| "YZEPTGMKB".contains(c.to_ascii_uppercase()));
    let is_unit = match letters.next() {
        None => true,
        Some(second) => second == letter || unit.to_ascii_lowercase().contains(word),
    };
    (is_prefix && is_unit).then_some(Unknown)
}
