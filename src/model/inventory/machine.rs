//! Detects inventory hosts that are the same machine: Ansible reaches them at the same address in the same way.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::address::Address;
use super::{Host, Inventory, is_template};
use crate::model::run::CONTROLLER;

/// The connection plugins that use the SSH server of an address.
const SSH: [&str; 4] = ["ssh", "smart", "paramiko", "paramiko_ssh"];

/// The connection plugins that use Windows Remote Management.
const WINDOWS: [&str; 2] = ["winrm", "psrp"];

/// The default port of SSH.
const SSH_PORT: &str = "22";

/// The connection data of a host, as far as it is in the inventory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) port: Option<Box<str>>,
    pub(super) connection: Option<Box<str>>,
    /// Whether one of these is a template, so that its value is unknown.
    pub(super) unclear: bool,
}

impl Way {
    /// Reads a host's variables. Ansible's older names take precedence over the newer ones.
    pub(super) fn of(port: [Option<&Value>; 2], connection: Option<&Value>) -> Self {
        let mut way = Self::default();
        let [port, ssh_port] = port;
        let mut read = |value: Option<&Value>| -> Option<Box<str>> {
            match value? {
                Value::Null => None,
                Value::Number(number) => Some(number.to_string().into()),
                Value::String(text) if !is_template(text) => Some(text.as_str().into()),
                _ => {
                    way.unclear = true;
                    None
                }
            }
        };
        let (port, connection) = (read(ssh_port.or(port)), read(connection));
        Self {
            port,
            connection,
            ..way
        }
    }

    /// Writes the variables, for [`Inventory::to_json`].
    pub(super) fn write(&self, vars: &mut Map<String, Value>) {
        let mut insert = |name: &str, value: Value| vars.insert(name.to_owned(), value);
        if let Some(port) = &self.port {
            insert("ansible_port", port.as_ref().into());
        }
        if let Some(connection) = &self.connection {
            insert("ansible_connection", connection.as_ref().into());
        }
        if self.unclear {
            insert("ansible_port", "{{ }}".into());
        }
    }

    /// Returns the kind of connection; plugins that use the same server have the same kind.
    fn kind(&self) -> &str {
        let named = self.connection.as_deref().unwrap_or(SSH[0]);
        let named = named.strip_prefix("ansible.builtin.").unwrap_or(named);
        match named {
            ssh if SSH.contains(&ssh) => SSH[0],
            windows if WINDOWS.contains(&windows) => WINDOWS[0],
            other => other,
        }
    }
}

/// Host → name of its machine, for the hosts that share one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machines(BTreeMap<String, String>);

impl Machines {
    /// Returns the name of a host's machine: the same for all hosts on it, and the host's own name if it shares none.
    pub fn of<'a>(&'a self, host: &'a str) -> &'a str {
        self.0.get(host).map_or(host, String::as_str)
    }

    /// Returns those of these hosts whose machine has a different name, with that name.
    pub fn among(&self, hosts: &[String]) -> BTreeMap<String, String> {
        let known = hosts.iter().filter_map(|host| self.0.get_key_value(host));
        let known = known.filter(|(host, machine)| host != machine);
        known
            .map(|(host, machine)| (host.clone(), machine.clone()))
            .collect()
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Machines {
    fn from(pairs: [(&str, &str); N]) -> Self {
        let pairs = pairs.into_iter();
        Self(
            pairs
                .map(|(host, machine)| (host.to_owned(), machine.to_owned()))
                .collect(),
        )
    }
}

/// The location of a host.
#[derive(PartialEq, Eq, Hash)]
enum Place<'a> {
    /// The machine on which promansible runs.
    Controller,
    At(Address, &'a str, &'a str),
}

impl Inventory {
    /// Finds hosts that are the same machine: the same address, port and kind of connection. A local connection, and
    /// SSH to the loopback, mean the controller.
    ///
    /// IP addresses are compared by value, and names as in DNS; nothing is resolved. If a variable is a template, the
    /// host counts as a machine of its own.
    pub fn machines(&self) -> Machines {
        let mut places: HashMap<Place<'_>, Vec<&Host>> = HashMap::new();
        for host in &self.hosts {
            if let Some(place) = self.place(host) {
                places.entry(place).or_default().push(host);
            }
        }
        let mut machines = BTreeMap::new();
        for (place, hosts) in places {
            let machine = match place {
                Place::Controller => CONTROLLER,
                Place::At(..) if hosts.len() > 1 => hosts[0].name(),
                Place::At(..) => continue,
            };
            let names = hosts.iter().map(|host| host.name().to_owned());
            machines.extend(names.map(|name| (name, machine.to_owned())));
        }
        Machines(machines)
    }

