//! Decides what to do about an alert. Pure: no I/O, no clock, no randomness. The same input gives the same decisions,
//! so `explain` can show them without running anything.
//!
//! `store::ops::admit` applies a decision and refuses it if the queue is full; `store::ops::start_guard` checks the guards
//! again when the run starts.

mod guards;
mod target;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::config::{Binding, Config, Step, Target};
use crate::model::alert::{Alert, EpisodeKey, Notification, Status};
use crate::model::guards::{Mode, State};
use crate::model::inventory::{Inventory, is_template, subject};
use crate::model::run::{RUN, RemediationStep, Skip, SkippedHost, Work};

pub use guards::{closed, refused};
pub use target::{hosts, hosts_within, unfound};

/// The prefix of names that belong to Ansible (`__ansible_unsafe`, `__ansible_vault`) or to Prometheus.
const RESERVED_PREFIX: &str = "__";

/// The label that names the host by convention.
const INSTANCE: &str = "instance";

/// The part of this label that is used to distinguish hosts. *Units*: bytes.
const ABOUT_LIMIT: usize = 256;

/// How long after an episode's end a firing notification counts as late, for example from the other Alertmanager of a
/// pair. A later one is believed: an Alertmanager that loses contact with its Prometheus resolves alerts that still
/// fire, and sends them again with the same `startsAt`.
pub const LATE: TimeDelta = TimeDelta::hours(1);

/// The history of an alert's episode before this notification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EpisodeHistory {
    /// When a notification reported the end of the episode.
    pub resolved_at: Option<DateTime<Utc>>,
    /// Binding → its progress. A run that never started because the episode resolved does not count.
    pub progress: BTreeMap<String, StepProgress>,
}

/// The progress of an episode under a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepProgress {
    /// The last step that ran or is running, from 1.
    pub step: u32,
    /// Whether the next step is due.
    pub state: StepState,
}

/// The state of a step, which decides about the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepState {
    /// The step is queued or running, or has no verdict yet.
    Open,
    /// No further step will follow.
    Done,
    /// The step did not help: the next one is due if the episode still fires.
    Next,
}

impl EpisodeHistory {
    /// Returns whether the episode has ended, so that a firing notification is late.
    pub fn is_over(&self, now: DateTime<Utc>) -> bool {
        is_over(self.resolved_at, now)
    }
}

/// Returns whether an episode with this reported end is over.
pub fn is_over(resolved_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    resolved_at.is_some_and(|at| now - at < LATE)
}

/// The decision for one alert × binding.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// `None` only for [`Skip::NoBinding`].
    pub binding: Option<Arc<Binding>>,
    pub choice: Choice,
}

/// A decision to run, or to skip for a named reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Run on exactly these hosts: inventory names, or that of the controller.
    Run {
        /// Never empty.
        hosts: Vec<String>,
        /// The host that the alert is about, if the run is on the controller instead.
        about: Option<String>,
        /// The step of the binding, from 1.
        step: u32,
        /// Whether the run tests a role that failed too often, on one host only.
        probe: bool,
        /// Skipped hosts, with reasons.
        spared: Vec<SkippedHost>,
    },
    /// Do not run.
    Skip {
        /// The reason, a label value.
        reason: Skip,
        /// The reason as a sentence.
        why: String,
        /// When to decide again, unless a notification arrives earlier.
        until: Option<DateTime<Utc>>,
    },
}

impl Choice {
    fn skip(reason: Skip, why: impl Into<String>) -> Self {
        Self::Skip {
            reason,
            why: why.into(),
            until: None,
        }
    }

    /// Returns the label value: `run`, or the reason for skipping.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Run { .. } => RUN,
            Self::Skip { reason, .. } => reason.as_str(),
        }
    }
}

impl Decision {
    /// Returns the binding's name; empty if none matched.
    pub fn binding_name(&self) -> &str {
        self.binding.as_ref().map_or("", |b| b.name.as_str())
    }
}

/// Decides one alert for every matching binding, in the order of the configuration. The result is never empty.
pub fn decide(
    config: &Config,
    inventory: &Inventory,
    state: &State,
    alert: &Alert,
    past: &EpisodeHistory,
    now: DateTime<Utc>,
) -> Vec<Decision> {
    let bindings = matching(config, alert);
    decide_under(&bindings, inventory, state, alert, past, now)
}

/// Returns the bindings that match an alert, in the order of the configuration, up to the first with `stop`.
pub fn matching(config: &Config, alert: &Alert) -> Vec<Arc<Binding>> {
    let mut matching = Vec::new();
    for binding in &config.bindings {
        if binding.matchers.matches(&alert.labels) {
            matching.push(Arc::clone(binding));
            if binding.stop {
                break;
            }
        }
    }
    matching
}

/// Decides one alert for these bindings, which match it. The result is never empty.
pub fn decide_under(
    bindings: &[Arc<Binding>],
    inventory: &Inventory,
    state: &State,
    alert: &Alert,
    past: &EpisodeHistory,
    now: DateTime<Utc>,
) -> Vec<Decision> {
    let mut decisions: Vec<Decision> = bindings
        .iter()
        .map(|binding| Decision {
            binding: Some(Arc::clone(binding)),
            choice: choose(binding, inventory, state, alert, past, now),
        })
        .collect();
    if decisions.is_empty() {
        decisions.push(Decision {
            binding: None,
            choice: Choice::skip(Skip::NoBinding, "no binding's matchers match its labels"),
        });
    }
    decisions
}

