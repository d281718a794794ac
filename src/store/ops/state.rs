//! What the writer keeps in memory: the queue and what is running. It can always be rebuilt from the tables.

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
use crate::store::ops::mark_due::LookAgain;
use crate::store::ops::output_window::OutputWindow;
use crate::store::ops::retention::Retained;
use crate::store::ops::{guard_rows, mark_due, quarantine};

/// The writer's memory.
#[derive(Debug, Default)]
pub(crate) struct WriterState {
    /// How many transactions changed the file; the number of the one at hand.
    pub commits: u64,
    /// The number of the next run.
    pub next_run: u64,
    /// The size of the history of runs: their values, events and output, in bytes.
    pub runs_bytes: i64,
    /// The size of all episodes, in bytes.
    pub episodes_bytes: i64,
    /// Where retention goes on looking for old episodes.
    pub retention_from: Option<(i64, u64)>,
    /// Where it goes on looking for old runs.
    pub retention_run: Option<u64>,
    /// When it last found nothing that may go, although the history is too large.
    pub fruitless_at: Option<DateTime<Utc>>,
    /// What the configuration says of the history, as last heard.
    pub storage: Option<Storage>,
    /// How large the history may be for the time being, because the file may not grow. *Units*: bytes.
    pub rows_limit: Option<i64>,
    /// Whether this transaction deleted history.
    pub freed: bool,
    /// What was deleted since somebody asked.
    pub deleted: Retained,
    /// What a guard no longer refuses, so that firing episodes are made due.
    pub looks: Vec<LookAgain>,
    /// Runs that wait, oldest first. Taken out by [`Self::take`], so that what follows stays right.
    pub queue: BTreeMap<RunId, Queued>,
    /// How many alerts they are about.
    pub queued_alerts: usize,
    /// How far the queue was looked through for a run that can start.
    pub scan: Option<Scan>,
    /// What the inventory says of the hosts. It is none of the file's: it outlives that the file is opened again.
    pub fleet: Arc<Fleet>,
    /// What is remembered for the guards.
    pub guards: State,
    /// Until when the queued runs that want an approval can get it.
    pub approvals: BTreeSet<(DateTime<Utc>, RunId)>,
    /// Whether this transaction changed what is paused, held or open.
    pub guards_changed: bool,
    /// Runs that are under way.
    pub running: BTreeMap<RunId, Running>,
    /// Binding → the queued runs that were made for its alerts. Further hosts may join the newest while it waits; a
    /// repetition takes none, so it is none of these.
    batches: HashMap<String, BTreeSet<RunId>>,
    /// Runs that changed in this transaction. They are written once, at its end.
    pub dirty: BTreeSet<RunId>,
    /// What this transaction has to say of runs' episodes. It is written at its end too.
    pub joined: BTreeMap<RunId, Vec<RunEpisodeChange>>,
    /// What to count once this transaction is on disk.
    pub happened: Vec<MetricEvent>,
    /// Runs that got something new in this transaction, whatever it is.
    pub touched: BTreeSet<RunId>,
    /// Runs whose state is another one now.
    pub moved: Vec<RunId>,
    /// The time, as the writer tells it.
    pub now: DateTime<Utc>,
    /// How many rows were set aside because they could not be decoded.
    pub quarantined: u64,
    /// Whether this transaction changed the queue.
    pub queue_changed: bool,
}

/// A look through the queue, up to a run. It holds as long as no host has become free since.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The machines that are busy, or waited for by one of the runs that were looked at.
    pub taken: HashSet<String>,
    pub upto: RunId,
    pub at: DateTime<Utc>,
    /// When the first of the windows closes.
    pub next: Option<DateTime<Utc>>,
}

/// A run that waits.
#[derive(Debug)]
pub(crate) struct Queued {
    pub run: Run,
    /// The episodes it is about, each with the hosts that it names.
    pub episodes: BTreeMap<EpisodeKey, Vec<String>>,
    /// The run's hosts once more, each with how many of the episodes name it.
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

    /// Whether its batch window is open. A clock that was set back to before it was made must not hold it up.
    pub(crate) fn waits(&self, now: DateTime<Utc>) -> bool {
        self.run.ready_at > now && now >= self.run.created_at
    }

