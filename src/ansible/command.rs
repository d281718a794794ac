//! What is typed on a run's behalf: program, arguments, environment and files. Pure, so that it can be read in a test.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::alert::{Alert, LabelSet, Status};
use crate::config;
use crate::run::{CONTROLLER, RunId, Trigger, Work};

use super::environment::{self, Paths};
use super::vars;

/// What `localhost` means for a run on the controller, whatever other sources say of it. It is the last source, and no
/// extra variable: that would also beat the connection of every host that a role delegates to. Modules and what runs
/// on in the background keep their files in the run's folder, which goes when the run ends, however it ends.
fn controller_inventory(paths: &Paths<'_>) -> Value {
    let tmp = paths.dir.join("tmp");
    json!({"all": {"hosts": {CONTROLLER: {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "ansible_remote_tmp": tmp.to_string_lossy(),
        "ansible_async_dir": tmp.to_string_lossy(),
    }}}})
}

/// Which folder a run's roles are looked up in first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleKind {
    /// `alert/roles`.
    Alert,
    /// `routine/roles`.
    Routine,
}

/// What a role is told of one alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertData {
    /// Firing or resolved.
    pub status: Status,
    /// Its labels.
    pub labels: LabelSet,
    /// Its annotations.
    pub annotations: LabelSet,
    /// When it began to fire, in RFC 3339.
    #[serde(rename = "startsAt")]
    pub starts_at: String,
    /// The hash of its labels, sixteen hexadecimal digits.
    pub fingerprint: String,
    /// The page of the rule that raised it.
    #[serde(rename = "generatorURL")]
    pub generator_url: String,
}

impl From<&Alert> for AlertData {
    fn from(alert: &Alert) -> Self {
        Self {
            status: alert.status,
            labels: alert.labels.clone(),
            annotations: alert.annotations.clone(),
            starts_at: alert
                .starts_at
                .to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
            fingerprint: alert.fingerprint.to_string(),
            generator_url: alert.generator_url.clone(),
        }
    }
}

/// One run, as the worker asks for it.
#[derive(Debug, Clone, Copy)]
pub struct Spec<'a> {
    /// The run's number; it names the run's folder and marks its processes.
    pub run: RunId,
    /// What made it.
    pub trigger: Trigger,
    /// The binding that made it, if an alert did.
    pub binding: Option<&'a str>,
    /// What to do.
    pub work: &'a Work,
    /// Where its roles live.
    pub kind: RoleKind,
    /// Exact inventory names; just [`CONTROLLER`] for a run on the controller.
    pub hosts: &'a [String],
    /// Each host's alerts. The roles run once for each alert of a host; where the whole map is empty they run once.
    pub alerts: &'a BTreeMap<String, Vec<AlertData>>,
}

/// A process that is ready to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The program: a path, or a name to look up in `PATH`.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its whole environment.
    pub env: BTreeMap<String, OsString>,
    /// Where it starts.
    pub cwd: PathBuf,
    /// Folders to make first, in this order.
    pub dirs: Vec<PathBuf>,
    /// Files to write first.
    pub files: Vec<(PathBuf, Vec<u8>)>,
}

/// Why a run cannot be put into a command line. Each means that something before this room let it through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Nothing to run on.
    #[error("the run has no hosts: want at least one exact inventory name")]
    NoHosts,
    /// Nothing to run.
    #[error("the run has no roles: want at least one")]
    NoRoles,
    /// A host's name that Ansible could read as something else than one host.
    #[error(
        "host {0:?} could be read as a pattern: want letters, digits, '.', '-' and '_', or an IP address, and no leading '__'"
    )]
    HostName(String),
    /// A role's name that could lead out of the roles' folders.
    #[error(
        "role {0:?}: want a name of letters, digits, '.', '-' and '_' that does not start with '.' or '-'"
    )]
    RoleName(String),
    /// A run on the controller names other hosts.
    #[error("a run on the controller is for {CONTROLLER:?} alone, found {0:?}")]
    Controller(Vec<String>),
    /// Alerts of a host that the run does not touch.
    #[error("there are alerts for {0:?}, which is not a host of the run")]
    StrayAlerts(String),
    /// A label's or annotation's name that Ansible keeps for itself.
    #[error(
        "alert of {host:?}: the name {name:?} starts with '__', which Ansible keeps for itself"
    )]
    ReservedLabel {
        /// The host.
        host: String,
        /// The name.
        name: String,
    },
    /// A variable that is ours, or that Ansible could not name.
    #[error(
        "variable {0:?}: want a letter or '_' and then letters, digits and '_', and no leading 'promansible_'"
    )]
    VariableName(String),
    /// A path that Ansible would read as a list of hosts.
    #[error(
        "inventory {0:?} holds a comma, which makes it a list of hosts for Ansible: want a path without"
    )]
    InventoryPath(PathBuf),
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
    args.extend(inventory_args(settings)?);
    let controller = paths.dir.join("controller.yml");
    if spec.work.controller {
        args.push(joined("--inventory=", &controller));
    }
    args.extend(["--extra-vars".into(), joined("@", &vars_file)]);
    if spec.work.check {
        args.extend(["--check".into(), "--diff".into()]);
    }
    // Where a task has nothing to do it is left out by its tag: a condition would cost a process per host.
    let idle = [
        ("promansible_facts", !spec.work.gather_facts),
        ("promansible_rounds", vars::rounds(spec) == 1),
    ];
    let idle = idle.iter().filter(|(_, idle)| *idle);
    args.extend(idle.map(|(tag, _)| format!("--skip-tags={tag}").into()));
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
    args.push(format!("--forks={}", settings.forks.max(1)).into());
    args.extend(vault_args(settings));

    let mut files = vec![(vars_file, vars.to_string().into_bytes())];
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

/// The program that lists the inventory.
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
    Ok(asking(settings, paths, name, args))
}

/// Builds the command line that prints which ansible-core this is.
#[allow(clippy::unnecessary_wraps)] // one kind with `build_list`
pub(super) fn build_version(
    settings: &config::Ansible,
    paths: &Paths<'_>,
    name: &str,
) -> Result<CommandLine, BuildError> {
    Ok(asking(settings, paths, name, vec!["--version".into()]))
}

fn asking(
    settings: &config::Ansible,
    paths: &Paths<'_>,
    name: &str,
    args: Vec<OsString>,
) -> CommandLine {
    let mut env = environment::build(settings, RoleKind::Alert, paths, name);
    // Colours would end up in the JSON; and no play means no events.
    env.remove("ANSIBLE_FORCE_COLOR");
    env.remove("PROMANSIBLE_EVENTS");
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

fn vault_args(settings: &config::Ansible) -> impl Iterator<Item = OsString> {
    settings
        .vault_password_file
        .iter()
        .map(|path| joined("--vault-password-file=", path))
}

fn joined(before: &str, path: &Path) -> OsString {
    let mut text = OsString::from(before);
    text.push(path);
    text
}

#[cfg(test)]
mod tests;
