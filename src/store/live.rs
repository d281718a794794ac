//! What the writer keeps in memory: the queue and what is running. It can always be rebuilt from the tables.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use redb::ReadableTable;
use tokio::sync::watch;

use super::StoreError;
use super::output::Kept;
use super::tables::{Joined, RunEpisode, Tables, decode, meta_number};
use crate::alert::EpisodeKey;
use crate::metrics::Happened;
use crate::run::{Run, RunId, State};

/// The writer's memory.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// How many transactions changed the file; the number of the one at hand.
    pub commits: u64,
    /// The number of the next run.
    pub next_run: u64,
    /// The size of the history: the values of all runs, episodes, events and output, in bytes.
    pub history_bytes: i64,
    /// Runs that wait, oldest first.
    pub queue: BTreeMap<RunId, Queued>,
    /// Runs that are under way.
    pub running: BTreeMap<RunId, Running>,
    /// Binding → the newest run that was made for its alerts, which further hosts may join while it waits.
    pub batches: HashMap<String, RunId>,
    /// Runs that changed in this transaction. They are written once, at its end.
    pub dirty: BTreeSet<RunId>,
    /// What this transaction has to say of runs' episodes. It is written at its end too.
    pub joined: BTreeMap<RunId, Vec<Joined>>,
    /// What to count once this transaction is on disk.
    pub happened: Vec<Happened>,
    /// How many operations of this transaction wrote nothing.
    pub idle: usize,
    /// Whether this transaction changed the queue.
    pub queue_changed: bool,
}

/// A run that waits.
#[derive(Debug)]
pub(super) struct Queued {
    pub run: Run,
    /// The episodes it is about, each with the hosts that it names.
    pub episodes: BTreeMap<EpisodeKey, Vec<String>>,
    /// The run's hosts once more, each with how many of the episodes name it.
    pub hosts: HashMap<String, usize>,
}

impl Queued {
    pub(super) fn new(run: Run, episodes: BTreeMap<EpisodeKey, Vec<String>>) -> Self {
        let mut queued = Self {
            hosts: run.hosts.iter().map(|host| (host.clone(), 0)).collect(),
            run,
            episodes: BTreeMap::new(),
        };
        for (key, hosts) in episodes {
            queued.join(key, &hosts);
        }
        queued
    }

    /// Adds an episode, and the hosts that it names.
    pub(super) fn join(&mut self, key: EpisodeKey, hosts: &[String]) {
        for host in hosts {
            if let Some(named) = self.hosts.get_mut(host) {
                *named += 1;
            } else {
                self.hosts.insert(host.clone(), 1);
                self.run.hosts.push(host.clone());
            }
        }
        self.episodes.insert(key, hosts.to_vec());
    }

    /// Takes an episode out, and yields the hosts that it named. Call [`Self::tidy`] when all have left.
    pub(super) fn leave(&mut self, key: &EpisodeKey) -> Option<Vec<String>> {
        let named = self.episodes.remove(key)?;
        for host in &named {
            if let Some(count) = self.hosts.get_mut(host) {
                *count -= 1;
            }
        }
        Some(named)
    }

    /// Takes out the hosts that no episode names any more.
    pub(super) fn tidy(&mut self) {
        self.hosts.retain(|_, named| *named > 0);
        self.run.hosts.retain(|host| self.hosts.contains_key(host));
    }
}

/// What the owner of a run that is under way holds on to, and the file does not know.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub cancel: watch::Sender<Option<String>>,
    pub output_limit_bytes: u64,
}

/// A run that is under way.
#[derive(Debug)]
pub(super) struct Running {
    pub run: Run,
    pub cancel: watch::Sender<Option<String>>,
    pub kept: Kept,
    /// How many events are kept.
    pub events: u32,
}

