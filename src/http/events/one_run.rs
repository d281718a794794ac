//! Follows one run: `run`, `task` and `output` events.
//!
//! Each followed run has one feed, which reads changes and shares them. A client that is behind, because it is new or slow,
//! reads the store by itself up to the position of the feed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, sleep, sleep_until};

use crate::http::api::runs::without_values;
use crate::http::events::FLUSH;
use crate::http::events::Gone;
use crate::http::events::HEARTBEAT;
use crate::http::events::PAUSE;
use crate::http::events::Watcher;
use crate::http::events::position::Position;
use crate::http::events::text;
use crate::model::run::{Run, RunId, State};
use crate::store::{RunOffset, Store, StoreError, TailChunk};
use crate::util::shutdown::Shutdown;
use crate::util::supervisor::catch_panic;

/// The number of parts that a feed keeps for clients that are slightly slower.
const KEPT: usize = 16;

/// The maximum number of attempts on a broken store before a stream ends.
const TRIES: u32 = 20;

#[derive(Clone)]
pub(super) struct Feeds {
    store: Store,
    shutdown: Shutdown,
    by_run: Arc<Mutex<HashMap<RunId, Feed>>>,
}

#[derive(Debug, Clone)]
struct Feed {
    goal: Arc<Mutex<Goal>>,
    parts: broadcast::Sender<Part>,
}

/// The position of a feed, and the run at that position as JSON.
#[derive(Debug, Clone)]
struct Goal {
    at: Position,
    run: Bytes,
}

/// The events from one position to the next.
#[derive(Debug, Clone)]
struct Part {
    from: Position,
    to: Goal,
    text: Bytes,
}

/// A client's subscription to a feed.
pub(super) struct Joined {
    id: RunId,
    store: Store,
    goal: Arc<Mutex<Goal>>,
    /// `None` if the run has ended.
    parts: Option<broadcast::Receiver<Part>>,
}

impl Feeds {
    pub(super) fn new(store: Store, shutdown: Shutdown) -> Self {
        Self {
            store,
            shutdown,
            by_run: Arc::default(),
        }
    }

    /// Joins the feed of a run, or starts one.
    pub(super) async fn join(&self, id: RunId) -> Result<Joined, StoreError> {
        let joined = |feed: &Feed| self.joined(id, feed, Some(feed.parts.subscribe()));
        if let Some(feed) = self.locked().get(&id) {
            return Ok(joined(feed));
        }
        // Subscribe first, so that later changes are noticed.
        let news = self.store.run_changed(id);
        let (run, told) = self.store.run_offset(id).await?;
        let at = Position {
            told: whole_characters(&self.store, &run, told).await?,
            state: Some(run.state),
        };
        let feed = Feed {
            goal: Arc::new(Mutex::new(Goal { at, run: json(run) })),
            parts: broadcast::channel(KEPT).0,
        };
        if at.has_ended() {
            return Ok(self.joined(id, &feed, None));
        }
        let mut feeds = self.locked();
        if let Some(feed) = feeds.get(&id) {
            return Ok(joined(feed));
        }
        let first = joined(&feed);
        feeds.insert(id, feed.clone());
        drop(feeds);
        let feeds = self.clone();
        tokio::spawn(async move {
            // Its clients reconnect, and start another.
            if let Err(why) = catch_panic(feeds.clone().feed(id, feed, at, news)).await {
                tracing::error!(
                    run = id.0,
                    error = why,
                    "the task that follows a run panicked"
                );
                feeds.locked().remove(&id);
            }
        });
        Ok(first)
    }

