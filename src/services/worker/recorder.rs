//! Buffers the output, events and facts of a run, and writes them to the store.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::ansible::{Event, LAST_BYTES, TaskTally};
use crate::config::Config;
use crate::model::facts::HostFacts;
use crate::model::run::{RunId, TaskEvent};
use crate::store::{RoleFindings, Store};

use crate::services::worker::findings::Gathered;

/// How long output and events wait before they are stored, so that many lines share a commit.
const FLUSH: Duration = Duration::from_millis(100);

/// How much output is stored at once, without waiting for [`FLUSH`]. *Units*: bytes.
const BUFFER: usize = 64 << 10;

/// The limits of what is buffered for a store that does not answer: bytes of output, events, and hosts with facts. At a
/// limit the run has to wait; if it is being ended, further output and events are lost.
const MOST_OUTPUT: usize = 1 << 20;
const MOST_EVENTS: usize = 10_000;
const MOST_FACTS: usize = 100;
/// Ansible writes this before each task, also if the callback cannot report the task.
const TASK: &[u8] = b"TASK [";

/// The output, events and facts of a run that are not stored yet.
///
/// Waiting for the store must not block the end of a run, because a disk may hang.
pub(super) struct Recorder {
    store: Store,
    run: RunId,
    /// The write that is under way.
    writing: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Whether output or events at the end are lost.
    is_cut: bool,
    events: Vec<TaskEvent>,
    facts: Vec<HostFacts>,
    output: BytesMut,
    pub(super) tally: TaskTally,
    /// The task that began last.
    task: Option<String>,
    /// Whether any task may have begun on any host, according to events or output.
    pub(super) began: bool,
    pub(super) last_bytes: Vec<u8>,
    flush_at: Instant,
    events_limit: u64,
    findings: Gathered,
}

impl Recorder {
    pub(super) fn new(config: &Config, store: Store, run: RunId) -> Self {
        Self {
            store,
            run,
            writing: None,
            is_cut: false,
            events: Vec::new(),
            facts: Vec::new(),
            output: BytesMut::new(),
            tally: TaskTally::default(),
            task: None,
            began: false,
            last_bytes: Vec::new(),
            flush_at: Instant::now(),
            events_limit: config.runs.events_limit,
            findings: Gathered::new(&config.roles.checks),
        }
    }

    fn has_unwritten(&self) -> bool {
        !self.events.is_empty() || !self.output.is_empty() || !self.facts.is_empty()
    }

    /// Returns whether a limit of the buffers is reached.
    pub(super) fn is_full(&self) -> bool {
        self.output.len() >= MOST_OUTPUT
            || self.events.len() >= MOST_EVENTS
            || self.facts.len() >= MOST_FACTS
    }

    fn schedule_flush(&mut self) {
        if !self.has_unwritten() {
            self.flush_at = Instant::now() + FLUSH;
        }
    }

    /// Returns the task that is under way, as the end of a sentence.
    pub(super) fn where_it_is(&self) -> String {
        let task = self.task.as_ref();
        task.map_or_else(String::new, |task| format!(", in the task {task:?}"))
    }

    pub(super) fn output(&mut self, bytes: &[u8]) {
        let from = self.last_bytes.len().saturating_sub(TASK.len() - 1);
        self.last_bytes.extend_from_slice(bytes);
        let mut windows = self.last_bytes[from..].windows(TASK.len());
        self.began = self.began || windows.any(|part| part == TASK);
        let old = self.last_bytes.len().saturating_sub(LAST_BYTES);
        self.last_bytes.drain(..old);
        if self.must_drop() {
            return;
        }
        self.schedule_flush();
        self.output.extend_from_slice(bytes);
    }

    pub(super) fn event(&mut self, event: Event, now: DateTime<Utc>) {
        self.began |= match &event {
            Event::Begin { .. } | Event::Task(_) | Event::Facts { .. } => true,
            Event::Stats(stats) => !stats.is_empty(),
            Event::Hello { .. } | Event::NoHostsMatched => false,
        };
        match event {
            Event::Begin { role, task } => self.task = Some(format!("{role} : {task}")),
            Event::Task(report) => {
                self.tally.take(&report);
                self.findings.take(&report, now);
                if !self.must_drop() {
                    self.schedule_flush();
                    self.events.push(report.at(now));
                }
            }
            Event::Facts { host, facts } if !self.must_drop() => {
                self.schedule_flush();
                self.facts.push(HostFacts {
                    host,
                    gathered_at: now,
                    live: true,
                    facts,
                });
            }
            Event::Facts { .. } | Event::Hello { .. } | Event::NoHostsMatched | Event::Stats(_) => {
            }
        }
    }

