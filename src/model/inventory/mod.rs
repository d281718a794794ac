//! What the hosts are: Ansible's inventory as `ansible-inventory --list` prints it, and how a name becomes a host.
//!
//! Nothing here starts a process or reads a file; the bytes come from the `ansible` room.

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

/// The group of the hosts that are in no other one.
pub const UNGROUPED: &str = "ungrouped";

/// The first ansible-core that keeps the mark of text that is no template wherever it goes.
const TEMPLATES_ONCE: (u32, u32) = (2, 19);

/// One host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    name: Arc<str>,
    address: Option<String>,
    way: Way,
    groups: Vec<Arc<str>>,
    /// Those that were asked for.
    vars: Vec<(Arc<str>, serde_json::Value)>,
    /// The names of those that were asked after, and that its source sets.
    sets: Vec<Arc<str>>,
    enrolled: Option<Arc<EnrolledHost>>,
}

impl Host {
    /// Its name in the inventory, exactly.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its `ansible_host` or `ansible_ssh_host`, where that is plain text and no template.
    pub fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    /// The groups that it is in, directly or through their children, sorted; without `all`, as Ansible's `group_names`.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(AsRef::as_ref)
    }

    /// What was enrolled, if it does not come from the inventory's sources.
    pub fn enrolled(&self) -> Option<&Arc<EnrolledHost>> {
        self.enrolled.as_ref()
    }
}

/// The hosts and groups of one reading of the inventory.
///
/// The order of hosts is the order in which a walk from `all` meets them, a group's own hosts before those of its
/// children; the same listing always gives the same order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    hosts: Vec<Host>,
    by_name: HashMap<Arc<str>, usize>,
    by_address: HashMap<Address, Vec<usize>>,
    /// What hosts call themselves: see [`Inventory::with_aliases`].
    by_alias: HashMap<Address, Vec<usize>>,
    /// Key: a group. Value: its hosts, also those of its children, ascending.
    groups: BTreeMap<Arc<str>, Vec<usize>>,
    /// Key: a group, but for `all`. Value: the groups directly below it, where there are any.
    children: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    conflicts: Vec<Conflict>,
    templates_twice: bool,
    kept_vars: Vec<String>,
    /// See [`Inventory::may_set`].
    noted_vars: Vec<String>,
}

/// Output that is not an inventory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InventoryError {
    /// Nothing came.
    #[error("ansible-inventory printed nothing; want the JSON of `ansible-inventory --list`")]
    Empty,
    /// It is not JSON, or not of this shape.
    #[error("ansible-inventory printed something that is no inventory, at {path}: {message}")]
    Shape {
        /// Where in the document, such as `web.hosts[3]`; `.` is the document itself.
        path: String,
        /// What is wrong there.
        message: String,
    },
}

impl Inventory {
    /// Reads what `ansible-inventory --list` prints.
    ///
    /// *Shape*: `{"_meta": {"hostvars": {HOST: {…}}}, GROUP: {"hosts": [HOST], "children": [GROUP], "vars": {…}}}`. `_meta` may
    /// be missing and a group may be just a list of hosts. A host without variables is absent from `_meta`; a host that
    /// only `_meta` names is left out, because Ansible does not know it as a host.
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
            // Without an `ansible_host`, Ansible goes to the name; with a template, nobody knows where.
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

    /// Notes which ansible-core reads it; `None` if that is not known.
    #[must_use]
    pub fn read_by(self, version: Option<(u32, u32)>) -> Self {
        Self {
            templates_twice: version.is_none_or(|version| version < TEMPLATES_ONCE),
            ..self
        }
    }

    /// Whether text that was marked as no template can all the same become one: an ansible-core before 2.19 loses the
    /// mark where a role makes another text of it, and templates the result again (the name of a file to include).
    pub fn templates_twice(&self) -> bool {
        self.templates_twice
    }

    /// How many hosts there are.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether there is no host.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// The hosts, in the inventory's order.
    pub fn hosts(&self) -> std::slice::Iter<'_, Host> {
        self.hosts.iter()
    }

    /// The host of exactly this name.
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.by_name.get(name).map(|&i| &self.hosts[i])
    }

    /// The names of the groups, sorted, with `all` and `ungrouped`.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(AsRef::as_ref)
    }

    /// Whether there is a group of exactly this name.
    pub fn is_group(&self, name: &str) -> bool {
        self.groups.contains_key(name)
    }

    /// The hosts of a group and of its children, each once, in the inventory's order.
    pub fn group_hosts(&self, name: &str) -> Option<Vec<&str>> {
        let members = self.groups.get(name)?;
        Some(members.iter().map(|&i| self.hosts[i].name()).collect())
    }

    /// How many hosts a group has, with those of its children.
    pub fn group_len(&self, name: &str) -> Option<usize> {
        self.groups.get(name).map(Vec::len)
    }

    /// The groups directly below a group, sorted.
    pub fn group_children(&self, name: &str) -> Vec<&str> {
        if name != ALL {
            let children = self.children.get(name).into_iter().flatten();
            let children: BTreeSet<&str> = children.map(AsRef::as_ref).collect();
            return children.into_iter().collect();
        }
        // Those that are below no other.
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

    /// Whether Ansible goes to a host's name.
    fn is_reached_by_name(&self, host: &Host) -> bool {
        self.at_address(&host.name).any(|h| h.name == host.name)
    }

    /// The same, with further names and addresses of hosts, as their facts tell them. They count less than what the
    /// inventory says: a name or an address that it gives to a host stays that host's alone.
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

    /// The hosts that are reached at this address, or where there are none, those that say that it is theirs; each once.
    fn known_by(&self, text: &str) -> Vec<&Host> {
        let address = Address::of(text);
        let by_inventory = self.by_address.get(&address);
        let found = by_inventory.or_else(|| self.by_alias.get(&address));
        let places: BTreeSet<usize> = found.into_iter().flatten().copied().collect();
        places.into_iter().map(|place| &self.hosts[place]).collect()
    }

    /// The hosts that Ansible would reach at this address.
    fn at_address(&self, address: &str) -> impl Iterator<Item = &Host> {
        let found = self.by_address.get(&Address::of(address));
        found.into_iter().flatten().map(|&i| &self.hosts[i])
    }
}

/// Every host's name once: first those that a walk from `all` meets, then the rest, group by group.
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

/// The hosts of a group and of its children, ascending.
fn members(listing: &Listing, by_name: &HashMap<Arc<str>, usize>, name: &str) -> Vec<usize> {
    let mut members = Vec::new();
    each_group(listing, name, &mut HashSet::new(), |group| {
        members.extend(group.hosts.iter().filter_map(|host| by_name.get(host)));
    });
    members.sort_unstable();
    members.dedup();
    members
}

/// Visits a group and all that is below it, depth first, each group once, so that circles end.
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
