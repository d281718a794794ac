//! Formats decisions, as text and as JSON.

use std::fmt::Write;

use serde::Serialize;

use crate::cli::Failure;
use crate::cli::format::{alert_name, count, firing, labels};
use crate::cli::terminal::{self, Ink, plain};
use crate::config::Binding;
use crate::model::alert::{Alert, Notification};
use crate::model::guards::{ALL, Hold, Holds, Mode};
use crate::model::run::SkippedHost;
use crate::plan::{self, Choice, Decision};

pub(super) type Explained<'a> = (&'a Alert, Vec<Decision>);

pub(super) fn as_text(
    notification: &Notification,
    explained: &[Explained<'_>],
    book: &Holds,
    color: bool,
) -> String {
    let mut text = String::new();
    if notification.truncated_alerts > 0 {
        let _ = writeln!(
            text,
            "Not decided: {} that Alertmanager omitted because of its max_alerts.\n",
            count(notification.truncated_alerts, "alert")
        );
    }
    let width = explained
        .iter()
        .flat_map(|(_, decisions)| decisions)
        .map(|decision| decision.binding_name().len())
        .max()
        .unwrap_or(0);
    for (alert, decisions) in explained {
        let _ = writeln!(
            text,
            "{}  {}  {}",
            Ink::Bold.paint(&alert_name(alert.name()), color),
            firing(alert.status, *alert.starts_at, alert.ends_at),
            alert.fingerprint
        );
        let _ = writeln!(text, "  {}", labels(&alert.labels));
        for decision in decisions {
            let _ = writeln!(text, "{}", line(decision, book, width, color));
        }
        text.push('\n');
    }
    let runs = explained
        .iter()
        .flat_map(|(_, decisions)| decisions)
        .filter(|decision| matches!(decision.choice, Choice::Run { .. }))
        .count();
    let _ = writeln!(
        text,
        "{}, {} to run. Nothing was run; the state of a server (duplicates) is not included.",
        count(explained.len() as u64, "alert"),
        count(runs as u64, "decision")
    );
    text
}

fn line(decision: &Decision, book: &Holds, width: usize, color: bool) -> String {
    let binding = match decision.binding_name() {
        "" => "-",
        name => name,
    };
    let reason = decision.choice.as_str();
    let ink = match &decision.choice {
        Choice::Run { .. } => Ink::Green,
        Choice::Skip { reason, .. } if reason.is_routine() => Ink::Dim,
        Choice::Skip { .. } => Ink::Yellow,
    };
    let reason = ink.paint(&format!("{reason:<16}"), color);
    let why = match (&decision.choice, &decision.binding) {
        (Choice::Run { .. }, Some(binding)) => run(decision, binding, book),
        (Choice::Skip { why, .. }, _) => plain(why),
        (Choice::Run { .. }, None) => String::new(),
    };
    format!("    {binding:<width$}  {reason} {why}")
}

/// Describes the run, its hosts, and what it would wait for.
fn run(decision: &Decision, binding: &Binding, book: &Holds) -> String {
    let Choice::Run {
        hosts,
        step,
        spared,
        ..
    } = &decision.choice
    else {
        return String::new();
    };
    let mut text = match binding.steps.len() {
        0 | 1 => String::new(),
        steps => format!("step {step} of {steps}: "),
    };
    let roles = roles_of(binding, *step).join(", ");
    let _ = write!(text, "{roles} on {}", hosts.join(", "));
    if binding.mode == Mode::Check {
        text.push_str(" (check mode)");
    }
    for spared in spared {
        let _ = write!(text, "; without {}: {}", spared.host, plain(&spared.why));
    }
    let waits: Vec<&str> = waits(binding, book).into_iter().map(Hold::as_str).collect();
    if !waits.is_empty() {
        let _ = write!(text, "; would wait: {}", waits.join(", "));
    }
    text
}

/// Returns what a run of a binding would wait for.
fn waits(binding: &Binding, book: &Holds) -> Vec<Hold> {
    let storm = [binding.name.as_str(), ALL]
        .iter()
        .any(|name| book.storms.contains_key(*name));
    let holds = [
        (book.pause.is_some(), Hold::Paused),
        (storm, Hold::Storm),
        (binding.approval.is_some(), Hold::Approval),
    ];
    let holds = holds.into_iter().filter(|(is_so, _)| *is_so);
    holds.map(|(_, hold)| hold).collect()
}

fn roles_of(binding: &Binding, step: u32) -> &[String] {
    plan::step_of(binding, step).map_or(&[], |step| &step.roles)
}

#[derive(Serialize)]
struct Document<'a> {
    truncated_alerts: u64,
    alerts: Vec<AlertDocument<'a>>,
}

#[derive(Serialize)]
struct AlertDocument<'a> {
    #[serde(flatten)]
    alert: &'a Alert,
    decisions: Vec<DecisionDocument<'a>>,
}

#[derive(Serialize)]
struct DecisionDocument<'a> {
    binding: Option<&'a str>,
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    roles: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    hosts: &'a [String],
    /// Whether the run would only report changes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    check: bool,
    /// The step of the binding, if it has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<u32>,
    /// What the run would wait for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waits: Vec<Hold>,
    /// The skipped hosts, and why.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    spared: &'a [SkippedHost],
}

pub(super) fn as_json(
    notification: &Notification,
    explained: &[Explained<'_>],
    book: &Holds,
) -> Result<String, Failure> {
    let document = Document {
        truncated_alerts: notification.truncated_alerts,
        alerts: explained
            .iter()
            .map(|(alert, decisions)| AlertDocument {
                alert,
                decisions: decisions
                    .iter()
                    .map(|decision| decision_document(decision, book))
                    .collect(),
            })
            .collect(),
    };
    Ok(terminal::json(&document)?)
}

fn decision_document<'a>(decision: &'a Decision, book: &Holds) -> DecisionDocument<'a> {
    let binding = decision.binding.as_ref();
    let mut document = DecisionDocument {
        binding: binding.map(|binding| binding.name.as_str()),
        decision: decision.choice.as_str(),
        why: None,
        roles: &[],
        hosts: &[],
        check: false,
        step: None,
        waits: Vec::new(),
        spared: &[],
    };
    match (&decision.choice, binding) {
        (Choice::Skip { why, .. }, _) => document.why = Some(why),
        (
            Choice::Run {
                hosts,
                step,
                spared,
                ..
            },
            Some(binding),
        ) => {
            document.roles = roles_of(binding, *step);
            document.hosts = hosts;
            document.check = binding.mode == Mode::Check;
            document.step = (binding.steps.len() > 1).then_some(*step);
            document.waits = waits(binding, book);
            document.spared = spared;
        }
        (Choice::Run { .. }, None) => {}
    }
    document
}
