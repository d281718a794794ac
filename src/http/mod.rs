//! What is answered over HTTP.
//!
//! | method | path | answer |
//! | --- | --- | --- |
//! | POST | `/api/v1/webhook` | [`webhook`]: takes an Alertmanager notification |
//! | GET | `/api/v1/runs` | [`runs`]: runs (`state`, `outcome`, `trigger`, `binding`, `schedule`, `role`, `host`, `alertname`, `since`, `until`, `text`, `sort`, `cursor`, `limit`) |
//! | POST | `/api/v1/runs` | [`start`]: queues a run by hand |
//! | GET | `/api/v1/runs/ID` | one run with its episodes and events |
//! | GET | `/api/v1/runs/ID/output` | its output, as text |
//! | GET | `/api/v1/runs/ID/events` | [`events`]: what it does, as it does it (`last_event_id`) |
//! | POST | `/api/v1/runs/ID/cancel` | ends it |
//! | POST | `/api/v1/runs/ID/rerun` | [`rerun`]: queues one that has ended once more |
//! | POST | `/api/v1/runs/ID/approve`, `/api/v1/runs/ID/reject` | consents to one that waits for it, or ends it |
//! | GET | `/api/v1/starts` | [`guards`]: what was started where, by which cooldowns and attempts go |
//! | GET | `/api/v1/guards` | [`guards`]: what is paused, held and open, and the runs that wait for a person |
//! | POST | `/api/v1/pause`, `/api/v1/resume` | starts nothing more; starts runs again |
//! | POST | `/api/v1/release`, `/api/v1/bindings/NAME/release` | lets go what storms hold: everything, or of one binding |
//! | POST, DELETE | `/api/v1/hosts/NAME/hold` | leaves a host alone for a time; no longer |
//! | POST | `/api/v1/roles/NAME/close` | forgets a role's failures, so that it runs again |
//! | GET | `/api/v1/events` | every run that comes into another state (`last_event_id`) |
//! | GET | `/api/v1/facts` | [`facts`]: whose facts there are |
//! | POST | `/api/v1/facts` | takes facts that others gathered |
//! | GET | `/api/v1/facts/HOST`, `/api/v1/facts/HOST/changes` | the facts of a host, and what changed when |
//! | GET | `/api/v1/sd` | [`sd`]: scrape targets, as `http_sd` takes them (`group`, `match`, `port`, `scheme`, `metrics_path`) |
//! | GET | `/api/v1/hosts` | [`hosts`]: the hosts, those of the inventory's sources and those that were enrolled |
//! | POST | `/api/v1/hosts` | enrols one |
//! | GET | `/api/v1/hosts/NAME` | one host |
//! | DELETE | `/api/v1/hosts/NAME` | takes an enrolled one away |
//! | GET, POST | `/api/v1/bindings` | [`objects`]: the bindings; makes one |
//! | GET, PUT, DELETE | `/api/v1/bindings/NAME` | one; changes or removes it if it was made over the API |
//! | GET, POST | `/api/v1/schedules` | [`schedules`]: the schedules, with their next times; makes one |
//! | GET, PUT, DELETE | `/api/v1/schedules/NAME` | as for bindings |
//! | POST | `/api/v1/schedules/NAME/pause`, `/api/v1/schedules/NAME/resume`, `/api/v1/schedules/NAME/run` | stops it for now, lets it go on, runs it at once |
//! | GET | `/api/v1/cron` | the next times of a cron expression (`cron`, `timezone`, `count`, `from`) |
//! | GET | `/api/v1/alerts` | [`alerts`]: what fires, those that began last first (`alertname`, `host`, `limit`, `cursor`) |
//! | GET | `/api/v1/alerts/ID` | one episode, with its texts whole |
//! | GET | `/api/v1/alert-types` | the alert types, each with where it is known from and its bindings (`unbound`) |
//! | GET | `/api/v1/alert-types/NAME` | one alert type with its rules and last episodes |
//! | GET | `/api/v1/roles` | [`roles`]: the roles, who uses them, how they did of late |
//! | GET | `/api/v1/roles/NAME` | one, with its README, its argument spec and its last runs |
//! | GET | `/api/v1/groups` | [`groups`]: the groups of the inventory, with how many hosts they have |
//! | GET | `/api/v1/groups/NAME` | one, with its hosts |
//! | GET | `/api/v1/inventory` | the inventory as Ansible's inventory scripts print it, without the envelope |
//! | GET | `/api/v1/inventory/status` | [`inventory`]: whether it can be read and is believed, and if not, why |
//! | GET | `/api/v1/audit` | [`audit`]: who changed what (`limit`, `cursor`) |
//! | GET | `/api/v1/openapi.json` | [`openapi`]: all of this, as an `OpenAPI` document |
//! | GET | `/metrics` (`--web.telemetry-path`) | the exposition format of Prometheus |
//! | GET | `/metrics/hosts` | of it, the metrics of hosts alone |
//! | GET, HEAD | `/-/healthy`, `/-/ready` | 200, or 503 and why not |
//! | POST, PUT | `/-/reload` | reads the configuration again (`--web.enable-lifecycle`) |
//! | GET, POST | everything else | [`portal`]: pages for people |

mod alerts;
mod api;
mod audit;
mod body;
mod budget;
mod delivery;
mod events;
mod facts;
mod front;
mod gate;
mod groups;
mod guards;
mod gunzip;
mod handshakes;
mod host;
mod hosts;
mod inventory;
mod json;
mod metrics;
mod misdirected;
mod note;
mod objects;
mod openapi;
mod origin;
mod path;
mod places;
mod portal;
mod query;
mod refusal;
mod reject_log;
mod reply;
mod requests;
mod rerun;
mod roles;
mod router;
mod runs;
mod schedules;
mod sd;
mod server;
mod start;
mod stream;
mod told;
mod vars;
mod verdicts;
mod webhook;
mod whole;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use crate::alert_types_keeper::AlertTypesKeeper;
use crate::caller::Caller;
use crate::config::Config;
use crate::config_keeper::ConfigKeeper;
use crate::door::{Door, Peer};
use crate::guards::Pause;
use crate::inventory_keeper::InventoryKeeper;
use crate::left_out::LeftOut;
use crate::metrics::Metrics;
use crate::sd_keeper::Discovery;
use crate::shutdown::Shutdown;
use crate::store::Store;

pub use events::Events;
pub use front::Prefixes;
pub use note::Note;
pub use server::{bind, serve};

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
    pub configs: ConfigKeeper,
    /// Takes the names of schedules that are to be looked at again.
    pub touched_schedules: mpsc::Sender<String>,
    /// Knows the inventory.
    pub inventory: InventoryKeeper,
    /// Knows the rules that alert types come from.
    pub alert_types: AlertTypesKeeper,
    /// Fetches the alerts that notifications lack.
    pub left_out: LeftOut,
    /// Has the scrape targets.
    pub discovery: Discovery,
    /// Tells what happens, as it happens.
    pub events: Events,
    /// Takes requests to read the configuration again; `None` unless that was enabled.
    pub reload: Option<mpsc::Sender<ReloadRequest>>,
    /// Where people open the portal, as `https://promansible.example.org`, if that was said.
    pub external_origin: Option<Arc<str>>,
    /// Below which paths everything is.
    pub prefixes: Prefixes,
    /// Knows who may come in.
    pub door: Door,
    /// Who makes the request at hand; nobody where there is none.
    pub caller: Caller,
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
