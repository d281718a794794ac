//! One guarantee a test.

use std::sync::Arc;

use bytes::Bytes;
use promansible::metrics::Metrics;
use promansible::model::alert::Status;
use promansible::model::run::{Outcome, RunId, State};
use promansible::store::{self, OpenError};

use crate::fixture::{Fixture, alert, at, ended, event, keeping, one_running, open, sample};

#[tokio::test]
async fn many_notifications_share_a_commit() {
    let fixture = Arc::new(Fixture::new(1000));
    let before = sample(
        &fixture.metrics,
        "promansible_store_commit_duration_seconds_count",
    );
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..500 {
        let fixture = Arc::clone(&fixture);
        waiting.spawn(async move {
            let firing = alert(number, 0, "b", "h1", Status::Firing);
            fixture.admit(vec![firing], at(0)).await.unwrap();
        });
    }
    waiting.join_all().await;
    let after = sample(
        &fixture.metrics,
        "promansible_store_commit_duration_seconds_count",
    );
    assert!(
        after - before <= 100.0,
        "500 notifications took {} commits",
        after - before
    );
    assert_eq!(fixture.all_runs().await.len(), 1, "they share a batch");
    let admitted = sample(
        &fixture.metrics,
        "promansible_decisions_total{binding=\"batched\",decision=\"run\"}",
    );
    assert!((admitted - 500.0).abs() < 0.5, "{admitted}");
}

#[tokio::test]
async fn a_repetition_does_not_hide_the_batch_that_takes_further_hosts() {
    let mut fixture = Fixture::new(10);
    let firing = |number, host| vec![alert(number, 0, "b", host, Status::Firing)];
    fixture.admit(firing(1, "h1"), at(0)).await.unwrap();
    let first = fixture.claim(at(10)).await.unwrap().run;
    fixture.admit(firing(2, "h2"), at(10)).await.unwrap();
    let interrupted = ended(&first, Outcome::Interrupted);
    let finished = fixture.store.finish(first.id, interrupted, at(11)).await;
    assert_eq!(finished.unwrap().outcome, Some(Outcome::Interrupted));
    for restart in [false, true] {
        if restart {
            fixture.close_and_reopen(at(12)).await;
        }
        let number = 3 + u64::from(restart);
        let admitted = fixture.admit(firing(number, "h3"), at(12)).await.unwrap();
        let joined = admitted.decisions[0].run;
        assert_eq!(joined, Some(RunId(2)), "after a restart: {restart}");
    }
}

#[tokio::test]
async fn a_full_queue_takes_what_replaces_a_run_that_this_notification_ends() {
    let fixture = Fixture::new(1);
    let of = |number, status| alert(number, 0, "b", "h1", status);
    fixture
        .admit(vec![of(1, Status::Firing)], at(0))
        .await
        .unwrap();
    let both = vec![of(1, Status::Resolved), of(2, Status::Firing)];
    let admitted = fixture.admit(both, at(1)).await.unwrap();
    assert_eq!(admitted.canceled, [RunId(1)]);
    assert_eq!(admitted.decisions[1].run, Some(RunId(2)));
    let queued = sample(&fixture.metrics, "promansible_runs_queued");
    assert!((queued - 1.0).abs() < 0.5, "{queued}");
}

