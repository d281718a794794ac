//! Reading: on a snapshot, off the async threads, without waiting for the writer.

use std::sync::Arc;

use redb::{Database, ReadTransaction, ReadableDatabase};

use super::kept::TAIL;
use super::tables::{
    EPISODES, EVENTS, OUTPUT, RUN_EPISODES, RUNS, decode, episode_key, open_for_reading,
    read_run_episodes,
};
use super::writer::Message;
use super::{EpisodeOfRun, Store, StoreError};
use crate::run::{Outcome, Run, RunId, State, TaskEvent};

/// Which runs to list; a field that is `None` does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Queued, running or finished.
    pub state: Option<State>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// A binding's name.
    pub binding: Option<String>,
    /// A role that it runs.
    pub role: Option<String>,
    /// A host that it touches.
    pub host: Option<String>,
}

impl RunFilter {
    fn takes(&self, run: &Run) -> bool {
        fn is<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
            wanted.is_none_or(|wanted| Some(wanted) == found)
        }
        is(self.state.as_ref(), Some(&run.state))
            && is(self.outcome.as_ref(), run.outcome.as_ref())
            && is(self.binding.as_ref(), run.binding.as_ref())
            && self.role.iter().all(|role| run.work.roles.contains(role))
            && self.host.iter().all(|host| run.hosts.contains(host))
    }
}

/// The most that the runs of one page take in the store, unless one alone takes more. *Units*: bytes.
const PAGE_BYTES: usize = 4 << 20;

/// A page of runs, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The runs.
    pub runs: Vec<Run>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<RunId>,
}

impl Store {
    /// Lists runs, newest first, from `before` (exclusive) on: at most `limit`, and fewer where they are large, but at least
    /// one if any is left.
    pub async fn runs(
        &self,
        filter: RunFilter,
        before: Option<RunId>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.read(move |txn| {
            let mut page = Page {
                runs: Vec::new(),
                next: None,
            };
            let Some(table) = open_for_reading(txn, RUNS)? else {
                return Ok(page);
            };
            let mut bytes = 0;
            for row in table.range(..before.map_or(u64::MAX, |id| id.0))?.rev() {
                let (_, value) = row?;
                let run: Run = decode(value.value())?;
                if !filter.takes(&run) {
                    continue;
                }
                bytes += value.value().len();
                if page.runs.len() == limit || (bytes > PAGE_BYTES && !page.runs.is_empty()) {
                    page.next = page.runs.last().map(|last| last.id);
                    break;
                }
                page.runs.push(run);
            }
            Ok(page)
        })
        .await
    }

    /// One run.
    pub async fn run(&self, id: RunId) -> Result<Run, StoreError> {
        self.read(move |txn| find_run(txn, id)).await
    }

    /// What a run is about, in no particular order.
    pub async fn episodes_of(&self, id: RunId) -> Result<Vec<EpisodeOfRun>, StoreError> {
        self.read(move |txn| {
            let Some(table) = open_for_reading(txn, RUN_EPISODES)? else {
                return Ok(Vec::new());
            };
            let episodes = open_for_reading(txn, EPISODES)?;
            read_run_episodes(&table, id)?
                .into_iter()
                .map(|(key, of_run)| {
                    let episode = match &episodes {
                        Some(episodes) => episodes
                            .get(episode_key(&key))?
                            .map(|value| decode(value.value()))
                            .transpose()?,
                        None => None,
                    };
                    Ok(EpisodeOfRun::new(key, of_run, episode))
                })
                .collect()
        })
        .await
    }

