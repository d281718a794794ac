//! A check that outlasts the opening, as with a large file.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;

use super::*;
use crate::model::run::RunId;
use crate::store::disk::file::Opener;
use crate::store::tests::Fixture;

/// A closed file with a run and its output, in the directory of the fixture.
async fn written() -> (Fixture, PathBuf) {
    let fixture = Fixture::new();
    fixture.admit().await.unwrap();
    let claim = fixture.store.claim(
        std::sync::Arc::clone(&fixture.config),
        crate::store::tests::at(1),
    );
    claim.await.unwrap();
    for number in 0..20 {
        fixture.append(number).await.unwrap();
    }
    fixture.store.close().await;
    let path = fixture.store.path().to_owned();
    (fixture, path)
}

/// Opens the file without waiting for the check, which continues in the background.
fn open_at_once(path: &Path) -> (Arc<Database>, watch::Receiver<Integrity>) {
    let look = IntegrityCheck::begin(path)
        .unwrap()
        .expect("there is a file");
    // Regardless of the speed of the check: opening did not wait for it.
    look.view.lock.unlock().unwrap();
    let database = Arc::new(Opener::new().open(path, false).unwrap());
    let integrity = look.go_on(&database).unwrap();
    (database, integrity)
}

async fn verdict(integrity: &mut watch::Receiver<Integrity>) -> Option<Integrity> {
    let known = integrity.wait_for(|is| *is != Integrity::Unknown).await;
    known.ok().map(|is| is.clone())
}

#[tokio::test]
async fn a_sound_file_is_found_sound_although_it_is_written_to_meanwhile() {
    let (fixture, path) = written().await;
    let (database, mut integrity) = open_at_once(&path);
    let table: redb::TableDefinition<'_, u64, u64> = redb::TableDefinition::new("test");
    for number in 0..50 {
        let txn = database.begin_write().unwrap();
        txn.open_table(table).unwrap().insert(number, 0).unwrap();
        txn.commit().unwrap();
    }
    assert_eq!(verdict(&mut integrity).await, Some(Integrity::Sound));
    drop(fixture);
}

#[tokio::test]
async fn a_damaged_file_is_believed_no_more_once_it_is_found_out() {
    let (fixture, path) = written().await;
    let bytes = std::fs::read(&path).unwrap();
    // All copies of one event: only one of them is used.
    let needle = b"\"task\":\"17\"";
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let places = bytes.windows(needle.len()).enumerate();
    for (at, _) in places.filter(|(_, window)| window == needle) {
        file.write_all_at(b"\"task\":\"18\"", at as u64).unwrap();
    }
    let (database, mut integrity) = open_at_once(&path);
    let found = verdict(&mut integrity).await;
    assert!(matches!(found, Some(Integrity::Damaged(_))), "{found:?}");
    let store = Store {
        integrity,
        database: Arc::new(std::sync::RwLock::new(Some(database))),
        ..fixture.store.clone()
    };
    assert!(!store.is_open());
    let error = store.run(RunId(1)).await.unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
    let error = store.checked().await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
}

#[tokio::test]
async fn a_file_that_is_closed_during_the_look_is_free() {
    let (fixture, path) = written().await;
    for _ in 0..20 {
        let (database, integrity) = open_at_once(&path);
        drop(database);
        // Whether it finished or not, it blocks nothing and reports no damage.
        assert_ne!(
            std::mem::discriminant(&*integrity.borrow()),
            std::mem::discriminant(&Integrity::Damaged("".into()))
        );
        Opener::new().open(&path, false).unwrap();
    }
    drop(fixture);
}
