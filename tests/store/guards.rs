//! Each guard, in the store: it holds, it says so, it survives a restart, and it lets go.

use std::sync::Arc;
use std::time::Duration;

use promansible::config::Storage;
use promansible::model::alert::{Alert, EpisodeKey, Status};
use promansible::model::guards::{ALL, HostHold, Pause};
use promansible::model::run::{Outcome, Run, RunId, Skip, State, TaskEvent, TaskStatus};
use promansible::model::verdict::{AlertObservation, Verdicts};
use promansible::plan::Choice;
use promansible::store::{Claimed, StoreError};

use crate::fixture::{self, Fixture, alert, at, ended, inventory, sample};

const ROLES: &str = "roles: [r1], batch_window: 0s";

/// A store whose only binding is for `sev="a"`, with these keys.
fn guarded(guards: &str, binding: &str) -> Fixture {
    let bindings = format!("  - {{name: one, matchers: ['sev=\"a\"'], {binding}}}\n");
    with_bindings(guards, &bindings)
}

fn with_bindings(guards: &str, bindings: &str) -> Fixture {
    let mut fixture = Fixture::new(1000);
    fixture.config = fixture::built(&format!("guards: {{{guards}}}\nbindings:\n{bindings}"));
    fixture
}

fn fires(number: u64, host: &str) -> Alert {
    alert(number, 0, "a", host, Status::Firing)
}

fn resolves(number: u64, host: &str) -> Alert {
    alert(number, 0, "a", host, Status::Resolved)
}

async fn tell(fixture: &Fixture, alert: Alert, now: i64) -> Choice {
    let admitted = fixture.admit(vec![alert], at(now)).await.unwrap();
    admitted.decisions[0].choice.clone()
}

fn word(choice: &Choice) -> &'static str {
    choice.as_str()
}

async fn start(fixture: &Fixture, now: i64) -> Run {
    fixture.claim(at(now)).await.expect("a run can start").run
}

async fn finish(fixture: &Fixture, run: &Run, outcome: Outcome, now: i64) -> Run {
    let finished = fixture.store.finish(run.id, ended(run, outcome), at(now));
    finished.await.unwrap()
}

/// Tells of an alert, runs it, and ends it.
async fn handle(fixture: &Fixture, number: u64, host: &str, outcome: Outcome, now: i64) -> Run {
    let choice = tell(fixture, fires(number, host), now).await;
    assert_eq!(word(&choice), "run", "{choice:?}");
    let run = start(fixture, now).await;
    finish(fixture, &run, outcome, now).await
}

/// What the edge does when something is due.
async fn look(fixture: &Fixture, heard: AlertObservation, now: i64) {
    let due = fixture.store.due(at(now), 100).await.unwrap();
    let heard = due.episodes.into_iter().map(|of| (of.key, heard)).collect();
    let (config, inventory) = (Arc::clone(&fixture.config), inventory());
    fixture
        .store
        .follow_up(heard, config, inventory, at(now))
        .await
        .unwrap();
}

async fn run(fixture: &Fixture, id: u64) -> Run {
    fixture.store.run(RunId(id)).await.unwrap()
}

async fn decision(fixture: &Fixture, number: u64) -> (String, Option<String>) {
    let key = EpisodeKey {
        fingerprint: promansible::model::alert::Fingerprint(number),
        starts_at_nanos: at(0).timestamp_nanos_opt().unwrap(),
    };
    let page = fixture.store.firing(None, |_| true, None, 1000).await;
    let episodes = page.unwrap().episodes;
    let episode = episodes
        .into_iter()
        .find(|e| e.fingerprint == key.fingerprint)
        .expect("it fires");
    let decided = &episode.decisions["one"];
    (decided.decision.clone(), decided.why.clone())
}

#[tokio::test]
async fn a_cooldown_leaves_a_host_alone_for_its_time_and_then_helps_it() {
    let mut fixture = guarded("", &format!("{ROLES}, cooldown: 5m"));
    handle(&fixture, 1, "h1", Outcome::Successful, 0).await;
    let choice = tell(&fixture, fires(2, "h1"), 10).await;
    let Choice::Skip { reason, until, .. } = choice else {
        panic!("{choice:?}");
    };
    assert_eq!((reason, until), (Skip::Cooldown, Some(at(300))));
    assert_eq!(word(&tell(&fixture, fires(3, "h2"), 11).await), "run");
    fixture.kill_and_reopen(at(20));
    look(&fixture, AlertObservation::Nothing, 299).await;
    assert_eq!(decision(&fixture, 2).await.0, "cooldown");
    look(&fixture, AlertObservation::Nothing, 301).await;
    assert_eq!(decision(&fixture, 2).await.0, "run", "without being told");
}

#[tokio::test]
async fn two_alerts_that_were_decided_before_either_ran_share_the_cooldown() {
    let fixture = guarded("", &format!("{ROLES}, cooldown: 5m"));
    for number in [1, 2] {
        assert_eq!(word(&tell(&fixture, fires(number, "h1"), 0).await), "run");
    }
    let first = start(&fixture, 0).await;
    finish(&fixture, &first, Outcome::Failed, 1).await;
    assert!(fixture.claim(at(2)).await.is_none());
    let second = run(&fixture, 2).await;
    assert_eq!(second.outcome, Some(Outcome::Canceled));
    assert_eq!(second.spared[0].reason, Skip::Cooldown);
    assert_eq!(decision(&fixture, 2).await.0, "cooldown");
    look(&fixture, AlertObservation::Nothing, 301).await;
    assert_eq!(start(&fixture, 301).await.id, RunId(3));
}

