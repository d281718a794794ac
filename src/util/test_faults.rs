//! Faults that a test asks for. A release build has none of them.
//!
//! `PROMANSIBLE_TEST_FAULTS` names a folder. As soon as it holds a file `panic-NAME`, the task of this name removes that and
//! panics; as long as it holds a file `hang-NAME`, the thread of this name hangs.

/// Does the work, and panics in the midst of it when a test asks for that.
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

/// Does the work.
#[cfg(not(debug_assertions))]
pub(crate) fn exposed<F: Future>(_: &str, work: F) -> F {
    work
}

/// Hangs as long as a test asks for that, as a thread does whose disk does not answer.
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
