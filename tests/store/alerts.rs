//! What fires, and the alert types that were heard of.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use promansible::alert_types::SeenType;
use promansible::model::alert::{Alert, Status};
use promansible::model::run::Outcome;
use promansible::store::EpisodePage;
use redb::TableHandle as _;

use crate::fixture::{Fixture, alert, at, ended};

fn named(mut alert: Alert, name: &str) -> Alert {
    alert.labels.insert("alertname".to_owned(), name.to_owned());
    alert
}

fn numbers(page: &EpisodePage) -> Vec<u64> {
    page.episodes.iter().map(|e| e.fingerprint.0).collect()
}

async fn firing(fixture: &Fixture) -> Vec<u64> {
    numbers(
        &fixture
            .store
            .firing(None, |_| true, None, 1000)
            .await
            .unwrap(),
    )
}

async fn of_type(fixture: &Fixture, name: &str) -> Vec<u64> {
    let page = fixture
        .store
        .episodes_of_type(name.to_owned(), None, 1000)
        .await;
    numbers(&page.unwrap())
}

fn fires(number: u64, since: i64, name: &str) -> Alert {
    named(alert(number, since, "a", "h1", Status::Firing), name)
}

fn resolved(number: u64, since: i64, name: &str) -> Alert {
    named(alert(number, since, "a", "h1", Status::Resolved), name)
}

#[tokio::test]
async fn what_fires_is_listed_newest_first_in_pages_until_it_resolves() {
    let fixture = Fixture::new(100);
    let alerts = vec![
        fires(1, 10, "A"),
        fires(2, 30, "B"),
        fires(3, 20, "A"),
        fires(4, 20, "B"),
        resolved(5, 40, "A"),
    ];
    fixture.admit(alerts, at(50)).await.unwrap();
    assert_eq!(firing(&fixture).await, [2, 4, 3, 1]);
    assert_eq!(of_type(&fixture, "A").await, [5, 3, 1]);

    let store = &fixture.store;
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = store.firing(None, |_| true, before, 3).await.unwrap();
        seen.push(numbers(&page));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, [vec![2, 4, 3], vec![1]]);
    let a = store
        .firing(Some("A".to_owned()), |_| true, None, 1000)
        .await
        .unwrap();
    assert_eq!(numbers(&a), [3, 1]);
    let odd = store
        .firing(None, |e| e.fingerprint.0 % 2 == 1, None, 1)
        .await
        .unwrap();
    assert_eq!(numbers(&odd), [3]);
    let page = store
        .episodes_of_type("A".to_owned(), odd.next, 2)
        .await
        .unwrap();
    assert_eq!(
        (numbers(&page), page.next),
        (vec![1], None),
        "from there on"
    );

    let alerts = vec![resolved(2, 30, "B"), resolved(1, 10, "A")];
    fixture.admit(alerts, at(60)).await.unwrap();
    assert_eq!(firing(&fixture).await, [4, 3]);
    assert_eq!(of_type(&fixture, "B").await, [2, 4]);
    let counts = store.firing_counts().await.unwrap();
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [1, 1]);
    // Believed again after an hour: it fires once more.
    let late = at(60) + TimeDelta::hours(2);
    fixture.admit(vec![fires(2, 30, "B")], late).await.unwrap();
    assert_eq!(firing(&fixture).await, [2, 4, 3]);
}

#[tokio::test]
async fn a_page_tells_where_the_runs_of_its_decisions_are() {
    let fixture = Fixture::new(100);
    fixture.admit(vec![fires(1, 0, "A")], at(0)).await.unwrap();
    let run = fixture.claim(at(0)).await.unwrap().run;
    let ended = ended(&run, Outcome::Failed);
    fixture.store.finish(run.id, ended, at(9)).await.unwrap();
    let page = fixture
        .store
        .firing(None, |_| true, None, 10)
        .await
        .unwrap();
    assert_eq!(page.episodes[0].decisions["one"].run, Some(run.id));
    assert_eq!(page.runs[&run.id].outcome, Some(Outcome::Failed));
    assert_eq!(page.runs[&run.id].finished_at, Some(at(9)));
}