#[tokio::test]
async fn output_is_kept_head_and_tail_with_a_mark_where_it_was_cut() {
    let fixture = Fixture::new(10);
    let firing = alert(1, 0, "a", "h3", Status::Firing);
    fixture.admit(vec![firing], at(0)).await.unwrap();
    let claim = fixture.store.claim(keeping(10_000), at(0)).await.unwrap();
    assert!(matches!(claim, store::Claim::Run(_)));
    let id = RunId(1);
    let mut all = Vec::new();
    for n in 0..400 {
        let line = format!("line {n} {}\n", "x".repeat(90));
        all.extend_from_slice(line.as_bytes());
        let output = vec![Bytes::from(line)];
        fixture.store.append(id, vec![], output, 10).await.unwrap();
    }
    let kept = fixture.store.output_of(id).await.unwrap();
    let text = String::from_utf8(kept.clone()).unwrap();
    let (head, rest) = text.split_once("\n[… ").unwrap();
    let (cut, tail) = rest
        .split_once(" bytes of output left out: runs.output_limit …]\n")
        .unwrap();
    assert!(
        all.starts_with(head.as_bytes()) && head.len() == 5000,
        "{}",
        head.len()
    );
    assert!(all.ends_with(tail.as_bytes()) && tail.len() <= 5000 && tail.len() > 4800);
    assert_eq!(
        cut.parse::<usize>().unwrap(),
        all.len() - head.len() - tail.len()
    );

    // The end of it: of the tail alone, with what comes before counted.
    for (limit, found) in [
        (1_000, 1_000),
        (tail.len(), tail.len()),
        (8_000, tail.len()),
        (0, 0),
    ] {
        let (before, end) = fixture.store.output_end_of(id, limit).await.unwrap();
        assert_eq!(end.len(), found, "{limit}");
        assert!(all.ends_with(&end), "{limit}");
        assert_eq!(before, (all.len() - found) as u64, "{limit}");
    }

    // One chunk that is larger than everything.
    let flood = vec![Bytes::from(vec![b'y'; 50_000])];
    fixture.store.append(id, vec![], flood, 10).await.unwrap();
    let kept = fixture.store.output_of(id).await.unwrap();
    assert!(kept.len() < 10_100 && kept.ends_with(&[b'y'; 5000]));
    let run = fixture.store.run(id).await.unwrap();
    assert_eq!(run.output_bytes, all.len() as u64 + 50_000);
}

#[tokio::test]
async fn a_small_output_is_kept_whole_and_events_are_bounded() {
    let fixture = Fixture::new(10);
    let id = one_running(&fixture, 1).await;
    let events = (0..7).map(event).collect();
    let output = vec![Bytes::from("a\n"), Bytes::from("b\n")];
    fixture.store.append(id, events, output, 5).await.unwrap();
    assert_eq!(fixture.store.output_of(id).await.unwrap(), b"a\nb\n");
    for (limit, end) in [(100, (0, b"a\nb\n".to_vec())), (3, (1, b"\nb\n".to_vec()))] {
        assert_eq!(fixture.store.output_end_of(id, limit).await.unwrap(), end);
    }
    let events = fixture.store.events_of(id, 0, 100).await.unwrap();
    assert_eq!(events.len(), 5);
    assert_eq!(events[4], event(4));
    assert_eq!(fixture.store.run(id).await.unwrap().events_dropped, 2);
}

#[tokio::test]
async fn a_clock_that_is_set_back_holds_up_no_run() {
    let fixture = Fixture::new(10);
    let firing = |number, host| vec![alert(number, 0, "b", host, Status::Firing)];
    fixture.admit(firing(1, "h1"), at(7200)).await.unwrap();
    assert!(
        fixture.claim(at(7201)).await.is_none(),
        "its window is open"
    );
    let run = fixture.claim(at(0)).await.expect("it starts").run;
    assert_eq!(run.id, RunId(1));
    // Nor does anything join a window that would close in two hours.
    fixture.admit(firing(2, "h2"), at(7200)).await.unwrap();
    let third = fixture.admit(firing(3, "h3"), at(1)).await.unwrap();
    assert_eq!(third.decisions[0].run, Some(RunId(3)));
}

#[tokio::test]
async fn what_fires_again_long_after_it_was_said_to_be_over_gets_its_run() {
    let fixture = Fixture::new(10);
    let of = |status| vec![alert(1, 0, "b", "h1", status)];
    fixture.admit(of(Status::Firing), at(0)).await.unwrap();
    fixture.admit(of(Status::Resolved), at(5)).await.unwrap();
    let run = fixture.store.run(RunId(1)).await.unwrap();
    assert_eq!(run.outcome, Some(Outcome::Canceled));
    let late = fixture.admit(of(Status::Firing), at(60)).await.unwrap();
    assert_eq!(late.decisions[0].choice.as_str(), "resolved");
    let again = fixture.admit(of(Status::Firing), at(3700)).await.unwrap();
    assert_eq!(again.decisions[0].run, Some(RunId(2)));
    let claimed = fixture.claim(at(3710)).await.unwrap();
    assert_eq!(claimed.alerts.len(), 1);
    // This time the run began: the same episode has had it now.
    fixture.admit(of(Status::Resolved), at(3711)).await.unwrap();
    let again = fixture.admit(of(Status::Firing), at(9000)).await.unwrap();
    assert_eq!(again.decisions[0].choice.as_str(), "duplicate");
}

