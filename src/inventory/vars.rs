//! Host variables that somebody named in the configuration, kept beside the inventory while it is in use.
//!
//! No other variable is kept, and none is written out again: they may be secrets.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::{Host, Inventory, InventoryError, is_template};

/// Name → value, in the order in which the names are wanted.
type Vars = Vec<(Arc<str>, Value)>;

impl Inventory {
    /// Keeps these variables of every host, of the listing that this inventory was parsed from.
    ///
    /// Kept is a text, a number or a boolean. A template, a list, a map and what is encrypted is left out.
    pub fn keeping_vars(mut self, json: &[u8], names: &[String]) -> Result<Self, InventoryError> {
        self.kept_vars = names.to_vec();
        if names.is_empty() {
            return Ok(self);
        }
        let names: Vec<Arc<str>> = names.iter().map(|name| name.as_str().into()).collect();
        let wanted = Under("_meta", Under("hostvars", EachHost(&names)));
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let found = wanted.deserialize(&mut deserializer);
        let found = found.map_err(|error| InventoryError::Shape {
            path: "_meta.hostvars".to_owned(),
            message: error.to_string(),
        })?;
        let mut found = found.flatten().unwrap_or_default();
        for host in &mut self.hosts {
            host.vars = found.remove(&*host.name).unwrap_or_default();
        }
        Ok(self)
    }

    /// The variables that were asked for.
    pub fn kept_vars(&self) -> &[String] {
        &self.kept_vars
    }
}

impl Host {
    /// A variable that was kept: a text, a number or a boolean.
    pub fn var(&self, name: &str) -> Option<&Value> {
        let mut vars = self.vars.iter();
        vars.find(|(of, _)| &**of == name).map(|(_, value)| value)
    }
}

/// A value that stands for itself.
fn plain(value: Value) -> Option<Value> {
    match value {
        Value::String(text) if is_template(&text) => None,
        Value::String(_) | Value::Number(_) | Value::Bool(_) => Some(value),
        // How a text is printed that is marked `!unsafe`: it is never a template.
        Value::Object(mut map) => map.remove("__ansible_unsafe").filter(Value::is_string),
        Value::Null | Value::Array(_) => None,
    }
}

/// Reads one key of a map, and passes over all others.
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
struct EachHost<'a>(&'a [Arc<str>]);

impl<'de> DeserializeSeed<'de> for EachHost<'_> {
    type Value = HashMap<String, Vars>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EachHost<'_> {
    type Value = HashMap<String, Vars>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of hosts to their variables")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut hosts = HashMap::new();
        while let Some(host) = map.next_key::<String>()? {
            let vars = map.next_value_seed(OfHost(self.0))?;
            if !vars.is_empty() {
                hosts.insert(host, vars);
            }
        }
        Ok(hosts)
    }
}

/// Reads the wanted variables of one host.
struct OfHost<'a>(&'a [Arc<str>]);

impl<'de> DeserializeSeed<'de> for OfHost<'_> {
    type Value = Vars;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vars, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OfHost<'_> {
    type Value = Vars;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the variables of a host")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vars, A::Error> {
        let mut vars = Vars::new();
        while let Some(name) = map.next_key::<String>()? {
            if let Some(wanted) = self.0.iter().find(|wanted| ***wanted == *name) {
                let value = map.next_value::<Value>()?;
                vars.extend(plain(value).map(|value| (Arc::clone(wanted), value)));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(vars)
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
            .keeping_vars(marked.as_bytes(), &names)
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
        // Whoever waits for a variable that changed learns of it.
        assert_ne!(kept, parsed);
        let none = parsed
            .clone()
            .keeping_vars(listing.as_bytes(), &[])
            .unwrap();
        assert_eq!(none, parsed);
    }
}
