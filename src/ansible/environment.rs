//! The environment of a run: complete, and the same wherever promansible was started from.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::config;

use super::spec::RoleKind;

/// Marks every process of a run, and what those start: `PROMANSIBLE_RUN=<store>:<run>`.
pub const MARKER: &str = "PROMANSIBLE_RUN";

/// How the folder of a process begins that lists the inventory; a run's folder is its number.
pub(super) const LISTING: &str = "inventory-";

/// What a run inherits from promansible's own environment.
const INHERITED: [&str; 4] = ["HOME", "PATH", "SSH_AUTH_SOCK", "USER"];

/// Where a run keeps its things, and what it inherits. Every path is absolute.
#[derive(Debug, Clone)]
pub struct Paths<'a> {
    /// The run's own folder; it goes when the run ends.
    pub dir: PathBuf,
    /// The store's id, so that two promansibles on one machine tell their processes apart.
    pub store: &'a str,
    /// The environment to inherit from; only a few names are taken.
    pub base: &'a BTreeMap<String, OsString>,
    /// Whether `playbook_dir` holds an `ansible.cfg`.
    pub has_config: bool,
}

impl Paths<'_> {
    /// The pipe that the callback writes its events to.
    pub(super) fn events(&self) -> PathBuf {
        self.dir.join("events")
    }

    pub(super) fn dirs(&self) -> Vec<PathBuf> {
        ["home", "tmp", "cp"]
            .map(|name| self.dir.join(name))
            .to_vec()
    }
}

/// What no configuration may change. Were facts variables, root on one managed host could answer any module with the
/// name by which Ansible connects (`inventory_hostname`), or with a role's option, and so be root on every other host.
const FIXED: [(&str, &str); 1] = [("ANSIBLE_INJECT_FACT_VARS", "False")];

/// Builds the whole environment. The configuration's own `environment` comes late and may override all but
/// `PROMANSIBLE_…`, our callback, and what keeps hosts apart. Ansible prefers the environment to every `ansible.cfg`.
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

    // Anything but a UTF-8 locale ends Ansible with 1.
    set("LANG", "C.UTF-8".into());
    set("LC_ALL", "C.UTF-8".into());
    set("TMPDIR", paths.dir.join("tmp").into());
    set("ANSIBLE_HOME", paths.dir.join("home").into());
    set("ANSIBLE_LOCAL_TEMP", paths.dir.join("tmp").into());
    set_control_path(&mut set, &paths.dir.join("cp"));
    // ANSIBLE_HOME moves the place where Ansible looks for installed collections: put it back.
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
    // By default Ansible goes on, and ends with 0, when no host matches or an inventory script crashed.
    set("ANSIBLE_HOST_PATTERN_MISMATCH", "error".into());
    set("ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED", "1".into());
    set("ANSIBLE_HOST_KEY_CHECKING", "1".into());
    set("ANSIBLE_RETRY_FILES_ENABLED", "0".into());
    set("ANSIBLE_FORCE_COLOR", "1".into());
    for (name, value) in &settings.environment {
        match name.as_str() {
            // Without our own callback nothing would be known of a run: others come beside it.
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

/// The value of [`MARKER`] for a run.
pub(super) fn marker(store: &str, run: &str) -> String {
    format!("{store}:{run}")
}

/// Whether this value of [`MARKER`] is that of a process that lists the inventory.
pub fn is_listing(mark: Option<&OsStr>) -> bool {
    let mark = mark.and_then(OsStr::to_str).unwrap_or_default();
    mark.rsplit_once(':')
        .is_some_and(|(_, run)| run.starts_with(LISTING))
}

/// ssh puts a socket there named by ten digits, and makes it under a name that is seventeen longer; a socket's path
/// has room for 107 bytes. Where it does not fit, hosts are reached without a shared connection.
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
