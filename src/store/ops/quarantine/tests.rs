//! Rows with invalid content.

use redb::ReadableTable as _;

use crate::config::Config;
use crate::model::guards::Pause;
use crate::model::run::{HostResult, Outcome, Run, RunId, State, TaskEvent, TaskStatus};
use crate::store::disk::tables;
use crate::store::tests::{Fixture, at};
use crate::store::*;
use std::sync::Arc;

const GARBAGE: &[u8] = b"no row of ours";

/// Writes rows to the file.
async fn spoil(
    store: &Store,
    spoil: impl Fn(&mut tables::Tables<'_>) -> Result<(), StoreError> + Send + 'static,
) {
    store.write(move |tables, _| spoil(tables)).await.unwrap();
}

async fn claim(fixture: &Fixture) -> Run {
    let claim = fixture
        .store
        .claim(Arc::clone(&fixture.config), at(1))
        .await;
    let Claim::Run(claimed) = claim.unwrap() else {
        panic!("nothing to start")
    };
    claimed.run
}

fn well(run: &Run) -> Ended {
    let results = run.hosts.iter();
    let well = HostResult::bare(Outcome::Successful, None);
    Ended {
        outcome: Outcome::Successful,
        results: results.map(|host| (host.clone(), well.clone())).collect(),
        message: None,
        findings: Vec::new(),
    }
}

#[tokio::test]
async fn a_run_ends_although_all_that_hangs_on_it_cannot_be_decoded() {
    let fixture = Fixture::new();
    fixture.admit().await.unwrap();
    let run = claim(&fixture).await;
    fixture.append(0).await.unwrap();
    let store = &fixture.store;
    spoil(store, |tables| {
        let (episode, of_run) = {
            let first = tables.episodes.iter()?.next().unwrap()?.0.value();
            let of_run = tables.run_episodes.iter()?.next().unwrap()?.0.value();
            (first, of_run)
        };
        tables.episodes.insert(episode, GARBAGE)?;
        tables.run_episodes.insert(of_run, GARBAGE)?;
        tables.run_episodes.insert((of_run.0, 7), GARBAGE)?;
        tables.runs.insert(1, GARBAGE)?;
        tables.events.insert((1, 0), GARBAGE)?;
        tables.alert_types.insert("A", GARBAGE)?;
        tables.verdicts.insert(("r", "b"), GARBAGE)?;
        tables.messages.insert(1, GARBAGE)?;
        Ok(())
    })
    .await;
    let ended = store.finish(run.id, well(&run), at(2)).await.unwrap();
    assert_eq!(ended.outcome, Some(Outcome::Successful));
    assert_eq!(store.run(run.id).await.unwrap().state, State::Finished);
    // The rows that were read are quarantined and counted.
    assert!(fixture.sample("promansible_store_quarantined_rows") >= 2.0);
    // Readers find the rest: each row is found once, and everything else is shown.
    for _ in 0..2 {
        assert_eq!(store.events_of(run.id, 0, 10).await.unwrap(), []);
        assert_eq!(store.messages(0, 100).await.unwrap(), []);
        assert_eq!(store.alert_types().await.unwrap(), []);
        assert!(store.verdicts().await.unwrap().is_empty());
        let page = store.runs(RunFilter::default(), None, 10).await.unwrap();
        assert_eq!(page.runs.len(), 1);
        // The writer has processed them when it replies to this.
        store.resume().await.unwrap();
    }
    let aside = fixture.sample("promansible_store_quarantined_rows");
    assert!((6.0..=8.0).contains(&aside), "{aside}");
    // The alert is new again, and gets a run.
    let again = fixture.admit().await.unwrap();
    assert_eq!(again.decisions[0].choice.as_str(), "run");
}

#[tokio::test]
async fn an_open_run_that_cannot_be_decoded_is_no_reason_not_to_start() {
    let fixture = Fixture::new();
    fixture.admit().await.unwrap();
    spoil(&fixture.store, |tables| {
        tables.runs.insert(1, GARBAGE)?;
        // And an open run without a row.
        tables.open.insert(77, ())?;
        tables.findings.insert(("r", "h"), GARBAGE)?;
        tables.facts.insert("h", GARBAGE)?;
        Ok(())
    })
    .await;
    let fixture = fixture.reopen().await;
    assert!(fixture.sample("promansible_store_quarantined_rows") > 3.5);
    let store = &fixture.store;
    let page = store.runs(RunFilter::default(), None, 10).await.unwrap();
    assert_eq!(page.runs, []);
    let firing = store.firing(None, |_| true, None, 10).await.unwrap();
    let decided = &firing.episodes[0].decisions["b"];
    assert_eq!(decided.outcome, Some(Outcome::Interrupted));
    let claim = store.claim(Arc::clone(&fixture.config), at(5)).await;
    assert!(matches!(claim.unwrap(), Claim::Nothing { .. }));
    // It remains so.
    let fixture = fixture.reopen().await;
    assert!(fixture.sample("promansible_store_quarantined_rows") > 3.5);
}

#[tokio::test]
async fn what_a_person_held_stays_held_although_it_cannot_be_decoded() {
    let fixture = Fixture::new();
    let pause = Pause {
        since: at(0),
        by: "ann".into(),
        why: String::new(),
    };
    fixture.store.pause(pause).await.unwrap();
    fixture.admit().await.unwrap();
    spoil(&fixture.store, |tables| {
        tables.guards.insert(("pause", ""), GARBAGE)?;
        tables.guards.insert(("host", "h2"), GARBAGE)?;
        tables.guards.insert(("streak", "r9"), GARBAGE)?;
        Ok(())
    })
    .await;
    let mut fixture = fixture;
    // Also at the start after the next.
    for _ in 0..2 {
        fixture = fixture.reopen().await;
        let book = fixture.store.book().await.unwrap();
        assert_eq!(book.pause.unwrap().by, "promansible");
        assert!(book.hosts.contains_key("h2"));
        assert!(book.streaks["r9"].open.is_some());
        let claim = fixture
            .store
            .claim(Arc::clone(&fixture.config), at(5))
            .await;
        assert!(matches!(claim.unwrap(), Claim::Nothing { .. }));
    }
    fixture.store.resume().await.unwrap();
    claim(&fixture).await;
}

#[tokio::test]
async fn a_panic_ends_the_operation_and_nothing_else() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let panicking = store.write(|tables, _| -> Result<(), StoreError> {
        tables.meta.insert("half", b"done".as_slice())?;
        panic!("as a defect would")
    });
    let (panicked, admitted, kept) =
        tokio::join!(panicking, fixture.admit(), store.put_message(message()));
    let why = panicked.unwrap_err();
    assert!(matches!(&why, StoreError::Defect(why) if why == "as a defect would"));
    assert_eq!(admitted.unwrap().decisions.len(), 1);
    kept.unwrap();
    let half = store.write(|tables, _| Ok(tables.meta.get("half")?.is_some()));
    assert!(!half.await.unwrap(), "half of it is on disk");
    assert_eq!(store.trouble(), None);
}

