//! One value of the facts: what it must mean, in whatever type it came.
//!
//! What is missing is no news. What is there and cannot be what it should be is counted, so that somebody can look.

use std::cell::Cell;

use serde_json::{Map, Value};

/// No machine has more of anything, and in any unit it stays a number.
const LARGEST: f64 = 1e24;

/// Reads values, and counts those that were not understood.
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

    /// A number, or a text that holds one. Old releases and some systems wrote `"2048"`; and some say "NA" for none.
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

    /// A number that cannot be negative. Linux says −1 where it does not know.
    pub(super) fn amount(&self, value: Option<&Value>) -> Option<f64> {
        match self.number(value)? {
            number if number >= 0.0 => Some(number),
            -1.0 => None,
            _ => self.refuse(),
        }
    }

    /// A text for a label; a number or a boolean as it is written, "NA" and its like as nothing.
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

    /// A yes or no, in Ansible's and Python's words.
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

    /// The members of an object. An empty list is how some systems write an empty object.
    pub(super) fn object<'a>(&self, value: Option<&'a Value>) -> Option<&'a Map<String, Value>> {
        match value? {
            Value::Null => None,
            Value::Object(map) => Some(map),
            Value::Array(list) if list.is_empty() => None,
            Value::String(text) if is_nothing(text) => None,
            _ => self.refuse(),
        }
    }

    /// The items of a list.
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

/// What stands where there is nothing.
fn is_nothing(text: &str) -> bool {
    let text = text.trim();
    text.is_empty()
        || ["NA", "N/A"]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word))
}

/// Longer texts are no labels.
const LABEL_CHARS: usize = 200;

fn label(text: &str) -> String {
    text.trim().chars().take(LABEL_CHARS).collect()
}
