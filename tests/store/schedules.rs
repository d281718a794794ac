//! Schedules: one run for each time, whatever happens in between.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use promansible::config::{self, Config, ManagedKind, Roles, Schedule};
use promansible::model::run::{Outcome, RunId, Trigger};
use promansible::model::schedule::Paused;
use promansible::store::{Expect, OBJECTS_LIMIT, StoreError, TickOutcome};

use crate::fixture::{Fixture, ended, sample};

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn config_with(schedule: &str) -> Arc<Config> {
    let text = format!(
        "ansible: {{playbook_dir: p, inventory: [i]}}\nschedules: [{{name: s, roles: [check_dns], target: {{hosts: [h1]}}, {schedule}}}]"
    );
    let roles = Roles {
        routine: vec!["check_dns".into()],
        ..Roles::default()
    };
    Arc::new(config::build("test.yml", &text, &roles).unwrap())
}

fn schedule(text: &str) -> Arc<Schedule> {
    Arc::clone(&config_with(text).schedules[0])
}

async fn tick(fixture: &Fixture, schedule: &Arc<Schedule>, now: &str) -> TickOutcome {
    let hosts = Ok(vec!["h1".to_owned()]);
    let ticked = fixture
        .store
        .tick_schedule(Arc::clone(schedule), hosts, 10, time(now));
    ticked.await.unwrap()
}

