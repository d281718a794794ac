//! What a run's ending means for each of its hosts. Pure.
//!
//! Ansible's exit code alone cannot tell (it is 0 when no host matched), so the per-host statistics judge and the code is
//! the fallback.

use std::collections::BTreeMap;

use crate::run::{HostResult, Outcome};

use super::Ending;
use super::events::{HostStats, Stats};

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
pub struct Judgement {
    /// As a whole: the worst of its hosts, and never successful against Ansible's exit code.
    pub outcome: Outcome,
    /// On each of its hosts.
    pub results: BTreeMap<String, HostResult>,
    /// Why, where the outcome alone does not say it.
    pub message: Option<String>,
}

/// Judges an ending. `failures` is what each host said when it first failed.
pub fn judge(
    hosts: &[String],
    stats: Option<&Stats>,
    failures: &BTreeMap<String, String>,
    cause: Cause,
) -> Judgement {
    let results: BTreeMap<String, HostResult> = hosts
        .iter()
        .map(|host| {
            let counted = stats.and_then(|stats| stats.get(host));
            (host.clone(), judge_host(counted, failures.get(host), cause))
        })
        .collect();
    let worst = results.values().map(|result| result.outcome).max();
    let (outcome, message) = match (worst, cause) {
        (None, _) => (Outcome::Failed, Some("the run had no hosts".to_owned())),
        (Some(Outcome::Successful), Cause::Exited(code)) if code != Some(0) => (
            Outcome::Failed,
            Some(format!(
                "Ansible counted no failure, but ended with {}",
                told(code)
            )),
        ),
        (Some(worst), Cause::Exited(_)) if worst != Outcome::Successful => {
            let first = hosts
                .iter()
                .find_map(|host| results.get(host)?.message.clone());
            (worst, first)
        }
        (Some(worst), _) => (worst, None),
    };
    Judgement {
        outcome,
        results,
        message,
    }
}

fn judge_host(counted: Option<&HostStats>, failure: Option<&String>, cause: Cause) -> HostResult {
    let stopped = match cause {
        Cause::Exited(_) => None,
        Cause::TimedOut => Some(Outcome::Timeout),
        Cause::Canceled => Some(Outcome::Canceled),
        Cause::Interrupted => Some(Outcome::Interrupted),
    };
    let outcome = match (stopped, counted) {
        (Some(outcome), _) => outcome,
        (None, Some(stats)) if stats.failures > 0 => Outcome::Failed,
        (None, Some(stats)) if stats.unreachable > 0 => Outcome::Unreachable,
        (None, Some(_)) => Outcome::Successful,
        (None, None) => Outcome::Failed,
    };
    let message =
        match (cause, counted) {
            (Cause::Exited(code), None) => Some(failure.cloned().unwrap_or_else(|| {
                format!("Ansible reported nothing for this host ({})", told(code))
            })),
            // What was rescued or ignored on the way is no reason.
            _ if outcome == Outcome::Successful => None,
            _ => failure.cloned(),
        };
    let stats = counted.copied().unwrap_or_default();
    HostResult {
        outcome,
        ok: stats.ok,
        changed: stats.changed,
        failed: stats.failures,
        unreachable: stats.unreachable,
        skipped: stats.skipped,
        message,
    }
}

