//! Resolves the text of a label or a target to exact inventory names, or returns the reason why it cannot.
//!
//! It fails closed: anything but exactly one host is a [`Skip`], and text from outside is never passed on. Only
//! inventory names are passed on, and only those that Ansible reads as exactly that host. This matters although Ansible
//! prefers a host to a group or pattern with the same text: it does so only while the host exists, and the inventory
//! may have changed when the run starts.

use std::fmt;

use super::address::{host_part, is_plain_ipv6};
use super::{Host, Inventory};
use crate::model::run::Skip;
use crate::util::suggest::slip;

/// The error of a text that cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unresolved {
    /// The reason, for labels and logs.
    pub reason: Skip,
    /// The reason as a sentence; text from outside is escaped and truncated in it.
    pub why: String,
}

/// Returns the host that a label is about: its inventory name, or else the label without its port.
pub fn subject(inventory: &Inventory, label: &str) -> String {
    let resolved = resolve_label(inventory, label);
    resolved.unwrap_or_else(|_| host_part(label)).to_owned()
}

/// Finds the host that an alert's label names.
///
/// First the whole label is tried, then its host part (see below). For both, the name of a group is refused, and a host
/// of exactly this name is used, unless the text is also another host's address. Then follows the host whose address is
/// the host part, or whose facts contain it as FQDN, node name or address; two such hosts are ambiguous. A host's
/// address is its `ansible_host`, or its name if it has none. IP addresses are compared by value, names character by
/// character.
///
/// The host part is `web1:9100`, `[::1]:9100` or `[fe80::1%eth0]:9100` without the port, the host of
/// `http://web1:8080/x`, and all of `web1`, `10.0.0.5` and `fe80::1`.
///
/// *Errors*: `group_name`, `unknown_host`, `ambiguous_host`, `unsafe_host_name`.
pub fn resolve_label<'a>(inventory: &'a Inventory, label: &str) -> Result<&'a str, Unresolved> {
    let part = host_part(label);
    for name in [label, part] {
        if inventory.is_group(name) {
            return Err(group_name(name));
        }
        if let Some(host) = inventory.host(name) {
            let mut others = inventory.at_address(name).filter(|h| h.name != host.name);
            return match others.next() {
                None => checked(inventory, host),
                Some(other) => Err(Unresolved {
                    reason: Skip::AmbiguousHost,
                    why: format!(
                        "{} is the name of one host of the inventory and the address of another, {}",
                        Shown(name),
                        Shown(other.name())
                    ),
                }),
            };
        }
    }
    if part.is_empty() {
        return Err(unknown(inventory, label));
    }
    match inventory.known_by(part).as_slice() {
        [] => Err(unknown(inventory, label)),
        [host] => checked(inventory, host),
        found @ [one, other, ..] => Err(Unresolved {
            reason: Skip::AmbiguousHost,
            why: format!(
                "{} is the address of {} hosts of the inventory, among them {} and {}",
                Shown(part),
                found.len(),
                Shown(one.name()),
                Shown(other.name())
            ),
        }),
    }
}

/// Finds a host by its exact inventory name.
///
/// *Errors*: `group_name`, `unknown_host`, `unsafe_host_name`.
pub fn resolve_name<'a>(inventory: &'a Inventory, name: &str) -> Result<&'a str, Unresolved> {
    if inventory.is_group(name) {
        return Err(group_name(name));
    }
    let host = inventory
        .host(name)
        .ok_or_else(|| unknown(inventory, name))?;
    checked(inventory, host)
}

/// Finds the hosts of a group and of its children, without duplicates, in the inventory's order; at least one.
///
/// *Errors*: `unknown_group`, `empty_target`; and `group_name` or `unsafe_host_name` even if that applies to only one
/// of its hosts, because a group without one of its hosts is not the requested group.
pub fn resolve_group<'a>(inventory: &'a Inventory, name: &str) -> Result<Vec<&'a str>, Unresolved> {
    let Some(members) = inventory.group_hosts(name) else {
        return Err(Unresolved {
            reason: Skip::UnknownGroup,
            why: format!("no group of the inventory is named {}", Shown(name)),
        });
    };
    if members.is_empty() {
        return Err(Unresolved {
            reason: Skip::EmptyTarget,
            why: format!("the group {} has no hosts", Shown(name)),
        });
    }
    members
        .into_iter()
        .map(|member| resolve_name(inventory, member))
        .collect()
}

/// Returns whether Ansible, given this text in a list of hosts, can read it only as the name of one host.
///
/// Accepted are letters, digits, `.`, `_` and `-`, beginning with a letter, a digit or one `_`; or an IPv6 address
/// without a zone and without a dotted tail: Ansible 2.19 finds no host by a name with `%`, and neither 2.16 nor 2.19
/// finds one by `1:2:3:4:5:6:10.0.0.1`.
pub fn is_exact(name: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || "._-".contains(c);
    let begins = name.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    (begins && !name.starts_with("__") && name.chars().all(plain)) || is_plain_ipv6(name)
}

/// Returns the name of a found host, if it can be passed to Ansible.
fn checked<'a>(inventory: &Inventory, host: &'a Host) -> Result<&'a str, Unresolved> {
    let name = host.name();
    if inventory.is_group(name) {
        return Err(group_name(name));
    }
    if !is_exact(name) {
        return Err(Unresolved {
            reason: Skip::UnsafeHostName,
            why: format!(
                "the inventory's host {} has a name that Ansible could read as a pattern; want letters, digits, `.`, \
                 `_` and `-`, or an IPv6 address",
                Shown(name)
            ),
        });
    }
    Ok(name)
}

fn group_name(name: &str) -> Unresolved {
    Unresolved {
        reason: Skip::GroupName,
        why: format!(
            "{} is the name of an inventory group, not of a host",
            Shown(name)
        ),
    }
}

fn unknown(inventory: &Inventory, text: &str) -> Unresolved {
    let why = if text.is_empty() {
        "the text that should name a host is empty".into()
    } else {
        let names = || inventory.hosts().map(Host::name);
        let meant = slip(host_part(text), names()).map_or_else(String::new, |name| {
            format!("; did you mean {}?", Shown(name))
        });
        format!(
            "no host of the inventory has the name or address {}{meant}",
            Shown(text)
        )
    };
    Unresolved {
        reason: Skip::UnknownHost,
        why,
    }
}

/// Text from outside for error messages: quoted, escaped and truncated.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 80;
        let mut shown = String::new();
        for c in self.0.chars() {
            let escaped: String = c.escape_debug().collect();
            if shown.chars().count() + escaped.chars().count() > LONGEST {
                shown.push('…');
                break;
            }
            shown.push_str(&escaped);
        }
        write!(f, "\"{shown}\"")
    }
}
