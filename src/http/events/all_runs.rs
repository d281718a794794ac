//! The state changes of all runs: `run` events, and `reset` if some were missed.

use std::collections::{BTreeSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::sleep;

use crate::http::events::FLUSH;
use crate::http::events::Gone;
use crate::http::events::PAUSE;
use crate::http::events::Watcher;
use crate::http::events::text;
use crate::model::run::{Outcome, Run, RunId, State, Trigger};
use crate::store::{Change, Store};
use crate::util::shutdown::Shutdown;
use crate::util::supervisor::catch_panic;

/// The number of events to keep for clients that reconnect.
const KEPT: usize = 1024;

/// The maximum number of parts that wait for a slow client. After that, it gets the kept events.
const PARTS: usize = 16;

/// The recent state changes of all runs. Cheap to clone.
#[derive(Clone)]
pub(super) struct Log {
    store: Store,
    shutdown: Shutdown,
    /// Distinguishes the event numbers of this process from those of others.
    process: Arc<str>,
    kept: Arc<Mutex<RecentEvents>>,
    parts: broadcast::Sender<Part>,
}

#[derive(Debug, Default)]
struct RecentEvents {
    /// Whether the task that follows the store was started. It is not needed before the first client.
    is_begun: bool,
    /// The number of the last event; 0 before the first.
    last: u64,
    events: VecDeque<Bytes>,
}

impl RecentEvents {
    /// Returns the events after this one; `None` if some are no longer kept.
    fn after(&self, number: u64) -> Option<Vec<u8>> {
        let missed = usize::try_from(self.last.checked_sub(number)?).ok()?;
        let skipped = self.events.len().checked_sub(missed)?;
        let events = self.events.iter().skip(skipped);
        Some(events.flat_map(|event| event.iter().copied()).collect())
    }
}

/// The text of consecutive events.
#[derive(Debug, Clone)]
struct Part {
    first: u64,
    last: u64,
    text: Bytes,
}

/// The summary of a run, as in a list.
#[derive(Serialize)]
struct RunSummary<'a> {
    id: RunId,
    state: State,
    outcome: Option<Outcome>,
    trigger: Trigger,
    binding: Option<&'a str>,
    schedule: Option<&'a str>,
    roles: &'a [String],
    /// The number of hosts.
    hosts: usize,
}

impl<'a> From<&'a Run> for RunSummary<'a> {
    fn from(run: &'a Run) -> Self {
        Self {
            id: run.id,
            state: run.state,
            outcome: run.outcome,
            trigger: run.trigger,
            binding: run.binding.as_deref(),
            schedule: run.schedule.as_deref(),
            roles: &run.work.roles,
            hosts: run.hosts.len(),
        }
    }
}

impl Log {
    pub(super) fn new(store: Store, shutdown: Shutdown) -> Self {
        // Only distinguishes processes: it need not be hard to guess.
        let process = std::hash::RandomState::new().hash_one("process");
        Self {
            store,
            shutdown,
            process: format!("{process:016x}").into(),
            kept: Arc::default(),
            parts: broadcast::channel(PARTS).0,
        }
    }

    pub(super) fn now(&self) -> String {
        let last = self.begun().last;
        self.id(last)
    }

    fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.process)
    }

    fn number(&self, id: &str) -> Option<u64> {
        let (process, number) = id.split_once('-')?;
        (process == &*self.process).then(|| number.parse().ok())?
    }

    fn kept(&self) -> MutexGuard<'_, RecentEvents> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the task that follows the store, unless it is running.
    fn begun(&self) -> MutexGuard<'_, RecentEvents> {
        let mut kept = self.kept();
        if !std::mem::replace(&mut kept.is_begun, true) {
            let (log, changes) = (self.clone(), self.store.run_changes());
            tokio::spawn(async move {
                let mut changes = Some(changes);
                loop {
                    let changes = changes.take().unwrap_or_else(|| log.store.run_changes());
                    let Err(why) = catch_panic(log.clone().listen(changes)).await else {
                        return;
                    };
                    tracing::error!(
                        error = why,
                        "the task that follows all runs panicked and is restarted"
                    );
                    log.reset();
                    sleep(PAUSE).await;
                }
            });
        }
        kept
    }

    async fn listen(self, mut changes: broadcast::Receiver<Change>) {
        let mut shutdown = self.shutdown.clone();
        loop {
            let first = tokio::select! {
                () = shutdown.requested() => return,
                first = changes.recv() => first,
            };
            sleep(FLUSH).await;
            let Ok(moved) = drain(first, &mut changes) else {
                return;
            };
            let runs = match moved {
                Some(moved) => self.store.runs_numbered(moved).await.ok(),
                None => None,
            };
            match runs {
                Some(runs) => self.keep(&runs),
                None => self.reset(),
            }
        }
    }

    fn keep(&self, runs: &[Run]) {
        let mut kept = self.kept();
        let first = kept.last + 1;
        let mut all = Vec::new();
        for run in runs {
            kept.last += 1;
            let mut event = Vec::new();
            text::event(
                &mut event,
                "run",
                &self.id(kept.last),
                &RunSummary::from(run),
            );
            all.extend_from_slice(&event);
            kept.events.push_back(event.into());
        }
        let too_many = kept.events.len().saturating_sub(KEPT);
        kept.events.drain(..too_many);
        self.share(&kept, first, all);
    }

    /// Tells the clients that their state may be outdated.
    fn reset(&self) {
        let mut kept = self.kept();
        kept.last += 1;
        let mut event = Vec::new();
        text::event(&mut event, "reset", &self.id(kept.last), &());
        kept.events.clear();
        kept.events.push_back(event.clone().into());
        self.share(&kept, kept.last, event);
    }

    fn share(&self, kept: &RecentEvents, first: u64, text: Vec<u8>) {
        if !text.is_empty() {
            // There may be no clients.
            let _ = self.parts.send(Part {
                first,
                last: kept.last,
                text: text.into(),
            });
        }
    }

    /// Sends a client all changes after an event, or from now on.
    pub(super) async fn watch(self, last: Option<String>, mut watcher: Watcher) {
        // The client has disconnected, or promansible shuts down.
        let _ = self.send_changes(last, &mut watcher).await;
    }

    async fn send_changes(&self, last: Option<String>, watcher: &mut Watcher) -> Result<(), Gone> {
        let (mut parts, mut at, hello) = {
            let kept = self.begun();
            let parts = self.parts.subscribe();
            let hello = match &last {
                None => text::id_alone(&self.id(kept.last)),
                Some(id) => self.missed(&kept, self.number(id)),
            };
            (parts, kept.last, hello)
        };
        watcher.send(hello).await?;
        loop {
            let text = match watcher.wait(parts.recv()).await? {
                Ok(part) if part.last <= at => continue,
                Ok(part) if part.first == at + 1 => {
                    at = part.last;
                    part.text
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {
                    let kept = self.kept();
                    let missed = self.missed(&kept, Some(at));
                    at = kept.last;
                    missed
                }
                Err(RecvError::Closed) => return Ok(()),
            };
            watcher.send(text).await?;
        }
    }

    /// Returns the events after this one, or a `reset` if they are not known.
    fn missed(&self, kept: &RecentEvents, number: Option<u64>) -> Bytes {
        if let Some(events) = number.and_then(|number| kept.after(number)) {
            return events.into();
        }
        let mut event = Vec::new();
        text::event(&mut event, "reset", &self.id(kept.last), &());
        event.into()
    }
}

/// The store was closed.
struct Closed;

/// Returns the changed runs, each once, in the order of their numbers; `None` if they are unknown or too many.
fn drain(
    first: Result<Change, RecvError>,
    changes: &mut broadcast::Receiver<Change>,
) -> Result<Option<Vec<RunId>>, Closed> {
    use broadcast::error::TryRecvError;
    let mut moved = BTreeSet::new();
    let mut is_known = true;
    let mut note = |change| match change {
        Ok(Change::Run(id)) => {
            moved.insert(id);
            true
        }
        Ok(Change::Any) | Err(RecvError::Lagged(_)) => {
            is_known = false;
            true
        }
        Err(RecvError::Closed) => false,
    };
    if !note(first) {
        return Err(Closed);
    }
    loop {
        let more = match changes.try_recv() {
            Ok(change) => note(Ok(change)),
            Err(TryRecvError::Lagged(n)) => note(Err(RecvError::Lagged(n))),
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        };
        if !more {
            break;
        }
    }
    let is_known = is_known && moved.len() <= KEPT;
    Ok(is_known.then(|| moved.into_iter().collect()))
}
