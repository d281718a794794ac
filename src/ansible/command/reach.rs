//! The command line that checks that Ansible reaches hosts, with the same login as a run and without any change.

use std::ffi::OsString;

use serde_json::{Value, json};

use super::{CommandLine, inventory_args, joined, login_args, program, vault_args};
use crate::ansible::environment::{self, Paths};
use crate::ansible::probe::Reach;
use crate::ansible::spec::{BuildError, RoleKind};
use crate::config;
use crate::model::inventory::as_source;

/// The time limits of a connection and of each task on a host, in seconds.
const CONNECT_SECONDS: u32 = 10;
const TASK_SECONDS: u32 = 30;

/// The maximum number of hosts in parallel: fewer than a run may have, because runs may be in progress.
const FORKS: u32 = 20;

/// Additional options of ssh. Without this option, ssh adds further keys that a known host offers to `known_hosts`.
const SSH_EXTRA_ARGS: &str = "ANSIBLE_SSH_EXTRA_ARGS";
const CHANGE_NOTHING: &str = "-o UpdateHostKeys=no";

/// Builds the command line that logs in to hosts. `has_extra_args` is set if `ansible.cfg` contains options of ssh, which
/// must stay in effect.
pub(in crate::ansible) fn build(
    settings: &config::Ansible,
    wanted: &Reach<'_>,
    paths: &Paths<'_>,
    name: &str,
    has_extra_args: bool,
) -> Result<CommandLine, BuildError> {
    if wanted.hosts.is_empty() {
        return Err(BuildError::NoHosts);
    }
    let play = paths.dir.join("reach.json");
    let mut files = vec![(
        play.clone(),
        playbook(wanted.hosts, wanted.r#become)
            .to_string()
            .into_bytes(),
    )];
    let mut args: Vec<OsString> = vec![play.into()];
    if !wanted.enrolled.is_empty() {
        let enrolled = paths.dir.join("enrolled.yml");
        args.push(joined("--inventory=", &enrolled));
        let source = as_source(wanted.enrolled).to_string();
        files.push((enrolled, source.into_bytes()));
    }
    args.extend(inventory_args(settings)?);
    args.extend(login_args(settings));
    args.push(format!("--forks={}", settings.forks.clamp(1, FORKS)).into());
    args.push(format!("--timeout={CONNECT_SECONDS}").into());
    args.extend(vault_args(settings));

    let mut env = environment::build(settings, RoleKind::Alert, paths, name);
    env.remove("ANSIBLE_FORCE_COLOR");
    env.insert("ANSIBLE_SSH_RETRIES".to_owned(), "0".into());
    match env.get_mut(SSH_EXTRA_ARGS) {
        Some(options) => {
            options.push(" ");
            options.push(CHANGE_NOTHING);
        }
        None if has_extra_args => {}
        None => drop(env.insert(SSH_EXTRA_ARGS.to_owned(), CHANGE_NOTHING.into())),
    }
    Ok(CommandLine {
        program: program(settings, "ansible-playbook"),
        args,
        env,
        cwd: settings.playbook_dir.clone(),
        dirs: paths.dirs(),
        files,
    })
}

/// Returns the play, as JSON, which is valid YAML: a login, then Python, then sudo. The callback only reports failures.
fn playbook(hosts: &[String], r#become: bool) -> Value {
    let mut tasks = vec![
        json!({"name": "login", "ansible.builtin.raw": "true", "become": false, "changed_when": false}),
        // Pipelining copies no file to the host. With sudo it may need a terminal, so sudo is a separate task.
        json!({"name": "python", "ansible.builtin.ping": {}, "become": false, "ignore_errors": true,
            "vars": {"ansible_pipelining": true}}),
    ];
    if r#become {
        tasks.push(json!({"name": "sudo", "ansible.builtin.raw": "true", "become": true, "changed_when": false}));
    }
    for task in &mut tasks {
        task["timeout"] = TASK_SECONDS.into();
    }
    tasks.push(json!({"name": "end", "ansible.builtin.assert": {"that": true, "quiet": true}, "become": false,
        "tags": ["promansible_end"]}));
    json!([{"name": "Log in and change nothing", "hosts": hosts, "gather_facts": false, "become": false, "tasks": tasks}])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sudo_is_only_tried_if_runs_use_it() {
        let names = |r#become| {
            let play = playbook(&["web1".to_owned()], r#become);
            let tasks = play[0]["tasks"].as_array().unwrap().clone();
            let names = tasks
                .iter()
                .map(|task| task["name"].as_str().unwrap().to_owned());
            names.collect::<Vec<_>>()
        };
        assert_eq!(names(false), ["login", "python", "end"]);
        assert_eq!(names(true), ["login", "python", "sudo", "end"]);
    }
}
