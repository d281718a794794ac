//! The configuration, in two stages: the text as typed, then objects that cannot be wrong (here).
//!
//! A file is taken whole or not at all: [`load`] reports every defect that it finds with its file, line and column, and
//! only a file without defects becomes a [`Config`].
//!
//! The way of a file: `load` reads it, `text` is what was typed, `files` looks at what it names, `checks` and `about` read
//! what the roles declare, `check`, `time_intervals`, `guards`, `bindings`, `schedules` and `sd` build the objects, and `error` is the one form in which all
//! of them, `yaml` too, say what is wrong. `kept` puts what was made over the API beside what the file says.

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
pub use guards::{FARTHEST, Guards};
pub use http_client::{ClientIdentity, HttpAuth, HttpClient, Secret, TlsClient, parse_url};
pub use http_file::load_http_client;
pub use load::{build, list_roles, load};
pub use managed::{ManagedConflict, ManagedError, ManagedKind, ManagedObject, ManagedObjects};
pub use notifiers::{Address, Email, Notifier, Via};
pub use reserved::{defect_of_name, template_in};
pub use role_links::missing_roles;
pub use role_metadata::{About, RoleKind, VarsError};
pub use vars::parse_vars;
pub use vault::VaultIdentity;

// What a second file of the same form is read with.
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

/// A configuration without defects.
#[derive(Debug, Clone)]
pub struct Config {
    /// How Ansible is started.
    pub ansible: Ansible,
    /// Where and how long things are kept.
    pub storage: Storage,
    /// The limits of runs.
    pub runs: Runs,
    /// The limits of the receiver.
    pub receiver: Receiver,
    /// What keeps remediation from doing harm.
    pub guards: Guards,
    /// The named intervals of time that bindings speak of. Their names are unique.
    pub time_intervals: Vec<Arc<TimeInterval>>,
    /// The bindings, in the order in which they are searched. Their names are unique.
    pub bindings: Vec<Arc<Binding>>,
    /// The schedules. Their names are unique.
    pub schedules: Vec<Arc<Schedule>>,
    /// Bindings and schedules that were made over the API and take no part.
    pub conflicts: Vec<ManagedConflict>,
    /// What is gathered of hosts, and shown.
    pub facts: Facts,
    /// Where alert types are looked for.
    pub prometheus: Prometheus,
    /// The Alertmanager that can be asked; none.
    pub alertmanager: Option<Alertmanager>,
    /// Who is told what. Their names are unique.
    pub notifiers: Vec<Arc<Notifier>>,
    /// What Prometheus is told of the hosts.
    pub service_discovery: ServiceDiscovery,
    /// Who may do what over HTTP.
    pub web: Web,
    /// The roles that were found under `playbook_dir`.
    pub roles: Roles,
}

/// How Ansible is started. Each field says its default.
#[derive(Debug, Clone, PartialEq)]
pub struct Ansible {
    /// The folder that holds `ansible-playbook` and `ansible-inventory`; `None` means that `PATH` is searched.
    pub bin_dir: Option<PathBuf>,
    /// The folder that holds `run.yml`, `plugins/`, `alert/roles` and `routine/roles`. Required.
    pub playbook_dir: PathBuf,
    /// Ansible inventory sources: INI, YAML, a folder, a script, a plugin's file. At least one.
    pub inventory: Vec<PathBuf>,
    /// How often the inventory is read again even if no source's file changed (a script's answer can);
    /// 5m.
    pub inventory_refresh: Duration,
    /// How long one reading of the inventory may take; 5m.
    pub inventory_timeout: Duration,
    /// How long alerts are decided by the last good inventory after a reading took too long, or failed although no source
    /// changed; 15m. Zero: not at all.
    pub inventory_max_age: Duration,
    /// When fewer hosts are not believed at once.
    pub inventory_shrink: InventoryShrink,
    /// The remote user.
    pub user: Option<String>,
    /// The ssh key.
    pub private_key_file: Option<PathBuf>,
    /// Whether tasks run as another user (root, unless the inventory says otherwise); false.
    pub r#become: bool,
    /// How many hosts Ansible works on at once; 20.
    pub forks: u32,
    /// Whether facts are gathered before the first role; true.
    pub gather_facts: bool,
    /// Passed to Ansible as it is; an executable one is run by Ansible.
    pub vault_password_file: Option<PathBuf>,
    /// Passed to Ansible as they are, each with its name (`--vault-id`); none.
    pub vault_identities: Vec<VaultIdentity>,
    /// Passed to Ansible as it is.
    pub become_password_file: Option<PathBuf>,
    /// Passed to Ansible as it is.
    pub connection_password_file: Option<PathBuf>,
    /// Further environment variables of a run; a run inherits nothing else but `PATH`, `HOME` and the ssh agent's.
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

/// When an inventory that was read, and has fewer hosts than the one before, is not believed at once: as scrape targets
/// and for what is kept of hosts, those that are missing count as there. Each field says its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InventoryShrink {
    /// What share of its hosts may be gone at once, in percent; 50. With 100 only an empty inventory is not believed.
    pub max_percent: u32,
    /// For how long it must be read so before it is believed; 10m. Zero: at once.
    pub believe_after: Duration,
}

