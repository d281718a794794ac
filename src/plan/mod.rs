//! What is to be done about an alert. Pure: no I/O, no clock, no randomness; the same input gives the same decisions,
//! which is why `explain` can show them without running anything.

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

/// Names that begin so are Ansible's own (`__ansible_unsafe`, `__ansible_vault`), or Prometheus's.
const RESERVED_PREFIX: &str = "__";

/// The label that names the host by custom.
const INSTANCE: &str = "instance";

/// As much of it tells one host from another. *Units*: bytes.
const ABOUT_LIMIT: usize = 256;

/// How long after its end a firing notification of an episode is taken for a late one, of the other Alertmanager of a
/// pair for example. One that comes later is believed: an Alertmanager that hears nothing from its Prometheus for a
/// while resolves what still fires, and tells it again with the same `startsAt`.
pub const LATE: TimeDelta = TimeDelta::hours(1);

/// What is known of an alert's episode before this notification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EpisodeHistory {
    /// When it was heard that the episode has ended.
    pub resolved_at: Option<DateTime<Utc>>,
    /// Binding → how far it has come under it. A run that ended unstarted because the episode resolved is none.
    pub under: BTreeMap<String, StepProgress>,
}

/// How far an episode has come under a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepProgress {
    /// The last step that ran or runs for it, from 1.
    pub step: u32,
    /// What that makes of the next.
    pub standing: StepState,
}

/// What a step makes of the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepState {
    /// It is queued or under way, or it is yet to be seen or heard whether it helped.
    Open,
    /// There is to be no next one.
    Done,
    /// It did not help: the next one is due if the episode still fires.
    Next,
}

impl EpisodeHistory {
    /// Whether the episode has ended, so that whoever says that it fires is late.
    pub fn is_over(&self, now: DateTime<Utc>) -> bool {
        is_over(self.resolved_at, now)
    }
}

/// Whether an episode of which this end was heard is over.
pub fn is_over(resolved_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    resolved_at.is_some_and(|at| now - at < LATE)
}

/// What was made of one alert × binding.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The binding; `None` only for [`Skip::NoBinding`].
    pub binding: Option<Arc<Binding>>,
    /// Run it, or not.
    pub choice: Choice,
}

/// Run it, or skip it for a named reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Run on exactly these hosts: inventory names, or the controller's.
    Run {
        /// Never empty.
        hosts: Vec<String>,
        /// The host that it is about, where it runs on the controller instead.
        about: Option<String>,
        /// Which step of the binding, from 1.
        step: u32,
        /// Whether it is on one host only, to try out a role that failed too often.
        probe: bool,
        /// Hosts that are left out, and why.
        spared: Vec<SkippedHost>,
    },
    /// Do not run.
    Skip {
        /// The reason, a label value.
        reason: Skip,
        /// The same as a sentence.
        why: String,
        /// When to look again, if nothing is heard before.
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

    /// The label value: `run`, or the reason for skipping.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Run { .. } => RUN,
            Self::Skip { reason, .. } => reason.as_str(),
        }
    }
}

impl Decision {
    /// The binding's name; empty where none matched.
    pub fn binding_name(&self) -> &str {
        self.binding.as_ref().map_or("", |b| b.name.as_str())
    }
}

/// Decides one alert against every binding that matches it, in the order of the configuration; never empty.
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

/// The bindings that match an alert, in the order of the configuration, up to one that says `stop`.
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

/// Decides one alert against these bindings, which match it; never empty.
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
                "{shown:?} could be a template, and an ansible-core before 2.19 may take it for one"
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

/// What an alert is about that is handled on the controller: there, too, the limits are those of each host.
fn about(binding: &Binding, inventory: &Inventory, alert: &Alert) -> Option<String> {
    let controller = binding.target == Target::Controller;
    let label = alert.labels.get(INSTANCE).filter(|_| controller)?;
    let label = &label[..label.floor_char_boundary(ABOUT_LIMIT)];
    Some(subject(inventory, label)).filter(|name| !name.is_empty())
}

/// The step that is due, from 1; `None` if none is.
fn step(binding: &Binding, past: &EpisodeHistory) -> Option<u32> {
    let Some(under) = past.under.get(&binding.name) else {
        return Some(1);
    };
    let next = under.step + 1;
    let due = under.standing == StepState::Next && step_of(binding, next).is_some();
    due.then_some(next)
}

/// A step by its number, from 1.
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

/// Everything that a role is told of an alert and that comes from outside.
fn texts(alert: &Alert) -> impl Iterator<Item = &str> {
    let sets = alert.labels.iter().chain(&alert.annotations);
    let texts = sets.flat_map(|(name, value)| [name.as_str(), value.as_str()]);
    texts.chain([alert.generator_url.as_str()])
}

/// What the runs of a binding's step do, apart from where. Alerts share a run only if this is equal.
pub fn work(binding: &Binding, step: u32) -> Work {
    let roles = step_of(binding, step).map(|step| step.roles.clone());
    work_of(binding, roles.unwrap_or_default())
}

/// What a binding's runs do when its alerts have resolved.
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

/// What a run of this step has to do with the guards.
pub fn remedy(binding: &Binding, step: u32, probe: bool) -> RemediationStep {
    RemediationStep {
        step,
        steps: u32::try_from(binding.steps.len()).unwrap_or(u32::MAX),
        verify_within: step_of(binding, step).map_or_else(Default::default, |s| s.verify_within),
        probe,
    }
}

/// The decisions for a whole notification, for a reader who has no store: each alert with its decisions, in their
/// order, as if nothing were known of the past but what this notification says.
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

/// What is known of an episode after these decisions.
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
            let standing = StepState::Open;
            let under = StepProgress { step, standing };
            past.under.insert(decision.binding_name().to_owned(), under);
        }
    }
}

#[cfg(test)]
mod tests;
