//! Reserved names of variables.
//!
//! An extra variable overrides all others. So a name that Ansible sets itself would send a run to another host
//! (`inventory_hostname` is the address of a host that has no other), hide the subject of a play, or break it.
//!
//! *Source*: "Special Variables" of Ansible's documentation, `ansible.vars.reserved` and `ansible.constants` of
//! ansible-core 2.16 and 2.19; `tests/ansible/reserved.rs` compares.

use serde_json::Value;

use super::values::is_identifier;
use crate::model::inventory::is_template;
use crate::model::run::Vars;

/// The names that Ansible always sets itself in every play. Those that begin with `ansible_` are in [`MAGIC`].
const SPECIAL: [&str; 17] = [
    "delegated_vars",
    "environment",
    "group_names",
    "groups",
    "hostvars",
    "inventory_dir",
    "inventory_file",
    "inventory_hostname",
    "inventory_hostname_short",
    "item",
    "omit",
    "play_hosts",
    "playbook_dir",
    "role_name",
    "role_path",
    "role_uuid",
    "vars",
];

/// The same for names that begin with `ansible_`, and the address: as an extra variable, it would apply to all hosts.
const MAGIC: [&str; 22] = [
    "ansible_async_path",
    "ansible_check_mode",
    "ansible_collection_name",
    "ansible_config_file",
    "ansible_delegated_vars",
    "ansible_dependent_role_names",
    "ansible_diff_mode",
    "ansible_facts",
    "ansible_forks",
    "ansible_host",
    "ansible_index_var",
    "ansible_inventory_sources",
    "ansible_limit",
    "ansible_local",
    "ansible_playbook_python",
    "ansible_run_tags",
    "ansible_search_path",
    "ansible_skip_tags",
    "ansible_ssh_host",
    "ansible_verbosity",
    "ansible_version",
    "role_names",
];

/// The prefixes of such names.
const MAGIC_BEGINNINGS: [&str; 9] = [
    "_ansible_",
    "ansible_failed_",
    "ansible_loop",
    "ansible_parent_role_",
    "ansible_play_",
    "ansible_role_",
    "delegated_vars",
    "hostvars",
    "inventory_hostname",
];

/// Keywords of plays and tasks, and functions of templates. Ansible warns about variables with these names, and a
/// template that calls the function gets the variable instead.
const KEYWORDS: [&str; 78] = [
    "action",
    "always",
    "any_errors_fatal",
    "args",
    "async",
    "async_val",
    "become",
    "become_exe",
    "become_flags",
    "become_method",
    "become_user",
    "block",
    "changed_when",
    "check_mode",
    "collections",
    "connection",
    "cycler",
    "debugger",
    "delay",
    "delegate_facts",
    "delegate_to",
    "dict",
    "diff",
    "fact_path",
    "failed_when",
    "force_handlers",
    "gather_facts",
    "gather_subset",
    "gather_timeout",
    "handlers",
    "hosts",
    "ignore_errors",
    "ignore_unreachable",
    "joiner",
    "lipsum",
    "local_action",
    "lookup",
    "loop",
    "loop_control",
    "loop_with",
    "max_fail_percentage",
    "module_defaults",
    "name",
    "namespace",
    "no_log",
    "notify",
    "now",
    "order",
    "poll",
    "port",
    "post_tasks",
    "pre_tasks",
    "q",
    "query",
    "range",
    "register",
    "remote_user",
    "rescue",
    "retries",
    "roles",
    "run_once",
    "serial",
    "strategy",
    "tags",
    "tasks",
    "throttle",
    "timeout",
    "undef",
    "until",
    "vars_files",
    "vars_prompt",
    "when",
    "with_",
    "debug",
    "finalize",
    "import_playbook",
    "include",
    "listen",
];

/// Returns why not even a configuration file may set a variable of this name: it would always be a mistake.
pub(super) fn never_meant(name: &str) -> Option<&'static str> {
    let is_magic = SPECIAL.contains(&name)
        || MAGIC.contains(&name)
        || MAGIC_BEGINNINGS.iter().any(|begin| name.starts_with(begin));
    is_magic.then_some("is set by Ansible itself; choose another name")
}

