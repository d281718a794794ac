//! Takes runs from the store, starts them, keeps what they say, and ends them.
//!
//! It never speaks with the HTTP side: a run comes out of the store, and so does the wish to cancel it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::alert::Alert;
use crate::ansible::{
    AlertData, Ansible, Cause, Ending, Event, Progress, RoleKind, Spec, Started, judge,
};
use crate::clock;
use crate::config::Config;
use crate::inventory::resolve_name;
use crate::inventory_keeper::InventoryKeeper;
use crate::metrics::Metrics;
use crate::run::{HostResult, Outcome, Run, RunId, TaskEvent, Trigger};
use crate::shutdown::Shutdown;
use crate::store::{Claim, Claimed, Ended, Store, StoreError};

/// How long what a run says may wait to be kept, so that many lines share a commit.
const FLUSH: Duration = Duration::from_millis(100);

/// How much of it may wait.
const BUFFER: usize = 64 << 10;

/// How long to leave a broken store alone.
const PAUSE: Duration = Duration::from_millis(500);

/// What the worker needs.
#[derive(Clone)]
pub struct Worker {
    /// Where the runs are.
    pub store: Store,
    /// The configuration that is in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// Starts runs, by that configuration.
    pub ansible: watch::Receiver<Arc<Ansible>>,
    /// Knows the inventory.
    pub inventory: InventoryKeeper,
    /// Our own metrics.
    pub metrics: Metrics,
    /// Becomes true when promansible is to end.
    pub shutdown: Shutdown,
}

impl Worker {
    /// Works until shutdown, then ends what is under way (it becomes `interrupted`) and returns when all of it is kept.
    pub async fn run(self) {
        let mut shutdown = self.shutdown.clone();
        tokio::select! {
            () = shutdown.asked() => return,
            () = self.inventory.known() => {}
        }
        let mut changed = self.store.changed();
        let mut config = self.config.clone();
        let mut under_way = JoinSet::new();
        while !shutdown.is_asked() {
            while under_way.try_join_next().is_some() {}
            let (max, output_limit) = {
                let runs = &config.borrow_and_update().runs;
                (runs.max_concurrent, runs.output_limit_bytes)
            };
            changed.borrow_and_update();
            let mut next = None;
            if under_way.len() < max {
                match self.store.claim(clock::now(), output_limit).await {
                    Ok(Claim::Run(claimed)) => {
                        under_way.spawn(self.clone().execute(*claimed));
                        continue;
                    }
                    Ok(Claim::Nothing { next: at }) => next = at,
                    Err(StoreError::Closed) => break,
                    Err(e) => {
                        tracing::error!(error = %e, "no run can be taken from the store");
                        next = Some(clock::now() + PAUSE);
                    }
                }
            }
            tokio::select! {
                () = shutdown.asked() => {}
                _ = changed.changed() => {}
                _ = config.changed() => {}
                Some(_) = under_way.join_next() => {}
                () = sleep_until(next) => {}
            }
        }
        while under_way.join_next().await.is_some() {}
    }

    async fn execute(self, claimed: Claimed) {
        let Claimed {
            run,
            alerts,
            cancel,
        } = claimed;
        tracing::info!(
            run = run.id.0,
            roles = run.work.roles.join(","),
            hosts = run.hosts.join(","),
            binding = run.binding,
            "run started"
        );
        let alerts = by_host(&alerts, &run);
        let ansible = Arc::clone(&self.ansible.borrow());
        let spec = Spec {
            run: run.id,
            trigger: run.trigger,
            binding: run.binding.as_deref(),
            work: &run.work,
            kind: match run.trigger {
                Trigger::Alert => RoleKind::Alert,
                Trigger::Schedule | Trigger::Manual => RoleKind::Routine,
            },
            hosts: &run.hosts,
            alerts: &alerts,
        };
        let ended = match self.gone(&run).await {
            Some(why) => not_started(&run, Outcome::Failed, &why),
            None if self.shutdown.is_asked() => {
                not_started(&run, Outcome::Interrupted, "promansible is ending")
            }
            None => match ansible.start(&spec) {
                Ok(started) => self.attend(&run, started, cancel).await,
                Err(e) => not_started(&run, Outcome::Failed, &e.to_string()),
            },
        };
        self.finish(run.id, ended).await;
    }

