//! Manual runs: the JSON of a request → an [`AdHocRun`].

use std::fmt::Display;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::Value;

use crate::config::Config;
use crate::config::Roles;
use crate::config::Target;
use crate::config::managed::as_whole;
use crate::config::narrowing::{self, MAX_VERBOSITY};
use crate::config::reserved::defect_of_vars;
use crate::config::target::{EXACT_NAME, is_exact_name};
use crate::config::values::TIMEOUT;
use crate::config::vars::{VarValue, vars_of};
use crate::config::yaml::did_you_mean;
use crate::model::run::{Narrowing, Vars, Work};
use crate::util::names::{ROLE_HELP, role_defect};
use crate::util::units::{DURATION_HELP, format_duration, parse_duration};

/// A run that a person requests.
#[derive(Debug, Clone, PartialEq)]
pub struct AdHocRun {
    /// Where to run: never the alerting host.
    pub target: Target,
    /// The subset of the target's hosts; empty means all of them.
    pub limit: Vec<String>,
    /// What to run. None of its variables controls Ansible itself.
    pub work: Work,
}

/// Why a text is not an [`AdHocRun`]: the field, its defect, and how to correct it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", .field.map_or_else(String::new, |field| format!("{field}: ")))]
pub struct AdHocRunError {
    /// The wrong field; `None` if the defect concerns the whole body.
    pub field: Option<&'static str>,
    /// The defect, and how to correct it.
    pub message: String,
}

impl AdHocRunError {
    fn whole(message: impl Into<String>) -> Self {
        Self {
            field: None,
            message: message.into(),
        }
    }
}

/// The fields as received. Their values are checked manually, so that each error can name its field.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed {
    roles: Option<Value>,
    target: Option<Value>,
    #[serde(default, deserialize_with = "vars_field")]
    vars: Value,
    check: Option<Value>,
    r#become: Option<Value>,
    gather_facts: Option<Value>,
    timeout: Option<Value>,
    allow_overlap: Option<Value>,
    limit: Option<Value>,
    tags: Option<Value>,
    skip_tags: Option<Value>,
    verbosity: Option<Value>,
}

/// Parses the request for a manual run.
///
/// *Shape*: a JSON object with `roles` (names of either kind) and `target` (`{"group": NAME}`, `{"hosts": [NAME]}` or
/// `"controller"`). Optional, with the defaults of a binding: `vars`, `check`, `become`, `gather_facts`, `timeout`,
/// `allow_overlap`, `limit`, `tags`, `skip_tags`, `verbosity`.
///
/// *Errors*: the first defect; an unknown field is a defect.
pub fn manual(json: &[u8], config: &Config) -> Result<AdHocRun, AdHocRunError> {
    // serde would accept a list as the fields in order.
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err(AdHocRunError::whole(
            r#"the body is not a JSON object: expected {"roles": ["NAME"], "target": {"hosts": ["NAME"]}}"#
                .to_owned(),
        ));
    }
    let typed: Typed =
        serde_json::from_slice(json).map_err(|e| AdHocRunError::whole(e.to_string()))?;
    let target = target(typed.target)?;
    let r#become = switch("become", typed.r#become)?
        .unwrap_or(config.ansible.r#become && target != Target::Controller);
    let gather_facts = switch("gather_facts", typed.gather_facts)?;
    Ok(AdHocRun {
        work: Work {
            roles: roles(typed.roles, &config.roles)?,
            controller: target == Target::Controller,
            vars: vars(typed.vars)?,
            inert_vars: true,
            r#become,
            gather_facts: gather_facts.unwrap_or(config.ansible.gather_facts),
            check: switch("check", typed.check)?.unwrap_or(false),
            timeout: timeout(typed.timeout)?.unwrap_or(config.runs.timeout),
            allow_overlap: switch("allow_overlap", typed.allow_overlap)?.unwrap_or(false),
            rerun_on_interrupt: false,
            narrowing: Narrowing {
                tags: tags("tags", typed.tags)?,
                skip_tags: tags("skip_tags", typed.skip_tags)?,
                verbosity: verbosity(typed.verbosity)?,
            },
        },
        limit: limit(typed.limit, &target)?,
        target,
    })
}

