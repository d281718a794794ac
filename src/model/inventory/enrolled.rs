//! Hosts enrolled with promansible, merged with the hosts from Ansible's own sources into one inventory.
//!
//! If both define a name, the sources take precedence and the conflict is reported: people keep the sources in git, and
//! every other `ansible-playbook` uses them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::address::Address;
use super::machine::Way;
use super::{ALL, Host, Inventory, UNGROUPED, is_template};

/// An enrolled host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolledHost {
    /// The exact name.
    pub name: String,
    /// The address for Ansible; the name by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The groups that directly contain the host, besides `all`.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The variables: data, never templates.
    #[serde(default)]
    pub vars: Map<String, Value>,
    pub enrolled_at: DateTime<Utc>,
}

impl EnrolledHost {
    /// Returns the variables for Ansible, with every string marked as not a template.
    fn hostvars(&self) -> Map<String, Value> {
        let vars = self.vars.iter();
        let mut hostvars: Map<String, Value> = vars
            .map(|(name, value)| (name.clone(), inert(value)))
            .collect();
        if let Some(address) = &self.address {
            hostvars.insert("ansible_host".to_owned(), address.as_str().into());
        }
        hostvars
    }
}

/// The reason why an enrolled host must be ignored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Clash {
    /// Another host has the name.
    #[error("its name belongs to a host in the inventory's sources, which take precedence")]
    Host,
    /// A group has the name.
    #[error("its name belongs to a group")]
    Group,
    /// One of its groups has the name of a host.
    #[error("its group {0:?} has the name of a host")]
    GroupIsHost(String),
}

/// An enrolled host that is ignored, and the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// The name of the host.
    pub name: String,
    /// The reason, as the end of a sentence.
    pub why: String,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is enrolled, but {}", self.name, self.why)
    }
}

impl Inventory {
    /// Adds enrolled hosts after the inventory's own. Hosts that [clash](Self::clash) become conflicts instead.
    #[must_use]
    pub fn with_enrolled(mut self, enrolled: &[Arc<EnrolledHost>]) -> Self {
        let parents = self.parents();
        for host in enrolled {
            match self.clash(&host.name, &host.groups) {
                None => self.add(host, &parents),
                Some(clash) => self.conflicts.push(Conflict {
                    name: host.name.clone(),
                    why: clash.to_string(),
                }),
            }
        }
        self
    }

    /// Returns whether a host of this name, in these groups, would clash with existing hosts or groups.
    pub fn clash(&self, name: &str, groups: &[String]) -> Option<Clash> {
        if self.host(name).is_some() {
            return Some(Clash::Host);
        }
        if self.is_group(name) {
            return Some(Clash::Group);
        }
        let group = groups.iter().find(|group| self.host(group).is_some());
        group.map(|group| Clash::GroupIsHost(group.clone()))
    }

    /// Iterates over the enrolled hosts in this inventory.
    pub fn enrolled(&self) -> impl Iterator<Item = &Arc<EnrolledHost>> {
        self.hosts.iter().filter_map(|host| host.enrolled.as_ref())
    }