    /// Whether a host has left the inventory since the decision. Ansible might read its name as something else then:
    /// as a group's, or, for `localhost`, as the controller's.
    async fn gone(&self, run: &Run) -> Option<String> {
        if run.work.controller {
            return None;
        }
        let inventory = self.inventory.fresh().await?;
        run.hosts.iter().find_map(|host| {
            let unresolved = resolve_name(&inventory, host).err()?;
            Some(format!(
                "the inventory changed since it was decided: {unresolved}"
            ))
        })
    }

    /// Stays with a run until its last process has ended.
    async fn attend(
        &self,
        run: &Run,
        mut started: Started,
        mut cancel: watch::Receiver<Option<String>>,
    ) -> Ended {
        let mut shutdown = self.shutdown.clone();
        let deadline = tokio::time::sleep(run.work.timeout);
        tokio::pin!(deadline);
        let mut told = Told::new(self.config.borrow().runs.events_limit);
        let mut stop: Option<(Cause, String)> = None;
        let ending = loop {
            let stopping = stop.is_some();
            let wish = tokio::select! {
                progress = started.progress.recv() => match progress {
                    Some(Progress::Ended(ending)) => break ending,
                    Some(Progress::Output(bytes)) => { told.output(&bytes); None }
                    Some(Progress::Event(event)) => { told.event(event, clock::now()); None }
                    None => break Ending::default(),
                },
                () = tokio::time::sleep_until(told.flush_at), if told.waits() => None,
                who = canceled(&mut cancel), if !stopping => {
                    Some((Cause::Canceled, format!("canceled by {who}")))
                }
                () = &mut deadline, if !stopping => {
                    let after = crate::config::format_duration(run.work.timeout);
                    Some((Cause::TimedOut, format!("it took longer than {after}")))
                }
                () = shutdown.asked(), if !stopping => {
                    Some((Cause::Interrupted, "promansible is ending".to_owned()))
                }
            };
            if let Some(wish) = wish {
                started.stop.now();
                stop = Some(wish);
            }
            if told.is_due() {
                told.keep(&self.store, run.id).await;
            }
        };
        told.keep(&self.store, run.id).await;
        self.metrics.events_rejected(ending.junk_lines);
        let cause = Cause::of(&ending, stop.as_ref().map(|(cause, _)| *cause));
        let judged = judge(&run.hosts, ending.stats.as_ref(), &told.failures, cause);
        let stopped = matches!(
            cause,
            Cause::Canceled | Cause::TimedOut | Cause::Interrupted
        );
        Ended {
            outcome: judged.outcome,
            results: judged.results,
            message: match stop {
                Some((_, why)) if stopped => Some(why),
                _ => judged.message,
            },
        }
    }

    /// Keeps how a run ended. While the store is broken it tries again: what is shown must be what happened.
    async fn finish(&self, id: RunId, ended: Ended) {
        loop {
            match self.store.finish(id, ended.clone(), clock::now()).await {
                Ok(run) => return log_end(&run),
                Err(e @ (StoreError::Broken(_) | StoreError::Corrupt(_)))
                    if !self.shutdown.is_asked() =>
                {
                    tracing::error!(run = id.0, error = %e, "the run's end is not kept yet");
                    tokio::time::sleep(PAUSE).await;
                }
                // An earlier try is on disk, although the disk failed while it was written.
                Err(StoreError::Finished(_)) => {
                    if let Ok(run) = self.store.run(id).await {
                        log_end(&run);
                    }
                    return;
                }
                Err(e) => {
                    tracing::error!(run = id.0, error = %e, "the run's end is not kept: it will show as interrupted");
                    return;
                }
            }
        }
    }
}

