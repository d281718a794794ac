//! What is to be done about an alert. Pure: no I/O, no clock, no randomness; the same input gives the same decisions,
//! which is why `explain` can show them without running anything.

mod target;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::alert::{Alert, EpisodeKey, Notification, Status};
use crate::config::{Binding, Config, Target};
use crate::inventory::Inventory;
use crate::run::{RUN, Skip, Work};

/// Names that begin so are Ansible's own (`__ansible_unsafe`, `__ansible_vault`), or Prometheus's.
const RESERVED_PREFIX: &str = "__";

/// What is known of an alert's episode before this notification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// The episode has ended. That is final: an alert that fires again has another `startsAt`.
    pub resolved: bool,
    /// The bindings under which it already has its run.
    pub ran: BTreeSet<String>,
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
pub fn decide(config: &Config, inventory: &Inventory, alert: &Alert, past: &Past) -> Vec<Decision> {
    let mut decisions = Vec::new();
    for binding in &config.bindings {
        if !binding.matchers.matches(&alert.labels) {
            continue;
        }
        decisions.push(Decision {
            binding: Some(Arc::clone(binding)),
            choice: choose(binding, inventory, alert, past),
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

fn choose(binding: &Binding, inventory: &Inventory, alert: &Alert, past: &Past) -> Choice {
    if alert.status == Status::Resolved {
        return Choice::skip(Skip::Resolved, "the alert is resolved");
    }
    if past.resolved {
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
    match target::hosts(&binding.target, inventory, alert) {
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

/// What a binding's runs do, apart from where. Alerts share a run only if this is equal.
pub fn work(binding: &Binding) -> Work {
    Work {
        roles: binding.roles.clone(),
        controller: binding.target == Target::Controller,
        vars: binding.vars.clone(),
        r#become: binding.r#become,
        gather_facts: binding.gather_facts,
        check: false,
        timeout: binding.timeout,
        allow_overlap: binding.allow_overlap,
        rerun_on_interrupt: binding.rerun_on_interrupt,
    }
}

/// The decisions for a whole notification, for a reader who has no store: each alert with its decisions, in their
/// order, as if nothing were known of the past but what this notification says.
pub fn explain<'a>(
    config: &Config,
    inventory: &Inventory,
    notification: &'a Notification,
) -> Vec<(&'a Alert, Vec<Decision>)> {
    let mut past: HashMap<EpisodeKey, Past> = HashMap::new();
    notification
        .alerts
        .iter()
        .map(|alert| {
            let known = past.entry(alert.episode()).or_default();
            let decisions = decide(config, inventory, alert, known);
            note(known, alert, &decisions);
            (alert, decisions)
        })
        .collect()
}

/// What is known of an episode after these decisions.
pub fn note(past: &mut Past, alert: &Alert, decisions: &[Decision]) {
    past.resolved |= alert.status == Status::Resolved;
    for decision in decisions {
        if matches!(decision.choice, Choice::Run { .. }) {
            past.ran.insert(decision.binding_name().to_owned());
        }
    }
}

#[cfg(test)]
mod tests;