    /// Adds an episode, and the hosts that it names.
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

    /// Notes that it leaves a host out.
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

    /// Takes out the hosts that no episode names any more.
    fn tidy(&mut self) {
        self.hosts.retain(|_, named| *named > 0);
        self.run.hosts.retain(|host| self.hosts.contains_key(host));
    }
}

/// What the owner of a run that is under way holds on to, and the file does not know.
#[derive(Debug, Clone)]
pub(crate) struct RunHandle {
    pub cancel: watch::Sender<Option<String>>,
    pub output_limit_bytes: u64,
}

/// A run that is under way.
#[derive(Debug)]
pub(crate) struct Running {
    pub run: Run,
    pub cancel: watch::Sender<Option<String>>,
    pub kept: OutputWindow,
    /// How many events are kept.
    pub events: u32,
}

impl WriterState {
    /// Rebuilds it. `held` is what is under way in this process, where the store had to be opened again.
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
                // Nobody writes any more to a run that nobody holds.
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

    /// What is under way, as its owners hold it.
    pub(crate) fn held(&self) -> BTreeMap<RunId, RunHandle> {
        let held = |running: &Running| RunHandle {
            cancel: running.cancel.clone(),
            output_limit_bytes: running.kept.limit_bytes(),
        };
        let running = self.running.iter();
        running.map(|(id, running)| (*id, held(running))).collect()
    }

    /// A queued run with the next number. It has no binding and no hosts yet, and waits for nothing.
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

    /// Takes the next run's number.
    pub(crate) fn take_run_id(&mut self) -> RunId {
        let id = RunId(self.next_run);
        self.next_run += 1;
        id
    }

    /// Puts a run into the queue.
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

    /// Puts a run into the queue of which the file knows.
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

    /// Takes a run out of the queue.
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

    /// Adds an episode to a queued run, with the hosts that it names.
    pub(crate) fn join(&mut self, id: RunId, key: EpisodeKey, hosts: &[String]) {
        let queued = self.queue.get_mut(&id).expect("the run was just found");
        let before = queued.episodes.len();
        queued.join(key, hosts);
        self.queued_alerts += queued.episodes.len() - before;
        self.dirty.insert(id);
        self.queue_changed = true;
    }

    /// Takes an episode out of a queued run, if it is in it, and yields the hosts that it named. Call [`Self::tidy`] when
    /// all have left.
    pub(crate) fn leave(&mut self, id: RunId, key: &EpisodeKey) -> Option<Vec<String>> {
        let hosts = self.queue.get_mut(&id)?.leave(key)?;
        self.queued_alerts -= 1;
        self.queue_changed = true;
        Some(hosts)
    }

    /// Takes the hosts out of a queued run that no episode names any more.
    pub(crate) fn tidy(&mut self, id: RunId) {
        if let Some(queued) = self.queue.get_mut(&id) {
            queued.tidy();
            self.dirty.insert(id);
            self.scan = None;
        }
    }

    /// The queued run that a further alert of this binding may join.
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

    /// Notes what a run has to do with an episode.
    pub(crate) fn note_joined(&mut self, id: RunId, key: &EpisodeKey, of_run: RunEpisode) {
        let joined = RunEpisodeChange::new(key, of_run);
        self.joined.entry(id).or_default().push(joined);
    }

    /// The machines on which a run is under way: by what was known when it started, and by what is known now.
    pub(crate) fn busy_machines(&self) -> impl Iterator<Item = &str> {
        let running = self.running.values();
        running.flat_map(|running| {
            let then = running.run.machines.values().map(String::as_str);
            then.chain(self.fleet.machines_of(&running.run))
        })
    }

    /// Writes what changed; the last step of a transaction. Yields whether anything did.
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

/// The binding whose further alerts may join this run.
fn batch_of(run: &Run) -> Option<&str> {
    let joins = run.rerun_of.is_none()
        && run.vain_starts == 0
        && !run.on_resolved
        && !run.remedy.is_some_and(|remedy| remedy.probe);
    run.binding.as_deref().filter(|_| joins)
}
