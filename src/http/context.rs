//! What the handlers of a request share.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use crate::auth::{Auth, Peer};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::model::guards::Pause;
use crate::model::identity::Identity;
use crate::services::config_manager::ConfigManager;
use crate::services::inventory_watcher::InventoryWatcher;
use crate::services::rule_discovery::RuleDiscovery;
use crate::services::target_index::TargetIndex;
use crate::services::truncated_alerts::TruncatedAlerts;
use crate::store::Store;
use crate::util::shutdown::Shutdown;

use super::core::audit_note::Note;
use super::core::forwarded::Prefixes;
use super::events::Events;

/// Somebody asks for the configuration to be read again, and wants to know how that went.
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// What the handlers need. Everything in it is cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// Where everything is kept.
    pub store: Store,
    /// Our own metrics.
    pub metrics: Metrics,
    /// The configuration that is in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// Changes it.
    pub configs: ConfigManager,
    /// Takes the names of schedules that are to be looked at again.
    pub touched_schedules: mpsc::Sender<String>,
    /// Knows the inventory.
    pub inventory: InventoryWatcher,
    /// Knows the rules that alert types come from.
    pub alert_types: RuleDiscovery,
    /// Fetches the alerts that notifications lack.
    pub left_out: TruncatedAlerts,
    /// Has the scrape targets.
    pub discovery: TargetIndex,
    /// Tells what happens, as it happens.
    pub events: Events,
    /// Takes requests to read the configuration again; `None` unless that was enabled.
    pub reload: Option<mpsc::Sender<ReloadRequest>>,
    /// Where people open the portal, as `https://promansible.example.org`, if that was said.
    pub external_origin: Option<Arc<str>>,
    /// Below which paths everything is.
    pub prefixes: Prefixes,
    /// Knows who may come in.
    pub door: Auth,
    /// Who makes the request at hand; nobody where there is none.
    pub caller: Identity,
    /// Takes what it does, for the audit list.
    pub note: Note,
    /// From where he makes it.
    pub peer: Option<Arc<Peer>>,
    /// Why nothing is started, as every page says it; read for each page.
    pub pause: Option<Pause>,
    /// Where the metrics are.
    pub telemetry_path: Arc<str>,
    /// Becomes true when promansible is to end.
    pub shutdown: Shutdown,
}
