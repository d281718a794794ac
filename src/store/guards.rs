//! What is paused, held and open, and what ran where: kept in two tables, and in the writer's memory.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::live::Live;
use super::look_again::look_again;
use super::remembered::{HOST, PAUSE, RELEASED, STORM, STREAK, book_in, starts_in};
use super::rows;
use super::tables::{Tables, encode};
use super::{Store, StoreError};
use crate::config::FARTHEST;
use crate::guards::{Book, Hold, HostHold, Pause, Starts, Touch, after};
use crate::message::{Held, Matter, Message};
use crate::run::{RunId, Skip, Trigger};

type Rows<'t> = rows::Rows<'t, (&'static str, &'static str), &'static [u8]>;

/// Writes one row as it is in memory now.
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

/// Writes a role's failures as they are in memory now.
pub(super) fn keep_streak(
    tables: &mut Tables<'_>,
    live: &mut Live,
    role: &str,
) -> Result<(), StoreError> {
    live.guards_changed = true;
    let streak = live.guards.book.streaks.get(role);
    keep(&mut tables.guards, STREAK, role, streak)
}

/// Writes a storm's hold as it is in memory now.
pub(super) fn keep_storm(
    tables: &mut Tables<'_>,
    live: &mut Live,
    name: &str,
) -> Result<(), StoreError> {
    live.guards_changed = true;
    live.queue_changed = true;
    live.scan = None;
    let storm = live.guards.book.storms.get(name);
    keep(&mut tables.guards, STORM, name, storm)
}

/// Writes what ran on a host under a binding, as it is in memory now.
pub(super) fn keep_touches(
    tables: &mut Tables<'_>,
    live: &Live,
    binding: &str,
    host: &str,
) -> Result<(), StoreError> {
    let touches = live.guards.touches.on(binding, host);
    if touches.is_empty() {
        tables.touches.remove((binding, host))?;
    } else {
        let json = encode(&touches);
        tables.touches.insert((binding, host), json.as_slice())?;
    }
    Ok(())
}

/// Forgets what ran so long ago that no limit asks for it any more.
pub(super) fn forget_touches(
    tables: &mut Tables<'_>,
    live: &mut Live,
    now: DateTime<Utc>,
    most: usize,
) -> Result<(), StoreError> {
    let old = |touches: &[Touch]| touches.iter().all(|t| after(t.at, FARTHEST) < now);
    let gone: Vec<(String, String)> = live
        .guards
        .touches
        .iter()
        .filter(|(_, _, touches)| old(touches))
        .take(most)
        .map(|(binding, host, _)| (binding.to_owned(), host.to_owned()))
        .collect();
    for (binding, host) in gone {
        live.guards.touches.set(&binding, &host, Vec::new());
        keep_touches(tables, live, &binding, &host)?;
    }
    let hosts = live.guards.book.hosts.iter();
    let over = hosts.filter(|(_, hold)| hold.until.is_some_and(|until| until <= now));
    let over: Vec<String> = over.map(|(host, _)| host.clone()).collect();
    for host in over {
        live.guards.book.hosts.remove(&host);
        keep::<HostHold>(&mut tables.guards, HOST, &host, None)?;
        live.guards_changed = true;
    }
    Ok(())
}

/// What changed, so that waiting runs are looked at again.
pub(super) fn changed(live: &mut Live) {
    live.scan = None;
    live.queue_changed = true;
    live.guards_changed = true;
}

fn pause(tables: &mut Tables<'_>, live: &mut Live, pause: Option<Pause>) -> Result<(), StoreError> {
    let book = &mut live.guards.book;
    // The first who paused it is the one to ask.
    if book.pause.is_some() == pause.is_some() {
        return Ok(());
    }
    keep(&mut tables.guards, PAUSE, "", pause.as_ref())?;
    let news = pause.as_ref().map(|pause| Matter::Held {
        what: Held::All,
        reason: "paused".to_owned(),
        why: format!("{} paused it. {}", pause.by, pause.why)
            .trim()
            .to_owned(),
    });
    let since = pause.as_ref().map(|pause| pause.since);
    book.pause = pause;
    if let (Some(matter), Some(since)) = (news, since) {
        super::messages::put(tables, live, &Message::new(matter, since))?;
    }
    changed(live);
    Ok(())
}

