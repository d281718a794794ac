//! A history of finished runs, made through the store's own interface.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use promansible::config::{self, Config};
use promansible::metrics::Metrics;
use promansible::model::alert::{EpisodeKey, Limits, Notification};
use promansible::model::inventory::Inventory;
use promansible::model::run::{HostResult, Outcome, Run, TaskEvent, TaskStatus};
use promansible::model::verdict::AlertObservation;
use promansible::store::{self, Claim, Ended, Store};

use super::server::Site;
use super::{Failure, alerts, fake};

/// How many runs are made at once: they share commits.
const AT_ONCE: usize = 512;
const EVENTS: usize = 10;
const OUTPUT_BYTES: usize = 4096;

/// Fills the site's store with this many successful runs, one alert and one host each, spread over the last weeks.
pub(crate) fn seed(site: &Site, runs: u64) -> Result<(), Failure> {
    let inventory = fake::list(&site.bin_dir(), &site.inventory())?;
    let mut config = config::load(&site.config())?;
    // Each alert is to have a run of its own, at once.
    for binding in &mut config.bindings {
        let binding = Arc::make_mut(binding);
        binding.batch_window = Duration::ZERO;
        binding.allow_overlap = true;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let metrics = Metrics::new(prometheus::Registry::new())?;
        let opened = store::open(&site.store(), &metrics, promansible::util::clock::now())?;
        let seeder = Seeder {
            store: opened.store.clone(),
            config: Arc::new(config),
            inventory: Arc::new(Inventory::parse(&inventory)?),
            next: Arc::new(AtomicU64::new(0)),
            runs,
            begin: promansible::util::clock::now() - TimeDelta::days(80),
        };
        let tasks: Vec<_> = (0..AT_ONCE)
            .map(|_| tokio::spawn(seeder.clone().work()))
            .collect();
        for task in tasks {
            task.await??;
        }
        opened.store.close().await;
        Ok(())
    })
}

#[derive(Clone)]
struct Seeder {
    store: Store,
    config: Arc<Config>,
    inventory: Arc<Inventory>,
    next: Arc<AtomicU64>,
    runs: u64,
    begin: DateTime<Utc>,
}

impl Seeder {
    async fn work(self) -> Result<(), Failure> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.runs {
                return Ok(());
            }
            self.one(number).await?;
        }
    }

    /// One run, from its alert to its end. The run that is claimed may be another task's: each makes one and ends one.
    async fn one(&self, number: u64) -> Result<(), Failure> {
        let now = self.begin + TimeDelta::minutes(i64::try_from(number)?);
        let body = alerts::notification([number]);
        let notification = Notification::parse(body.as_bytes(), Limits { alerts: 1 })?;
        self.store
            .admit(
                Arc::new(notification),
                Arc::clone(&self.config),
                Arc::clone(&self.inventory),
                now,
            )
            .await?;
        // A little later, for the other tasks' clocks are not ours.
        let later = now + TimeDelta::days(1);
        let runs = &self.config.runs;
        let claimed = match self.store.claim(Arc::clone(&self.config), later).await? {
            Claim::Run(claimed) => claimed.run,
            Claim::Nothing { .. } => return Err("a run that was made cannot be claimed".into()),
        };
        let (events, output) = told(&claimed, later);
        self.store
            .append(claimed.id, events, vec![output], runs.events_limit)
            .await?;
        self.store
            .finish(claimed.id, ended(&claimed), later)
            .await?;
        // It helped, so nothing is left to be seen.
        let episodes = self.store.episodes_of(claimed.id).await?;
        let heard = episodes.iter().map(|of| {
            let key = EpisodeKey {
                fingerprint: of.fingerprint,
                starts_at_nanos: of.starts_at.timestamp_nanos_opt().unwrap_or_default(),
            };
            (key, AlertObservation::Resolved)
        });
        let (config, inventory) = (Arc::clone(&self.config), Arc::clone(&self.inventory));
        let seen = later + TimeDelta::hours(1);
        self.store
            .follow_up(heard.collect(), config, inventory, seen)
            .await?;
        Ok(())
    }
}

fn told(run: &Run, at: DateTime<Utc>) -> (Vec<TaskEvent>, Bytes) {
    let host = run.hosts.first().cloned().unwrap_or_default();
    let events = (0..EVENTS)
        .map(|number| TaskEvent {
            at,
            host: host.clone(),
            role: run.work.roles.first().cloned(),
            task: format!("Reclaim the space that step {number} may take"),
            action: "ansible.builtin.command".to_owned(),
            status: TaskStatus::Changed,
            duration_seconds: 0.25,
            message: Some("removed 12 packages from the cache".to_owned()),
            findings: None,
        })
        .collect();
    let line = format!("changed: [{host}] => run {}\n", run.id);
    let output = line.repeat(OUTPUT_BYTES.div_ceil(line.len()));
    (events, output.into())
}

fn ended(run: &Run) -> Ended {
    Ended {
        outcome: Outcome::Successful,
        results: run
            .hosts
            .iter()
            .map(|host| (host.clone(), HostResult::bare(Outcome::Successful, None)))
            .collect(),
        message: None,
        findings: Vec::new(),
    }
}
