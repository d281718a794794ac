//! Checks values against a spec.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use serde_json::{Map, Value};

use super::convert::{Converted, convert};
use super::{Kind, OptionSpec, Options};
use crate::util::suggest::did_you_mean;

/// The maximum length of a quoted value.
const SHOWN: usize = 60;

/// The defect of a value, with the expected value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defect {
    /// The path: `vars.NAME`, `vars.a[2].b`.
    pub path: String,
    /// The reason, as a sentence without its full stop. It never contains a value of a `no_log` option.
    pub why: String,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.why)
    }
}

/// Returns all defects of these variables. Variables that are not in the spec are ignored.
///
/// `elsewhere` returns whether a variable is set, or may be set, elsewhere, so that it is not missing.
pub fn check(
    options: &Options,
    vars: &Map<String, Value>,
    elsewhere: &dyn Fn(&str) -> bool,
) -> Vec<Defect> {
    let mut walk = Walk::default();
    for (name, option) in &options.0 {
        let at = At {
            path: format!("vars.{name}"),
            secret: option.no_log,
        };
        match vars.get(name) {
            Some(value) => walk.value(&at, option, value),
            None if elsewhere(name) => {}
            None => walk.missing(&at, option),
        }
    }
    walk.defects
}

/// A path, and whether its value is secret.
struct At {
    path: String,
    secret: bool,
}

impl At {
    fn below(&self, path: fmt::Arguments<'_>, secret: bool) -> Self {
        Self {
            path: format!("{}{path}", self.path),
            secret: self.secret || secret,
        }
    }
}

#[derive(Default)]
struct Walk {
    defects: Vec<Defect>,
}

impl Walk {
    fn note(&mut self, at: &At, why: String) {
        let path = at.path.clone();
        self.defects.push(Defect { path, why });
    }

    fn missing(&mut self, at: &At, option: &OptionSpec) {
        if option.default.is_some() {
            return;
        }
        if option.required {
            let what = describe(option);
            self.note(at, format!("it is required but missing; want {what}"));
        } else if option.apply_defaults
            && let Some(inner) = inner(option)
        {
            self.map(at, inner, &Map::new());
        }
    }

    fn value(&mut self, at: &At, option: &OptionSpec, value: &Value) {
        if value.is_null() && !option.required && option.default.is_none() {
            if option.choices.is_some() {
                self.choices(at, option, value);
            }
            return self.missing(at, option);
        }
        let converted = match convert(value, &option.kind) {
            Some(Converted::To(converted)) => converted,
            Some(Converted::Unknown) => return,
            None => {
                let found = shown(at, value);
                return self.note(at, format!("found {found}; want {}", describe(option)));
            }
        };
        let converted = match (&option.elements, converted.as_ref()) {
            (Some(kind), Value::Array(items)) => Cow::Owned(self.items(at, kind, items)),
            _ => converted,
        };
        if option.choices.is_some() {
            self.choices(at, option, &converted);
        }
        let Some(inner) = inner(option) else { return };
        match converted.as_ref() {
            Value::Object(map) => self.map(at, inner, map),
            Value::Array(items) => {
                for (n, item) in items.iter().enumerate() {
                    if let Value::Object(map) = item {
                        self.map(&at.below(format_args!("[{n}]"), false), inner, map);
                    }
                }
            }
            _ => {}
        }
    }

    /// Converts the items to this type. An item becomes null if its conversion is unknown, or if it is invalid and was
    /// reported.
    fn items(&mut self, at: &At, kind: &Kind, items: &[Value]) -> Value {
        let convert = |(n, item): (usize, &Value)| match convert(item, kind) {
            Some(Converted::To(item)) => item.into_owned(),
            Some(Converted::Unknown) => Value::Null,
            None => {
                let at = at.below(format_args!("[{n}]"), false);
                let found = shown(&at, item);
                self.note(&at, format!("found {found}; want {}", kind.want()));
                Value::Null
            }
        };
        items.iter().enumerate().map(convert).collect()
    }

    fn choices(&mut self, at: &At, option: &OptionSpec, value: &Value) {
        let choices = option.choices.as_deref().unwrap_or_default();
        let list: Vec<String> = choices.iter().map(Value::to_string).collect();
        let list = list.join(", ");
        let items = match value {
            Value::Array(items) => items.as_slice(),
            value => std::slice::from_ref(value),
        };
        for (n, item) in items.iter().enumerate() {
            let of_list = value.is_array();
            // A null item was reported, or its value is unknown.
            let passed = of_list && option.elements.is_some() && item.is_null();
            if passed || is_chosen(item, choices, of_list) {
                continue;
            }
            let at = if of_list {
                at.below(format_args!("[{n}]"), false)
            } else {
                at.below(format_args!(""), false)
            };
            let found = shown(&at, item);
            self.note(&at, format!("found {found}; want one of {list}"));
        }
    }