    fn place<'a>(&self, host: &'a Host) -> Option<Place<'a>> {
        let way = &host.way;
        let kind = way.kind();
        if way.unclear {
            return None;
        }
        if kind == "local" {
            return Some(Place::Controller);
        }
        let address = match &host.address {
            Some(address) => address.as_str(),
            None if self.is_reached_by_name(host) => &host.name,
            None => return None,
        };
        let address = Address::of(&address.to_ascii_lowercase());
        let is_ssh = kind == SSH[0];
        let default = if is_ssh { SSH_PORT } else { "" };
        let port = way.port.as_deref().unwrap_or(default);
        if is_ssh && port == SSH_PORT && address.is_loopback() {
            return Some(Place::Controller);
        }
        Some(Place::At(address, port, kind))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn machines(hostvars: &Value) -> Machines {
        let hosts: Vec<&String> = hostvars.as_object().unwrap().keys().collect();
        let listing = json!({"all": {"hosts": hosts}, "_meta": {"hostvars": hostvars}});
        let inventory = Inventory::parse(listing.to_string().as_bytes()).unwrap();
        // The stored inventory has the same machines.
        let again = Inventory::parse(&inventory.to_json()).unwrap();
        assert_eq!(again, inventory);
        assert_eq!(again.machines(), inventory.machines());
        inventory.machines()
    }

    #[test]
    fn two_names_are_one_machine_or_not() {
        let at = |address: &str| json!({"ansible_host": address});
        for (a, b, same) in [
            (at("192.0.2.7"), at("192.0.2.7"), true),
            (at("192.0.2.7"), at("192.0.2.8"), false),
            (at("2001:db8::1"), at("2001:DB8:0::1"), true),
            (at("Web.example.com"), at("web.example.com"), true),
            (
                at("192.0.2.7"),
                json!({"ansible_ssh_host": "192.0.2.7"}),
                true,
            ),
            (
                json!({"ansible_host": "192.0.2.9", "ansible_ssh_host": "192.0.2.7"}),
                at("192.0.2.7"),
                true,
            ),
            // A host without an address is reached by its name.
            (at("b"), json!({}), true),
            (
                at("192.0.2.7"),
                json!({"ansible_host": "192.0.2.7", "ansible_port": 22}),
                true,
            ),
            (
                at("192.0.2.7"),
                json!({"ansible_host": "192.0.2.7", "ansible_port": "22"}),
                true,
            ),
            (
                at("192.0.2.7"),
                json!({"ansible_host": "192.0.2.7", "ansible_port": 2222}),
                false,
            ),
            (
                json!({"ansible_host": "192.0.2.7", "ansible_ssh_port": 2222}),
                json!({"ansible_host": "192.0.2.7", "ansible_port": 2222}),
                true,
            ),
            (
                at("192.0.2.7"),
                json!({"ansible_host": "192.0.2.7", "ansible_connection": "ansible.builtin.paramiko_ssh"}),
                true,
            ),
            (
                at("192.0.2.7"),
                json!({"ansible_host": "192.0.2.7", "ansible_connection": "community.docker.docker"}),
                false,
            ),
            (
                json!({"ansible_host": "192.0.2.7", "ansible_connection": "winrm"}),
                json!({"ansible_host": "192.0.2.7", "ansible_connection": "psrp"}),
                true,
            ),
            (at("{{ address }}"), at("{{ address }}"), false),
            (
                at("192.0.2.7"),
                json!({"ansible_host": "192.0.2.7", "ansible_port": "{{ p }}"}),
                false,
            ),
        ] {
            let found = machines(&json!({"a": a, "b": b}));
            assert_eq!(found.of("a") == found.of("b"), same, "{a} {b}");
            assert_eq!(found.of("c"), "c");
        }
    }

    #[test]
    fn what_runs_here_is_the_controller() {
        for (vars, here) in [
            (json!({"ansible_connection": "local"}), true),
            (
                json!({"ansible_connection": "ansible.builtin.local", "ansible_host": "192.0.2.7"}),
                true,
            ),
            (json!({"ansible_host": "127.0.0.1"}), true),
            (json!({"ansible_host": "::1"}), true),
            (json!({"ansible_host": "localhost"}), true),
            // The port of a guest or a container, as with Vagrant.
            (
                json!({"ansible_host": "127.0.0.1", "ansible_port": 2222}),
                false,
            ),
            (json!({"ansible_host": "192.0.2.7"}), false),
        ] {
            let found = machines(&json!({"a": vars}));
            assert_eq!(found.of("a") == CONTROLLER, here, "{vars}");
        }
        assert_eq!(machines(&json!({})).of(CONTROLLER), CONTROLLER);
    }
}
