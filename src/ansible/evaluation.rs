//! Determines the outcome of a run for each of its hosts. Pure.
//!
//! Ansible's exit code is not sufficient (it is 0 if no host matched), so the statistics of each host decide, and the code
//! is the fallback.

use std::collections::BTreeMap;

use crate::model::run::{HostResult, Outcome, TaskStatus};

use crate::ansible::Ending;
use crate::ansible::events::{HostStats, PlayEnd, Stats, TaskReport};
use crate::ansible::spec::AlertData;

/// Why there is no exit code.
const SUPERVISOR_KILLED: &str = "its supervisor was killed";

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// By itself, with this exit code; `None` if its supervisor was killed.
    Exited(Option<i32>),
    /// It exceeded its time limit.
    TimedOut,
    /// It was canceled.
    Canceled,
    /// promansible was shutting down.
    Interrupted,
}

impl Cause {
    /// Returns the cause of an ending. `stop` is the reason for which it was stopped, if it was; a run that completed
    /// nevertheless is judged by its own end.
    pub fn of(ending: &Ending, stop: Option<Self>) -> Self {
        let by_itself = ending.stats.is_some() && matches!(ending.code, Some(0 | 2 | 4));
        match stop {
            Some(stop) if !by_itself => stop,
            _ => Self::Exited(ending.code),
        }
    }
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// The outcome of the run: the worst of its hosts' outcomes, and never successful if Ansible's exit code is not 0.
    pub outcome: Outcome,
    /// The result on each host.
    pub results: BTreeMap<String, HostResult>,
    /// The reason, if the outcome alone does not give it.
    pub message: Option<String>,
}

/// Task results by host, counted from the events of a run.
#[derive(Debug, Clone, Default)]
pub struct TaskTally(BTreeMap<String, HostTally>);

#[derive(Debug, Clone, Default)]
struct HostTally {
    failure: Option<String>,
    ok: u64,
    changed: u64,
    failed: u64,
    unreachable: u64,
    skipped: u64,
}

impl TaskTally {
    /// Counts the end of a task.
    pub fn take(&mut self, report: &TaskReport) {
        let host = self.0.entry(report.host.clone()).or_default();
        match report.status {
            TaskStatus::Ok => host.ok += 1,
            TaskStatus::Changed => {
                host.ok += 1;
                host.changed += 1;
            }
            TaskStatus::Skipped => host.skipped += 1,
            TaskStatus::Failed => host.failed += 1,
            TaskStatus::Unreachable => host.unreachable += 1,
            TaskStatus::Ignored => {}
        }
        if report.is_failure() {
            // An earlier failure was rescued, or the host would not have got here.
            let reason = report.message.as_deref().unwrap_or("(no message)");
            host.failure = Some(format!("{}: {reason}", report.task));
        }
    }
}

/// The data from which the result of a run is determined.
#[derive(Debug, Clone, Copy)]
pub struct RunEnding<'a> {
    pub hosts: &'a [String],
    /// The alerts of each host.
    pub alerts: &'a BTreeMap<String, Vec<AlertData>>,
    /// Ansible's statistics, if it got that far.
    pub stats: Option<&'a Stats>,
    /// The task results from the events.
    pub heard: &'a TaskTally,
    /// The last lines of the output: the only information about errors before the first task.
    pub error_excerpt: &'a str,
    pub cause: Cause,
}

/// Determines the result of a run.
pub fn evaluate(case: &RunEnding<'_>) -> Evaluation {
    let hosts = case.hosts.iter();
    let results: BTreeMap<String, HostResult> =
        hosts.map(|host| (host.clone(), case.host(host))).collect();
    let worst = results.values().map(|result| result.outcome).max();
    let (outcome, message) = match (worst, case.cause) {
        (None, _) => (Outcome::Failed, Some("the run had no hosts".to_owned())),
        (Some(Outcome::Successful), Cause::Exited(code)) if code != Some(0) => {
            let how = code.map_or_else(
                || SUPERVISOR_KILLED.to_owned(),
                |code| format!("ended with exit code {code}"),
            );
            (
                Outcome::Failed,
                Some(format!("Ansible counted no failure, but {how}")),
            )
        }
        (Some(worst), Cause::Exited(_)) if worst != Outcome::Successful => {
            (worst, case.why(worst, &results))
        }
        (Some(worst), _) => (worst, None),
    };
    Evaluation {
        outcome,
        results,
        message,
    }
}