    fn joined(&self, id: RunId, feed: &Feed, parts: Option<broadcast::Receiver<Part>>) -> Joined {
        Joined {
            id,
            store: self.store.clone(),
            goal: Arc::clone(&feed.goal),
            parts,
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<RunId, Feed>> {
        self.by_run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn feed(
        self,
        id: RunId,
        feed: Feed,
        mut at: Position,
        mut news: tokio::sync::watch::Receiver<()>,
    ) {
        let mut shutdown = self.shutdown.clone();
        loop {
            let read_at = Instant::now();
            news.borrow_and_update();
            // The feed of a run that cannot be read ends. Its clients reconnect and get the error.
            if feed.read_on(&self.store, id, &mut at).await.is_err() || at.has_ended() {
                break;
            }
            tokio::select! {
                () = shutdown.requested() => break,
                _ = news.changed() => {}
                () = sleep(HEARTBEAT) => {}
            }
            if self.remove_unused(id, &feed) {
                return;
            }
            sleep_until(read_at + FLUSH).await;
        }
        self.locked().remove(&id);
    }

    /// Removes the feed if its last client has left, before another one joins. Returns whether it was removed.
    fn remove_unused(&self, id: RunId, feed: &Feed) -> bool {
        let mut feeds = self.locked();
        let is_unused = feed.parts.receiver_count() == 0;
        if is_unused {
            feeds.remove(&id);
        }
        is_unused
    }
}

/// Returns the offset of a run's output without an incomplete character at its end.
async fn whole_characters(
    store: &Store,
    run: &Run,
    told: RunOffset,
) -> Result<RunOffset, StoreError> {
    if run.state == State::Finished {
        return Ok(told);
    }
    let from = RunOffset {
        output_bytes: told.output_bytes.saturating_sub(3),
        ..told
    };
    let last = store.follow(run.id, from, Some(told)).await?;
    let missing = last
        .output
        .last()
        .map_or(0, |(_, bytes)| bytes.len() - text::whole(bytes));
    Ok(RunOffset {
        output_bytes: told.output_bytes - missing as u64,
        ..told
    })
}

impl Feed {
    /// Reads and shares all changes.
    async fn read_on(&self, store: &Store, id: RunId, at: &mut Position) -> Result<(), StoreError> {
        loop {
            let followed = follow(store, id, at.told, None).await?;
            let (more, from) = (followed.more, *at);
            let has_ended = followed.run.state == State::Finished;
            let state = (!has_ended || !more).then_some(followed.run.state);
            let written = write(at, &followed, state, has_ended && !more);
            if *at != from {
                let mut goal = self.goal.lock().unwrap_or_else(PoisonError::into_inner);
                goal.at = *at;
                if from.state != at.state {
                    goal.run = json(followed.run);
                }
                let part = Part {
                    from,
                    to: goal.clone(),
                    text: written.into(),
                };
                // The last client may just have left.
                let _ = self.parts.send(part);
            }
            if !more {
                return Ok(());
            }
        }
    }
}

#[derive(Serialize)]
struct Output<'a> {
    /// The offset in the whole output of the run. Output that was not kept is missing.
    offset: u64,
    text: &'a str,
}

/// Writes the events after a position, and advances it. A new state comes first, except for the last state. At the end of the
/// stream, an incomplete character is written as it is.
fn write(at: &mut Position, followed: &TailChunk, state: Option<State>, is_end: bool) -> Vec<u8> {
    let mut written = Vec::new();
    let write_state = |at: &mut Position, written: &mut Vec<u8>, is_last: bool| {
        if let Some(state) = state
            && (state == State::Finished) == is_last
            && at.state != Some(state)
        {
            at.state = Some(state);
            text::raw_event(written, "run", at, &json(followed.run.clone()));
        }
    };
    write_state(at, &mut written, false);
    for event in &followed.events {
        at.told.events += 1;
        text::event(&mut written, "task", at, event);
    }
    for (n, (offset, bytes)) in followed.output.iter().enumerate() {
        // A character before a gap will not be completed.
        let waits = n + 1 == followed.output.len()
            && !is_end
            && offset + bytes.len() as u64 == followed.to.output_bytes;
        let length = if waits {
            text::whole(bytes)
        } else {
            bytes.len()
        };
        at.told.output_bytes = offset + length as u64;
        if length > 0 {
            let output = Output {
                offset: *offset,
                text: &String::from_utf8_lossy(&bytes[..length]),
            };
            text::event(&mut written, "output", at, &output);
        }
        if waits {
            return written;
        }
    }
    at.told.output_bytes = at.told.output_bytes.max(followed.to.output_bytes);
    write_state(at, &mut written, true);
    written
}

fn json(run: Run) -> Bytes {
    let run = without_values(run);
    serde_json::to_vec(&run)
        .expect("our own types are JSON")
        .into()
}

/// Reads further, and waits for a store that is being reopened.
async fn follow(
    store: &Store,
    id: RunId,
    from: RunOffset,
    upto: Option<RunOffset>,
) -> Result<TailChunk, StoreError> {
    for _ in 0..TRIES {
        match store.follow(id, from, upto).await {
            Err(StoreError::Broken(_)) => sleep(PAUSE).await,
            done => return done,
        }
    }
    store.follow(id, from, upto).await
}

impl Joined {
    /// Sends a client everything from a position on.
    pub(super) async fn watch(mut self, from: Position, mut watcher: Watcher) {
        // The client has disconnected, or will reconnect.
        let _ = self.send_from(from, &mut watcher).await;
    }

    async fn send_from(&mut self, mut at: Position, watcher: &mut Watcher) -> Result<(), Gone> {
        let mut goal = self.goal();
        let (told, most) = (at.told, goal.at.told);
        if told.events > most.events || told.output_bytes > most.output_bytes {
            // The run never had so much: the position is forged, or the store is an older copy.
            at = Position::default();
        }
        loop {
            self.catch_up(&mut at, &goal, watcher).await?;
            let Some(parts) = self.parts.as_mut().filter(|_| !at.has_ended()) else {
                return Ok(());
            };
            goal = loop {
                match watcher.wait(parts.recv()).await? {
                    Ok(part) if part.from == at => {
                        at = part.to.at;
                        watcher.send(part.text).await?;
                        if at.has_ended() {
                            return Ok(());
                        }
                    }
                    Ok(part) if at.covers(&part.to.at) => {}
                    Ok(part) => break part.to,
                    Err(RecvError::Lagged(_)) => break self.goal(),
                    Err(RecvError::Closed) => return Ok(()),
                }
            };
        }
    }

    fn goal(&self) -> Goal {
        let goal = self.goal.lock().unwrap_or_else(PoisonError::into_inner);
        goal.clone()
    }

    /// Reads the store up to the position of the feed.
    async fn catch_up(
        &self,
        at: &mut Position,
        goal: &Goal,
        watcher: &mut Watcher,
    ) -> Result<(), Gone> {
        let goal_at = goal.at;
        while !at.covers(&goal_at) {
            let upto = Some(goal_at.told);
            let followed = follow(&self.store, self.id, at.told, upto).await;
            let followed = followed.map_err(|_| Gone)?;
            let mut written = Vec::new();
            // The store may be further by now, so send the state of the feed.
            if !goal_at.has_ended() && at.state != goal_at.state {
                at.state = goal_at.state;
                text::raw_event(&mut written, "run", at, &goal.run);
            }
            let more = followed.more;
            written.append(&mut write(at, &followed, None, !more));
            if !more {
                // The missing part is no longer kept.
                at.told.events = at.told.events.max(goal_at.told.events);
                at.told.output_bytes = at.told.output_bytes.max(goal_at.told.output_bytes);
                if at.state != goal_at.state {
                    at.state = goal_at.state;
                    text::raw_event(&mut written, "run", at, &goal.run);
                }
            }
            if !written.is_empty() {
                watcher.send(written.into()).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