/// Claims and ends whatever waits.
async fn run_all(fixture: &Fixture, now: &str) {
    while let Some(claimed) = fixture.claim(time(now)).await {
        let ended = ended(&claimed.run, Outcome::Successful);
        fixture
            .store
            .finish(claimed.run.id, ended, time(now))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_time_has_one_run_also_after_a_kill() {
    let mut fixture = Fixture::new(10);
    let hourly = schedule("cron: '0 * * * *'");
    assert_eq!(
        tick(&fixture, &hourly, "2026-11-25T09:30:00Z").await.runs,
        []
    );
    let on_time = tick(&fixture, &hourly, "2026-11-25T10:00:00.4Z").await;
    assert_eq!(on_time.runs, [(RunId(1), time("2026-11-25T10:00:00Z"))]);
    assert_eq!(on_time.next, Some(time("2026-11-25T11:00:00Z")));
    for again in [
        "2026-11-25T10:00:00.5Z",
        "2026-11-25T10:00:30Z",
        "2026-11-25T09:59:59Z",
    ] {
        let ticked = tick(&fixture, &hourly, again).await;
        assert_eq!((ticked.runs.len(), ticked.missed), (0, 0), "{again}");
    }
    fixture.kill_and_reopen(time("2026-11-25T10:00:31Z"));
    assert_eq!(
        tick(&fixture, &hourly, "2026-11-25T10:00:32Z").await.runs,
        []
    );

    let run = fixture.store.run(RunId(1)).await.unwrap();
    assert_eq!(
        (run.trigger, run.schedule.as_deref()),
        (Trigger::Schedule, Some("s"))
    );
    assert_eq!(run.due_at, Some(time("2026-11-25T10:00:00Z")));
    assert_eq!(fixture.all_runs().await.len(), 1);
}

#[tokio::test]
async fn what_passed_while_it_was_away_is_missed_or_made_up_for() {
    for (missed, runs, counted) in [("skip", 0, 3), ("once", 1, 2), ("all", 3, 0)] {
        let mut fixture = Fixture::new(10);
        let hourly = schedule(&format!("cron: '0 * * * *', grace: 4h, missed: {missed}"));
        fixture
            .store
            .forget_schedules_but(BTreeSet::new())
            .await
            .unwrap();
        tick(&fixture, &hourly, "2026-11-25T09:30:00Z").await;
        fixture.close_and_reopen(time("2026-11-25T12:30:00Z")).await;
        fixture.metrics.schedules().preregister(["s"]);
        for now in ["12:30:00", "12:30:10", "12:30:20", "12:30:30"] {
            let now = format!("2026-11-25T{now}Z");
            tick(&fixture, &hourly, &now).await;
            run_all(&fixture, &now).await;
        }
        assert_eq!(fixture.all_runs().await.len(), runs, "{missed}");
        let progress = &fixture.store.schedules().await.unwrap()["s"];
        assert_eq!(progress.missed, counted, "{missed}");
        let sample = sample(
            &fixture.metrics,
            "promansible_schedule_missed_total{schedule=\"s\"}",
        );
        #[allow(clippy::cast_precision_loss)] // it is small
        let counted = counted as f64;
        assert!((sample - counted).abs() < 0.5, "{missed}: {sample}");
    }
}

#[tokio::test]
async fn it_does_not_overlap_with_its_own_last_run_unless_it_may() {
    let fixture = Fixture::new(10);
    let minutely = schedule("cron: '* * * * *'");
    tick(&fixture, &minutely, "2026-11-25T09:59:30Z").await;
    assert_eq!(
        tick(&fixture, &minutely, "2026-11-25T10:00:00Z")
            .await
            .runs
            .len(),
        1
    );
    let waits = tick(&fixture, &minutely, "2026-11-25T10:01:00Z").await;
    assert_eq!((waits.runs.len(), waits.waits), (0, true));
    let missed = tick(&fixture, &minutely, "2026-11-25T10:02:00Z").await;
    assert_eq!((missed.missed, missed.waits), (1, true));
    assert_eq!(
        missed.why_missed.as_deref(),
        Some("its run 1 had not ended")
    );
    run_all(&fixture, "2026-11-25T10:02:30Z").await;
    let then = tick(&fixture, &minutely, "2026-11-25T10:02:30Z").await;
    assert_eq!(then.runs, [(RunId(2), time("2026-11-25T10:02:00Z"))]);

    let fixture = Fixture::new(10);
    let overlapping = schedule("cron: '* * * * *', allow_overlap: true");
    tick(&fixture, &overlapping, "2026-11-25T09:59:30Z").await;
    for minute in ["10:00", "10:01", "10:02"] {
        let ticked = tick(&fixture, &overlapping, &format!("2026-11-25T{minute}:00Z")).await;
        assert_eq!(ticked.runs.len(), 1, "{minute}");
    }
}

#[tokio::test]
async fn what_cannot_run_waits_and_is_missed_in_the_end() {
    let fixture = Fixture::new(10);
    let hourly = schedule("cron: '0 * * * *', missed: once, grace: 10m");
    tick(&fixture, &hourly, "2026-11-25T09:30:00Z").await;
    let no_hosts = |now: &str| {
        let hosts = Err("the inventory cannot be read".to_owned());
        fixture
            .store
            .tick_schedule(Arc::clone(&hourly), hosts, 10, time(now))
    };
    let waits = no_hosts("2026-11-25T10:05:00Z").await.unwrap();
    assert_eq!((waits.runs.len(), waits.missed, waits.waits), (0, 0, true));
    let missed = no_hosts("2026-11-25T10:10:00Z").await.unwrap();
    assert_eq!((missed.missed, missed.waits), (1, false));
    assert_eq!(
        missed.why_missed.as_deref(),
        Some("the inventory cannot be read")
    );
    // A queue that is full is no other case.
    let limit = fixture.store.tick_schedule(
        Arc::clone(&hourly),
        Ok(vec!["h1".to_owned()]),
        0,
        time("2026-11-25T11:00:01Z"),
    );
    assert!(limit.await.unwrap().waits);
}

#[tokio::test]
async fn a_queue_that_fills_up_takes_as_many_as_it_can() {
    let fixture = Fixture::new(10);
    let all = schedule("cron: '* * * * *', missed: all, grace: 1h, allow_overlap: true");
    tick(&fixture, &all, "2026-11-25T09:00:30Z").await;
    let hosts = Ok(vec!["h1".to_owned()]);
    let ticked = fixture
        .store
        .tick_schedule(all, hosts, 3, time("2026-11-25T09:05:30Z"));
    let ticked = ticked.await.unwrap();
    assert_eq!((ticked.runs.len(), ticked.missed), (3, 2));
    assert!(ticked.why_missed.unwrap().starts_with("the queue is full"));
}

#[tokio::test]
async fn while_it_is_paused_or_was_another_nothing_is_missed() {
    let mut fixture = Fixture::new(10);
    let hourly = schedule("cron: '0 * * * *', missed: all, grace: 5h");
    tick(&fixture, &hourly, "2026-11-25T09:30:00Z").await;
    let paused = Paused {
        by: "somebody".into(),
        at: time("2026-11-25T09:31:00Z"),
    };
    let pause = |fixture: &Fixture, paused: Option<Paused>, now: &str| {
        let store = fixture.store.clone();
        let (hourly, now) = (Arc::clone(&hourly), time(now));
        async move { store.pause_schedule(hourly, paused, now).await.unwrap() }
    };
    pause(&fixture, Some(paused.clone()), "2026-11-25T09:31:00Z").await;
    fixture.kill_and_reopen(time("2026-11-25T09:32:00Z"));
    let ticked = tick(&fixture, &hourly, "2026-11-25T11:00:00Z").await;
    assert_eq!(
        (ticked.runs.len(), ticked.look_at, ticked.next),
        (0, None, None)
    );
    assert_eq!(ticked.progress.unwrap().paused, Some(paused));
    pause(&fixture, None, "2026-11-25T11:30:00Z").await;
    let ticked = tick(&fixture, &hourly, "2026-11-25T11:30:00Z").await;
    assert_eq!((ticked.runs.len(), ticked.missed), (0, 0));
    assert_eq!(ticked.look_at, Some(time("2026-11-25T12:00:00Z")));

    let other = schedule("cron: '15 * * * *', missed: all, grace: 5h");
    let ticked = tick(&fixture, &other, "2026-11-25T13:30:00Z").await;
    assert_eq!((ticked.runs.len(), ticked.missed), (0, 0));
    let off = schedule("cron: '15 * * * *', missed: all, grace: 5h, enabled: false");
    assert_eq!(
        tick(&fixture, &off, "2026-11-25T14:30:00Z").await.next,
        None
    );
    let ticked = tick(&fixture, &other, "2026-11-25T15:30:00Z").await;
    assert_eq!((ticked.runs.len(), ticked.missed), (0, 0));
}

#[tokio::test]
async fn run_now_is_a_run_by_hand_of_which_the_next_time_knows() {
    let fixture = Fixture::new(10);
    let hourly = schedule("cron: '0 * * * *'");
    tick(&fixture, &hourly, "2026-11-25T09:30:00Z").await;
    let hosts = vec!["h1".to_owned()];
    let now = time("2026-11-25T09:59:50Z");
    let run = fixture
        .store
        .start_schedule(Arc::clone(&hourly), hosts, None, 10, now)
        .await
        .unwrap();
    let made = fixture.store.run(run).await.unwrap();
    assert_eq!(
        (made.trigger, made.schedule.as_deref(), made.due_at),
        (Trigger::Manual, Some("s"), None)
    );
    let progress = &fixture.store.schedules().await.unwrap()["s"];
    assert_eq!(progress.last.map(|last| last.run), Some(run));
    assert!(tick(&fixture, &hourly, "2026-11-25T10:00:00Z").await.waits);
    run_all(&fixture, "2026-11-25T10:00:20Z").await;
    assert_eq!(
        tick(&fixture, &hourly, "2026-11-25T10:00:20Z")
            .await
            .runs
            .len(),
        1
    );
}

#[tokio::test]
async fn what_is_idle_is_not_written_and_what_is_gone_is_forgotten() {
    let fixture = Fixture::new(10);
    let hourly = schedule("cron: '0 * * * *'");
    tick(&fixture, &hourly, "2026-11-25T09:30:00Z").await;
    let commits = || {
        sample(
            &fixture.metrics,
            "promansible_store_commit_duration_seconds_count",
        )
    };
    let before = commits();
    for second in 0..20 {
        let now = time("2026-11-25T09:30:01Z") + TimeDelta::seconds(second);
        tick(&fixture, &hourly, &now.to_rfc3339()).await;
    }
    assert!((commits() - before).abs() < 0.5, "looking costs no fsync");
    fixture
        .store
        .forget_schedules_but(["s".to_owned()].into())
        .await
        .unwrap();
    assert_eq!(fixture.store.schedules().await.unwrap().len(), 1);
    fixture
        .store
        .forget_schedules_but(BTreeSet::new())
        .await
        .unwrap();
    assert_eq!(fixture.store.schedules().await.unwrap().len(), 0);
}

#[tokio::test]
async fn objects_are_bounded_and_those_that_are_there_can_still_be_changed() {
    let fixture = Fixture::new(10);
    let now = time("2026-11-25T09:30:00Z");
    let put = |kind, name: &str, expect| {
        let store = fixture.store.clone();
        let name = name.to_owned();
        async move {
            store
                .put_object(kind, name, "1".to_owned(), expect, now)
                .await
        }
    };
    // Many at once share a commit.
    let mut puts = tokio::task::JoinSet::new();
    for number in 0..OBJECTS_LIMIT {
        puts.spawn(put(ManagedKind::Binding, &number.to_string(), Expect::None));
    }
    while let Some(put) = puts.join_next().await {
        put.unwrap().unwrap();
    }
    let refused = put(ManagedKind::Schedule, "more", Expect::None).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, StoreError::TooManyObjects), "{refused}");
    assert!(
        refused.to_string().contains("configuration file"),
        "{refused}"
    );
    let changed = put(ManagedKind::Binding, "0", Expect::Any).await.unwrap();
    assert_eq!(changed.revision, 2);
    let store = &fixture.store;
    let removed = store.remove_object(ManagedKind::Binding, "0".to_owned(), Expect::Any);
    removed.await.unwrap();
    put(ManagedKind::Schedule, "more", Expect::None)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_object_is_changed_only_by_who_knows_it_as_it_is() {
    let mut fixture = Fixture::new(10);
    let now = time("2026-11-25T09:30:00Z");
    let put = |fixture: &Fixture, json: &str, expect| {
        let store = fixture.store.clone();
        let (name, json) = ("a".to_owned(), json.to_owned());
        async move {
            store
                .put_object(ManagedKind::Binding, name, json, expect, now)
                .await
        }
    };
    let refused = put(&fixture, "1", Expect::Any).await;
    assert!(matches!(
        refused,
        Err(StoreError::NoSuchObject(ManagedKind::Binding, _))
    ));
    assert_eq!(put(&fixture, "1", Expect::None).await.unwrap().revision, 1);
    assert!(matches!(
        put(&fixture, "2", Expect::None).await,
        Err(StoreError::ObjectExists(..))
    ));
    assert_eq!(
        put(&fixture, "2", Expect::Revision(1))
            .await
            .unwrap()
            .revision,
        2
    );
    let stale = put(&fixture, "3", Expect::Revision(1)).await;
    assert!(matches!(
        stale,
        Err(StoreError::ObjectChanged { revision: 2, .. })
    ));
    fixture.kill_and_reopen(now);
    let objects = fixture.store.objects().await.unwrap();
    assert_eq!(
        objects.iter().map(|o| o.json.as_str()).collect::<Vec<_>>(),
        ["2"]
    );
    let remove = |fixture: &Fixture, kind, expect| {
        let store = fixture.store.clone();
        async move { store.remove_object(kind, "a".to_owned(), expect).await }
    };
    let other = remove(&fixture, ManagedKind::Schedule, Expect::Any).await;
    assert!(matches!(
        other,
        Err(StoreError::NoSuchObject(ManagedKind::Schedule, _))
    ));
    let stale = remove(&fixture, ManagedKind::Binding, Expect::Revision(1)).await;
    assert!(matches!(stale, Err(StoreError::ObjectChanged { .. })));
    remove(&fixture, ManagedKind::Binding, Expect::Any)
        .await
        .unwrap();
    assert_eq!(fixture.store.objects().await.unwrap(), []);
}
