//! Queues the runs of the schedules when they are due.
//!
//! [`crate::model::schedule`] decides inside the store's transaction what is due. This module has the timer: one shot of
//! tokio-cron-scheduler at the next time at which anything can be due. It uses the wall clock, so that a machine that was
//! suspended, or whose clock was corrected, does not wait for a time that has passed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{mpsc, watch};
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::config::{Config, Schedule};
use crate::metrics::Metrics;
use crate::plan;
use crate::services::inventory_watcher::InventoryWatcher;
use crate::store::{Store, StoreError};
use crate::util::clock;
use crate::util::shutdown::Shutdown;

/// The pause after a schedule could not be checked.
const RETRY: TimeDelta = TimeDelta::seconds(5);

/// The longest pause until the clock is read again. The timer waits for a time of that clock: if the clock was wrong when
/// the timer was set, the timer would fire much too late.
const CLOCK_CHECK: Duration = Duration::from_mins(1);

/// How far the clock may be set back before every schedule is checked again.
const SET_BACK: TimeDelta = TimeDelta::seconds(5);

/// The scheduler, with its dependencies.
pub struct Scheduler {
    pub store: Store,
    /// The configuration that is in force.
    pub config: watch::Receiver<Arc<Config>>,
    pub inventory: InventoryWatcher,
    /// Exports the state of the schedules.
    pub metrics: Metrics,
    /// Receives the names of schedules that were just paused or resumed.
    pub touched: mpsc::Receiver<String>,
    /// Becomes true when promansible is shutting down.
    pub shutdown: Shutdown,
}

/// When a schedule must be checked again.
struct NextCheck {
    schedule: Arc<Schedule>,
    at: Option<DateTime<Utc>>,
    /// Whether it must be checked when the queue changes.
    waits: bool,
}

/// What happened since the schedules were last checked.
struct Since {
    now: DateTime<Utc>,
    /// Whether the clock was set back.
    set_back: bool,
    queue_changed: bool,
}

/// Returns the schedules to check: those that are new, changed or due, those that wait for a change of the queue, and all
/// of them if the clock was set back, because their times were computed from a wrong clock.
fn to_check<'a>(
    schedules: &'a [Arc<Schedule>],
    checks: &BTreeMap<String, NextCheck>,
    since: &Since,
) -> Vec<&'a Arc<Schedule>> {
    let is_due = |schedule: &&Arc<Schedule>| {
        checks.get(&schedule.name).is_none_or(|check| {
            since.set_back
                || !Arc::ptr_eq(&check.schedule, schedule)
                || check.at.is_some_and(|at| at <= since.now)
                || (check.waits && since.queue_changed)
        })
    };
    schedules.iter().filter(is_due).collect()
}

impl Scheduler {
    /// Works until shutdown.
    pub async fn run(mut self) {
        let mut timer = Timer::new();
        let mut shutdown = self.shutdown.clone();
        let mut queue = self.store.changed();
        let mut checks: BTreeMap<String, NextCheck> = BTreeMap::new();
        let mut before = clock::now();
        while !shutdown.is_requested() {
            let config = Arc::clone(&self.config.borrow_and_update());
            let queue_changed = queue.has_changed().unwrap_or(false);
            queue.borrow_and_update();
            let now = clock::now();
            let since = Since {
                now,
                set_back: before - now > SET_BACK,
                queue_changed,
            };
            before = now;
            self.keep_only(&config, &mut checks).await;
            for schedule in to_check(&config.schedules, &checks, &since) {
                if shutdown.is_requested() {
                    break;
                }
                let next = self.check(&config, schedule).await;
                checks.insert(schedule.name.clone(), next);
            }
            let next = checks.values().filter_map(|check| check.at).min();
            timer.set(next).await;
            let waits = checks.values().any(|check| check.waits);
            tokio::select! {
                () = shutdown.requested() => {}
                changed = self.config.changed() => if changed.is_err() { return },
                Some(name) = self.touched.recv() => { checks.remove(&name); }
                () = timer.fired() => {}
                () = tokio::time::sleep(CLOCK_CHECK) => {}
                changed = queue.changed(), if waits => if changed.is_err() { return } else { queue.mark_changed() },
            }
        }
        timer.stop().await;
    }

