//! Bindings and schedules made over the API: from JSON to the same objects as those of the file.
//!
//! They are stored as typed, and parsed again whenever the file is reloaded, because the file (its roles, defaults,
//! names) determines their meaning. Their variables are data, like those of a manual run.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Binding;
use crate::config::Config;
use crate::config::Origin;
use crate::config::Roles;
use crate::config::Schedule;
use crate::config::bindings::{self, Defaults};
use crate::config::common::Known;
use crate::config::error::{ConfigErrors, Report};
use crate::config::reserved::defect_of_vars;
use crate::config::schedules;
use crate::config::spanned;
use crate::config::vars::VarValue;

/// The kinds of objects that can be made over the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ManagedKind {
    Binding,
    Schedule,
}

impl ManagedKind {
    /// Returns the name of the kind.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Binding => "binding",
            Self::Schedule => "schedule",
        }
    }
}

impl fmt::Display for ManagedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A binding or schedule as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredObject {
    pub kind: ManagedKind,
    pub name: String,
    /// The object as typed: a JSON object in one line, without unnecessary escapes.
    pub json: String,
    /// The number of times that it was written, from 1.
    pub revision: u64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// A binding or schedule that is ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ManagedConflict {
    pub kind: ManagedKind,
    pub name: String,
    pub why: String,
}

impl fmt::Display for ManagedConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the {} {:?} is ignored: {}",
            self.kind.as_str(),
            self.name,
            self.why
        )
    }
}

/// Why a text is not a binding or schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", .field.as_ref().map_or_else(String::new, |field| format!("{field}: ")))]
pub struct ManagedError {
    /// The wrong field; `None` if the defect concerns the whole body.
    pub field: Option<String>,
    /// The defect, and how to correct it.
    pub message: String,
}

