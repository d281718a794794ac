//! Host variables named in the configuration, stored with the inventory while it is in use.
//!
//! No other variables are stored, and none are exported: they may be secrets.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::{Host, Inventory, InventoryError, is_template};

/// The wanted variables of a host.
#[derive(Default)]
struct Found {
    /// Names and values, in the order of the listing.
    vars: Vec<(Arc<str>, Value)>,
    /// The names of the watched variables that the host sets.
    sets: Vec<Arc<str>>,
}

/// The names to look for.
struct Wanted {
    kept: Vec<Arc<str>>,
    noted: Vec<Arc<str>>,
}

impl Inventory {
    /// Stores the variables of these names of every host, from the listing that this inventory was parsed from, and
    /// records which of the variables in `noted` each host sets, whatever their values are.
    ///
    /// Strings, numbers and booleans are stored. Templates, lists, maps and encrypted values are omitted.
    pub fn keeping_vars(
        mut self,
        json: &[u8],
        names: &[String],
        noted: &[String],
    ) -> Result<Self, InventoryError> {
        self.kept_vars = names.to_vec();
        self.noted_vars = noted.to_vec();
        if names.is_empty() && noted.is_empty() {
            return Ok(self);
        }
        let shared = |names: &[String]| names.iter().map(|name| name.as_str().into()).collect();
        let wanted = Wanted {
            kept: shared(names),
            noted: shared(noted),
        };
        let wanted = Under("_meta", Under("hostvars", EachHost(&wanted)));
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let found = wanted.deserialize(&mut deserializer);
        let found = found.map_err(|error| InventoryError::Shape {
            path: "_meta.hostvars".to_owned(),
            message: error.to_string(),
        })?;
        let mut found = found.flatten().unwrap_or_default();
        for host in &mut self.hosts {
            let Found { vars, sets } = found.remove(&*host.name).unwrap_or_default();
            (host.vars, host.sets) = (vars, sets);
        }
        Ok(self)
    }

    /// Returns whether the inventory sets a variable for a host, or might set it: the variable was not watched, or the
    /// host is enrolled and its groups might set it.
    ///
    /// For a host that is not in the inventory, such as the controller, returns whether any host sets it.
    pub fn may_set(&self, host: &str, name: &str) -> bool {
        let sets = |host: &Host| host.sets.iter().any(|set| **set == *name);
        if !self.noted_vars.iter().any(|noted| noted == name) {
            return true;
        }
        match self.host(host) {
            Some(host) => host.enrolled.is_some() || sets(host),
            None => self.hosts.iter().any(sets),
        }
    }

    /// Returns the names of the stored variables.
    pub fn kept_vars(&self) -> &[String] {
        &self.kept_vars
    }
}

impl Host {
    /// Returns a stored variable: a string, a number or a boolean.
    pub fn var(&self, name: &str) -> Option<&Value> {
        let mut vars = self.vars.iter();
        vars.find(|(of, _)| &**of == name).map(|(_, value)| value)
    }
}

/// Returns a scalar value that is not a template.
fn plain(value: Value) -> Option<Value> {
    match value {
        Value::String(text) if is_template(&text) => None,
        Value::String(_) | Value::Number(_) | Value::Bool(_) => Some(value),
        // The format of a string that is marked `!unsafe`: it is never a template.
        Value::Object(mut map) => map.remove("__ansible_unsafe").filter(Value::is_string),
        Value::Null | Value::Array(_) => None,
    }
}

