//! The progress of schedules, and the start of their runs.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use redb::ReadableTable;

use crate::config::Schedule;
use crate::metrics::MetricEvent;
use crate::model::run::{Run, RunId, Trigger};
use crate::model::schedule::{LastRun, Paused, Progress, due};
use crate::store::disk::snapshot::Snapshot;
use crate::store::disk::tables::{SCHEDULES, Tables, encode, open_for_reading};
use crate::store::ops::queue::{queue_full, queue_run};
use crate::store::ops::state::WriterState;
use crate::store::{Store, StoreError};

/// The result of a schedule's tick.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TickOutcome {
    /// The queued runs, each with its scheduled time.
    pub runs: Vec<(RunId, DateTime<Utc>)>,
    /// The number of missed times.
    pub missed: u64,
    /// The reason for the missed times.
    pub why_missed: Option<String>,
    /// Whether a due time could not be started yet: check again when the queue changes.
    pub waits: bool,
    /// When to check again at the latest; `None` if the schedule is inactive, or no time will come.
    pub look_at: Option<DateTime<Utc>>,
    /// The next start, including jitter; `None` as for `look_at`.
    pub next: Option<DateTime<Utc>>,
    /// The current progress.
    pub progress: Option<Progress>,
}

/// The reason for a missed time without any other obstacle.
const NOT_RUNNING: &str = "promansible was not running";

fn find(tables: &Tables<'_>, name: &str) -> Result<Option<Progress>, StoreError> {
    let value = tables.schedules.get(name)?;
    Ok(value.and_then(|value| tables.unreadable.decode(SCHEDULES, &name, value.value())))
}

fn put(tables: &mut Tables<'_>, name: &str, progress: &Progress) -> Result<(), StoreError> {
    tables.schedules.insert(name, encode(progress).as_slice())?;
    Ok(())
}

/// Returns why no run of the schedule could be queued now, or `None`.
fn obstacle(
    state: &WriterState,
    schedule: &Schedule,
    hosts: &Result<Vec<String>, String>,
    limit: usize,
) -> Option<String> {
    if let Err(why) = hosts {
        return Some(why.clone());
    }
    let is_of_schedule = |run: &Run| run.schedule.as_deref() == Some(&schedule.name);
    let queued = state.queue.values().map(|queued| &queued.run);
    let running = state.running.values().map(|running| &running.run);
    if !schedule.timing.allow_overlap
        && let Some(run) = queued.chain(running).find(|run| is_of_schedule(run))
    {
        return Some(format!("its run {} had not ended", run.id));
    }
    queue_full(state, limit).map(|full| full.to_string())
}

fn tick(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    schedule: &Schedule,
    hosts: &Result<Vec<String>, String>,
    limit: usize,
    now: DateTime<Utc>,
) -> Result<TickOutcome, StoreError> {
    let (name, timing) = (schedule.name.as_str(), &schedule.timing);
    let old = find(tables, name)?;
    let mut progress = old.clone().unwrap_or_else(|| Progress::begin(timing, now));
    let in_force = schedule.enabled && progress.paused.is_none();
    let text = timing.to_string();
    if !in_force || !progress.active || progress.timing != text {
        // Times that passed while the schedule was inactive, or did not exist, are not missed.
        progress.settled = now;
        progress.timing = text;
        progress.active = in_force;
    }
    let mut ticked = TickOutcome::default();
    if in_force {
        let mut obstacle = obstacle(state, schedule, hosts, limit);
        let due = due(name, timing, &progress, obstacle.is_none(), now);
        progress.settled = due.settled;
        ticked.missed = due.missed;
        ticked.waits = due.waits;
        ticked.look_at = due.look_at;
        ticked.next = due.next;
        for time in due.start {
            // There was room for one run; with `allow_overlap` there can be more.
            if let Some(full) = queue_full(state, limit) {
                ticked.missed += 1;
                obstacle = Some(full.to_string());
                continue;
            }
            let hosts = hosts.as_ref().map_or(&[][..], Vec::as_slice);
            let of_time = (Trigger::Schedule, Some(time), None);
            let run = start(tables, state, schedule, of_time, hosts, limit, now)?;
            progress.last = Some(LastRun {
                run,
                at: now,
                due_at: Some(time),
            });
            ticked.runs.push((run, time));
        }
        if ticked.missed > 0 {
            progress.missed += ticked.missed;
            progress.why_missed = Some(obstacle.unwrap_or_else(|| NOT_RUNNING.to_owned()));
            ticked.why_missed.clone_from(&progress.why_missed);
            state.happened.push(MetricEvent::ScheduleMissed {
                schedule: name.to_owned(),
                times: ticked.missed,
            });
        }
    } else if old.as_ref().is_some_and(|old| !old.active) {
        // While the schedule is inactive, its progress need not be written.
        ticked.progress = old;
        return Ok(ticked);
    }
    if old.as_ref() != Some(&progress) {
        put(tables, name, &progress)?;
    }
    ticked.progress = Some(progress);
    Ok(ticked)
}