fn hold_host(
    tables: &mut Tables<'_>,
    live: &mut Live,
    host: &str,
    hold: Option<HostHold>,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let book = &mut live.guards.book;
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
    changed(live);
    if released || was {
        look_again(tables, live, Skip::HostHeld, now)?;
    }
    Ok(was)
}

fn release(
    tables: &mut Tables<'_>,
    live: &mut Live,
    binding: Option<&str>,
) -> Result<Vec<String>, StoreError> {
    let storms = live.guards.book.storms.keys();
    let of = |name: &&String| binding.is_none_or(|binding| *name == binding);
    let names: Vec<String> = storms.filter(of).cloned().collect();
    for name in &names {
        live.guards.book.storms.remove(name);
        let first = RunId(live.next_run);
        live.guards.book.released.insert(name.clone(), first);
        live.guards.recent.forget(name);
        keep(&mut tables.guards, RELEASED, name, Some(&first))?;
        keep_storm(tables, live, name)?;
    }
    Ok(names)
}

fn close_circuit(
    tables: &mut Tables<'_>,
    live: &mut Live,
    role: &str,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let (known, open) = live.guards.book.succeeded(role);
    if !known {
        return Ok(false);
    }
    keep_streak(tables, live, role)?;
    if open {
        look_again(tables, live, Skip::CircuitOpen, now)?;
    }
    Ok(open)
}

/// Whether a person may start a run on these hosts.
pub(super) fn refuse_held(
    live: &Live,
    trigger: Trigger,
    hosts: &[String],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    if trigger != Trigger::Manual {
        return Ok(());
    }
    for host in hosts {
        if let Err(refused) = live.guards.book.host(host, now) {
            return Err(StoreError::HostHeld(refused.why));
        }
    }
    Ok(())
}

/// Tells that something is held.
pub(super) fn tell_held(
    tables: &mut Tables<'_>,
    live: &mut Live,
    what: Held,
    reason: &str,
    why: String,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let matter = Matter::Held {
        what,
        reason: reason.to_owned(),
        why,
    };
    super::messages::put(tables, live, &Message::new(matter, now))
}

/// How many queued runs wait for a person, by reason.
pub(super) fn held(live: &Live) -> BTreeMap<Hold, usize> {
    let book = &live.guards.book;
    let mut held = BTreeMap::new();
    if book.pause.is_none() && book.storms.is_empty() && live.approvals.is_empty() {
        return held;
    }
    for queued in live.queue.values() {
        if let Some(hold) = book.hold(&queued.run) {
            *held.entry(hold).or_default() += 1;
        }
    }
    held
}

impl Store {
    /// What is paused, held and open.
    pub async fn book(&self) -> Result<Book, StoreError> {
        self.read(book_in).await
    }

    /// What was started where, by binding and host: what cooldowns and attempts go by.
    pub async fn starts(&self) -> Result<Vec<Starts>, StoreError> {
        self.read(starts_in).await
    }

    /// Starts nothing more, until [`Store::resume`]. What is under way goes on. Paused twice, the first stays.
    ///
    /// *Durability*: `Ok` is on disk, and a restart changes nothing of it.
    pub async fn pause(&self, wanted: Pause) -> Result<(), StoreError> {
        self.ask(move |tables, live| pause(tables, live, Some(wanted.clone())))
            .await
    }

    /// Starts runs again.
    pub async fn resume(&self) -> Result<(), StoreError> {
        self.ask(move |tables, live| pause(tables, live, None))
            .await
    }

    /// Leaves a host alone, or changes for how long. Yields whether it was held before.
    pub async fn hold_host(&self, host: String, hold: HostHold) -> Result<bool, StoreError> {
        let now = hold.since;
        self.ask(move |tables, live| hold_host(tables, live, &host, Some(hold.clone()), now))
            .await
    }

    /// Ends a host's hold, and decides again what it held up. Yields whether there was one.
    pub async fn release_host(&self, host: String, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.ask(move |tables, live| hold_host(tables, live, &host, None, now))
            .await
    }

    /// Releases what a storm holds: of one binding ([`ALL`]: what all bindings together hold), or everything. Yields the
    /// names.
    pub async fn release(&self, binding: Option<String>) -> Result<Vec<String>, StoreError> {
        self.ask(move |tables, live| release(tables, live, binding.as_deref()))
            .await
    }

    /// Forgets a role's failures, so that it runs again. Yields whether it was open.
    pub async fn close_circuit(
        &self,
        role: String,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        self.ask(move |tables, live| close_circuit(tables, live, &role, now))
            .await
    }
}
