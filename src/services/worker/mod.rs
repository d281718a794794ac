//! Claims runs from the store, starts them, stores their output and events, and finishes them.
//!
//! The worker has no connection to the HTTP server: runs and requests to cancel them come from the store.

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
use departed_hosts::{departed, reassigned};
use ending::{End, Executed};
use panics::{end_with, panicked, wait_for_end};
use recorder::Recorder;

/// The pause before a broken store is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// The worker, with its dependencies.
#[derive(Clone)]
pub struct Worker {
    pub store: Store,
    /// The configuration that is in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// Starts runs with that configuration.
    pub ansible: watch::Receiver<Arc<Ansible>>,
    pub inventory: InventoryWatcher,
    pub metrics: Metrics,
    /// Becomes true when promansible is shutting down.
    pub shutdown: Shutdown,
}

impl Worker {
    /// Works until shutdown. Then interrupts the runs that are under way, and returns when their ends are stored.
    pub async fn run(self) {
        let mut shutdown = self.shutdown.clone();
        let mut inventory = self.inventory.watch();
        let mut changed = self.store.changed();
        let mut config = self.config.clone();
        let mut under_way = JoinSet::new();
        while !shutdown.is_requested() {
            while let Some(ended) = under_way.try_join_next() {
                end_with(ended);
            }
            let current = Arc::clone(&config.borrow_and_update());
            let max = current.runs.max_concurrent;
            changed.borrow_and_update();
            let mut next = None;
            // Ansible reads the same sources: while they cannot be read, runs would only fail.
            if inventory.is_current() && under_way.len() < max {
                let claim = self.store.claim(current, clock::now());
                // If the store still claims a run after that, the run shows as interrupted.
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
                        tracing::error!(error = %e, "no run can be claimed from the store");
                        next = Some(clock::now() + PAUSE);
                    }
                }
            }
            tokio::select! {
                () = shutdown.requested() => {}
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

    /// Executes a run and stores how it ended. If the execution panics, the run has failed, once its processes have ended.
    async fn execute(self, claimed: Claimed) {
        let (id, hosts) = (claimed.run.id, claimed.run.hosts.clone());
        // Declared here, so that it survives a panic.
        let mut started = None;
        let ended = match catch_panic(self.execute_claimed(claimed, &mut started)).await {
            Ok(Executed::Ended(ended)) => ended,
            Ok(Executed::NotBegun) => return self.put_back(id).await,
            Ok(Executed::QueuedAgain) => return,
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

    async fn execute_claimed(&self, claimed: Claimed, started: &mut Option<Started>) -> Executed {
        let Claimed {
            run,
            alerts,
            cancel,
        } = claimed;
        // An inventory that cannot be read, or a shutdown, must not cost an alert its run.
        let inventory = match self.inventory_for(&run).await {
            Ok(inventory) if !self.shutdown.is_requested() && is_as_claimed(&run, &inventory) => {
                inventory
            }
            Ok(_) if !self.shutdown.is_requested() => {
                // The store gets the new inventory at the same time as the worker, unless it is broken just now.
                tokio::time::sleep(PAUSE).await;
                return Executed::NotBegun;
            }
            _ => return Executed::NotBegun,
        };
        let departed = self.departed_hosts(&run, &inventory, &alerts);
        let hosts = run
            .hosts
            .iter()
            .filter(|host| !departed.contains_key(*host));
        let hosts: Vec<String> = hosts.cloned().collect();
        let end = if hosts.is_empty() {
            let why = departed.values().next().map_or("", String::as_str);
            End::of_nothing(why, &hosts)
        } else if let Some(why) = template_defect(&run, &inventory) {
            // Starting again would not help.
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
                return Executed::QueuedAgain;
            }
            if run.vain_starts > 0 {
                let starts = run.vain_starts + 1;
                ended.message = Some(format!("no task began in {starts} starts: {why}"));
            }
        }
        for (host, why) in departed {
            ended.outcome = ended.outcome.max(Outcome::Failed);
            ended
                .message
                .get_or_insert_with(|| ending::not_started(&why));
            let result = HostResult::bare(Outcome::Failed, Some(why));
            ended.results.insert(host, result);
        }
        Executed::Ended(ended)
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
                self.supervise(&spec, started, cancel).await
            }
            // Starting again would not help.
            Err(e @ StartError::Build(_)) => End {
                began: true,
                ..End::of_nothing(&e.to_string(), hosts)
            },
            Err(e) => End::of_nothing(&e.to_string(), hosts),
        }
    }

    /// Returns the kind of role whose folder is searched first. An ad-hoc run may name roles of both kinds, but none whose
    /// name is in both folders; so this matters only for roles that the roles themselves include.
    fn kind(&self, run: &Run) -> RoleKind {
        let is_alerts = |role: &String| self.config.borrow().roles.alert.contains(role);
        match run.trigger {
            Trigger::Alert => RoleKind::Alert,
            Trigger::Manual if run.work.roles.first().is_some_and(is_alerts) => RoleKind::Alert,
            Trigger::Schedule | Trigger::Manual => RoleKind::Routine,
        }
    }

