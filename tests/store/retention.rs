//! What is deleted, and what must not be.

use std::time::Duration;

use bytes::Bytes;
use chrono::TimeDelta;
use promansible::config::Storage;
use promansible::model::alert::{Alert, Status};
use promansible::model::run::{Outcome, RunId, State};
use promansible::store::{self, RunFilter};

use crate::fixture::{Fixture, alert, at, ended, event, one_running};

#[tokio::test]
async fn retention_by_age_and_by_size_takes_the_oldest_and_nothing_that_is_open_or_fires() {
    let fixture = Fixture::new(100);
    for number in 0..20 {
        let id = one_running(&fixture, number).await;
        let output = vec![Bytes::from(vec![b'x'; 1000])];
        fixture
            .store
            .append(id, vec![event(0)], output, 5)
            .await
            .unwrap();
        let run = fixture.store.run(id).await.unwrap();
        let now = at(i64::try_from(number).unwrap() * 3600);
        fixture
            .store
            .finish(id, ended(&run, Outcome::Successful), now)
            .await
            .unwrap();
    }
    // "batched" runs of the same alerts are still queued.
    let queued = RunFilter {
        state: Some(State::Queued),
        ..RunFilter::default()
    };
    let open_before = fixture
        .store
        .runs(queued.clone(), None, 100)
        .await
        .unwrap()
        .runs;
    assert!(!open_before.is_empty());
    let retention = |hours, bytes| Storage {
        path: "unused".into(),
        retention_time: Duration::from_hours(hours),
        retention_size_bytes: bytes,
    };
    let done = fixture
        .store
        .retain(retention(10, u64::MAX), at(20 * 3600))
        .await
        .unwrap();
    assert_eq!((done.runs, done.episodes, done.more), (10, 0, false));
    let gone = fixture.store.output_of(RunId(1)).await;
    assert!(matches!(gone, Err(store::StoreError::NoSuchRun(RunId(1)))));

    fixture
        .store
        .retain(retention(1000, 5000), at(20 * 3600))
        .await
        .unwrap();
    let left = fixture.all_runs().await;
    let finished = left.iter().filter(|run| run.finished_at.is_some()).count();
    assert!(
        finished <= 4,
        "{finished} runs of over 1000 bytes are more than 5000 bytes"
    );
    let open_after = fixture.store.runs(queued, None, 100).await.unwrap().runs;
    assert_eq!(open_after, open_before);

    // The episodes still fire as far as anybody knows: a repetition must stay a duplicate.
    let again = fixture
        .admit(vec![alert(1, 0, "a", "h3", Status::Firing)], at(20 * 3600))
        .await
        .unwrap();
    assert!(
        again
            .decisions
            .iter()
            .all(|d| d.choice.as_str() == "duplicate"),
        "{again:?}"
    );
    // Resolved ones go, in their time.
    let resolved = (0..20)
        .map(|n| alert(n, 0, "a", "h3", Status::Resolved))
        .collect();
    fixture.admit(resolved, at(20 * 3600)).await.unwrap();
    let later = at(20 * 3600) + TimeDelta::hours(11);
    let done = fixture
        .store
        .retain(retention(10, u64::MAX), later)
        .await
        .unwrap();
    assert_eq!(done.episodes, 20);
}

#[tokio::test]
async fn retention_works_in_slices() {
    let fixture = Fixture::new(2000);
    for number in 0..450 {
        let id = one_running(&fixture, number).await;
        let run = fixture.store.run(id).await.unwrap();
        fixture
            .store
            .finish(id, ended(&run, Outcome::Failed), at(0))
            .await
            .unwrap();
    }
    let storage = Storage {
        path: "unused".into(),
        retention_time: Duration::from_hours(1),
        retention_size_bytes: u64::MAX,
    };
    let mut slices = 0;
    loop {
        slices += 1;
        let done = fixture
            .store
            .retain(storage.clone(), at(7200))
            .await
            .unwrap();
        assert!(done.runs + done.episodes <= 200);
        if !done.more {
            break;
        }
    }
    assert_eq!(slices, 3);
    assert_eq!(
        fixture
            .all_runs()
            .await
            .iter()
            .filter(|r| r.finished_at.is_some())
            .count(),
        0
    );
}

