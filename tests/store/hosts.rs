//! Hosts that are enrolled.

use std::collections::BTreeSet;

use promansible::model::inventory::EnrolledHost;
use promansible::store::{HOSTS_LIMIT, OpenError, StoreError, peek};

use crate::fixture::{Fixture, at};

pub fn host(name: &str, address: &str) -> EnrolledHost {
    EnrolledHost {
        name: name.to_owned(),
        address: Some(address.to_owned()),
        groups: vec!["web".to_owned()],
        vars: serde_json::Map::from_iter([("v".to_owned(), "{{ x }}".into())]),
        enrolled_at: at(0),
    }
}

#[tokio::test]
async fn a_host_is_there_until_it_is_removed() {
    let mut fixture = Fixture::new(10);
    let (one, two) = (host("a", "10.0.0.1"), host("b", "10.0.0.2"));
    fixture.store.enroll_host(two.clone()).await.unwrap();
    fixture.store.enroll_host(one.clone()).await.unwrap();
    let again = fixture.store.enroll_host(host("a", "10.9.9.9")).await;
    assert!(matches!(again, Err(StoreError::HostEnrolled(name)) if name == "a"));
    assert_eq!(fixture.store.hosts().await.unwrap(), [one, two.clone()]);
    fixture.kill_and_reopen(at(1));
    fixture.store.remove_host("a".to_owned()).await.unwrap();
    let gone = fixture.store.remove_host("a".to_owned()).await;
    assert!(matches!(gone, Err(StoreError::HostNotEnrolled(name)) if name == "a"));
    fixture.close_and_reopen(at(2)).await;
    assert_eq!(fixture.store.hosts().await.unwrap(), [two]);
}

#[tokio::test]
async fn hosts_are_bounded_in_number() {
    let fixture = Fixture::new(10);
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..HOSTS_LIMIT {
        let store = fixture.store.clone();
        asked.spawn(async move { store.enroll_host(host(&format!("h{number}"), "a")).await });
    }
    while let Some(kept) = asked.join_next().await {
        kept.unwrap().unwrap();
    }
    let refused = fixture.store.enroll_host(host("more", "a")).await;
    assert!(matches!(refused, Err(StoreError::TooManyHosts)));
    fixture.store.remove_host("h7".to_owned()).await.unwrap();
    fixture.store.enroll_host(host("more", "a")).await.unwrap();
}

#[tokio::test]
async fn without_a_server_it_is_read_and_left_as_it_is() {
    let fixture = Fixture::new(10);
    let nothing = peek(&fixture.path.with_extension("nowhere")).unwrap();
    assert!(nothing.hosts.is_empty() && nothing.inventory.is_none());
    fixture
        .store
        .enroll_host(host("a", "10.0.0.1"))
        .await
        .unwrap();
    let json = fixture.inventory.to_json();
    let saved = fixture.store.save_inventory(7, json.clone().into());
    saved.await.unwrap();
    assert!(matches!(peek(&fixture.path), Err(OpenError::InUse(_))));
    // As a kill leaves it, and as an orderly end does.
    let killed = fixture.path.with_extension("killed");
    std::fs::copy(&fixture.path, &killed).unwrap();
    fixture.store.close().await;
    for path in [&killed, &fixture.path] {
        let before = std::fs::read(path).unwrap();
        let peeked = peek(path).unwrap();
        assert_eq!(peeked.hosts, [host("a", "10.0.0.1")]);
        let (fingerprint, kept) = peeked.inventory.unwrap();
        assert_eq!((fingerprint, kept.as_ref()), (7, json.as_slice()));
        assert!(std::fs::read(path).unwrap() == before);
    }
}

#[tokio::test]
async fn what_is_known_of_a_host_goes_with_it() {
    let fixture = Fixture::new(10);
    fixture
        .store
        .enroll_host(host("a", "10.0.0.1"))
        .await
        .unwrap();
    let facts = promansible::model::facts::HostFacts {
        host: "a".to_owned(),
        gathered_at: at(1),
        live: true,
        facts: serde_json::Map::from_iter([("ansible_system".to_owned(), "Linux".into())]),
    };
    fixture.store.keep_facts(vec![facts]).await.unwrap();
    assert_eq!(fixture.store.facts_list().await.unwrap().len(), 1);
    fixture.store.remove_host("a".to_owned()).await.unwrap();
    let left = BTreeSet::from(["h1".to_owned()]);
    fixture.store.forget_hosts_but(left).await.unwrap();
    assert!(fixture.store.facts_list().await.unwrap().is_empty());
}
