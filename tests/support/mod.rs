//! A promansible of its own for each test: the real binary, on a free port, with an Ansible that is quick and obedient.

// Nothing reaches a test from outside; two programs share this, and neither uses all of it.
#![allow(unreachable_pub, unused_imports, dead_code)]

mod alert;
mod answer;
mod command;
mod curl;
pub mod http2;
#[path = "../stack/pki.rs"]
mod pki;
mod server;
mod site;

pub use alert::{Alert, alert, body, notification};
pub use answer::Answer;
pub use command::{promansible, run, run_with};
pub use curl::Got;
pub use pki::Pki;
pub use server::{Server, WEBHOOK, ids};
pub use site::{Site, inventory};

use std::fs;
use std::path::Path;
use std::time::Duration;

/// The longest that anything is waited for.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Compares with a file beside the tests; `UPDATE_GOLDEN=1` writes it.
#[track_caller]
pub fn golden(file: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, found).unwrap();
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    if wanted != found {
        let differs = |(n, (w, f)): (usize, (&str, &str))| {
            (w != f).then(|| format!("line {}:\n  want {w:?}\n  found {f:?}", n + 1))
        };
        let first = wanted
            .lines()
            .zip(found.lines())
            .enumerate()
            .find_map(differs);
        panic!(
            "{file} differs (UPDATE_GOLDEN=1 writes it): {}\n{found}",
            first.unwrap_or_default()
        );
    }
}