    /// Returns the enrolled hosts that are ignored.
    pub fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }

    fn add(&mut self, host: &Arc<EnrolledHost>, parents: &Parents) {
        let place = self.hosts.len();
        let mut groups: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut waiting: Vec<Arc<str>> = host.groups.iter().map(|g| g.as_str().into()).collect();
        while let Some(group) = waiting.pop() {
            if !groups.contains(&group) {
                waiting.extend(parents.get(&group).into_iter().flatten().cloned());
                groups.insert(group);
            }
        }
        if groups.is_empty() {
            groups.insert(UNGROUPED.into());
        }
        for group in groups.iter().cloned().chain([ALL.into()]) {
            self.groups.entry(group).or_default().push(place);
        }
        let name: Arc<str> = host.name.as_str().into();
        let address = Address::of(host.address.as_deref().unwrap_or(&name));
        self.by_address.entry(address).or_default().push(place);
        self.by_name.insert(Arc::clone(&name), place);
        let scalar = |value: &&Value| value.is_string() || value.is_number() || value.is_boolean();
        let kept = self.kept_vars.iter().filter_map(|var| {
            let value = host.vars.get(var).filter(scalar)?;
            Some((Arc::from(var.as_str()), value.clone()))
        });
        self.hosts.push(Host {
            name,
            address: host.address.clone(),
            way: Way::of(
                ["ansible_port", "ansible_ssh_port"].map(|name| host.vars.get(name)),
                host.vars.get("ansible_connection"),
            ),
            groups: groups.into_iter().collect(),
            vars: kept.collect(),
            sets: Vec::new(),
            enrolled: Some(Arc::clone(host)),
        });
    }

    /// Returns the parents of each group, without `all`.
    fn parents(&self) -> Parents {
        let mut parents = Parents::new();
        for (group, children) in &self.children {
            for child in children {
                let of = parents.entry(Arc::clone(child)).or_default();
                of.push(Arc::clone(group));
            }
        }
        parents
    }

    /// Returns the inventory in the format of an inventory script: names, groups and addresses of all hosts, and the
    /// variables of enrolled hosts. The other hosts' variables are not known here.
    ///
    /// *Source*: the protocol of Ansible's inventory scripts (`--list`).
    pub fn to_script(&self) -> Map<String, Value> {
        let hostvars = self
            .hosts
            .iter()
            .map(|host| (host.name.to_string(), self.hostvars(host).into()));
        let hostvars: Map<String, Value> = hostvars.collect();
        let mut document = Map::new();
        document.insert("_meta".to_owned(), json!({ "hostvars": hostvars }));
        let groups: Vec<&str> = self.groups().filter(|group| *group != ALL).collect();
        document.insert(ALL.to_owned(), json!({ "children": groups }));
        for group in groups {
            let hosts = self.group_hosts(group).unwrap_or_default();
            let body = match self.children.get(group) {
                Some(children) => json!({"hosts": hosts, "children": children}),
                None => json!({ "hosts": hosts }),
            };
            document.insert(group.to_owned(), body);
        }
        document
    }

    /// Returns the known variables of a host.
    pub fn hostvars(&self, host: &Host) -> Map<String, Value> {
        if let Some(enrolled) = &host.enrolled {
            return enrolled.hostvars();
        }
        let address = match &host.address {
            Some(address) if is_template(address) => untemplated(address),
            Some(address) => address.as_str().into(),
            None if self.is_reached_by_name(host) => return Map::new(),
            // Without an address Ansible would connect to the name, which may be another machine.
            None => "address-is-a-template-of-another-source.invalid".into(),
        };
        Map::from_iter([("ansible_host".to_owned(), address)])
    }
}

type Parents = BTreeMap<Arc<str>, Vec<Arc<str>>>;

/// Returns enrolled hosts as an inventory source for Ansible: YAML in JSON syntax.
pub fn as_source<'a>(enrolled: impl IntoIterator<Item = &'a Arc<EnrolledHost>>) -> Value {
    let mut hosts = Map::new();
    let mut groups: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for host in enrolled {
        for group in &host.groups {
            let members = groups.entry(group).or_default();
            members.insert(host.name.clone(), Value::Null);
        }
        hosts.insert(host.name.clone(), host.hostvars().into());
    }
    let children = groups
        .into_iter()
        .map(|(group, hosts)| (group.to_owned(), json!({ "hosts": hosts })));
    let children: Map<String, Value> = children.collect();
    json!({"all": {"hosts": hosts, "children": children}})
}

/// Marks a string as not a template. Ansible may evaluate any other string.
pub fn untemplated(text: &str) -> Value {
    json!({ "__ansible_unsafe": text })
}

/// Marks every string in a value as not a template.
pub fn inert(value: &Value) -> Value {
    match value {
        Value::String(text) => untemplated(text),
        Value::Array(items) => items.iter().map(inert).collect(),
        Value::Object(map) => {
            let map = map.iter().map(|(key, value)| (key.clone(), inert(value)));
            Value::Object(map.collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests;
