//! What a guard no longer refuses is made due.

use chrono::{DateTime, Utc};
use redb::ReadableTable;

use super::StoreError;
use super::live::Live;
use super::tables::{Tables, key_of};
use crate::run::Skip;

/// Makes those episodes due now that fire and were not run for this reason.
pub(super) fn look_again(
    tables: &mut Tables<'_>,
    live: &mut Live,
    reason: Skip,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let mut keys = Vec::new();
    for row in tables.firing.iter()? {
        keys.push(key_of(row?.0.value()));
    }
    for key in keys {
        let Some(mut episode) = tables.episode(&key)? else {
            continue;
        };
        let mut found = false;
        for decided in episode.decisions.values_mut() {
            if decided.decision == reason.as_str() || decided.refused == Some(reason) {
                decided.until = Some(now);
                found = true;
            }
        }
        if found {
            tables.put_episode(&key, &mut episode)?;
            live.queue_changed = true;
        }
    }
    Ok(())
}
