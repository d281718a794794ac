//! Finds the roles that the roles of bindings and schedules refer to by `dependencies`, `include_role` and
//! `import_role`.
//!
//! Files that cannot be read here, and templates, are left to Ansible.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::Config;
use crate::config::RoleKind;
use crate::config::spanned::parse;
use crate::config::vars::VarValue;

/// The maximum depth of folders of tasks to search.
const DEEPEST: usize = 5;

/// The maximum size of a file of tasks, in bytes. No person writes a larger one.
const LARGEST: u64 = 1 << 20;

/// The variable by which a configuration can set other folders of roles.
const ROLES_PATH: &str = "ANSIBLE_ROLES_PATH";

/// Returns the roles that are referred to and cannot be found, each as a sentence without a full stop.
pub fn missing_roles(config: &Config) -> impl Iterator<Item = String> {
    Search::all(config).missing.into_iter()
}

/// The folders of the roles that bindings and schedules lead to.
pub(super) fn reached_roles(config: &Config) -> BTreeSet<PathBuf> {
    Search::all(config).seen
}

struct Search {
    /// Where Ansible looks for roles, beside the folder of the role that names them.
    folders: Vec<PathBuf>,
    seen: BTreeSet<PathBuf>,
    missing: Vec<String>,
}

impl Search {
    /// From the roles of all bindings and schedules.
    fn all(config: &Config) -> Self {
        let mut search = Self {
            folders: Vec::new(),
            seen: BTreeSet::new(),
            missing: Vec::new(),
        };
        if config.ansible.environment.contains_key(ROLES_PATH) {
            return search;
        }
        let bindings = config.bindings.iter().flat_map(|binding| &binding.steps);
        let alert = bindings.flat_map(|step| &step.roles);
        let routine = config.schedules.iter().flat_map(|s| &s.work.roles);
        let dir = &config.ansible.playbook_dir;
        let below = |folder: &str| dir.join(folder).join("roles");
        search.folders = vec![
            below("alert"),
            below("routine"),
            dir.join("roles"),
            dir.clone(),
        ];
        for (kind, name) in alert
            .map(|name| (RoleKind::Alert, name))
            .chain(routine.map(|name| (RoleKind::Routine, name)))
        {
            search.role(below(kind.as_str()).join(name));
        }
        search
    }

    fn role(&mut self, folder: PathBuf) {
        let mut waiting = vec![folder];
        while let Some(folder) = waiting.pop() {
            if !self.seen.insert(folder.clone()) {
                continue;
            }
            for (file, name) in referenced_roles(&folder) {
                let beside = folder.parent().map(Path::to_owned);
                let mut places = self.folders.iter().chain(&beside);
                match places.find(|place| place.join(&name).is_dir()) {
                    Some(place) => waiting.push(place.join(&name)),
                    None => self.missing.push(format!(
                        "{}: the role {name:?} is not in any role folder: {}",
                        file.display(),
                        join_paths(&self.folders)
                    )),
                }
            }
        }
    }
}

fn join_paths(folders: &[PathBuf]) -> String {
    let shown = folders.iter().map(|folder| folder.display().to_string());
    shown.collect::<Vec<_>>().join(", ")
}

/// Returns the roles that a role refers to, each with the file.
fn referenced_roles(role: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for file in files(&role.join("meta"), 0) {
        let is_main = file.file_stem().is_some_and(|stem| stem == "main");
        let meta = yaml(&file).filter(|_| is_main).unwrap_or(Value::Null);
        let names = dependencies(&meta).map(str::to_owned);
        found.extend(names.map(|name| (file.clone(), name)));
    }
    for folder in ["tasks", "handlers"] {
        for file in files(&role.join(folder), 0) {
            let tasks = yaml(&file).unwrap_or(Value::Null);
            each_task_key(&tasks, &mut |key, value| {
                let name = included_role(key, value).map(str::to_owned);
                found.extend(name.map(|name| (file.clone(), name)));
            });
        }
    }
    found.retain(|(_, name)| is_static(name));
    found
}

/// Whether a name is that of a folder: not a template, a role of a collection, a path or a requirement.
fn is_static(name: &str) -> bool {
    !name.contains("{{") && name.matches('.').count() < 2 && !name.contains(['/', ',', '='])
}