    /// Deletes the state of removed schedules.
    async fn keep_only(&self, config: &Config, checks: &mut BTreeMap<String, NextCheck>) {
        let schedules = config.schedules.iter();
        let known: BTreeSet<String> = schedules.map(|schedule| schedule.name.clone()).collect();
        // At the start nothing was checked yet, and schedules may have been removed while promansible was not running.
        let before = checks.len();
        checks.retain(|name, _| known.contains(name));
        if (checks.len() < before || before == 0)
            && let Err(e) = self.store.forget_schedules_but(known).await
        {
            tracing::error!(error = %e, "the state of removed schedules cannot be deleted yet");
        }
    }

    /// Queues the runs of a schedule that are due. Returns when to check again.
    async fn check(&self, config: &Config, schedule: &Arc<Schedule>) -> NextCheck {
        let hosts = self.hosts(schedule).await;
        let limit = config.runs.queue_limit;
        let now = clock::now();
        let ticked = self
            .store
            .tick_schedule(Arc::clone(schedule), hosts.clone(), limit, now)
            .await;
        let schedule = Arc::clone(schedule);
        let name = schedule.name.as_str();
        match ticked {
            Ok(ticked) => {
                for (run, due_at) in &ticked.runs {
                    tracing::info!(run = run.0, schedule = name, %due_at, "run queued by schedule");
                }
                if ticked.missed > 0 {
                    let why = ticked.why_missed.as_deref();
                    tracing::warn!(
                        schedule = name,
                        times = ticked.missed,
                        why,
                        "scheduled times were missed"
                    );
                }
                self.metrics
                    .schedules()
                    .set_state(name, ticked.progress.as_ref(), ticked.next);
                // Hosts can become available without a change of the queue.
                let soon = (ticked.waits && hosts.is_err()).then(|| now + RETRY);
                NextCheck {
                    at: soon.into_iter().chain(ticked.look_at).min(),
                    waits: ticked.waits,
                    schedule,
                }
            }
            Err(e) => {
                if !matches!(e, StoreError::Closed) {
                    tracing::error!(schedule = name, error = %e, "the schedule could not be checked; trying again");
                }
                NextCheck {
                    at: Some(now + RETRY),
                    waits: false,
                    schedule,
                }
            }
        }
    }

    /// Returns the hosts that a run would have now, or why they cannot be determined.
    async fn hosts(&self, schedule: &Schedule) -> Result<Vec<String>, String> {
        let inventory = if schedule.work.controller {
            self.inventory.latest().unwrap_or_default()
        } else {
            self.inventory.current().await.map_err(|e| e.brief())?
        };
        let hosts = plan::hosts_within(&schedule.target, &schedule.limit, &inventory, None);
        hosts.map_err(|e| e.to_string())
    }
}

/// A timer with one shot at a time.
struct Timer {
    /// Started when it is first needed, because it reads the clock twice a second.
    scheduler: Option<JobScheduler>,
    fired: mpsc::Sender<()>,
    shots: mpsc::Receiver<()>,
    set: Option<(uuid::Uuid, DateTime<Utc>)>,
}

impl Timer {
    fn new() -> Self {
        let (fired, shots) = mpsc::channel(1);
        Self {
            scheduler: None,
            fired,
            shots,
            set: None,
        }
    }

    async fn scheduler(&mut self) -> Result<JobScheduler, JobSchedulerError> {
        if let Some(scheduler) = &self.scheduler {
            return Ok(scheduler.clone());
        }
        let scheduler = JobScheduler::new().await?;
        scheduler.start().await?;
        Ok(self.scheduler.insert(scheduler).clone())
    }

