//! Reads the state of the guards when the file is opened.

use chrono::{DateTime, Utc};
use redb::ReadableTable;

use crate::model::guards::{
    ALL, Holds, HostHold, Open, Pause, StartHistory, State, StormHold, Streak,
};
use crate::model::run::RunId;
use crate::store::StoreError;
use crate::store::disk::snapshot::Snapshot;
use crate::store::disk::tables::{GUARDS, TOUCHES, Tables, open_for_reading};
use crate::store::disk::unreadable::Unreadable;

pub(crate) const PAUSE: &str = "pause";
pub(crate) const HOST: &str = "host";
pub(crate) const STORM: &str = "storm";
pub(crate) const STREAK: &str = "streak";
pub(crate) const RELEASED: &str = "released";

/// The user shown for a hold whose row cannot be decoded.
const OURSELVES: &str = "promansible";

/// The reason shown for such a hold.
const UNREADABLE: &str =
    "its row in the store cannot be read, so it stays held until a person releases it";

/// Reads the pause, holds and circuits. A hold that cannot be decoded stays in force: damage must not start anything.
pub(crate) fn read_book(
    rows: &impl ReadableTable<(&'static str, &'static str), &'static [u8]>,
    unreadable: &Unreadable,
) -> Result<Holds, StoreError> {
    let mut book = Holds::default();
    for row in rows.iter()? {
        let (key, value) = row?;
        let ((kind, name), value) = (key.value(), value.value());
        let (key, name) = ((kind, name), name.to_owned());
        match kind {
            PAUSE => book.pause = Some(unreadable.decode_or(GUARDS, &key, value, unknown_pause)),
            HOST => {
                let hold = unreadable.decode_or(GUARDS, &key, value, unknown_hold);
                book.hosts.insert(name, hold);
            }
            STORM => {
                let storm = unreadable.decode_or(GUARDS, &key, value, unknown_storm);
                book.storms.insert(name, storm);
            }
            STREAK => {
                let streak = unreadable.decode_or(GUARDS, &key, value, unknown_streak);
                book.streaks.insert(name, streak);
            }
            RELEASED => {
                let first = unreadable.decode(GUARDS, &key, value);
                book.released.extend(first.map(|first| (name, first)));
            }
            other => {
                let why = format!("{other:?} is not a kind of guard");
                unreadable.note(GUARDS, &key, value, &why);
            }
        }
    }
    Ok(book)
}

fn unknown_pause() -> Pause {
    Pause {
        since: DateTime::UNIX_EPOCH,
        by: OURSELVES.to_owned(),
        why: UNREADABLE.to_owned(),
    }
}

fn unknown_hold() -> HostHold {
    HostHold {
        since: DateTime::UNIX_EPOCH,
        until: None,
        by: OURSELVES.to_owned(),
        why: UNREADABLE.to_owned(),
    }
}

fn unknown_storm() -> StormHold {
    StormHold {
        since: DateTime::UNIX_EPOCH,
        hosts: 0,
        limit: 0,
    }
}

/// An open circuit whose role may be tested on one host immediately.
fn unknown_streak() -> Streak {
    Streak {
        open: Some(Open {
            since: DateTime::UNIX_EPOCH,
            probe_at: DateTime::UNIX_EPOCH,
            probe: None,
        }),
        ..Streak::default()
    }
}

/// Rebuilds the state of the guards, except for queued runs, which are added when the queue is read.
pub(crate) fn load(tables: &Tables<'_>) -> Result<State, StoreError> {
    let starts = read_starts(&*tables.touches, &tables.unreadable)?;
    let mut state = State::new(read_book(&*tables.guards, &tables.unreadable)?, Vec::new());
    for history in &starts {
        for touch in &history.starts {
            note_recent(
                &mut state,
                (&history.binding, touch.run),
                &history.host,
                touch.at,
            );
        }
    }
    state.touches = starts.into_iter().collect();
    Ok(state)
}

/// Records a decision to run on a host, unless it was before a release.
pub(crate) fn note_recent(
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

/// Reads the starts by binding and host.
fn read_starts(
    rows: &impl ReadableTable<(&'static str, &'static str), &'static [u8]>,
    unreadable: &Unreadable,
) -> Result<Vec<StartHistory>, StoreError> {
    let mut all = Vec::new();
    for row in rows.iter()? {
        let (key, value) = row?;
        let (binding, host) = key.value();
        let starts = unreadable.decode(TOUCHES, &key.value(), value.value());
        all.extend(starts.map(|starts| StartHistory {
            binding: binding.to_owned(),
            host: host.to_owned(),
            starts,
        }));
    }
    Ok(all)
}

/// Reads the pause, holds and circuits from a snapshot.
pub(crate) fn book_in(txn: &Snapshot) -> Result<Holds, StoreError> {
    match open_for_reading(txn, GUARDS)? {
        Some(table) => read_book(&table, &txn.unreadable),
        None => Ok(Holds::default()),
    }
}

/// Reads the starts from a snapshot, by binding and host.
pub(crate) fn starts_in(txn: &Snapshot) -> Result<Vec<StartHistory>, StoreError> {
    match open_for_reading(txn, TOUCHES)? {
        Some(table) => read_starts(&table, &txn.unreadable),
        None => Ok(Vec::new()),
    }
}
