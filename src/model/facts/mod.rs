//! What Ansible found on a host, and what of it becomes metrics. Pure.
//!
//! - [`Facts`]: one host's facts, whatever Ansible, system and decade they come from.
//! - `reader`: one value of them, in whatever type it came.
//! - [`changes`]: what is different from the last time. [`setup_output`], [`cache_file`]: facts that others gathered.
//! - [`series`]: the metrics of one host; `network`, `storage`: those that a host has several of.

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

/// The facts of one host, and when they came.
#[derive(Debug, Clone, PartialEq)]
pub struct HostFacts {
    /// Its inventory name.
    pub host: String,
    /// When they were gathered.
    pub gathered_at: DateTime<Utc>,
    /// Whether they came straight from the host, so that its clock can be set against ours.
    pub live: bool,
    /// The value of `ansible_facts`.
    pub facts: Map<String, Value>,
}

/// One host's facts.
///
/// *Shape*: the object that `gather_facts` returns as `ansible_facts`. Names may begin with `ansible_`, as modules
/// return them, or not, as fact caches of other tools keep them.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a>(&'a Map<String, Value>);

/// What all names begin with that a module returns.
const PREFIX: &str = "ansible_";

impl<'a> Facts<'a> {
    /// Takes facts as they came: bare, or as the value of `ansible_facts`.
    pub fn new(map: &'a Map<String, Value>) -> Self {
        match map.get("ansible_facts") {
            Some(Value::Object(inner)) => Self(inner),
            _ => Self(map),
        }
    }

    /// A fact by its name without `ansible_`. `null` is none.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        let value = self
            .0
            .get(&format!("{PREFIX}{name}"))
            .or_else(|| self.0.get(name))?;
        (!value.is_null()).then_some(value)
    }

    /// A value by its path: names with dots between; the name of a fact with or without `ansible_`.
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

    /// Every fact, its name without `ansible_`.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let facts = self.0.iter();
        facts.map(|(name, value)| (name.strip_prefix(PREFIX).unwrap_or(name), value))
    }
}
