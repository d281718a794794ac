//! Scrape targets for Prometheus: the hosts of the inventory with what is known of them, as `file_sd` and
//! `http_sd` take it.
//! Pure.
//!
//! - [`Exposed`]: which variables and facts of a host become labels. Nothing else of them leaves promansible this way.
//! - [`View`]: every host with its labels, ready to be asked.
//! - [`Filter`], [`Endpoint`]: which hosts, and what of them is scraped.
//!
//! *Source*: Prometheus's pages on `file_sd_config` and `http_sd_config`: an array of `{targets, labels}`, in which one
//! further key or a value that is no text refuses the whole.

mod labels;
mod request;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};

pub use labels::{Exposed, FactValues, fact_label, label_defect, var_label};
pub use request::{Endpoint, Filter, MatcherError, Scheme, is_metrics_path, matchers, port};

use crate::model::inventory::{ALL, Host, Inventory};
use labels::{GROUPS, HOST, scalar};

/// Every host with its labels. It is built when the inventory or the facts change, and asked for targets after that.
#[derive(Debug)]
pub struct View {
    exposed: Exposed,
    inventory: Arc<Inventory>,
    /// In the inventory's order.
    hosts: Vec<Known>,
}

/// What is known of a host.
#[derive(Debug)]
struct Known {
    /// Where it is, ready for a port behind it.
    address: String,
    /// Without those that have no value; no name stands twice.
    labels: Vec<(Arc<str>, String)>,
}

/// Targets as Prometheus takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    /// *Shape*: `[{"targets": ["HOST:PORT"], "labels": {NAME: VALUE}}]`, a line for each host.
    pub json: Vec<u8>,
    /// How many hosts these are.
    pub count: usize,
}

impl View {
    /// Puts together what is known. Of a host without facts those labels are missing.
    ///
    /// The inventory must have kept the variables that are exposed.
    pub fn build(
        exposed: &Exposed,
        inventory: Arc<Inventory>,
        facts: &HashMap<String, FactValues>,
    ) -> Self {
        let (host_label, groups_label): (Arc<str>, Arc<str>) = (HOST.into(), GROUPS.into());
        let vars = exposed.vars.iter();
        let vars: Vec<Arc<str>> = vars.map(|name| var_label(name).into()).collect();
        let paths = exposed.facts.iter();
        let paths: Vec<Arc<str>> = paths.map(|path| fact_label(path).into()).collect();
        let known = |host: &Host| {
            let mut labels = vec![(Arc::clone(&host_label), host.name().to_owned())];
            labels.push((Arc::clone(&groups_label), groups(host)));
            for (name, label) in exposed.vars.iter().zip(&vars) {
                let value = host.var(name).and_then(scalar);
                labels.extend(value.map(|value| (Arc::clone(label), value)));
            }
            let facts = facts
                .get(host.name())
                .into_iter()
                .flat_map(FactValues::iter);
            for (value, label) in facts.zip(&paths) {
                labels.extend(value.map(|value| (Arc::clone(label), value.to_owned())));
            }
            Known {
                address: address(host.address().unwrap_or(host.name())),
                labels,
            }
        };
        Self {
            exposed: exposed.clone(),
            hosts: inventory.hosts().map(known).collect(),
            inventory,
        }
    }

    /// What of the hosts is in it.
    pub fn exposed(&self) -> &Exposed {
        &self.exposed
    }

    /// Whether it is of exactly this reading of the inventory.
    pub fn is_of(&self, inventory: &Arc<Inventory>) -> bool {
        Arc::ptr_eq(&self.inventory, inventory)
    }

    /// The first of these groups that the inventory does not have. It may be on its way.
    pub fn unknown_group<'a>(&self, filter: &'a Filter) -> Option<&'a str> {
        let mut groups = filter.groups.iter().map(String::as_str);
        groups.find(|group| !self.inventory.is_group(group))
    }

    /// The hosts that pass a filter, as targets.
    pub fn targets(&self, filter: &Filter, endpoint: &Endpoint) -> Targets {
        let mut json = b"[".to_vec();
        let mut count = 0;
        for (host, known) in self.inventory.hosts().zip(&self.hosts) {
            if !filter.passes(host, known) {
                continue;
            }
            json.extend(if count == 0 { "\n" } else { ",\n" }.bytes());
            count += 1;
            let group = TargetGroup { known, endpoint };
            serde_json::to_writer(&mut json, &group)
                .expect("texts are JSON, and memory takes them");
        }
        json.extend(if count == 0 { "]\n" } else { "\n]\n" }.bytes());
        Targets { json, count }
    }
}

impl Known {
    /// A label's value; empty if it has none, as for Prometheus.
    fn label(&self, name: &str) -> &str {
        let mut labels = self.labels.iter();
        labels
            .find(|(label, _)| &**label == name)
            .map_or("", |(_, value)| value)
    }
}

impl Filter {
    fn passes(&self, host: &Host, known: &Known) -> bool {
        let is_in = |group: &String| group == ALL || host.groups().any(|of| of == group);
        let mut matchers = self.matchers.iter();
        (self.groups.is_empty() || self.groups.iter().any(is_in))
            && matchers.all(|matcher| matcher.matches(known.label(matcher.name())))
    }
}

/// `,web,db,`: so that a regular expression finds a group by the commas around it.
fn groups(host: &Host) -> String {
    let mut text = ",".to_owned();
    for group in host.groups() {
        text.push_str(group);
        text.push(',');
    }
    text
}

/// An address that a port can stand behind.
fn address(of: &str) -> String {
    let (address, _zone) = of.split_once('%').unwrap_or((of, ""));
    if address.parse::<Ipv6Addr>().is_ok() {
        format!("[{of}]")
    } else {
        of.to_owned()
    }
}

struct TargetGroup<'a> {
    known: &'a Known,
    endpoint: &'a Endpoint,
}

impl Serialize for TargetGroup<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let address = &self.known.address;
        let target = match self.endpoint.port {
            Some(port) => format!("{address}:{port}"),
            None => address.clone(),
        };
        let mut group = serializer.serialize_map(Some(2))?;
        group.serialize_entry("targets", &[target])?;
        group.serialize_entry("labels", &Labels(self))?;
        group.end()
    }
}

struct Labels<'a>(&'a TargetGroup<'a>);

impl Serialize for Labels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let TargetGroup { known, endpoint } = self.0;
        let known = known.labels.iter();
        serializer.collect_map(
            known
                .map(|(name, value)| (&**name, value.as_str()))
                .chain(endpoint.labels()),
        )
    }
}
