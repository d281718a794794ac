//! Enrolling a host: the JSON of a request → an [`Enrolment`].

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Deserialize;
use serde_json::Value;

use super::adhoc_run::vars_field;
use super::reserved::{defect_of_keys, defect_of_name};
use crate::config::vars::vars_of;
use crate::model::inventory::{ALL, UNGROUPED, is_exact};
use crate::model::run::Vars;

/// The maximum length of a host name, address or group name in bytes, as in DNS.
const NAME_BYTES: usize = 253;

/// The maximum number of groups of a host.
const GROUPS: usize = 100;

/// Names other than `localhost` for the machine itself that `/etc/hosts` of some systems contains.
const LOOPBACK_NAMES: [&str; 6] = [
    "localhost4",
    "localhost6",
    "ip6-localhost",
    "ip6-loopback",
    "ipv6-localhost",
    "ipv6-loopback",
];

/// The variables of Ansible that an enrolled host may set. No other `ansible_…` is accepted: connection plugins, their
/// options and the become program run on the controller, and the caller must not choose them.
const STEERING: [&str; 3] = ["ansible_port", "ansible_python_interpreter", "ansible_user"];

/// A host to enrol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    pub name: String,
    /// The address for Ansible; `None` means the name.
    pub address: Option<String>,
    /// Its groups, sorted.
    pub groups: Vec<String>,
    pub vars: Vars,
}

/// Why a text is not an [`Enrolment`]: the field, its defect, and how to correct it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EnrolmentError(String);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed {
    name: String,
    address: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default, deserialize_with = "vars_field")]
    vars: Value,
}

/// Parses the request to enrol a host.
///
/// *Shape*: a JSON object with `name`; optionally `address` (an IP address or a DNS name), `groups` (names) and `vars`.
/// The variables are data, never templates.
///
/// *Errors*: the first defect; an unknown field is a defect.
pub fn enrolment(json: &[u8]) -> Result<Enrolment, EnrolmentError> {
    // serde would accept a list as the fields in order.
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err(EnrolmentError(
            r#"the body is not a JSON object: expected {"name": "NAME", "address": "10.0.0.5", "groups": ["GROUP"], "vars": {}}"#
                .to_owned(),
        ));
    }
    let typed: Typed = serde_json::from_slice(json).map_err(|e| EnrolmentError(e.to_string()))?;
    host_name(&typed.name)?;
    if let Some(address) = &typed.address
        && !is_address(address)
    {
        return Err(field_error(
            "address",
            format_args!("{address:?} is neither an IP address nor a DNS name"),
        ));
    }
    Ok(Enrolment {
        groups: groups(typed.groups, &typed.name)?,
        vars: vars(typed.vars)?,
        name: typed.name,
        address: typed.address,
    })
}

fn field_error(field: &str, why: impl Display) -> EnrolmentError {
    EnrolmentError(format!("{field}: {why}"))
}

fn host_name(name: &str) -> Result<(), EnrolmentError> {
    let is_ip = name.parse::<IpAddr>().is_ok();
    if (!is_host_name(name) && !is_ip) || !is_exact(name) {
        return Err(field_error(
            "name",
            format_args!(
                "{name:?} is not a valid host name; use letters, digits, '.', '_' and '-', starting with a letter or digit, or an IP address"
            ),
        ));
    }
    if is_this_machine(name) {
        return Err(field_error(
            "name",
            format_args!("{name:?} refers to this machine; choose another name"),
        ));
    }
    if let Some(ip) = short_address(name).filter(|_| !is_ip) {
        return Err(field_error(
            "name",
            format_args!(
                "{name:?} is interpreted as the address {ip}; write the address, or choose another name"
            ),
        ));
    }
    if [ALL, UNGROUPED].contains(&name) {
        return Err(field_error(
            "name",
            format_args!("{name:?} is the name of a group"),
        ));
    }
    Ok(())
}

