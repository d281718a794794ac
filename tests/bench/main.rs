//! Speed and size, measured on the release binary over loopback. This program is the load, the server is another process.
//!
//! `cargo bench --bench bench` prints one table; `-- intake size` measures only those. A missed goal is printed and is
//! no failure, for the machine may be busy with something else; a wrong answer ends with exit code 1.
//!
//! - `intake`: durable notifications a second, beside what the same disk can fsync.
//! - `storm`: one notification with a thousand alerts.
//! - `spawn`: from the POST to the start of `ansible-playbook`.
//! - `size`: the binary, and what an idle server holds in memory.
//! - `facts`: scrapes, new facts and questions, with 10 to 10,000 hosts.
//! - `history`: memory, start, filtered pages and a search with 100,000 runs in the history.
//! - `watch`: many clients that watch a run.
//!
//! Ansible itself is not measured: this program, called as `ansible-playbook`, takes its place (see `fake`).

// A bench prints, starts servers and reads the clock; nothing of it is part of the product.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr)]

mod alerts;
mod client;
mod disk;
mod facts;
mod fake;
mod history;
mod intake;
mod machine;
mod seed;
mod server;
mod size;
mod spawn;
mod storm;
mod table;
mod watch;

use std::process::ExitCode;

use table::Table;

/// What went wrong, as a sentence.
type Failure = Box<dyn std::error::Error + Send + Sync>;

type Measure = fn(&mut Table) -> Result<(), Failure>;

const MEASURES: [(&str, Measure); 7] = [
    ("intake", intake::measure),
    ("storm", storm::measure),
    ("spawn", spawn::measure),
    ("size", size::measure),
    ("facts", facts::measure),
    ("history", history::measure),
    ("watch", watch::measure),
];

fn main() -> ExitCode {
    if let Some(code) = fake::called() {
        return code;
    }
    // cargo adds `--bench`.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    if let Some(unknown) = wanted
        .iter()
        .find(|name| MEASURES.iter().all(|(known, _)| known != name))
    {
        let known = MEASURES.map(|(name, _)| name).join(", ");
        eprintln!("there is no measurement {unknown}; want {known}");
        return ExitCode::FAILURE;
    }
    println!("{}", machine::line());
    let mut table = Table::default();
    let mut failed = false;
    for (name, measure) in MEASURES {
        if !wanted.is_empty() && !wanted.iter().any(|w| w == name) {
            continue;
        }
        eprintln!("measuring {name} …");
        if let Err(failure) = measure(&mut table) {
            eprintln!("{name}: {failure}");
            failed = true;
        }
    }
    println!("{table}");
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
