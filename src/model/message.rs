//! Messages to people about events. A message is complete: it can be rendered without the store.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::run::{Outcome, Run, RunId};
use crate::util::sanitize::{line, one_line};

/// A message about an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The number in the store; 0 until it is stored.
    pub id: u64,
    /// The time of the event.
    pub at: DateTime<Utc>,
    #[serde(flatten)]
    pub matter: MessageEvent,
}

/// The event that a message reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum MessageEvent {
    /// A run failed.
    RunFailed {
        run: RunId,
        /// How it ended.
        outcome: Outcome,
        roles: Vec<String>,
        /// The hosts on which it did not succeed.
        hosts: Vec<String>,
        /// The binding that created the run, if an alert triggered it.
        binding: Option<String>,
        /// The schedule that created the run, if any.
        schedule: Option<String>,
        /// The reason, if it is known.
        why: Option<String>,
    },
    /// A run succeeded, but its alert is still firing.
    #[serde(rename = "ineffective")]
    RemediationIneffective {
        binding: String,
        /// The alert type.
        alertname: String,
        host: String,
        run: RunId,
        /// The episode: the alert's fingerprint and its start.
        episode: String,
    },
    /// Something is held until a person releases it.
    Held {
        /// What is held.
        what: HoldTarget,
        /// The reason, as an identifier.
        reason: String,
        /// The reason, as a sentence.
        why: String,
    },
    /// A run waits for approval.
    #[serde(rename = "approval")]
    ApprovalWanted {
        run: RunId,
        roles: Vec<String>,
        hosts: Vec<String>,
        /// The binding that created the run.
        binding: Option<String>,
        /// When the run expires without approval.
        until: Option<DateTime<Utc>>,
    },
    /// A test of a notifier.
    Test { notifier: String },
}

/// The object that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HoldTarget {
    Binding(String),
    Role(String),
    Host(String),
    /// Everything.
    All,
}

/// The kind of a message, by which notifiers select messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// [`MessageEvent::RunFailed`].
    RunFailed,
    /// [`MessageEvent::RemediationIneffective`].
    Ineffective,
    /// [`MessageEvent::Held`].
    Held,
    /// [`MessageEvent::ApprovalWanted`].
    Approval,
    /// [`MessageEvent::Test`], which is sent to one notifier and cannot be selected.
    Test,
}

impl Kind {
    /// Every kind that can be selected.
    pub const ALL: [Self; 4] = [
        Self::RunFailed,
        Self::Ineffective,
        Self::Held,
        Self::Approval,
    ];

    /// Returns the name in the configuration, which is also the `event` of a message.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RunFailed => "run_failed",
            Self::Ineffective => "ineffective",
            Self::Held => "held",
            Self::Approval => "approval",
            Self::Test => "test",
        }
    }
}

impl Message {
    /// Creates a message that is not stored yet.
    pub fn new(matter: MessageEvent, at: DateTime<Utc>) -> Self {
        Self { id: 0, at, matter }
    }

    /// Creates the message about a failed run; `None` if it did not fail, or if it was canceled or interrupted.
    pub fn of_run(run: &Run) -> Option<Self> {
        let outcome = run.outcome?;
        if !matches!(
            outcome,
            Outcome::Failed | Outcome::Unreachable | Outcome::Timeout
        ) {
            return None;
        }
        let bad = |(_, result): &(&String, &crate::model::run::HostResult)| {
            result.outcome != Outcome::Successful
        };
        let first = run.results.iter().find(bad);
        let why = run.message.clone();
        let matter = MessageEvent::RunFailed {
            run: run.id,
            outcome,
            roles: run.work.roles.clone(),
            hosts: run
                .results
                .iter()
                .filter(bad)
                .map(|(h, _)| h.clone())
                .collect(),
            binding: run.binding.clone(),
            schedule: run.schedule.clone(),
            why: why.or_else(|| first.and_then(|(_, result)| result.message.clone())),
        };
        Some(Self::new(matter, run.finished_at?))
    }

    /// Returns the kind of the message.
    pub const fn kind(&self) -> Kind {
        match self.matter {
            MessageEvent::RunFailed { .. } => Kind::RunFailed,
            MessageEvent::RemediationIneffective { .. } => Kind::Ineffective,
            MessageEvent::Held { .. } => Kind::Held,
            MessageEvent::ApprovalWanted { .. } => Kind::Approval,
            MessageEvent::Test { .. } => Kind::Test,
        }
    }

