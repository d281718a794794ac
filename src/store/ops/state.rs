//! The writer's memory: the queue and the running runs. It can always be rebuilt from the tables.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use redb::{ReadableTable, ReadableTableMetadata};
use tokio::sync::watch;

use crate::config::Storage;
use crate::metrics::MetricEvent;
use crate::model::alert::EpisodeKey;
use crate::model::guards::State;
use crate::model::run::{
    RemediationStep, Run, RunId, SkippedHost, State as RunState, Trigger, Work,
};
use crate::model::verdict::Verdicts;
use crate::store::StoreError;
use crate::store::disk::records::{RunEpisode, RunEpisodeChange};
use crate::store::disk::tables::{RUNS, Tables, meta_number};
use crate::store::disk::unreadable::BadRow;
use crate::store::ops::fleet::Fleet;
use crate::store::ops::mark_due::PendingScan;
use crate::store::ops::output_window::OutputWindow;
use crate::store::ops::retention::Retained;
use crate::store::ops::{guard_rows, mark_due, quarantine};

/// The writer's memory.
#[derive(Debug, Default)]
pub(crate) struct WriterState {
    /// The number of transactions that changed the file, which is the number of the current one.
    pub commits: u64,
    /// The number of the next run.
    pub next_run: u64,
    /// The size of the history of runs: their values, events and output, in bytes.
    pub runs_bytes: i64,
    /// The size of all episodes, in bytes.
    pub episodes_bytes: i64,
    /// Where retention continues to search for old episodes.
    pub retention_from: Option<(i64, u64)>,
    /// Where retention continues to search for old runs.
    pub retention_run: Option<u64>,
    /// When retention last found nothing to delete, although the history is too large.
    pub fruitless_at: Option<DateTime<Utc>>,
    /// The last known configuration of the history.
    pub storage: Option<Storage>,
    /// The temporary limit of the history while the file may not grow. *Units*: bytes.
    pub rows_limit: Option<i64>,
    /// Whether this transaction deleted history.
    pub freed: bool,
    /// The deletions since the last request.
    pub deleted: Retained,
    /// The pending scans for episodes that a guard no longer refuses.
    pub looks: Vec<PendingScan>,
    /// The queued runs, oldest first. Remove them with [`Self::take`], which keeps the derived fields consistent.
    pub queue: BTreeMap<RunId, Queued>,
    /// The number of alerts in the queued runs.
    pub queued_alerts: usize,
    /// The progress of the search for a run that can start.
    pub scan: Option<Scan>,
    /// The inventory's data about hosts. It is not part of the file, and survives reopening it.
    pub fleet: Arc<Fleet>,
    /// The state of the guards.
    pub guards: State,
    /// The queued runs that wait for approval, with the time when it expires.
    pub approvals: BTreeSet<(DateTime<Utc>, RunId)>,
    /// Whether this transaction changed the pause, holds or circuits.
    pub guards_changed: bool,
    /// The running runs.
    pub running: BTreeMap<RunId, Running>,
    /// Binding → the queued runs for its alerts. Further hosts may join the newest while it waits. Repetitions accept
    /// no hosts and are not included.
    batches: HashMap<String, BTreeSet<RunId>>,
    /// The runs that changed in this transaction. They are written once, at its end.
    pub dirty: BTreeSet<RunId>,
    /// The changes to runs' episodes in this transaction. They are written at its end too.
    pub joined: BTreeMap<RunId, Vec<RunEpisodeChange>>,
    /// The events to count after the commit.
    pub happened: Vec<MetricEvent>,
    /// The runs with any new data in this transaction.
    pub touched: BTreeSet<RunId>,
    /// The runs whose state changed.
    pub moved: Vec<RunId>,
    /// The current time of the writer.
    pub now: DateTime<Utc>,
    /// The number of quarantined rows.
    pub quarantined: u64,
    /// Whether this transaction changed the queue.
    pub queue_changed: bool,
}

