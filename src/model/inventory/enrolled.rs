//! Hosts that were enrolled with promansible, beside those of Ansible's own sources: one inventory of both.
//!
//! Where both have a name, the sources win, and the conflict is told: they are what people keep in git, and what every
//! other `ansible-playbook` sees.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::address::Address;
use super::machine::Way;
use super::{ALL, Host, Inventory, UNGROUPED, is_template};

/// A host that was enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolledHost {
    /// Its exact name.
    pub name: String,
    /// Where Ansible reaches it; by its name if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The groups that it is in directly, beside `all`.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Its variables: data, never templates.
    #[serde(default)]
    pub vars: Map<String, Value>,
    /// When it was enrolled.
    pub enrolled_at: DateTime<Utc>,
}

impl EnrolledHost {
    /// Its variables as Ansible is to read them: every text in them is taken as it is.
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

/// Why an enrolled host cannot take part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Clash {
    /// The name is another host's.
    #[error("its name is that of a host in the inventory's sources, which win")]
    Host,
    /// The name is a group's.
    #[error("its name is that of a group")]
    Group,
    /// A group of it has a host's name.
    #[error("its group {0:?} has the name of a host")]
    GroupIsHost(String),
}

/// An enrolled host that does not take part, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// The host.
    pub name: String,
    /// Why, as the end of a sentence.
    pub why: String,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is enrolled, but {}", self.name, self.why)
    }
}

impl Inventory {
    /// The same with these hosts after its own, except those that [clash](Self::clash): they become conflicts.
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

    /// Whether a host of this name, in these groups, would be in the way of what is there.
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

    /// The enrolled hosts that take part.
    pub fn enrolled(&self) -> impl Iterator<Item = &Arc<EnrolledHost>> {
        self.hosts.iter().filter_map(|host| host.enrolled.as_ref())
    }

    /// The enrolled hosts that do not take part.
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

    /// Each group's parents, without `all`.
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

    /// The inventory as an inventory script prints it: names, groups and addresses of all hosts, and the variables of
    /// enrolled ones. Of the other hosts' variables nothing is known here.
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

    /// A host's variables, as far as they are known.
    pub fn hostvars(&self, host: &Host) -> Map<String, Value> {
        if let Some(enrolled) = &host.enrolled {
            return enrolled.hostvars();
        }
        let address = match &host.address {
            Some(address) if is_template(address) => untemplated(address),
            Some(address) => address.as_str().into(),
            None if self.is_reached_by_name(host) => return Map::new(),
            // Without any address Ansible would go to the name, which may be another machine.
            None => "address-is-a-template-of-another-source.invalid".into(),
        };
        Map::from_iter([("ansible_host".to_owned(), address)])
    }
}

type Parents = BTreeMap<Arc<str>, Vec<Arc<str>>>;

/// Enrolled hosts as a source for Ansible: YAML, written as JSON.
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

/// A string that Ansible takes as it is; any other string may be a template.
pub fn untemplated(text: &str) -> Value {
    json!({ "__ansible_unsafe": text })
}

/// A value with every string in it taken as it is.
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