#[tokio::test]
async fn alerts_beyond_the_limit_of_a_run_get_the_next_and_beyond_that_of_the_queue_none() {
    let fixture = Fixture::with("alerts_limit: 10, queue_alerts_limit: 25");
    let firing = |numbers: std::ops::Range<u64>| {
        numbers
            .map(|number| alert(number, 0, "b", "h1", Status::Firing))
            .collect()
    };
    let admitted = fixture.admit(firing(0..25), at(0)).await.unwrap();
    let runs = admitted.decisions.iter().map(|d| d.run.unwrap().0);
    let runs: Vec<u64> = runs.collect();
    assert_eq!([runs[9], runs[10], runs[20]], [1, 2, 3]);
    let refused = fixture.admit(firing(25..26), at(1)).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the queue is full: 25 alerts are queued, 1 more are wanted and runs.queue_alerts_limit is 25"
    );
    let claimed = fixture.claim(at(20)).await.unwrap();
    assert_eq!(claimed.alerts.len(), 10);
    fixture.admit(firing(25..26), at(20)).await.unwrap();
}

#[tokio::test]
async fn a_run_that_is_put_back_keeps_its_place() {
    let fixture = Fixture::new(10);
    for number in 1..3 {
        let firing = alert(number, 0, "d", "h3", Status::Firing);
        fixture.admit(vec![firing], at(0)).await.unwrap();
    }
    let first = fixture.claim(at(1)).await.unwrap().run.id;
    fixture.store.put_back(first, at(1)).await.unwrap();
    let run = fixture.store.run(first).await.unwrap();
    assert_eq!((run.state, run.started_at), (State::Queued, None));
    assert_eq!(fixture.claim(at(2)).await.unwrap().run.id, first);
    // Canceled meanwhile, it does not wait again.
    let ending = fixture.store.cancel(first, "me".into(), at(3)).await;
    assert_eq!(ending.unwrap(), store::Canceled::Ending);
    fixture.store.put_back(first, at(4)).await.unwrap();
    let run = fixture.store.run(first).await.unwrap();
    let why = run.message.as_deref();
    assert_eq!(run.outcome, Some(Outcome::Canceled));
    assert_eq!(why, Some("canceled by me before it started"));
    let nobody = fixture.store.put_back(RunId(9), at(1)).await.unwrap_err();
    assert!(matches!(nobody, store::StoreError::NoSuchRun(RunId(9))));
}

#[tokio::test]
async fn gauges_and_last_successes_come_from_the_store_after_a_restart() {
    let mut fixture = Fixture::new(10);
    let id = one_running(&fixture, 1).await;
    let run = fixture.store.run(id).await.unwrap();
    fixture
        .store
        .finish(id, ended(&run, Outcome::Successful), at(5))
        .await
        .unwrap();
    fixture.close_and_reopen(at(9)).await;
    let last = sample(
        &fixture.metrics,
        "promansible_role_last_success_timestamp_seconds{host=\"h3\",role=\"r1\"}",
    );
    assert!((last - 1_800_000_005.0).abs() < 0.001);
    let queued = sample(&fixture.metrics, "promansible_runs_queued");
    assert!((queued - 1.0).abs() < 0.5, "{queued}");
}

