//! Exports the inventory without the hosts' variables, which may be secrets.

use serde_json::{Map, Value, json};

use super::{ALL, Inventory};

/// The placeholder for an `ansible_host` that is a template.
const TEMPLATE: &str = "{{ }}";

impl Inventory {
    /// Writes the hosts from the sources in the format of `ansible-inventory --list`, with only names, groups and
    /// connection data (`ansible_host`, `ansible_port`, `ansible_connection`).
    ///
    /// [`Inventory::parse`] restores the same inventory from it.
    pub fn to_json(&self) -> Vec<u8> {
        let mut hostvars = Map::new();
        for host in &self.hosts {
            let address = match &host.address {
                Some(address) => Some(address.as_str()),
                None if self.is_reached_by_name(host) => None,
                None => Some(TEMPLATE),
            };
            let mut vars = Map::new();
            vars.extend(address.map(|address| ("ansible_host".to_owned(), address.into())));
            host.way.write(&mut vars);
            if !vars.is_empty() {
                hostvars.insert(host.name.to_string(), vars.into());
            }
        }
        let mut document = Map::new();
        let mut meta = Map::new();
        meta.insert("hostvars".to_owned(), hostvars.into());
        if self.templates_twice {
            meta.insert("promansible_templates_twice".to_owned(), true.into());
        }
        document.insert("_meta".to_owned(), meta.into());
        let all = self.group_hosts(ALL).unwrap_or_default();
        document.insert(ALL.to_owned(), json!({"hosts": all}));
        for group in self.groups().filter(|group| *group != ALL) {
            let hosts = self.group_hosts(group).unwrap_or_default();
            let body = match self.children.get(group) {
                Some(children) => json!({"hosts": hosts, "children": children}),
                None => json!({ "hosts": hosts }),
            };
            document.insert(group.to_owned(), body);
        }
        Value::Object(document).to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_the_same_and_holds_no_variables() {
        let listing = br#"{"_meta":{"hostvars":{
            "a":{"ansible_host":"10.0.0.1","ansible_password":"hunter2"},
            "b":{"ansible_host":"{{ secret }}"},
            "c":{"x":1}}},
          "all":{"children":["ungrouped","web","empty"]},
          "web":{"children":["inner"],"hosts":["b"]},
          "inner":{"hosts":["a"]},
          "ungrouped":{"hosts":["c"]}}"#;
        let inventory = Inventory::parse(listing).unwrap();
        let written = inventory.to_json();
        let text = String::from_utf8(written.clone()).unwrap();
        assert!(
            !text.contains("hunter2") && !text.contains("secret"),
            "{text}"
        );
        assert_eq!(Inventory::parse(&written).unwrap(), inventory);
        let old = inventory.clone().read_by(Some((2, 18)));
        assert_ne!(old, inventory);
        assert_eq!(Inventory::parse(&old.to_json()).unwrap(), old);
        assert!(inventory.clone().read_by(None).templates_twice());
        assert!(!old.read_by(Some((2, 19))).templates_twice());
        assert_eq!(inventory.group_hosts("web").unwrap(), ["b", "a"]);
    }
}
