//! Messages to people: what happened that somebody should know. A message is whole: it is rendered without the store.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::run::{Outcome, Run, RunId};
use crate::util::sanitize::{line, one_line};

/// Something that somebody should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its number in the store; 0 until it is kept.
    pub id: u64,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// What happened.
    #[serde(flatten)]
    pub matter: MessageEvent,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum MessageEvent {
    /// A run failed.
    RunFailed {
        /// The run.
        run: RunId,
        /// How it ended.
        outcome: Outcome,
        /// Its roles.
        roles: Vec<String>,
        /// The hosts on which it did not end well.
        hosts: Vec<String>,
        /// The binding that made it, if an alert did.
        binding: Option<String>,
        /// The schedule that made it, if one did.
        schedule: Option<String>,
        /// Why, as far as it is known.
        why: Option<String>,
    },
    /// A run ended well, and its alert fires all the same.
    #[serde(rename = "ineffective")]
    RemediationIneffective {
        /// The binding.
        binding: String,
        /// The alert type.
        alertname: String,
        /// The host.
        host: String,
        /// The run.
        run: RunId,
        /// The episode: the alert's fingerprint and since when it fires.
        episode: String,
    },
    /// Something is not run until a person lets it.
    Held {
        /// What is held.
        what: HoldTarget,
        /// The reason, as a word.
        reason: String,
        /// The reason, as a sentence.
        why: String,
    },
    /// A run waits for somebody's consent.
    #[serde(rename = "approval")]
    ApprovalWanted {
        /// The run.
        run: RunId,
        /// Its roles.
        roles: Vec<String>,
        /// Its hosts.
        hosts: Vec<String>,
        /// The binding that made it.
        binding: Option<String>,
        /// When it lapses.
        until: Option<DateTime<Utc>>,
    },
    /// Somebody tries a notifier.
    Test {
        /// The notifier.
        notifier: String,
    },
}

/// What is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HoldTarget {
    /// A binding.
    Binding(String),
    /// A role.
    Role(String),
    /// A host.
    Host(String),
    /// Everything.
    All,
}

/// What a receiver of messages may choose among.
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
    /// [`MessageEvent::Test`], which is sent to one notifier and chosen by none.
    Test,
}

impl Kind {
    /// Every kind that can be chosen.
    pub const ALL: [Self; 4] = [
        Self::RunFailed,
        Self::Ineffective,
        Self::Held,
        Self::Approval,
    ];

    /// Its name in the configuration, and a message's `event`.
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
    /// One that is not kept yet.
    pub fn new(matter: MessageEvent, at: DateTime<Utc>) -> Self {
        Self { id: 0, at, matter }
    }

    /// That a run failed; `None` if it did not, or if somebody ended it.
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

    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self.matter {
            MessageEvent::RunFailed { .. } => Kind::RunFailed,
            MessageEvent::RemediationIneffective { .. } => Kind::Ineffective,
            MessageEvent::Held { .. } => Kind::Held,
            MessageEvent::ApprovalWanted { .. } => Kind::Approval,
            MessageEvent::Test { .. } => Kind::Test,
        }
    }

    /// The run that it is about, if it is about one.
    pub const fn run(&self) -> Option<RunId> {
        match self.matter {
            MessageEvent::RunFailed { run, .. }
            | MessageEvent::RemediationIneffective { run, .. }
            | MessageEvent::ApprovalWanted { run, .. } => Some(run),
            MessageEvent::Held { .. } | MessageEvent::Test { .. } => None,
        }
    }

    /// In one line, as the subject of a letter. It may hold text from alerts and inventories: data, to be escaped, but never
    /// control characters or another line.
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
            } => format!("Run {run} ended well, but {alertname} still fires on {host}"),
            MessageEvent::Held { what, reason, .. } => format!("{what} is held: {reason}"),
            MessageEvent::ApprovalWanted {
                run, roles, hosts, ..
            } => format!(
                "Run {run} of {} on {} waits for approval",
                list(roles),
                list(hosts)
            ),
            MessageEvent::Test { notifier } => format!("A test of the notifier {notifier}"),
        };
        one_line(&summary)
    }

    /// What is known beyond the summary, one for each thing. A text of several lines stays so, and its further lines are
    /// indented: none can look like another thing.
    pub fn details(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut say = |what: &str, text: &Option<String>| {
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
                say("Binding", binding);
                say("Schedule", schedule);
                say("Why", why);
            }
            MessageEvent::RemediationIneffective {
                binding, episode, ..
            } => {
                say("Binding", &Some(binding.clone()));
                say("Episode", &Some(episode.clone()));
            }
            MessageEvent::Held { why, .. } => say("Why", &Some(why.clone())),
            MessageEvent::ApprovalWanted { binding, until, .. } => {
                say("Binding", binding);
                say("It lapses at", &until.map(|at| at.to_rfc3339()));
            }
            MessageEvent::Test { .. } => lines.push("Nothing happened.".to_owned()),
        }
        lines
    }
}

/// How many names of a list are said.
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
