//! Starting once more, and what a binding runs when its alerts resolve: over restarts, without using up what guards count.

use std::sync::Arc;
use std::time::Duration;

use promansible::model::alert::Status;
use promansible::model::guards::Pause;
use promansible::model::run::{Outcome, Run, RunId, State};
use promansible::store::{FailedStart, RerunRequest, StoreError};

use crate::fixture::{self, Fixture, alert, at, ended};

fn one(binding: &str) -> Fixture {
    let mut fixture = Fixture::new(1000);
    let binding = format!("{{name: one, matchers: ['sev=\"a\"'], {binding}}}");
    fixture.config = fixture::built(&format!("bindings: [{binding}]"));
    fixture
}

async fn tell(fixture: &Fixture, number: u64, status: Status, now: i64) {
    let alert = alert(number, 0, "a", &format!("h{number}"), status);
    fixture.admit(vec![alert], at(now)).await.unwrap();
}

async fn start(fixture: &Fixture, now: i64) -> Run {
    fixture.claim(at(now)).await.expect("a run can start").run
}

async fn handle(fixture: &Fixture, number: u64, now: i64) -> Run {
    tell(fixture, number, Status::Firing, now).await;
    let run = start(fixture, now).await;
    finish(fixture, &run, Outcome::Failed, now + 1).await
}

async fn finish(fixture: &Fixture, run: &Run, outcome: Outcome, now: i64) -> Run {
    let finished = fixture.store.finish(run.id, ended(run, outcome), at(now));
    finished.await.unwrap()
}

async fn try_again(fixture: &Fixture, run: RunId, now: i64) -> bool {
    let vain = FailedStart {
        why: "no inventory".to_owned(),
        attempts: 3,
        pause: Duration::from_secs(10),
    };
    fixture.store.try_again(run, vain, at(now)).await.unwrap()
}

async fn rerun(fixture: &Fixture, run: u64, now: i64) -> Result<RunId, StoreError> {
    let again = RerunRequest {
        by: Some("ops".to_owned()),
        ..RerunRequest::default()
    };
    let config = Arc::clone(&fixture.config);
    fixture
        .store
        .rerun(RunId(run), again, config, at(now))
        .await
}

async fn run(fixture: &Fixture, id: u64) -> Run {
    fixture.store.run(RunId(id)).await.unwrap()
}

#[tokio::test]
async fn a_vain_start_is_repeated_after_growing_pauses_and_remembered() {
    let mut fixture =
        one("roles: [r1], batch_window: 0s, attempts: {max: 1, per: 1d}, cooldown: 1d");
    tell(&fixture, 1, Status::Firing, 0).await;
    let first = start(&fixture, 0).await;
    assert!(try_again(&fixture, first.id, 1).await);
    let waits = run(&fixture, 1).await;
    assert_eq!((waits.state, waits.vain_starts), (State::Queued, 1));
    assert_eq!(waits.started_at, None);
    assert_eq!(
        waits.message.as_deref(),
        Some("start 1 of 3 failed before any task and will be retried: no inventory")
    );
    fixture.kill_and_reopen(at(2));
    assert!(fixture.claim(at(10)).await.is_none());
    let second = start(&fixture, 11).await;
    assert_eq!(second.id, RunId(1));
    // Meanwhile an alert joins no run that was shown to be about one.
    tell(&fixture, 2, Status::Firing, 12).await;
    assert!(try_again(&fixture, second.id, 12).await);
    assert_eq!(start(&fixture, 12).await.hosts, ["h2"]);
    assert!(fixture.claim(at(41)).await.is_none());
    let third = start(&fixture, 42).await;
    assert_eq!((third.id, third.vain_starts), (RunId(1), 2));
    assert!(!try_again(&fixture, third.id, 43).await);
    assert_eq!(run(&fixture, 1).await.state, State::Running);
    let ended = finish(&fixture, &third, Outcome::Failed, 44).await;
    assert_eq!(ended.message, None, "the last word is the caller's");
    let starts = fixture.store.starts().await.unwrap();
    assert_eq!(starts.iter().map(|of| of.starts.len()).sum::<usize>(), 2);
}

#[tokio::test]
async fn what_resolved_or_was_canceled_meanwhile_is_not_started_again() {
    let fixture = one("roles: [r1], batch_window: 0s");
    for number in [1, 2] {
        tell(&fixture, number, Status::Firing, 0).await;
    }
    let (first, second) = (start(&fixture, 0).await, start(&fixture, 0).await);
    tell(&fixture, 1, Status::Resolved, 1).await;
    fixture
        .store
        .cancel(second.id, "ops".to_owned(), at(1))
        .await
        .unwrap();
    for id in [first.id, second.id] {
        assert!(try_again(&fixture, id, 2).await);
    }
    let ended = run(&fixture, 1).await;
    assert_eq!(ended.outcome, Some(Outcome::Canceled));
    assert_eq!(
        ended.message.as_deref(),
        Some("its alerts resolved before it started")
    );
    let ended = run(&fixture, 2).await;
    assert_eq!(
        ended.message.as_deref(),
        Some("canceled by ops before it started")
    );
    assert!(fixture.claim(at(100)).await.is_none());
}

