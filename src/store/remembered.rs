//! What the guards remember, as it is read when the file is opened.

use chrono::{DateTime, Utc};
use redb::ReadableTable;

use super::StoreError;
use super::tables::{Tables, decode};
use crate::guards::{ALL, Book, State, Touch};

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
    let mut state = State::new(read_book(&tables.guards)?);
    for row in tables.touches.iter()? {
        let (key, value) = row?;
        let (binding, host) = key.value();
        let touches: Vec<Touch> = decode(value.value())?;
        if let Some(last) = touches.iter().map(|touch| touch.at).max() {
            note_recent(&mut state, binding, host, last);
        }
        state.touches.set(binding, host, touches);
    }
    Ok(state)
}

/// Notes that something is to be run on a host, unless that was before a release.
pub(super) fn note_recent(state: &mut State, binding: &str, host: &str, at: DateTime<Utc>) {
    for name in [binding, ALL] {
        let released = state.book.released.get(name);
        if released.is_none_or(|released| at > *released) {
            state.recent.note(name, host, at);
        }
    }
}