#[tokio::test]
async fn attempts_are_exhausted_and_come_back() {
    let mut fixture = guarded("", &format!("{ROLES}, attempts: {{max: 2, per: 1h}}"));
    handle(&fixture, 1, "h1", Outcome::Failed, 0).await;
    handle(&fixture, 2, "h1", Outcome::Failed, 100).await;
    fixture.close_and_reopen(at(150)).await;
    let keep = Storage {
        path: "unused".into(),
        retention_time: Duration::from_hours(2),
        retention_size_bytes: u64::MAX,
    };
    fixture.store.retain(keep.clone(), at(160)).await.unwrap();
    let told = fixture.store.messages(0, 100).await.unwrap().len();
    for now in [200, 201] {
        let choice = tell(&fixture, fires(3, "h1"), now).await;
        assert_eq!(word(&choice), "attempts_exhausted");
    }
    let messages = fixture.store.messages(0, 100).await.unwrap();
    assert_eq!(messages.len(), told + 1, "people hear of it once");
    assert!(
        decision(&fixture, 3)
            .await
            .1
            .unwrap()
            .contains("it ran there twice within 1h, and the limit is 2")
    );
    look(&fixture, AlertObservation::Nothing, 3601).await;
    assert_eq!(decision(&fixture, 3).await.0, "run");
    fixture.store.retain(keep, at(9 * 86_400)).await.unwrap();
    assert!(fixture.store.starts().await.unwrap().is_empty());
}

#[tokio::test]
async fn exhausted_attempts_may_lead_to_the_next_step() {
    let steps = "steps: [{roles: [r1]}, {roles: [r2]}], batch_window: 0s, \
                 attempts: {max: 1, per: 1h, then: next_step}";
    let fixture = guarded("", steps);
    handle(&fixture, 1, "h1", Outcome::Successful, 0).await;
    let second = handle(&fixture, 2, "h1", Outcome::Successful, 1).await;
    assert_eq!(second.work.roles, ["r2"]);
    assert_eq!(second.remedy.unwrap().step, 2);
    let choice = tell(&fixture, fires(3, "h1"), 2).await;
    assert_eq!(word(&choice), "attempts_exhausted", "no third step");
}

const TWO_STEPS: &str =
    "steps: [{roles: [r1], verify_within: 1m}, {roles: [r2], verify_within: 2m}], batch_window: 0s";

#[tokio::test]
async fn the_next_step_runs_only_if_the_alert_fires_on() {
    let mut fixture = guarded("", TWO_STEPS);
    let first = handle(&fixture, 1, "h1", Outcome::Successful, 0).await;
    assert_eq!(first.verdicts.pending, 1);
    assert_eq!(word(&tell(&fixture, fires(1, "h1"), 30).await), "duplicate");
    look(&fixture, AlertObservation::Firing, 59).await;
    assert_eq!(run(&fixture, 1).await.verdicts.pending, 1, "too early");
    fixture.kill_and_reopen(at(59));
    look(&fixture, AlertObservation::Firing, 61).await;
    let seen = run(&fixture, 1).await.verdicts;
    assert_eq!((seen.pending, seen.ineffective), (0, 1));
    let second = start(&fixture, 61).await;
    assert_eq!(second.work.roles, ["r2"]);
    finish(&fixture, &second, Outcome::Successful, 70).await;
    tell(&fixture, resolves(1, "h1"), 100).await;
    assert_eq!(run(&fixture, 2).await.verdicts.effective, 1);
    look(&fixture, AlertObservation::Nothing, 10_000).await;
    assert!(fixture.claim(at(10_000)).await.is_none(), "it is over");
    let counted = |labels: &str| sample(&fixture.metrics, labels);
    let one = |verdict: &str| {
        counted(&format!(
            "promansible_remediations_total{{binding=\"one\",verdict=\"{verdict}\"}}"
        ))
    };
    assert!((one("effective") - 1.0).abs() < 0.1 && (one("ineffective") - 1.0).abs() < 0.1);
    let kept = fixture.store.verdicts().await.unwrap();
    let of = |role: &str| kept[&(role.to_owned(), "one".to_owned())];
    assert_eq!(of("r1").ineffective, 1);
    assert_eq!(of("r2").effective, 1);
}

#[tokio::test]
async fn a_resolved_alert_ends_the_steps_also_if_nobody_told() {
    let fixture = guarded("", TWO_STEPS);
    handle(&fixture, 1, "h1", Outcome::Successful, 0).await;
    look(&fixture, AlertObservation::Resolved, 61).await;
    assert_eq!(run(&fixture, 1).await.verdicts.effective, 1);
    assert!(fixture.claim(at(61)).await.is_none());
    let page = fixture.store.firing(None, |_| true, None, 10).await;
    assert!(page.unwrap().episodes.is_empty());
}

#[tokio::test]
async fn of_what_nothing_is_heard_nothing_is_concluded() {
    let fixture = guarded("", TWO_STEPS);
    handle(&fixture, 1, "h1", Outcome::Successful, 10).await;
    look(&fixture, AlertObservation::Nothing, 71).await;
    assert_eq!(run(&fixture, 1).await.verdicts.unknown, 1);
    assert!(fixture.claim(at(71)).await.is_none(), "no blind escalation");
    // It is heard of after all: so it fires on.
    assert_eq!(word(&tell(&fixture, fires(1, "h1"), 80).await), "run");
    assert_eq!(start(&fixture, 80).await.work.roles, ["r2"]);
}

