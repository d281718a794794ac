//! The configuration, in two stages: the file as typed, then valid objects (here).
//!
//! A file is accepted completely or not at all: [`load`] reports every defect with its file, line and column, and only
//! a file without defects becomes a [`Config`].
//!
//! The steps for a file: `load` reads it, `raw` is the file as typed, `files` checks the files that it names,
//! `role_checks` and `role_metadata` read the declarations of the roles, and `validate`, `time_intervals`, `guards`,
//! `bindings`, `schedules` and `sd` build the objects. All of them, and `yaml`, report defects in the form of `error`.
//! `managed` adds the objects that were made over the API.

mod adhoc_run;
mod alertmanager;
mod bindings;
mod collections;
mod common;
mod enrol;
mod error;
mod facts;
mod files;
mod guards;
mod http_client;
mod http_file;
mod load;
mod managed;
mod narrowing;
mod notifiers;
mod prometheus;
mod raw;
mod read;
mod redact;
mod reserved;
mod role_checks;
mod role_collections;
mod role_links;
mod role_metadata;
mod schedules;
mod sd;
mod spanned;
mod target;
#[cfg(test)]
mod tests;
mod time_intervals;
mod validate;

mod values;
mod vars;
mod vault;
mod web;
mod yaml;

pub use crate::util::units::{UnitError, format_duration, format_size, parse_duration, parse_size};
pub use adhoc_run::{AdHocRun, AdHocRunError, manual, rerun_vars};
pub use bindings::{Binding, Step};
pub use enrol::{Enrolment, EnrolmentError, enrolment};
pub use error::{ConfigError, ConfigErrors, Place};
pub use facts::GATHER_ROLE;
pub use guards::{Guards, MAX_PERIOD};
pub use http_client::{ClientIdentity, HttpAuth, HttpClient, Secret, TlsClient, parse_url};
pub use http_file::load_http_client;
pub use load::{build, list_roles, load};
pub use managed::{ManagedConflict, ManagedError, ManagedKind, ManagedObject, StoredObject};
pub use notifiers::{Address, Destination, Email, Notifier};
pub use reserved::{defect_of_name, template_in};
pub use role_collections::needed_collections;
pub use role_links::missing_roles;
pub use role_metadata::{About, RoleKind, VarsError};
pub use vars::parse_vars;
pub use vault::VaultIdentity;

// For other files of the same form.
pub(crate) use error::{Report, place};
pub(crate) use spanned::{Pairs, Scalar, parse as parse_yaml};

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::model::certificate::WantedName;
use crate::model::facts::HostOptions;
use crate::model::findings::Declared;
use crate::model::identity::Scopes;
use crate::model::proxies::Proxies;
use crate::model::run::Work;
use crate::model::schedule::Timing;
use crate::model::sd::{Endpoint, Exposed, Filter};
use crate::model::time_interval::TimeInterval;

/// A valid configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// How to run Ansible.
    pub ansible: Ansible,
    /// The location and retention of the store.
    pub storage: Storage,
    pub runs: Runs,
    pub receiver: Receiver,
    /// The limits that protect hosts from too many runs.
    pub guards: Guards,
    /// The time intervals, to which bindings refer by name. Their names are unique.
    pub time_intervals: Vec<Arc<TimeInterval>>,
    /// The bindings in the order in which they are evaluated. Their names are unique.
    pub bindings: Vec<Arc<Binding>>,
    /// The schedules. Their names are unique.
    pub schedules: Vec<Arc<Schedule>>,
    /// The bindings and schedules made over the API that are ignored.
    pub conflicts: Vec<ManagedConflict>,
    /// How to gather and expose the facts of hosts.
    pub facts: Facts,
    /// Where to find alert types.
    pub prometheus: Prometheus,
    /// The Alertmanager to query; none.
    pub alertmanager: Option<Alertmanager>,
    /// The notifiers. Their names are unique.
    pub notifiers: Vec<Arc<Notifier>>,
    /// The scrape targets for Prometheus.
    pub service_discovery: ServiceDiscovery,
    /// The authorization of HTTP requests.
    pub web: Web,
    /// The roles under `playbook_dir`.
    pub roles: Roles,
}