/// Whether a name refers to the machine on which Ansible runs, by the rules of Ansible, of the resolver or of the
/// system.
fn is_this_machine(name: &str) -> bool {
    let lower = name.to_lowercase();
    let lower = lower.trim_end_matches('.');
    let first = lower.split('.').next().unwrap_or_default();
    let ip = lower.parse().ok();
    let ip = ip.or_else(|| short_address(lower).map(IpAddr::V4));
    let ip = ip.map(|ip| ip.to_canonical());
    lower == "localhost"
        || lower.ends_with(".localhost")
        || first == "localhost"
        || LOOPBACK_NAMES.contains(&first)
        || ip.is_some_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

/// Returns the IPv4 address that a resolver reads from one to four numbers separated by dots.
///
/// *Source*: `inet_aton(3)`.
fn short_address(name: &str) -> Option<Ipv4Addr> {
    let number = |part: &str| {
        let (digits, radix) = match part.strip_prefix("0x") {
            Some(digits) => (digits, 16),
            None if part.len() > 1 && part.starts_with('0') => (&part[1..], 8),
            None => (part, 10),
        };
        u32::from_str_radix(digits, radix).ok()
    };
    let lower = name.to_ascii_lowercase();
    let parts: Option<Vec<u32>> = lower.split('.').map(number).collect();
    let parts = parts.filter(|parts| parts.len() <= 4)?;
    let (last, first) = parts.split_last()?;
    let room = u32::MAX.checked_shr(8 * u32::try_from(first.len()).ok()?)?;
    if *last > room || first.iter().any(|part| *part > 255) {
        return None;
    }
    let mut address = *last;
    for (place, part) in first.iter().enumerate() {
        address |= part << (24 - 8 * place);
    }
    Some(address.into())
}

/// Allows letters and digits of any script, `.`, `_` and `-`, starting with a letter or digit.
fn is_host_name(name: &str) -> bool {
    // Full-width forms look like ASCII, and IDNA maps them to ASCII.
    let folds = |c: char| ('\u{ff00}'..='\u{ffef}').contains(&c);
    let plain = |c: char| c.is_alphanumeric() || "._-".contains(c);
    name.len() <= NAME_BYTES
        && name.starts_with(char::is_alphanumeric)
        && name.chars().all(|c| plain(c) && !folds(c))
}

/// Allows ASCII letters, digits, `.`, `_` and `-`, starting with a letter or digit: never an option of ssh or a pattern
/// of Ansible.
fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    name.len() <= NAME_BYTES
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(plain)
}

fn is_address(address: &str) -> bool {
    let zoned =
        |(address, zone): (&str, &str)| address.parse::<Ipv6Addr>().is_ok() && is_name(zone);
    is_name(address)
        || address.parse::<IpAddr>().is_ok()
        || address.split_once('%').is_some_and(zoned)
}

fn groups(mut groups: Vec<String>, host: &str) -> Result<Vec<String>, EnrolmentError> {
    if groups.len() > GROUPS {
        let why = format_args!("{} groups; at most {GROUPS} are allowed", groups.len());
        return Err(field_error("groups", why));
    }
    groups.sort();
    for (place, group) in groups.iter().enumerate() {
        let why = if !is_name(group) {
            "is not a valid group name; use letters, digits and '_', starting with a letter"
        } else if [ALL, UNGROUPED].contains(&group.as_str()) {
            "is automatic: every host is in all, and in ungrouped if it is in no other group; leave it out"
        } else if group == host {
            "is the name of a host"
        } else if is_this_machine(group) {
            "refers to this machine; choose another group name"
        } else if groups.get(place + 1) == Some(group) {
            "is listed twice"
        } else {
            continue;
        };
        return Err(field_error("groups", format_args!("{group:?} {why}")));
    }
    Ok(groups)
}

fn vars(value: Value) -> Result<Vars, EnrolmentError> {
    let mut vars = vars_of(value).map_err(|why| field_error("vars", why))?;
    if let Some(port) = vars.get_mut("ansible_port") {
        normalize_whole(port);
    }
    for (name, value) in &vars {
        let why = match (check_ansible_var(name, value), defect_of_name(name)) {
            _ if name == "ansible_host" => Some("is set by `address`; use that field".to_owned()),
            (Some(steers), _) => steers.err(),
            (None, Some(_)) if name.starts_with("ansible_") => Some(format!(
                "controls Ansible itself, so only the inventory sources may set it; the only such variables that an enrolled host accepts are {}",
                STEERING.join(", ")
            )),
            (None, why) => why.or_else(|| defect_of_keys(value)).map(str::to_owned),
        };
        if let Some(why) = why {
            return Err(field_error("vars", format_args!("{name:?} {why}")));
        }
    }
    Ok(vars)
}

/// Replaces 22.0 by 22: in JSON they are the same number.
fn normalize_whole(value: &mut Value) {
    if let Some(number) = value.as_f64().filter(|number| number.fract() == 0.0)
        && value.is_f64()
        && let Ok(number) = format!("{number:.0}").parse::<u64>()
    {
        *value = number.into();
    }
}

/// Checks the value of a variable of Ansible that an enrolled host may set; `None` if it is not one of these.
fn check_ansible_var(name: &str, value: &Value) -> Option<Result<(), String>> {
    let (good, want) = match name {
        "ansible_port" => (
            value.as_u64().is_some_and(|n| (1..=65535).contains(&n)),
            "a number from 1 to 65535",
        ),
        "ansible_user" => (
            value.as_str().is_some_and(is_name),
            "letters, digits, '.', '_' and '-', starting with a letter or digit",
        ),
        "ansible_python_interpreter" => (
            value.as_str().is_some_and(is_interpreter),
            "auto, auto_silent, or the path of a Python such as /usr/bin/python3",
        ),
        _ => return None,
    };
    Some(if good {
        Ok(())
    } else {
        Err(format!("is {value}; expected {want}"))
    })
}

fn is_interpreter(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-/".contains(&b);
    let program = text.rsplit('/').next().unwrap_or_default();
    let python = ["python", "pypy"]
        .iter()
        .any(|start| program.starts_with(start));
    matches!(text, "auto" | "auto_silent")
        || (text.starts_with('/') && python && text.bytes().all(plain) && text.len() <= NAME_BYTES)
}

#[cfg(test)]
mod tests;
