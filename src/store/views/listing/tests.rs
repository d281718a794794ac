use std::path::Path;

use prometheus::Registry;
use serde_json::json;

use super::*;
use crate::metrics::Metrics;
use crate::store::disk::index;

const MIB: usize = 1 << 20;

fn run(id: u64, binding: &str, bytes: usize) -> Run {
    serde_json::from_value(json!({
        "id": id, "trigger": "alert", "binding": binding, "hosts": ["h"], "state": "finished",
        "work": {"roles": ["r"], "become": false, "gather_facts": false, "timeout_seconds": 1},
        "created_at": "2026-11-22T10:00:00Z", "ready_at": "2026-11-22T10:00:00Z",
        "finished_at": "2026-11-22T10:00:00Z", "outcome": "successful",
        "message": "x".repeat(bytes),
    }))
    .unwrap()
}

fn opened(path: &Path) -> Store {
    let metrics = Metrics::new(Registry::new()).unwrap();
    let now = "2026-11-22T10:00:00Z".parse().unwrap();
    crate::store::open(path, &metrics, now).unwrap().store
}

async fn put(store: &Store, runs: Vec<Run>) {
    let put = move |tables: &mut crate::store::disk::tables::Tables<'_>, _: &mut _| {
        for run in &runs {
            tables.put_run(run)?;
            index::add(tables, run, &[])?;
        }
        Ok(())
    };
    store.write(put).await.unwrap();
}

async fn pages(store: &Store, filter: RunFilter, limit: usize) -> Vec<Vec<u64>> {
    let (mut pages, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.runs(filter.clone(), cursor, limit).await.unwrap();
        pages.push(page.runs.iter().map(|run| run.id.0).collect());
        cursor = page.next;
        if cursor.is_none() {
            return pages;
        }
    }
}

fn of_binding(binding: &str) -> RunFilter {
    RunFilter {
        binding: Some(binding.to_owned()),
        ..RunFilter::default()
    }
}

#[tokio::test]
async fn a_page_ends_where_its_runs_are_too_large() {
    let folder = tempfile::tempdir().unwrap();
    let store = opened(&folder.path().join("store.redb"));
    let mut runs = vec![run(1, "b", 1), run(2, "a", 5 * MIB), run(3, "b", 9 * MIB)];
    runs.extend((4..=9).map(|id| run(id, if id % 2 == 0 { "a" } else { "b" }, 3 * MIB / 2)));
    put(&store, runs).await;

    let all = [&[9, 8][..], &[7, 6], &[5, 4], &[3], &[2], &[1]];
    let one = |binding| pages(&store, of_binding(binding), 1000);
    assert_eq!(pages(&store, RunFilter::default(), 1000).await, all);
    assert_eq!(one("a").await, [&[8, 6][..], &[4], &[2]]);
    assert_eq!(one("b").await, [&[9, 7][..], &[5], &[3], &[1]]);
    assert_eq!(
        pages(&store, of_binding("b"), 1).await.concat(),
        [9, 7, 5, 3, 1]
    );
    assert_eq!(one("c").await, [[0_u64; 0]]);
    store.close().await;
}

#[tokio::test]
async fn lists_that_seldom_agree_are_leapt_through() {
    let folder = tempfile::tempdir().unwrap();
    let store = opened(&folder.path().join("store.redb"));
    let runs = (1..=2000_u64).map(|id| {
        let mut run = run(id, if id % 100 < 60 { "a" } else { "b" }, 1);
        run.hosts = vec![format!("h{}", id / 50 % 4), format!("g{}", id % 7)];
        run
    });
    let runs: Vec<Run> = runs.collect();
    put(&store, runs.clone()).await;
    for (binding, host, order) in [
        ("a", "h1", Order::Newest),
        ("a", "h1", Order::Oldest),
        ("b", "h0", Order::Newest),
        ("b", "g3", Order::Oldest),
    ] {
        let filter = RunFilter {
            host: Some(host.to_owned()),
            order,
            ..of_binding(binding)
        };
        let mut wanted: Vec<u64> = runs
            .iter()
            .filter(|run| filter.takes(run))
            .map(|run| run.id.0)
            .collect();
        if order == Order::Newest {
            wanted.reverse();
        }
        for limit in [1, 7, 1000] {
            let found = pages(&store, filter.clone(), limit).await.concat();
            assert_eq!(found, wanted, "{binding} {host} {order:?}");
        }
    }
    store.close().await;
}

#[tokio::test]
async fn a_store_without_an_index_gets_it_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = opened(&path);
    put(&store, (1..=20).map(|id| run(id, "a", 1)).collect()).await;
    let without = |meta: &'static [&'static str]| {
        move |tables: &mut crate::store::disk::tables::Tables<'_>, _: &mut _| {
            tables.run_index.retain(|_, ()| false)?;
            tables.run_ends.retain(|_, _| false)?;
            for name in meta {
                tables.meta.remove(name)?;
            }
            Ok(())
        }
    };
    store.write(without(&["run_index"])).await.unwrap();
    assert_eq!(pages(&store, of_binding("a"), 100).await, [[0_u64; 0]]);
    store.close().await;

    let store = opened(&path);
    assert_eq!(pages(&store, of_binding("a"), 100).await[0].len(), 20);
    let since = "2026-11-22T09:00:00Z".parse().unwrap();
    let hour = std::time::Duration::from_hours(1);
    let ends = store.outcomes_since(since, hour).await.unwrap();
    let outcomes = [(Outcome::Successful, 20)].into();
    let from = since + hour;
    assert_eq!(ends, [crate::store::Ends { from, outcomes }]);
    // An existing index is not rebuilt.
    store.write(without(&[])).await.unwrap();
    store.close().await;
    let store = opened(&path);
    assert_eq!(pages(&store, of_binding("a"), 100).await, [[0_u64; 0]]);
    store.close().await;
}
