//! What a run tells while it is under way: events, and output.

use bytes::Bytes;

use super::StoreError;
use super::live::Live;
use super::tables::{Tables, encode, grown};
use crate::run::{RunId, TaskEvent};

pub(super) fn append(
    tables: &mut Tables<'_>,
    live: &mut Live,
    id: RunId,
    events: &[TaskEvent],
    output: &[Bytes],
    events_limit: u64,
) -> Result<(), StoreError> {
    let running = live.running.get_mut(&id).ok_or(StoreError::NoSuchRun(id))?;
    live.touched.insert(id);
    for event in events {
        if u64::from(running.events) >= events_limit {
            running.run.events_dropped += 1;
            live.dirty.insert(id);
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
        // So that a reader of a run under way knows how much was cut.
        running.run.output_bytes = running.kept.total_bytes();
        live.dirty.insert(id);
    }
    Ok(())
}
