//! End to end: real Prometheus, Alertmanager, sshd and ansible-core around the real binary.
//!
//! `tests/setup.sh test` installs what is needed; without it these tests fail and say so.

#![allow(unreachable_pub)] // a program has no outside

mod alert_types;
mod discovery;
mod door;
mod enrolled;
mod pair;
mod repeat;
mod shutdown;
#[path = "../stack/mod.rs"]
mod stack;
mod steps;
mod story;
mod torture;
mod truncated;

use std::path::Path;

use stack::alertmanager::Timing;
use stack::ansible::Release;
use stack::world::Plan;

/// The world that most tests want.
fn plan() -> Plan {
    Plan {
        binary: Path::new(env!("CARGO_BIN_EXE_promansible")).to_owned(),
        ansible: Release::V2_19,
        pair: false,
        timing: Timing::default(),
        note: "{{ 7 * 7 }}",
    }
}