#[tokio::test]
async fn a_notification_after_the_run_tells_that_it_did_not_help() {
    let fixture = guarded("", TWO_STEPS);
    handle(&fixture, 1, "h1", Outcome::Successful, 10).await;
    tell(&fixture, fires(1, "h1"), 40).await;
    look(&fixture, AlertObservation::Nothing, 71).await;
    assert_eq!(run(&fixture, 1).await.verdicts.ineffective, 1);
    assert_eq!(start(&fixture, 71).await.work.roles, ["r2"]);
}

#[tokio::test]
async fn a_failed_step_is_followed_by_the_next_and_a_canceled_one_by_none() {
    let fixture = guarded("", TWO_STEPS);
    let first = handle(&fixture, 1, "h1", Outcome::Failed, 0).await;
    assert_eq!(
        first.verdicts,
        Verdicts::default(),
        "no verdict on a failure"
    );
    handle(&fixture, 2, "h2", Outcome::Canceled, 0).await;
    look(&fixture, AlertObservation::Firing, 61).await;
    let second = start(&fixture, 61).await;
    assert_eq!(
        (second.work.roles, second.hosts),
        (vec!["r2".to_owned()], vec!["h1".to_owned()])
    );
    assert!(fixture.claim(at(61)).await.is_none());
}

#[tokio::test]
async fn a_step_that_a_guard_refuses_does_not_begin_at_the_first_again() {
    let fixture = guarded("", TWO_STEPS);
    handle(&fixture, 1, "h1", Outcome::Successful, 0).await;
    hold(&fixture, "h1", 60, Some(300)).await;
    look(&fixture, AlertObservation::Firing, 61).await;
    assert!(fixture.claim(at(61)).await.is_none());
    assert!(
        decision(&fixture, 1)
            .await
            .1
            .unwrap()
            .contains("held by ann")
    );
    look(&fixture, AlertObservation::Firing, 301).await;
    assert_eq!(start(&fixture, 301).await.work.roles, ["r2"]);
}

#[tokio::test]
async fn a_step_that_is_refused_at_its_start_is_the_same_step_later() {
    let fixture = guarded("", TWO_STEPS);
    handle(&fixture, 1, "h1", Outcome::Successful, 0).await;
    look(&fixture, AlertObservation::Firing, 61).await;
    hold(&fixture, "h1", 62, Some(300)).await;
    assert!(fixture.claim(at(63)).await.is_none());
    assert_eq!(run(&fixture, 2).await.outcome, Some(Outcome::Canceled));
    assert_eq!(decision(&fixture, 1).await.0, "host_held");
    look(&fixture, AlertObservation::Firing, 301).await;
    assert_eq!(start(&fixture, 301).await.work.roles, ["r2"]);
}

#[tokio::test]
async fn a_step_that_waits_for_a_person_goes_on_when_he_lets_it() {
    let fixture = guarded("", TWO_STEPS);
    handle(&fixture, 1, "h1", Outcome::Successful, 0).await;
    hold(&fixture, "h1", 60, None).await;
    look(&fixture, AlertObservation::Firing, 61).await;
    look(&fixture, AlertObservation::Firing, 10_000).await;
    assert!(fixture.claim(at(10_000)).await.is_none());
    let released = fixture.store.release_host("h1".into(), at(10_001));
    assert!(released.await.unwrap());
    look(&fixture, AlertObservation::Firing, 10_002).await;
    assert_eq!(start(&fixture, 10_002).await.work.roles, ["r2"]);
}

#[tokio::test]
async fn what_was_refused_for_a_time_is_not_run_once_it_has_ended() {
    let fixture = guarded("", &format!("{ROLES}, cooldown: 5m"));
    handle(&fixture, 1, "h1", Outcome::Successful, 0).await;
    assert_eq!(word(&tell(&fixture, fires(2, "h1"), 10).await), "cooldown");
    look(&fixture, AlertObservation::Resolved, 301).await;
    assert!(fixture.claim(at(301)).await.is_none());
    assert_eq!(word(&tell(&fixture, fires(2, "h1"), 302).await), "resolved");
}

#[tokio::test]
async fn steps_that_do_the_same_share_no_run() {
    let fixture = guarded(
        "",
        "steps: [{roles: [r1], verify_within: 1m}, {roles: [r1], verify_within: 2m}], batch_window: 10s",
    );
    tell(&fixture, fires(1, "h1"), 0).await;
    let first = start(&fixture, 10).await;
    finish(&fixture, &first, Outcome::Successful, 11).await;
    tell(&fixture, fires(2, "h2"), 71).await;
    look(&fixture, AlertObservation::Firing, 72).await;
    let steps = [start(&fixture, 90).await, start(&fixture, 90).await].map(|run| {
        let remedy = run.remedy.unwrap();
        (run.hosts, remedy.step, remedy.verify_within.as_secs())
    });
    let hosts = |name: &str| vec![name.to_owned()];
    assert_eq!(steps, [(hosts("h2"), 1, 60), (hosts("h1"), 2, 120)]);
}

#[tokio::test]
async fn check_mode_has_no_verdict_and_observing_runs_nothing() {
    let fixture = guarded("mode: check", ROLES);
    let run = handle(&fixture, 1, "h1", Outcome::Successful, 0).await;
    assert!(run.work.check);
    assert_eq!(run.verdicts, Verdicts::default());
    let fixture = guarded("mode: observe", &format!("{ROLES}, mode: run"));
    let choice = tell(&fixture, fires(1, "h1"), 0).await;
    assert_eq!(word(&choice), "observe");
    assert!(fixture.claim(at(0)).await.is_none());
    assert_eq!(
        decision(&fixture, 1).await.1.as_deref(),
        Some("it would run r1 on h1")
    );
}