impl Live {
    /// Rebuilds it. `held` is what is under way in this process, where the store had to be opened again.
    pub(super) fn load(
        tables: &Tables<'_>,
        held: &BTreeMap<RunId, Held>,
    ) -> Result<Self, StoreError> {
        let mut live = Self {
            commits: meta_number(&tables.meta, "commits")?,
            next_run: meta_number(&tables.meta, "next_run")?.max(1),
            history_bytes: i64::try_from(meta_number(&tables.meta, "history_bytes")?)
                .unwrap_or(i64::MAX),
            ..Self::default()
        };
        for row in tables.open.iter()? {
            let id = RunId(row?.0.value());
            let run: Run = match tables.runs.get(id.0)? {
                Some(value) => decode(value.value())?,
                None => return Err(StoreError::Corrupt(format!("open run {id} is missing"))),
            };
            if run.state == State::Running {
                let held = held.get(&id);
                // Nobody writes any more to a run that nobody holds.
                let limit = held.map_or(0, |held| held.output_limit_bytes);
                let (kept, events) = Kept::load(tables, &run, limit)?;
                let cancel = held.map_or_else(|| watch::channel(None).0, |h| h.cancel.clone());
                live.running.insert(
                    id,
                    Running {
                        run,
                        cancel,
                        kept,
                        events,
                    },
                );
            } else {
                let episodes = tables.still_about(id)?;
                live.note_batch(&run);
                live.queue.insert(id, Queued::new(run, episodes));
            }
        }
        Ok(live)
    }

    /// What is under way, as its owners hold it.
    pub(super) fn held(&self) -> BTreeMap<RunId, Held> {
        let held = |running: &Running| Held {
            cancel: running.cancel.clone(),
            output_limit_bytes: running.kept.limit_bytes(),
        };
        let running = self.running.iter();
        running.map(|(id, running)| (*id, held(running))).collect()
    }

    /// Takes the next run's number.
    pub(super) fn take_run_id(&mut self) -> RunId {
        let id = RunId(self.next_run);
        self.next_run += 1;
        id
    }

    /// Puts a run into the queue.
    pub(super) fn enqueue(
        &mut self,
        tables: &mut Tables<'_>,
        run: Run,
        episodes: BTreeMap<EpisodeKey, Vec<String>>,
    ) -> Result<(), StoreError> {
        tables.open.insert(run.id.0, ())?;
        self.dirty.insert(run.id);
        self.queue_changed = true;
        self.note_batch(&run);
        self.queue.insert(run.id, Queued::new(run, episodes));
        Ok(())
    }

    /// A repetition takes no further hosts, so it must not hide the batch that does.
    fn note_batch(&mut self, run: &Run) {
        if let (Some(binding), None) = (&run.binding, run.rerun_of) {
            self.batches.insert(binding.clone(), run.id);
        }
    }

    /// The queued run that a further alert of this binding may join.
    pub(super) fn open_batch(
        &self,
        binding: &str,
        work: &crate::run::Work,
        since: RunId,
        now: DateTime<Utc>,
    ) -> Option<RunId> {
        let id = *self.batches.get(binding)?;
        let queued = self.queue.get(&id)?;
        let open = id >= since || queued.run.ready_at > now;
        (open && queued.run.work == *work).then_some(id)
    }

    /// Notes what a run has to do with an episode.
    pub(super) fn note_joined(&mut self, id: RunId, key: &EpisodeKey, of_run: RunEpisode) {
        let joined = Joined::new(key, of_run);
        self.joined.entry(id).or_default().push(joined);
    }

    /// The hosts on which a run is under way.
    pub(super) fn busy_hosts(&self) -> HashSet<&str> {
        self.running
            .values()
            .flat_map(|running| running.run.hosts.iter().map(String::as_str))
            .collect()
    }

    /// Writes what changed; the last step of a transaction.
    pub(super) fn flush(&mut self, tables: &mut Tables<'_>) -> Result<(), StoreError> {
        for id in std::mem::take(&mut self.dirty) {
            let run = self
                .queue
                .get(&id)
                .map(|q| &q.run)
                .or_else(|| self.running.get(&id).map(|r| &r.run));
            if let Some(run) = run {
                tables.put_run(run)?;
            }
        }
        for (id, joined) in std::mem::take(&mut self.joined) {
            tables.put_joined(id, &joined)?;
        }
        self.history_bytes = (self.history_bytes + std::mem::take(&mut tables.size_change)).max(0);
        let bytes = u64::try_from(self.history_bytes).unwrap_or(0);
        self.commits += 1;
        for (name, value) in [
            ("commits", self.commits),
            ("history_bytes", bytes),
            ("next_run", self.next_run),
        ] {
            tables.meta.insert(name, value.to_le_bytes().as_slice())?;
        }
        Ok(())
    }
}
