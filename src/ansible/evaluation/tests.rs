use super::*;

const GOOD: HostStats = HostStats {
    ok: 2,
    changed: 1,
    failures: 0,
    unreachable: 0,
    skipped: 0,
    rescued: 0,
    ignored: 0,
    end: PlayEnd::Reached,
};

/// A run on web1 and web2 that ended by itself with 0, and what differs from that.
struct Ran {
    stats: Option<Stats>,
    alerts: BTreeMap<String, Vec<AlertData>>,
    tally: TaskTally,
    error_excerpt: &'static str,
    cause: Cause,
}

impl Ran {
    fn new(web1: HostStats, web2: HostStats) -> Self {
        let stats = [("web1".to_owned(), web1), ("web2".to_owned(), web2)];
        Self {
            stats: Some(stats.into()),
            alerts: BTreeMap::new(),
            tally: TaskTally::default(),
            error_excerpt: "",
            cause: Cause::Exited(Some(0)),
        }
    }

    fn code(mut self, code: i32) -> Self {
        self.cause = Cause::Exited(Some(code));
        self
    }

    fn task(mut self, host: &str, status: TaskStatus, message: &str) -> Self {
        self.tally.take(&TaskReport {
            host: host.to_owned(),
            role: Some("r".to_owned()),
            task: "do it".to_owned(),
            action: "command".to_owned(),
            status,
            duration_seconds: 0.0,
            message: Some(message.to_owned()),
            findings: None,
        });
        self
    }

    fn evaluate(&self) -> Evaluation {
        evaluate(&RunEnding {
            hosts: &["web1".to_owned(), "web2".to_owned()],
            alerts: &self.alerts,
            stats: self.stats.as_ref(),
            heard: &self.tally,
            error_excerpt: self.error_excerpt,
            cause: self.cause,
        })
    }

    /// The outcomes of the run, of web1 and of web2.
    fn outcomes(&self) -> [Outcome; 3] {
        let judged = self.evaluate();
        let of = |host| judged.results[host].outcome;
        [judged.outcome, of("web1"), of("web2")]
    }

    fn message(&self, host: &str) -> String {
        self.evaluate().results[host]
            .message
            .clone()
            .unwrap_or_default()
    }
}

use Outcome::{Failed, Successful, Unreachable};

#[test]
fn every_host_at_the_end_and_code_0_is_successful() {
    let ran = Ran::new(GOOD, GOOD)
        .task("web2", TaskStatus::Ok, "")
        .task("web2", TaskStatus::Changed, "")
        .task("web2", TaskStatus::Skipped, "");
    let judged = ran.evaluate();
    assert_eq!(judged.outcome, Successful);
    let web2 = &judged.results["web2"];
    assert_eq!((web2.ok, web2.changed, web2.skipped), (2, 1, 1));
    assert_eq!((judged.message, &web2.message), (None, &None));
}

#[test]
fn each_host_is_judged_by_its_own_statistics() {
    let failed = HostStats {
        failures: 1,
        unreachable: 1,
        end: PlayEnd::Removed,
        ..GOOD
    };
    let gone = HostStats {
        unreachable: 1,
        end: PlayEnd::Removed,
        ..GOOD
    };
    let ran = Ran::new(failed, gone)
        .code(2)
        .task("web2", TaskStatus::Unreachable, "no route")
        .task("web1", TaskStatus::Failed, "no space left");
    assert_eq!(ran.outcomes(), [Failed, Failed, Unreachable]);
    assert_eq!(
        ran.evaluate().message.as_deref(),
        Some("do it: no space left")
    );
    assert_eq!(ran.message("web2"), "do it: no route");
}

#[test]
fn a_failure_that_was_rescued_is_no_failure_and_no_reason() {
    let rescued = HostStats { rescued: 1, ..GOOD };
    let ran = Ran::new(rescued, GOOD).task("web1", TaskStatus::Failed, "tried");
    assert_eq!(ran.outcomes(), [Successful; 3]);
    assert_eq!(ran.message("web1"), "");
    assert_eq!(ran.evaluate().results["web1"].failed, 0);
    let failed = HostStats {
        failures: 1,
        ..rescued
    };
    let ran = Ran::new(failed, GOOD)
        .code(2)
        .task("web1", TaskStatus::Failed, "tried")
        .task("web1", TaskStatus::Failed, "the real reason");
    assert_eq!(ran.message("web1"), "do it: the real reason");
}