    /// Returns the run that the message is about, if any.
    pub const fn run(&self) -> Option<RunId> {
        match self.matter {
            MessageEvent::RunFailed { run, .. }
            | MessageEvent::RemediationIneffective { run, .. }
            | MessageEvent::ApprovalWanted { run, .. } => Some(run),
            MessageEvent::Held { .. } | MessageEvent::Test { .. } => None,
        }
    }

    /// Returns one line, for example as the subject of an email. It may contain text from alerts and inventories, which
    /// is data to be escaped, but never control characters or further lines.
    pub fn summary(&self) -> String {
        let summary = match &self.matter {
            MessageEvent::RunFailed {
                run,
                outcome,
                roles,
                hosts,
                ..
            } => format!("Run {run} of {} on {}: {outcome}", list(roles), list(hosts)),
            MessageEvent::RemediationIneffective {
                alertname,
                host,
                run,
                ..
            } => format!("Run {run} succeeded, but {alertname} is still firing on {host}"),
            MessageEvent::Held { what, reason, .. } => format!("{what} is held: {reason}"),
            MessageEvent::ApprovalWanted {
                run, roles, hosts, ..
            } => format!(
                "Run {run} of {} on {} waits for approval",
                list(roles),
                list(hosts)
            ),
            MessageEvent::Test { notifier } => format!("Test of the notifier {notifier}"),
        };
        one_line(&summary)
    }

    /// Returns further details, one item each. The lines of a multi-line text after the first are indented, so that
    /// none can look like another item.
    pub fn details(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut add = |what: &str, text: &Option<String>| {
            if let Some(text) = text {
                let text: Vec<String> = text.lines().map(line).collect();
                lines.push(format!("{what}: {}", text.join("\n  ")));
            }
        };
        match &self.matter {
            MessageEvent::RunFailed {
                binding,
                schedule,
                why,
                ..
            } => {
                add("Binding", binding);
                add("Schedule", schedule);
                add("Why", why);
            }
            MessageEvent::RemediationIneffective {
                binding, episode, ..
            } => {
                add("Binding", &Some(binding.clone()));
                add("Episode", &Some(episode.clone()));
            }
            MessageEvent::Held { why, .. } => add("Why", &Some(why.clone())),
            MessageEvent::ApprovalWanted { binding, until, .. } => {
                add("Binding", binding);
                add("Expires at", &until.map(|at| at.to_rfc3339()));
            }
            MessageEvent::Test { .. } => lines.push("This is only a test.".to_owned()),
        }
        lines
    }
}

/// The maximum number of names listed.
const NAMED: usize = 5;

fn list(names: &[String]) -> String {
    let first = names.iter().take(NAMED).cloned().collect::<Vec<_>>();
    match names.len().saturating_sub(NAMED) {
        0 if names.is_empty() => "nothing".to_owned(),
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

impl std::fmt::Display for HoldTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Binding(name) => write!(f, "The binding {name}"),
            Self::Role(name) => write!(f, "The role {name}"),
            Self::Host(name) => write!(f, "The host {name}"),
            Self::All => f.write_str("Everything"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::sanitize::is_visible;

    #[test]
    fn no_text_from_outside_begins_a_line_or_drives_a_terminal() {
        let evil = "x\r\nBinding: other\u{1b}[2J\u{9b}\u{202e}\u{2028}y".to_owned();
        let run = RunId(7);
        let matters = [
            MessageEvent::RunFailed {
                run,
                outcome: Outcome::Failed,
                roles: vec![evil.clone()],
                hosts: vec![evil.clone()],
                binding: Some(evil.clone()),
                schedule: Some(evil.clone()),
                why: Some(evil.clone()),
            },
            MessageEvent::RemediationIneffective {
                binding: evil.clone(),
                alertname: evil.clone(),
                host: evil.clone(),
                run,
                episode: evil.clone(),
            },
            MessageEvent::Held {
                what: HoldTarget::Binding(evil.clone()),
                reason: evil.clone(),
                why: evil.clone(),
            },
            MessageEvent::ApprovalWanted {
                run,
                roles: vec![evil.clone()],
                hosts: vec![evil.clone()],
                binding: Some(evil.clone()),
                until: None,
            },
            MessageEvent::Test { notifier: evil },
        ];
        for matter in matters {
            let message = Message::new(matter, DateTime::UNIX_EPOCH);
            let summary = message.summary();
            assert!(summary.chars().all(is_visible), "{summary:?}");
            for detail in message.details() {
                assert!(
                    detail.chars().all(|c| c == '\n' || is_visible(c)),
                    "{detail:?}"
                );
                let more = detail.lines().skip(1);
                assert!(
                    more.clone().all(|line| line.starts_with("  ")),
                    "{detail:?}"
                );
            }
        }
    }
}
