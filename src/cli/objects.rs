//! The common parts of the subcommands for bindings and for schedules.

use std::io::Write;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Failure;
use super::colored;
use super::guard_format::guard;
use super::print;
use super::table::{Cell, columns};
use super::terminal::{Ink, plain};

/// A binding or schedule that is ignored.
#[derive(Deserialize)]
pub(super) struct Conflict {
    kind: String,
    name: String,
    why: String,
}

#[derive(Deserialize)]
pub(super) struct Named {
    pub(super) name: String,
}

/// Warns about bindings and schedules that are ignored.
pub(super) fn warn(conflicts: &[Conflict]) {
    for Conflict { kind, name, why } in conflicts {
        let warning = Ink::Yellow.paint("warning:", colored(&std::io::stderr()));
        let _ = writeln!(
            std::io::stderr(),
            "{warning} the {} {} is ignored: {}",
            plain(kind),
            plain(name),
            plain(why)
        );
    }
}

/// Formats a target as on the command line.
pub(super) fn target_text(target: &Value) -> String {
    let Value::Object(target) = target else {
        return target.as_str().unwrap_or_default().to_owned();
    };
    let texts = target.iter().map(|(kind, value)| match value {
        Value::Array(names) => {
            let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
            format!("host:{}", names.join(","))
        }
        value => format!("{kind}:{}", value.as_str().unwrap_or_default()),
    });
    texts.collect()
}

/// Prints an object with all its fields.
pub(super) fn detail(object: &Map<String, Value>) -> Result<(), Failure> {
    let fields = object
        .iter()
        .filter(|(name, _)| *name != "typed" && *name != "conflict");
    let mut rows: Vec<[Cell; 2]> = fields
        .filter_map(|(name, value)| {
            let text = match value {
                value if let Some(text) = guard(name, value) => text,
                Value::String(text) => text.clone(),
                Value::Array(items) if items.iter().all(Value::is_string) => {
                    let items = items.iter().filter_map(Value::as_str);
                    items.collect::<Vec<_>>().join(", ")
                }
                _ if name == "target" => target_text(value),
                Value::Object(map) if map.is_empty() => return None,
                Value::Object(map) if matches!(name.as_str(), "paused" | "last") => {
                    let parts = map.iter().map(|(name, value)| match value {
                        Value::String(text) => format!("{name} {text}"),
                        value => format!("{name} {value}"),
                    });
                    parts.collect::<Vec<_>>().join(", ")
                }
                value => value.to_string(),
            };
            (!text.is_empty()).then(|| [Cell::new(name), Cell::new(&text)])
        })
        .collect();
    if let Some(conflict) = object.get("conflict").and_then(Value::as_str) {
        rows.push([Cell::new("conflict"), Cell::inked(Ink::Yellow, conflict)]);
    }
    print(&columns("", &rows, colored(&std::io::stdout())))
}
