//! What the inventory means for the store: names of one machine, hosts in doubt, hosts that left.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use promansible::model::facts::HostFacts;
use promansible::model::inventory::{Inventory, Machines};
use promansible::model::run::RunId;
use promansible::store::{Claim, DepartedHosts, Fleet};

use crate::fixture::{Fixture, at};

/// h1 and h2 are one machine, and h3 is here.
fn machines() -> Machines {
    let json = r#"{"all":{"hosts":["h1","h2","h3","h4"]},"_meta":{"hostvars":{
        "h1":{"ansible_host":"192.0.2.7"},"h2":{"ansible_host":"192.0.2.7"},
        "h3":{"ansible_connection":"local"}}}}"#;
    Inventory::parse(json.as_bytes()).unwrap().machines()
}

async fn tell(fixture: &Fixture, machines: Machines, in_doubt: &[&str]) {
    let in_doubt = in_doubt.iter().map(|host| (*host).to_owned()).collect();
    let fleet = Arc::new(Fleet { machines, in_doubt });
    fixture.store.set_fleet(fleet).await.unwrap();
}

async fn ask(fixture: &Fixture, host: &str, overlap: bool) -> RunId {
    fixture
        .ask(&[host.to_owned()], overlap, at(0))
        .await
        .unwrap()
}

async fn claim(fixture: &Fixture) -> Option<RunId> {
    match fixture
        .store
        .claim(Arc::clone(&fixture.config), at(1))
        .await
        .unwrap()
    {
        Claim::Run(claimed) => Some(claimed.run.id),
        Claim::Nothing { .. } => None,
    }
}

#[tokio::test]
async fn two_names_of_one_machine_are_one_host() {
    let fixture = Fixture::new(10);
    tell(&fixture, machines(), &[]).await;
    let first = ask(&fixture, "h1", false).await;
    let second = ask(&fixture, "h2", false).await;
    let other = ask(&fixture, "h4", false).await;
    let meets = ask(&fixture, "h2", true).await;
    assert_eq!(claim(&fixture).await, Some(first));
    assert_eq!(claim(&fixture).await, Some(other));
    assert_eq!(claim(&fixture).await, Some(meets));
    assert_eq!(claim(&fixture).await, None);
    // What a run started by holds as long as it runs, whatever the inventory says meanwhile.
    tell(&fixture, Machines::default(), &[]).await;
    assert_eq!(fixture.store.run(first).await.unwrap().machines.len(), 0);
    tell(&fixture, machines(), &[]).await;
    assert_eq!(claim(&fixture).await, None);
    fixture.store.put_back(first, at(2)).await.unwrap();
    fixture.store.put_back(meets, at(2)).await.unwrap();
    // The older one is first again.
    assert_eq!(claim(&fixture).await, Some(first));
    let _ = second;
}

#[tokio::test]
async fn what_a_run_was_claimed_for_is_kept_with_it() {
    let fixture = Fixture::new(10);
    tell(&fixture, machines(), &[]).await;
    let second = ask(&fixture, "h2", false).await;
    assert_eq!(claim(&fixture).await, Some(second));
    let run = fixture.store.run(second).await.unwrap();
    assert_eq!(
        run.machines.into_iter().collect::<Vec<_>>(),
        [("h2".to_owned(), "h1".to_owned())]
    );
    // Even where nothing is known of it any more.
    tell(&fixture, Machines::default(), &[]).await;
    let first = ask(&fixture, "h1", false).await;
    assert_eq!(claim(&fixture).await, None);
    let _ = first;
}

#[tokio::test]
async fn a_local_connection_is_the_controller() {
    let fixture = Fixture::new(10);
    tell(&fixture, machines(), &[]).await;
    let first = ask(&fixture, "h3", false).await;
    ask(&fixture, "localhost", false).await;
    assert_eq!(claim(&fixture).await, Some(first));
    assert_eq!(claim(&fixture).await, None);
}

#[tokio::test]
async fn runs_on_hosts_in_doubt_wait_and_hold_up_nobody() {
    let fixture = Fixture::new(10);
    tell(&fixture, Machines::default(), &["h1"]).await;
    let doubted = ask(&fixture, "h1", false).await;
    let other = fixture.ask(&["h2".to_owned()], false, at(0)).await.unwrap();
    assert_eq!(claim(&fixture).await, Some(other));
    assert_eq!(claim(&fixture).await, None);
    tell(&fixture, Machines::default(), &[]).await;
    assert_eq!(claim(&fixture).await, Some(doubted));
}

fn facts(host: &str) -> HostFacts {
    HostFacts {
        host: host.to_owned(),
        gathered_at: at(1),
        live: true,
        facts: serde_json::Map::from_iter([("ansible_memtotal_mb".to_owned(), 1.into())]),
    }
}

fn shown(fixture: &Fixture) -> usize {
    let page = fixture.metrics.hosts_page().plain().concat();
    let page = String::from_utf8(page).unwrap();
    page.matches("memory_total_bytes{").count()
}

async fn depart(fixture: &Fixture, known: &[&str], removed: &[&str], now: i64) {
    let set =
        |names: &[&str]| -> BTreeSet<String> { names.iter().map(|n| (*n).to_owned()).collect() };
    let departed = DepartedHosts {
        known: set(known),
        removed: set(removed),
        keep: Duration::from_secs(100),
    };
    fixture
        .store
        .forget_departed(departed, at(now))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_host_that_left_is_kept_for_a_while_and_off_the_metrics() {
    let mut fixture = Fixture::new(10);
    let all = ["h1", "h2", "h3"].map(facts);
    fixture.store.keep_facts(all.to_vec()).await.unwrap();
    assert_eq!(shown(&fixture), 3);
    depart(&fixture, &["h1", "h2"], &[], 10).await;
    assert_eq!(shown(&fixture), 2);
    assert_eq!(fixture.store.facts_list().await.unwrap().len(), 3);
    // It came back in time.
    depart(&fixture, &["h1", "h2", "h3"], &[], 20).await;
    assert_eq!(shown(&fixture), 3);
    depart(&fixture, &["h1", "h2"], &[], 30).await;
    depart(&fixture, &["h1"], &["h2"], 40).await;
    assert_eq!(
        fixture.store.facts_list().await.unwrap().len(),
        2,
        "a person removed h2"
    );
    // The time goes on over a restart.
    fixture.close_and_reopen(at(50)).await;
    depart(&fixture, &["h1"], &[], 129).await;
    assert_eq!(fixture.store.facts_list().await.unwrap().len(), 2);
    assert_eq!(shown(&fixture), 1);
    depart(&fixture, &["h1"], &[], 130).await;
    assert_eq!(fixture.store.facts_list().await.unwrap().len(), 1);
    // A clock that is set back keeps nothing for longer.
    depart(&fixture, &[], &[], 200).await;
    depart(&fixture, &[], &[], 100).await;
    depart(&fixture, &[], &[], 200).await;
    assert!(fixture.store.facts_list().await.unwrap().is_empty());
}