impl InventoryShrink {
    const MAX_PERCENT: u32 = 50;
    const BELIEVE_AFTER: Duration = Duration::from_mins(10);
}

/// Where and how long things are kept. Each field says its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// The redb file; `data/promansible.redb`.
    pub path: PathBuf,
    /// How long finished runs and resolved episodes are kept; 90d.
    pub retention_time: Duration,
    /// How many bytes of history are kept; the oldest goes first; 1GiB.
    pub retention_size_bytes: u64,
}

impl Storage {
    const PATH: &str = "data/promansible.redb";
    const RETENTION_TIME: Duration = Duration::from_hours(90 * 24);
    const RETENTION_SIZE_BYTES: u64 = 1 << 30;
}

/// The limits of runs. Each field says its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runs {
    /// How many `ansible-playbook` processes at once; 4.
    pub max_concurrent: usize,
    /// How many runs may wait; 10000.
    pub queue_limit: usize,
    /// How many alerts may wait, in all runs together; 100000.
    pub queue_alerts_limit: usize,
    /// How many alerts one run may be about, before the next ones get a run of their own; 2000.
    pub alerts_limit: usize,
    /// How long a run may take, where its binding does not say; 10m.
    pub timeout: Duration,
    /// How long a run may take to end after it was interrupted, before it is killed; 10s.
    pub grace: Duration,
    /// How long a run waits for further hosts, where its binding does not say; 1s.
    pub batch_window: Duration,
    /// How often a run is started of which no task begins, before it has failed; 3.
    pub start_attempts: u32,
    /// How long it waits before the second of these starts, and three times as long before each further one; 10s.
    pub start_pause: Duration,
    /// How many bytes of a run's output are kept, head and tail; 1MiB.
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

/// The limits of the receiver. Each field says its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// The largest body, also after decompression; 8MiB.
    pub max_body_bytes: u64,
    /// The most alerts in one notification; 10000.
    pub max_alerts: usize,
    /// How long a client may take to send its request's head; 5s.
    pub header_timeout: Duration,
    /// How long a client may take to send its request's body; 10s.
    pub body_timeout: Duration,
    /// How many connections at once; 1024.
    pub max_connections: usize,
}

impl Receiver {
    const MAX_BODY_BYTES: u64 = 8 << 20;
    const MAX_ALERTS: usize = 10_000;
    const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
    const BODY_TIMEOUT: Duration = Duration::from_secs(10);
    const MAX_CONNECTIONS: usize = 1024;
}

/// What is gathered of hosts, and shown. Each field says its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// How often facts are gathered; `None` (the default) means only where a run does.
    pub every: Option<Duration>,
    /// Of whom; the group `all`. Never the alerting host.
    pub target: Target,
    /// From which age on facts are old news; 24h.
    pub stale_after: Duration,
    /// How long facts and findings of a host are kept after it has left the inventory; 24h.
    pub keep_after_removal: Duration,
    /// Which host metrics are shown, and which further facts.
    pub metrics: HostOptions,
}

