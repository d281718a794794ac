//! Takes runs from the store, starts them, keeps what they say, and ends them.
//!
//! It never speaks with the HTTP side: a run comes out of the store, and so does the wish to cancel it.

mod departed_hosts;
mod ending;
mod findings;
mod panics;
mod persist;
mod recorder;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::ansible::{
    AlertData, Ansible, Cause, Ending, Progress, RoleKind, RunEnding, Spec, StartError, Started,
    error_excerpt, evaluate,
};
use crate::config::{Config, Target, template_in};
use crate::metrics::Metrics;
use crate::model::alert::Alert;
use crate::model::inventory::Inventory;
use crate::model::run::{HostResult, Outcome, Run, Trigger};
use crate::services::inventory_watcher::{InventoryWatcher, Unavailable};
use crate::store::{Claim, Claimed, Ended, Store, StoreError};
use crate::util::shutdown::Shutdown;
use crate::util::supervisor::catch_panic;
use crate::util::{clock, test_faults};
use departed_hosts::{gone, moved};
use ending::{Carried, End};
use panics::{end_with, panicked, wait_for_end};
use recorder::Told;

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
    pub inventory: InventoryWatcher,
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
            while let Some(ended) = under_way.try_join_next() {
                end_with(ended);
            }
            let current = Arc::clone(&config.borrow_and_update());
            let max = current.runs.max_concurrent;
            changed.borrow_and_update();
            let mut next = None;
            // Ansible reads the same inventory: what cannot be read now would only fail.
            if inventory.is_current() && under_way.len() < max {
                let claim = self.store.claim(current, clock::now());
                // A run that is claimed after that shows as interrupted.
                let Some(claim) = self.patiently(claim).await else {
                    break;
                };
                match claim {
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
                Some(ended) = under_way.join_next() => end_with(ended),
                () = sleep_until(next) => {}
            }
        }
        while let Some(ended) = under_way.join_next().await {
            end_with(ended);
        }
    }

    /// Has a run carried out and keeps how it ended. If that panics it has failed, once its processes have ended.
    async fn execute(self, claimed: Claimed) {
        let (id, hosts) = (claimed.run.id, claimed.run.hosts.clone());
        // Here, so that it is still there after a panic.
        let mut started = None;
        let ended = match catch_panic(self.carry_out(claimed, &mut started)).await {
            Ok(Carried::Ended(ended)) => ended,
            Ok(Carried::NotBegun) => return self.put_back(id).await,
            Ok(Carried::QueuedAgain) => return,
            Err(why) => {
                tracing::error!(run = id.0, error = why, "the task of a run panicked");
                if let Some(started) = started {
                    wait_for_end(started).await;
                }
                panicked(&hosts, &why)
            }
        };
        self.finish(id, ended).await;
    }

    async fn carry_out(&self, claimed: Claimed, started: &mut Option<Started>) -> Carried {
        let Claimed {
            run,
            alerts,
            cancel,
        } = claimed;
        // That the inventory cannot be read, or that promansible ends, is no reason for an alert to lose its run.
        let inventory = match self.inventory_for(&run).await {
            Ok(inventory) if !self.shutdown.is_asked() && is_as_claimed(&run, &inventory) => {
                inventory
            }
            Ok(_) if !self.shutdown.is_asked() => {
                // The store learns of it at the same time as we, unless it is broken just now.
                tokio::time::sleep(PAUSE).await;
                return Carried::NotBegun;
            }
            _ => return Carried::NotBegun,
        };
        let gone = self.gone(&run, &inventory, &alerts);
        let hosts = run.hosts.iter().filter(|host| !gone.contains_key(*host));
        let hosts: Vec<String> = hosts.cloned().collect();
        let end = if hosts.is_empty() {
            let why = gone.values().next().map_or("", String::as_str);
            End::of_nothing(why, &hosts)
        } else if let Some(why) = template(&run, &inventory) {
            // Time does not mend it.
            End {
                began: true,
                ..End::of_nothing(&why, &hosts)
            }
        } else {
            let alerts = by_host(&alerts, &hosts);
            let running = self.run_on((&run, &inventory), &hosts, &alerts, cancel, started);
            test_faults::exposed("run", running).await
        };
        let End { mut ended, began } = end;
        if !began {
            let why = ended.message.clone().unwrap_or_default();
            if self.try_again(&run, &why).await {
                return Carried::QueuedAgain;
            }
            if run.vain_starts > 0 {
                let starts = run.vain_starts + 1;
                ended.message = Some(format!("no task began in {starts} starts: {why}"));
            }
        }
        for (host, why) in gone {
            ended.outcome = ended.outcome.max(Outcome::Failed);
            ended
                .message
                .get_or_insert_with(|| ending::not_started(&why));
            let result = HostResult::bare(Outcome::Failed, Some(why));
            ended.results.insert(host, result);
        }
        Carried::Ended(ended)
    }

    async fn run_on(
        &self,
        (run, inventory): (&Run, &Inventory),
        hosts: &[String],
        alerts: &BTreeMap<String, Vec<AlertData>>,
        cancel: watch::Receiver<Option<String>>,
        slot: &mut Option<Started>,
    ) -> End {
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
            alerts,
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
                let started = slot.insert(started);
                self.attend(&spec, started, cancel).await
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
            Trigger::AdHocRun if run.work.roles.first().is_some_and(is_alerts) => RoleKind::Alert,
            Trigger::Schedule | Trigger::AdHocRun => RoleKind::Routine,
        }
    }

    /// The inventory as it is now. A run on the controller needs none; it is told of the hosts that are known.
    async fn inventory_for(&self, run: &Run) -> Result<Arc<Inventory>, Unavailable> {
        if run.work.controller {
            let unknown = || Arc::new(Inventory::default().read_by(None));
            return Ok(self.inventory.latest().unwrap_or_else(|_| unknown()));
        }
        self.inventory.current().await
    }

    /// The hosts that the run must not touch any more, each with why: they left the inventory since the decision, or their
    /// alerts name another host now.
    fn gone(
        &self,
        run: &Run,
        inventory: &Inventory,
        alerts: &[(Alert, Vec<String>)],
    ) -> BTreeMap<String, String> {
        let mut gone = gone(run, inventory);
        let config = Arc::clone(&self.config.borrow());
        let binding = run.binding.as_ref();
        let binding = binding.and_then(|name| config.bindings.iter().find(|b| b.name == *name));
        if let Some(Target::AlertingHost { label }) = binding.map(|binding| &binding.target) {
            for (host, why) in moved(label, inventory, alerts) {
                gone.entry(host).or_insert(why);
            }
        }
        gone
    }

    /// Stays with a run until its last process has ended. Nothing that ends a run waits for the store, whose disk may hang.
    async fn attend(
        &self,
        spec: &Spec<'_>,
        started: &mut Started,
        mut cancel: watch::Receiver<Option<String>>,
    ) -> End {
        let mut shutdown = self.shutdown.clone();
        let deadline = tokio::time::sleep(spec.work.timeout);
        tokio::pin!(deadline);
        let mut told = Told::new(&self.config.borrow(), self.store.clone(), spec.run);
        let mut stop: Option<(Cause, String)> = None;
        let ending = loop {
            let stopping = stop.is_some();
            let wish = tokio::select! {
                progress = started.progress.recv(), if stopping || !told.is_full() => match progress {
                    Some(Progress::Ended(ending)) => break ending,
                    Some(Progress::Output(bytes)) => { told.output(&bytes); None }
                    Some(Progress::Event(event)) => { told.event(event, clock::now()); None }
                    None => break Ending {
                        failure: Some("it does not say how the run ended".to_owned()),
                        ..Ending::default()
                    },
                },
                () = told.keep() => None,
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
        };
        if self.patiently(told.keep_rest()).await.is_none() {
            tracing::error!(
                run = spec.run.0,
                "what the run said last is not kept: the store does not answer"
            );
        }
        self.metrics.events_rejected(ending.junk_lines);
        if let Some(why) = &ending.failure {
            return End {
                ended: panicked(spec.hosts, why),
                began: true,
            };
        }
        let cause = Cause::of(&ending, stop.as_ref().map(|(cause, _)| *cause));
        let judged = evaluate(&RunEnding {
            hosts: spec.hosts,
            alerts: spec.alerts,
            stats: ending.stats.as_ref(),
            heard: &told.heard,
            error_excerpt: &error_excerpt(&told.last_bytes),
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
}

/// Why variables that came over the API may not be given to the Ansible of now: it may be an older one than when they
/// were taken.
fn template(run: &Run, inventory: &Inventory) -> Option<String> {
    let inert = run.work.inert_vars || run.trigger == Trigger::AdHocRun;
    let why = template_in(&run.work.vars).filter(|_| inert && inventory.templates_twice())?;
    Some(format!("vars: {why}"))
}

/// Whether its hosts are the machines that it was claimed for. If not, another run may be there: it is claimed anew.
fn is_as_claimed(run: &Run, inventory: &Inventory) -> bool {
    run.work.controller || run.machines == inventory.machines().among(&run.hosts)
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