async fn retain_all(fixture: &Fixture, bytes: u64, now: i64) -> store::Retained {
    let storage = Storage {
        path: "unused".into(),
        retention_time: Duration::from_hours(90 * 24),
        retention_size_bytes: bytes,
    };
    let mut all = store::Retained::default();
    loop {
        let done = fixture.store.retain(storage.clone(), at(now)).await;
        let done = done.unwrap();
        all.runs += done.runs;
        all.episodes += done.episodes;
        if !done.more {
            return all;
        }
    }
}

/// Alerts with a long text, each an episode of its own.
fn loud(numbers: std::ops::Range<u64>, severity: &str, status: Status) -> Vec<Alert> {
    let loud = |number| {
        let mut loud = alert(number, 0, severity, "h3", status);
        let text = "x".repeat(4000);
        loud.annotations.insert("description".into(), text);
        loud
    };
    numbers.map(loud).collect()
}

const MEBIBYTE: u64 = 1 << 20;
const DAY: i64 = 24 * 3600;

#[tokio::test]
async fn alerts_that_fire_for_ever_push_no_run_out() {
    let fixture = Fixture::new(100);
    let id = one_running(&fixture, 1).await;
    let run = fixture.store.run(id).await.unwrap();
    let well = ended(&run, Outcome::Successful);
    fixture.store.finish(id, well, at(1)).await.unwrap();
    // No binding is for them, and they are never said to be over.
    for batch in 0..20 {
        let numbers = 100 + batch * 100..200 + batch * 100;
        let firing = loud(numbers, "none", Status::Firing);
        fixture.admit(firing, at(10)).await.unwrap();
    }
    let done = retain_all(&fixture, MEBIBYTE, 60).await;
    assert_eq!(done.runs, 0);
    assert!(fixture.store.run(id).await.is_ok());
    // 2,000 of over 4 KB each came; a quarter of a mebibyte is theirs.
    assert!((1900..2000).contains(&done.episodes), "{done:?}");
    // One of them is told again: nothing but the memory was lost.
    let again = loud(100..101, "none", Status::Firing);
    let again = fixture.admit(again, at(61)).await.unwrap();
    assert_eq!(again.decisions[0].choice.as_str(), "no_binding");
}

#[tokio::test]
async fn what_had_its_run_is_remembered_as_long_as_it_may_be_told_again() {
    let fixture = Fixture::new(1000);
    fixture
        .admit(loud(0..200, "d", Status::Firing), at(0))
        .await
        .unwrap();
    while let Some(claimed) = fixture.claim(at(1)).await {
        let well = ended(&claimed.run, Outcome::Successful);
        fixture
            .store
            .finish(claimed.run.id, well, at(2))
            .await
            .unwrap();
    }
    let told_again = async |numbers, now| {
        let firing = loud(numbers, "d", Status::Firing);
        let told = fixture.admit(firing, at(now)).await.unwrap();
        told.decisions[0].choice.as_str().to_owned()
    };
    // Half of it resolves. The other Alertmanager of a pair may be late with what it says.
    let resolved = loud(0..100, "d", Status::Resolved);
    fixture.admit(resolved, at(10)).await.unwrap();
    let done = retain_all(&fixture, MEBIBYTE, 600).await;
    assert_eq!(done.episodes, 0);
    assert_eq!(told_again(0..1, 601).await, "resolved");
    assert_eq!(told_again(150..151, 601).await, "duplicate");
    // Later nobody is late any more, but what fires may still be repeated.
    let done = retain_all(&fixture, MEBIBYTE, 2 * 3600).await;
    assert!((90..=100).contains(&done.episodes), "{done:?}");
    assert_eq!(told_again(150..151, 2 * 3600).await, "duplicate");
    let done = retain_all(&fixture, MEBIBYTE, 6 * DAY).await;
    assert_eq!(done.episodes, 0);
    let done = retain_all(&fixture, MEBIBYTE, 8 * DAY).await;
    assert!(done.episodes > 30, "{done:?}");
}