impl Facts {
    const STALE_AFTER: Duration = Duration::from_hours(24);
    const KEEP_AFTER_REMOVAL: Duration = Duration::from_hours(24);
}

/// Where alert types are looked for. Each field says its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prometheus {
    /// Where Prometheus answers; `None` (the default) means that it is not asked.
    pub url: Option<hyper::Uri>,
    /// How it wants to be asked.
    pub http: HttpClient,
    /// Patterns of rule files, as Prometheus has them; none.
    pub rule_files: Vec<String>,
    /// How long its answer may take; 5s.
    pub timeout: Duration,
}

/// The Alertmanager that sends the notifications, so that it can be asked. Each field says its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alertmanager {
    /// Where it answers. Required.
    pub url: hyper::Uri,
    /// How it wants to be asked.
    pub http: HttpClient,
    /// How long its answer may take; 5s.
    pub timeout: Duration,
}

impl Alertmanager {
    const TIMEOUT: Duration = Duration::from_secs(5);
}

impl Prometheus {
    const TIMEOUT: Duration = Duration::from_secs(5);
}

/// Who may do what over HTTP. Users and their passwords stand in the web configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Web {
    /// Bearer tokens; none. Their names are unique.
    pub tokens: Vec<Token>,
    /// What users may do; who is not named here may do everything.
    pub users: BTreeMap<String, Scopes>,
    /// What those may do who show a client certificate with this name, without another proof.
    pub certificates: BTreeMap<WantedName, Scopes>,
    /// Reverse proxies before promansible.
    pub proxies: Proxies,
}

/// A bearer token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Whose it is.
    pub name: String,
    /// The file that holds it.
    pub file: PathBuf,
    /// What it is good for.
    pub scopes: Scopes,
}

/// Where a binding or a schedule was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// In the configuration file: it can be changed only there.
    File,
    /// Over the API, and kept in the store.
    Api,
}

/// Times → roles on a target.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Its name, unique among schedules.
    pub name: String,
    /// Whether it is in force; true.
    pub enabled: bool,
    /// When: by the clock of UTC, with no jitter, missed times are skipped.
    pub timing: Timing,
    /// The routine roles, and how they are run.
    pub work: Work,
    /// Where. Never the alerting host.
    pub target: Target,
    /// The hosts that the target is narrowed to; empty means all of its hosts.
    pub limit: Vec<String>,
    /// Where it was written.
    pub origin: Origin,
}

impl Schedule {
    const GRACE: Duration = Duration::from_hours(1);
}

/// Which hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The host that this label of the alert names.
    AlertingHost {
        /// The label.
        label: String,
    },
    /// Every host of a group.
    Group(String),
    /// These hosts, by their inventory names.
    Hosts(Vec<String>),
    /// The machine that promansible runs on.
    Controller,
}

impl Default for Target {
    fn default() -> Self {
        Self::AlertingHost {
            label: "instance".to_owned(),
        }
    }
}

/// What Prometheus is told of the hosts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceDiscovery {
    /// Which variables and facts of hosts become labels; no variables, four facts.
    pub exposed: Exposed,
    /// The files that are written; none. Their paths are unique.
    pub files: Vec<Arc<TargetsFile>>,
}

/// A file of targets for Prometheus's `file_sd_configs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetsFile {
    /// Where it is.
    pub path: PathBuf,
    /// Which hosts; all.
    pub filter: Filter,
    /// What is scraped on each.
    pub endpoint: Endpoint,
}

/// The roles that exist, by kind, and their checks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles {
    /// Names under `alert/roles`, sorted.
    pub alert: Vec<String>,
    /// Names under `routine/roles`, sorted.
    pub routine: Vec<String>,
    /// Names of roles of collections (`NAMESPACE.COLLECTION.ROLE`), sorted. Each can be used as either kind.
    pub collection: Vec<String>,
    /// The checks that they declare in `meta/promansible.yml`.
    pub checks: Declared,
    /// The variables that are not taken over the API, each with the role whose `meta/promansible.yml` says so.
    pub not_over_api: BTreeMap<String, String>,
    /// What each says of itself, those for alerts first and those of collections last. Of roles without a folder, as in a test, there is nothing.
    pub about: Vec<About>,
}