#[tokio::test]
async fn an_alert_type_counts_its_episodes_and_knows_when_it_was_heard_of() {
    let fixture = Fixture::new(100);
    let store = &fixture.store;
    let mut critical = fires(2, 5, "A");
    critical
        .labels
        .insert("severity".to_owned(), "critical".to_owned());
    fixture.admit(vec![fires(1, 0, "A")], at(0)).await.unwrap();
    fixture.admit(vec![critical], at(10)).await.unwrap();
    let mut nameless = fires(3, 0, "");
    nameless.labels.remove("alertname");
    fixture.admit(vec![nameless], at(10)).await.unwrap();
    let expected = SeenType {
        name: "A".to_owned(),
        first_seen: at(0),
        last_seen: at(10),
        episodes: 2,
        severity: Some("critical".to_owned()),
    };
    assert_eq!(
        store.alert_types().await.unwrap(),
        std::slice::from_ref(&expected)
    );
    assert_eq!(
        store.alert_type("A".to_owned()).await.unwrap(),
        Some(expected)
    );
    assert_eq!(store.alert_type("B".to_owned()).await.unwrap(), None);
    // A repetition is not an episode; after ten minutes it is news.
    for (seconds, last) in [(500, 10), (700, 700)] {
        fixture
            .admit(vec![fires(1, 0, "A")], at(seconds))
            .await
            .unwrap();
        let seen = store.alert_type("A".to_owned()).await.unwrap().unwrap();
        assert_eq!((seen.episodes, seen.last_seen), (2, at(last)));
    }
}

#[tokio::test]
async fn too_many_alert_types_push_out_those_not_heard_of_for_longest() {
    let fixture = Fixture::new(100);
    for from in [0_u64, 5_000] {
        let alerts = (from..from + 5_000).map(|n| resolved(n, 0, &format!("T{n}")));
        let now = at(i64::try_from(from).unwrap());
        fixture.admit(alerts.collect(), now).await.unwrap();
    }
    let store = &fixture.store;
    assert_eq!(store.alert_types().await.unwrap().len(), 10_000);
    fixture
        .admit(vec![fires(1, 9, "New"), fires(2, 9, "T7")], at(9_000))
        .await
        .unwrap();
    let left = store.alert_types().await.unwrap();
    assert_eq!(left.len(), 9_000);
    let left: BTreeSet<String> = left.into_iter().map(|seen| seen.name).collect();
    assert!(left.contains("New") && left.contains("T7"));
    assert!((5_000..10_000).all(|n| left.contains(&format!("T{n}"))));
}

/// The name's beginning alone is the key, also in the middle of a character.
#[tokio::test]
async fn a_name_of_any_length_is_found_again() {
    let fixture = Fixture::new(100);
    let name = format!("x{}", "ü".repeat(2_000));
    fixture
        .admit(vec![fires(1, 0, &name)], at(0))
        .await
        .unwrap();
    assert_eq!(of_type(&fixture, &name).await, [1]);
    let found = fixture.store.firing(Some(name.clone()), |_| true, None, 9);
    assert_eq!(numbers(&found.await.unwrap()), [1]);
    assert!(fixture.store.alert_type(name).await.unwrap().is_some());
}

#[tokio::test]
async fn a_store_from_before_the_indexes_gets_them_when_it_is_opened() {
    let mut fixture = Fixture::new(100);
    let alerts = vec![fires(1, 10, "A"), fires(2, 20, "B"), resolved(3, 30, "A")];
    fixture.admit(alerts, at(50)).await.unwrap();
    let before = fixture.store.alert_types().await.unwrap();
    fixture.store.close().await;
    {
        let database = redb::Database::open(&fixture.path).unwrap();
        let txn = database.begin_write().unwrap();
        let tables: Vec<_> = txn.list_tables().unwrap().collect();
        for table in tables {
            if ["firing_v1", "episodes_by_type_v1", "alert_types_v1"].contains(&table.name()) {
                txn.delete_table(table).unwrap();
            }
        }
        txn.commit().unwrap();
    }
    let (opened, _) = crate::fixture::open(&fixture.path, at(60));
    fixture.store = opened.store;
    assert_eq!(firing(&fixture).await, [2, 1]);
    assert_eq!(of_type(&fixture, "A").await, [3, 1]);
    assert_eq!(fixture.store.alert_types().await.unwrap(), before);
    // It was built once: what is counted stays so.
    fixture.close_and_reopen(at(70)).await;
    assert_eq!(fixture.store.alert_types().await.unwrap(), before);
}

#[tokio::test]
async fn what_retention_takes_leaves_the_indexes() {
    let fixture = Fixture::new(100);
    let alerts = vec![
        named(alert(1, 0, "x", "h1", Status::Firing), "A"),
        named(alert(2, 0, "x", "h1", Status::Resolved), "A"),
    ];
    fixture.admit(alerts, at(0)).await.unwrap();
    let storage = promansible::config::Storage {
        retention_time: std::time::Duration::from_mins(1),
        ..fixture.config.storage.clone()
    };
    let later = at(0) + TimeDelta::days(8);
    let gone = fixture.store.retain(storage, later).await.unwrap();
    assert_eq!(gone.episodes, 2);
    assert!(firing(&fixture).await.is_empty());
    assert!(of_type(&fixture, "A").await.is_empty());
    let seen = fixture.store.alert_type("A".to_owned()).await.unwrap();
    assert_eq!(seen.unwrap().episodes, 2, "what was is remembered");
}
