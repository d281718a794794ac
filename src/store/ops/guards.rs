//! The pause, holds, circuits and starts, stored in two tables and in the writer's memory.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::config::MAX_PERIOD;
use crate::model::guards::{Hold, Holds, HostHold, Pause, StartHistory, StartRecord, after};
use crate::model::message::{HoldTarget, Message, MessageEvent};
use crate::model::run::{RunId, Skip, Trigger};
use crate::store::disk::rows;
use crate::store::disk::tables::{Tables, encode};
use crate::store::ops::guard_rows::{HOST, PAUSE, RELEASED, STORM, STREAK, book_in, starts_in};
use crate::store::ops::mark_due::schedule_scan;
use crate::store::ops::state::WriterState;
use crate::store::{Store, StoreError};

type Rows<'t> = rows::Rows<'t, (&'static str, &'static str), &'static [u8]>;

/// Writes one row from memory.
fn keep<T: Serialize>(
    rows: &mut Rows<'_>,
    kind: &str,
    name: &str,
    value: Option<&T>,
) -> Result<(), StoreError> {
    match value {
        Some(value) => rows.insert((kind, name), encode(value).as_slice())?,
        None => rows.remove((kind, name))?,
    };
    Ok(())
}

/// Writes a role's failures from memory.
pub(crate) fn keep_streak(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    role: &str,
) -> Result<(), StoreError> {
    state.guards_changed = true;
    let streak = state.guards.book.streaks.get(role);
    keep(&mut tables.guards, STREAK, role, streak)
}

/// Writes a storm hold from memory.
pub(crate) fn keep_storm(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    name: &str,
) -> Result<(), StoreError> {
    state.guards_changed = true;
    state.queue_changed = true;
    state.scan = None;
    let storm = state.guards.book.storms.get(name);
    keep(&mut tables.guards, STORM, name, storm)
}

/// Writes the starts on a host under a binding from memory.
pub(crate) fn keep_touches(
    tables: &mut Tables<'_>,
    state: &WriterState,
    binding: &str,
    host: &str,
) -> Result<(), StoreError> {
    let touches = state.guards.touches.on(binding, host);
    if touches.is_empty() {
        tables.touches.remove((binding, host))?;
    } else {
        let json = encode(&touches);
        tables.touches.insert((binding, host), json.as_slice())?;
    }
    Ok(())
}

/// Deletes starts that are too old for any limit, and expired host holds.
pub(crate) fn forget_touches(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    now: DateTime<Utc>,
    most: usize,
) -> Result<(), StoreError> {
    let old = |touches: &[StartRecord]| touches.iter().all(|t| after(t.at, MAX_PERIOD) < now);
    let old_starts: Vec<(String, String)> = state
        .guards
        .touches
        .iter()
        .filter(|(_, _, touches)| old(touches))
        .take(most)
        .map(|(binding, host, _)| (binding.to_owned(), host.to_owned()))
        .collect();
    for (binding, host) in old_starts {
        state.guards.touches.set(&binding, &host, Vec::new());
        keep_touches(tables, state, &binding, &host)?;
    }
    let hosts = state.guards.book.hosts.iter();
    let expired = hosts.filter(|(_, hold)| hold.until.is_some_and(|until| until <= now));
    let expired: Vec<String> = expired.map(|(host, _)| host.clone()).collect();
    for host in expired {
        state.guards.book.hosts.remove(&host);
        keep::<HostHold>(&mut tables.guards, HOST, &host, None)?;
        state.guards_changed = true;
    }
    Ok(())
}

/// Marks the guards as changed, so that waiting runs are checked again.
pub(crate) fn changed(state: &mut WriterState) {
    state.scan = None;
    state.queue_changed = true;
    state.guards_changed = true;
}

fn pause(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    pause: Option<Pause>,
) -> Result<(), StoreError> {
    let book = &mut state.guards.book;
    // The first pause is kept: it names the person to ask.
    if book.pause.is_some() == pause.is_some() {
        return Ok(());
    }
    keep(&mut tables.guards, PAUSE, "", pause.as_ref())?;
    let changes = pause.as_ref().map(|pause| MessageEvent::Held {
        what: HoldTarget::All,
        reason: "paused".to_owned(),
        why: format!("paused by {}. {}", pause.by, pause.why)
            .trim()
            .to_owned(),
    });
    let since = pause.as_ref().map(|pause| pause.since);
    book.pause = pause;
    if let (Some(matter), Some(since)) = (changes, since) {
        crate::store::ops::messages::put(tables, state, &Message::new(matter, since))?;
    }
    changed(state);
    Ok(())
}

