//! A run that a person asks for: JSON as typed → a [`AdHocRun`].

use std::fmt::Display;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::{Map, Value};

use crate::config::Config;
use crate::config::Roles;
use crate::config::Target;
use crate::config::managed::as_whole;
use crate::config::narrowing::{self, MAX_VERBOSITY};
use crate::config::reserved::defect_of_vars;
use crate::config::target::{EXACT_NAME, is_exact_name};
use crate::config::values::TIMEOUT;
use crate::config::vars::VarValue;
use crate::config::yaml::did_you_mean;
use crate::model::run::{Narrowing, Vars, Work};
use crate::util::names::{ROLE_HELP, role_defect};
use crate::util::units::{DURATION_HELP, format_duration, parse_duration};

/// What a person asks to be run, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct AdHocRun {
    /// Where: never the alerting host.
    pub target: Target,
    /// The hosts that the target is narrowed to; empty means all of its hosts.
    pub limit: Vec<String>,
    /// What. Its variables hold no name that steers Ansible itself.
    pub work: Work,
}

/// Why a text is no [`AdHocRun`]: the field, what is wrong with it, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", .field.map_or_else(String::new, |field| format!("{field}: ")))]
pub struct AdHocRunError {
    /// The field that is wrong, where it is one.
    pub field: Option<&'static str>,
    /// What is wrong, and what would be right.
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

/// The fields as they arrive. What they mean is checked by hand, so that each error can name its field.
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

/// Reads what to run by hand.
///
/// *Shape*: a JSON object with `roles` (names of either kind) and `target` (`{"group": NAME}`, `{"hosts": [NAME]}` or
/// `"controller"`); and `vars`, `check`, `become`, `gather_facts`, `timeout`, `allow_overlap`, `limit`, `tags`, `skip_tags`,
/// `verbosity`, which have a binding's defaults.
///
/// *Errors*: the first defect; an unknown field is one.
pub fn manual(json: &[u8], config: &Config) -> Result<AdHocRun, AdHocRunError> {
    // A list would be taken for the fields in their order.
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err(AdHocRunError::whole(
            r#"the body is no JSON object: want {"roles": ["NAME"], "target": {"hosts": ["NAME"]}}"#
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

/// Reads what a run that is to be repeated is to have instead of its variables.
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
        let why = r#"the body is no JSON object: want {"vars": {"NAME": VALUE}}, or no body"#;
        return Err(AdHocRunError::whole(why));
    }
    let typed: Typed =
        serde_json::from_slice(json).map_err(|e| AdHocRunError::whole(e.to_string()))?;
    vars(typed.vars)
}

fn wrong(field: &'static str, why: impl Display) -> AdHocRunError {
    AdHocRunError {
        field: Some(field),
        message: why.to_string(),
    }
}

/// A list of names, at least one, none twice.
fn names(
    field: &'static str,
    value: Option<Value>,
    example: &str,
) -> Result<Vec<String>, AdHocRunError> {
    let Some(Value::Array(items)) = value else {
        return Err(wrong(field, format_args!("want a list: {example}")));
    };
    let mut names: Vec<String> = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Value::String(name) if names.contains(&name) => {
                return Err(wrong(field, format_args!("{name:?} stands twice")));
            }
            Value::String(name) => names.push(name),
            other => {
                return Err(wrong(
                    field,
                    format_args!("{other} is not a name: want {example}"),
                ));
            }
        }
    }
    if names.is_empty() {
        return Err(wrong(field, format_args!("it is empty: want {example}")));
    }
    Ok(names)
}

