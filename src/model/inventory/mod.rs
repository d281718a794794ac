//! Ansible's inventory as `ansible-inventory --list` prints it, and the resolution of names to hosts.
//!
//! Nothing here starts a process or reads a file; the bytes come from the module `ansible`.

mod address;
mod enrolled;
mod export;
mod machine;
mod parse;
mod resolve;
mod vars;

pub use enrolled::{Clash, Conflict, EnrolledHost, as_source, inert, untemplated};
pub use machine::Machines;
pub use parse::is_template;
pub use resolve::{Unresolved, is_exact, resolve_group, resolve_label, resolve_name, subject};

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use address::Address;
use machine::Way;
use parse::Listing;

/// The group of every host.
pub const ALL: &str = "all";

/// The group of the hosts that are in no other group.
pub const UNGROUPED: &str = "ungrouped";

/// The first ansible-core that never loses the mark on strings that are not templates.
const TEMPLATES_ONCE: (u32, u32) = (2, 19);

/// A host of the inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    name: Arc<str>,
    address: Option<String>,
    way: Way,
    groups: Vec<Arc<str>>,
    /// The values of the requested variables.
    vars: Vec<(Arc<str>, serde_json::Value)>,
    /// The watched variables that the source sets, by name.
    sets: Vec<Arc<str>>,
    enrolled: Option<Arc<EnrolledHost>>,
}

impl Host {
    /// Returns the exact name in the inventory.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns `ansible_host` or `ansible_ssh_host`, if it is plain text and not a template.
    pub fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    /// Returns the port of its ssh server, if the inventory sets one.
    pub fn port(&self) -> Option<&str> {
        self.way.port.as_deref()
    }

    /// Returns the groups that contain the host, directly or through their children, sorted; without `all`, like
    /// Ansible's `group_names`.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(AsRef::as_ref)
    }

    /// Returns the enrolled host, if this one does not come from the inventory's sources.
    pub fn enrolled(&self) -> Option<&Arc<EnrolledHost>> {
        self.enrolled.as_ref()
    }
}

/// The hosts and groups of one read of the inventory.
///
/// Hosts are ordered by a depth-first walk from `all`, a group's own hosts before those of its children. The same
/// listing always gives the same order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    hosts: Vec<Host>,
    by_name: HashMap<Arc<str>, usize>,
    by_address: HashMap<Address, Vec<usize>>,
    /// Names and addresses from facts: see [`Inventory::with_aliases`].
    by_alias: HashMap<Address, Vec<usize>>,
    /// Group → its hosts and those of its children, ascending.
    groups: BTreeMap<Arc<str>, Vec<usize>>,
    /// Group, except `all` → its child groups, if there are any.
    children: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    conflicts: Vec<Conflict>,
    templates_twice: bool,
    kept_vars: Vec<String>,
    /// See [`Inventory::may_set`].
    noted_vars: Vec<String>,
}

/// The error of output that is not an inventory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InventoryError {
    /// The output is empty.
    #[error("ansible-inventory printed nothing; want the JSON of `ansible-inventory --list`")]
    Empty,
    /// The output is not JSON, or has another shape.
    #[error("ansible-inventory printed something that is not an inventory, at {path}: {message}")]
    Shape {
        /// The path in the document, such as `web.hosts[3]`; `.` is the document itself.
        path: String,
        message: String,
    },
}

impl Inventory {
    /// Parses the output of `ansible-inventory --list`.
    ///
    /// *Shape*: `{"_meta": {"hostvars": {HOST: {…}}}, GROUP: {"hosts": [HOST], "children": [GROUP], "vars": {…}}}`.
    /// `_meta` may be missing, and a group may be just a list of hosts. A host without variables is absent from
    /// `_meta`; a host that occurs only in `_meta` is omitted, because Ansible does not treat it as a host.
    pub fn parse(json: &[u8]) -> Result<Self, InventoryError> {
        Listing::parse(json).map(Self::build)
    }