#[tokio::test]
async fn a_mode_that_became_weaker_holds_for_what_is_queued() {
    let mut fixture = guarded("", ROLES);
    tell(&fixture, fires(1, "h1"), 0).await;
    fixture.config = guarded("mode: observe", ROLES).config;
    assert!(fixture.claim(at(1)).await.is_none());
    assert_eq!(decision(&fixture, 1).await.0, "observe");
}

#[tokio::test]
async fn a_storm_holds_everything_until_a_person_releases_it() {
    let mut fixture = guarded("storm: {max_hosts: 2, within: 10m}", ROLES);
    for (number, host) in [(1, "h1"), (2, "h2")] {
        handle(&fixture, number, host, Outcome::Successful, 0).await;
    }
    assert_eq!(word(&tell(&fixture, fires(3, "h3"), 10).await), "run");
    assert!(fixture.claim(at(10)).await.is_none(), "it is held");
    fixture.kill_and_reopen(at(20));
    assert_eq!(word(&tell(&fixture, fires(4, "h4"), 30).await), "run");
    assert!(fixture.claim(at(100_000)).await.is_none(), "for ever");
    let storm = &fixture.store.book().await.unwrap().storms[ALL];
    assert_eq!((storm.hosts, storm.limit), (3, 2));
    let held = sample(&fixture.metrics, "promansible_runs_held{reason=\"storm\"}");
    assert!((held - 2.0).abs() < 0.1, "{held}");
    let messages = fixture.store.messages(0, 100).await.unwrap();
    assert_eq!(messages.len(), 1, "it is told once");
    // A person may run by hand all the same.
    let by_hand = fixture.ask(&["h4".to_owned()], false, at(100_000)).await;
    assert_eq!(start(&fixture, 100_000).await.id, by_hand.unwrap());
    assert_eq!(fixture.store.release(None).await.unwrap(), [ALL]);
    assert_eq!(
        start(&fixture, 100_001).await.hosts,
        ["h3"],
        "the queue is kept"
    );
    fixture.kill_and_reopen(at(100_002));
    assert_eq!(word(&tell(&fixture, fires(5, "h1"), 100_003).await), "run");
    assert!(fixture.store.book().await.unwrap().storms.is_empty());
}

#[tokio::test]
async fn what_was_released_is_no_storm_after_a_restart_either() {
    let mut fixture = guarded("storm: {max_hosts: 2, within: 10m}", ROLES);
    for (number, host) in [(1, "h1"), (2, "h2"), (3, "h3")] {
        tell(&fixture, fires(number, host), 0).await;
    }
    assert_eq!(fixture.store.release(None).await.unwrap(), [ALL]);
    for now in [1, 2, 3] {
        let run = start(&fixture, now).await;
        finish(&fixture, &run, Outcome::Successful, now).await;
    }
    fixture.kill_and_reopen(at(4));
    tell(&fixture, fires(4, "h4"), 5).await;
    assert_eq!(start(&fixture, 5).await.hosts, ["h4"]);
    for (number, host) in [(5, "h1"), (6, "h2")] {
        tell(&fixture, fires(number, host), 6).await;
    }
    assert!(fixture.claim(at(6)).await.is_none(), "it counts anew");
}

#[tokio::test]
async fn a_host_that_went_well_hides_no_failures_of_the_same_run() {
    let config = "{name: one, matchers: ['sev=\"a\"'], roles: [r1], batch_window: 0s, target: {hosts: [h1, h2, h3]}}";
    let bindings = format!("  - {config}\n");
    let fixture = with_bindings("circuit: {failures: 2, retry_after: 30m}", &bindings);
    tell(&fixture, fires(1, "h1"), 0).await;
    let run = start(&fixture, 0).await;
    let mut ended = ended(&run, Outcome::Failed);
    ended.results.get_mut("h3").unwrap().outcome = Outcome::Successful;
    fixture.store.finish(run.id, ended, at(1)).await.unwrap();
    assert_eq!(
        word(&tell(&fixture, fires(2, "h1"), 2).await),
        "circuit_open"
    );
}

#[tokio::test]
async fn a_storm_of_one_binding_leaves_the_others_alone() {
    let bindings = "  - {name: one, matchers: ['sev=\"a\"'], roles: [r1], batch_window: 0s, storm: {max_hosts: 1}}\n  \
                    - {name: two, matchers: ['sev=\"b\"'], roles: [r2], batch_window: 0s}\n";
    let fixture = with_bindings("", bindings);
    tell(&fixture, fires(1, "h1"), 0).await;
    tell(&fixture, fires(2, "h2"), 0).await;
    tell(&fixture, alert(3, 0, "b", "h3", Status::Firing), 0).await;
    assert_eq!(start(&fixture, 0).await.work.roles, ["r2"]);
    assert!(fixture.claim(at(0)).await.is_none(), "the first waits too");
    tell(&fixture, resolves(2, "h2"), 1).await;
    let released = fixture.store.release(Some("one".into())).await;
    assert_eq!(released.unwrap(), ["one"]);
    assert_eq!(start(&fixture, 2).await.hosts, ["h1"]);
}