/// Parses the variables that replace those of a repeated run.
///
/// *Shape*: a JSON object that may have `vars`.
///
/// *Errors*: as [`manual`].
pub fn rerun_vars(json: &[u8]) -> Result<Vars, AdHocRunError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Typed {
        #[serde(default, deserialize_with = "vars_field")]
        vars: Value,
    }
    if !json.trim_ascii_start().starts_with(b"{") {
        let why =
            r#"the body is not a JSON object: expected {"vars": {"NAME": VALUE}}, or no body"#;
        return Err(AdHocRunError::whole(why));
    }
    let typed: Typed =
        serde_json::from_slice(json).map_err(|e| AdHocRunError::whole(e.to_string()))?;
    vars(typed.vars)
}

fn field_error(field: &'static str, why: impl Display) -> AdHocRunError {
    AdHocRunError {
        field: Some(field),
        message: why.to_string(),
    }
}

/// Reads a list of names: at least one, without duplicates.
fn names(
    field: &'static str,
    value: Option<Value>,
    example: &str,
) -> Result<Vec<String>, AdHocRunError> {
    let Some(Value::Array(items)) = value else {
        return Err(field_error(
            field,
            format_args!("expected a list: {example}"),
        ));
    };
    let mut names: Vec<String> = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Value::String(name) if names.contains(&name) => {
                return Err(field_error(field, format_args!("{name:?} is listed twice")));
            }
            Value::String(name) => names.push(name),
            other => {
                return Err(field_error(
                    field,
                    format_args!("{other} is not a name: expected {example}"),
                ));
            }
        }
    }
    if names.is_empty() {
        return Err(field_error(
            field,
            format_args!("it is empty; expected {example}"),
        ));
    }
    Ok(names)
}