fn roles(value: Option<Value>, known: &Roles) -> Result<Vec<String>, AdHocRunError> {
    let roles = names("roles", value, r#"["check_dns"]"#)?;
    for role in roles.iter().filter(|role| !known.collection.contains(role)) {
        if let Some(why) = role_defect(role) {
            return Err(wrong("roles", format_args!("{role:?} {why}; {ROLE_HELP}")));
        }
        match (known.alert.contains(role), known.routine.contains(role)) {
            (true, false) | (false, true) => {}
            (true, true) => {
                return Err(wrong(
                    "roles",
                    format_args!(
                        "{role:?} is under alert/roles and under routine/roles: rename one of them"
                    ),
                ));
            }
            (false, false) => {
                let mut all = [known.alert.as_slice(), known.routine.as_slice()].concat();
                if role.contains('.') {
                    all.extend(known.collection.iter().cloned());
                }
                let help = did_you_mean(role, &all, "the roles are");
                return Err(wrong(
                    "roles",
                    format_args!("unknown role {role:?}; {help}"),
                ));
            }
        }
    }
    Ok(roles)
}

fn target(value: Option<Value>) -> Result<Target, AdHocRunError> {
    const FORMS: &str = r#"want {"hosts": ["NAME"]}, {"group": "NAME"} or "controller""#;
    let map = match value {
        Some(Value::String(word)) if word == "controller" => return Ok(Target::Controller),
        Some(Value::Object(map)) if map.len() == 1 => map,
        Some(other) => return Err(wrong("target", format_args!("found {other}; {FORMS}"))),
        None => return Err(wrong("target", format_args!("it is missing; {FORMS}"))),
    };
    let (key, value) = map.into_iter().next().expect("it has one");
    match (key.as_str(), value) {
        ("group", Value::String(group)) => {
            exact("target.group", &group, "group")?;
            Ok(Target::Group(group))
        }
        ("hosts", value) => {
            let hosts = names("target.hosts", Some(value), r#"["web1"]"#)?;
            for host in &hosts {
                exact("target.hosts", host, "host")?;
            }
            Ok(Target::Hosts(hosts))
        }
        ("group", other) => Err(wrong(
            "target.group",
            format_args!("found {other}; want a group's name"),
        )),
        ("alerting_host", _) => Err(wrong(
            "target",
            format_args!("no alert names a host here; {FORMS}"),
        )),
        (key, _) => Err(wrong(
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
        return Err(wrong("limit", "the controller is one host: leave it out"));
    }
    let limit = names("limit", value, r#"["web1"]"#)?;
    for host in &limit {
        exact("limit", host, "host")?;
    }
    Ok(limit)
}

fn tags(field: &'static str, value: Option<Value>) -> Result<Vec<String>, AdHocRunError> {
    if value.is_none() {
        return Ok(Vec::new());
    }
    let tags = names(field, value, r#"["config"]"#)?;
    if let Some(why) = narrowing::defect_of_count(tags.len()) {
        return Err(wrong(field, format_args!("it {why}")));
    }
    for tag in &tags {
        if let Some(why) = narrowing::defect_of_tag(tag, field == "skip_tags") {
            return Err(wrong(field, format_args!("{tag:?} {why}")));
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
        let want = format_args!("found {value}; want a whole number from 0 to {MAX_VERBOSITY}");
        wrong("verbosity", want)
    })
}

fn exact(field: &'static str, name: &str, kind: &str) -> Result<(), AdHocRunError> {
    if is_exact_name(name, kind) {
        return Ok(());
    }
    let why = format_args!("{name:?} is not the exact name of a {kind}; {EXACT_NAME}");
    Err(wrong(field, why))
}

fn switch(field: &'static str, value: Option<Value>) -> Result<Option<bool>, AdHocRunError> {
    match value {
        None => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(value)),
        Some(other) => Err(wrong(
            field,
            format_args!("found {other}; want true or false"),
        )),
    }
}

fn timeout(value: Option<Value>) -> Result<Option<Duration>, AdHocRunError> {
    let text = match value {
        None => return Ok(None),
        Some(Value::String(text)) => text,
        Some(other) => {
            return Err(wrong(
                "timeout",
                format_args!("found {other}; want a text such as \"10m\""),
            ));
        }
    };
    match parse_duration(&text) {
        Ok(value) if TIMEOUT.contains(&value) => Ok(Some(value)),
        Ok(_) => Err(wrong(
            "timeout",
            format_args!(
                "{text} is out of bounds; write a value from {} to {}",
                format_duration(*TIMEOUT.start()),
                format_duration(*TIMEOUT.end())
            ),
        )),
        Err(e) => Err(wrong(
            "timeout",
            format_args!("{text:?} is not a duration: {e}; {DURATION_HELP}"),
        )),
    }
}

/// As in a file: what JSON cannot tell exactly is refused, and so is a key that stands twice.
pub(super) fn vars_field<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    VarValue::deserialize(deserializer)
        .map(|VarValue(value)| value)
        .map_err(|e| D::Error::custom(format_args!("vars: {e}")))
}

fn vars(value: Value) -> Result<Vars, AdHocRunError> {
    let vars = match value {
        Value::Null => return Ok(Map::new()),
        Value::Object(vars) => vars,
        other => {
            return Err(wrong(
                "vars",
                format_args!(r#"found {other}; want {{"NAME": VALUE}}"#),
            ));
        }
    };
    match defect_of_vars(&vars) {
        None => Ok(vars),
        Some(why) => Err(wrong("vars", why)),
    }
}

#[cfg(test)]
mod tests;