#[tokio::test]
async fn a_role_that_keeps_failing_is_left_alone_and_tried_on_one_host() {
    let mut fixture = guarded("circuit: {failures: 2, retry_after: 30m}", ROLES);
    handle(&fixture, 1, "h1", Outcome::Failed, 0).await;
    handle(&fixture, 2, "h2", Outcome::Failed, 0).await;
    assert_eq!(
        word(&tell(&fixture, fires(3, "h3"), 1).await),
        "circuit_open"
    );
    assert_eq!(
        word(&tell(&fixture, fires(4, "h4"), 2).await),
        "circuit_open"
    );
    fixture.kill_and_reopen(at(3));
    look(&fixture, AlertObservation::Nothing, 1801).await;
    let probe = start(&fixture, 1801).await;
    assert!(probe.remedy.unwrap().probe);
    assert_eq!(probe.hosts.len(), 1);
    assert!(fixture.claim(at(1801)).await.is_none(), "on one host only");
    finish(&fixture, &probe, Outcome::Failed, 1802).await;
    look(&fixture, AlertObservation::Nothing, 1900).await;
    assert!(fixture.claim(at(1900)).await.is_none(), "it stays open");
    look(&fixture, AlertObservation::Nothing, 3700).await;
    let probe = start(&fixture, 3700).await;
    finish(&fixture, &probe, Outcome::Successful, 3701).await;
    assert!(fixture.store.book().await.unwrap().streaks.is_empty());
    assert_eq!(word(&tell(&fixture, fires(5, "h3"), 3702).await), "run");
}

#[tokio::test]
async fn what_was_queued_before_a_role_was_left_alone_is_refused_too() {
    let fixture = guarded("circuit: {failures: 1, retry_after: 30m}", ROLES);
    tell(&fixture, fires(1, "h1"), 0).await;
    tell(&fixture, fires(2, "h2"), 0).await;
    let first = start(&fixture, 0).await;
    finish(&fixture, &first, Outcome::Failed, 1).await;
    assert!(fixture.claim(at(2)).await.is_none());
    assert_eq!(decision(&fixture, 2).await.0, "circuit_open");
    assert!(
        fixture
            .store
            .close_circuit("r1".into(), at(3))
            .await
            .unwrap()
    );
    look(&fixture, AlertObservation::Nothing, 4).await;
    assert_eq!(start(&fixture, 4).await.hosts, ["h2"], "a person closed it");
}

#[tokio::test]
async fn an_approval_is_waited_for_given_and_remembered() {
    let mut fixture = guarded(
        "",
        &format!("{ROLES}, approval: {{required: true, ttl: 1h}}"),
    );
    tell(&fixture, fires(1, "h1"), 0).await;
    assert!(fixture.claim(at(10)).await.is_none());
    fixture.kill_and_reopen(at(20));
    let held = sample(
        &fixture.metrics,
        "promansible_runs_held{reason=\"approval\"}",
    );
    assert!((held - 1.0).abs() < 0.1);
    let answer = |id, yes, now| {
        fixture
            .store
            .answer_approval(RunId(id), yes, "ann".into(), at(now))
    };
    answer(1, true, 30).await.unwrap();
    let approved = start(&fixture, 31).await;
    let approval = approved.approval.clone().unwrap();
    assert_eq!(
        (approval.by.as_deref(), approval.at),
        (Some("ann"), Some(at(30)))
    );
    assert!(matches!(
        answer(1, true, 32).await,
        Err(StoreError::NoApprovalWanted(_))
    ));
    assert!(matches!(
        answer(9, true, 32).await,
        Err(StoreError::NoSuchRun(_))
    ));
    tell(&fixture, fires(2, "h2"), 40).await;
    answer(2, false, 41).await.unwrap();
    let rejected = run(&fixture, 2).await;
    assert_eq!(rejected.outcome, Some(Outcome::Canceled));
    assert_eq!(rejected.message.as_deref(), Some("rejected by ann"));
    assert_eq!(
        word(&tell(&fixture, fires(2, "h2"), 50).await),
        "duplicate",
        "asked once"
    );
}

#[tokio::test]
async fn an_approval_lapses_with_its_time_and_with_its_alert() {
    let fixture = guarded(
        "",
        &format!("{ROLES}, approval: {{required: true, ttl: 1h}}"),
    );
    tell(&fixture, fires(1, "h1"), 0).await;
    tell(&fixture, fires(2, "h2"), 0).await;
    tell(&fixture, resolves(2, "h2"), 10).await;
    assert_eq!(run(&fixture, 2).await.outcome, Some(Outcome::Canceled));
    assert!(fixture.claim(at(3599)).await.is_none());
    assert_eq!(run(&fixture, 1).await.state, State::Queued);
    assert!(fixture.claim(at(3600)).await.is_none());
    let lapsed = run(&fixture, 1).await;
    assert_eq!(
        lapsed.message.as_deref(),
        Some("it was not approved in time")
    );
}

#[tokio::test]
async fn outside_of_its_times_a_binding_waits() {
    let intervals = "time_intervals: [{name: night, time_intervals: [{times: [{start_time: '08:00', end_time: '08:10'}]}]}]\n";
    let mut fixture = guarded("", ROLES);
    let binding = format!("{{name: one, matchers: ['sev=\"a\"'], {ROLES}, mute_times: [night]}}");
    fixture.config = fixture::built(&format!("{intervals}bindings: [{binding}]"));
    // The fixture's time begins at 08:00 UTC.
    let choice = tell(&fixture, fires(1, "h1"), 60).await;
    let Choice::Skip { reason, until, why } = choice else {
        panic!("{choice:?}");
    };
    assert_eq!((reason, until), (Skip::Muted, Some(at(600))));
    assert_eq!(why, "it is muted by the time interval \"night\"");
    look(&fixture, AlertObservation::Nothing, 601).await;
    assert_eq!(decision(&fixture, 1).await.0, "run");
}

