//! Decodes the events that the callback plugin writes while a play runs: one JSON object per line.
//!
//! Every process that the play starts on this machine can write to the pipe, so its content is checked: lines have a length
//! limit, hosts must be hosts of the run, and invalid lines are counted and ignored.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::findings::{Findings, MAX_FINDINGS_BYTES, is_too_large};
use crate::model::run::{TaskEvent, TaskStatus};

/// The longest valid line. *Units*: bytes.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// The largest facts of one host, as JSON; they are sent in several lines. *Units*: bytes.
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
    /// A task of a role begins, on all hosts or on the first of them.
    Begin {
        role: String,
        /// The task's name.
        task: String,
    },
    /// A task ended on a host.
    Task(TaskReport),
    /// The facts of a host.
    Facts {
        host: String,
        /// The value of `ansible_facts`.
        facts: Map<String, Value>,
    },
    /// No host of the inventory matched.
    NoHostsMatched,
    /// The play ended; these are its statistics. For many hosts there are several such events.
    Stats(Stats),
}

/// The statistics of each host.
pub type Stats = BTreeMap<String, HostStats>;

/// The end of a task on a host: a [`TaskEvent`] without the time, which the reader adds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TaskReport {
    pub host: String,
    /// The role that the task belongs to, if any.
    #[serde(default)]
    pub role: Option<String>,
    /// The task's name.
    pub task: String,
    /// The module.
    pub action: String,
    pub status: TaskStatus,
    /// How long it took on the host.
    #[serde(default)]
    pub duration_seconds: f64,
    /// The message of the task.
    #[serde(default)]
    pub message: Option<String>,
    /// The findings that the role reports with this task.
    #[serde(default)]
    pub findings: Option<Findings>,
}

impl TaskReport {
    /// Returns the event in the form in which it is stored.
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

    /// Returns whether the task makes the host fail, unless the play rescues it.
    pub fn is_failure(&self) -> bool {
        matches!(self.status, TaskStatus::Failed | TaskStatus::Unreachable)
    }
}

/// Ansible's counters for one host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostStats {
    /// Tasks that succeeded, changed or not.
    pub ok: u64,
    /// Tasks that changed something.
    pub changed: u64,
    /// Tasks that failed and were neither ignored nor rescued.
    pub failures: u64,
    /// How often the host could not be reached.
    pub unreachable: u64,
    /// Tasks that were skipped.
    pub skipped: u64,
    /// Tasks that failed and were rescued.
    pub rescued: u64,
    /// Tasks that failed and were ignored.
    pub ignored: u64,
    /// How the play ended on the host.
    pub end: PlayEnd,
}

/// How the play ended on a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlayEnd {
    /// Before the last task, for a reason other than this host.
    #[default]
    Early,
    /// A role ended the play for the host (`meta: end_host`).
    Left,
    /// Ansible removed the host, because of a role or an error.
    Removed,
    /// After the last task.
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
    /// An unknown event of a newer callback plugin.
    #[serde(other)]
    Unknown,
}

/// Decodes events from bytes, which may be split anywhere.
#[derive(Debug)]
pub struct Decoder {
    hosts: BTreeSet<String>,
    line: Vec<u8>,
    /// Whether the current line is too long and is skipped.
    skipping: bool,
    /// The host whose facts are being received, and their text so far.
    facts: Option<(String, String)>,
    junk: u64,
}

impl Decoder {
    /// Creates a decoder for a run on these hosts.
    pub fn new(hosts: impl IntoIterator<Item = String>) -> Self {
        Self {
            hosts: hosts.into_iter().collect(),
            line: Vec::new(),
            skipping: false,
            facts: None,
            junk: 0,
        }
    }

    /// Returns the number of lines that were invalid, too long, or about a host that is not in the run.
    pub fn junk(&self) -> u64 {
        self.junk
    }

    /// Decodes the next bytes and returns the events that they complete.
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

    /// Ends the input: an incomplete line counts as invalid.
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
        // Reuse the buffer for the next line.
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
            Some(Line::Stats { hosts }) => Some(Event::Stats(self.of_own_hosts(hosts))),
            Some(Line::Unknown) => None,
            Some(Line::Task(_) | Line::Facts { .. }) | None => {
                self.junk += 1;
                None
            }
        }
    }

    /// Joins the parts of a host's facts. A part for another host before the last one starts again.
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

    fn of_own_hosts(&mut self, mut stats: Stats) -> Stats {
        let all = stats.len();
        stats.retain(|host, _| self.hosts.contains(host));
        self.junk += (all - stats.len()) as u64;
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
    if let Some(findings) = report.findings.take_if(|findings| is_too_large(findings)) {
        let bytes = serde_json::to_vec(&findings).map_or(0, |json| json.len());
        // In the words of the callback, which rejects them first unless something else writes to the pipe.
        report.message = Some(format!(
            "findings rejected: {bytes} bytes as JSON exceed the limit of {MAX_FINDINGS_BYTES}"
        ));
    }
    // JSON has no infinity, but 1e999 is parsed as one.
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
