//! What the guards remember, as it is read when the file is opened.

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

/// Who holds what stood in a row that cannot be decoded.
const OURSELVES: &str = "promansible";

/// Why it does.
const UNREADABLE: &str =
    "its row in the store cannot be read, so it stays held until a person releases it";

/// Reads what is paused, held and open. What cannot be decoded stays held: nothing may start by that.
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
                let why = format!("{other:?} is no kind of guard");
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

/// One that is open, and may be tried on one host at once.
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

/// Rebuilds the memory of the guards; but for what is queued, which is noted where the queue is read.
pub(crate) fn load(tables: &Tables<'_>) -> Result<State, StoreError> {
    let starts = read_starts(&*tables.touches, &tables.unreadable)?;
    let mut state = State::new(read_book(&*tables.guards, &tables.unreadable)?, Vec::new());
    for of in &starts {
        for touch in &of.starts {
            note_recent(&mut state, (&of.binding, touch.run), &of.host, touch.at);
        }
    }
    state.touches = starts.into_iter().collect();
    Ok(state)
}

/// Notes that something is to be run on a host, unless that was before a release.
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

/// Reads what was started where.
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

/// What is paused, held and open in a file that has it.
pub(crate) fn book_in(txn: &Snapshot) -> Result<Holds, StoreError> {
    match open_for_reading(txn, GUARDS)? {
        Some(table) => read_book(&table, &txn.unreadable),
        None => Ok(Holds::default()),
    }
}

/// What was started where, in a file that has it; by binding and host.
pub(crate) fn starts_in(txn: &Snapshot) -> Result<Vec<StartHistory>, StoreError> {
    match open_for_reading(txn, TOUCHES)? {
        Some(table) => read_starts(&table, &txn.unreadable),
        None => Ok(Vec::new()),
    }
}
