//! `promansible audit`.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use clap::Args;
use hyper::Method;
use serde::Deserialize;

use super::Failure;
use super::client::Server;
use super::colored;
use super::format::second;
use super::print;
use super::table::{Cell, columns};
use super::terminal::{Ink, plain};
use crate::model::identity::AuthMethod;

/// Look at who changed what, on a running server; newest first.
#[derive(Debug, Args)]
pub(super) struct Audit {
    #[command(flatten)]
    server: Server,
    /// How many, at most 1000.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// Where to begin: what the last page said.
    #[arg(long)]
    cursor: Option<u64>,
}

#[derive(Deserialize)]
struct Page {
    entries: Vec<Entry>,
    next: Option<u64>,
}

#[derive(Deserialize)]
struct Entry {
    id: u64,
    at: DateTime<Utc>,
    who: Option<String>,
    proof: AuthMethod,
    address: String,
    method: String,
    path: String,
    status: Option<u16>,
    summary: Option<String>,
    before: Option<String>,
    after: Option<String>,
}

impl Audit {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut path = format!("audit?limit={}", self.limit);
        if let Some(cursor) = self.cursor {
            let _ = write!(path, "&cursor={cursor}");
        }
        let page: Page = self.server.ask(Method::GET, &path)?;
        if page.entries.is_empty() {
            return print("nobody has changed anything\n");
        }
        let color = colored(&std::io::stdout());
        let mut text = table(&page.entries, color);
        if let Some(next) = page.next {
            let _ = writeln!(text, "more: --cursor={next}");
        }
        print(&text)
    }
}

/// The entries, and below each that changed something typed how it was and is.
fn table(entries: &[Entry], color: bool) -> String {
    let mut rows = vec![HEADS.map(|head| Cell::inked(Ink::Bold, head))];
    rows.extend(entries.iter().map(row));
    let table = columns("", &rows, color);
    let (heads, lines) = table.split_once('\n').unwrap_or_default();
    let mut text = format!("{heads}\n");
    for (entry, line) in entries.iter().zip(lines.lines()) {
        let _ = writeln!(text, "{line}");
        for (word, typed) in [("before", &entry.before), ("after ", &entry.after)] {
            if let Some(typed) = typed {
                let _ = writeln!(text, "    {word} {}", plain(typed));
            }
        }
    }
    text
}

/// What stands above the columns.
const HEADS: [&str; 7] = ["ID", "WHEN", "WHO", "BY", "FROM", "WHAT", "ANSWER"];

fn row(entry: &Entry) -> [Cell; 7] {
    let answer = match entry.status {
        None => Cell::new("-"),
        Some(status) if status >= 400 => Cell::inked(Ink::Red, &status.to_string()),
        Some(status) => Cell::new(&status.to_string()),
    };
    [
        Cell::new(&entry.id.to_string()),
        Cell::new(&second(entry.at)),
        Cell::new(entry.who.as_deref().unwrap_or("-")),
        Cell::new(entry.proof.as_str()),
        Cell::new(&entry.address),
        match &entry.summary {
            Some(summary) => Cell::new(summary),
            None => Cell::new(&format!("{} {}", entry.method, entry.path)),
        },
        answer,
    ]
}
