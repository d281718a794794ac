//! The metrics of schedules.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::register::{name, register};
use super::seconds;
use crate::model::schedule::Progress;

const SCHEDULE: &[&str] = &["schedule"];

/// The next start, the last run and the missed times of each schedule. Cheap to clone.
#[derive(Clone)]
pub struct Schedules {
    next: GaugeVec,
    last: GaugeVec,
    paused: IntGaugeVec,
    missed: IntCounterVec,
    known: Arc<Mutex<BTreeSet<String>>>,
}

impl Schedules {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = |n: &str, help: &str| Opts::new(name(n), help);
        Ok(Self {
            next: register(
                registry,
                GaugeVec::new(
                    opts(
                        "schedule_next_run_timestamp_seconds",
                        "Next start of a schedule, including jitter; no series while it is paused or not enabled.",
                    ),
                    SCHEDULE,
                ),
            )?,
            last: register(
                registry,
                GaugeVec::new(
                    opts(
                        "schedule_last_run_timestamp_seconds",
                        "Timestamp of the last queued run of a schedule; 0 if there was none.",
                    ),
                    SCHEDULE,
                ),
            )?,
            paused: register(
                registry,
                IntGaugeVec::new(
                    opts(
                        "schedule_paused",
                        "Whether a schedule is paused or not enabled.",
                    ),
                    SCHEDULE,
                ),
            )?,
            missed: register(
                registry,
                IntCounterVec::new(
                    opts(
                        "schedule_missed_total",
                        "Scheduled times that passed without a run of their own.",
                    ),
                    SCHEDULE,
                ),
            )?,
            known: Arc::default(),
        })
    }

    /// Exposes exactly these schedules, with 0 where nothing was counted yet.
    pub fn preregister<'a>(&self, schedules: impl IntoIterator<Item = &'a str>) {
        let schedules: BTreeSet<String> = schedules.into_iter().map(str::to_owned).collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for removed in known.difference(&schedules) {
            let _ = self.next.remove_label_values(&[removed]);
            let _ = self.last.remove_label_values(&[removed]);
            let _ = self.paused.remove_label_values(&[removed]);
            let _ = self.missed.remove_label_values(&[removed]);
        }
        for schedule in &schedules {
            self.last.with_label_values(&[schedule]);
            self.paused.with_label_values(&[schedule]);
            self.missed.with_label_values(&[schedule]);
        }
        *known = schedules;
    }

    /// Sets the state of a schedule. `next` is `None` while it is paused or not enabled.
    pub fn set_state(
        &self,
        schedule: &str,
        progress: Option<&Progress>,
        next: Option<DateTime<Utc>>,
    ) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(schedule) {
            return;
        }
        match next {
            Some(next) => self.next.with_label_values(&[schedule]).set(seconds(next)),
            None => {
                let _ = self.next.remove_label_values(&[schedule]);
            }
        }
        let paused = i64::from(progress.is_some_and(|progress| !progress.active));
        self.paused.with_label_values(&[schedule]).set(paused);
        if let Some(last) = progress.and_then(|progress| progress.last) {
            self.last
                .with_label_values(&[schedule])
                .set(seconds(last.at));
        }
    }

    pub(super) fn missed(&self, schedule: &str, times: u64) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(schedule) {
            self.missed.with_label_values(&[schedule]).inc_by(times);
        }
    }
}