    /// Returns the current inventory. A run on the controller needs none; it gets the last one, or an empty one.
    async fn inventory_for(&self, run: &Run) -> Result<Arc<Inventory>, Unavailable> {
        if run.work.controller {
            let unknown = || Arc::new(Inventory::default().read_by(None));
            return Ok(self.inventory.latest().unwrap_or_else(|_| unknown()));
        }
        self.inventory.current().await
    }

    /// Returns the hosts that the run must no longer touch, each with the reason: they left the inventory since the
    /// decision, or their alerts now name another host.
    fn departed_hosts(
        &self,
        run: &Run,
        inventory: &Inventory,
        alerts: &[(Alert, Vec<String>)],
    ) -> BTreeMap<String, String> {
        let mut hosts = departed(run, inventory);
        let config = Arc::clone(&self.config.borrow());
        let binding = run.binding.as_ref();
        let binding = binding.and_then(|name| config.bindings.iter().find(|b| b.name == *name));
        if let Some(Target::AlertingHost { label }) = binding.map(|binding| &binding.target) {
            for (host, why) in reassigned(label, inventory, alerts) {
                hosts.entry(host).or_insert(why);
            }
        }
        hosts
    }

    /// Supervises a run until its last process has ended. Ending a run never waits for the store, whose disk may hang.
    async fn supervise(
        &self,
        spec: &Spec<'_>,
        started: &mut Started,
        mut cancel: watch::Receiver<Option<String>>,
    ) -> End {
        let mut shutdown = self.shutdown.clone();
        let deadline = tokio::time::sleep(spec.work.timeout);
        tokio::pin!(deadline);
        let mut recorder = Recorder::new(&self.config.borrow(), self.store.clone(), spec.run);
        let mut stop: Option<(Cause, String)> = None;
        let ending = loop {
            let stopping = stop.is_some();
            let stop_request = tokio::select! {
                progress = started.progress.recv(), if stopping || !recorder.is_full() => match progress {
                    Some(Progress::Ended(ending)) => break ending,
                    Some(Progress::Output(bytes)) => { recorder.output(&bytes); None }
                    Some(Progress::Event(event)) => { recorder.event(event, clock::now()); None }
                    None => break Ending {
                        failure: Some("the end of the run was not reported".to_owned()),
                        ..Ending::default()
                    },
                },
                () = recorder.write_when_due() => None,
                who = canceled(&mut cancel), if !stopping => {
                    Some((Cause::Canceled, format!("canceled by {who}")))
                }
                () = &mut deadline, if !stopping => {
                    let after = crate::config::format_duration(spec.work.timeout);
                    Some((Cause::TimedOut, format!("it took longer than {after}")))
                }
                () = shutdown.requested(), if !stopping => {
                    Some((Cause::Interrupted, "promansible is ending".to_owned()))
                }
            };
            if let Some((cause, why)) = stop_request {
                started.stop.now();
                stop = Some((cause, why + &recorder.where_it_is()));
            }
        };
        if self.patiently(recorder.write_rest()).await.is_none() {
            tracing::error!(
                run = spec.run.0,
                "the last output and events of the run are lost: the store does not answer"
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
            heard: &recorder.tally,
            error_excerpt: &error_excerpt(&recorder.last_bytes),
            cause,
        });
        let began = recorder.began || stop.is_some();
        let ended = Ended {
            outcome: judged.outcome,
            results: judged.results,
            message: match (cause, stop) {
                (Cause::Canceled | Cause::TimedOut | Cause::Interrupted, Some((_, why))) => {
                    Some(why)
                }
                _ => judged.message,
            },
            findings: recorder.findings(),
        };
        End { ended, began }
    }
}

/// Returns why the variables of a run that came over the API must not be passed to the present Ansible, which may be older
/// than the one that was installed when they were accepted.
fn template_defect(run: &Run, inventory: &Inventory) -> Option<String> {
    let inert = run.work.inert_vars || run.trigger == Trigger::Manual;
    let why = template_in(&run.work.vars).filter(|_| inert && inventory.templates_twice())?;
    Some(format!("vars: {why}"))
}

/// Returns whether the hosts are still the machines that the run was claimed for. If not, another run may be on them, and
/// it must be claimed again.
fn is_as_claimed(run: &Run, inventory: &Inventory) -> bool {
    run.work.controller || run.machines == inventory.machines().among(&run.hosts)
}

async fn sleep_until(at: Option<DateTime<Utc>>) {
    match at {
        Some(at) => {
            let remaining = (at - clock::now()).to_std().unwrap_or_default();
            // If the clock was set back, a run must not wait for hours.
            tokio::time::sleep(remaining.min(Duration::from_secs(1))).await;
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
        // The sender was dropped: the run can no longer be canceled.
        None => std::future::pending().await,
    }
}

/// Returns the alerts of each host, in the form that roles get.
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