#[tokio::test]
async fn a_person_repeats_a_run_for_what_still_fires_and_its_verdict_is_the_new_runs() {
    let mut fixture = one(
        "roles: [r1], batch_window: 0s, cooldown: 1d, attempts: {max: 1, per: 1d}, verify_within: 1m",
    );
    handle(&fixture, 1, 0).await;
    let id = rerun(&fixture, 1, 10).await.unwrap();
    assert_eq!(id, RunId(2));
    let twice = rerun(&fixture, 1, 10).await;
    assert!(
        matches!(twice, Err(StoreError::RunsStill(RunId(2)))),
        "{twice:?}"
    );
    fixture.kill_and_reopen(at(11));
    let again = fixture.claim(at(12)).await.unwrap();
    assert_eq!(again.alerts.len(), 1);
    let again = again.run;
    assert_eq!(
        (again.rerun_of, again.started_by.as_deref()),
        (Some(RunId(1)), Some("ops"))
    );
    finish(&fixture, &again, Outcome::Successful, 13).await;
    tell(&fixture, 1, Status::Resolved, 20).await;
    assert_eq!(run(&fixture, 2).await.verdicts.effective, 1);
    assert_eq!(run(&fixture, 1).await.verdicts.effective, 0);
    // Its alert resolved: it can be repeated all the same, and nothing is judged by it.
    let id = rerun(&fixture, 2, 30).await.unwrap();
    let third = fixture.claim(at(31)).await.unwrap();
    assert_eq!(third.alerts[0].0.status, Status::Resolved);
    finish(&fixture, &third.run, Outcome::Successful, 32).await;
    let third = run(&fixture, id.0).await;
    assert_eq!(third.verdicts.effective + third.verdicts.pending, 0);
    assert!(matches!(
        rerun(&fixture, 9, 40).await,
        Err(StoreError::NoSuchRun(_))
    ));
}

#[tokio::test]
async fn a_repetition_waits_while_everything_is_paused() {
    let fixture = one("roles: [r1], batch_window: 0s");
    handle(&fixture, 1, 0).await;
    let pause = Pause {
        since: at(2),
        by: "ops".to_owned(),
        why: String::new(),
    };
    fixture.store.pause(pause).await.unwrap();
    rerun(&fixture, 1, 3).await.unwrap();
    assert!(fixture.claim(at(4)).await.is_none());
    fixture.store.resume().await.unwrap();
    assert_eq!(start(&fixture, 5).await.rerun_of, Some(RunId(1)));
}

#[tokio::test]
async fn when_alerts_resolve_their_hosts_share_one_run_once() {
    let mut fixture = one("roles: [r1], on_resolved: [r2], batch_window: 10s");
    for number in [1, 2, 3] {
        tell(&fixture, number, Status::Firing, 0).await;
    }
    // The third one resolves before its run began.
    tell(&fixture, 3, Status::Resolved, 1).await;
    let first = start(&fixture, 20).await;
    assert_eq!(first.hosts, ["h1", "h2"]);
    tell(&fixture, 1, Status::Resolved, 21).await;
    finish(&fixture, &first, Outcome::Successful, 22).await;
    tell(&fixture, 2, Status::Resolved, 23).await;
    fixture.kill_and_reopen(at(24));
    assert!(fixture.claim(at(25)).await.is_none());
    let claimed = fixture.claim(at(40)).await.unwrap();
    assert_eq!(claimed.run.work.roles, ["r2"]);
    assert!(claimed.run.on_resolved && claimed.run.remedy.is_none());
    assert_eq!(claimed.run.hosts, ["h1", "h2"]);
    assert!(
        claimed
            .alerts
            .iter()
            .all(|(alert, _)| alert.status == Status::Resolved)
    );
    finish(&fixture, &claimed.run, Outcome::Successful, 41).await;
    for number in [1, 2, 3] {
        tell(&fixture, number, Status::Resolved, 42).await;
    }
    assert!(fixture.claim(at(100)).await.is_none());
    assert_eq!(fixture.all_runs().await.len(), 2);
}

#[tokio::test]
async fn an_alert_that_fires_again_needs_no_run_for_its_end() {
    let fixture = one("roles: [r1], on_resolved: [r2], batch_window: 1h");
    tell(&fixture, 1, Status::Firing, 0).await;
    let first = start(&fixture, 3600).await;
    finish(&fixture, &first, Outcome::Successful, 3601).await;
    tell(&fixture, 1, Status::Resolved, 3602).await;
    assert_eq!(run(&fixture, 2).await.state, State::Queued);
    tell(&fixture, 1, Status::Firing, 3602 + 3601).await;
    let ended = run(&fixture, 2).await;
    assert_eq!(ended.outcome, Some(Outcome::Canceled));
    assert_eq!(
        ended.message.as_deref(),
        Some("its alerts are firing again")
    );
    tell(&fixture, 1, Status::Resolved, 3602 + 3700).await;
    assert_eq!(run(&fixture, 3).await.work.roles, ["r2"]);
}