/// Returns why a variable of this name is not accepted over the API, if so.
pub fn defect_of_name(name: &str) -> Option<&'static str> {
    if !is_identifier(name) {
        return Some(
            "is not a valid variable name; use letters, digits and _, not starting with a digit",
        );
    }
    if name.starts_with("promansible_") {
        return Some("is reserved for promansible; choose another name");
    }
    if name.starts_with("__") {
        return Some("is reserved for Ansible; choose another name");
    }
    if let Some(why) = never_meant(name) {
        return Some(why);
    }
    if name.starts_with("ansible_") {
        return Some(
            "controls Ansible itself, so only the inventory and the configuration may set it",
        );
    }
    KEYWORDS
        .contains(&name)
        .then_some("is an Ansible keyword; choose another name")
}

/// Returns why variables from the API are not accepted, if so.
pub(super) fn defect_of_vars(vars: &Vars) -> Option<String> {
    vars.iter().find_map(|(name, value)| {
        let why = defect_of_name(name).or_else(|| defect_of_keys(value))?;
        Some(format!("{name:?} {why}"))
    })
}

/// Returns why the keys within the value of a variable are not accepted, if so.
pub(super) fn defect_of_keys(value: &Value) -> Option<&'static str> {
    has_reserved_key(value).then_some(
        "contains a key that begins with __, which is reserved for Ansible; choose another key",
    )
}

fn has_reserved_key(value: &Value) -> bool {
    match value {
        Value::Object(map) => map
            .iter()
            .any(|(key, value)| key.starts_with("__") || has_reserved_key(value)),
        Value::Array(items) => items.iter().any(has_reserved_key),
        _ => false,
    }
}

/// Returns why these variables from the API must not be passed to an ansible-core before 2.19, if so: it may treat text
/// in them as a template, and a template can run programs on the controller.
pub fn template_in(vars: &Vars) -> Option<String> {
    let (name, _) = vars
        .iter()
        .find(|(name, value)| is_template(name) || has_template(value))?;
    Some(format!(
        "{name:?} contains text that this version of ansible-core may treat as a template: use ansible-core 2.19 or newer, or text without {{{{, {{%, {{# and #jinja2:"
    ))
}

fn has_template(value: &Value) -> bool {
    match value {
        Value::String(text) => is_template(text),
        Value::Array(items) => items.iter().any(has_template),
        Value::Object(map) => map
            .iter()
            .any(|(key, value)| is_template(key) || has_template(value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vars(value: &Value) -> Vars {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn no_name_that_ansible_sets_is_taken() {
        for name in [
            "inventory_hostname",
            "inventory_hostname_of",
            "ansible_play_hosts_all",
            "ansible_connection",
            "_ansible_delegated_vars",
            "delegated_vars",
            "hostvars",
            "environment",
            "item",
            "role_names",
            "remote_user",
            "lookup",
            "promansible_hosts",
            "__x",
            "a-b",
            "delegated_vars['ansible_host']",
        ] {
            assert!(defect_of_name(name).is_some(), "{name}");
        }
        for name in ["disk_path", "inventory", "host", "ansible", "_mine"] {
            assert_eq!(defect_of_name(name), None, "{name}");
        }
        assert_eq!(
            defect_of_vars(&vars(&json!({"fine": 1, "groups": {}}))).unwrap(),
            "\"groups\" is set by Ansible itself; choose another name"
        );
    }

    #[test]
    fn a_file_may_steer_ansible_but_not_say_who_a_host_is() {
        for name in ["ansible_python_interpreter", "ansible_user", "port", "q"] {
            assert_eq!(never_meant(name), None, "{name}");
        }
        for name in ["inventory_hostname", "ansible_host", "ansible_play_hosts"] {
            assert!(never_meant(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_template_is_found_at_any_depth() {
        for value in [
            json!({"a": "{{ x }}"}),
            json!({"a": [{"b": ["{% if %}"]}]}),
            json!({"a": {"{{ lookup('pipe', 'id') }}": 1}}),
            json!({"a": "#jinja2: x"}),
        ] {
            let why = template_in(&vars(&value)).unwrap();
            assert!(why.starts_with(
                "\"a\" contains text that this version of ansible-core may treat as a template"
            ));
        }
        assert_eq!(template_in(&vars(&json!({"a": {"b": "{ x }"}}))), None);
    }
}
