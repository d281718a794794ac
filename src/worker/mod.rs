//! Takes runs from the store, starts them, keeps what they say, and ends them.
//!
//! It never speaks with the HTTP side: a run comes out of the store, and so does the wish to cancel it.

mod end;
mod gathered;
mod told;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::alert::Alert;
use crate::ansible::{
    AlertData, Ansible, Case, Cause, Ending, Progress, RoleKind, Spec, StartError, Started, judge,
    last_words,
};
use crate::clock;
use crate::config::Config;
use crate::inventory::{Inventory, resolve_name};
use crate::inventory_keeper::{InventoryKeeper, Unavailable};
use crate::metrics::Metrics;
use crate::run::{HostResult, Outcome, Run, RunId, Trigger};
use crate::shutdown::Shutdown;
use crate::store::{Claim, Claimed, Ended, Store, StoreError};
use end::End;
use told::Told;

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
        let mut inventory = self.inventory.watch();
        let mut changed = self.store.changed();
        let mut config = self.config.clone();
        let mut under_way = JoinSet::new();
        while !shutdown.is_asked() {
            while under_way.try_join_next().is_some() {}
            let current = Arc::clone(&config.borrow_and_update());
            let max = current.runs.max_concurrent;
            changed.borrow_and_update();
            let mut next = None;
            // Ansible reads the same inventory: what cannot be read now would only fail.
            if inventory.is_usable() && under_way.len() < max {
                match self.store.claim(current, clock::now()).await {
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
                () = inventory.changed() => {}
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
        // That the inventory cannot be read, or that promansible ends, is no reason for an alert to lose its run.
        let inventory = match self.inventory_for(&run).await {
            Ok(inventory) if !self.shutdown.is_asked() => inventory,
            _ => return self.put_back(run.id).await,
        };
        let gone = gone(&run, &inventory);
        let hosts = run.hosts.iter().filter(|host| !gone.contains_key(*host));
        let hosts: Vec<String> = hosts.cloned().collect();
        let end = if hosts.is_empty() {
            let why = gone.values().next().map_or("", String::as_str);
            End::of_nothing(why, &hosts)
        } else {
            self.run_on(&run, &inventory, &hosts, &alerts, cancel).await
        };
        let End { mut ended, began } = end;
        if !began {
            let why = ended.message.clone().unwrap_or_default();
            if self.try_again(&run, &why).await {
                return;
            }
            if run.vain_starts > 0 {
                let starts = run.vain_starts + 1;
                ended.message = Some(format!("no task began in {starts} starts: {why}"));
            }
        }
        for (host, why) in gone {
            ended.outcome = ended.outcome.max(Outcome::Failed);
            ended.message.get_or_insert_with(|| end::not_started(&why));
            let result = HostResult::bare(Outcome::Failed, Some(why));
            ended.results.insert(host, result);
        }
        self.finish(run.id, ended).await;
    }

    async fn run_on(
        &self,
        run: &Run,
        inventory: &Inventory,
        hosts: &[String],
        alerts: &[(Alert, Vec<String>)],
        cancel: watch::Receiver<Option<String>>,
    ) -> End {
        let alerts = by_host(alerts, hosts);
        let ansible = Arc::clone(&self.ansible.borrow());
        let enrolled: Vec<_> = inventory.enrolled().cloned().collect();
        let spec = Spec {
            run: run.id,
            trigger: run.trigger,
            binding: run.binding.as_deref(),
            work: &run.work,
            kind: self.kind(run),
            hosts,
            enrolled: &enrolled,
            alerts: &alerts,
        };
        match ansible.start(&spec) {
            Ok(started) => {
                tracing::info!(
                    run = run.id.0,
                    roles = run.work.roles.join(","),
                    hosts = hosts.join(","),
                    binding = run.binding,
                    "run started"
                );
                self.attend(run.id, &spec, started, cancel).await
            }
            // Time does not mend it.
            Err(e @ StartError::Build(_)) => End {
                began: true,
                ..End::of_nothing(&e.to_string(), hosts)
            },
            Err(e) => End::of_nothing(&e.to_string(), hosts),
        }
    }

    /// Where the run's roles are looked up first. A person may name roles of both kinds, but none whose name is in both
    /// folders; so this matters only for what the roles themselves name.
    fn kind(&self, run: &Run) -> RoleKind {
        let is_alerts = |role: &String| self.config.borrow().roles.alert.contains(role);
        match run.trigger {
            Trigger::Alert => RoleKind::Alert,
            Trigger::Manual if run.work.roles.first().is_some_and(is_alerts) => RoleKind::Alert,
            Trigger::Schedule | Trigger::Manual => RoleKind::Routine,
        }
    }

    /// The inventory as it is now. A run on the controller needs none; it is told of the hosts that are known.
    async fn inventory_for(&self, run: &Run) -> Result<Arc<Inventory>, Unavailable> {
        if run.work.controller {
            return Ok(self.inventory.latest().unwrap_or_default());
        }
        self.inventory.fresh().await
    }

    /// Stays with a run until its last process has ended.
    async fn attend(
        &self,
        id: RunId,
        spec: &Spec<'_>,
        mut started: Started,
        mut cancel: watch::Receiver<Option<String>>,
    ) -> End {
        let mut shutdown = self.shutdown.clone();
        let deadline = tokio::time::sleep(spec.work.timeout);
        tokio::pin!(deadline);
        let mut told = Told::new(&self.config.borrow());
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
                    let after = crate::config::format_duration(spec.work.timeout);
                    Some((Cause::TimedOut, format!("it took longer than {after}")))
                }
                () = shutdown.asked(), if !stopping => {
                    Some((Cause::Interrupted, "promansible is ending".to_owned()))
                }
            };
            if let Some((cause, why)) = wish {
                started.stop.now();
                stop = Some((cause, why + &told.where_it_is()));
            }
            if told.is_due() {
                told.keep(&self.store, id).await;
            }
        };
        told.keep(&self.store, id).await;
        self.metrics.events_rejected(ending.junk_lines);
        let cause = Cause::of(&ending, stop.as_ref().map(|(cause, _)| *cause));
        let judged = judge(&Case {
            hosts: spec.hosts,
            alerts: spec.alerts,
            stats: ending.stats.as_ref(),
            heard: &told.heard,
            last_words: &last_words(&told.last_bytes),
            cause,
        });
        let began = told.began || stop.is_some();
        let ended = Ended {
            outcome: judged.outcome,
            results: judged.results,
            message: match (cause, stop) {
                (Cause::Canceled | Cause::TimedOut | Cause::Interrupted, Some((_, why))) => {
                    Some(why)
                }
                _ => judged.message,
            },
            findings: told.findings(),
        };
        End { ended, began }
    }

    /// Puts a run back that was not begun. If that cannot be kept, the next start finds it under way and interrupts it.
    async fn put_back(&self, id: RunId) {
        while let Err(e) = self.store.put_back(id, clock::now()).await {
            tracing::error!(run = id.0, error = %e, "the run cannot be put back into the queue yet");
            if self.shutdown.is_asked() || !matches!(e, StoreError::Broken(_)) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
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

/// The hosts that have left the inventory since the decision, each with why. Ansible might read such a name as
/// something else: as a group's, or, for `localhost`, as the controller's.
fn gone(run: &Run, inventory: &Inventory) -> BTreeMap<String, String> {
    if run.work.controller {
        return BTreeMap::new();
    }
    let gone = run.hosts.iter().filter_map(|host| {
        let unresolved = resolve_name(inventory, host).err()?;
        let why = format!("the inventory changed since it was decided: {unresolved}");
        Some((host.clone(), why))
    });
    gone.collect()
}

fn log_end(run: &Run) {
    let millis = match (run.started_at, run.finished_at) {
        (Some(from), Some(to)) => (to - from).num_milliseconds(),
        _ => 0,
    };
    #[allow(clippy::cast_precision_loss)] // a run does not take 200,000 years
    let seconds = millis as f64 / 1000.0;
    let outcome = run.outcome.map_or("", Outcome::as_str);
    let (run_id, message) = (run.id.0, run.message.as_deref());
    if run.outcome == Some(Outcome::Successful) {
        tracing::info!(run = run_id, outcome, seconds, message, "run ended");
    } else {
        tracing::warn!(run = run_id, outcome, seconds, message, "run ended");
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
fn by_host(alerts: &[(Alert, Vec<String>)], hosts: &[String]) -> BTreeMap<String, Vec<AlertData>> {
    let touched: HashSet<&String> = hosts.iter().collect();
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
