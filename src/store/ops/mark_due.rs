//! What a guard no longer refuses is made due, a slice of the firing episodes in each transaction.

use chrono::{DateTime, Utc};
use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use crate::model::run::Skip;
use crate::store::StoreError;
use crate::store::disk::tables::{Tables, encode, key_of};
use crate::store::ops::state::WriterState;

/// How many firing episodes one transaction looks at.
const SLICE: usize = 500;

/// The name in `meta` of what is still to be looked at.
const LOOKS: &str = "look_again";

/// A reason for which episodes were not run and that holds no more, and how far they were looked through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LookAgain {
    reason: Skip,
    /// Since when it holds no more.
    at: DateTime<Utc>,
    /// Where the next slice begins.
    from: (i64, u64),
}

/// Makes those episodes due that fire and were not run for this reason: the first of them in this transaction, the others
/// in those that follow, also after a restart.
pub(crate) fn look_again(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    reason: Skip,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    // From the beginning: what was refused since is among those that were looked at.
    state.looks.retain(|look| look.reason != reason);
    let from = (i64::MIN, 0);
    state.looks.push(LookAgain { reason, at, from });
    keep(tables, state)
}

pub(crate) fn load(tables: &Tables<'_>) -> Result<Vec<LookAgain>, StoreError> {
    let looks = tables.meta.get(LOOKS)?;
    // What cannot be read is met when its time comes, or when Alertmanager tells it again.
    let looks = looks.and_then(|looks| serde_json::from_slice(looks.value()).ok());
    Ok(looks.unwrap_or_default())
}

fn keep(tables: &mut Tables<'_>, state: &WriterState) -> Result<(), StoreError> {
    tables.meta.insert(LOOKS, encode(&state.looks).as_slice())?;
    Ok(())
}

/// Looks at the next slice, if there is one.
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
    look: &LookAgain,
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
