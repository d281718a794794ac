//! Events and output of running runs.

use bytes::Bytes;

use crate::model::run::{RunId, TaskEvent};
use crate::store::StoreError;
use crate::store::disk::tables::{Tables, encode, grown};
use crate::store::ops::state::WriterState;

pub(crate) fn append(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    id: RunId,
    events: &[TaskEvent],
    output: &[Bytes],
    events_limit: u64,
) -> Result<(), StoreError> {
    let running = state
        .running
        .get_mut(&id)
        .ok_or(StoreError::NoSuchRun(id))?;
    state.touched.insert(id);
    for event in events {
        if u64::from(running.events) >= events_limit {
            running.run.events_dropped += 1;
            state.dirty.insert(id);
            continue;
        }
        let json = encode(event);
        tables
            .events
            .insert((id.0, running.events), json.as_slice())?;
        tables.runs_change += grown(json.len(), None);
        running.events += 1;
    }
    for chunk in output {
        running.kept.keep(tables, id, chunk)?;
    }
    if !output.is_empty() {
        // Lets readers of a running run see how much was dropped.
        running.run.output_bytes = running.kept.total_bytes();
        state.dirty.insert(id);
    }
    Ok(())
}
