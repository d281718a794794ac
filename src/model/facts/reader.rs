//! Reads single values of the facts, whatever their type.
//!
//! Missing values are ignored. Values of the wrong kind are counted, so that the problem is visible.

use std::cell::Cell;

use serde_json::{Map, Value};

/// The largest accepted number. No real quantity exceeds it, and it stays finite in any unit.
const LARGEST: f64 = 1e24;

/// Reads values and counts those that could not be parsed.
#[derive(Debug, Default)]
pub(super) struct Reader {
    not_understood: Cell<u64>,
}

impl Reader {
    pub(super) fn not_understood(&self) -> u64 {
        self.not_understood.get()
    }

    pub(super) fn refuse<T>(&self) -> Option<T> {
        self.not_understood.set(self.not_understood.get() + 1);
        None
    }

    /// Reads a number, or a string that contains one. Old releases and some systems write `"2048"`, and some write "NA"
    /// for none.
    pub(super) fn number(&self, value: Option<&Value>) -> Option<f64> {
        let number = match value? {
            Value::Null => return None,
            Value::Number(number) => number.as_f64(),
            Value::String(text) if is_nothing(text) => return None,
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if number.abs() <= LARGEST => Some(number),
            _ => self.refuse(),
        }
    }

    /// Reads a number that cannot be negative. Linux reports −1 for unknown.
    pub(super) fn amount(&self, value: Option<&Value>) -> Option<f64> {
        match self.number(value)? {
            number if number >= 0.0 => Some(number),
            -1.0 => None,
            _ => self.refuse(),
        }
    }

    /// Reads a string for a label. Numbers and booleans are kept as written; "NA" and the like count as missing.
    pub(super) fn text(&self, value: Option<&Value>) -> Option<String> {
        match value? {
            Value::Null => None,
            Value::String(text) if is_nothing(text) => None,
            Value::String(text) => Some(label(text)),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(yes) => Some(yes.to_string()),
            Value::Array(_) | Value::Object(_) => self.refuse(),
        }
    }

    /// Reads a boolean in the notations of Ansible and Python.
    pub(super) fn truth(&self, value: Option<&Value>) -> Option<bool> {
        match value? {
            Value::Null => None,
            Value::Bool(yes) => Some(*yes),
            Value::Number(number) => match number.as_f64() {
                Some(1.0) => Some(true),
                Some(0.0) => Some(false),
                _ => self.refuse(),
            },
            Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some(true),
                "false" | "no" | "off" | "0" => Some(false),
                text if is_nothing(text) => None,
                _ => self.refuse(),
            },
            Value::Array(_) | Value::Object(_) => self.refuse(),
        }
    }

    /// Reads an object. Some systems write an empty object as an empty list.
    pub(super) fn object<'a>(&self, value: Option<&'a Value>) -> Option<&'a Map<String, Value>> {
        match value? {
            Value::Null => None,
            Value::Object(map) => Some(map),
            Value::Array(list) if list.is_empty() => None,
            Value::String(text) if is_nothing(text) => None,
            _ => self.refuse(),
        }
    }

    /// Reads a list.
    pub(super) fn list<'a>(&self, value: Option<&'a Value>) -> &'a [Value] {
        match value {
            None | Some(Value::Null) => &[],
            Some(Value::Array(list)) => list,
            Some(Value::Object(map)) if map.is_empty() => &[],
            Some(Value::String(text)) if is_nothing(text) => &[],
            Some(_) => self.refuse().unwrap_or_default(),
        }
    }
}

/// Returns whether a text is a placeholder for a missing value.
fn is_nothing(text: &str) -> bool {
    let text = text.trim();
    text.is_empty()
        || ["NA", "N/A"]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word))
}

/// The maximum length of a label value.
const LABEL_CHARS: usize = 200;

fn label(text: &str) -> String {
    text.trim().chars().take(LABEL_CHARS).collect()
}