#[tokio::test]
async fn a_host_that_leaves_the_inventory_leaves_the_metrics() {
    let mut fixture = Fixture::new(10);
    let id = one_running(&fixture, 1).await;
    let run = fixture.store.run(id).await.unwrap();
    let well = ended(&run, Outcome::Successful);
    fixture.store.finish(id, well, at(5)).await.unwrap();
    let shown = |fixture: &Fixture| {
        let families = fixture.metrics.gather(0);
        families.iter().any(|family| {
            family
                .name()
                .ends_with("role_last_success_timestamp_seconds")
        })
    };
    let known = ["h3".to_owned()].into();
    fixture.store.forget_hosts_but(known).await.unwrap();
    assert!(shown(&fixture), "it is still there");
    let known = ["h1".to_owned()].into();
    fixture.store.forget_hosts_but(known).await.unwrap();
    assert!(!shown(&fixture));
    fixture.close_and_reopen(at(9)).await;
    assert!(!shown(&fixture), "not after a restart either");
}

#[tokio::test]
async fn a_second_opener_is_told_so() {
    let fixture = Fixture::new(10);
    let metrics = Metrics::new(prometheus::Registry::new()).unwrap();
    let second = store::open(&fixture.path, &metrics, at(0));
    let error = second.err().unwrap();
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
    assert!(error.to_string().contains("is in use by another process"));
    fixture.store.close().await;
    let (again, _) = open(&fixture.path, at(0));
    again.store.close().await;
}

#[tokio::test]
async fn a_run_whose_alert_is_lost_fails_for_good_and_holds_up_nobody() {
    let mut fixture = Fixture::new(10);
    let firing = alert(2, 0, "c", "h1", Status::Firing);
    fixture.admit(vec![firing], at(0)).await.unwrap();
    fixture.store.close().await;
    {
        let database = redb::Database::open(&fixture.path).unwrap();
        let txn = database.begin_write().unwrap();
        let definition: redb::TableDefinition<'_, (i64, u64), &[u8]> =
            redb::TableDefinition::new("episodes_v1");
        txn.open_table(definition)
            .unwrap()
            .retain(|_, _| false)
            .unwrap();
        txn.commit().unwrap();
    }
    fixture.close_and_reopen(at(1)).await;
    assert!(fixture.claim(at(60)).await.is_none());
    for _ in 0..2 {
        let run = fixture.store.run(RunId(1)).await.unwrap();
        assert_eq!(run.outcome, Some(Outcome::Failed));
        fixture.close_and_reopen(at(61)).await;
    }
}

fn set_format(path: &std::path::Path, format: u64) {
    let database = redb::Database::open(path).unwrap();
    let txn = database.begin_write().unwrap();
    {
        let definition: redb::TableDefinition<'_, &str, &[u8]> =
            redb::TableDefinition::new("meta_v1");
        let mut meta = txn.open_table(definition).unwrap();
        meta.insert("format", format.to_le_bytes().as_slice())
            .unwrap();
    }
    txn.commit().unwrap();
    // Never closed properly: as a crash leaves it.
    std::fs::copy(path, path.with_extension("crashed")).unwrap();
}

#[tokio::test]
async fn a_newer_file_is_refused_and_not_a_byte_of_it_changes_even_after_a_crash() {
    let fixture = Fixture::new(10);
    fixture.store.close().await;
    set_format(&fixture.path, 2);
    for path in [fixture.path.clone(), fixture.path.with_extension("crashed")] {
        let before = std::fs::read(&path).unwrap();
        let metrics = Metrics::new(prometheus::Registry::new()).unwrap();
        let error = store::open(&path, &metrics, at(0)).err().unwrap();
        assert!(
            matches!(
                error,
                OpenError::Newer {
                    found: 2,
                    known: 1,
                    ..
                }
            ),
            "{error}"
        );
        assert!(
            before == std::fs::read(&path).unwrap(),
            "{} changed",
            path.display()
        );
    }
}

#[tokio::test]
async fn junk_is_refused_with_a_sentence_and_never_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = Metrics::new(prometheus::Registry::new()).unwrap();
    for (name, junk) in [
        ("text", b"hello, I am no store".to_vec()),
        ("zeros", vec![0; 1 << 20]),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, junk).unwrap();
        let error = store::open(&path, &metrics, at(0)).err().unwrap();
        assert!(
            matches!(error, OpenError::Damaged { .. }),
            "{name}: {error}"
        );
    }
}
