use std::path::Path;

use prometheus::Registry;
use serde_json::json;

use super::*;
use crate::metrics::Metrics;
use crate::store::{Opened, open};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

fn of(host: &str, seconds: i64, facts: &Value) -> HostFacts {
    HostFacts {
        host: host.to_owned(),
        gathered_at: at(seconds),
        live: true,
        facts: facts.as_object().unwrap().clone(),
    }
}

fn start(path: &Path) -> (Store, Metrics) {
    let metrics = Metrics::new(Registry::new()).unwrap();
    let Opened { store, .. } = open(path, &metrics, at(0)).unwrap();
    (store, metrics)
}

fn page(metrics: &Metrics) -> String {
    let text = String::from_utf8(metrics.hosts_page().plain().concat()).unwrap();
    let lines = text.lines().filter(|line| line.contains("memory_total"));
    let mut lines: Vec<_> = lines.filter(|line| !line.starts_with('#')).collect();
    // Several threads read them at the start, in no particular order.
    lines.sort_unstable();
    lines.join("\n")
}

#[tokio::test]
async fn the_latest_facts_are_kept_shown_and_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let (store, metrics) = start(&path);
    let old =
        json!({"ansible_gather_subset": ["all"], "ansible_memtotal_mb": 1, "ansible_gone": 5});
    let new = json!({"ansible_gather_subset": ["all"], "ansible_memtotal_mb": 2});
    store
        .keep_facts(vec![of("web1", 1, &old), of("web2", 1, &old)])
        .await
        .unwrap();
    store.keep_facts(vec![of("web1", 2, &new)]).await.unwrap();
    // Facts older than the stored ones are ignored.
    store.keep_facts(vec![of("web1", 1, &old)]).await.unwrap();
    assert_eq!(
        store.facts_of("web1".to_owned()).await.unwrap(),
        Some(of("web1", 2, &new))
    );
    assert_eq!(store.facts_of("web3".to_owned()).await.unwrap(), None);
    let shown = "promansible_host_memory_total_bytes{host=\"web1\"} 2097152\n\
                 promansible_host_memory_total_bytes{host=\"web2\"} 1048576";
    assert_eq!(page(&metrics), shown);
    let changes = store.fact_changes("web1".to_owned()).await.unwrap();
    assert_eq!(
        serde_json::to_value(&changes).unwrap(),
        json!([{"at": at(2), "changes": [{"path": "gone", "old": 5}, {"path": "memtotal_mb", "old": 1, "new": 2}], "more": 0}])
    );
    assert!(
        store
            .fact_changes("web2".to_owned())
            .await
            .unwrap()
            .is_empty()
    );
    store.close().await;

    let (store, metrics) = start(&path);
    assert_eq!(page(&metrics), shown);
    let known = BTreeSet::from(["web2".to_owned()]);
    store.forget_hosts_but(known).await.unwrap();
    assert_eq!(page(&metrics), shown.split_once('\n').unwrap().1);
    let left = store.facts_list().await.unwrap();
    assert_eq!(
        left,
        [FactsOf {
            host: "web2".to_owned(),
            gathered_at: at(1),
            live: true
        }]
    );
    assert!(
        store
            .fact_changes("web1".to_owned())
            .await
            .unwrap()
            .is_empty()
    );
    store.close().await;
}

#[tokio::test]
async fn a_subset_replaces_only_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = start(&dir.path().join("store.redb"));
    let all = json!({"ansible_gather_subset": ["all"], "ansible_memtotal_mb": 1, "ansible_kernel": "6.1"});
    let part = json!({"ansible_gather_subset": ["!all", "hardware"], "ansible_memtotal_mb": 2});
    store
        .keep_facts(vec![of("web1", 1, &all), of("web1", 2, &part)])
        .await
        .unwrap();
    let facts = store
        .facts_of("web1".to_owned())
        .await
        .unwrap()
        .unwrap()
        .facts;
    assert_eq!(
        (&facts["ansible_memtotal_mb"], &facts["ansible_kernel"]),
        (&json!(2), &json!("6.1"))
    );
    store.close().await;
}

#[tokio::test]
async fn changes_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = start(&dir.path().join("store.redb"));
    let all = (0..150)
        .map(|n| of("web1", n, &json!({"ansible_kernel": n})))
        .collect();
    store.keep_facts(all).await.unwrap();
    let changes = store.fact_changes("web1".to_owned()).await.unwrap();
    assert_eq!((changes.len(), changes[0].at), (CHANGES, at(149)));
    store.close().await;
}
