//! Marks episodes as due that a guard no longer refuses, one slice of the firing episodes in each transaction.

use chrono::{DateTime, Utc};
use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use crate::model::run::Skip;
use crate::store::StoreError;
use crate::store::disk::tables::{Tables, encode, key_of};
use crate::store::ops::state::WriterState;

/// The number of firing episodes processed by one transaction.
const SLICE: usize = 500;

/// The name in `meta` of the pending scans.
const LOOKS: &str = "look_again";

/// A pending scan for a reason that no longer applies, with its position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PendingScan {
    reason: Skip,
    /// Since when the reason no longer applies.
    at: DateTime<Utc>,
    /// Where the next slice begins.
    from: (i64, u64),
}

/// Schedules a scan that marks firing episodes as due if they were refused for this reason. The scan runs in slices, in
/// this and the following transactions, and continues after a restart.
pub(crate) fn schedule_scan(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    reason: Skip,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    // Start from the beginning: episodes refused since then may be among those already scanned.
    state.looks.retain(|look| look.reason != reason);
    let from = (i64::MIN, 0);
    state.looks.push(PendingScan { reason, at, from });
    keep(tables, state)
}

pub(crate) fn load(tables: &Tables<'_>) -> Result<Vec<PendingScan>, StoreError> {
    let looks = tables.meta.get(LOOKS)?;
    // If it cannot be read, the episodes are decided when their time comes, or when Alertmanager sends them again.
    let looks = looks.and_then(|looks| serde_json::from_slice(looks.value()).ok());
    Ok(looks.unwrap_or_default())
}

fn keep(tables: &mut Tables<'_>, state: &WriterState) -> Result<(), StoreError> {
    tables.meta.insert(LOOKS, encode(&state.looks).as_slice())?;
    Ok(())
}

/// Processes the next slice, if there is one.
pub(crate) fn go_on(tables: &mut Tables<'_>, state: &mut WriterState) -> Result<(), StoreError> {
    let Some(mut look) = state.looks.first().cloned() else {
        return Ok(());
    };
    let mut keys = Vec::new();
    for row in tables.firing.range(look.from..)?.take(SLICE + 1) {
        keys.push(row?.0.value());
    }
    let next = (keys.len() > SLICE).then(|| keys.pop()).flatten();
    for key in keys {
        make_due(tables, state, &look, key)?;
    }
    match next {
        Some(next) => {
            look.from = next;
            state.looks[0] = look;
        }
        None => drop(state.looks.remove(0)),
    }
    keep(tables, state)
}

fn make_due(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    look: &PendingScan,
    key: (i64, u64),
) -> Result<(), StoreError> {
    let key = key_of(key);
    let Some(mut episode) = tables.episode(&key)? else {
        return Ok(());
    };
    let mut found = false;
    for decided in episode.decisions.values_mut() {
        if decided.decision == look.reason.as_str() || decided.refused == Some(look.reason) {
            decided.until = Some(look.at);
            found = true;
        }
    }
    if found {
        tables.put_episode(&key, &mut episode)?;
        state.queue_changed = true;
    }
    Ok(())
}