    fn build(mut listing: Listing) -> Self {
        let order = walk_order(&listing);
        let by_name: HashMap<Arc<str>, usize> = order
            .iter()
            .enumerate()
            .map(|(i, name)| (Arc::clone(name), i))
            .collect();

        let mut groups: BTreeMap<Arc<str>, Vec<usize>> = BTreeMap::new();
        for (name, group) in &listing.groups {
            for name in group.children.iter().chain([name]) {
                if !groups.contains_key(name) {
                    groups.insert(Arc::clone(name), members(&listing, &by_name, name));
                }
            }
        }
        let mut hosts: Vec<Host> = order
            .into_iter()
            .map(|name| Host {
                address: listing.addresses.remove(&*name).flatten(),
                way: listing.ways.remove(&*name).unwrap_or_default(),
                groups: Vec::new(),
                vars: Vec::new(),
                sets: Vec::new(),
                enrolled: None,
                name,
            })
            .collect();

        groups.remove(ALL);
        groups.remove(UNGROUPED);
        for (name, members) in &groups {
            for &member in members {
                hosts[member].groups.push(Arc::clone(name));
            }
        }
        let mut ungrouped = Vec::new();
        let name: Arc<str> = UNGROUPED.into();
        for (i, host) in hosts.iter_mut().enumerate() {
            if host.groups.is_empty() {
                host.groups.push(Arc::clone(&name));
                ungrouped.push(i);
            }
        }
        groups.insert(name, ungrouped);
        groups.insert(ALL.into(), (0..hosts.len()).collect());

        let mut by_address: HashMap<Address, Vec<usize>> = HashMap::new();
        for (i, host) in hosts.iter().enumerate() {
            // Without `ansible_host`, Ansible connects to the name; if it is a template, the address is unknown.
            let address = match (&host.address, listing.templated.contains(&*host.name)) {
                (Some(address), _) => address,
                (None, true) => continue,
                (None, false) => &*host.name,
            };
            by_address.entry(Address::of(address)).or_default().push(i);
        }
        let parents = listing.groups.into_iter();
        let parents = parents.filter(|(name, group)| &**name != ALL && !group.children.is_empty());
        Self {
            hosts,
            by_name,
            by_address,
            by_alias: HashMap::new(),
            groups,
            children: parents
                .map(|(name, group)| (name, group.children))
                .collect(),
            conflicts: Vec::new(),
            templates_twice: listing.templates_twice,
            kept_vars: Vec::new(),
            noted_vars: Vec::new(),
        }
    }

    /// Sets the version of ansible-core that reads the inventory; `None` if it is unknown.
    #[must_use]
    pub fn read_by(self, version: Option<(u32, u32)>) -> Self {
        Self {
            templates_twice: version.is_none_or(|version| version < TEMPLATES_ONCE),
            ..self
        }
    }

    /// Returns whether text that is marked as not a template may still be evaluated: ansible-core before 2.19 loses the
    /// mark when a role derives other text from it, and evaluates the result again (the name of a file to include).
    pub fn templates_twice(&self) -> bool {
        self.templates_twice
    }

