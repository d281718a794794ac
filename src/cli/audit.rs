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

/// Show who changed what on a running server, most recent first.
#[derive(Debug, Args)]
pub(super) struct Audit {
    #[command(flatten)]
    server: Server,
    /// The number of entries, at most 1000.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// The cursor that the previous page printed.
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
            return print("No changes.\n");
        }
        let color = colored(&std::io::stdout());
        let mut text = table(&page.entries, color);
        if let Some(next) = page.next {
            let _ = writeln!(text, "More: --cursor={next}");
        }
        print(&text)
    }
}

/// Formats the entries. An entry that changed an object is followed by the object before and after.
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

/// The headings of the columns.
const HEADS: [&str; 7] = ["ID", "TIME", "USER", "AUTH", "ADDRESS", "ACTION", "STATUS"];

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