impl ManagedError {
    fn whole(message: impl Into<String>) -> Self {
        Self {
            field: None,
            message: message.into(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum ManagedObject {
    Binding(Box<Binding>),
    Schedule(Box<Schedule>),
}

impl ManagedObject {
    pub fn name(&self) -> &str {
        match self {
            Self::Binding(binding) => &binding.name,
            Self::Schedule(schedule) => &schedule.name,
        }
    }

    /// Checks its variables against the argument specs of its roles. Missing variables may come from the inventory.
    ///
    /// *Errors*: all defects in one error.
    pub fn check_vars(&self, known: &Roles) -> Result<(), ManagedError> {
        let (roles, vars) = match self {
            Self::Binding(binding) => {
                let roles = binding.roles();
                (
                    roles.into_iter().map(str::to_owned).collect(),
                    &binding.vars,
                )
            }
            Self::Schedule(schedule) => (schedule.work.roles.clone(), &schedule.work.vars),
        };
        let checked = known.check_vars(&roles, vars, &|_| true);
        checked.map_err(|e| {
            let (field, message) = e.first();
            ManagedError {
                field: Some(field),
                message,
            }
        })
    }
}

impl Config {
    /// Parses an object as typed. Returns it, and the JSON to store.
    ///
    /// *Errors*: the first defect, with its field. Does not check whether the name exists already.
    pub fn parse_managed(
        &self,
        kind: ManagedKind,
        json: &[u8],
    ) -> Result<(ManagedObject, String), ManagedError> {
        let not_json =
            |e: &dyn fmt::Display| ManagedError::whole(format!("the body is not JSON: {e}"));
        let VarValue(mut value) = serde_json::from_slice(json).map_err(|e| not_json(&e))?;
        if let Value::Object(fields) = &mut value {
            for (field, value) in fields {
                match value {
                    Value::Object(counts) if COUNTED.contains(&field.as_str()) => {
                        counts.values_mut().for_each(as_whole);
                    }
                    value if field == VERBOSITY => as_whole(value),
                    _ => {}
                }
            }
        }
        let Value::Object(fields) = &value else {
            return Err(ManagedError::whole(
                r#"the body is not a JSON object: expected {"name": …}"#,
            ));
        };
        if let Some(Value::Object(vars)) = fields.get("vars")
            && let Some(why) = defect_of_vars(vars)
        {
            return Err(ManagedError {
                field: Some("vars".to_owned()),
                message: why,
            });
        }
        // JSON is YAML, except for surrogates: with one parser, both accept the same.
        let json = as_yaml(&value.to_string());
        let object = self
            .build_kept(kind, &json)
            .map_err(|errors| first(&errors, &json))?;
        // Other defects were reported above, in better words.
        for (field, value) in fields {
            mistyped(field, value)?;
        }
        Ok((object, json))
    }

    fn build_kept(&self, kind: ManagedKind, json: &str) -> Result<ManagedObject, ConfigErrors> {
        let file = "body";
        let known = Known {
            roles: &self.roles,
            ansible: &self.ansible,
        };
        let known = Some(&known);
        let mut report = Report::new(file, json);
        let (ansible, runs) = (&self.ansible, &self.runs);
        let object = match kind {
            ManagedKind::Binding => {
                let typed = spanned::parse(file, json)?;
                let around = Defaults {
                    ansible,
                    runs,
                    guards: &self.guards,
                    time_intervals: &self.time_intervals,
                };
                let mut binding = bindings::binding(typed, None, &around, known, &mut report);
                binding.origin = Origin::Api;
                binding.inert_vars = true;
                ManagedObject::Binding(Box::new(binding))
            }
            ManagedKind::Schedule => {
                let typed = spanned::parse(file, json)?;
                let mut schedule =
                    schedules::schedule(typed, None, ansible, runs, known, &mut report);
                schedule.origin = Origin::Api;
                schedule.work.inert_vars = true;
                ManagedObject::Schedule(Box::new(schedule))
            }
        };
        report.finish(object)
    }

    /// Merges objects made over the API into this file configuration. Objects that clash with the file are ignored, and
    /// listed in `conflicts`.
    #[must_use]
    pub fn with_managed(&self, kept: &[StoredObject]) -> Self {
        let mut config = self.clone();
        for StoredObject {
            kind, name, json, ..
        } in kept
        {
            let taken = match kind {
                ManagedKind::Binding => self.bindings.iter().any(|other| other.name == *name),
                ManagedKind::Schedule => self.schedules.iter().any(|other| other.name == *name),
            };
            let why = if taken {
                Some(
                    "the configuration file already has this name: rename or remove one of them"
                        .to_owned(),
                )
            } else {
                // It was accepted with the roles of that time.
                let read = self.parse_managed(*kind, json.as_bytes());
                match read.and_then(|(object, json)| {
                    object.check_vars(&self.roles)?;
                    Ok((object, json))
                }) {
                    Ok((ManagedObject::Binding(binding), _)) => {
                        config.bindings.push(Arc::new(*binding));
                        None
                    }
                    Ok((ManagedObject::Schedule(schedule), _)) => {
                        config.schedules.push(Arc::new(*schedule));
                        None
                    }
                    Err(e) => Some(e.to_string()),
                }
            };
            config.conflicts.extend(why.map(|why| ManagedConflict {
                kind: *kind,
                name: name.clone(),
                why,
            }));
        }
        config
    }
}

/// The boolean fields.
const SWITCHES: [&str; 5] = ["allow_overlap", "become", "enabled", "gather_facts", "stop"];

/// The duration fields. 0 needs no unit, in a file and in JSON. For any other number, the error is the missing unit.
const DURATIONS: [&str; 6] = [
    "batch_window",
    "cooldown",
    "grace",
    "jitter",
    "timeout",
    "verify_within",
];

/// The fields that contain counts.
const COUNTED: [&str; 2] = ["attempts", "storm"];

const VERBOSITY: &str = "verbosity";

/// Replaces 3.0 by 3: in JSON they are the same number, in YAML they are not.
pub(super) fn as_whole(value: &mut Value) {
    let whole = value.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 1e9);
    if value.is_f64()
        && let Some(whole) = whole
    {
        #[allow(clippy::cast_possible_truncation)] // it is a small whole number
        let whole = whole as i64;
        *value = Value::from(whole);
    }
}

/// Rejects values that YAML would accept as strings: a name `false`, a role 7.
fn mistyped(field: &str, value: &Value) -> Result<(), ManagedError> {
    let is_text = |value: &Value| value.is_string();
    let (good, want) = match value {
        Value::Null => return Ok(()),
        _ if field == "vars" => return Ok(()),
        value if SWITCHES.contains(&field) => (value.is_boolean(), "true or false"),
        Value::Object(map) if COUNTED.contains(&field) => {
            let good = map.values().all(|v| is_text(v) || v.is_number());
            (good, "whole numbers and strings")
        }
        Value::Object(map) if field == "approval" => {
            let good = |(name, v): (&String, &Value)| {
                if name == "required" {
                    v.is_boolean()
                } else {
                    is_text(v)
                }
            };
            (
                map.iter().all(good),
                "required as true or false, and ttl as a string",
            )
        }
        Value::Array(items) if field == "steps" => {
            let good = |item: &Value| {
                item["roles"]
                    .as_array()
                    .is_some_and(|roles| roles.iter().all(is_text))
                    && item.get("verify_within").is_none_or(is_text)
            };
            (items.iter().all(good), "steps whose roles are strings")
        }
        value if field == VERBOSITY => (value.is_u64(), "a whole number"),
        value if DURATIONS.contains(&field) => (is_text(value) || value.is_number(), "a string"),
        Value::Array(items) => (items.iter().all(is_text), "a list of strings"),
        Value::Object(map) => {
            let mut inner = map.values();
            let good = inner.all(|value| match value {
                Value::Array(items) => items.iter().all(is_text),
                other => is_text(other),
            });
            (good, "names as strings")
        }
        other => (is_text(other), "a string"),
    };
    if good {
        return Ok(());
    }
    Err(ManagedError {
        field: Some(field.to_owned()),
        message: format!("found {value}; expected {want}"),
    })
}

/// Escapes characters that JSON allows and YAML does not: control characters, Unicode line breaks, byte order marks.
fn as_yaml(json: &str) -> String {
    let is_odd = |c: char| {
        matches!(
            c,
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
    };
    let mut yaml = String::with_capacity(json.len());
    for c in json.chars() {
        if is_odd(c) {
            let _ = write!(yaml, "\\u{:04x}", u32::from(c));
        } else {
            yaml.push(c);
        }
    }
    yaml
}

/// Returns the first defect.
fn first(errors: &ConfigErrors, json: &str) -> ManagedError {
    let Some(error) = errors.errors.first() else {
        return ManagedError::whole("it cannot be read");
    };
    let field = error.place.and_then(|place| field_at(json, place.column));
    let mut message = error.message.clone();
    if let Some(help) = &error.help {
        message = format!("{message}; {help}");
    }
    // Some messages already begin with their field.
    if let Some(field) = &field
        && let Some(rest) = message.strip_prefix(field.as_str())
        && let Some(rest) = rest.strip_prefix(": ")
    {
        message = rest.to_owned();
    }
    ManagedError { field, message }
}

/// Returns the top-level key at a column, which is in the key or in its value. The object is in one line; columns count
/// from 1, in characters.
fn field_at(json: &str, column: usize) -> Option<String> {
    let (mut depth, mut string, mut escaped) = (0_u32, false, false);
    let (mut key, mut before_colon) = (String::new(), true);
    for (at, c) in (1..).zip(json.chars()) {
        // Continue to the end of a key.
        if at > 1 && at >= column && !(before_colon && depth == 1) {
            break;
        }
        if string {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => string = false,
                _ => {}
            }
            if depth == 1 && before_colon && string {
                key.push(c);
            }
            continue;
        }
        match c {
            '"' => {
                string = true;
                if depth == 1 && before_colon {
                    key.clear();
                }
            }
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            ':' if depth == 1 => before_colon = false,
            ',' if depth == 1 => before_colon = true,
            _ => {}
        }
    }
    (column > 1 && !key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests;
