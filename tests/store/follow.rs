//! What a run tells, from anywhere on.

use bytes::Bytes;
use promansible::model::run::{Outcome, RunId};
use promansible::store::{Change, RunOffset, Store, StoreError};

use crate::fixture::{Fixture, at, ended, event, keeping, one_running};

/// Follows to the end, and yields the events' tasks and the pieces of output, each with where it begins.
async fn followed(
    store: &Store,
    id: RunId,
    from: RunOffset,
    upto: Option<RunOffset>,
) -> (Vec<String>, Vec<(u64, Vec<u8>)>) {
    let (mut tasks, mut output): (_, Vec<(u64, Vec<u8>)>) = (Vec::new(), Vec::new());
    let mut at = from;
    loop {
        let followed = store.follow(id, at, upto).await.unwrap();
        tasks.extend(followed.events.into_iter().map(|event| event.task));
        for (begins, bytes) in followed.output {
            match output.last_mut() {
                Some((at, piece)) if *at + piece.len() as u64 == begins => piece.extend(bytes),
                _ => output.push((begins, bytes)),
            }
        }
        at = followed.to;
        if !followed.more {
            return (tasks, output);
        }
    }
}

fn tasks(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|n| format!("task {n}")).collect()
}

#[tokio::test]
async fn everything_is_told_once_from_wherever_one_begins() {
    let fixture = Fixture::new(10);
    let id = one_running(&fixture, 1).await;
    // More than one reading yields, in pieces of uneven length.
    let all: Vec<u8> = (0..200_000_u32)
        .flat_map(u32::to_le_bytes)
        .take(300_000)
        .collect();
    for (n, piece) in all.chunks(7001).enumerate() {
        let events = (n * 30..(n + 1) * 30).map(event).collect();
        let output = vec![Bytes::copy_from_slice(piece)];
        fixture
            .store
            .append(id, events, output, 10_000)
            .await
            .unwrap();
    }
    let (run, told) = fixture.store.run_offset(id).await.unwrap();
    assert_eq!((told.events, told.output_bytes), (43 * 30, 300_000));
    assert_eq!(run.id, id);
    for from in [0_u32, 1, 65_535, 65_536, 123_456, 299_999, 300_000] {
        for length in [1, 7001, 70_000, 300_000] {
            let begin = RunOffset {
                events: from / 300,
                output_bytes: from.into(),
            };
            let end = RunOffset {
                events: (from + length).min(300_000) / 300,
                output_bytes: (from + length).min(300_000).into(),
            };
            let (told, output) = followed(&fixture.store, id, begin, Some(end)).await;
            assert_eq!(told, tasks(begin.events as usize..end.events as usize));
            let (from, to) = (from as usize, usize::try_from(end.output_bytes).unwrap());
            let wanted = (from < to).then(|| (from as u64, all[from..to].to_vec()));
            assert_eq!(output, Vec::from_iter(wanted));
        }
    }
    fixture
        .store
        .finish(id, ended(&run, Outcome::Failed), at(1))
        .await
        .unwrap();
    let (told, output) = followed(&fixture.store, id, RunOffset::default(), None).await;
    assert_eq!((told.len(), output), (43 * 30, vec![(0, all)]));
    let none = fixture
        .store
        .follow(RunId(99), RunOffset::default(), None)
        .await;
    assert!(matches!(none, Err(StoreError::NoSuchRun(RunId(99)))));
    fixture.store.close().await;
}

#[tokio::test]
async fn what_was_not_kept_is_a_gap() {
    let fixture = Fixture::new(10);
    fixture.ask(&["h1".to_owned()], false, at(0)).await.unwrap();
    let claimed = fixture.store.claim(keeping(100), at(0)).await.unwrap();
    let promansible::store::Claim::Run(claimed) = claimed else {
        panic!("nothing to claim");
    };
    let id = claimed.run.id;
    let all: Vec<u8> = (0..=255).collect();
    for piece in all.chunks(9) {
        let output = vec![Bytes::copy_from_slice(piece)];
        fixture.store.append(id, vec![], output, 10).await.unwrap();
    }
    for from in 0..=256_u64 {
        let begin = RunOffset {
            events: 0,
            output_bytes: from,
        };
        let (_, output) = followed(&fixture.store, id, begin, None).await;
        for (at, piece) in &output {
            let at = usize::try_from(*at).unwrap();
            assert!(*piece == all[at..at + piece.len()], "it is where it says");
        }
        let told: Vec<u64> = output
            .iter()
            .flat_map(|(at, piece)| *at..*at + piece.len() as u64)
            .collect();
        let kept = (0..50).chain(256 - 49..256).filter(|at| *at >= from);
        assert_eq!(told, kept.collect::<Vec<u64>>(), "from {from}");
    }
    fixture.store.close().await;
}

#[tokio::test]
async fn whoever_watches_is_told_after_the_commit() {
    let fixture = Fixture::new(10);
    let mut changes = fixture.store.run_changes();
    let id = one_running(&fixture, 1).await;
    let mut one = fixture.store.run_changed(id);
    let other = fixture.store.run_changed(RunId(99));
    fixture
        .store
        .append(id, vec![event(0)], vec![], 10)
        .await
        .unwrap();
    one.changed().await.unwrap();
    assert_eq!(fixture.store.run_offset(id).await.unwrap().1.events, 1);
    let run = fixture.store.run(id).await.unwrap();
    fixture
        .store
        .finish(id, ended(&run, Outcome::Failed), at(1))
        .await
        .unwrap();
    one.changed().await.unwrap();
    assert!(!other.has_changed().unwrap());
    let mut moved = Vec::new();
    while let Ok(change) = changes.try_recv() {
        moved.push(change);
    }
    // It was queued, another one of the same alert with it, began, and ended.
    let of_it = moved.iter().filter(|change| **change == Change::Run(id));
    assert_eq!(of_it.count(), 3, "{moved:?}");
    fixture.store.close().await;
}
