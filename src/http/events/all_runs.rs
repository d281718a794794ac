//! Every run that comes into another state: `run` events, and `reset` where some were missed.

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

/// How many events are kept for clients that come again.
const KEPT: usize = 1024;

/// How many parts wait for a client that is slow, before it is told from the events that are kept.
const PARTS: usize = 16;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Log {
    store: Store,
    shutdown: Shutdown,
    /// Tells the numbers of this process's events from another's.
    process: Arc<str>,
    kept: Arc<Mutex<RecentEvents>>,
    parts: broadcast::Sender<Part>,
}

#[derive(Debug, Default)]
struct RecentEvents {
    /// Whether the store is listened to. Nobody needs that before the first client has come.
    is_begun: bool,
    /// The number of the last event; 0 before the first.
    last: u64,
    /// The last events.
    events: VecDeque<Bytes>,
}

impl RecentEvents {
    /// The events after this one; `None` if some are not kept any more.
    fn after(&self, number: u64) -> Option<Vec<u8>> {
        let missed = usize::try_from(self.last.checked_sub(number)?).ok()?;
        let skipped = self.events.len().checked_sub(missed)?;
        let events = self.events.iter().skip(skipped);
        Some(events.flat_map(|event| event.iter().copied()).collect())
    }
}

/// The text of some events, one after the other.
#[derive(Debug, Clone)]
struct Part {
    first: u64,
    last: u64,
    text: Bytes,
}

/// A run, as far as a list shows it.
#[derive(Serialize)]
struct Small<'a> {
    id: RunId,
    state: State,
    outcome: Option<Outcome>,
    trigger: Trigger,
    binding: Option<&'a str>,
    schedule: Option<&'a str>,
    roles: &'a [String],
    /// How many.
    hosts: usize,
}

impl<'a> From<&'a Run> for Small<'a> {
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
        // Only to tell processes apart: it need not be hard to guess.
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

    /// Listens to the store from now on, if it did not yet.
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
                        "the task that follows all runs panicked, and is started again"
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
                () = shutdown.asked() => return,
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
            text::event(&mut event, "run", &self.id(kept.last), &Small::from(run));
            all.extend_from_slice(&event);
            kept.events.push_back(event.into());
        }
        let too_many = kept.events.len().saturating_sub(KEPT);
        kept.events.drain(..too_many);
        self.share(&kept, first, all);
    }

    /// Says that what a client shows may not be true any more.
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
            // Perhaps nobody watches.
            let _ = self.parts.send(Part {
                first,
                last: kept.last,
                text: text.into(),
            });
        }
    }

    /// Tells a client everything after an event, or from now on.
    pub(super) async fn watch(self, last: Option<String>, mut watcher: Watcher) {
        // The client has gone, or promansible ends.
        let _ = self.tell(last, &mut watcher).await;
    }

    async fn tell(&self, last: Option<String>, watcher: &mut Watcher) -> Result<(), Gone> {
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

    /// What came after this event, or that it is not known.
    fn missed(&self, kept: &RecentEvents, number: Option<u64>) -> Bytes {
        if let Some(events) = number.and_then(|number| kept.after(number)) {
            return events.into();
        }
        let mut event = Vec::new();
        text::event(&mut event, "reset", &self.id(kept.last), &());
        event.into()
    }
}

/// The store is gone.
struct Closed;

/// Which runs moved, each once, in the order of their numbers; `None` if that is not known, or they are too many.
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
