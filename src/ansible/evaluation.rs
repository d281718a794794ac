//! What a run's ending means for each of its hosts. Pure.
//!
//! Ansible's exit code alone cannot tell (it is 0 when no host matched), so the per-host statistics judge and the code is
//! the fallback.

use std::collections::BTreeMap;

use crate::model::run::{HostResult, Outcome, TaskStatus};

use crate::ansible::Ending;
use crate::ansible::events::{HostStats, PlayEnd, Stats, TaskReport};
use crate::ansible::spec::AlertData;

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// By itself, with this code; `None` if its supervisor was killed.
    Exited(Option<i32>),
    /// Its time was up.
    TimedOut,
    /// A person ended it.
    Canceled,
    /// promansible is stopping.
    Interrupted,
}

impl Cause {
    /// The cause of an ending after this stop was asked for, if any: a run that came to its own end all the same is
    /// judged by that.
    pub fn of(ending: &Ending, stop: Option<Self>) -> Self {
        let by_itself = ending.stats.is_some() && matches!(ending.code, Some(0 | 2 | 4));
        match stop {
            Some(stop) if !by_itself => stop,
            _ => Self::Exited(ending.code),
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// As a whole: the worst of its hosts, and never successful against Ansible's exit code.
    pub outcome: Outcome,
    /// On each of its hosts.
    pub results: BTreeMap<String, HostResult>,
    /// Why, where the outcome alone does not say it.
    pub message: Option<String>,
}

/// What a run's events said of its hosts.
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
    /// Counts a task's end.
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
            // What failed before was rescued, or the host would not have come to this.
            let said = report.message.as_deref().unwrap_or("(it said nothing)");
            host.failure = Some(format!("{}: {said}", report.task));
        }
    }
}

/// All that a run's ending is judged by.
#[derive(Debug, Clone, Copy)]
pub struct RunEnding<'a> {
    /// The run's hosts.
    pub hosts: &'a [String],
    /// Their alerts.
    pub alerts: &'a BTreeMap<String, Vec<AlertData>>,
    /// Ansible's statistics, if it came that far.
    pub stats: Option<&'a Stats>,
    /// What the events said.
    pub heard: &'a TaskTally,
    /// The last lines of the output: all that is known of what went wrong before any task.
    pub error_excerpt: &'a str,
    /// Why it ended.
    pub cause: Cause,
}

/// Judges an ending.
pub fn evaluate(case: &RunEnding<'_>) -> Evaluation {
    let hosts = case.hosts.iter();
    let results: BTreeMap<String, HostResult> =
        hosts.map(|host| (host.clone(), case.host(host))).collect();
    let worst = results.values().map(|result| result.outcome).max();
    let (outcome, message) = match (worst, case.cause) {
        (None, _) => (Outcome::Failed, Some("the run had no hosts".to_owned())),
        (Some(Outcome::Successful), Cause::Exited(code)) if code != Some(0) => (
            Outcome::Failed,
            Some(format!(
                "Ansible counted no failure, but ended with {}",
                told(code)
            )),
        ),
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
    /// What the first of the worst hosts said; a failure of a task before what merely follows from it.
    fn why(&self, worst: Outcome, results: &BTreeMap<String, HostResult>) -> Option<String> {
        let said = |host: &&String| self.failure(host).is_some();
        let worst = |host: &&String| results.get(*host).is_some_and(|r| r.outcome == worst);
        let hosts = || self.hosts.iter().filter(worst);
        let first = hosts().find(said).or_else(|| hosts().next())?;
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
            // Ansible knows which failures were rescued; without its word all of them count.
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
        let said = |otherwise: String| Some(self.failure(host).cloned().unwrap_or(otherwise));
        let Some(stats) = stats else {
            let why = format!("Ansible reported nothing for this host ({})", told(code));
            return (Outcome::Failed, said(self.with_last_words(why)));
        };
        if stats.failures > 0 {
            return (Outcome::Failed, said("a task failed".to_owned()));
        }
        if stats.unreachable > 0 {
            return (Outcome::Unreachable, said("it did not answer".to_owned()));
        }
        let alerts = self.alerts.get(host).map_or(0, Vec::len);
        match stats.end {
            PlayEnd::Reached => (Outcome::Successful, None),
            PlayEnd::Removed if code != Some(0) => self.early(),
            PlayEnd::Left | PlayEnd::Removed if alerts <= 1 => (Outcome::Successful, None),
            PlayEnd::Left | PlayEnd::Removed => {
                let why = format!(
                    "a role ended the play for this host (meta: end_host), so that not all of its {alerts} alerts were \
                     handled: a condition on its tasks ends the role alone"
                );
                (Outcome::Failed, Some(why))
            }
            PlayEnd::Early => self.early(),
        }
    }

    /// Another host's failure, or a role's `meta: end_play`, ended the play for this host too.
    fn early(&self) -> (Outcome, Option<String>) {
        let why = "the play ended before this host came to the end of its roles".to_owned();
        let other = self.hosts.iter().find_map(|host| self.failure(host));
        let why = match other {
            Some(failure) => format!("{why}; elsewhere: {failure}"),
            None => self.with_last_words(why),
        };
        (Outcome::Failed, Some(why))
    }

    fn with_last_words(&self, why: String) -> String {
        match self.error_excerpt.trim() {
            "" => why,
            words => format!("{why}; its last words: {words}"),
        }
    }
}

fn told(code: Option<i32>) -> String {
    code.map_or_else(
        || "its supervisor was killed".to_owned(),
        |code| format!("exit code {code}"),
    )
}

#[cfg(test)]
mod tests;
