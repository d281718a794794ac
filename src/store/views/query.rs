//! Reads on a snapshot, off the async threads, without waiting for the writer.

use std::sync::Arc;
use std::time::Duration;

use redb::{Database, ReadableTable};

use crate::model::run::{Run, RunId, TaskEvent};
use crate::store::disk::file::panicked;
use crate::store::disk::integrity::ensure_intact;
use crate::store::disk::snapshot::Snapshot;
use crate::store::disk::tables::{
    EPISODES, EVENTS, OUTPUT, RUN_EPISODES, RUNS, episode_key, open_for_reading, read_run_episodes,
};
use crate::store::ops::operation::Message;
use crate::store::ops::output_window::TAIL;
use crate::store::{EpisodeOfRun, Store, StoreError};

/// How long a reader waits for a compaction.
const PATIENCE: Duration = Duration::from_secs(30);

impl Store {
    /// Returns one run.
    pub async fn run(&self, id: RunId) -> Result<Run, StoreError> {
        self.read(move |txn| find_run(txn, id)).await
    }

    /// Returns the episodes of a run, in no particular order.
    pub async fn episodes_of(&self, id: RunId) -> Result<Vec<EpisodeOfRun>, StoreError> {
        self.read(move |txn| {
            let Some(table) = open_for_reading(txn, RUN_EPISODES)? else {
                return Ok(Vec::new());
            };
            let episodes = open_for_reading(txn, EPISODES)?;
            read_run_episodes(&table, &txn.unreadable, id)?
                .into_iter()
                .map(|(key, of_run)| {
                    let episode = match &episodes {
                        Some(episodes) => {
                            let at = episode_key(&key);
                            let value = episodes.get(at)?;
                            value.and_then(|v| txn.unreadable.decode(EPISODES, &at, v.value()))
                        }
                        None => None,
                    };
                    Ok(EpisodeOfRun::new(key, of_run, episode))
                })
                .collect()
        })
        .await
    }

    /// Returns the events of a run from number `from` on, at most `limit`.
    pub async fn events_of(
        &self,
        id: RunId,
        from: u32,
        limit: usize,
    ) -> Result<Vec<TaskEvent>, StoreError> {
        self.read(move |txn| {
            let Some(table) = open_for_reading(txn, EVENTS)? else {
                return Ok(Vec::new());
            };
            let mut events = Vec::new();
            for row in table.range((id.0, from)..=(id.0, u32::MAX))?.take(limit) {
                let (key, value) = row?;
                events.extend(txn.unreadable.decode(EVENTS, &key.value(), value.value()));
            }
            Ok(events)
        })
        .await
    }

    /// Returns the stored output of a run, with a line where output was dropped.
    pub async fn output_of(&self, id: RunId) -> Result<Vec<u8>, StoreError> {
        self.read(move |txn| {
            let run = find_run(txn, id)?;
            let mut output = Vec::new();
            if let Some(table) = open_for_reading(txn, OUTPUT)? {
                kept_output(&table, id, || Ok(run.output_bytes), &mut output)?;
            }
            Ok(output)
        })
        .await
    }

    /// Returns the end of a run's output, at most `limit` stored bytes, and the number of bytes before it, stored or
    /// not. Reads no more than that.
    pub async fn output_end_of(
        &self,
        id: RunId,
        limit: usize,
    ) -> Result<(u64, Vec<u8>), StoreError> {
        self.read(move |txn| {
            let run = find_run(txn, id)?;
            let Some(table) = open_for_reading(txn, OUTPUT)? else {
                return Ok((run.output_bytes, Vec::new()));
            };
            let mut chunks = Vec::new();
            let mut bytes = 0;
            for row in table.range((id.0, 0)..=(id.0, u32::MAX))?.rev() {
                let (key, value) = row?;
                // Output between the head and the tail was dropped, so the head must not be joined with the tail.
                let is_head = key.value().1 < TAIL;
                if bytes >= limit || (is_head && chunks.last().is_some_and(|(tail, _)| *tail)) {
                    break;
                }
                bytes += value.value().len();
                chunks.push((!is_head, value.value().to_vec()));
            }
            let mut end: Vec<u8> = chunks
                .into_iter()
                .rev()
                .flat_map(|(_, bytes)| bytes)
                .collect();
            end.drain(..end.len().saturating_sub(limit));
            Ok((run.output_bytes.saturating_sub(end.len() as u64), end))
        })
        .await
    }

    pub(crate) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Snapshot) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        ensure_intact(&self.integrity)?;
        let database = self.reading().await?;
        let read = tokio::task::spawn_blocking(move || {
            let snapshot = Snapshot::begin(&database)?;
            let answer = query(&snapshot);
            Ok((answer, snapshot.unreadable.take()))
        });
        let read = read.await.unwrap_or_else(|e| {
            Err(match e.try_into_panic() {
                // redb panics on damaged data.
                Ok(panic) => StoreError::Corrupt(panicked(&*panic)),
                Err(_) => StoreError::Closed,
            })
        });
        let (answer, unreadable) = read?;
        self.set_aside(unreadable);
        answer
    }

    async fn reading(&self) -> Result<Arc<Database>, StoreError> {
        if self.current().is_none() && *self.resting.borrow() {
            let mut resting = self.resting.clone();
            let _ = tokio::time::timeout(PATIENCE, resting.wait_for(|is| !is)).await;
        }
        self.current().ok_or_else(|| {
            // The writer may be idle. If its channel is full, it will reopen the file anyway.
            let _ = self.writer.try_send(Message::Open);
            StoreError::Broken("it is being reopened".to_owned())
        })
    }
}

/// Replaces `output` with the stored output of a run, with a line where output was dropped. `total` returns the size of
/// the run's output, and is called only if some may have been dropped.
pub(crate) fn kept_output(
    table: &impl ReadableTable<(u64, u32), &'static [u8]>,
    id: RunId,
    total: impl FnOnce() -> Result<u64, StoreError>,
    output: &mut Vec<u8>,
) -> Result<(), StoreError> {
    output.clear();
    let mut head = None;
    for row in table.range((id.0, 0)..=(id.0, u32::MAX))? {
        let (key, value) = row?;
        if key.value().1 >= TAIL {
            head.get_or_insert(output.len());
        }
        output.extend_from_slice(value.value());
    }
    // Without a tail, nothing was dropped.
    if let Some(head) = head {
        let cut = total()?.saturating_sub(output.len() as u64);
        if cut > 0 {
            let mark = format!("\n[… {cut} bytes of output left out: runs.output_limit …]\n");
            output.splice(head..head, mark.into_bytes());
        }
    }
    Ok(())
}

pub(crate) fn find_run(txn: &Snapshot, id: RunId) -> Result<Run, StoreError> {
    let table = open_for_reading(txn, RUNS)?.ok_or(StoreError::NoSuchRun(id))?;
    let value = table.get(id.0)?.ok_or(StoreError::NoSuchRun(id))?;
    let run = txn.unreadable.decode(RUNS, &id.0, value.value());
    run.ok_or_else(|| StoreError::Corrupt(format!("the row of run {id}, which was set aside")))
}