fn log_end(run: &Run) {
    let seconds = match (run.started_at, run.finished_at) {
        (Some(from), Some(to)) => (to - from).as_seconds_f64(),
        _ => 0.0,
    };
    let outcome = run.outcome.map_or("", Outcome::as_str);
    tracing::info!(
        run = run.id.0,
        outcome,
        seconds,
        message = run.message,
        "run ended"
    );
}

fn not_started(run: &Run, outcome: Outcome, why: &str) -> Ended {
    let result = HostResult::bare(outcome, Some(why.to_owned()));
    let results = run.hosts.iter().map(|host| (host.clone(), result.clone()));
    Ended {
        outcome,
        results: results.collect(),
        message: Some(format!("it was not started: {why}")),
    }
}

async fn sleep_until(at: Option<DateTime<Utc>>) {
    match at {
        Some(at) => {
            let left = (at - clock::now()).to_std().unwrap_or_default();
            // A clock that was set back must not let a run wait for hours.
            tokio::time::sleep(left.min(Duration::from_secs(1))).await;
        }
        None => std::future::pending().await,
    }
}

async fn canceled(cancel: &mut watch::Receiver<Option<String>>) -> String {
    let who = cancel
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|who| who.clone());
    match who {
        Some(who) => who,
        // Nobody can cancel it any more.
        None => std::future::pending().await,
    }
}

/// Each host with its alerts, as its roles are to see them.
fn by_host(alerts: &[(Alert, Vec<String>)], run: &Run) -> BTreeMap<String, Vec<AlertData>> {
    let touched: HashSet<&String> = run.hosts.iter().collect();
    let mut by_host: BTreeMap<String, Vec<AlertData>> = BTreeMap::new();
    for (alert, hosts) in alerts {
        for host in hosts.iter().filter(|host| touched.contains(host)) {
            by_host
                .entry(host.clone())
                .or_default()
                .push(AlertData::from(alert));
        }
    }
    by_host
}

/// What a run has said and the store has not yet.
struct Told {
    events: Vec<TaskEvent>,
    output: BytesMut,
    failures: BTreeMap<String, String>,
    flush_at: Instant,
    events_limit: u64,
}

impl Told {
    fn new(events_limit: u64) -> Self {
        Self {
            events: Vec::new(),
            output: BytesMut::new(),
            failures: BTreeMap::new(),
            flush_at: Instant::now(),
            events_limit,
        }
    }

    fn waits(&self) -> bool {
        !self.events.is_empty() || !self.output.is_empty()
    }

    fn is_due(&self) -> bool {
        self.output.len() >= BUFFER || (self.waits() && Instant::now() >= self.flush_at)
    }

    fn first_waits(&mut self) {
        if !self.waits() {
            self.flush_at = Instant::now() + FLUSH;
        }
    }

    fn output(&mut self, bytes: &[u8]) {
        self.first_waits();
        self.output.extend_from_slice(bytes);
    }

    fn event(&mut self, event: Event, now: DateTime<Utc>) {
        let Event::Task(report) = event else {
            return;
        };
        if report.is_failure() {
            let said = report.message.clone().unwrap_or_default();
            let failure = format!("{}: {said}", report.task);
            self.failures.entry(report.host.clone()).or_insert(failure);
        }
        self.first_waits();
        self.events.push(report.at(now));
    }

    async fn keep(&mut self, store: &Store, run: RunId) {
        if !self.waits() {
            return;
        }
        let events = std::mem::take(&mut self.events);
        let output = if self.output.is_empty() {
            Vec::new()
        } else {
            vec![self.output.split().freeze()]
        };
        if let Err(e) = store.append(run, events, output, self.events_limit).await {
            tracing::error!(run = run.0, error = %e, "what the run said is lost");
        }
    }
}