    /// The events of a run from number `from` on, at most `limit`.
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
            table
                .range((id.0, from)..=(id.0, u32::MAX))?
                .take(limit)
                .map(|row| decode(row?.1.value()))
                .collect()
        })
        .await
    }

    /// What is kept of a run's output, with a line where something was cut.
    pub async fn output_of(&self, id: RunId) -> Result<Vec<u8>, StoreError> {
        self.read(move |txn| {
            let run = find_run(txn, id)?;
            let (mut head, mut tail) = (Vec::new(), Vec::new());
            if let Some(table) = open_for_reading(txn, OUTPUT)? {
                for row in table.range((id.0, 0)..=(id.0, u32::MAX))? {
                    let (key, value) = row?;
                    let part = if key.value().1 < TAIL {
                        &mut head
                    } else {
                        &mut tail
                    };
                    part.extend_from_slice(value.value());
                }
            }
            let kept = (head.len() + tail.len()) as u64;
            let cut = run.output_bytes.saturating_sub(kept);
            if cut > 0 {
                let mark = format!("\n[… {cut} bytes of output left out: runs.output_limit …]\n");
                head.extend_from_slice(mark.as_bytes());
            }
            head.append(&mut tail);
            Ok(head)
        })
        .await
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&ReadTransaction) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = self.reading()?;
        tokio::task::spawn_blocking(move || {
            let txn = database.begin_read()?;
            query(&txn)
        })
        .await
        .map_err(|_| StoreError::Closed)?
    }

    fn reading(&self) -> Result<Arc<Database>, StoreError> {
        let database = self
            .database
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone();
        database.ok_or_else(|| {
            // Nobody may be writing. If the writer has more to do than it can hold, it will come to this anyway.
            let _ = self.writer.try_send(Message::Open);
            StoreError::Broken("it is being opened again".to_owned())
        })
    }
}

fn find_run(txn: &ReadTransaction, id: RunId) -> Result<Run, StoreError> {
    let table = open_for_reading(txn, RUNS)?.ok_or(StoreError::NoSuchRun(id))?;
    let value = table.get(id.0)?.ok_or(StoreError::NoSuchRun(id))?;
    decode(value.value())
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;
    use serde_json::json;

    use super::*;
    use crate::metrics::Metrics;

    const MIB: usize = 1 << 20;

    fn run(id: u64, binding: &str, bytes: usize) -> Run {
        serde_json::from_value(json!({
            "id": id, "trigger": "alert", "binding": binding, "hosts": ["h"], "state": "finished",
            "work": {"roles": ["r"], "become": false, "gather_facts": false, "timeout_seconds": 1},
            "created_at": "2026-11-22T10:00:00Z", "ready_at": "2026-11-22T10:00:00Z",
            "message": "x".repeat(bytes),
        }))
        .unwrap()
    }

    async fn pages(store: &Store, binding: Option<&str>, limit: usize) -> Vec<Vec<u64>> {
        let filter = RunFilter {
            binding: binding.map(str::to_owned),
            ..RunFilter::default()
        };
        let (mut pages, mut before) = (Vec::new(), None);
        loop {
            let page = store.runs(filter.clone(), before, limit).await.unwrap();
            pages.push(page.runs.iter().map(|run| run.id.0).collect());
            before = page.next;
            if before.is_none() {
                return pages;
            }
        }
    }

    #[tokio::test]
    async fn a_page_ends_where_its_runs_are_too_large() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new(Registry::new()).unwrap();
        let path = folder.path().join("store.redb");
        let now = "2026-11-22T10:00:00Z".parse().unwrap();
        let store = super::super::open(&path, &metrics, now).unwrap().store;
        let mut runs = vec![run(1, "b", 1), run(2, "a", 5 * MIB), run(3, "b", 9 * MIB)];
        runs.extend((4..=9).map(|id| run(id, if id % 2 == 0 { "a" } else { "b" }, 3 * MIB / 2)));
        let put = move |tables: &mut super::super::tables::Tables<'_>, _: &mut _| {
            runs.iter().try_for_each(|run| tables.put_run(run))
        };
        store.ask(put).await.unwrap();

        let all = [&[9, 8][..], &[7, 6], &[5, 4], &[3], &[2], &[1]];
        assert_eq!(pages(&store, None, 1000).await, all);
        assert_eq!(
            pages(&store, Some("a"), 1000).await,
            [&[8, 6][..], &[4], &[2]]
        );
        assert_eq!(
            pages(&store, Some("b"), 1000).await,
            [&[9, 7][..], &[5], &[3], &[1]]
        );
        assert_eq!(pages(&store, Some("b"), 1).await.concat(), [9, 7, 5, 3, 1]);
        assert_eq!(pages(&store, Some("c"), 1000).await, [[0_u64; 0]]);
        store.close().await;
    }
}
