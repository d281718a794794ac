//! Finds the keys of an `ansible.cfg` that have no effect on runs, because promansible sets an argument or an environment
//! variable that overrides them.

use std::path::PathBuf;

use crate::config;

/// What overrides a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// An environment variable.
    Environment(&'static str),
    /// A command-line argument.
    Argument(&'static str),
    /// A keyword of the play in `run.yml`.
    Play,
}

/// A key: its section, its name, what overrides it, and what to write instead.
type Key = (&'static str, &'static str, By, &'static str);

const KEYS: [Key; 27] = [
    (
        "defaults",
        "inventory",
        By::Argument("--inventory="),
        "set ansible.inventory",
    ),
    (
        "defaults",
        "forks",
        By::Argument("--forks="),
        "set ansible.forks",
    ),
    (
        "defaults",
        "remote_user",
        By::Argument("--user="),
        "ansible.user sets it",
    ),
    (
        "defaults",
        "private_key_file",
        By::Argument("--private-key="),
        "ansible.private_key_file sets it",
    ),
    (
        "defaults",
        "vault_password_file",
        By::Argument("--vault-password-file="),
        "ansible.vault_password_file sets it",
    ),
    (
        "privilege_escalation",
        "become_password_file",
        By::Argument("--become-password-file="),
        "ansible.become_password_file sets it",
    ),
    (
        "defaults",
        "connection_password_file",
        By::Argument("--connection-password-file="),
        "ansible.connection_password_file sets it",
    ),
    (
        "defaults",
        "roles_path",
        By::Environment("ANSIBLE_ROLES_PATH"),
        ROLES,
    ),
    (
        "defaults",
        "host_key_checking",
        By::Environment("ANSIBLE_HOST_KEY_CHECKING"),
        IN_ENVIRONMENT,
    ),
    (
        "ssh_connection",
        "host_key_checking",
        By::Environment("ANSIBLE_HOST_KEY_CHECKING"),
        IN_ENVIRONMENT,
    ),
    (
        "paramiko_connection",
        "host_key_checking",
        By::Environment("ANSIBLE_HOST_KEY_CHECKING"),
        IN_ENVIRONMENT,
    ),
    (
        "defaults",
        "callback_plugins",
        By::Environment("ANSIBLE_CALLBACK_PLUGINS"),
        BESIDE,
    ),
    (
        "defaults",
        "callbacks_enabled",
        By::Environment("ANSIBLE_CALLBACKS_ENABLED"),
        BESIDE,
    ),
    (
        "defaults",
        "callback_whitelist",
        By::Environment("ANSIBLE_CALLBACKS_ENABLED"),
        BESIDE,
    ),
    (
        "defaults",
        "collections_path",
        By::Environment("ANSIBLE_COLLECTIONS_PATH"),
        IN_ENVIRONMENT,
    ),
    (
        "defaults",
        "collections_paths",
        By::Environment("ANSIBLE_COLLECTIONS_PATH"),
        IN_ENVIRONMENT,
    ),
    (
        "defaults",
        "home",
        By::Environment("ANSIBLE_HOME"),
        OWN_FOLDER,
    ),
    (
        "defaults",
        "local_tmp",
        By::Environment("ANSIBLE_LOCAL_TEMP"),
        OWN_FOLDER,
    ),
    (
        "ssh_connection",
        "control_path_dir",
        By::Environment("ANSIBLE_SSH_CONTROL_PATH_DIR"),
        OWN_FOLDER,
    ),
    (
        "defaults",
        "retry_files_enabled",
        By::Environment("ANSIBLE_RETRY_FILES_ENABLED"),
        IN_ENVIRONMENT,
    ),
    (
        "defaults",
        "force_color",
        By::Environment("ANSIBLE_FORCE_COLOR"),
        IN_ENVIRONMENT,
    ),
    (
        "defaults",
        "nocolor",
        By::Environment("ANSIBLE_FORCE_COLOR"),
        IN_ENVIRONMENT,
    ),
    (
        "inventory",
        "any_unparsed_is_failed",
        By::Environment("ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED"),
        IN_ENVIRONMENT,
    ),
    (
        "inventory",
        "host_pattern_mismatch",
        By::Environment("ANSIBLE_HOST_PATTERN_MISMATCH"),
        IN_ENVIRONMENT,
    ),
    (
        "defaults",
        "inject_facts_as_vars",
        By::Environment("ANSIBLE_INJECT_FACT_VARS"),
        "facts are not variables here: in roles, write ansible_facts['NAME']",
    ),
    (
        "defaults",
        "gathering",
        By::Play,
        "set ansible.gather_facts, or gather_facts of a binding or schedule",
    ),
    (
        "privilege_escalation",
        "become",
        By::Play,
        "set ansible.become, or become of a binding or schedule",
    ),
];

const ROLES: &str =
    "roles are looked up in alert/roles, routine/roles and roles of ansible.playbook_dir";
const IN_ENVIRONMENT: &str = "to override it, set the variable in ansible.environment";
const BESIDE: &str =
    "set the variable in ansible.environment: its value is added to promansible's own";
const OWN_FOLDER: &str = "each run has a folder of its own";

/// A key of an `ansible.cfg` that has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ineffective {
    /// The line, from 1.
    pub line: usize,
    /// The key, and its section.
    pub key: String,
    /// What overrides it.
    pub by: String,
    /// What to do instead.
    pub help: &'static str,
}

/// Returns the `ansible.cfg` that runs use, if there is one.
pub fn config_file(settings: &config::Ansible) -> Option<PathBuf> {
    let own = settings.playbook_dir.join("ansible.cfg");
    let configured = settings
        .environment
        .get("ANSIBLE_CONFIG")
        .map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".ansible.cfg"));
    let system = PathBuf::from("/etc/ansible/ansible.cfg");
    if let Some(configured) = configured {
        return Some(configured);
    }
    let found = [Some(own), home, Some(system)];
    found.into_iter().flatten().find(|path| path.is_file())
}

