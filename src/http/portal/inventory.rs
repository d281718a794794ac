//! Notices about an inventory that cannot be read, or whose loss of hosts is not accepted yet.

use chrono::{DateTime, Utc};

use super::components::count;
use crate::services::inventory_watcher::InventoryStatus;

/// The most missing hosts to name.
const NAMES: usize = 10;

/// Describes the read error, if an earlier inventory is in use.
pub(super) fn unread(standing: &InventoryStatus) -> Option<String> {
    let trouble = standing
        .trouble
        .as_ref()
        .filter(|_| standing.is_fallback())?;
    let read = standing.read_at.map(|at| format!(", read at {}", time(at)));
    Some(format!(
        "The inventory has been unreadable since {}: {}.\nDecisions use the last good inventory{}. No run starts until the inventory can be read.",
        time(trouble.since),
        trouble.why,
        read.unwrap_or_default()
    ))
}

/// Describes the hosts that went missing at once.
pub(super) fn shrunk(standing: &InventoryStatus) -> Option<String> {
    let shrunk = standing.shrunk.as_ref()?;
    let mut names: Vec<&str> = shrunk.missing.iter().map(String::as_str).collect();
    let more = names.len().saturating_sub(NAMES);
    names.truncate(NAMES);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let mut text = format!(
        "Since {} the inventory has lost {} of {}: {}{more}. If they stay missing, promansible accepts the loss at {}. Until then it \
         keeps their scrape targets and facts, and runs on these hosts wait.",
        time(shrunk.since),
        shrunk.missing.len(),
        count(shrunk.hosts_before, "host"),
        names.join(", "),
        time(shrunk.believed_at)
    );
    if !shrunk.warnings.is_empty() {
        text = format!("{text}\nAnsible warned: {}", shrunk.warnings);
    }
    Some(text)
}

fn time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}