/// Reads one key of a map and skips all others.
struct Under<S>(&'static str, S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Under<S> {
    type Value = Option<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for Under<S> {
    type Value = Option<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a map with {}", self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Self(key, seed) = self;
        let (mut seed, mut found) = (Some(seed), None);
        while let Some(name) = map.next_key::<String>()? {
            match seed.take_if(|_| name == key) {
                Some(seed) => found = Some(map.next_value_seed(seed)?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// Reads `hostvars`.
struct EachHost<'a>(&'a Wanted);

impl<'de> DeserializeSeed<'de> for EachHost<'_> {
    type Value = HashMap<String, Found>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EachHost<'_> {
    type Value = HashMap<String, Found>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of hosts to their variables")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut hosts = HashMap::new();
        while let Some(host) = map.next_key::<String>()? {
            let found = map.next_value_seed(OfHost(self.0))?;
            if !found.vars.is_empty() || !found.sets.is_empty() {
                hosts.insert(host, found);
            }
        }
        Ok(hosts)
    }
}

/// Reads the wanted variables of one host.
struct OfHost<'a>(&'a Wanted);

impl<'de> DeserializeSeed<'de> for OfHost<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OfHost<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the variables of a host")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut found = Found::default();
        while let Some(name) = map.next_key::<String>()? {
            let is = |wanted: &&Arc<str>| ***wanted == *name;
            found.sets.extend(self.0.noted.iter().find(is).cloned());
            if let Some(wanted) = self.0.kept.iter().find(is) {
                let value = map.next_value::<Value>()?;
                let value = plain(value).map(|value| (Arc::clone(wanted), value));
                found.vars.extend(value);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_named_and_stands_for_itself_is_kept() {
        let listing = json!({
            "web": {"hosts": ["a", "b", "c"]},
            "_meta": {"hostvars": {
                "a": {"dc": "fra", "rack": 7, "spare": true, "ansible_password": "hunter2", "ratio": 0.5},
                "b": {"dc": "{{ site }}", "rack": {"__ansible_vault": "x"}, "spare": null, "ratio": [1]},
                "gone": {"dc": "x"},
            }},
        })
        .to_string();
        let marked = listing.replace(r#""ratio":[1]"#, r#""ratio":{"__ansible_unsafe":"{{ }}"}"#);
        let names = ["dc", "rack", "spare", "ratio"].map(str::to_owned);
        let parsed = Inventory::parse(listing.as_bytes()).unwrap();
        let kept = parsed
            .clone()
            .keeping_vars(marked.as_bytes(), &names, &[])
            .unwrap();
        let of = |host: &str| -> Vec<(String, Value)> {
            let host = kept.host(host).unwrap();
            let vars = host.vars.iter();
            vars.map(|(name, value)| (name.to_string(), value.clone()))
                .collect()
        };
        let pairs = |pairs: &[(&str, Value)]| -> Vec<(String, Value)> {
            let pairs = pairs.iter();
            pairs.map(|(n, v)| ((*n).to_owned(), v.clone())).collect()
        };
        assert_eq!(
            of("a"),
            pairs(&[
                ("dc", json!("fra")),
                ("rack", json!(7)),
                ("spare", json!(true)),
                ("ratio", json!(0.5)),
            ])
        );
        assert_eq!(of("b"), pairs(&[("ratio", json!("{{ }}"))]));
        assert_eq!(of("c"), []);
        assert_eq!(kept.host("a").unwrap().var("rack"), Some(&json!(7)));
        assert_eq!(kept.host("a").unwrap().var("ansible_password"), None);
        assert!(!format!("{kept:?}").contains("hunter2"));
        let written = String::from_utf8(kept.to_json()).unwrap();
        assert!(!written.contains("fra"), "{written}");
        // A changed variable makes the inventories differ.
        assert_ne!(kept, parsed);
        let none = parsed
            .clone()
            .keeping_vars(listing.as_bytes(), &[], &[])
            .unwrap();
        assert_eq!(none, parsed);
    }

    #[test]
    fn which_hosts_set_a_variable_is_noted_and_its_value_is_not() {
        let listing = json!({
            "web": {"hosts": ["a", "b"]},
            "_meta": {"hostvars": {
                "a": {"url": "hunter2", "list": [1], "other": 1},
                "b": {"url": "{{ x }}"},
            }},
        })
        .to_string();
        let names = ["url", "list", "none"].map(str::to_owned);
        let parsed = Inventory::parse(listing.as_bytes()).unwrap();
        // The variable was not watched.
        assert!(parsed.may_set("a", "none"));
        let noted = parsed.keeping_vars(listing.as_bytes(), &[], &names);
        let noted = noted.unwrap();
        assert!(!format!("{noted:?}").contains("hunter2"));
        for (host, name, may) in [
            ("a", "url", true),
            ("b", "url", true),
            ("a", "list", true),
            ("b", "list", false),
            ("a", "none", false),
            ("a", "other", true),
            ("localhost", "list", true),
            ("localhost", "none", false),
        ] {
            assert_eq!(noted.may_set(host, name), may, "{host} {name}");
        }
    }
}
