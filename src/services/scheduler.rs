//! Starts the runs of the schedules when their times come.
//!
//! What is due is decided by [`crate::model::schedule`] inside the store's transaction. Here is the timer: one shot of
//! tokio-cron-scheduler at the next time at which anything can be due. It goes by the wall clock, so that a machine that slept, or
//! whose clock was put right, does not wait for what has passed.

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

/// How long to leave it alone after it could not be done.
const RETRY: TimeDelta = TimeDelta::seconds(5);

/// How long at most until the clock is looked at. The timer waits for a time by that clock, and one that was set to a far year
/// for a while would be waited for until then.
const CLOCK_IS_LOOKED_AT: Duration = Duration::from_mins(1);

/// How far the clock may go back before every schedule is looked at anew.
const SET_BACK: TimeDelta = TimeDelta::seconds(5);

/// What the scheduler needs.
pub struct Scheduler {
    /// Where schedules and runs are.
    pub store: Store,
    /// The configuration that is in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// Knows the inventory.
    pub inventory: InventoryWatcher,
    /// Shows the schedules.
    pub metrics: Metrics,
    /// Is told the names of schedules that a person has just paused or let go on.
    pub touched: mpsc::Receiver<String>,
    /// Becomes true when promansible is to end.
    pub shutdown: Shutdown,
}

/// When a schedule is to be looked at again.
struct Look {
    schedule: Arc<Schedule>,
    at: Option<DateTime<Utc>>,
    /// Whether it is to be looked at when the queue changes.
    waits: bool,
}

/// What is known of the time since the schedules were last looked at.
struct Since {
    now: DateTime<Utc>,
    /// Whether the clock was set back.
    set_back: bool,
    queue_changed: bool,
}

/// Which schedules are to be looked at: those that are new or were changed, those whose time has come, those that wait
/// for the queue, and all of them if what their times were reckoned from was wrong.
fn to_look_at<'a>(
    schedules: &'a [Arc<Schedule>],
    looks: &BTreeMap<String, Look>,
    since: &Since,
) -> Vec<&'a Arc<Schedule>> {
    let is_due = |schedule: &&Arc<Schedule>| {
        looks.get(&schedule.name).is_none_or(|look| {
            since.set_back
                || !Arc::ptr_eq(&look.schedule, schedule)
                || look.at.is_some_and(|at| at <= since.now)
                || (look.waits && since.queue_changed)
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
        let mut looks: BTreeMap<String, Look> = BTreeMap::new();
        let mut before = clock::now();
        while !shutdown.is_asked() {
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
            self.keep_only(&config, &mut looks).await;
            for schedule in to_look_at(&config.schedules, &looks, &since) {
                if shutdown.is_asked() {
                    break;
                }
                let look = self.look_at(&config, schedule).await;
                looks.insert(schedule.name.clone(), look);
            }
            let next = looks.values().filter_map(|look| look.at).min();
            timer.set(next).await;
            let waits = looks.values().any(|look| look.waits);
            tokio::select! {
                () = shutdown.asked() => {}
                changed = self.config.changed() => if changed.is_err() { return },
                Some(name) = self.touched.recv() => { looks.remove(&name); }
                () = timer.fired() => {}
                () = tokio::time::sleep(CLOCK_IS_LOOKED_AT) => {}
                changed = queue.changed(), if waits => if changed.is_err() { return } else { queue.mark_changed() },
            }
        }
        timer.stop().await;
    }

    /// Forgets schedules that are gone.
    async fn keep_only(&self, config: &Config, looks: &mut BTreeMap<String, Look>) {
        let schedules = config.schedules.iter();
        let known: BTreeSet<String> = schedules.map(|schedule| schedule.name.clone()).collect();
        // At the start nothing was looked at yet, and some may have gone while promansible was away.
        let before = looks.len();
        looks.retain(|name, _| known.contains(name));
        if (looks.len() < before || before == 0)
            && let Err(e) = self.store.forget_schedules_but(known).await
        {
            tracing::error!(error = %e, "schedules that are gone are not forgotten yet");
        }
    }

    /// Starts what is due of a schedule, and says when to look again.
    async fn look_at(&self, config: &Config, schedule: &Arc<Schedule>) -> Look {
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
                        "times of a schedule were missed"
                    );
                }
                self.metrics
                    .schedules()
                    .stands(name, ticked.progress.as_ref(), ticked.next);
                // Hosts come back without the queue changing.
                let soon = (ticked.waits && hosts.is_err()).then(|| now + RETRY);
                Look {
                    at: soon.into_iter().chain(ticked.look_at).min(),
                    waits: ticked.waits,
                    schedule,
                }
            }
            Err(e) => {
                if !matches!(e, StoreError::Closed) {
                    tracing::error!(schedule = name, error = %e, "the schedule could not be looked at");
                }
                Look {
                    at: Some(now + RETRY),
                    waits: false,
                    schedule,
                }
            }
        }
    }

    /// Whom its run would touch now, or why that is not known.
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