fn choose(
    binding: &Binding,
    inventory: &Inventory,
    state: &State,
    alert: &Alert,
    past: &EpisodeHistory,
    now: DateTime<Utc>,
) -> Choice {
    if alert.status == Status::Resolved {
        let roles = &binding.on_resolved;
        let then = if roles.is_empty() {
            String::new()
        } else {
            format!(
                ": if it had a run of this binding, {} runs once",
                roles.join(", ")
            )
        };
        return Choice::skip(Skip::Resolved, format!("the alert is resolved{then}"));
    }
    if past.is_over(now) {
        return Choice::skip(
            Skip::Resolved,
            "this episode already resolved: the notification is late",
        );
    }
    let Some(step) = step(binding, past) else {
        return Choice::skip(
            Skip::Duplicate,
            "this episode already has its run under this binding",
        );
    };
    if let Some(name) = reserved_name(alert) {
        return Choice::skip(
            Skip::ReservedLabel,
            format!("{name:?} is a name that Ansible may read as its own"),
        );
    }
    if inventory.templates_twice()
        && let Some(text) = texts(alert).find(|text| is_template(text))
    {
        let shown: String = text.chars().take(80).collect();
        return Choice::skip(
            Skip::TemplateText,
            format!(
                "{shown:?} could be a template, and an ansible-core before 2.19 may evaluate it"
            ),
        );
    }
    match hosts_within(&binding.target, &binding.limit, inventory, Some(alert)) {
        Ok(hosts) => {
            let about = about(binding, inventory, alert);
            guards::choose(binding, state, step, (&hosts, about), now)
        }
        Err(unresolved) => Choice::skip(unresolved.reason, unresolved.why),
    }
}

/// Returns the host that an alert handled on the controller is about: its limits are still per host.
fn about(binding: &Binding, inventory: &Inventory, alert: &Alert) -> Option<String> {
    let controller = binding.target == Target::Controller;
    let label = alert.labels.get(INSTANCE).filter(|_| controller)?;
    let label = &label[..label.floor_char_boundary(ABOUT_LIMIT)];
    Some(subject(inventory, label)).filter(|name| !name.is_empty())
}

/// Returns the step that is due, from 1; `None` if none is.
fn step(binding: &Binding, past: &EpisodeHistory) -> Option<u32> {
    let Some(under) = past.progress.get(&binding.name) else {
        return Some(1);
    };
    let next = under.step + 1;
    let due = under.state == StepState::Next && step_of(binding, next).is_some();
    due.then_some(next)
}

/// Returns a step by its number, from 1.
pub fn step_of(binding: &Binding, number: u32) -> Option<&Step> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    binding.steps.get(index)
}

fn reserved_name(alert: &Alert) -> Option<&str> {
    alert
        .labels
        .keys()
        .chain(alert.annotations.keys())
        .find(|name| name.starts_with(RESERVED_PREFIX))
        .map(String::as_str)
}

/// Returns all text of an alert that is passed to roles and comes from outside.
fn texts(alert: &Alert) -> impl Iterator<Item = &str> {
    let sets = alert.labels.iter().chain(&alert.annotations);
    let texts = sets.flat_map(|(name, value)| [name.as_str(), value.as_str()]);
    texts.chain([alert.generator_url.as_str()])
}

/// Returns the work of a binding's step, without its hosts. Alerts share a run only if their work is equal.
pub fn work(binding: &Binding, step: u32) -> Work {
    let roles = step_of(binding, step).map(|step| step.roles.clone());
    work_of(binding, roles.unwrap_or_default())
}

/// Returns the work of a binding's `on_resolved` run.
pub fn work_on_resolved(binding: &Binding) -> Work {
    work_of(binding, binding.on_resolved.clone())
}

fn work_of(binding: &Binding, roles: Vec<String>) -> Work {
    Work {
        roles,
        controller: binding.target == Target::Controller,
        vars: binding.vars.clone(),
        r#become: binding.r#become,
        gather_facts: binding.gather_facts,
        check: binding.mode == Mode::Check,
        timeout: binding.timeout,
        allow_overlap: binding.allow_overlap,
        rerun_on_interrupt: binding.rerun_on_interrupt,
        inert_vars: binding.inert_vars,
        narrowing: binding.narrowing.clone(),
    }
}

/// Returns the data of a step that the guards need.
pub fn remedy(binding: &Binding, step: u32, probe: bool) -> RemediationStep {
    RemediationStep {
        step,
        steps: u32::try_from(binding.steps.len()).unwrap_or(u32::MAX),
        verify_within: step_of(binding, step).map_or_else(Default::default, |s| s.verify_within),
        probe,
    }
}

/// Decides a whole notification without a store: returns each alert with its decisions, in order, as if this
/// notification were all that is known.
pub fn explain<'a>(
    config: &Config,
    inventory: &Inventory,
    state: &State,
    notification: &'a Notification,
    now: DateTime<Utc>,
) -> Vec<(&'a Alert, Vec<Decision>)> {
    let mut past: HashMap<EpisodeKey, EpisodeHistory> = HashMap::new();
    notification
        .alerts
        .iter()
        .map(|alert| {
            let known = past.entry(alert.episode()).or_default();
            let decisions = decide(config, inventory, state, alert, known, now);
            record(known, alert, &decisions, now);
            (alert, decisions)
        })
        .collect()
}

/// Updates the history of an episode with these decisions.
pub fn record(
    past: &mut EpisodeHistory,
    alert: &Alert,
    decisions: &[Decision],
    now: DateTime<Utc>,
) {
    if alert.status == Status::Resolved {
        past.resolved_at.get_or_insert(now);
    } else if !past.is_over(now) {
        past.resolved_at = None;
    }
    for decision in decisions {
        if let Choice::Run { step, .. } = decision.choice {
            let state = StepState::Open;
            let progress = StepProgress { step, state };
            past.progress
                .insert(decision.binding_name().to_owned(), progress);
        }
    }
}

#[cfg(test)]
mod tests;
