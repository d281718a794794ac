//! The state that all request handlers share.

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

/// A request to reload the configuration. Receives the result.
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// The state that request handlers need. Everything in it is cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub store: Store,
    pub metrics: Metrics,
    /// The configuration in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// Changes bindings and schedules.
    pub configs: ConfigManager,
    /// Receives the names of schedules that the scheduler must check again.
    pub changed_schedules: mpsc::Sender<String>,
    pub inventory: InventoryWatcher,
    /// The rules that alert types come from.
    pub alert_types: RuleDiscovery,
    /// Fetches the alerts that truncated notifications lack.
    pub truncated_alerts: TruncatedAlerts,
    /// The scrape targets.
    pub targets: TargetIndex,
    /// The live events.
    pub events: Events,
    /// Receives reload requests; `None` unless reloading over HTTP is enabled.
    pub reload: Option<mpsc::Sender<ReloadRequest>>,
    /// The origin of the portal, such as `https://promansible.example.org`, if configured.
    pub external_origin: Option<Arc<str>>,
    pub prefixes: Prefixes,
    pub auth: Auth,
    /// The caller of the current request; [`Identity::anonymous`] outside a request.
    pub caller: Identity,
    /// Collects the actions of the current request, for the audit list.
    pub note: Note,
    /// The client of the current request.
    pub peer: Option<Arc<Peer>>,
    /// The pause in force, which every page shows; read for each page.
    pub pause: Option<Pause>,
    /// The path of the metrics.
    pub telemetry_path: Arc<str>,
    pub shutdown: Shutdown,
}
