//! One run, as the worker asks for it, and why it may not be started.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::alert::{Alert, LabelSet, Status};
use crate::model::inventory::EnrolledHost;
use crate::model::run::{CONTROLLER, RunId, Trigger, Work};
use crate::util::names::ROLE_HELP;

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
    /// The hosts that are in none of the configured sources: all of them, not only those of the run.
    pub enrolled: &'a [Arc<EnrolledHost>],
    /// Each host's alerts. The roles run once for each alert of a host; where the whole map is empty they run once.
    pub alerts: &'a BTreeMap<String, Vec<AlertData>>,
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
    #[error("role {0:?} cannot be run by this name; {ROLE_HELP}")]
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
