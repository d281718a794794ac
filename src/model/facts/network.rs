//! The network interfaces of a host.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Map, Value};

use super::Facts;
use super::reader::Reader;

/// Scopes of IPv6 addresses that are valid on one link only.
const LOCAL_SCOPES: [&str; 2] = ["link", "host"];

pub(super) struct Interface<'a> {
    /// The system's name of the interface.
    pub device: String,
    /// The facts of the interface.
    pub of: &'a Map<String, Value>,
}

/// The names of the loopback interface, for facts that do not identify it otherwise.
const LOOPBACKS: [&str; 2] = ["lo", "lo0"];

/// Returns the interfaces in the facts, in no particular order, without the loopback.
pub(super) fn interfaces<'a>(facts: Facts<'a>, reader: &Reader) -> Vec<Interface<'a>> {
    let mut seen = BTreeSet::new();
    let named = reader.list(facts.get("interfaces"));
    let mut found: Vec<Interface<'a>> = Vec::new();
    let mut take = |name: Option<&str>, of: &'a Map<String, Value>| {
        let device = of.get("device").and_then(Value::as_str).or(name);
        let loopback = is_loopback(of) || device.is_some_and(|name| LOOPBACKS.contains(&name));
        if let Some(device) = device.filter(|device| !loopback && seen.insert((*device).to_owned()))
        {
            found.push(Interface {
                device: device.to_owned(),
                of,
            });
        }
    };
    for item in named {
        match item {
            // The key of an interface's fact has `_` for characters that a variable's name must not contain.
            Value::String(name) => {
                let key: String = name
                    .chars()
                    .map(|c| if "-:".contains(c) { '_' } else { c })
                    .collect();
                if let Some(Value::Object(of)) = facts.get(&key) {
                    take(Some(name), of);
                }
            }
            // Windows lists the interfaces as objects here.
            Value::Object(of) => {
                let name = ["connection_name", "interface_name"]
                    .iter()
                    .find_map(|key| of.get(*key)?.as_str());
                take(name, of);
            }
            _ => {
                reader.refuse::<()>();
            }
        }
    }
    found
}

/// Detects the loopback by its type on Linux and most BSDs; AIX, Solaris and old OpenBSD have a flag on the interface
/// or on each address.
fn is_loopback(of: &Map<String, Value>) -> bool {
    let flagged = |of: &Map<String, Value>| {
        let flags = of.get("flags").and_then(Value::as_array);
        flags.is_some_and(|flags| flags.iter().any(|flag| flag == "LOOPBACK"))
    };
    let addresses = ["ipv4", "ipv6"].iter().filter_map(|name| of.get(*name));
    let mut addresses = addresses.filter_map(Value::as_array).flatten();
    of.get("type").and_then(Value::as_str) == Some("loopback")
        || flagged(of)
        || addresses.any(|address| address.as_object().is_some_and(flagged))
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub address: IpAddr,
    /// Whether this is the default source address.
    pub default: bool,
}

/// Returns the addresses of an interface at which the host may be reachable.
pub(super) fn addresses(
    facts: Facts<'_>,
    interface: &Interface<'_>,
    reader: &Reader,
) -> BTreeSet<Address> {
    let defaults = ["default_ipv4", "default_ipv6"].map(|name| {
        let default = facts.get(name)?.as_object()?;
        default.get("address")?.as_str()?.parse::<IpAddr>().ok()
    });
    // Windows lists the gateway with the interface.
    let gateway = interface.of.get("default_gateway").and_then(Value::as_str);
    let gateway = gateway.and_then(|gateway| gateway.split('%').next()?.parse::<IpAddr>().ok());
    let mut found = BTreeSet::new();
    let mut take = |value: &Value| {
        let Value::Object(of) = value else { return };
        let scope = of.get("scope").and_then(Value::as_str).unwrap_or_default();
        if LOCAL_SCOPES.contains(&scope) {
            return;
        }
        let Some(text) = reader.text(of.get("address")) else {
            return;
        };
        // FreeBSD and macOS append the device to a link-local address: fe80::1%em0.
        match text.split('%').next().unwrap_or_default().parse::<IpAddr>() {
            Ok(address) if address.is_loopback() || is_link_local(address) => {}
            Ok(address) => {
                let default = defaults.contains(&Some(address))
                    || gateway.is_some_and(|of| of.is_ipv4() == address.is_ipv4());
                found.insert(Address { address, default });
            }
            Err(_) => {
                reader.refuse::<()>();
            }
        }
    };
    for name in ["ipv4", "ipv4_secondaries", "ipv6"] {
        match interface.of.get(name) {
            Some(Value::Array(list)) => list.iter().for_each(&mut take),
            Some(one) => take(one),
            None => {}
        }
    }
    found
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
