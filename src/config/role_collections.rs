//! Finds the collections that the roles of bindings and schedules need: from the fully qualified names of modules and roles
//! (`NAMESPACE.COLLECTION.NAME`) in their files, and from requirements files.
//!
//! Names that only appear in templates (filters, lookups) are not found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::Config;
use crate::config::role_links::{
    dependencies, each_task_key, files, included_role, reached_roles, yaml,
};

/// The collections that are part of ansible-core.
const BUILT_IN: [&str; 2] = ["ansible.builtin", "ansible.legacy"];

/// The requirements files, below `playbook_dir`.
const REQUIREMENTS: [&str; 3] = [
    "requirements.yml",
    "collections/requirements.yml",
    "roles/requirements.yml",
];

/// Returns the needed collections, each with the first file that names it.
pub fn needed_collections(config: &Config) -> BTreeMap<String, PathBuf> {
    let mut needed = BTreeMap::new();
    for role in reached_roles(config) {
        for folder in ["tasks", "handlers", "meta"] {
            for file in files(&role.join(folder), 0) {
                let mut names = Vec::new();
                let read = yaml(&file).unwrap_or(Value::Null);
                match folder {
                    "meta" => of_meta(&read, &mut names),
                    _ => of_tasks(&read, &mut names),
                }
                note(&file, &names, &mut needed);
            }
        }
    }
    for file in REQUIREMENTS.map(|name| config.ansible.playbook_dir.join(name)) {
        let read = yaml(&file).unwrap_or(Value::Null);
        let listed = read["collections"].as_array().into_iter().flatten();
        let names = listed.filter_map(|of| of.as_str().or_else(|| of["name"].as_str()));
        let names = names.filter(|name| name.matches('.').count() == 1);
        let names: Vec<String> = names.map(|name| format!("{name}.")).collect();
        note(&file, &names, &mut needed);
    }
    needed
}

fn note(file: &Path, names: &[String], needed: &mut BTreeMap<String, PathBuf>) {
    for name in names.iter().filter_map(|name| collection(name)) {
        if !BUILT_IN.contains(&&*name) && !needed.contains_key(&name) {
            needed.insert(name, file.to_owned());
        }
    }
}

/// Returns the collection of a fully qualified name; `None` for any other name.
fn collection(name: &str) -> Option<String> {
    let mut parts = name.splitn(3, '.');
    let (namespace, collection, _) = (parts.next()?, parts.next()?, parts.next()?);
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !part.starts_with(|c: char| c.is_ascii_digit())
    };
    (is_part(namespace) && is_part(collection)).then(|| format!("{namespace}.{collection}"))
}

fn of_tasks(tasks: &Value, names: &mut Vec<String>) {
    each_task_key(tasks, &mut |key, value| {
        names.push(key.to_owned());
        names.extend(included_role(key, value).map(str::to_owned));
        match (key.rsplit('.').next(), value) {
            (Some("action" | "local_action"), Value::String(action)) => {
                names.extend(action.split(' ').next().map(str::to_owned));
            }
            (Some("collections"), Value::Array(list)) => listed(list, names),
            _ => {}
        }
    });
}

fn of_meta(meta: &Value, names: &mut Vec<String>) {
    if let Some(list) = meta["collections"].as_array() {
        listed(list, names);
    }
    names.extend(dependencies(meta).map(str::to_owned));
}

/// Adds names of collections, with a dot at the end like the beginning of a fully qualified name.
fn listed(list: &[Value], names: &mut Vec<String>) {
    let of = list.iter().filter_map(Value::as_str);
    names.extend(of.map(|name| format!("{name}.")));
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{Roles, build};
    use super::*;

    #[test]
    fn collections_are_needed_by_their_modules_their_roles_and_requirements() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "alert/roles/a/tasks/main.yml",
            "- ansible.builtin.command: id\n- block:\n  - {name: x.y.z, community.general.ufw: {state: enabled}}\n\
             - action: ansible.posix.mount path=/\n- include_role: {name: acme.web.restart}\n- include_role: {name: b}\n",
        );
        write(
            "alert/roles/a/meta/main.yml",
            "collections: [acme.meta]\ndependencies: [acme.dep.role]\n",
        );
        write(
            "routine/roles/b/handlers/main.yml",
            "- acme.later.reload:\n",
        );
        write("alert/roles/unused/tasks/main.yml", "- no.body.asks:\n");
        write(
            "requirements.yml",
            "collections: [{name: acme.wanted, version: 1}, 'https://x/y.git']\n",
        );
        let roles = Roles {
            alert: vec!["a".to_owned()],
            ..Roles::default()
        };
        let playbook = dir.path().display();
        let text = format!(
            "ansible: {{playbook_dir: '{playbook}', inventory: [i]}}\n\
             bindings: [{{name: x, matchers: ['a=b'], roles: [a]}}]\n"
        );
        let needed = needed_collections(&build("f.yml", &text, &roles).unwrap());
        let names: Vec<&str> = needed.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "acme.dep",
                "acme.later",
                "acme.meta",
                "acme.wanted",
                "acme.web",
                "ansible.posix",
                "community.general",
            ]
        );
        assert!(needed["ansible.posix"].ends_with("alert/roles/a/tasks/main.yml"));
    }
}