impl RunEnding<'_> {
    /// Returns the message of the first of the worst hosts; prefers the failure of a task to its consequences on other
    /// hosts.
    fn why(&self, worst: Outcome, results: &BTreeMap<String, HostResult>) -> Option<String> {
        let has_failure = |host: &&String| self.failure(host).is_some();
        let worst = |host: &&String| results.get(*host).is_some_and(|r| r.outcome == worst);
        let hosts = || self.hosts.iter().filter(worst);
        let first = hosts().find(has_failure).or_else(|| hosts().next())?;
        results.get(first)?.message.clone()
    }

    fn failure(&self, host: &str) -> Option<&String> {
        self.heard.0.get(host)?.failure.as_ref()
    }

    fn host(&self, host: &str) -> HostResult {
        let stats = self.stats.and_then(|stats| stats.get(host));
        let (outcome, message) = match self.cause {
            Cause::TimedOut => (Outcome::Timeout, self.failure(host).cloned()),
            Cause::Canceled => (Outcome::Canceled, self.failure(host).cloned()),
            Cause::Interrupted => (Outcome::Interrupted, self.failure(host).cloned()),
            Cause::Exited(code) => self.ended(host, stats, code),
        };
        let heard = self.heard.0.get(host).cloned().unwrap_or_default();
        HostResult {
            outcome,
            ok: heard.ok,
            changed: heard.changed,
            // Only Ansible's statistics show which failures were rescued; without them, all failures count.
            failed: stats.map_or(heard.failed, |stats| stats.failures),
            unreachable: stats.map_or(heard.unreachable, |stats| stats.unreachable),
            skipped: heard.skipped,
            message,
        }
    }

    fn ended(
        &self,
        host: &str,
        stats: Option<&HostStats>,
        code: Option<i32>,
    ) -> (Outcome, Option<String>) {
        let failure_or = |default: String| Some(self.failure(host).cloned().unwrap_or(default));
        let Some(stats) = stats else {
            let why = format!(
                "Ansible reported nothing for this host ({})",
                describe_exit(code)
            );
            return (Outcome::Failed, failure_or(self.with_excerpt(why)));
        };
        if stats.failures > 0 {
            return (Outcome::Failed, failure_or("a task failed".to_owned()));
        }
        if stats.unreachable > 0 {
            return (
                Outcome::Unreachable,
                failure_or("the host could not be reached".to_owned()),
            );
        }
        let alerts = self.alerts.get(host).map_or(0, Vec::len);
        match stats.end {
            PlayEnd::Reached => (Outcome::Successful, None),
            PlayEnd::Removed if code != Some(0) => self.early(),
            PlayEnd::Left | PlayEnd::Removed if alerts <= 1 => (Outcome::Successful, None),
            PlayEnd::Left | PlayEnd::Removed => {
                let why = format!(
                    "a role ended the play for this host (meta: end_host), so not all of its {alerts} alerts were \
                     handled: to end only the role, use a condition on its tasks"
                );
                (Outcome::Failed, Some(why))
            }
            PlayEnd::Early => self.early(),
        }
    }

    /// Returns the result if the failure of another host, or `meta: end_play` in a role, ended the play for this host too.
    fn early(&self) -> (Outcome, Option<String>) {
        let why = "the play ended before this host finished its roles".to_owned();
        let other = self.hosts.iter().find_map(|host| self.failure(host));
        let why = match other {
            Some(failure) => format!("{why}; on another host: {failure}"),
            None => self.with_excerpt(why),
        };
        (Outcome::Failed, Some(why))
    }

    fn with_excerpt(&self, why: String) -> String {
        match self.error_excerpt.trim() {
            "" => why,
            excerpt => format!("{why}; its last output: {excerpt}"),
        }
    }
}

fn describe_exit(code: Option<i32>) -> String {
    code.map_or_else(
        || SUPERVISOR_KILLED.to_owned(),
        |code| format!("exit code {code}"),
    )
}

#[cfg(test)]
mod tests;
