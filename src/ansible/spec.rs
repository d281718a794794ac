//! The specification of a run, and why it may not be started.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::alert::{Alert, LabelSet, Status};
use crate::model::inventory::EnrolledHost;
use crate::model::run::{CONTROLLER, RunId, Trigger, Work};
use crate::util::names::ROLE_HELP;

/// The folder in which the roles of a run are looked up first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleKind {
    /// `alert/roles`.
    Alert,
    /// `routine/roles`.
    Routine,
}

/// The data of one alert that roles get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertData {
    /// Firing or resolved.
    pub status: Status,
    pub labels: LabelSet,
    pub annotations: LabelSet,
    /// When it began to fire, as RFC 3339.
    #[serde(rename = "startsAt")]
    pub starts_at: String,
    /// The hash of its labels, as sixteen hexadecimal digits.
    pub fingerprint: String,
    /// The URL of the rule that raised it.
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

/// The specification of a run.
#[derive(Debug, Clone, Copy)]
pub struct Spec<'a> {
    /// The number of the run, which names its folder and marks its processes.
    pub run: RunId,
    /// What triggered it.
    pub trigger: Trigger,
    /// The binding, if alerts triggered it.
    pub binding: Option<&'a str>,
    pub work: &'a Work,
    /// The kind of role whose folder is searched first.
    pub kind: RoleKind,
    /// Exact inventory names; just [`CONTROLLER`] for a run on the controller.
    pub hosts: &'a [String],
    /// All enrolled hosts, which are in none of the configured sources; not only those of the run.
    pub enrolled: &'a [Arc<EnrolledHost>],
    /// The alerts of each host. The roles run once for each alert of a host; if there is no alert at all, they run once.
    pub alerts: &'a BTreeMap<String, Vec<AlertData>>,
}

/// Why no command line can be built for a run. Each of these should have been rejected earlier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The run has no hosts.
    #[error("the run has no hosts: name at least one host of the inventory")]
    NoHosts,
    /// The run has no roles.
    #[error("the run has no roles: name at least one")]
    NoRoles,
    /// A host name that Ansible could read as something other than one host.
    #[error(
        "host {0:?} could be read as a pattern: use letters, digits, '.', '-' and '_', or an IP address, and no leading '__'"
    )]
    HostName(String),
    /// A role name that could lead out of the folders of roles.
    #[error("role {0:?} is not a valid role name; {ROLE_HELP}")]
    RoleName(String),
    /// A run on the controller has other hosts.
    #[error("a run on the controller can have no host but {CONTROLLER:?}, found {0:?}")]
    Controller(Vec<String>),
    /// Alerts of a host that is not in the run.
    #[error("there are alerts for {0:?}, which is not a host of the run")]
    StrayAlerts(String),
    /// A name of a label or annotation that is reserved for Ansible.
    #[error("alert of {host:?}: the name {name:?} starts with '__', which is reserved for Ansible")]
    ReservedLabel { host: String, name: String },
    /// A variable name that is reserved for promansible or invalid in Ansible.
    #[error(
        "variable {0:?}: begin with a letter or '_', continue with letters, digits and '_', and use no leading 'promansible_'"
    )]
    VariableName(String),
    /// A path that Ansible would read as a list of hosts.
    #[error(
        "inventory {0:?} contains a comma, so Ansible would read it as a list of hosts: use a path without commas"
    )]
    InventoryPath(PathBuf),
}
