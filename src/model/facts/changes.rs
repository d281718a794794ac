//! The differences between two gatherings of a host's facts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Facts;

/// Facts that differ each time and are therefore ignored.
const VOLATILE: [&str; 14] = [
    "_ansible_facts_gathered",
    "date_time",
    "discovered_interpreter_python",
    "env",
    "gather_subset",
    "loadavg",
    "memfree_mb",
    "memory_mb",
    "module_setup",
    "swapfree_mb",
    "uptime_seconds",
    "block_available",
    "inode_available",
    "size_available",
];

/// Volatile facts of mounts, whose names are too common to ignore them everywhere.
const VOLATILE_OF_MOUNTS: [&str; 2] = ["block_used", "inode_used"];

/// The keys that identify an object in a list.
const NAMES: [&str; 4] = ["mount", "device", "address", "connection_name"];

/// The maximum number of listed changes. The rest are only counted.
const LIMIT: usize = 500;

/// A changed value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The path: names with dots between them.
    pub path: String,
    /// The old value; absent if the value is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// The new value; absent if the value was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
}

/// The changes between two gatherings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// Sorted by path, at most a few hundred.
    pub changes: Vec<Change>,
    /// The number of further changes.
    pub more: usize,
}

/// Compares two gatherings. Volatile facts and the order of lists are ignored. Facts that only one gathering has are
/// ignored too, unless both gathered the same subset.
pub fn changes(old: Facts<'_>, new: Facts<'_>) -> Changes {
    let mut found = Changes::default();
    let same_subset = old.get("gather_subset") == new.get("gather_subset");
    let (old, new) = (by_name(old), by_name(new));
    for name in union(&old, &new) {
        let (old, new) = (old.get(name).copied(), new.get(name).copied());
        if same_subset || (old.is_some() && new.is_some()) {
            compare(name, name, old, new, &mut found);
        }
    }
    found
}

fn by_name(facts: Facts<'_>) -> BTreeMap<&str, &Value> {
    facts.iter().collect()
}

fn union<'a>(
    old: &BTreeMap<&'a str, &'a Value>,
    new: &BTreeMap<&'a str, &'a Value>,
) -> Vec<&'a str> {
    let mut names: Vec<&str> = old.keys().chain(new.keys()).copied().collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn compare(path: &str, name: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Changes) {
    let of_mounts = path.starts_with("mounts.") && VOLATILE_OF_MOUNTS.contains(&name);
    if old == new || VOLATILE.contains(&name) || of_mounts {
        return;
    }
    if let (Some(old), Some(new)) = (old.and_then(members), new.and_then(members)) {
        for name in union(&borrowed(&old), &borrowed(&new)) {
            let path = format!("{path}.{name}");
            compare(
                &path,
                name,
                old.get(name).copied(),
                new.get(name).copied(),
                found,
            );
        }
        return;
    }
    if let (Some(Value::Array(old)), Some(Value::Array(new))) = (old, new)
        && sorted(old) == sorted(new)
    {
        return;
    }
    if found.changes.len() == LIMIT {
        found.more += 1;
        return;
    }
    found.changes.push(Change {
        path: path.to_owned(),
        old: old.cloned(),
        new: new.cloned(),
    });
}

/// Returns the members of an object, or of a list of objects that each have a name.
fn members(value: &Value) -> Option<BTreeMap<String, &Value>> {
    match value {
        Value::Object(map) => Some(
            map.iter()
                .map(|(name, value)| (name.clone(), value))
                .collect(),
        ),
        Value::Array(list) if !list.is_empty() => {
            let named = list.iter().map(|item| Some((name_of(item)?, item)));
            let members: BTreeMap<String, &Value> = named.collect::<Option<_>>()?;
            (members.len() == list.len()).then_some(members)
        }
        _ => None,
    }
}

fn name_of(item: &Value) -> Option<String> {
    let name = NAMES.iter().find_map(|name| item.get(name)?.as_str())?;
    Some(name.to_owned())
}

fn borrowed<'a>(map: &'a BTreeMap<String, &'a Value>) -> BTreeMap<&'a str, &'a Value> {
    map.iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect()
}

fn sorted(list: &[Value]) -> Vec<String> {
    let mut texts: Vec<String> = list.iter().map(Value::to_string).collect();
    texts.sort_unstable();
    texts
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn found(old: &Value, new: &Value) -> Vec<String> {
        let none = Map::new();
        let facts = |value: &'_ Value| value.as_object().cloned().unwrap_or(none.clone());
        let (old, new) = (facts(old), facts(new));
        let shown = |value: Option<Value>| value.map_or("-".to_owned(), |value| value.to_string());
        let changes = changes(Facts::new(&old), Facts::new(&new))
            .changes
            .into_iter();
        changes
            .map(|c| format!("{}: {} → {}", c.path, shown(c.old), shown(c.new)))
            .collect()
    }

    #[test]
    fn what_changed_is_named_by_its_path() {
        let old = json!({
            "ansible_kernel": "6.1", "ansible_gone": 1, "ansible_date_time": {"epoch": "1"},
            "ansible_interfaces": ["lo", "eth0"], "ansible_eth0": {"mtu": 1500, "active": true},
            "ansible_mounts": [{"mount": "/", "size_total": 10, "size_available": 5, "block_used": 4}, {"mount": "/srv"}],
        });
        let new = json!({
            "ansible_kernel": "6.9", "ansible_new": [], "ansible_date_time": {"epoch": "2"},
            "ansible_interfaces": ["eth0", "lo"], "ansible_eth0": {"mtu": 9000, "active": true},
            "ansible_mounts": [{"mount": "/data"}, {"mount": "/", "size_total": 20, "size_available": 6, "block_used": 9}],
        });
        assert_eq!(
            found(&old, &new),
            [
                "eth0.mtu: 1500 → 9000",
                "gone: 1 → -",
                "kernel: \"6.1\" → \"6.9\"",
                "mounts./.size_total: 10 → 20",
                "mounts./data: - → {\"mount\":\"/data\"}",
                "mounts./srv: {\"mount\":\"/srv\"} → -",
                "new: - → []",
            ]
        );
        assert!(found(&old, &old).is_empty());
    }

    #[test]
    fn what_only_one_of_two_subsets_asked_for_is_no_change() {
        let all = json!({"ansible_gather_subset": ["all"], "ansible_kernel": "6.1", "ansible_memtotal_mb": 5});
        let few = json!({"ansible_gather_subset": ["min"], "ansible_kernel": "6.9"});
        assert_eq!(found(&all, &few), ["kernel: \"6.1\" → \"6.9\""]);
    }

    #[test]
    fn too_many_changes_are_counted() {
        let many: Map<String, Value> = (0..600)
            .map(|n| (format!("ansible_{n}"), json!(n)))
            .collect();
        let none = Map::new();
        let found = changes(Facts::new(&none), Facts::new(&many));
        assert_eq!((found.changes.len(), found.more), (500, 100));
    }
}