    /// Sets the timer to this time, or clears it.
    async fn set(&mut self, at: Option<DateTime<Utc>>) {
        if self.set.map(|(_, at)| at) == at {
            return;
        }
        if let Some((shot, _)) = self.set.take()
            && let Some(scheduler) = &self.scheduler
        {
            // A shot that has fired is removed already.
            let _ = scheduler.remove(&shot).await;
        }
        let Some(at) = at else { return };
        match self.shoot_at(at).await {
            Ok(shot) => self.set = Some((shot, at)),
            Err(e) => {
                tracing::error!(error = %e, "the timer cannot be set; trying again soon");
                let fired = self.fired.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    let _ = fired.try_send(());
                });
            }
        }
    }

    async fn shoot_at(&mut self, at: DateTime<Utc>) -> Result<uuid::Uuid, JobSchedulerError> {
        // The scheduler counts in whole seconds: rounded up, because a shot that is early finds nothing due.
        let wait = (at - clock::now()).to_std().unwrap_or_default();
        let wait = Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        let fired = self.fired.clone();
        let job = Job::new_one_shot_async(wait, move |_, _| {
            let fired = fired.clone();
            Box::pin(async move {
                // One message is enough.
                let _ = fired.try_send(());
            })
        })?;
        self.scheduler().await?.add(job).await
    }

    async fn fired(&mut self) {
        let _ = self.shots.recv().await;
        self.set = None;
    }

    async fn stop(&mut self) {
        if let Some(scheduler) = &mut self.scheduler {
            let _ = scheduler.shutdown().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Roles, build};

    fn schedules() -> Vec<Arc<Schedule>> {
        let roles = Roles {
            routine: vec!["r".to_owned()],
            ..Roles::default()
        };
        let text = "ansible: {playbook_dir: p, inventory: [i]}\nschedules:\n\
            - {name: a, cron: '@daily', roles: [r], target: controller}\n\
            - {name: b, cron: '@daily', roles: [r], target: controller}\n";
        build("f.yml", text, &roles).expect("a good text").schedules
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    #[test]
    fn a_schedule_is_looked_at_when_something_may_have_become_due() {
        let schedules = schedules();
        let now = at("2026-11-25T10:00:00Z");
        let quiet = || Since {
            now,
            set_back: false,
            queue_changed: false,
        };
        let queue_changed = || Since {
            queue_changed: true,
            ..quiet()
        };
        let set_back = || Since {
            set_back: true,
            ..quiet()
        };
        let check = |n: usize, at: Option<DateTime<Utc>>, waits| {
            let schedule = Arc::clone(&schedules[n]);
            (
                schedule.name.clone(),
                NextCheck {
                    schedule,
                    at,
                    waits,
                },
            )
        };
        let (later, past) = (at("2038-01-19T00:00:00Z"), at("2026-11-25T09:00:00Z"));
        let mut changed = check(0, Some(later), false);
        changed.1.schedule = Arc::new(Schedule::clone(&schedules[0]));
        for (what, checks, since, due) in [
            ("new ones", vec![], quiet(), "ab"),
            (
                "nothing yet",
                vec![check(0, Some(later), false), check(1, None, false)],
                quiet(),
                "",
            ),
            (
                "one is new",
                vec![check(0, Some(later), false)],
                quiet(),
                "b",
            ),
            (
                "its time has come",
                vec![check(0, Some(past), false), check(1, Some(now), true)],
                quiet(),
                "ab",
            ),
            (
                "the queue",
                vec![check(0, Some(later), true), check(1, Some(later), false)],
                queue_changed(),
                "a",
            ),
            (
                "waits, queue unchanged",
                vec![check(0, Some(later), true), check(1, None, true)],
                quiet(),
                "",
            ),
            (
                "the clock",
                vec![check(0, Some(later), false), check(1, None, false)],
                set_back(),
                "ab",
            ),
            (
                "changed",
                vec![changed, check(1, None, false)],
                quiet(),
                "a",
            ),
        ] {
            let checks: BTreeMap<String, NextCheck> = checks.into_iter().collect();
            let names = to_check(&schedules, &checks, &since);
            let names: String = names
                .iter()
                .map(|schedule| schedule.name.as_str())
                .collect();
            assert_eq!(names, due, "{what}");
        }
    }
}