fn message() -> crate::model::message::Message {
    let matter = crate::model::message::MessageEvent::Held {
        what: crate::model::message::HoldTarget::All,
        reason: "paused".into(),
        why: String::new(),
    };
    crate::model::message::Message::new(matter, at(0))
}

#[tokio::test]
async fn what_writes_nothing_costs_no_commit_and_what_writes_is_committed() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let commits = || fixture.sample("promansible_store_commit_batch_size_count");
    fixture.admit().await.unwrap();
    let before = commits();
    // Repeated, refused, missing.
    fixture.admit().await.unwrap();
    let work = crate::plan::work(&fixture.config.bindings[0], 1);
    let refused = store.queue_manual(work, vec!["h".into()], None, 0, at(1));
    assert!(matches!(refused.await, Err(StoreError::QueueFull { .. })));
    let config = Arc::new(Config {
        runs: crate::config::Runs {
            queue_limit: 0,
            ..fixture.config.runs.clone()
        },
        ..Config::clone(&fixture.config)
    });
    let full = fixture.admit_as(2, config).await;
    assert!(matches!(full, Err(StoreError::QueueFull { .. })));
    store.remove_host("nowhere".into()).await.unwrap_err();
    store.resume().await.unwrap();
    assert!((commits() - before).abs() < 0.1, "an fsync for nothing");
    // A refused operation does not revert the writes of another one.
    let nothing = store.cancel(RunId(99), "me".into(), at(1));
    let (kept, refused) = tokio::join!(store.put_message(message()), nothing);
    kept.unwrap();
    refused.unwrap_err();
    assert_eq!(store.messages(0, 100).await.unwrap().len(), 1);
    assert!(commits() > before);
}

#[tokio::test]
async fn a_reader_goes_on_behind_an_event_that_cannot_be_decoded() {
    let fixture = Fixture::new();
    fixture.admit().await.unwrap();
    let run = claim(&fixture).await;
    for number in 0..3 {
        fixture.append(number).await.unwrap();
    }
    spoil(&fixture.store, |tables| {
        tables.events.insert((1, 1), GARBAGE)?;
        Ok(())
    })
    .await;
    let told = fixture
        .store
        .follow(run.id, RunOffset::default(), None)
        .await;
    let told = told.unwrap();
    let tasks: Vec<&str> = told
        .events
        .iter()
        .map(|e: &TaskEvent| e.task.as_str())
        .collect();
    assert_eq!(
        (tasks, told.to.events, told.more),
        (vec!["0", "2"], 3, false)
    );
    assert!(told.events.iter().all(|e| e.status == TaskStatus::Ok));
}
