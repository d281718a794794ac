//! What pages say of an inventory that cannot be read or is not believed.

use chrono::{DateTime, Utc};

use super::components::count;
use crate::services::inventory_watcher::InventoryStatus;

/// How many names of missing hosts are shown.
const NAMES: usize = 10;

/// Why the inventory cannot be read, where an earlier one is used meanwhile.
pub(super) fn unread(standing: &InventoryStatus) -> Option<String> {
    let trouble = standing
        .trouble
        .as_ref()
        .filter(|_| standing.is_fallback())?;
    let read = standing.read_at.map(|at| format!(", read at {}", time(at)));
    Some(format!(
        "It cannot be read since {}: {}.\nAlerts are decided by the last good one{}; no run starts until it can be read.",
        time(trouble.since),
        trouble.why,
        read.unwrap_or_default()
    ))
}

/// What is missing from it all at once.
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
        "Since {} the inventory lacks {} of {}: {}{more}. If that stays so, it is believed at {}; until then scrape targets and \
         facts stay, and runs on these hosts wait.",
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
