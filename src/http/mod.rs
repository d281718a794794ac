//! The HTTP server: API, webhook receiver, metrics, live events and portal.
//!
//! | method | path | response |
//! | --- | --- | --- |
//! | POST | `/api/v1/webhook` | [`api::webhook`]: receives an Alertmanager notification |
//! | GET | `/api/v1/runs` | [`api::runs`]: runs (`state`, `outcome`, `trigger`, `binding`, `schedule`, `role`, `host`, `alertname`, `since`, `until`, `text`, `sort`, `cursor`, `limit`) |
//! | POST | `/api/v1/runs` | [`api::create_run`]: queues a manual run |
//! | GET | `/api/v1/runs/ID` | one run with its episodes and events |
//! | GET | `/api/v1/runs/ID/output` | its output, as text |
//! | GET | `/api/v1/runs/ID/events` | [`events`]: follows the run (`last_event_id`) |
//! | POST | `/api/v1/runs/ID/cancel` | cancels it |
//! | POST | `/api/v1/runs/ID/rerun` | [`api::rerun`]: repeats a run that has ended |
//! | POST | `/api/v1/runs/ID/approve`, `/api/v1/runs/ID/reject` | approves or rejects a run that waits for approval |
//! | GET | `/api/v1/starts` | [`api::guards`]: the last starts on each host, from which cooldowns and attempts are computed |
//! | GET | `/api/v1/guards` | [`api::guards`]: pauses, holds, open circuits, and the runs that are held |
//! | POST | `/api/v1/pause`, `/api/v1/resume` | pauses everything; resumes |
//! | POST | `/api/v1/release`, `/api/v1/bindings/NAME/release` | releases all storm holds, or that of one binding |
//! | POST, DELETE | `/api/v1/hosts/NAME/hold` | holds a host; releases it |
//! | POST | `/api/v1/roles/NAME/close` | closes a role's circuit, so that it runs again |
//! | GET | `/api/v1/events` | every change of a run's state (`last_event_id`) |
//! | GET | `/api/v1/facts` | [`api::facts`]: the hosts with facts |
//! | POST | `/api/v1/facts` | imports facts that were gathered elsewhere |
//! | GET | `/api/v1/facts/HOST`, `/api/v1/facts/HOST/changes` | the facts of a host, and their changes |
//! | GET | `/api/v1/sd` | [`api::http_sd`]: scrape targets for `http_sd` (`group`, `match`, `port`, `scheme`, `metrics_path`) |
//! | GET | `/api/v1/hosts` | [`api::hosts`]: the hosts of the inventory's sources, and the enrolled hosts |
//! | POST | `/api/v1/hosts` | enrolls a host |
//! | GET | `/api/v1/hosts/NAME` | one host |
//! | DELETE | `/api/v1/hosts/NAME` | removes an enrolled host |
//! | GET, POST | `/api/v1/bindings` | [`api::managed`]: the bindings; creates one |
//! | GET, PUT, DELETE | `/api/v1/bindings/NAME` | one; changes or removes it if it was created over the API |
//! | GET, POST | `/api/v1/schedules` | [`api::schedules`]: the schedules, with their next times; creates one |
//! | GET, PUT, DELETE | `/api/v1/schedules/NAME` | as for bindings |
//! | POST | `/api/v1/schedules/NAME/pause`, `/api/v1/schedules/NAME/resume`, `/api/v1/schedules/NAME/run` | pauses it, resumes it, runs it now |
//! | GET | `/api/v1/cron` | the next times of a cron expression (`cron`, `timezone`, `count`, `from`) |
//! | GET | `/api/v1/alerts` | [`api::alerts`]: the firing alerts, newest first (`alertname`, `host`, `limit`, `cursor`) |
//! | GET | `/api/v1/alerts/ID` | one episode, with its full texts |
//! | GET | `/api/v1/alert-types` | the alert types, each with its sources and bindings (`unbound`) |
//! | GET | `/api/v1/alert-types/NAME` | one alert type with its rules and last episodes |
//! | GET | `/api/v1/roles` | [`api::roles`]: the roles, with their bindings, schedules and last runs |
//! | GET | `/api/v1/roles/NAME` | one, with its README, its argument spec and its last runs |
//! | GET | `/api/v1/groups` | [`api::groups`]: the groups of the inventory, with their number of hosts |
//! | GET | `/api/v1/groups/NAME` | one, with its hosts |
//! | GET | `/api/v1/inventory` | the inventory as Ansible's inventory scripts print it, without the envelope |
//! | GET | `/api/v1/inventory/status` | [`api::inventory`]: whether it can be read and is believed, or the reason why not |
//! | GET | `/api/v1/audit` | [`core::audit`]: the audit list (`limit`, `cursor`) |
//! | GET | `/api/v1/openapi.json` | [`api::openapi`]: this API, as an `OpenAPI` document |
//! | GET | `/metrics` (`--web.telemetry-path`) | the exposition format of Prometheus |
//! | GET | `/metrics/hosts` | the metrics of hosts only |
//! | GET, HEAD | `/-/healthy`, `/-/ready` | 200, or 503 with the reason |
//! | POST, PUT | `/-/reload` | reloads the configuration (`--web.enable-lifecycle`) |
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
pub(crate) use core::path::WEBHOOK;
pub use events::Events;
pub use server::{bind, serve};