/// A search through the queue, up to a run. It is valid as long as no host becomes free.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The machines that are busy, or that one of the examined runs waits for.
    pub taken: HashSet<String>,
    pub upto: RunId,
    pub at: DateTime<Utc>,
    /// When the first batch window closes.
    pub next: Option<DateTime<Utc>>,
}

/// A queued run.
#[derive(Debug)]
pub(crate) struct Queued {
    pub run: Run,
    /// The episodes of the run, each with its hosts.
    pub episodes: BTreeMap<EpisodeKey, Vec<String>>,
    /// The hosts of the run, each with the number of episodes that name it.
    pub hosts: HashMap<String, usize>,
}

impl Queued {
    fn new(run: Run, episodes: BTreeMap<EpisodeKey, Vec<String>>) -> Self {
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

    /// Returns whether the batch window is open. A clock that was set back to before the run's creation must not delay
    /// it.
    pub(crate) fn waits(&self, now: DateTime<Utc>) -> bool {
        self.run.ready_at > now && now >= self.run.created_at
    }

    /// Adds an episode with its hosts.
    fn join(&mut self, key: EpisodeKey, hosts: &[String]) {
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

    /// Records a skipped host.
    pub(crate) fn spare(&mut self, spared: SkippedHost) {
        if self.run.spared.iter().all(|s| s.host != spared.host) {
            self.run.spared.push(spared);
        }
    }

    fn leave(&mut self, key: &EpisodeKey) -> Option<Vec<String>> {
        let named = self.episodes.remove(key)?;
        for host in &named {
            if let Some(count) = self.hosts.get_mut(host) {
                *count -= 1;
            }
        }
        Some(named)
    }

    /// Removes the hosts that no episode names any more.
    fn tidy(&mut self) {
        self.hosts.retain(|_, named| *named > 0);
        self.run.hosts.retain(|host| self.hosts.contains_key(host));
    }
}

/// The data of a running run that is not in the file, shared with its owner.
#[derive(Debug, Clone)]
pub(crate) struct RunHandle {
    pub cancel: watch::Sender<Option<String>>,
    pub output_limit_bytes: u64,
}

/// A running run.
#[derive(Debug)]
pub(crate) struct Running {
    pub run: Run,
    pub cancel: watch::Sender<Option<String>>,
    pub kept: OutputWindow,
    /// The number of stored events.
    pub events: u32,
}

impl WriterState {
    /// Rebuilds the memory. `held` are the running runs of this process, if the store was reopened.
    pub(crate) fn load(
        tables: &Tables<'_>,
        held: &BTreeMap<RunId, RunHandle>,
        now: DateTime<Utc>,
    ) -> Result<Self, StoreError> {
        let mut state = Self {
            commits: meta_number(&*tables.meta, "commits")?,
            next_run: meta_number(&*tables.meta, "next_run")?.max(1),
            runs_bytes: i64::try_from(meta_number(&*tables.meta, "runs_bytes")?)
                .unwrap_or(i64::MAX),
            episodes_bytes: i64::try_from(meta_number(&*tables.meta, "episodes_bytes")?)
                .unwrap_or(i64::MAX),
            guards: guard_rows::load(tables)?,
            quarantined: tables.quarantine.len()?,
            looks: mark_due::load(tables)?,
            now,
            ..Self::default()
        };
        for row in tables.open.iter()? {
            let id = RunId(row?.0.value());
            let Some(value) = tables.runs.get(id.0)? else {
                tables.unreadable.note_missing(BadRow::missing_run(id));
                continue;
            };
            let run = tables.unreadable.decode(RUNS, &id.0, value.value());
            let Some(run): Option<Run> = run else {
                continue;
            };
            if run.state == RunState::Running {
                let held = held.get(&id);
                // A run without an owner gets no further output.
                let limit = held.map_or(0, |held| held.output_limit_bytes);
                let (kept, events) = OutputWindow::load(tables, &run, limit)?;
                let cancel = held.map_or_else(|| watch::channel(None).0, |h| h.cancel.clone());
                state.running.insert(
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
                if let Some(binding) = &run.binding {
                    for host in &run.hosts {
                        let of = (binding.as_str(), run.id);
                        guard_rows::note_recent(&mut state.guards, of, host, run.created_at);
                    }
                }
                state.put(run, episodes);
            }
        }
        Ok(state)
    }

    /// Returns the handles of the running runs.
    pub(crate) fn held(&self) -> BTreeMap<RunId, RunHandle> {
        let held = |running: &Running| RunHandle {
            cancel: running.cancel.clone(),
            output_limit_bytes: running.kept.limit_bytes(),
        };
        let running = self.running.iter();
        running.map(|(id, running)| (*id, held(running))).collect()
    }

    /// Creates a queued run with the next number, without a binding, hosts or a batch window.
    pub(crate) fn new_run(&mut self, trigger: Trigger, work: Work, now: DateTime<Utc>) -> Run {
        Run {
            id: self.take_run_id(),
            trigger,
            binding: None,
            schedule: None,
            due_at: None,
            started_by: None,
            work,
            hosts: Vec::new(),
            machines: BTreeMap::new(),
            state: RunState::Queued,
            created_at: now,
            ready_at: now,
            vain_starts: 0,
            started_at: None,
            finished_at: None,
            outcome: None,
            results: BTreeMap::new(),
            message: None,
            remedy: None,
            approval: None,
            spared: Vec::new(),
            verdicts: Verdicts::default(),
            on_resolved: false,
            rerun_of: None,
            location: None,
            output_bytes: 0,
            events_dropped: 0,
        }
    }

    /// Allocates the number of the next run.
    pub(crate) fn take_run_id(&mut self) -> RunId {
        let id = RunId(self.next_run);
        self.next_run += 1;
        id
    }

    /// Adds a new run to the queue.
    pub(crate) fn enqueue(
        &mut self,
        tables: &mut Tables<'_>,
        run: Run,
        episodes: BTreeMap<EpisodeKey, Vec<String>>,
    ) -> Result<(), StoreError> {
        tables.open.insert(run.id.0, ())?;
        self.dirty.insert(run.id);
        self.moved.push(run.id);
        self.queue_changed = true;
        self.put(run, episodes);
        Ok(())
    }

    /// Adds a run to the queue that is already in the file.
    pub(crate) fn put(&mut self, run: Run, episodes: BTreeMap<EpisodeKey, Vec<String>>) {
        self.queued_alerts += episodes.len();
        if let Some(binding) = batch_of(&run) {
            let batches = self.batches.entry(binding.to_owned()).or_default();
            batches.insert(run.id);
        }
        if let Some(approval) = run.approval.as_ref().filter(|a| a.is_wanted()) {
            self.approvals.insert((approval.until, run.id));
        }
        self.queue.insert(run.id, Queued::new(run, episodes));
    }

    /// Removes a run from the queue.
    pub(crate) fn take(&mut self, id: RunId) -> Option<Queued> {
        let queued = self.queue.remove(&id)?;
        self.queued_alerts -= queued.episodes.len();
        if let Some(approval) = &queued.run.approval {
            self.approvals.remove(&(approval.until, id));
        }
        if let Some(binding) = batch_of(&queued.run)
            && let Some(batches) = self.batches.get_mut(binding)
        {
            batches.remove(&id);
            if batches.is_empty() {
                self.batches.remove(binding);
            }
        }
        Some(queued)
    }

    /// Adds an episode with its hosts to a queued run.
    pub(crate) fn join(&mut self, id: RunId, key: EpisodeKey, hosts: &[String]) {
        let queued = self.queue.get_mut(&id).expect("the run was just found");
        let before = queued.episodes.len();
        queued.join(key, hosts);
        self.queued_alerts += queued.episodes.len() - before;
        self.dirty.insert(id);
        self.queue_changed = true;
    }

    /// Removes an episode from a queued run, if it is in it, and returns its hosts. Call [`Self::tidy`] after the last
    /// removal.
    pub(crate) fn leave(&mut self, id: RunId, key: &EpisodeKey) -> Option<Vec<String>> {
        let hosts = self.queue.get_mut(&id)?.leave(key)?;
        self.queued_alerts -= 1;
        self.queue_changed = true;
        Some(hosts)
    }

    /// Removes the hosts from a queued run that no episode names any more.
    pub(crate) fn tidy(&mut self, id: RunId) {
        if let Some(queued) = self.queue.get_mut(&id) {
            queued.tidy();
            self.dirty.insert(id);
            self.scan = None;
        }
    }

    /// Returns the queued run that a further alert of this binding may join.
    pub(crate) fn open_batch(
        &self,
        binding: &str,
        (work, remedy): (&Work, RemediationStep),
        since: RunId,
        now: DateTime<Utc>,
        alerts_limit: usize,
    ) -> Option<RunId> {
        let id = *self.batches.get(binding)?.last()?;
        let queued = self.queue.get(&id)?;
        let open = (id >= since || queued.waits(now)) && queued.episodes.len() < alerts_limit;
        let same = queued.run.work == *work && queued.run.remedy == Some(remedy);
        (open && same).then_some(id)
    }

    /// Records a change of an episode in a run.
    pub(crate) fn note_joined(&mut self, id: RunId, key: &EpisodeKey, of_run: RunEpisode) {
        let joined = RunEpisodeChange::new(key, of_run);
        self.joined.entry(id).or_default().push(joined);
    }

    /// Returns the machines with running runs: those known at the start of the run, and those known now.
    pub(crate) fn busy_machines(&self) -> impl Iterator<Item = &str> {
        let running = self.running.values();
        running.flat_map(|running| {
            let then = running.run.machines.values().map(String::as_str);
            then.chain(self.fleet.machines_of(&running.run))
        })
    }

    /// Writes the changes, as the last step of a transaction. Returns whether there were any.
    pub(crate) fn flush(&mut self, tables: &mut Tables<'_>) -> Result<bool, StoreError> {
        quarantine::settle(tables, self)?;
        for id in std::mem::take(&mut self.dirty) {
            let run = self
                .queue
                .get(&id)
                .map(|q| &q.run)
                .or_else(|| self.running.get(&id).map(|r| &r.run));
            if let Some(run) = run {
                tables.put_run(run)?;
                self.touched.insert(id);
            }
        }
        for (id, joined) in std::mem::take(&mut self.joined) {
            tables.put_joined(id, &joined)?;
        }
        tables.write_types()?;
        quarantine::settle(tables, self)?;
        if !tables.is_dirty() {
            return Ok(false);
        }
        self.runs_bytes = (self.runs_bytes + std::mem::take(&mut tables.runs_change)).max(0);
        self.episodes_bytes =
            (self.episodes_bytes + std::mem::take(&mut tables.episodes_change)).max(0);
        self.commits += 1;
        let bytes = |bytes| u64::try_from(bytes).unwrap_or(0);
        for (name, value) in [
            ("commits", self.commits),
            ("episodes_bytes", bytes(self.episodes_bytes)),
            ("next_run", self.next_run),
            ("runs_bytes", bytes(self.runs_bytes)),
        ] {
            tables.meta.insert(name, value.to_le_bytes().as_slice())?;
        }
        Ok(true)
    }
}

/// Returns the binding whose further alerts may join this run.
fn batch_of(run: &Run) -> Option<&str> {
    let joins = run.rerun_of.is_none()
        && run.vain_starts == 0
        && !run.on_resolved
        && !run.remedy.is_some_and(|remedy| remedy.probe);
    run.binding.as_deref().filter(|_| joins)
}
