//! What is to be done about an alert. Pure: no I/O, no clock, no randomness; the same input gives the same decisions,
//! which is why `explain` can show them without running anything.

mod target;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::alert::{Alert, EpisodeKey, Notification, Status};
use crate::config::{Binding, Config, Target};
use crate::inventory::{Inventory, is_template};
use crate::run::{RUN, Skip, Work};

pub use target::hosts;

/// Names that begin so are Ansible's own (`__ansible_unsafe`, `__ansible_vault`), or Prometheus's.
const RESERVED_PREFIX: &str = "__";

/// How long after its end a firing notification of an episode is taken for a late one, of the other Alertmanager of a
/// pair for example. One that comes later is believed: an Alertmanager that hears nothing from its Prometheus for a
/// while resolves what still fires, and tells it again with the same `startsAt`.
pub const LATE: TimeDelta = TimeDelta::hours(1);

/// What is known of an alert's episode before this notification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// When it was heard that the episode has ended.
    pub resolved_at: Option<DateTime<Utc>>,
    /// The bindings under which it already has its run. One that ended unstarted because the episode resolved is none.
    pub ran: BTreeSet<String>,
}

impl Past {
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
    },
    /// Do not run.
    Skip {
        /// The reason, a label value.
        reason: Skip,
        /// The same as a sentence.
        why: String,
    },
}

impl Choice {
    fn skip(reason: Skip, why: impl Into<String>) -> Self {
        Self::Skip {
            reason,
            why: why.into(),
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
    alert: &Alert,
    past: &Past,
    now: DateTime<Utc>,
) -> Vec<Decision> {
    let mut decisions = Vec::new();
    for binding in &config.bindings {
        if !binding.matchers.matches(&alert.labels) {
            continue;
        }
        decisions.push(Decision {
            binding: Some(Arc::clone(binding)),
            choice: choose(binding, inventory, alert, past, now),
        });
        if binding.stop {
            break;
        }
    }
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
    alert: &Alert,
    past: &Past,
    now: DateTime<Utc>,
) -> Choice {
    if alert.status == Status::Resolved {
        return Choice::skip(Skip::Resolved, "the alert is resolved");
    }
    if past.is_over(now) {
        return Choice::skip(
            Skip::Resolved,
            "this episode already resolved: the notification is late",
        );
    }
    if past.ran.contains(&binding.name) {
        return Choice::skip(
            Skip::Duplicate,
            "this episode already has its run under this binding",
        );
    }
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
    match hosts(&binding.target, inventory, Some(alert)) {
        Ok(hosts) => Choice::Run { hosts },
        Err(unresolved) => Choice::skip(unresolved.reason, unresolved.why),
    }
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

/// What a binding's runs do, apart from where. Alerts share a run only if this is equal.
pub fn work(binding: &Binding) -> Work {
    Work {
        roles: binding.roles.clone(),
        controller: binding.target == Target::Controller,
        vars: binding.vars.clone(),
        r#become: binding.r#become,
        gather_facts: binding.gather_facts,
        check: binding.check,
        timeout: binding.timeout,
        allow_overlap: binding.allow_overlap,
        rerun_on_interrupt: binding.rerun_on_interrupt,
        inert_vars: binding.inert_vars,
    }
}

/// The decisions for a whole notification, for a reader who has no store: each alert with its decisions, in their
/// order, as if nothing were known of the past but what this notification says.
pub fn explain<'a>(
    config: &Config,
    inventory: &Inventory,
    notification: &'a Notification,
    now: DateTime<Utc>,
) -> Vec<(&'a Alert, Vec<Decision>)> {
    let mut past: HashMap<EpisodeKey, Past> = HashMap::new();
    notification
        .alerts
        .iter()
        .map(|alert| {
            let known = past.entry(alert.episode()).or_default();
            let decisions = decide(config, inventory, alert, known, now);
            note(known, alert, &decisions, now);
            (alert, decisions)
        })
        .collect()
}

/// What is known of an episode after these decisions.
pub fn note(past: &mut Past, alert: &Alert, decisions: &[Decision], now: DateTime<Utc>) {
    if alert.status == Status::Resolved {
        past.resolved_at.get_or_insert(now);
    } else if !past.is_over(now) {
        past.resolved_at = None;
    }
    for decision in decisions {
        if matches!(decision.choice, Choice::Run { .. }) {
            past.ran.insert(decision.binding_name().to_owned());
        }
    }
}

#[cfg(test)]
mod tests;