/// How to run Ansible. Each field states its default.
#[derive(Debug, Clone, PartialEq)]
pub struct Ansible {
    /// The folder that contains `ansible-playbook` and `ansible-inventory`; `None` means that `PATH` is searched.
    pub bin_dir: Option<PathBuf>,
    /// The folder that contains `run.yml`, `plugins/`, `alert/roles` and `routine/roles`. Required.
    pub playbook_dir: PathBuf,
    /// The Ansible inventory sources: INI or YAML files, folders, scripts, plugin configurations. At least one.
    pub inventory: Vec<PathBuf>,
    /// How often the inventory is reloaded even if no file changed, because the output of a script can change; 5m.
    pub inventory_refresh: Duration,
    /// The maximum duration of one reload of the inventory; 5m.
    pub inventory_timeout: Duration,
    /// How long alerts are decided by the last good inventory after a reload timed out, or failed although no source
    /// changed; 15m. Zero disables this.
    pub inventory_max_age: Duration,
    /// When a loss of hosts is not believed at once.
    pub inventory_shrink: InventoryShrink,
    /// The remote user; Ansible's default.
    pub user: Option<String>,
    /// The ssh key; Ansible's default.
    pub private_key_file: Option<PathBuf>,
    /// Whether tasks run as another user (root, unless the inventory says otherwise); false.
    pub r#become: bool,
    /// The number of hosts on which Ansible works in parallel; 20.
    pub forks: u32,
    /// Whether a run gathers facts before the first role; true.
    pub gather_facts: bool,
    /// Passed to Ansible unchanged; Ansible runs it if it is executable.
    pub vault_password_file: Option<PathBuf>,
    /// Passed to Ansible unchanged, each with its name (`--vault-id`); none.
    pub vault_identities: Vec<VaultIdentity>,
    /// Passed to Ansible unchanged.
    pub become_password_file: Option<PathBuf>,
    /// Passed to Ansible unchanged.
    pub connection_password_file: Option<PathBuf>,
    /// Additional environment variables of runs. A run inherits only `PATH`, `HOME` and those of the ssh agent.
    pub environment: BTreeMap<String, String>,
}

impl Ansible {
    const INVENTORY_REFRESH: Duration = Duration::from_mins(5);
    const INVENTORY_TIMEOUT: Duration = Duration::from_mins(5);
    const INVENTORY_MAX_AGE: Duration = Duration::from_mins(15);
    const BECOME: bool = false;
    const FORKS: u32 = 20;
    const GATHER_FACTS: bool = true;
}

/// When a reloaded inventory with fewer hosts than before is not believed at once. Meanwhile, the missing hosts stay
/// scrape targets, and their data is kept. Each field states its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InventoryShrink {
    /// The share of hosts that may disappear at once, in percent; 50. With 100, only an empty inventory is not
    /// believed.
    pub max_percent: u32,
    /// How long the loss must last before it is believed; 10m. Zero: at once.
    pub believe_after: Duration,
}

impl InventoryShrink {
    const MAX_PERCENT: u32 = 50;
    const BELIEVE_AFTER: Duration = Duration::from_mins(10);
}

/// The location and retention of the store. Each field states its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// The redb file; `data/promansible.redb`.
    pub path: PathBuf,
    /// How long finished runs and resolved episodes are kept; 90d.
    pub retention_time: Duration,
    /// How many bytes of history are kept; the oldest is removed first; 1GiB.
    pub retention_size_bytes: u64,
}

impl Storage {
    const PATH: &str = "data/promansible.redb";
    const RETENTION_TIME: Duration = Duration::from_hours(90 * 24);
    const RETENTION_SIZE_BYTES: u64 = 1 << 30;
}

/// The limits of runs. Each field states its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runs {
    /// The maximum number of parallel `ansible-playbook` processes; 4.
    pub max_concurrent: usize,
    /// The maximum number of queued runs; 10000.
    pub queue_limit: usize,
    /// The maximum number of alerts in all queued runs together; 100000.
    pub queue_alerts_limit: usize,
    /// The maximum number of alerts of one run; further alerts get another run; 2000.
    pub alerts_limit: usize,
    /// The maximum duration of a run, unless its binding sets it; 10m.
    pub timeout: Duration,
    /// How long a run may take to end after an interrupt before it is killed; 10s.
    pub grace: Duration,
    /// How long a run waits for more hosts, unless its binding sets it; 1s.
    pub batch_window: Duration,
    /// The number of starts of a run, if no task begins, before it has failed; 3.
    pub start_attempts: u32,
    /// The delay before the second start, and three times as long before each further one; 10s.
    pub start_pause: Duration,
    /// How many bytes of the output of a run are kept, head and tail; 1MiB.
    pub output_limit_bytes: u64,
    /// How many task events of a run are kept; 20000.
    pub events_limit: u64,
}

impl Runs {
    const MAX_CONCURRENT: usize = 4;
    const QUEUE_LIMIT: usize = 10_000;
    const QUEUE_ALERTS_LIMIT: usize = 100_000;
    const ALERTS_LIMIT: usize = 2_000;
    const TIMEOUT: Duration = Duration::from_mins(10);
    const GRACE: Duration = Duration::from_secs(10);
    const BATCH_WINDOW: Duration = Duration::from_secs(1);
    const START_ATTEMPTS: u32 = 3;
    const START_PAUSE: Duration = Duration::from_secs(10);
    const OUTPUT_LIMIT_BYTES: u64 = 1 << 20;
    const EVENTS_LIMIT: u64 = 20_000;
}

/// The limits of the receiver. Each field states its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// The maximum size of a body, also after decompression; 8MiB.
    pub max_body_bytes: u64,
    /// The maximum number of alerts in one notification; 10000.
    pub max_alerts: usize,
    /// How long a client may take to send the header of a request; 5s.
    pub header_timeout: Duration,
    /// How long a client may take to send the body of a request; 10s.
    pub body_timeout: Duration,
    /// The maximum number of open connections; 1024.
    pub max_connections: usize,
}