fn hold_host(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    host: &str,
    hold: Option<HostHold>,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let book = &mut state.guards.book;
    let was = book.hosts.contains_key(host);
    if hold.is_none() && !was {
        return Ok(false);
    }
    keep(&mut tables.guards, HOST, host, hold.as_ref())?;
    let released = hold.is_none();
    match hold {
        Some(hold) => drop(book.hosts.insert(host.to_owned(), hold)),
        None => drop(book.hosts.remove(host)),
    }
    changed(state);
    if released || was {
        schedule_scan(tables, state, Skip::HostHeld, now)?;
    }
    Ok(was)
}

fn release(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    binding: Option<&str>,
) -> Result<Vec<String>, StoreError> {
    let storms = state.guards.book.storms.keys();
    let of = |name: &&String| binding.is_none_or(|binding| *name == binding);
    let names: Vec<String> = storms.filter(of).cloned().collect();
    for name in &names {
        state.guards.book.storms.remove(name);
        let first = RunId(state.next_run);
        state.guards.book.released.insert(name.clone(), first);
        state.guards.recent.forget(name);
        keep(&mut tables.guards, RELEASED, name, Some(&first))?;
        keep_storm(tables, state, name)?;
    }
    Ok(names)
}

fn close_circuit(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    role: &str,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let (known, open) = state.guards.book.succeeded(role);
    if !known {
        return Ok(false);
    }
    keep_streak(tables, state, role)?;
    if open {
        schedule_scan(tables, state, Skip::CircuitOpen, now)?;
    }
    Ok(open)
}

/// Checks that a person may start a run on these hosts.
pub(crate) fn refuse_held(
    state: &WriterState,
    trigger: Trigger,
    hosts: &[String],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    if trigger != Trigger::Manual {
        return Ok(());
    }
    for host in hosts {
        if let Err(refused) = state.guards.book.host(host, now) {
            return Err(StoreError::HostHeld(refused.why));
        }
    }
    Ok(())
}

/// Sends a message that something is held.
pub(crate) fn notify_held(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    what: HoldTarget,
    reason: &str,
    why: String,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let matter = MessageEvent::Held {
        what,
        reason: reason.to_owned(),
        why,
    };
    crate::store::ops::messages::put(tables, state, &Message::new(matter, now))
}

/// Counts the queued runs that wait for a person, by reason.
pub(crate) fn held(state: &WriterState) -> BTreeMap<Hold, usize> {
    let book = &state.guards.book;
    let mut held = BTreeMap::new();
    if book.pause.is_none() && book.storms.is_empty() && state.approvals.is_empty() {
        return held;
    }
    for queued in state.queue.values() {
        if let Some(hold) = book.hold(&queued.run) {
            *held.entry(hold).or_default() += 1;
        }
    }
    held
}

impl Store {
    /// Returns the pause, holds and circuits.
    pub async fn book(&self) -> Result<Holds, StoreError> {
        self.read(book_in).await
    }

    /// Returns the starts by binding and host, on which cooldowns and attempts are based.
    pub async fn starts(&self) -> Result<Vec<StartHistory>, StoreError> {
        self.read(starts_in).await
    }

    /// Stops starting runs until [`Store::resume`]. Running runs continue. A second pause does not replace the first.
    ///
    /// *Durability*: `Ok` is on disk, and persists across restarts.
    pub async fn pause(&self, wanted: Pause) -> Result<(), StoreError> {
        self.write(move |tables, state| pause(tables, state, Some(wanted.clone())))
            .await
    }

    /// Starts runs again.
    pub async fn resume(&self) -> Result<(), StoreError> {
        self.write(move |tables, state| pause(tables, state, None))
            .await
    }

    /// Puts a host on hold, or changes its hold. Returns whether it was on hold before.
    pub async fn hold_host(&self, host: String, hold: HostHold) -> Result<bool, StoreError> {
        let now = hold.since;
        self.write(move |tables, state| hold_host(tables, state, &host, Some(hold.clone()), now))
            .await
    }

    /// Releases a host, and decides the alerts again that the hold refused. Returns whether there was a hold.
    pub async fn release_host(&self, host: String, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.write(move |tables, state| hold_host(tables, state, &host, None, now))
            .await
    }

    /// Releases the storm hold of one binding ([`ALL`]: the one of all bindings together), or all storm holds. Returns
    /// the names.
    pub async fn release(&self, binding: Option<String>) -> Result<Vec<String>, StoreError> {
        self.write(move |tables, state| release(tables, state, binding.as_deref()))
            .await
    }

    /// Deletes a role's failures, so that it runs again. Returns whether its circuit was open.
    pub async fn close_circuit(
        &self,
        role: String,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        self.write(move |tables, state| close_circuit(tables, state, &role, now))
            .await
    }
}
