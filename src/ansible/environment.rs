//! Builds the environment of a run: complete, and independent of how promansible was started.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::config;

use super::spec::RoleKind;

/// The environment variable that marks every process of a run and its descendants: `PROMANSIBLE_RUN=<store>:<run>`.
pub const MARKER: &str = "PROMANSIBLE_RUN";

/// The prefix of folder names of processes that list the inventory. The folder of a run is named by the number of the run.
pub(super) const LISTING: &str = "inventory-";

/// The variables that a run inherits from promansible's own environment.
const INHERITED: [&str; 4] = ["HOME", "PATH", "SSH_AUTH_SOCK", "USER"];

/// The paths and the inherited environment of a run. All paths are absolute.
#[derive(Debug, Clone)]
pub struct Paths<'a> {
    /// The folder of the run, removed when the run ends.
    pub dir: PathBuf,
    /// The id of the store, which distinguishes the processes of two promansibles on one machine.
    pub store: &'a str,
    /// The environment to inherit from; only a few variables are used.
    pub base: &'a BTreeMap<String, OsString>,
    /// Whether `playbook_dir` contains an `ansible.cfg`.
    pub has_config: bool,
}

impl Paths<'_> {
    /// Returns the path of the pipe to which the callback plugin writes its events.
    pub(super) fn events(&self) -> PathBuf {
        self.dir.join("events")
    }

    pub(super) fn dirs(&self) -> Vec<PathBuf> {
        ["home", "tmp", "cp"]
            .map(|name| self.dir.join(name))
            .to_vec()
    }
}

/// The variables that no configuration may change. If facts were variables, root on one managed host could return facts
/// that override the name by which Ansible connects (`inventory_hostname`), or a role's option, and so become root on every
/// other host.
const FIXED: [(&str, &str); 1] = [("ANSIBLE_INJECT_FACT_VARS", "False")];

/// Builds the complete environment. The configuration's `environment` is applied late and may override everything but
/// `PROMANSIBLE_…`, the callback plugin, and the variables in [`FIXED`]. Ansible prefers the environment to every
/// `ansible.cfg`.
pub(super) fn build(
    settings: &config::Ansible,
    kind: RoleKind,
    paths: &Paths<'_>,
    run: &str,
) -> BTreeMap<String, OsString> {
    let mut env: BTreeMap<String, OsString> = INHERITED
        .iter()
        .filter_map(|&name| Some((name.to_owned(), paths.base.get(name)?.clone())))
        .collect();
    let playbook = &settings.playbook_dir;
    let mut set = |name: &str, value: OsString| env.insert(name.to_owned(), value);

    // Ansible exits with 1 if the locale is not UTF-8.
    set("LANG", "C.UTF-8".into());
    set("LC_ALL", "C.UTF-8".into());
    set("TMPDIR", paths.dir.join("tmp").into());
    set("ANSIBLE_HOME", paths.dir.join("home").into());
    set("ANSIBLE_LOCAL_TEMP", paths.dir.join("tmp").into());
    set_control_path(&mut set, &paths.dir.join("cp"));
    // ANSIBLE_HOME also moves the folder of installed collections: restore it.
    if let Some(home) = paths.base.get("HOME") {
        let own = Path::new(home).join(".ansible/collections");
        set(
            "ANSIBLE_COLLECTIONS_PATH",
            list([&own, Path::new("/usr/share/ansible/collections")]),
        );
    }
    if paths.has_config {
        set("ANSIBLE_CONFIG", playbook.join("ansible.cfg").into());
    }
    let callbacks = playbook.join("plugins/callback");
    set("ANSIBLE_CALLBACK_PLUGINS", callbacks.clone().into());
    set("ANSIBLE_CALLBACKS_ENABLED", "promansible".into());
    let (alert, routine) = (playbook.join("alert/roles"), playbook.join("routine/roles"));
    set(
        "ANSIBLE_ROLES_PATH",
        match kind {
            RoleKind::Alert => list([&alert, &routine]),
            RoleKind::Routine => list([&routine, &alert]),
        },
    );
    // By default Ansible continues, and exits with 0, if no host matches or an inventory script crashed.
    set("ANSIBLE_HOST_PATTERN_MISMATCH", "error".into());
    set("ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED", "1".into());
    set("ANSIBLE_HOST_KEY_CHECKING", "1".into());
    set("ANSIBLE_RETRY_FILES_ENABLED", "0".into());
    set("ANSIBLE_FORCE_COLOR", "1".into());
    for (name, value) in &settings.environment {
        match name.as_str() {
            // Without promansible's callback nothing would be known of a run: other callbacks are added to it.
            "ANSIBLE_CALLBACKS_ENABLED" => set(name, format!("promansible,{value}").into()),
            "ANSIBLE_CALLBACK_PLUGINS" => set(name, list([&callbacks, Path::new(value)])),
            name if name.starts_with("PROMANSIBLE_") => None,
            name => set(name, value.into()),
        };
    }
    for (name, value) in FIXED {
        set(name, value.into());
    }
    set(MARKER, marker(paths.store, run).into());
    set("PROMANSIBLE_EVENTS", paths.events().into());
    env
}

/// Returns the value of [`MARKER`] for a run.
pub(super) fn marker(store: &str, run: &str) -> String {
    format!("{store}:{run}")
}

/// Returns whether this value of [`MARKER`] belongs to a process that lists the inventory.
pub fn is_listing(mark: Option<&OsStr>) -> bool {
    let mark = mark.and_then(OsStr::to_str).unwrap_or_default();
    mark.rsplit_once(':')
        .is_some_and(|(_, run)| run.starts_with(LISTING))
}

/// Sets the folder for ssh's control sockets. The name of a socket has ten characters, and its temporary name seventeen
/// more; the path of a socket is limited to 107 bytes. If the path is too long, hosts are reached without a shared
/// connection.
fn set_control_path(set: &mut impl FnMut(&str, OsString) -> Option<OsString>, dir: &Path) {
    const LONGEST: usize = 107 - "/0123456789".len() - 17;
    set("ANSIBLE_SSH_CONTROL_PATH_DIR", dir.into());
    if dir.as_os_str().len() > LONGEST {
        set(
            "ANSIBLE_SSH_ARGS",
            "-C -o ControlMaster=no -o ControlPath=none".into(),
        );
    }
}

fn list(paths: [&Path; 2]) -> OsString {
    let mut text = OsString::new();
    for path in paths {
        if !text.is_empty() {
            text.push(":");
        }
        text.push(path);
    }
    text
}