    /// Returns the number of hosts.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Returns whether there are no hosts.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Returns the hosts in the inventory's order.
    pub fn hosts(&self) -> std::slice::Iter<'_, Host> {
        self.hosts.iter()
    }

    /// Returns the host with exactly this name.
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.by_name.get(name).map(|&i| &self.hosts[i])
    }

    /// Returns the names of the groups, sorted, including `all` and `ungrouped`.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(AsRef::as_ref)
    }

    /// Returns whether there is a group with exactly this name.
    pub fn is_group(&self, name: &str) -> bool {
        self.groups.contains_key(name)
    }

    /// Returns the hosts of a group and of its children, without duplicates, in the inventory's order.
    pub fn group_hosts(&self, name: &str) -> Option<Vec<&str>> {
        let members = self.groups.get(name)?;
        Some(members.iter().map(|&i| self.hosts[i].name()).collect())
    }

    /// Returns the number of hosts in a group, including those of its children.
    pub fn group_len(&self, name: &str) -> Option<usize> {
        self.groups.get(name).map(Vec::len)
    }

    /// Returns the direct child groups of a group, sorted.
    pub fn group_children(&self, name: &str) -> Vec<&str> {
        if name != ALL {
            let children = self.children.get(name).into_iter().flatten();
            let children: BTreeSet<&str> = children.map(AsRef::as_ref).collect();
            return children.into_iter().collect();
        }
        // The groups that are not children of another group.
        let below: HashSet<&str> = self
            .children
            .values()
            .flatten()
            .map(AsRef::as_ref)
            .collect();
        self.groups()
            .filter(|group| *group != ALL && !below.contains(group))
            .collect()
    }

    /// Returns whether Ansible connects to the host's name.
    fn is_reached_by_name(&self, host: &Host) -> bool {
        self.at_address(&host.name).any(|h| h.name == host.name)
    }

    /// Adds names and addresses of hosts from their facts. The inventory takes precedence: a name or an address that it
    /// assigns to a host belongs to that host alone.
    #[must_use]
    pub fn with_aliases<'a>(
        mut self,
        aliases: impl Iterator<Item = (&'a str, &'a BTreeSet<String>)>,
    ) -> Self {
        self.by_alias.clear();
        for (host, aliases) in aliases {
            let Some(&place) = self.by_name.get(host) else {
                continue;
            };
            for alias in aliases {
                self.by_alias
                    .entry(Address::of(alias))
                    .or_default()
                    .push(place);
            }
        }
        for places in self.by_alias.values_mut() {
            places.sort_unstable();
        }
        self
    }

    /// Returns the hosts with this address, or, if there are none, the hosts with this alias; without duplicates.
    fn known_by(&self, text: &str) -> Vec<&Host> {
        let address = Address::of(text);
        let by_inventory = self.by_address.get(&address);
        let found = by_inventory.or_else(|| self.by_alias.get(&address));
        let places: BTreeSet<usize> = found.into_iter().flatten().copied().collect();
        places.into_iter().map(|place| &self.hosts[place]).collect()
    }

    /// Returns the hosts that Ansible would reach at this address.
    fn at_address(&self, address: &str) -> impl Iterator<Item = &Host> {
        let found = self.by_address.get(&Address::of(address));
        found.into_iter().flatten().map(|&i| &self.hosts[i])
    }
}

/// Returns the name of every host once: first in the order of a walk from `all`, then the rest, group by group.
fn walk_order(listing: &Listing) -> Vec<Arc<str>> {
    let mut order = Vec::new();
    let mut seen_hosts = HashSet::new();
    let mut seen_groups = HashSet::new();
    let starts = std::iter::once(ALL).chain(listing.order.iter().map(AsRef::as_ref));
    for start in starts {
        each_group(listing, start, &mut seen_groups, |group| {
            for host in &group.hosts {
                if seen_hosts.insert(Arc::clone(host)) {
                    order.push(Arc::clone(host));
                }
            }
        });
    }
    order
}

/// Returns the hosts of a group and of its children, ascending.
fn members(listing: &Listing, by_name: &HashMap<Arc<str>, usize>, name: &str) -> Vec<usize> {
    let mut members = Vec::new();
    each_group(listing, name, &mut HashSet::new(), |group| {
        members.extend(group.hosts.iter().filter_map(|host| by_name.get(host)));
    });
    members.sort_unstable();
    members.dedup();
    members
}

/// Visits a group and its descendants, depth first, each group once, so that cycles terminate.
fn each_group<'a>(
    listing: &'a Listing,
    start: &'a str,
    seen: &mut HashSet<&'a str>,
    mut visit: impl FnMut(&'a parse::Group),
) {
    let mut waiting = vec![start];
    while let Some(name) = waiting.pop() {
        if !seen.insert(name) {
            continue;
        }
        if let Some(group) = listing.groups.get(name) {
            visit(group);
            waiting.extend(group.children.iter().rev().map(AsRef::as_ref));
        }
    }
}

#[cfg(test)]
mod tests;