impl Receiver {
    const MAX_BODY_BYTES: u64 = 8 << 20;
    const MAX_ALERTS: usize = 10_000;
    const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
    const BODY_TIMEOUT: Duration = Duration::from_secs(10);
    const MAX_CONNECTIONS: usize = 1024;
}

/// How to gather and expose the facts of hosts. Each field states its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// How often facts are gathered; `None` (the default) means only by runs.
    pub every: Option<Duration>,
    /// The hosts to gather facts from; the group `all`. Never the alerting host.
    pub target: Target,
    /// The age from which facts are stale; 24h.
    pub stale_after: Duration,
    /// How long facts and findings of a host are kept after it has left the inventory; 24h.
    pub keep_after_removal: Duration,
    /// The host metrics, and the additional facts, to expose.
    pub metrics: HostOptions,
}

impl Facts {
    const STALE_AFTER: Duration = Duration::from_hours(24);
    const KEEP_AFTER_REMOVAL: Duration = Duration::from_hours(24);
}

/// Where to find alert types. Each field states its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prometheus {
    /// The URL of Prometheus; `None` (the default) means that it is not queried.
    pub url: Option<hyper::Uri>,
    /// The authentication and TLS of requests.
    pub http: HttpClient,
    /// Patterns of rule files, as in Prometheus; none.
    pub rule_files: Vec<String>,
    /// The timeout of a request; 5s.
    pub timeout: Duration,
}

/// The Alertmanager that sends the notifications, for queries. Each field states its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alertmanager {
    /// Its URL. Required.
    pub url: hyper::Uri,
    /// The authentication and TLS of requests.
    pub http: HttpClient,
    /// The timeout of a request; 5s.
    pub timeout: Duration,
}

impl Alertmanager {
    const TIMEOUT: Duration = Duration::from_secs(5);
}

impl Prometheus {
    const TIMEOUT: Duration = Duration::from_secs(5);
}

/// The authorization of HTTP requests. Users and their passwords are in the web configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Web {
    /// The bearer tokens; none. Their names are unique.
    pub tokens: Vec<Token>,
    /// The scopes of users; users who are not listed have all scopes.
    pub users: BTreeMap<String, Scopes>,
    /// The scopes of clients that present a certificate with this name and no other credentials.
    pub certificates: BTreeMap<WantedName, Scopes>,
    /// The reverse proxies in front of promansible.
    pub proxies: Proxies,
}

/// A bearer token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The name of its user.
    pub name: String,
    /// The file that contains it.
    pub file: PathBuf,
    /// Its scopes.
    pub scopes: Scopes,
}

/// Where a binding or schedule is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// In the configuration file; it can be changed only there.
    File,
    /// Over the API; it is in the store.
    Api,
}

/// Maps times to roles on a target.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Its name, unique among the schedules.
    pub name: String,
    /// Whether it is active; true.
    pub enabled: bool,
    /// When to run; in UTC, without jitter, and skipping missed times.
    pub timing: Timing,
    /// The routine roles, and how to run them.
    pub work: Work,
    /// Where to run. Never the alerting host.
    pub target: Target,
    /// The subset of the target's hosts; empty means all of them.
    pub limit: Vec<String>,
    /// Where it is defined.
    pub origin: Origin,
}

impl Schedule {
    const GRACE: Duration = Duration::from_hours(1);
}

/// The hosts of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The host that a label of the alert names.
    AlertingHost { label: String },
    /// Every host of a group.
    Group(String),
    /// These hosts, by their inventory names.
    Hosts(Vec<String>),
    /// The machine on which promansible runs.
    Controller,
}

impl Default for Target {
    fn default() -> Self {
        Self::AlertingHost {
            label: "instance".to_owned(),
        }
    }
}

/// The scrape targets for Prometheus.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceDiscovery {
    /// The variables and facts of hosts that become labels; no variables, four facts.
    pub exposed: Exposed,
    /// The files to write; none. Their paths are unique.
    pub files: Vec<Arc<TargetsFile>>,
}

/// A file of targets for Prometheus's `file_sd_configs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetsFile {
    /// Its path.
    pub path: PathBuf,
    /// Its hosts; all.
    pub filter: Filter,
    /// The endpoint to scrape on each host.
    pub endpoint: Endpoint,
}

/// The existing roles by kind, and their checks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles {
    /// Names under `alert/roles`, sorted.
    pub alert: Vec<String>,
    /// Names under `routine/roles`, sorted.
    pub routine: Vec<String>,
    /// Names of roles of collections (`NAMESPACE.COLLECTION.ROLE`), sorted. Each can be used as either kind.
    pub collection: Vec<String>,
    /// The checks that they declare in `meta/promansible.yml`, by role.
    pub checks: Declared,
    /// The variables that are not accepted over the API, each with the role whose `meta/promansible.yml` states that.
    pub not_over_api: BTreeMap<String, String>,
    /// The metadata of the roles: alert roles first, roles of collections last. Roles without a folder, as in tests,
    /// have none.
    pub about: Vec<About>,
}
