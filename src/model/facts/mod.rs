//! Ansible's facts about hosts, and the metrics derived from them. Pure.
//!
//! - [`Facts`]: one host's facts, from any version of Ansible and any operating system.
//! - `reader`: reads single values, whatever their type.
//! - [`changes`]: the differences from the last gathering. [`setup_output`], [`cache_file`]: facts gathered elsewhere.
//! - [`series`]: the metrics of one host; `network`, `storage`: those with several series per host.

mod aliases;
mod changes;
mod import;
mod network;
mod options;
mod reader;
mod series;
mod storage;
#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

pub use aliases::aliases;
pub use changes::{Change, Changes, changes};
pub use import::{ImportError, Imported, cache_file, setup_output};
pub use options::{ExtraFact, HostOptions};
pub use series::{FAMILIES, Family, NoNumber, Sample, Series, extra, series};

/// The facts of one host with the time of their gathering.
#[derive(Debug, Clone, PartialEq)]
pub struct HostFacts {
    /// The inventory name.
    pub host: String,
    pub gathered_at: DateTime<Utc>,
    /// Whether the facts came directly from the host, so that its clock can be compared with ours.
    pub live: bool,
    /// The value of `ansible_facts`.
    pub facts: Map<String, Value>,
}

/// Read access to one host's facts.
///
/// *Shape*: the object that `gather_facts` returns as `ansible_facts`. Names may begin with `ansible_`, as modules
/// return them, or not, as fact caches of other tools store them.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a>(&'a Map<String, Value>);

/// The prefix of all names that modules return.
const PREFIX: &str = "ansible_";

impl<'a> Facts<'a> {
    /// Wraps facts: bare ones, or the value of `ansible_facts`.
    pub fn new(map: &'a Map<String, Value>) -> Self {
        match map.get("ansible_facts") {
            Some(Value::Object(inner)) => Self(inner),
            _ => Self(map),
        }
    }

    /// Returns a fact by its name without `ansible_`. `null` counts as absent.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        let value = self
            .0
            .get(&format!("{PREFIX}{name}"))
            .or_else(|| self.0.get(name))?;
        (!value.is_null()).then_some(value)
    }

    /// Returns a value by its path: names with dots between them; the first one with or without `ansible_`.
    pub fn path(&self, path: &str) -> Option<&'a Value> {
        let mut names = path.split('.');
        let first = names.next()?;
        let mut value = self.get(first.strip_prefix(PREFIX).unwrap_or(first))?;
        for name in names {
            value = match value {
                Value::Object(map) => map.get(name)?,
                Value::Array(list) => list.get(name.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        (!value.is_null()).then_some(value)
    }

    /// Iterates over all facts, with names without `ansible_`.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let facts = self.0.iter();
        facts.map(|(name, value)| (name.strip_prefix(PREFIX).unwrap_or(name), value))
    }
}
