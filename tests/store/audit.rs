//! The audit list: in order, by pages, as long as the history.

use std::time::Duration;

use promansible::config::Storage;
use promansible::model::identity::AuthMethod;
use promansible::store::{AuditAction, AuditEntry};

use crate::fixture::{Fixture, at};

fn entry(number: i64) -> AuditEntry {
    AuditEntry {
        id: 99,
        at: at(number * 3600),
        who: None,
        proof: AuthMethod::Nothing,
        address: "127.0.0.1:1".to_owned(),
        method: "POST".to_owned(),
        path: format!("/{number}"),
        status: None,
        deed: AuditAction::default(),
    }
}

async fn ids(fixture: &Fixture, before: Option<u64>, limit: usize) -> (Vec<u64>, Option<u64>) {
    let page = fixture.store.audit_page(before, limit).await.unwrap();
    (
        page.entries.iter().map(|entry| entry.id).collect(),
        page.next,
    )
}

#[tokio::test]
async fn entries_are_numbered_paged_ended_and_go_by_age() {
    let fixture = Fixture::new(10);
    assert_eq!(ids(&fixture, None, 10).await, (vec![], None));
    for number in 0..5 {
        let id = fixture.store.audit(entry(number)).await.unwrap();
        assert_eq!(id, u64::try_from(number).unwrap() + 1);
    }
    assert_eq!(ids(&fixture, None, 2).await, (vec![5, 4], Some(4)));
    assert_eq!(ids(&fixture, Some(4), 3).await, (vec![3, 2, 1], None));
    fixture
        .store
        .audited(5, 202, AuditAction::default())
        .await
        .unwrap();
    let deed = AuditAction {
        summary: Some("paused".to_owned()),
        ..AuditAction::default()
    };
    fixture.store.audited(4, 303, deed).await.unwrap();
    let page = fixture.store.audit_page(None, 2).await.unwrap();
    let told = |n: usize| {
        (
            page.entries[n].status,
            page.entries[n].deed.summary.as_deref(),
        )
    };
    assert_eq!(
        (told(0), told(1)),
        ((Some(202), None), (Some(303), Some("paused")))
    );
    let storage = Storage {
        path: "unused".into(),
        retention_time: Duration::from_hours(2),
        retention_size_bytes: u64::MAX,
    };
    fixture
        .store
        .retain(storage.clone(), at(4 * 3600))
        .await
        .unwrap();
    assert_eq!(ids(&fixture, None, 10).await, (vec![5, 4, 3], None));
    // Numbers are not used twice, and what has gone is not ended.
    fixture
        .store
        .retain(storage, at(1000 * 3600))
        .await
        .unwrap();
    fixture
        .store
        .audited(5, 500, AuditAction::default())
        .await
        .unwrap();
    assert_eq!(ids(&fixture, None, 10).await, (vec![], None));
    assert_eq!(fixture.store.audit(entry(1000)).await.unwrap(), 6);
}