#[test]
fn a_host_that_did_not_come_to_the_end_has_failed_whatever_was_counted() {
    let stopped = HostStats {
        end: PlayEnd::Removed,
        ..GOOD
    };
    let failed = HostStats {
        failures: 1,
        ..stopped
    };
    let ran = Ran::new(failed, stopped)
        .code(2)
        .task("web1", TaskStatus::Failed, "no");
    assert_eq!(ran.outcomes(), [Failed; 3]);
    assert_eq!(ran.evaluate().message.as_deref(), Some("do it: no"));
    assert_eq!(
        ran.message("web2"),
        "the play ended before this host finished its roles; on another host: do it: no"
    );
    // A role's `meta: end_play` ends with 0.
    let early = HostStats {
        end: PlayEnd::Early,
        ..GOOD
    };
    assert_eq!(Ran::new(early, early).outcomes(), [Failed; 3]);
}

#[test]
fn a_host_that_its_role_is_done_with_early_is_well_unless_alerts_are_left() {
    let left = HostStats {
        end: PlayEnd::Left,
        ..HostStats::default()
    };
    let removed = HostStats {
        end: PlayEnd::Removed,
        ..left
    };
    assert_eq!(Ran::new(left, GOOD).outcomes(), [Successful; 3]);
    assert_eq!(Ran::new(removed, GOOD).outcomes(), [Successful; 3]);
    let failed = HostStats {
        failures: 1,
        end: PlayEnd::Removed,
        ..GOOD
    };
    let ran = Ran::new(left, failed).code(2);
    assert_eq!(ran.outcomes(), [Failed, Successful, Failed]);
    let mut ran = Ran::new(left, GOOD);
    let alert = AlertData {
        status: crate::model::alert::Status::Firing,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        starts_at: String::new(),
        fingerprint: String::new(),
        generator_url: String::new(),
    };
    ran.alerts.insert("web1".into(), vec![alert.clone(), alert]);
    assert_eq!(ran.outcomes(), [Failed, Failed, Successful]);
    assert!(ran.message("web1").contains("not all of its 2 alerts"));
}

#[test]
fn without_statistics_a_host_has_failed_and_the_last_words_say_why() {
    let mut ran = Ran::new(GOOD, GOOD);
    ran.stats = Some([("web1".to_owned(), GOOD)].into());
    assert_eq!(ran.outcomes(), [Failed, Successful, Failed]);
    ran.stats = None;
    assert_eq!(ran.outcomes(), [Failed; 3]);
    assert_eq!(
        ran.message("web1"),
        "Ansible reported nothing for this host (exit code 0)"
    );
    ran.error_excerpt = " ERROR! no such file\n";
    let mut ran = ran.code(4);
    assert_eq!(
        ran.message("web1"),
        "Ansible reported nothing for this host (exit code 4); its last output: ERROR! no such file"
    );
    ran.cause = Cause::Exited(None);
    assert!(ran.message("web1").contains("its supervisor was killed"));
}

#[test]
fn good_statistics_do_not_outweigh_a_bad_exit_code() {
    let ran = Ran::new(GOOD, GOOD).code(250);
    assert_eq!(ran.outcomes(), [Failed, Successful, Successful]);
    assert_eq!(
        ran.evaluate().message.as_deref(),
        Some("Ansible counted no failure, but ended with exit code 250")
    );
}

#[test]
fn a_stop_is_every_host_s_outcome_with_what_was_heard_until_then() {
    for (cause, outcome) in [
        (Cause::TimedOut, Outcome::Timeout),
        (Cause::Canceled, Outcome::Canceled),
        (Cause::Interrupted, Outcome::Interrupted),
    ] {
        let mut ran = Ran::new(GOOD, GOOD)
            .task("web1", TaskStatus::Changed, "")
            .task("web2", TaskStatus::Failed, "tried");
        ran.stats = None;
        ran.cause = cause;
        assert_eq!(ran.outcomes(), [outcome; 3]);
        let judged = ran.evaluate();
        let (web1, web2) = (&judged.results["web1"], &judged.results["web2"]);
        assert_eq!((web1.ok, web1.changed, web2.failed), (1, 1, 1));
        assert_eq!(web2.message.as_deref(), Some("do it: tried"));
    }
}

#[test]
fn a_run_that_ended_just_before_its_stop_is_judged_by_its_end() {
    let mut ending = Ending {
        code: Some(0),
        stats: Ran::new(GOOD, GOOD).stats,
        ..Ending::default()
    };
    let timed_out = Some(Cause::TimedOut);
    assert_eq!(Cause::of(&ending, timed_out), Cause::Exited(Some(0)));
    ending.code = Some(99);
    assert_eq!(Cause::of(&ending, timed_out), Cause::TimedOut);
    assert_eq!(Cause::of(&ending, None), Cause::Exited(Some(99)));
    ending = Ending {
        code: Some(2),
        stats: None,
        ..Ending::default()
    };
    assert_eq!(Cause::of(&ending, Some(Cause::Canceled)), Cause::Canceled);
}