fn roles(value: Option<Value>, known: &Roles) -> Result<Vec<String>, AdHocRunError> {
    let roles = names("roles", value, r#"["check_dns"]"#)?;
    for role in roles.iter().filter(|role| !known.collection.contains(role)) {
        if let Some(why) = role_defect(role) {
            return Err(field_error(
                "roles",
                format_args!("{role:?} {why}; {ROLE_HELP}"),
            ));
        }
        match (known.alert.contains(role), known.routine.contains(role)) {
            (true, false) | (false, true) => {}
            (true, true) => {
                return Err(field_error(
                    "roles",
                    format_args!(
                        "{role:?} is in both alert/roles and routine/roles: rename one of them"
                    ),
                ));
            }
            (false, false) => {
                let mut all = [known.alert.as_slice(), known.routine.as_slice()].concat();
                if role.contains('.') {
                    all.extend(known.collection.iter().cloned());
                }
                let help = did_you_mean(role, &all, "the roles are");
                return Err(field_error(
                    "roles",
                    format_args!("unknown role {role:?}; {help}"),
                ));
            }
        }
    }
    Ok(roles)
}

fn target(value: Option<Value>) -> Result<Target, AdHocRunError> {
    const FORMS: &str = r#"expected {"hosts": ["NAME"]}, {"group": "NAME"} or "controller""#;
    let map = match value {
        Some(Value::String(word)) if word == "controller" => return Ok(Target::Controller),
        Some(Value::Object(map)) if map.len() == 1 => map,
        Some(other) => {
            return Err(field_error(
                "target",
                format_args!("found {other}; {FORMS}"),
            ));
        }
        None => {
            return Err(field_error(
                "target",
                format_args!("it is missing; {FORMS}"),
            ));
        }
    };
    let (key, value) = map.into_iter().next().expect("it has one");
    match (key.as_str(), value) {
        ("group", Value::String(group)) => {
            check_exact_name("target.group", &group, "group")?;
            Ok(Target::Group(group))
        }
        ("hosts", value) => {
            let hosts = names("target.hosts", Some(value), r#"["web1"]"#)?;
            for host in &hosts {
                check_exact_name("target.hosts", host, "host")?;
            }
            Ok(Target::Hosts(hosts))
        }
        ("group", other) => Err(field_error(
            "target.group",
            format_args!("found {other}; expected a group name"),
        )),
        ("alerting_host", _) => Err(field_error(
            "target",
            format_args!("a manual run has no alert to take the host from; {FORMS}"),
        )),
        (key, _) => Err(field_error(
            "target",
            format_args!("unknown key {key:?}; {FORMS}"),
        )),
    }
}

fn limit(value: Option<Value>, target: &Target) -> Result<Vec<String>, AdHocRunError> {
    if value.is_none() {
        return Ok(Vec::new());
    }
    if *target == Target::Controller {
        return Err(field_error(
            "limit",
            "the controller is a single host: leave limit out",
        ));
    }
    let limit = names("limit", value, r#"["web1"]"#)?;
    for host in &limit {
        check_exact_name("limit", host, "host")?;
    }
    Ok(limit)
}

fn tags(field: &'static str, value: Option<Value>) -> Result<Vec<String>, AdHocRunError> {
    if value.is_none() {
        return Ok(Vec::new());
    }
    let tags = names(field, value, r#"["config"]"#)?;
    if let Some(why) = narrowing::defect_of_count(tags.len()) {
        return Err(field_error(field, format_args!("it {why}")));
    }
    for tag in &tags {
        if let Some(why) = narrowing::defect_of_tag(tag, field == "skip_tags") {
            return Err(field_error(field, format_args!("{tag:?} {why}")));
        }
    }
    Ok(tags)
}

fn verbosity(value: Option<Value>) -> Result<u8, AdHocRunError> {
    let Some(mut value) = value else {
        return Ok(0);
    };
    as_whole(&mut value);
    let number = value.as_u64().and_then(|n| u8::try_from(n).ok());
    let number = number.filter(|n| *n <= MAX_VERBOSITY);
    number.ok_or_else(|| {
        let want = format_args!("found {value}; expected a whole number from 0 to {MAX_VERBOSITY}");
        field_error("verbosity", want)
    })
}

fn check_exact_name(field: &'static str, name: &str, kind: &str) -> Result<(), AdHocRunError> {
    if is_exact_name(name, kind) {
        return Ok(());
    }
    let why = format_args!("{name:?} is not the exact name of a {kind}; {EXACT_NAME}");
    Err(field_error(field, why))
}

fn switch(field: &'static str, value: Option<Value>) -> Result<Option<bool>, AdHocRunError> {
    match value {
        None => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(value)),
        Some(other) => Err(field_error(
            field,
            format_args!("found {other}; expected true or false"),
        )),
    }
}

fn timeout(value: Option<Value>) -> Result<Option<Duration>, AdHocRunError> {
    let text = match value {
        None => return Ok(None),
        Some(Value::String(text)) => text,
        Some(other) => {
            return Err(field_error(
                "timeout",
                format_args!("found {other}; expected a string such as \"10m\""),
            ));
        }
    };
    match parse_duration(&text) {
        Ok(value) if TIMEOUT.contains(&value) => Ok(Some(value)),
        Ok(_) => Err(field_error(
            "timeout",
            format_args!(
                "{text} is out of range; write a value from {} to {}",
                format_duration(*TIMEOUT.start()),
                format_duration(*TIMEOUT.end())
            ),
        )),
        Err(e) => Err(field_error(
            "timeout",
            format_args!("{text:?} is not a duration: {e}; {DURATION_HELP}"),
        )),
    }
}

/// Reads variables as in a file: rejects values that JSON cannot represent exactly, and duplicate keys.
pub(super) fn vars_field<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    VarValue::deserialize(deserializer)
        .map(|VarValue(value)| value)
        .map_err(|e| D::Error::custom(format_args!("vars: {e}")))
}

fn vars(value: Value) -> Result<Vars, AdHocRunError> {
    let vars = vars_of(value).map_err(|why| field_error("vars", why))?;
    match defect_of_vars(&vars) {
        None => Ok(vars),
        Some(why) => Err(field_error("vars", why)),
    }
}

#[cfg(test)]
mod tests;