fn told(code: Option<i32>) -> String {
    code.map_or_else(
        || "its supervisor was killed".to_owned(),
        |code| format!("exit code {code}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> Vec<String> {
        vec!["web1".into(), "web2".into()]
    }

    fn stats(web1: HostStats, web2: HostStats) -> Stats {
        Stats::from([("web1".to_owned(), web1), ("web2".to_owned(), web2)])
    }

    const GOOD: HostStats = HostStats {
        ok: 2,
        changed: 1,
        failures: 0,
        unreachable: 0,
        skipped: 0,
        rescued: 0,
        ignored: 0,
    };

    #[test]
    fn every_host_well_and_code_0_is_successful() {
        let judged = judge(
            &hosts(),
            Some(&stats(GOOD, GOOD)),
            &BTreeMap::new(),
            Cause::Exited(Some(0)),
        );
        assert_eq!(judged.outcome, Outcome::Successful);
        assert_eq!(judged.results["web2"].changed, 1);
        assert_eq!(judged.message, None);
    }

    #[test]
    fn each_host_is_judged_by_its_own_statistics() {
        let failed = HostStats {
            failures: 1,
            unreachable: 1,
            ..GOOD
        };
        let gone = HostStats {
            unreachable: 1,
            ..GOOD
        };
        let said = BTreeMap::from([("web1".to_owned(), "no space left".to_owned())]);
        let judged = judge(
            &hosts(),
            Some(&stats(failed, gone)),
            &said,
            Cause::Exited(Some(2)),
        );
        assert_eq!(judged.results["web1"].outcome, Outcome::Failed);
        assert_eq!(judged.results["web2"].outcome, Outcome::Unreachable);
        assert_eq!(judged.outcome, Outcome::Failed);
        assert_eq!(judged.message.as_deref(), Some("no space left"));
    }

    #[test]
    fn a_failure_that_was_rescued_is_no_failure() {
        let rescued = HostStats { rescued: 1, ..GOOD };
        let said = BTreeMap::from([("web1".to_owned(), "tried".to_owned())]);
        let judged = judge(
            &hosts(),
            Some(&stats(rescued, GOOD)),
            &said,
            Cause::Exited(Some(0)),
        );
        assert_eq!(judged.outcome, Outcome::Successful);
        assert_eq!(judged.results["web1"].message, None);
    }

    #[test]
    fn code_0_without_statistics_is_a_failure() {
        let judged = judge(&hosts(), None, &BTreeMap::new(), Cause::Exited(Some(0)));
        assert_eq!(judged.outcome, Outcome::Failed);
        assert_eq!(
            judged.results["web1"].message.as_deref(),
            Some("Ansible reported nothing for this host (exit code 0)")
        );
    }

    #[test]
    fn a_host_that_is_missing_in_the_statistics_has_failed() {
        let only = Stats::from([("web1".to_owned(), GOOD)]);
        let judged = judge(
            &hosts(),
            Some(&only),
            &BTreeMap::new(),
            Cause::Exited(Some(0)),
        );
        assert_eq!(judged.results["web1"].outcome, Outcome::Successful);
        assert_eq!(judged.results["web2"].outcome, Outcome::Failed);
        assert_eq!(judged.outcome, Outcome::Failed);
    }

    #[test]
    fn good_statistics_do_not_outweigh_a_bad_exit_code() {
        let judged = judge(
            &hosts(),
            Some(&stats(GOOD, GOOD)),
            &BTreeMap::new(),
            Cause::Exited(Some(250)),
        );
        assert_eq!(judged.outcome, Outcome::Failed);
        assert_eq!(
            judged.message.as_deref(),
            Some("Ansible counted no failure, but ended with exit code 250")
        );
        let killed = judge(
            &hosts(),
            Some(&stats(GOOD, GOOD)),
            &BTreeMap::new(),
            Cause::Exited(None),
        );
        assert_eq!(killed.outcome, Outcome::Failed);
    }

    #[test]
    fn a_stop_is_every_host_s_outcome_with_what_it_said() {
        let said = BTreeMap::from([("web2".to_owned(), "tried".to_owned())]);
        for (cause, outcome) in [
            (Cause::TimedOut, Outcome::Timeout),
            (Cause::Canceled, Outcome::Canceled),
            (Cause::Interrupted, Outcome::Interrupted),
        ] {
            let judged = judge(&hosts(), None, &said, cause);
            assert_eq!(judged.outcome, outcome);
            assert!(
                judged
                    .results
                    .values()
                    .all(|result| result.outcome == outcome)
            );
            assert_eq!(judged.results["web2"].message.as_deref(), Some("tried"));
        }
    }

    #[test]
    fn a_run_that_ended_just_before_its_stop_is_judged_by_its_end() {
        let mut ending = Ending {
            code: Some(0),
            stats: Some(stats(GOOD, GOOD)),
            ..Ending::default()
        };
        assert_eq!(
            Cause::of(&ending, Some(Cause::TimedOut)),
            Cause::Exited(Some(0))
        );
        ending.code = Some(99);
        assert_eq!(Cause::of(&ending, Some(Cause::TimedOut)), Cause::TimedOut);
        assert_eq!(Cause::of(&ending, None), Cause::Exited(Some(99)));
        ending = Ending {
            code: Some(2),
            stats: None,
            ..Ending::default()
        };
        assert_eq!(Cause::of(&ending, Some(Cause::Canceled)), Cause::Canceled);
    }
}
