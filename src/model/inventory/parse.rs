//! Parses the JSON of `ansible-inventory --list`, and discards unneeded data while parsing.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::InventoryError;
use super::machine::Way;

/// The printed listing.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Host → its plain `ansible_host`.
    pub(super) addresses: HashMap<String, Option<String>>,
    /// The hosts whose `ansible_host` exists, but is not plain text.
    pub(super) templated: HashSet<String>,
    /// Host → its connection data, if there is any.
    pub(super) ways: HashMap<String, Way>,
    pub(super) groups: HashMap<Arc<str>, Group>,
    /// The groups in the order in which they were printed.
    pub(super) order: Vec<Arc<str>>,
    /// The value saved by [`Inventory::to_json`](super::Inventory::to_json).
    pub(super) templates_twice: bool,
}

/// A printed group.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) hosts: Vec<Arc<str>>,
    pub(super) children: Vec<Arc<str>>,
}

impl Listing {
    pub(super) fn parse(json: &[u8]) -> Result<Self, InventoryError> {
        if json.trim_ascii().is_empty() {
            return Err(InventoryError::Empty);
        }
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let listing = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            InventoryError::Shape {
                path: error.path().to_string(),
                message: error.inner().to_string(),
            }
        })?;
        deserializer.end().map_err(|error| InventoryError::Shape {
            path: "the end".into(),
            message: error.to_string(),
        })?;
        Ok(listing)
    }
}

impl<'de> Deserialize<'de> for Listing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Document;
        impl<'de> Visitor<'de> for Document {
            type Value = Listing;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of groups")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Listing, A::Error> {
                let mut listing = Listing::default();
                while let Some(key) = map.next_key::<String>()? {
                    if key == "_meta" {
                        let meta: Meta = map.next_value()?;
                        listing.templates_twice = meta.promansible_templates_twice;
                        for (host, vars) in meta.hostvars {
                            let way = vars.way();
                            if way != Way::default() {
                                listing.ways.insert(host.clone(), way);
                            }
                            // The precedence of Ansible's SSH connections.
                            let address = vars.ansible_ssh_host.or(vars.ansible_host);
                            if matches!(address, Some(Text(None))) {
                                listing.templated.insert(host.clone());
                            }
                            let address = address.and_then(|text| text.0);
                            listing.addresses.insert(host, address);
                        }
                    } else {
                        let key: Arc<str> = key.into();
                        listing.groups.insert(Arc::clone(&key), map.next_value()?);
                        listing.order.push(key);
                    }
                }
                Ok(listing)
            }
        }
        deserializer.deserialize_map(Document)
    }
}

#[derive(Default, serde::Deserialize)]
struct Meta {
    #[serde(default)]
    hostvars: HashMap<String, HostVars>,
    #[serde(default)]
    promansible_templates_twice: bool,
}

#[derive(serde::Deserialize)]
#[allow(clippy::struct_field_names)] // they are the names of Ansible's variables
struct HostVars {
    #[serde(default)]
    ansible_host: Option<Text>,
    #[serde(default)]
    ansible_ssh_host: Option<Text>,
    #[serde(default)]
    ansible_port: Option<Value>,
    #[serde(default)]
    ansible_ssh_port: Option<Value>,
    #[serde(default)]
    ansible_connection: Option<Value>,
}

impl HostVars {
    fn way(&self) -> Way {
        let ports = [&self.ansible_port, &self.ansible_ssh_port].map(Option::as_ref);
        Way::of(ports, self.ansible_connection.as_ref())
    }
}

/// Text that Ansible does not evaluate; `None` for templates and other types.
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match Value::deserialize(deserializer)? {
            Value::String(text) if !is_template(&text) => Some(text),
            // The format of a value that is marked `!unsafe`: it is never a template.
            Value::Object(map) => match map.get("__ansible_unsafe") {
                Some(Value::String(text)) => Some(text.clone()),
                _ => None,
            },
            _ => None,
        }))
    }
}

/// Returns whether Ansible could evaluate this text as a template.
pub fn is_template(text: &str) -> bool {
    let signs = ["{{", "{%", "{#", "#jinja2:"];
    signs.iter().any(|sign| text.contains(sign))
}

impl<'de> Deserialize<'de> for Group {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Body;
        impl<'de> Visitor<'de> for Body {
            type Value = Group;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a group: a map with `hosts` and `children`, or a list of hosts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Group, A::Error> {
                let mut group = Group::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "hosts" => group.hosts = map.next_value()?,
                        "children" => group.children = map.next_value()?,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(group)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Group, A::Error> {
                let mut group = Group::default();
                while let Some(host) = seq.next_element()? {
                    group.hosts.push(host);
                }
                Ok(group)
            }
        }
        deserializer.deserialize_any(Body)
    }
}
