//! Faults that tests inject. Release builds have none of them.
//!
//! `PROMANSIBLE_TEST_FAULTS` names a folder. When it contains a file `panic-NAME`, the task NAME removes the file and
//! panics; while it contains a file `hang-NAME`, the thread NAME hangs.

/// Runs the work, and panics in the middle of it when a test requests that.
#[cfg(debug_assertions)]
pub(crate) async fn exposed<F: Future>(name: &str, work: F) -> F::Output {
    let Some(file) = file("panic", name) else {
        return work.await;
    };
    let asked = async {
        while std::fs::remove_file(&file).is_err() {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        done = work => done,
        () = asked => panic!("a test asks for it"),
    }
}

/// Runs the work.
#[cfg(not(debug_assertions))]
pub(crate) fn exposed<F: Future>(_: &str, work: F) -> F {
    work
}

/// Hangs while a test requests that, like a thread whose disk does not respond.
#[cfg(debug_assertions)]
pub(crate) fn hang(name: &str) {
    let Some(file) = file("hang", name) else {
        return;
    };
    while file.exists() {
        std::thread::sleep(PAUSE);
    }
}

/// Does nothing.
#[cfg(not(debug_assertions))]
pub(crate) fn hang(_: &str) {}

#[cfg(debug_assertions)]
const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

#[cfg(debug_assertions)]
fn file(what: &str, name: &str) -> Option<std::path::PathBuf> {
    use std::path::PathBuf;
    use std::sync::OnceLock;

    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| std::env::var_os("PROMANSIBLE_TEST_FAULTS").map(Into::into));
    Some(folder.as_ref()?.join(format!("{what}-{name}")))
}