/// Returns the keys in the text of an `ansible.cfg` that have no effect on runs.
pub fn ineffective(settings: &config::Ansible, text: &str) -> Vec<Ineffective> {
    let mut section = String::new();
    let mut found = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        // Indented lines continue the value above.
        if content.starts_with([' ', '\t', '#', ';']) {
            continue;
        }
        if let Some(name) = content
            .strip_prefix('[')
            .and_then(|rest| rest.split(']').next())
        {
            name.trim().clone_into(&mut section);
            continue;
        }
        let name = content.split(['=', ':']).next().unwrap_or_default();
        let name = name.trim().to_ascii_lowercase();
        let key = KEYS
            .iter()
            .find(|(of, key, ..)| *of == section && *key == name);
        let Some((_, _, by, help)) = key.filter(|(_, key, ..)| is_overridden(settings, key)) else {
            continue;
        };
        found.push(Ineffective {
            line,
            key: format!("[{section}] {name}"),
            by: match by {
                By::Environment(name) => format!("{name} in the environment of each run"),
                By::Argument(name) => format!("the argument {}", name.trim_end_matches('=')),
                By::Play => "the play that runs the roles".to_owned(),
            },
            help,
        });
    }
    found
}

/// Returns whether the key is overridden: some arguments are set only if their key in the configuration is.
fn is_overridden(settings: &config::Ansible, key: &str) -> bool {
    match key {
        "remote_user" => settings.user.is_some(),
        "private_key_file" => settings.private_key_file.is_some(),
        "vault_password_file" => settings.vault_password_file.is_some(),
        "become_password_file" => settings.become_password_file.is_some(),
        "connection_password_file" => settings.connection_password_file.is_some(),
        _ => true,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns the variables and arguments that promansible sets according to the table.
    pub(in super::super) fn said() -> (Vec<&'static str>, Vec<&'static str>) {
        let (mut variables, mut arguments) = (Vec::new(), Vec::new());
        for (_, _, by, _) in KEYS {
            match by {
                By::Environment(name) => variables.push(name),
                By::Argument(name) => arguments.push(name),
                By::Play => {}
            }
        }
        (variables, arguments)
    }

    fn settings(more: &str) -> config::Ansible {
        let text = format!("ansible: {{playbook_dir: p, inventory: [i]{more}}}");
        config::build("f.yml", &text, &config::Roles::default())
            .unwrap()
            .ansible
    }

    #[test]
    fn every_key_of_the_table_is_found_in_its_section_alone() {
        let all = settings(
            ", user: u, private_key_file: a, vault_password_file: a, become_password_file: a, connection_password_file: a",
        );
        for (section, key, ..) in KEYS {
            let text =
                format!("# {key} = 1\n[{section}]\n{key} = x\n  {key} = y\n[other]\n{key}=z\n");
            let found = ineffective(&all, &text);
            assert_eq!(found.len(), 1, "{section} {key}: {found:?}");
            assert_eq!(
                (found[0].line, found[0].key.as_str()),
                (3, format!("[{section}] {key}").as_str())
            );
        }
    }

    #[test]
    fn what_has_an_effect_is_not_named() {
        let text = "[defaults]\nremote_user = x\nprivate_key_file = k\nstdout_callback = yaml\ntimeout = 5\n\
                    FORKS: 3\n[ssh_connection]\npipelining = true\nssh_args = -C\n";
        let found = ineffective(&settings(""), text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].key, "[defaults] forks");
        assert_eq!(found[0].by, "the argument --forks");
        assert_eq!(
            ineffective(&settings(", user: u"), text)[0].key,
            "[defaults] remote_user"
        );
    }
}