    /// Returns the collected findings, once the run has ended.
    pub(super) fn findings(&mut self) -> Vec<RoleFindings> {
        self.findings.all()
    }

    /// Returns whether new output and events are lost, and logs that once.
    fn must_drop(&mut self) -> bool {
        if self.is_full() && !std::mem::replace(&mut self.is_cut, true) {
            tracing::error!(
                run = self.run.0,
                "the store does not answer: the last output and events of the run are lost"
            );
        }
        self.is_full()
    }

    /// Waits until a write is due, and writes. *Cancel safety*: may be dropped and called again.
    pub(super) async fn write_when_due(&mut self) {
        if self.writing.is_none() {
            if !self.has_unwritten() {
                return std::future::pending().await;
            }
            if self.output.len() < BUFFER {
                tokio::time::sleep_until(self.flush_at).await;
            }
        }
        self.write_now().await;
    }

    /// Writes all that is left. *Cancel safety*: may be dropped; the write that was under way may complete nevertheless.
    pub(super) async fn write_rest(&mut self) {
        while self.writing.is_some() || self.has_unwritten() {
            self.write_now().await;
        }
    }

    async fn write_now(&mut self) {
        if self.writing.is_none() {
            self.writing = Some(Box::pin(self.take().write(self.store.clone(), self.run)));
        }
        if let Some(writing) = &mut self.writing {
            writing.await;
        }
        self.writing = None;
    }

    fn take(&mut self) -> Batch {
        let output = if self.output.is_empty() {
            Vec::new()
        } else {
            vec![self.output.split().freeze()]
        };
        Batch {
            events: std::mem::take(&mut self.events),
            facts: std::mem::take(&mut self.facts),
            output,
            events_limit: self.events_limit,
        }
    }
}

/// Output, events and facts that are written together.
struct Batch {
    events: Vec<TaskEvent>,
    facts: Vec<HostFacts>,
    output: Vec<Bytes>,
    events_limit: u64,
}

impl Batch {
    async fn write(self, store: Store, run: RunId) {
        if !self.facts.is_empty()
            && let Err(e) = store.keep_facts(self.facts).await
        {
            tracing::error!(run = run.0, error = %e, "gathered facts could not be stored");
        }
        let appended = store.append(run, self.events, self.output, self.events_limit);
        if let Err(e) = appended.await {
            tracing::error!(run = run.0, error = %e, "output and events of the run could not be stored");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ansible::HostStats;
    use crate::config::{Roles, build};
    use crate::metrics::Metrics;
    use crate::store;

    fn began(outputs: &[&str], events: Vec<Event>) -> bool {
        let text = "ansible: {playbook_dir: p, inventory: [i]}";
        let config = build("f.yml", text, &Roles::default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new(prometheus::Registry::new()).unwrap();
        let opened = store::open(
            &folder.path().join("s.redb"),
            &metrics,
            DateTime::UNIX_EPOCH,
        );
        let mut recorder = Recorder::new(&config, opened.unwrap().store, RunId(1));
        for output in outputs {
            recorder.output(output.as_bytes());
        }
        for event in events {
            recorder.event(event, DateTime::UNIX_EPOCH);
        }
        recorder.began
    }

    #[test]
    fn a_task_that_began_is_seen_in_events_or_in_output() {
        let hello = || Event::Hello {
            ansible: "2.19.1".to_owned(),
        };
        let long = "x".repeat(LAST_BYTES);
        assert!(!began(&["ERROR! no inventory\n", ""], vec![]));
        assert!(!began(
            &["PLAY [Run roles] *\nTASK", "S ["],
            vec![hello(), Event::NoHostsMatched]
        ));
        assert!(!began(&[], vec![Event::Stats([].into())]));
        assert!(began(&["PLAY [Run roles] *\nTA", "SK [x]\n"], vec![]));
        assert!(began(&[&format!("TASK [x]\n{long}{long}")], vec![]));
        let (role, task) = ("r".to_owned(), "t".to_owned());
        assert!(began(&[], vec![hello(), Event::Begin { role, task }]));
        assert!(began(
            &[],
            vec![Event::Stats(
                [("web1".to_owned(), HostStats::default())].into()
            )]
        ));
    }
}
