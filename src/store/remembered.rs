//! What the guards remember, as it is read when the file is opened.

use chrono::{DateTime, Utc};
use redb::{ReadTransaction, ReadableTable};

use super::StoreError;
use super::tables::{GUARDS, TOUCHES, Tables, decode, open_for_reading};
use crate::guards::{ALL, Book, Starts, State};
use crate::run::RunId;

pub(super) const PAUSE: &str = "pause";
pub(super) const HOST: &str = "host";
pub(super) const STORM: &str = "storm";
pub(super) const STREAK: &str = "streak";
pub(super) const RELEASED: &str = "released";

/// Reads what is paused, held and open.
pub(super) fn read_book(
    rows: &impl ReadableTable<(&'static str, &'static str), &'static [u8]>,
) -> Result<Book, StoreError> {
    let mut book = Book::default();
    for row in rows.iter()? {
        let (key, value) = row?;
        let (kind, name) = key.value();
        let (name, value) = (name.to_owned(), value.value());
        match kind {
            PAUSE => book.pause = Some(decode(value)?),
            HOST => drop(book.hosts.insert(name, decode(value)?)),
            STORM => drop(book.storms.insert(name, decode(value)?)),
            STREAK => drop(book.streaks.insert(name, decode(value)?)),
            RELEASED => drop(book.released.insert(name, decode(value)?)),
            other => {
                return Err(StoreError::Corrupt(format!(
                    "{other:?} is no kind of guard"
                )));
            }
        }
    }
    Ok(book)
}

/// Rebuilds the memory of the guards; but for what is queued, which is noted where the queue is read.
pub(super) fn load(tables: &Tables<'_>) -> Result<State, StoreError> {
    let starts = read_starts(&tables.touches)?;
    let mut state = State::new(read_book(&tables.guards)?, Vec::new());
    for of in &starts {
        for touch in &of.starts {
            note_recent(&mut state, (&of.binding, touch.run), &of.host, touch.at);
        }
    }
    state.touches = starts.into_iter().collect();
    Ok(state)
}

/// Notes that something is to be run on a host, unless that was before a release.
pub(super) fn note_recent(
    state: &mut State,
    (binding, run): (&str, RunId),
    host: &str,
    at: DateTime<Utc>,
) {
    for name in [binding, ALL] {
        let released = state.book.released.get(name);
        if released.is_none_or(|first| run >= *first) {
            state.recent.note(name, host, at);
        }
    }
}

/// Reads what was started where.
fn read_starts(
    rows: &impl ReadableTable<(&'static str, &'static str), &'static [u8]>,
) -> Result<Vec<Starts>, StoreError> {
    let mut all = Vec::new();
    for row in rows.iter()? {
        let (key, value) = row?;
        let (binding, host) = key.value();
        all.push(Starts {
            binding: binding.to_owned(),
            host: host.to_owned(),
            starts: decode(value.value())?,
        });
    }
    Ok(all)
}

/// What is paused, held and open in a file that has it.
pub(super) fn book_in(txn: &ReadTransaction) -> Result<Book, StoreError> {
    match open_for_reading(txn, GUARDS)? {
        Some(table) => read_book(&table),
        None => Ok(Book::default()),
    }
}

/// What was started where, in a file that has it; by binding and host.
pub(super) fn starts_in(txn: &ReadTransaction) -> Result<Vec<Starts>, StoreError> {
    match open_for_reading(txn, TOUCHES)? {
        Some(table) => read_starts(&table),
        None => Ok(Vec::new()),
    }
}
