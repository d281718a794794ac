//! `/api/v1/inventory/status`: whether the inventory can be read and is believed.

use chrono::{DateTime, Utc};
use hyper::Method;
use serde::Serialize;

use crate::http::Context;
use crate::http::core::reply::{self, Reply};
use crate::services::inventory_watcher::{InventoryStatus, Shrunk, Trouble};

/// The maximum number of listed missing hosts.
const NAMES: usize = 100;

#[derive(Serialize)]
struct Status {
    /// Whether alerts can be decided now.
    usable: bool,
    /// Whether the last attempt to read it succeeded. No run starts otherwise.
    readable: bool,
    /// The number of hosts; absent until it is first read.
    #[serde(skip_serializing_if = "Option::is_none")]
    hosts: Option<usize>,
    /// When it was last read successfully since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    read_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<TroubleAnswer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shrunk: Option<ShrunkAnswer>,
}

#[derive(Serialize)]
struct TroubleAnswer {
    /// The messages of Ansible and of inventory scripts; several lines.
    why: String,
    since: DateTime<Utc>,
}

#[derive(Serialize)]
struct ShrunkAnswer {
    since: DateTime<Utc>,
    /// When the loss is believed if it persists.
    believed_at: DateTime<Utc>,
    hosts_before: usize,
    missing: usize,
    /// The first missing hosts, by name.
    missing_hosts: Vec<String>,
    /// Warnings of Ansible while reading it.
    warnings: String,
}

impl Status {
    fn of(standing: &InventoryStatus, usable: bool) -> Self {
        Self {
            usable,
            readable: standing.trouble.is_none() && standing.present.is_some(),
            hosts: standing.present.as_ref().map(|inventory| inventory.len()),
            read_at: standing.read_at,
            trouble: standing.trouble.as_ref().map(TroubleAnswer::of),
            shrunk: standing.shrunk.as_ref().map(ShrunkAnswer::of),
        }
    }
}

impl TroubleAnswer {
    fn of(trouble: &Trouble) -> Self {
        Self {
            why: trouble.why.to_string(),
            since: trouble.since,
        }
    }
}

impl ShrunkAnswer {
    fn of(shrunk: &Shrunk) -> Self {
        Self {
            since: shrunk.since,
            believed_at: shrunk.believed_at,
            hosts_before: shrunk.hosts_before,
            missing: shrunk.missing.len(),
            missing_hosts: shrunk.missing.iter().take(NAMES).cloned().collect(),
            warnings: shrunk.warnings.to_string(),
        }
    }
}

pub(crate) fn status(context: &Context, method: &Method) -> Reply {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return reply::method_not_allowed("GET, HEAD");
    }
    let usable = context.inventory.latest().is_ok();
    reply::success(&Status::of(&context.inventory.status(), usable))
}