/// Returns the names of the roles on which a role's `meta/main.yml` depends.
pub(super) fn dependencies(meta: &Value) -> impl Iterator<Item = &str> {
    let listed = meta["dependencies"].as_array().into_iter().flatten();
    listed.filter_map(|dependency| match dependency {
        Value::String(name) => Some(name.as_str()),
        // With a source, ansible-galaxy installs the role under its name.
        Value::Object(map) => ["role", "name"]
            .iter()
            .find_map(|key| map.get(*key).and_then(Value::as_str)),
        _ => None,
    })
}

/// Calls back with each key of each task and its value, also of the tasks in blocks.
pub(super) fn each_task_key(tasks: &Value, visit: &mut impl FnMut(&str, &Value)) {
    match tasks {
        Value::Array(items) => items.iter().for_each(|item| each_task_key(item, visit)),
        Value::Object(task) => {
            for (key, value) in task {
                visit(key, value);
                if matches!(key.as_str(), "block" | "rescue" | "always") {
                    each_task_key(value, visit);
                }
            }
        }
        _ => {}
    }
}

/// Returns the role that a task includes or imports, if this is the key of its module.
pub(super) fn included_role<'v>(key: &str, value: &'v Value) -> Option<&'v str> {
    let word = key.strip_prefix("ansible.builtin.").unwrap_or(key);
    let word = word.strip_prefix("ansible.legacy.").unwrap_or(word);
    let includes = matches!(word, "include_role" | "import_role");
    let name = value.get("name").or_else(|| value.get("role"));
    name.filter(|_| includes)?.as_str()
}

/// Returns the YAML files below a folder, sorted.
pub(super) fn files(folder: &Path, depth: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let ending = path.extension().and_then(|ending| ending.to_str());
        if path.is_dir() && depth < DEEPEST {
            found.append(&mut files(&path, depth + 1));
        } else if matches!(ending, Some("yml" | "yaml")) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What a YAML file holds; `None` where it cannot be read here.
pub(super) fn yaml(path: &Path) -> Option<Value> {
    let small = fs::metadata(path)
        .ok()
        .filter(|of| of.is_file() && of.len() <= LARGEST);
    small?;
    let text = fs::read_to_string(path).ok()?;
    let read: Option<VarValue> = parse(&path.display().to_string(), &text).ok()?;
    read.map(|VarValue(value)| value)
}

#[cfg(test)]
mod tests {
    use super::super::{Roles, build};
    use super::*;

    #[test]
    fn roles_that_lead_nowhere_are_named_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "alert/roles/a/meta/main.yml",
            "dependencies: [b, {role: gone, x: 1}, ns.col.c, {name: shared}]\n",
        );
        write(
            "alert/roles/a/tasks/main.yml",
            "- block:\n  - ansible.builtin.include_role: {name: b}\n  rescue:\n  - import_role: {name: lost}\n\
             - include_role: {name: '{{ x }}'}\n- debug: {msg: include_role}\n",
        );
        write(
            "routine/roles/b/tasks/main.yml",
            "- include_tasks: deep/more.yml\n",
        );
        write(
            "routine/roles/b/tasks/deep/more.yml",
            "- include_role:\n    name: away\n    tasks_from: x\n",
        );
        write("roles/shared/tasks/main.yml", "- include_role: {name: a}\n");
        write(
            "alert/roles/unused/meta/main.yml",
            "dependencies: [nowhere]\n",
        );
        let roles = Roles {
            alert: vec!["a".to_owned(), "unused".to_owned()],
            ..Roles::default()
        };
        let playbook = dir.path().display();
        let missing = |more: &str| {
            let text = format!(
                "ansible: {{playbook_dir: '{playbook}', inventory: [i]{more}}}\n\
                 bindings: [{{name: x, matchers: ['a=b'], roles: [a]}}]\n"
            );
            let config = build("f.yml", &text, &roles).unwrap();
            missing_roles(&config).collect::<Vec<_>>()
        };
        let mut found = missing("");
        found.sort();
        let begin = [
            format!(
                "{playbook}/alert/roles/a/meta/main.yml: the role \"gone\" is not in any role folder"
            ),
            format!(
                "{playbook}/alert/roles/a/tasks/main.yml: the role \"lost\" is not in any role folder"
            ),
            format!(
                "{playbook}/routine/roles/b/tasks/deep/more.yml: the role \"away\" is not in any role folder"
            ),
        ];
        assert_eq!(found.len(), begin.len(), "{found:?}");
        for (found, begin) in found.iter().zip(begin) {
            assert!(found.starts_with(&begin), "{found}");
        }
        assert!(missing(", environment: {ANSIBLE_ROLES_PATH: /r}").is_empty());
    }
}