#[tokio::test]
async fn episodes_that_stay_do_not_hide_those_that_may_go() {
    let fixture = Fixture::new(10);
    for batch in 0..5 {
        let firing = (batch * 1000..(batch + 1) * 1000)
            .map(|number| alert(number, 0, "none", "h3", Status::Firing))
            .collect();
        fixture.admit(firing, at(0)).await.unwrap();
    }
    let resolved = (9000..9100)
        .map(|number| alert(number, 1, "none", "h3", Status::Resolved))
        .collect();
    fixture.admit(resolved, at(2)).await.unwrap();
    // Those that fire are still heard of after all that time.
    let later = 100 * DAY;
    for batch in 0..5 {
        let firing = (batch * 1000..(batch + 1) * 1000)
            .map(|number| alert(number, 0, "none", "h3", Status::Firing))
            .collect();
        fixture.admit(firing, at(later)).await.unwrap();
    }
    let done = retain_all(&fixture, 1 << 40, later + 60).await;
    assert_eq!((done.runs, done.episodes), (0, 100));
}

#[tokio::test]
async fn an_alert_that_fires_under_a_binding_is_not_forgotten_however_little_space_there_is() {
    let fixture = Fixture::new(1000);
    // Its host is not in the inventory: nothing runs, and it is decided again when it is told again.
    let unknown = (0..100).map(|number| {
        let mut unknown = alert(number, 0, "d", "nowhere", Status::Firing);
        unknown.annotations.insert("text".into(), "x".repeat(4000));
        unknown
    });
    fixture.admit(unknown.collect(), at(0)).await.unwrap();
    let done = retain_all(&fixture, 100_000, 60).await;
    assert_eq!(done.episodes, 0);
    let firing = fixture.store.firing(None, |_| true, None, 1000).await;
    assert_eq!(firing.unwrap().episodes.len(), 100);
    // What no binding is for goes.
    let nobodys = loud(1000..1100, "none", Status::Firing);
    fixture.admit(nobodys, at(61)).await.unwrap();
    let done = retain_all(&fixture, 100_000, 62).await;
    assert_eq!(done.episodes, 100);
}

#[tokio::test]
async fn new_alerts_are_refused_while_the_history_is_full_and_known_ones_are_not() {
    let mut fixture = Fixture::new(1000);
    let mut config = promansible::config::Config::clone(&fixture.config);
    config.storage.retention_size_bytes = 200_000;
    fixture.config = std::sync::Arc::new(config);
    let mut taken = Vec::new();
    let full = loop {
        let number = taken.len() as u64;
        let firing = loud(number..number + 1, "d", Status::Firing);
        match fixture.admit(firing.clone(), at(1)).await {
            Ok(_) => taken.extend(firing),
            Err(full) => break full,
        }
        assert!(number < 100, "nothing is refused");
    };
    let why = full.to_string();
    assert!(
        matches!(full, store::StoreError::HistoryFull { .. }),
        "{why}"
    );
    assert!(why.contains("storage.retention.size"), "{why}");
    assert!(taken.len() > 40, "{} of 200 kB", taken.len());
    // All of them are queued; they are told again, and end.
    let again = fixture.admit(taken.clone(), at(2)).await.unwrap();
    assert!(
        again
            .decisions
            .iter()
            .all(|d| d.choice.as_str() == "duplicate")
    );
    let open = fixture.all_runs().await;
    let queued = open.iter().filter(|run| run.state == State::Queued);
    assert!(queued.count() > 0);
    let over: Vec<Alert> = taken
        .into_iter()
        .map(|alert| Alert {
            status: Status::Resolved,
            ..alert
        })
        .collect();
    fixture.admit(over, at(3)).await.unwrap();
    // What has resolved and never ran may go at once, and makes room.
    retain_all(&fixture, 200_000, 10).await;
    let firing = loud(500..501, "d", Status::Firing);
    fixture.admit(firing, at(11)).await.unwrap();
}
