//! Builds the command line of a run: program, arguments, environment and files. Pure, so that tests can compare it as a
//! whole.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::config;
use crate::model::inventory::as_source;
use crate::model::run::{CONTROLLER, Narrowing};

use super::environment::{self, Paths};
use super::spec::{BuildError, RoleKind, Spec};
use super::vars;

pub(super) mod reach;

/// Returns the inventory source that defines `localhost` for a run on the controller, overriding other sources. It is the
/// last source, not an extra variable: that would also override the connection of every host that a role delegates to.
/// Modules and background jobs keep their files in the run's folder, which is removed at the end of the run in any case.
fn controller_inventory(paths: &Paths<'_>) -> Value {
    let tmp = paths.dir.join("tmp");
    json!({"all": {"hosts": {CONTROLLER: {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "ansible_remote_tmp": tmp.to_string_lossy(),
        "ansible_async_dir": tmp.to_string_lossy(),
    }}}})
}

/// The command line, environment and files of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The program: a path, or a name to look up in `PATH`.
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// The complete environment.
    pub env: BTreeMap<String, OsString>,
    /// The working directory.
    pub cwd: PathBuf,
    /// Folders to create first, in this order.
    pub dirs: Vec<PathBuf>,
    /// Files to write first.
    pub files: Vec<(PathBuf, Vec<u8>)>,
}

/// Builds the command line of a run.
pub fn build(
    settings: &config::Ansible,
    spec: &Spec<'_>,
    paths: &Paths<'_>,
) -> Result<CommandLine, BuildError> {
    let vars = vars::build(spec)?;
    let vars_file = paths.dir.join("vars.json");
    let mut args: Vec<OsString> = vec![settings.playbook_dir.join("run.yml").into()];
    // The first source, so that other sources override its variables.
    let enrolled = paths.dir.join("enrolled.yml");
    if !spec.enrolled.is_empty() {
        args.push(joined("--inventory=", &enrolled));
    }
    args.extend(inventory_args(settings)?);
    let controller = paths.dir.join("controller.yml");
    if spec.work.controller {
        args.push(joined("--inventory=", &controller));
    }
    args.extend(["--extra-vars".into(), joined("@", &vars_file)]);
    if spec.work.check {
        args.extend(["--check".into(), "--diff".into()]);
    }
    // A task that has nothing to do is skipped by its tag: a condition would cost a process for each host.
    let idle = [
        ("promansible_facts", !spec.work.gather_facts),
        ("promansible_rounds", vars::rounds(spec) == 1),
    ];
    let idle = idle.iter().filter(|(_, idle)| *idle);
    args.extend(idle.map(|(tag, _)| format!("--skip-tags={tag}").into()));
    args.extend(narrowing_args(&spec.work.narrowing));
    args.extend(login_args(settings));
    args.push(format!("--forks={}", settings.forks.max(1)).into());
    args.extend(vault_args(settings));

    let mut files = vec![(vars_file, vars.to_string().into_bytes())];
    if !spec.enrolled.is_empty() {
        let source = as_source(spec.enrolled).to_string();
        files.push((enrolled, source.into_bytes()));
    }
    if spec.work.controller {
        files.push((
            controller,
            controller_inventory(paths).to_string().into_bytes(),
        ));
    }
    Ok(CommandLine {
        program: program(settings, "ansible-playbook"),
        args,
        env: environment::build(settings, spec.kind, paths, &spec.run.to_string()),
        cwd: settings.playbook_dir.clone(),
        dirs: paths.dirs(),
        files,
    })
}

/// The name of the program that lists the inventory.
pub(super) const INVENTORY: &str = "ansible-inventory";

/// Builds the command line that prints the inventory as JSON.
///
/// *Source*: `ansible-inventory --list`, the protocol of inventory scripts.
pub(super) fn build_list(
    settings: &config::Ansible,
    paths: &Paths<'_>,
    name: &str,
) -> Result<CommandLine, BuildError> {
    let mut args: Vec<OsString> = vec!["--list".into()];
    args.extend(inventory_args(settings)?);
    args.push(joined("--playbook-dir=", &settings.playbook_dir));
    args.extend(vault_args(settings));
    Ok(inventory_command(settings, paths, name, args))
}

/// Builds the command line that prints the version of ansible-core.
#[allow(clippy::unnecessary_wraps)] // same type as `build_list`
pub(super) fn build_version(
    settings: &config::Ansible,
    paths: &Paths<'_>,
    name: &str,
) -> Result<CommandLine, BuildError> {
    Ok(inventory_command(
        settings,
        paths,
        name,
        vec!["--version".into()],
    ))
}

fn inventory_command(
    settings: &config::Ansible,
    paths: &Paths<'_>,
    name: &str,
    args: Vec<OsString>,
) -> CommandLine {
    let mut env = environment::build(settings, RoleKind::Alert, paths, name);
    // Colours would get into the JSON, and without a play there are no events.
    env.remove("ANSIBLE_FORCE_COLOR");
    env.remove("PROMANSIBLE_EVENTS");
    // Both change the output: verbosity adds lines before the JSON, and export changes which variables are in it.
    for name in ["ANSIBLE_VERBOSITY", "ANSIBLE_INVENTORY_EXPORT"] {
        env.insert(name.to_owned(), "0".into());
    }
    CommandLine {
        program: program(settings, INVENTORY),
        args,
        env,
        cwd: settings.playbook_dir.clone(),
        dirs: paths.dirs(),
        files: Vec::new(),
    }
}

fn program(settings: &config::Ansible, name: &str) -> PathBuf {
    settings
        .bin_dir
        .as_ref()
        .map_or_else(|| name.into(), |dir| dir.join(name))
}

fn inventory_args(settings: &config::Ansible) -> Result<Vec<OsString>, BuildError> {
    settings
        .inventory
        .iter()
        .map(|path| {
            if path.as_os_str().as_encoded_bytes().contains(&b',') {
                return Err(BuildError::InventoryPath(path.clone()));
            }
            Ok(joined("--inventory=", path))
        })
        .collect()
}

/// Returns the arguments for the login on a host: the user, and the files of keys and passwords.
fn login_args(settings: &config::Ansible) -> Vec<OsString> {
    let mut args = Vec::new();
    if let Some(user) = &settings.user {
        args.push(format!("--user={user}").into());
    }
    for (option, path) in [
        ("--private-key=", &settings.private_key_file),
        ("--become-password-file=", &settings.become_password_file),
        (
            "--connection-password-file=",
            &settings.connection_password_file,
        ),
    ] {
        args.extend(path.iter().map(|path| joined(option, path)));
    }
    args
}

fn narrowing_args(narrowing: &Narrowing) -> Vec<OsString> {
    let mut args = Vec::new();
    for (option, tags) in [
        ("--tags", &narrowing.tags),
        ("--skip-tags", &narrowing.skip_tags),
    ] {
        if !tags.is_empty() {
            args.push(format!("{option}={}", tags.join(",")).into());
        }
    }
    if narrowing.verbosity > 0 {
        args.push(format!("-{}", "v".repeat(narrowing.verbosity.into())).into());
    }
    args
}

fn vault_args(settings: &config::Ansible) -> impl Iterator<Item = OsString> {
    let one = settings.vault_password_file.iter();
    let one = one.map(|path| joined("--vault-password-file=", path));
    let identities = settings.vault_identities.iter();
    one.chain(identities.map(|of| joined(&format!("--vault-id={}@", of.id), &of.password_file)))
}

fn joined(before: &str, path: &Path) -> OsString {
    let mut text = OsString::from(before);
    text.push(path);
    text
}

#[cfg(test)]
mod tests;
