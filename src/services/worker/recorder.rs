//! What a run says, on its way into the store.

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

/// How long what a run says may wait to be kept, so that many lines share a commit.
const FLUSH: Duration = Duration::from_millis(100);

/// How much of it waits for nothing.
const BUFFER: usize = 64 << 10;

/// How much of it waits for a store that does not answer: bytes of output, events, and hosts with facts. Then the run has to
/// wait, or, where it is being ended, what more it says is lost.
const MOST_OUTPUT: usize = 1 << 20;
const MOST_EVENTS: usize = 10_000;
const MOST_FACTS: usize = 100;
/// Before each task Ansible writes this, also where it cannot tell us of it in another way.
const TASK: &[u8] = b"TASK [";

/// What a run has said and the store has not yet.
///
/// The store is never waited for alone: a disk that hangs must not keep a run from being ended.
pub(super) struct Told {
    store: Store,
    run: RunId,
    /// What is under way to the store.
    keeping: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Whether some of what was said at the end is lost.
    is_cut: bool,
    events: Vec<TaskEvent>,
    facts: Vec<HostFacts>,
    output: BytesMut,
    pub(super) heard: TaskTally,
    /// The task that began last.
    task: Option<String>,
    /// Whether any task may have begun, on any host: events or output speak of one.
    pub(super) began: bool,
    pub(super) last_bytes: Vec<u8>,
    flush_at: Instant,
    events_limit: u64,
    findings: Gathered,
}

impl Told {
    pub(super) fn new(config: &Config, store: Store, run: RunId) -> Self {
        Self {
            store,
            run,
            keeping: None,
            is_cut: false,
            events: Vec::new(),
            facts: Vec::new(),
            output: BytesMut::new(),
            heard: TaskTally::default(),
            task: None,
            began: false,
            last_bytes: Vec::new(),
            flush_at: Instant::now(),
            events_limit: config.runs.events_limit,
            findings: Gathered::new(&config.roles.checks),
        }
    }

    fn waits(&self) -> bool {
        !self.events.is_empty() || !self.output.is_empty() || !self.facts.is_empty()
    }

    /// Whether as much waits as may.
    pub(super) fn is_full(&self) -> bool {
        self.output.len() >= MOST_OUTPUT
            || self.events.len() >= MOST_EVENTS
            || self.facts.len() >= MOST_FACTS
    }

    fn first_waits(&mut self) {
        if !self.waits() {
            self.flush_at = Instant::now() + FLUSH;
        }
    }

    /// The task that is under way, as the end of a sentence.
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
        if self.cuts() {
            return;
        }
        self.first_waits();
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
                self.heard.take(&report);
                self.findings.take(&report, now);
                if !self.cuts() {
                    self.first_waits();
                    self.events.push(report.at(now));
                }
            }
            Event::Facts { host, facts } if !self.cuts() => {
                self.first_waits();
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

    /// What was reported to be kept, once the run has ended.
    pub(super) fn findings(&mut self) -> Vec<RoleFindings> {
        self.findings.all()
    }

    /// Whether what comes now is lost, which is said once.
    fn cuts(&mut self) -> bool {
        if self.is_full() && !std::mem::replace(&mut self.is_cut, true) {
            tracing::error!(
                run = self.run.0,
                "the store does not answer: what the run says at its end is lost"
            );
        }
        self.is_full()
    }

    /// Keeps what is due, or waits for it. *Cancel safety*: may be dropped and called again.
    pub(super) async fn keep(&mut self) {
        if self.keeping.is_none() {
            if !self.waits() {
                return std::future::pending().await;
            }
            if self.output.len() < BUFFER {
                tokio::time::sleep_until(self.flush_at).await;
            }
        }
        self.keep_now().await;
    }

    /// Keeps all that is left. *Cancel safety*: may be dropped; what was under way may be kept all the same.
    pub(super) async fn keep_rest(&mut self) {
        while self.keeping.is_some() || self.waits() {
            self.keep_now().await;
        }
    }

    async fn keep_now(&mut self) {
        if self.keeping.is_none() {
            self.keeping = Some(Box::pin(self.take().keep(self.store.clone(), self.run)));
        }
        if let Some(keeping) = &mut self.keeping {
            keeping.await;
        }
        self.keeping = None;
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

/// What is kept together.
struct Batch {
    events: Vec<TaskEvent>,
    facts: Vec<HostFacts>,
    output: Vec<Bytes>,
    events_limit: u64,
}

impl Batch {
    async fn keep(self, store: Store, run: RunId) {
        if !self.facts.is_empty()
            && let Err(e) = store.keep_facts(self.facts).await
        {
            tracing::error!(run = run.0, error = %e, "facts that were gathered are lost");
        }
        let kept = store.append(run, self.events, self.output, self.events_limit);
        if let Err(e) = kept.await {
            tracing::error!(run = run.0, error = %e, "what the run said is lost");
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
        let mut told = Told::new(&config, opened.unwrap().store, RunId(1));
        for output in outputs {
            told.output(output.as_bytes());
        }
        for event in events {
            told.event(event, DateTime::UNIX_EPOCH);
        }
        told.began
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
