//! What is answered over HTTP.
//!
//! | method | path | answer |
//! | --- | --- | --- |
//! | POST | `/api/v1/webhook` | [`api::webhook`]: takes an Alertmanager notification |
//! | GET | `/api/v1/runs` | [`api::runs`]: runs (`state`, `outcome`, `trigger`, `binding`, `schedule`, `role`, `host`, `alertname`, `since`, `until`, `text`, `sort`, `cursor`, `limit`) |
//! | POST | `/api/v1/runs` | [`api::create_run`]: queues a run by hand |
//! | GET | `/api/v1/runs/ID` | one run with its episodes and events |
//! | GET | `/api/v1/runs/ID/output` | its output, as text |
//! | GET | `/api/v1/runs/ID/events` | [`events`]: what it does, as it does it (`last_event_id`) |
//! | POST | `/api/v1/runs/ID/cancel` | ends it |
//! | POST | `/api/v1/runs/ID/rerun` | [`api::rerun`]: queues one that has ended once more |
//! | POST | `/api/v1/runs/ID/approve`, `/api/v1/runs/ID/reject` | consents to one that waits for it, or ends it |
//! | GET | `/api/v1/starts` | [`api::guards`]: what was started where, by which cooldowns and attempts go |
//! | GET | `/api/v1/guards` | [`api::guards`]: what is paused, held and open, and the runs that wait for a person |
//! | POST | `/api/v1/pause`, `/api/v1/resume` | starts nothing more; starts runs again |
//! | POST | `/api/v1/release`, `/api/v1/bindings/NAME/release` | lets go what storms hold: everything, or of one binding |
//! | POST, DELETE | `/api/v1/hosts/NAME/hold` | leaves a host alone for a time; no longer |
//! | POST | `/api/v1/roles/NAME/close` | forgets a role's failures, so that it runs again |
//! | GET | `/api/v1/events` | every run that comes into another state (`last_event_id`) |
//! | GET | `/api/v1/facts` | [`api::facts`]: whose facts there are |
//! | POST | `/api/v1/facts` | takes facts that others gathered |
//! | GET | `/api/v1/facts/HOST`, `/api/v1/facts/HOST/changes` | the facts of a host, and what changed when |
//! | GET | `/api/v1/sd` | [`api::http_sd`]: scrape targets, as `http_sd` takes them (`group`, `match`, `port`, `scheme`, `metrics_path`) |
//! | GET | `/api/v1/hosts` | [`api::hosts`]: the hosts, those of the inventory's sources and those that were enrolled |
//! | POST | `/api/v1/hosts` | enrols one |
//! | GET | `/api/v1/hosts/NAME` | one host |
//! | DELETE | `/api/v1/hosts/NAME` | takes an enrolled one away |
//! | GET, POST | `/api/v1/bindings` | [`api::managed`]: the bindings; makes one |
//! | GET, PUT, DELETE | `/api/v1/bindings/NAME` | one; changes or removes it if it was made over the API |
//! | GET, POST | `/api/v1/schedules` | [`api::schedules`]: the schedules, with their next times; makes one |
//! | GET, PUT, DELETE | `/api/v1/schedules/NAME` | as for bindings |
//! | POST | `/api/v1/schedules/NAME/pause`, `/api/v1/schedules/NAME/resume`, `/api/v1/schedules/NAME/run` | stops it for now, lets it go on, runs it at once |
//! | GET | `/api/v1/cron` | the next times of a cron expression (`cron`, `timezone`, `count`, `from`) |
//! | GET | `/api/v1/alerts` | [`api::alerts`]: what fires, those that began last first (`alertname`, `host`, `limit`, `cursor`) |
//! | GET | `/api/v1/alerts/ID` | one episode, with its texts whole |
//! | GET | `/api/v1/alert-types` | the alert types, each with where it is known from and its bindings (`unbound`) |
//! | GET | `/api/v1/alert-types/NAME` | one alert type with its rules and last episodes |
//! | GET | `/api/v1/roles` | [`api::roles`]: the roles, who uses them, how they did of late |
//! | GET | `/api/v1/roles/NAME` | one, with its README, its argument spec and its last runs |
//! | GET | `/api/v1/groups` | [`api::groups`]: the groups of the inventory, with how many hosts they have |
//! | GET | `/api/v1/groups/NAME` | one, with its hosts |
//! | GET | `/api/v1/inventory` | the inventory as Ansible's inventory scripts print it, without the envelope |
//! | GET | `/api/v1/inventory/status` | [`api::inventory`]: whether it can be read and is believed, and if not, why |
//! | GET | `/api/v1/audit` | [`core::audit`]: who changed what (`limit`, `cursor`) |
//! | GET | `/api/v1/openapi.json` | [`api::openapi`]: all of this, as an `OpenAPI` document |
//! | GET | `/metrics` (`--web.telemetry-path`) | the exposition format of Prometheus |
//! | GET | `/metrics/hosts` | of it, the metrics of hosts alone |
//! | GET, HEAD | `/-/healthy`, `/-/ready` | 200, or 503 and why not |
//! | POST, PUT | `/-/reload` | reads the configuration again (`--web.enable-lifecycle`) |
//! | GET, POST | everything else | [`portal`]: pages for people |

mod api;
mod authz;
mod context;
mod core;
mod events;
mod portal;
mod requests;
mod router;
mod server;

pub use context::{Context, ReloadRequest};
pub use core::audit_note::Note;
pub use core::forwarded::Prefixes;
pub use events::Events;
pub use server::{bind, serve};