    fn map(&mut self, at: &At, options: &Options, map: &Map<String, Value>) {
        for (name, option) in &options.0 {
            // An alias takes precedence over the name, and the last alias over the others.
            let names = std::iter::once(name).chain(&option.aliases);
            let given = names.rev().find_map(|name| Some((name, map.get(name)?)));
            match given {
                Some((name, value)) => {
                    let at = at.below(format_args!(".{name}"), option.no_log);
                    self.value(&at, option, value);
                }
                None => self.missing(&at.below(format_args!(".{name}"), option.no_log), option),
            }
        }
        let known: Vec<&str> = options.names().collect();
        for name in map.keys().filter(|name| !known.contains(&name.as_str())) {
            let help = did_you_mean(name, &known, "the keys here are");
            let at = at.below(format_args!(".{name}"), false);
            self.note(&at, format!("unknown key; {help}"));
        }
    }
}

/// Returns the options of a map, or of the maps in a list.
fn inner(option: &OptionSpec) -> Option<&Options> {
    let of_maps = match option.kind {
        Kind::Dict => true,
        Kind::List => option.elements == Some(Kind::Dict),
        _ => false,
    };
    option.options.as_ref().filter(|_| of_maps)
}

fn describe(option: &OptionSpec) -> String {
    match (&option.kind, &option.elements) {
        (Kind::List, Some(kind)) => format!("a list, each of its items {}", kind.want()),
        (kind, _) => kind.want().to_owned(),
    }
}

fn shown(at: &At, value: &Value) -> String {
    if at.secret {
        return "something else".to_owned();
    }
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn is_chosen(value: &Value, choices: &[Value], of_list: bool) -> bool {
    if choices
        .iter()
        .any(|choice| equal(value, choice) || may_be(value, choice))
    {
        return true;
    }
    // YAML may have read a word as a boolean that Ansible turns into text again. It stands for the only choice that is
    // such a boolean.
    let texts: &[&str] = match value.as_str() {
        Some("True") if !of_list => &["y", "yes", "on", "1", "true", "t"],
        Some("False") if !of_list => &["n", "no", "off", "0", "false", "f"],
        _ => return false,
    };
    let number = if value == "True" { 1.0 } else { 0.0 };
    let means = |choice: &&Value| {
        choice.as_str().is_some_and(|text| texts.contains(&text))
            || number_of(choice) == Some(number)
    };
    let mut found: Vec<&Value> = Vec::new();
    for choice in choices.iter().filter(means) {
        if !found.iter().any(|other| equal(other, choice)) {
            found.push(choice);
        }
    }
    found.len() == 1
}

/// Python's `==`.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let same = |(key, a): (&String, &Value)| b.get(key).is_some_and(|b| equal(a, b));
            a.len() == b.len() && a.iter().all(same)
        }
        _ => match (number_of(a), number_of(b)) {
            (Some(a), Some(b)) => a.partial_cmp(&b).is_some_and(Ordering::is_eq),
            _ => a == b,
        },
    }
}

fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(yes) => Some(f64::from(u8::from(*yes))),
        value => value.as_f64(),
    }
}

/// Returns whether Ansible's YAML parser may have read a choice differently from ours: it reads y as text, 0644 and
/// 1:30 as numbers, 1e3 as text, and 2026-01-01 as a date. Python's notation of lists and maps is not known here
/// either.
fn may_be(value: &Value, choice: &Value) -> bool {
    match choice {
        Value::Bool(true) => matches!(value.as_str(), Some("y" | "Y")),
        Value::Bool(false) => matches!(value.as_str(), Some("n" | "N")),
        Value::Number(number) => {
            number.is_f64() && number.as_f64().is_some_and(|n| n.fract() == 0.0)
        }
        Value::String(text) if text.starts_with(['[', '{']) => value
            .as_str()
            .is_some_and(|value| value.chars().next() == text.chars().next()),
        Value::String(text) => {
            let signed = text.trim_start_matches(['+', '-']);
            let zero = signed.len() > 1 && signed.starts_with('0') && !signed.starts_with("0.");
            signed.starts_with(|c: char| c.is_ascii_digit())
                && (zero || signed.contains(['_', ':', '-']))
        }
        _ => false,
    }
}
