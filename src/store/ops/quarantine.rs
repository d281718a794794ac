//! Quarantine of rows that cannot be decoded: they are set aside with their bytes, and everything else works without
//! them.
//!
//! Code that cannot decode a row records it and treats it as missing. At the end of a transaction the recorded rows
//! move to a separate table. Readers cannot write, so they send the recorded rows to the writer.

use chrono::{DateTime, Utc};
use redb::{ReadableTable, ReadableTableMetadata, TableHandle as _, Value as _};
use serde::{Deserialize, Serialize};

use crate::metrics::MetricEvent;
use crate::model::run::{Outcome, RunId};
use crate::store::disk::tables::{EPISODES, RUNS, Tables, encode, grown};
use crate::store::disk::unreadable::{BadRow, Removal};
use crate::store::ops::retention::delete_run_data;
use crate::store::ops::state::WriterState;
use crate::store::{Store, StoreError};

/// The maximum number of quarantined rows. Further rows are only removed and logged.
const MOST: u64 = 10_000;

/// The maximum stored size of a row's value. *Units*: bytes.
const MOST_BYTES: usize = 1 << 20;

/// The metadata of a quarantined row.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    key: String,
    reason: String,
    at: DateTime<Utc>,
    /// The full length of the value, of which the beginning is stored.
    bytes: usize,
}

/// Quarantines the rows that this transaction could not decode.
pub(crate) fn settle(tables: &mut Tables<'_>, state: &mut WriterState) -> Result<(), StoreError> {
    // Cleaning up after one row may read others.
    while !tables.unreadable.is_empty() {
        for row in tables.unreadable.take() {
            set_aside(tables, state, &row)?;
        }
    }
    Ok(())
}

/// Moves a row to the quarantine, if it is unchanged since it was read, and cleans up the data that depends on it.
pub(crate) fn set_aside(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    row: &BadRow,
) -> Result<(), StoreError> {
    let moved = take_out(tables, row)?;
    if !keep(tables, row, state.now)? && !moved {
        return Ok(());
    }
    state.quarantined = tables.quarantine.len()?;
    state.happened.push(MetricEvent::Quarantined {
        table: row.table.clone(),
        key: row.shown.clone(),
        reason: row.reason.clone(),
    });
    let length = grown(row.bytes.len(), None);
    if row.table == RUNS.name() {
        let id = RunId(u64::from_bytes(&row.key));
        if moved {
            tables.runs_change -= length;
        }
        return lose_run(tables, state, id);
    }
    if moved && row.table == EPISODES.name() {
        let at = <(i64, u64)>::from_bytes(&row.key);
        tables.episodes_change -= length;
        tables.firing.remove(at)?;
        tables.due.retain(|(_, since, of), ()| (since, of) != at)?;
    } else if moved && row.in_history() {
        tables.runs_change -= length;
    }
    Ok(())
}

/// Removes a run with a lost row from everything that waits for its end. A run in the writer's memory is written again.
fn lose_run(tables: &mut Tables<'_>, state: &mut WriterState, id: RunId) -> Result<(), StoreError> {
    if state.queue.contains_key(&id) || state.running.contains_key(&id) {
        state.dirty.insert(id);
        return Ok(());
    }
    if tables.runs.get(id.0)?.is_some() {
        return Ok(());
    }
    for (key, _) in tables.run_episodes(id)? {
        let Some(mut episode) = tables.episode(&key)? else {
            continue;
        };
        let mut any = false;
        for decided in episode.decisions.values_mut() {
            if decided.run == Some(id) && decided.outcome.is_none() {
                decided.outcome = Some(Outcome::Interrupted);
                decided.ended_at = Some(state.now);
                any = true;
            }
        }
        if any {
            tables.put_episode(&key, &mut episode)?;
        }
    }
    tables.open.remove(id.0)?;
    delete_run_data(tables, id)
}

/// Stores a copy. Returns whether it is new.
fn keep(tables: &mut Tables<'_>, row: &BadRow, at: DateTime<Utc>) -> Result<bool, StoreError> {
    let key = (row.table.as_str(), row.key.as_slice());
    let bytes = &row.bytes[..row.bytes.len().min(MOST_BYTES)];
    let known = tables.quarantine.get(key)?;
    if known.is_some_and(|known| known.value().1 == bytes) {
        return Ok(false);
    }
    if tables.quarantine.len()? >= MOST {
        return Ok(false);
    }
    let head = encode(&Head {
        key: row.shown.clone(),
        reason: row.reason.clone(),
        at,
        bytes: row.bytes.len(),
    });
    tables.quarantine.insert(key, (head.as_slice(), bytes))?;
    Ok(true)
}

fn take_out(tables: &mut Tables<'_>, row: &BadRow) -> Result<bool, StoreError> {
    tables.with_values(row.table.as_str(), &Removal(row))
}

impl Store {
    /// Sends rows that a reader could not decode to the writer, without waiting: if it fails, the rows will be found
    /// again.
    pub(crate) fn set_aside(&self, rows: Vec<BadRow>) {
        if !rows.is_empty() {
            self.send_unawaited(move |tables, state| {
                rows.iter()
                    .try_for_each(|row| set_aside(tables, state, row))
            });
        }
    }
}

#[cfg(test)]
mod tests;
