//! What our callback plugin says while a play runs: one JSON object a line.
//!
//! The pipe is open to everything that the play starts on this machine, so what comes out of it is checked: lines are
//! bounded, hosts must be the run's, and what is not understood is counted and left out.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::findings::{Findings, MAX_FINDINGS_BYTES, is_too_large};
use crate::model::run::{TaskEvent, TaskStatus};

/// The longest line that is read; a longer one is junk up to its end.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// The most that the facts of one host may be, as JSON; they come in several lines.
const MAX_FACTS_BYTES: usize = 4 << 20;

const MAX_NAME_CHARS: usize = 500;
const MAX_MESSAGE_CHARS: usize = 2000;

/// One event of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The play begins.
    Hello {
        /// ansible-core's version.
        ansible: String,
    },
    /// A task of a role begins, on all hosts or the first of them.
    Begin {
        /// The role.
        role: String,
        /// The task's name.
        task: String,
    },
    /// A task ended on a host.
    Task(TaskReport),
    /// What was found of a host.
    Facts {
        /// The host.
        host: String,
        /// The value of `ansible_facts`.
        facts: Map<String, Value>,
    },
    /// No host of the inventory matched.
    NoHostsMatched,
    /// The play ended; these are its statistics. For many hosts they come in several parts.
    Stats(Stats),
}

/// Each host's statistics.
pub type Stats = BTreeMap<String, HostStats>;

/// A task's end on a host: [`TaskEvent`] but for the time, which is the reader's.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TaskReport {
    /// The host.
    pub host: String,
    /// The role that the task belongs to, if any.
    #[serde(default)]
    pub role: Option<String>,
    /// The task's name.
    pub task: String,
    /// The module.
    pub action: String,
    /// How the task ended on the host.
    pub status: TaskStatus,
    /// How long it took there.
    #[serde(default)]
    pub duration_seconds: f64,
    /// What the task said.
    #[serde(default)]
    pub message: Option<String>,
    /// What the role reports of the host by this task.
    #[serde(default)]
    pub findings: Option<Findings>,
}

impl TaskReport {
    /// The event as it is stored.
    pub fn at(self, at: DateTime<Utc>) -> TaskEvent {
        TaskEvent {
            at,
            host: self.host,
            role: self.role,
            task: self.task,
            action: self.action,
            status: self.status,
            duration_seconds: self.duration_seconds,
            message: self.message,
            findings: self.findings,
        }
    }

    /// Whether this is what makes a host fail, unless the play rescues it.
    pub fn is_failure(&self) -> bool {
        matches!(self.status, TaskStatus::Failed | TaskStatus::Unreachable)
    }
}

/// What Ansible counted for one host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostStats {
    /// Tasks that ended well, changed or not.
    pub ok: u64,
    /// Tasks that changed something.
    pub changed: u64,
    /// Tasks that failed and were neither ignored nor rescued.
    pub failures: u64,
    /// Times it could not be reached.
    pub unreachable: u64,
    /// Tasks that were skipped.
    pub skipped: u64,
    /// Tasks that failed and were rescued.
    pub rescued: u64,
    /// Tasks that failed and were ignored.
    pub ignored: u64,
    /// How the play ended there.
    pub end: PlayEnd,
}

/// How the play ended on a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlayEnd {
    /// Before the last task, for a reason that is not the host's own.
    #[default]
    Early,
    /// A role took the host out of it (`meta: end_host`).
    Left,
    /// Ansible took it out, because a role or an error said so.
    Removed,
    /// With the last task.
    Reached,
}

#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
    Hello {
        #[serde(default)]
        ansible: String,
    },
    Begin {
        role: String,
        task: String,
    },
    Task(TaskReport),
    Facts {
        host: String,
        text: String,
        last: bool,
    },
    NoHostsMatched,
    Stats {
        hosts: Stats,
    },
    /// A newer callback may say more than we know.
    #[serde(other)]
    Unknown,
}

/// Turns bytes, however they are cut, into events.
#[derive(Debug)]
pub struct Decoder {
    hosts: BTreeSet<String>,
    line: Vec<u8>,
    /// Whether the line at hand is too long and is passed over.
    skipping: bool,
    /// The host whose facts are coming, and what has come of them.
    facts: Option<(String, String)>,
    junk: u64,
}