fn start(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    schedule: &Schedule,
    (trigger, due_at, by): (Trigger, Option<DateTime<Utc>>, Option<&str>),
    hosts: &[String],
    limit: usize,
    now: DateTime<Utc>,
) -> Result<RunId, StoreError> {
    let shape = |run: &mut Run| {
        run.schedule = Some(schedule.name.clone());
        run.due_at = due_at;
        run.started_by = by.map(str::to_owned);
    };
    queue_run(
        tables,
        state,
        trigger,
        (&schedule.work, hosts),
        shape,
        limit,
        now,
    )
}

fn start_now(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    schedule: &Schedule,
    (hosts, by): (&[String], Option<&str>),
    limit: usize,
    now: DateTime<Utc>,
) -> Result<RunId, StoreError> {
    let run = start(
        tables,
        state,
        schedule,
        (Trigger::Manual, None, by),
        hosts,
        limit,
        now,
    )?;
    let mut progress =
        find(tables, &schedule.name)?.unwrap_or_else(|| Progress::begin(&schedule.timing, now));
    progress.last = Some(LastRun {
        run,
        at: now,
        due_at: None,
    });
    put(tables, &schedule.name, &progress)?;
    Ok(run)
}

fn pause(
    tables: &mut Tables<'_>,
    schedule: &Schedule,
    paused: Option<Paused>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let mut progress =
        find(tables, &schedule.name)?.unwrap_or_else(|| Progress::begin(&schedule.timing, now));
    if progress.paused.is_some() == paused.is_some() {
        return Ok(());
    }
    progress.paused = paused;
    progress.active = false;
    put(tables, &schedule.name, &progress)
}

/// Deletes schedules that do not exist any more.
fn forget_but(tables: &mut Tables<'_>, known: &BTreeSet<String>) -> Result<(), StoreError> {
    let mut removed = Vec::new();
    for row in tables.schedules.iter()? {
        let name = row?.0.value().to_owned();
        if !known.contains(&name) {
            removed.push(name);
        }
    }
    for name in removed {
        tables.schedules.remove(name.as_str())?;
    }
    Ok(())
}

fn all(txn: &Snapshot) -> Result<BTreeMap<String, Progress>, StoreError> {
    let Some(table) = open_for_reading(txn, SCHEDULES)? else {
        return Ok(BTreeMap::new());
    };
    let mut all = BTreeMap::new();
    for row in table.iter()? {
        let (name, value) = row?;
        let name = name.value();
        let progress = txn.unreadable.decode(SCHEDULES, &name, value.value());
        all.extend(progress.map(|progress| (name.to_owned(), progress)));
    }
    Ok(all)
}

impl Store {
    /// Queues the due runs of a schedule, and records missed times; all in one transaction, so that no time has two
    /// runs. `hosts` are the target hosts, or the reason why they are unknown.
    ///
    /// *Durability*: `Ok` is on disk.
    pub async fn tick_schedule(
        &self,
        schedule: std::sync::Arc<Schedule>,
        hosts: Result<Vec<String>, String>,
        queue_limit: usize,
        now: DateTime<Utc>,
    ) -> Result<TickOutcome, StoreError> {
        self.write(move |tables, state| tick(tables, state, &schedule, &hosts, queue_limit, now))
            .await
    }

    /// Queues a run of a schedule on request, at any time, even if the schedule is paused.
    ///
    /// *Durability*: `Ok` is on disk.
    ///
    /// *Errors*: as for [`Store::queue_manual`].
    pub async fn start_schedule(
        &self,
        schedule: std::sync::Arc<Schedule>,
        hosts: Vec<String>,
        started_by: Option<String>,
        queue_limit: usize,
        now: DateTime<Utc>,
    ) -> Result<RunId, StoreError> {
        self.write(move |tables, state| {
            let by = started_by.as_deref();
            start_now(tables, state, &schedule, (&hosts, by), queue_limit, now)
        })
        .await
    }

    /// Pauses a schedule, or resumes it (`None`). Times in between are not missed.
    ///
    /// *Durability*: `Ok` is on disk.
    pub async fn pause_schedule(
        &self,
        schedule: std::sync::Arc<Schedule>,
        paused: Option<Paused>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        self.write(move |tables, _| pause(tables, &schedule, paused.clone(), now))
            .await
    }

    /// Deletes the progress of all schedules except these.
    pub async fn forget_schedules_but(&self, known: BTreeSet<String>) -> Result<(), StoreError> {
        self.write(move |tables, _| forget_but(tables, &known))
            .await
    }

    /// Returns the progress of each schedule.
    pub async fn schedules(&self) -> Result<BTreeMap<String, Progress>, StoreError> {
        self.read(all).await
    }
}