/// One shot at a time.
struct Timer {
    /// Runs from the first time on that it is needed: it looks at the clock twice a second.
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

    /// Sets it to this time, or to none.
    async fn set(&mut self, at: Option<DateTime<Utc>>) {
        if self.set.map(|(_, at)| at) == at {
            return;
        }
        if let Some((shot, _)) = self.set.take()
            && let Some(scheduler) = &self.scheduler
        {
            // One that has fired is gone already.
            let _ = scheduler.remove(&shot).await;
        }
        let Some(at) = at else { return };
        match self.shoot_at(at).await {
            Ok(shot) => self.set = Some((shot, at)),
            Err(e) => {
                tracing::error!(error = %e, "the timer cannot be set: looking again soon");
                let fired = self.fired.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    let _ = fired.try_send(());
                });
            }
        }
    }

    async fn shoot_at(&mut self, at: DateTime<Utc>) -> Result<uuid::Uuid, JobSchedulerError> {
        // It counts in whole seconds, and what is early finds nothing due.
        let wait = (at - clock::now()).to_std().unwrap_or_default();
        let wait = Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        let fired = self.fired.clone();
        let job = Job::new_one_shot_async(wait, move |_, _| {
            let fired = fired.clone();
            Box::pin(async move {
                // Once is enough, however many wait.
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
        let look = |n: usize, at: Option<DateTime<Utc>>, waits| {
            let schedule = Arc::clone(&schedules[n]);
            (
                schedule.name.clone(),
                Look {
                    schedule,
                    at,
                    waits,
                },
            )
        };
        let (later, past) = (at("2038-01-19T00:00:00Z"), at("2026-11-25T09:00:00Z"));
        let mut changed = look(0, Some(later), false);
        changed.1.schedule = Arc::new(Schedule::clone(&schedules[0]));
        for (what, looks, since, due) in [
            ("new ones", vec![], quiet(), "ab"),
            (
                "nothing yet",
                vec![look(0, Some(later), false), look(1, None, false)],
                quiet(),
                "",
            ),
            (
                "one is new",
                vec![look(0, Some(later), false)],
                quiet(),
                "b",
            ),
            (
                "its time has come",
                vec![look(0, Some(past), false), look(1, Some(now), true)],
                quiet(),
                "ab",
            ),
            (
                "the queue",
                vec![look(0, Some(later), true), look(1, Some(later), false)],
                queue_changed(),
                "a",
            ),
            (
                "waits in vain",
                vec![look(0, Some(later), true), look(1, None, true)],
                quiet(),
                "",
            ),
            (
                "the clock",
                vec![look(0, Some(later), false), look(1, None, false)],
                set_back(),
                "ab",
            ),
            ("changed", vec![changed, look(1, None, false)], quiet(), "a"),
        ] {
            let looks: BTreeMap<String, Look> = looks.into_iter().collect();
            let names = to_look_at(&schedules, &looks, &since);
            let names: String = names
                .iter()
                .map(|schedule| schedule.name.as_str())
                .collect();
            assert_eq!(names, due, "{what}");
        }
    }
}