impl Decoder {
    /// A decoder for a run on these hosts.
    pub fn new(hosts: impl IntoIterator<Item = String>) -> Self {
        Self {
            hosts: hosts.into_iter().collect(),
            line: Vec::new(),
            skipping: false,
            facts: None,
            junk: 0,
        }
    }

    /// How many lines were not understood, were too long, or spoke of a host that is not the run's.
    pub fn junk(&self) -> u64 {
        self.junk
    }

    /// Takes the next bytes and hands out the events that they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for piece in bytes.split_inclusive(|&b| b == b'\n') {
            let (text, complete) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            if self.line.len() + text.len() > MAX_LINE_BYTES {
                self.skipping = true;
            }
            if self.skipping {
                self.line.clear();
            } else {
                self.line.extend_from_slice(text);
            }
            if complete {
                events.extend(self.end_line());
            }
        }
        events
    }

    /// Says that nothing more will come: half a line is junk.
    pub fn finish(&mut self) {
        if self.skipping || !self.line.is_empty() {
            self.junk += 1;
        }
        self.skipping = false;
        self.line.clear();
    }

    fn end_line(&mut self) -> Option<Event> {
        let skipped = std::mem::take(&mut self.skipping);
        let line = std::mem::take(&mut self.line);
        if line.is_empty() && !skipped {
            return None;
        }
        let parsed = if skipped {
            None
        } else {
            serde_json::from_slice(&line).ok()
        };
        // The buffer is used again for the next line.
        self.line = line;
        self.line.clear();
        match parsed {
            Some(Line::Hello { ansible }) => Some(Event::Hello {
                ansible: cut(ansible, MAX_NAME_CHARS),
            }),
            Some(Line::Begin { role, task }) => Some(Event::Begin {
                role: cut(role, MAX_NAME_CHARS),
                task: cut(task, MAX_NAME_CHARS),
            }),
            Some(Line::Task(report)) if self.hosts.contains(&report.host) => {
                Some(Event::Task(tidy(report)))
            }
            Some(Line::Facts { host, text, last }) if self.hosts.contains(&host) => {
                self.facts(host, &text, last)
            }
            Some(Line::NoHostsMatched) => Some(Event::NoHostsMatched),
            Some(Line::Stats { hosts }) => Some(Event::Stats(self.own(hosts))),
            Some(Line::Unknown) => None,
            Some(Line::Task(_) | Line::Facts { .. }) | None => {
                self.junk += 1;
                None
            }
        }
    }

    /// Puts the facts of a host together. Those of another host before the end are a new beginning.
    fn facts(&mut self, host: String, text: &str, last: bool) -> Option<Event> {
        let mut facts = match self.facts.take() {
            Some((of, facts)) if of == host => facts,
            Some(_) => {
                self.junk += 1;
                String::new()
            }
            None => String::new(),
        };
        if facts.len() + text.len() > MAX_FACTS_BYTES {
            self.junk += 1;
            return None;
        }
        facts.push_str(text);
        if !last {
            self.facts = Some((host, facts));
            return None;
        }
        if let Ok(facts) = serde_json::from_str(&facts) {
            Some(Event::Facts { host, facts })
        } else {
            self.junk += 1;
            None
        }
    }

    fn own(&mut self, mut stats: Stats) -> Stats {
        let told = stats.len();
        stats.retain(|host, _| self.hosts.contains(host));
        self.junk += (told - stats.len()) as u64;
        stats
    }
}

fn tidy(mut report: TaskReport) -> TaskReport {
    report.task = cut(report.task, MAX_NAME_CHARS);
    report.action = cut(report.action, MAX_NAME_CHARS);
    report.role = report.role.map(|role| cut(role, MAX_NAME_CHARS));
    report.message = report
        .message
        .map(|message| cut(message, MAX_MESSAGE_CHARS));
    if report.findings.as_ref().is_some_and(is_too_large) {
        report.findings = None;
        report.message = Some(format!(
            "the findings are left out: they have more than {MAX_FINDINGS_BYTES} bytes"
        ));
    }
    // JSON has no infinity, but 1e999 is one.
    if !report.duration_seconds.is_finite() || report.duration_seconds < 0.0 {
        report.duration_seconds = 0.0;
    }
    report
}

fn cut(mut text: String, chars: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(chars) {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests;
