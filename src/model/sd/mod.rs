//! Scrape targets for Prometheus: the hosts of the inventory with their labels, in the format of `file_sd` and
//! `http_sd`. Pure.
//!
//! - [`Exposed`]: the variables and facts of a host that become labels. No others leave promansible this way.
//! - [`View`]: all hosts with their labels, ready for queries.
//! - [`Filter`], [`Endpoint`]: the selection of hosts, and what is scraped on them.
//!
//! *Source*: Prometheus's documentation of `file_sd_config` and `http_sd_config`: an array of `{targets, labels}`,
//! where one additional key or a value that is not a string invalidates the whole response.

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

/// All hosts with their labels. Built when the inventory or the facts change, and then queried for targets.
#[derive(Debug)]
pub struct View {
    exposed: Exposed,
    inventory: Arc<Inventory>,
    /// In the inventory's order.
    hosts: Vec<LabelledHost>,
}

/// A host's address and labels.
#[derive(Debug)]
struct LabelledHost {
    /// The address, in a form to which a port can be appended.
    address: String,
    /// Only labels with a value; no name occurs twice.
    labels: Vec<(Arc<str>, String)>,
}

/// Targets in Prometheus's format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    /// *Shape*: `[{"targets": ["HOST:PORT"], "labels": {NAME: VALUE}}]`, a line for each host.
    pub json: Vec<u8>,
    /// The number of hosts.
    pub count: usize,
}

impl View {
    /// Builds the view. Hosts without facts lack the labels of facts.
    ///
    /// The inventory must have stored the exposed variables.
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
            LabelledHost {
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

    /// Returns the exposed variables and facts.
    pub fn exposed(&self) -> &Exposed {
        &self.exposed
    }

    /// Returns whether the view was built from exactly this read of the inventory.
    pub fn is_of(&self, inventory: &Arc<Inventory>) -> bool {
        Arc::ptr_eq(&self.inventory, inventory)
    }

    /// Returns the first group of the filter that the inventory does not have. It may still appear.
    pub fn unknown_group<'a>(&self, filter: &'a Filter) -> Option<&'a str> {
        let mut groups = filter.groups.iter().map(String::as_str);
        groups.find(|group| !self.inventory.is_group(group))
    }

    /// Returns the hosts that pass a filter, as targets.
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

impl LabelledHost {
    /// Returns the value of a label; empty if it is missing, as in Prometheus.
    fn label(&self, name: &str) -> &str {
        let mut labels = self.labels.iter();
        labels
            .find(|(label, _)| &**label == name)
            .map_or("", |(_, value)| value)
    }
}

impl Filter {
    fn passes(&self, host: &Host, known: &LabelledHost) -> bool {
        let is_in = |group: &String| group == ALL || host.groups().any(|of| of == group);
        let mut matchers = self.matchers.iter();
        (self.groups.is_empty() || self.groups.iter().any(is_in))
            && matchers.all(|matcher| matcher.matches(known.label(matcher.name())))
    }
}

/// Formats the groups as `,web,db,`, so that a regular expression can match a group with the commas around it.
fn groups(host: &Host) -> String {
    let mut text = ",".to_owned();
    for group in host.groups() {
        text.push_str(group);
        text.push(',');
    }
    text
}

/// Formats an address so that a port can be appended.
fn address(of: &str) -> String {
    let (address, _zone) = of.split_once('%').unwrap_or((of, ""));
    if address.parse::<Ipv6Addr>().is_ok() {
        format!("[{of}]")
    } else {
        of.to_owned()
    }
}

struct TargetGroup<'a> {
    known: &'a LabelledHost,
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