async fn hold(fixture: &Fixture, host: &str, now: i64, until: Option<i64>) -> bool {
    let hold = HostHold {
        since: at(now),
        until: until.map(at),
        by: "ann".to_owned(),
        why: "disks".to_owned(),
    };
    fixture
        .store
        .hold_host(host.to_owned(), hold)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_held_host_is_left_alone_by_everything() {
    let mut fixture = guarded("", ROLES);
    tell(&fixture, fires(1, "h1"), 0).await;
    let two = fixture.ask(&["h1".into(), "h2".into()], false, at(0)).await;
    assert!(!hold(&fixture, "h1", 1, None).await);
    fixture.kill_and_reopen(at(2));
    let Claimed { run: by_hand, .. } = fixture.claim(at(3)).await.unwrap();
    assert_eq!(by_hand.id, two.unwrap());
    assert_eq!(by_hand.hosts, ["h2"], "the free one");
    assert_eq!(by_hand.spared[0].reason, Skip::HostHeld);
    assert_eq!(decision(&fixture, 1).await.0, "host_held");
    let asked = fixture.ask(&["h1".into()], false, at(4)).await;
    assert!(matches!(asked, Err(StoreError::HostHeld(_))), "{asked:?}");
    assert_eq!(word(&tell(&fixture, fires(2, "h1"), 5).await), "host_held");
    assert!(
        fixture
            .store
            .release_host("h1".into(), at(6))
            .await
            .unwrap()
    );
    look(&fixture, AlertObservation::Nothing, 7).await;
    assert_eq!(decision(&fixture, 1).await.0, "run");
    assert_eq!(start(&fixture, 7).await.hosts, ["h1"]);
}

#[tokio::test]
async fn paused_nothing_starts_also_after_a_restart() {
    let mut fixture = guarded("", ROLES);
    let pause = Pause {
        since: at(0),
        by: "ann".to_owned(),
        why: "upgrade".to_owned(),
    };
    fixture.store.pause(pause.clone()).await.unwrap();
    tell(&fixture, fires(1, "h1"), 1).await;
    fixture.ask(&["h2".into()], false, at(1)).await.unwrap();
    fixture.kill_and_reopen(at(2));
    assert!(fixture.claim(at(3)).await.is_none());
    assert_eq!(fixture.store.book().await.unwrap().pause, Some(pause));
    assert!((sample(&fixture.metrics, "promansible_paused") - 1.0).abs() < 0.1);
    fixture.store.resume().await.unwrap();
    assert_eq!(start(&fixture, 4).await.id, RunId(1));
    assert_eq!(start(&fixture, 4).await.id, RunId(2));
}

#[tokio::test]
async fn a_run_that_was_put_back_is_no_attempt() {
    let fixture = guarded("", &format!("{ROLES}, attempts: {{max: 1, per: 1h}}"));
    tell(&fixture, fires(1, "h1"), 0).await;
    let claimed = start(&fixture, 0).await;
    fixture.store.put_back(claimed.id, at(1)).await.unwrap();
    assert_eq!(start(&fixture, 2).await.id, claimed.id);
}

#[tokio::test]
async fn on_the_controller_the_limits_are_those_of_each_host() {
    let binding = format!("{ROLES}, target: controller, attempts: {{max: 1, per: 1h}}");
    let mut fixture = guarded(
        "circuit: {failures: 2, retry_after: 30m}, storm: {max_hosts: 3}",
        &binding,
    );
    handle(&fixture, 1, "h1", Outcome::Successful, 0).await;
    handle(&fixture, 2, "h2", Outcome::Successful, 0).await;
    fixture.kill_and_reopen(at(1));
    let choice = tell(&fixture, fires(3, "h1"), 2).await;
    assert_eq!(word(&choice), "attempts_exhausted");
    hold(&fixture, "h3", 2, None).await;
    assert_eq!(word(&tell(&fixture, fires(4, "h3"), 3).await), "host_held");
    // Two that were decided before either started.
    fixture
        .store
        .release_host("h3".into(), at(4))
        .await
        .unwrap();
    for number in [5, 6] {
        assert_eq!(word(&tell(&fixture, fires(number, "h3"), 5).await), "run");
    }
    let first = start(&fixture, 6).await;
    assert_eq!(first.hosts, ["localhost"]);
    finish(&fixture, &first, Outcome::Failed, 7).await;
    assert!(fixture.claim(at(8)).await.is_none());
    assert_eq!(decision(&fixture, 6).await.0, "attempts_exhausted");
    assert_eq!(word(&tell(&fixture, fires(7, "h4"), 9).await), "run");
    assert!(
        fixture.claim(at(9)).await.is_none(),
        "four hosts are a storm"
    );
    fixture.store.release(None).await.unwrap();
    let second = start(&fixture, 10).await;
    finish(&fixture, &second, Outcome::Failed, 11).await;
    let streaks = fixture.store.book().await.unwrap().streaks;
    let failed: Vec<&String> = streaks["r1"].hosts.iter().collect();
    assert_eq!(failed, ["h3", "h4"]);
    assert!(streaks["r1"].open.is_some());
}

#[tokio::test]
async fn an_approval_is_not_given_after_its_time() {
    let fixture = guarded("", &format!("{ROLES}, approval: {{ttl: 1h}}"));
    tell(&fixture, fires(1, "h1"), 0).await;
    let late = fixture
        .store
        .answer_approval(RunId(1), true, "ann".into(), at(3600));
    assert!(matches!(late.await, Err(StoreError::NoApprovalWanted(_))));
    assert_eq!(run(&fixture, 1).await.outcome, Some(Outcome::Canceled));
}

#[tokio::test]
async fn what_was_approved_is_what_was_shown() {
    let fixture = guarded("", "roles: [r1], batch_window: 1m, approval: {ttl: 1h}");
    tell(&fixture, fires(1, "h1"), 0).await;
    let approved = fixture
        .store
        .answer_approval(RunId(1), true, "ann".into(), at(1));
    approved.await.unwrap();
    tell(&fixture, fires(2, "h2"), 2).await;
    assert_eq!(start(&fixture, 2).await.hosts, ["h1"]);
}

#[tokio::test]
async fn a_clock_that_is_set_back_and_right_again_ends_no_limit_sooner() {
    let fixture = guarded(
        "",
        &format!("{ROLES}, cooldown: 5m, attempts: {{max: 1, per: 1h}}"),
    );
    handle(&fixture, 1, "h1", Outcome::Successful, 4000).await;
    let until = |choice| match choice {
        Choice::Skip { reason, until, .. } => (reason, until),
        choice @ Choice::Run { .. } => panic!("{choice:?}"),
    };
    // As long as it is wrong, it is as if that had been now.
    let wrong = until(tell(&fixture, fires(2, "h1"), 50).await);
    assert_eq!(wrong, (Skip::Cooldown, Some(at(350))));
    let right = until(tell(&fixture, fires(3, "h1"), 4001).await);
    assert_eq!(right, (Skip::Cooldown, Some(at(4300))));
    let right = until(tell(&fixture, fires(4, "h1"), 4300).await);
    assert_eq!(
        right,
        (Skip::AttemptsExhausted, Some(at(7600))),
        "once is once"
    );
}

const WEB: &str = "roles: [r1], batch_window: 0s, target: {group: web}";

#[tokio::test]
async fn of_a_group_the_held_host_is_left_out_at_the_start() {
    let fixture = guarded("", WEB);
    tell(&fixture, fires(1, "h3"), 0).await;
    hold(&fixture, "h1", 1, None).await;
    let claimed = fixture.claim(at(2)).await.unwrap();
    assert_eq!(claimed.run.hosts, ["h2"]);
    assert_eq!(claimed.alerts[0].1, ["h2"]);
    assert_eq!(claimed.run.spared[0].host, "h1");
}

#[tokio::test]
async fn a_role_that_helped_on_one_host_of_a_group_goes_on_to_the_others() {
    let fixture = guarded("circuit: {failures: 1, retry_after: 30m}", WEB);
    handle(&fixture, 1, "h3", Outcome::Failed, 0).await;
    assert_eq!(
        word(&tell(&fixture, fires(2, "h3"), 1).await),
        "circuit_open"
    );
    look(&fixture, AlertObservation::Nothing, 1801).await;
    let probe = start(&fixture, 1801).await;
    assert_eq!(probe.hosts, ["h1"]);
    finish(&fixture, &probe, Outcome::Successful, 1802).await;
    look(&fixture, AlertObservation::Nothing, 1803).await;
    assert_eq!(start(&fixture, 1803).await.hosts, ["h1", "h2"]);
}

#[tokio::test]
async fn what_is_queued_is_asked_again_by_the_configuration_of_its_start() {
    let mut fixture = guarded("", ROLES);
    tell(&fixture, fires(1, "h1"), 0).await;
    fixture.config = guarded("mode: check", ROLES).config;
    assert!(fixture.claim(at(1)).await.is_none());
    look(&fixture, AlertObservation::Nothing, 2).await;
    let checked = start(&fixture, 2).await;
    assert!(checked.work.check);
    finish(&fixture, &checked, Outcome::Successful, 3).await;
    tell(&fixture, fires(2, "h2"), 60).await;
    // The fixture's time begins at 08:00 UTC.
    let muted = format!(
        "time_intervals: [{{name: night, time_intervals: [{{times: [{{start_time: '08:00', end_time: '08:10'}}]}}]}}]\n\
         bindings: [{{name: one, matchers: ['sev=\"a\"'], {ROLES}, mode: check, mute_times: [night]}}]"
    );
    fixture.config = fixture::built(&muted);
    assert!(fixture.claim(at(61)).await.is_none());
    assert_eq!(decision(&fixture, 2).await.0, "muted");
}

#[tokio::test]
async fn a_repetition_that_was_asked_for_is_no_further_attempt() {
    let binding =
        format!("{ROLES}, on_interrupt: rerun, cooldown: 1h, attempts: {{max: 1, per: 1h}}");
    let mut fixture = guarded("", &binding);
    tell(&fixture, fires(1, "h1"), 0).await;
    start(&fixture, 0).await;
    fixture.kill_and_reopen(at(1));
    assert_eq!(start(&fixture, 2).await.rerun_of, Some(RunId(1)));
}

#[tokio::test]
async fn what_is_decided_again_respects_the_limit_of_the_queue() {
    let mut fixture = Fixture::new(1000);
    let binding = format!("{{name: one, matchers: ['sev=\"a\"'], {ROLES}}}");
    fixture.config = fixture::built(&format!("runs: {{queue_limit: 1}}\nbindings: [{binding}]"));
    for (number, host) in [(1, "h1"), (2, "h2")] {
        hold(&fixture, host, 0, None).await;
        tell(&fixture, fires(number, host), 1).await;
    }
    for host in ["h1", "h2"] {
        fixture
            .store
            .release_host(host.into(), at(2))
            .await
            .unwrap();
    }
    look(&fixture, AlertObservation::Nothing, 3).await;
    assert_eq!(fixture.all_runs().await.len(), 1);
    start(&fixture, 4).await;
    look(&fixture, AlertObservation::Nothing, 64).await;
    assert_eq!(fixture.all_runs().await.len(), 2);
}

#[tokio::test]
async fn a_verdict_goes_by_when_the_alert_ended() {
    let fixture = guarded("", &format!("{ROLES}, verify_within: 1m"));
    handle(&fixture, 1, "h1", Outcome::Successful, 0).await;
    tell(&fixture, resolves(1, "h1"), 70).await;
    assert_eq!(run(&fixture, 1).await.verdicts.ineffective, 1, "too late");
    handle(&fixture, 2, "h2", Outcome::Successful, 0).await;
    let told_late = Alert {
        ends_at: Some(at(59)),
        ..resolves(2, "h2")
    };
    tell(&fixture, told_late, 100).await;
    assert_eq!(run(&fixture, 2).await.verdicts.effective, 1);
    tell(&fixture, fires(3, "h3"), 100).await;
    let under_way = start(&fixture, 100).await;
    tell(&fixture, resolves(3, "h3"), 101).await;
    let ended = finish(&fixture, &under_way, Outcome::Successful, 102).await;
    assert_eq!(ended.verdicts.effective, 1, "it was under way");
    handle(&fixture, 4, "h4", Outcome::Successful, 200).await;
    look(&fixture, AlertObservation::Resolved, 10_000).await;
    assert_eq!(run(&fixture, 4).await.verdicts.unknown, 1, "nobody looked");
}

#[tokio::test]
async fn of_a_run_on_several_hosts_each_alert_has_its_own_outcome() {
    let steps = "steps: [{roles: [r1], verify_within: 1m}, {roles: [r2]}], batch_window: 1s";
    let fixture = guarded("", steps);
    tell(&fixture, fires(1, "h1"), 0).await;
    tell(&fixture, fires(2, "h2"), 0).await;
    let both = start(&fixture, 1).await;
    assert_eq!(both.hosts, ["h1", "h2"]);
    let mut end = ended(&both, Outcome::Failed);
    end.results.get_mut("h2").unwrap().outcome = Outcome::Successful;
    let finished = fixture.store.finish(both.id, end, at(2)).await.unwrap();
    assert_eq!(finished.verdicts.pending, 1);
    tell(&fixture, resolves(2, "h2"), 30).await;
    assert_eq!(run(&fixture, 1).await.verdicts.effective, 1);
}

#[tokio::test]
async fn the_role_that_failed_is_the_one_that_counts() {
    let circuit = "circuit: {failures: 1, retry_after: 1h}";
    let open = |fixture: Fixture| async move {
        let streaks = fixture.store.book().await.unwrap().streaks;
        streaks.into_keys().collect::<Vec<String>>()
    };
    let fixture = guarded(circuit, "roles: [r1, r2], batch_window: 0s");
    tell(&fixture, fires(1, "h1"), 0).await;
    let both = start(&fixture, 0).await;
    let bad = TaskEvent {
        role: Some("r2".into()),
        status: TaskStatus::Failed,
        ..fixture::event(1)
    };
    fixture
        .store
        .append(both.id, vec![bad], vec![], 10)
        .await
        .unwrap();
    finish(&fixture, &both, Outcome::Failed, 1).await;
    assert_eq!(open(fixture).await, ["r2"]);

    let fixture = guarded(&format!("mode: check, {circuit}"), ROLES);
    handle(&fixture, 1, "h1", Outcome::Failed, 0).await;
    assert!(open(fixture).await.is_empty(), "it only checked");

    let fixture = guarded(circuit, ROLES);
    fixture.ask(&["h1".into()], false, at(0)).await.unwrap();
    let by_hand = start(&fixture, 0).await;
    finish(&fixture, &by_hand, Outcome::Failed, 1).await;
    assert!(open(fixture).await.is_empty(), "a person sees it himself");
}

#[tokio::test]
async fn all_that_a_host_held_up_is_due_after_its_release_however_much_it_is_and_over_a_restart() {
    let mut fixture = guarded("", ROLES);
    let hold = HostHold {
        since: at(0),
        until: None,
        by: "ann".into(),
        why: String::new(),
    };
    fixture.store.hold_host("h1".into(), hold).await.unwrap();
    let many = 1700;
    let firing = (0..many).map(|number| fires(number, "h1")).collect();
    fixture.admit(firing, at(1)).await.unwrap();
    fixture
        .store
        .release_host("h1".into(), at(2))
        .await
        .unwrap();
    // The first slice is on disk with the release, the others come by themselves.
    fixture.kill_and_reopen(at(3));
    let begun = std::time::Instant::now();
    loop {
        let due = fixture.store.due(at(4), 10_000).await.unwrap().episodes;
        if due.len() == usize::try_from(many).unwrap() {
            break;
        }
        assert!(begun.elapsed().as_secs() < 60, "{} are due", due.len());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
