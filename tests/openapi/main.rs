//! `/api/v1/openapi.json` against the server that gives it out: every route is in it, and whoever believes it is not let down.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::format_push_string,
    reason = "the deny list is for the product: a test may panic, and it starts programs itself"
)]

mod fuzz;
mod routes;
mod site;
#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

/// A program of the environment that `tests/setup.sh test` makes.
fn program(name: &str) -> PathBuf {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = project.join(".venv/schemathesis/bin").join(name);
    assert!(
        program.exists(),
        "{} is not there: run tests/setup.sh test",
        program.display()
    );
    program
}

/// Runs it to its end, which must be a good one; yields what it said.
#[track_caller]
fn well_done(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}{error}", output.status);
    said
}
