//! Converts a parsed YAML spec to a [`Spec`].

use serde_json::{Map, Value};

use super::{Kind, OptionSpec, Options, Spec};

/// The maximum nesting of options. Real specs need about three levels.
const MAX_DEPTH: usize = 16;

/// The placeholder for the default of a secret.
const HIDDEN: &str = "(hidden)";

/// The result of reading a spec.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Read {
    /// The entry point `main`, if there is one: without it Ansible checks nothing.
    pub main: Option<Spec>,
    /// Problems in the spec, one sentence each. Ansible will most likely fail on them.
    pub warnings: Vec<String>,
}

/// Reads the value of `argument_specs`.
///
/// *Shape*: `{ENTRY_POINT: {short_description, description, options: {NAME: {type, required, default, …}}}}`.
pub fn read(specs: &Value) -> Read {
    let mut read = Read::default();
    let Some(points) = map("argument_specs", specs, &mut read.warnings) else {
        return read;
    };
    for (point, spec) in points {
        let Some(typed) = map(point, spec, &mut read.warnings) else {
            continue;
        };
        let options = match typed.get("options") {
            None | Some(Value::Null) => Options::default(),
            Some(value) => options(point, value, 0, &mut read.warnings),
        };
        if point != "main" {
            continue;
        }
        read.main = Some(Spec {
            short_description: lines(typed.get("short_description")).join(" "),
            description: lines(typed.get("description")),
            options,
        });
    }
    read
}

fn map<'a>(
    path: &str,
    value: &'a Value,
    warnings: &mut Vec<String>,
) -> Option<&'a Map<String, Value>> {
    match value {
        Value::Object(map) => Some(map),
        // Ansible treats null like a missing value.
        Value::Null => None,
        _ => {
            warnings.push(format!("{path} is not a map"));
            None
        }
    }
}

fn options(path: &str, typed: &Value, depth: usize, warnings: &mut Vec<String>) -> Options {
    if depth == MAX_DEPTH {
        warnings.push(format!("{path} nests its options too deeply"));
        return Options::default();
    }
    let typed = map(&format!("{path}.options"), typed, warnings);
    let typed = typed.into_iter().flatten();
    let options = typed.map(|(name, typed)| {
        let path = format!("{path}.options.{name}");
        let option = option(&path, typed, depth, warnings);
        (name.clone(), option)
    });
    Options(options.collect())
}

fn option(path: &str, typed: &Value, depth: usize, warnings: &mut Vec<String>) -> OptionSpec {
    let Value::Object(typed) = typed else {
        warnings.push(format!("{path} is not a map"));
        return OptionSpec {
            kind: Kind::Raw,
            ..OptionSpec::default()
        };
    };
    let given = |key: &str| typed.get(key).filter(|value| !value.is_null());
    let no_log = given("no_log").is_some_and(truthy);
    let mut kind = |key: &str| {
        let word = given(key)?;
        let kind = Kind::parse(word.as_str().unwrap_or("?"));
        if let Kind::Other(_) = kind {
            warnings.push(format!("{path}.{key}: {word} is not an Ansible type"));
        }
        Some(kind)
    };
    let (of_value, elements) = (kind("type").unwrap_or_default(), kind("elements"));
    let choices = match given("choices") {
        Some(Value::Array(choices)) => Some(choices.clone()),
        Some(_) => {
            warnings.push(format!("{path}.choices is not a list"));
            None
        }
        None => None,
    };
    OptionSpec {
        kind: of_value,
        description: lines(given("description")),
        required: given("required").is_some_and(truthy),
        default: given("default").map(|value| if no_log { HIDDEN.into() } else { value.clone() }),
        choices,
        elements,
        options: given("options").map(|value| options(path, value, depth + 1, warnings)),
        no_log,
        aliases: texts(given("aliases")),
        apply_defaults: given("apply_defaults").is_some_and(truthy),
    }
}

/// Python's truth value.
fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Reads a string or a list of strings.
fn lines(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => vec![text.trim_end().to_owned()],
        other => texts(other),
    }
}
