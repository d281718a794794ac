//! Live events, as server-sent events.
//!
//! `/api/v1/runs/ID/events` follows one run ([`of_run`]), `/api/v1/events` the states of all ([`of_all`]). Nothing comes from
//! the worker: the store says after each commit which runs got something new, and that is read from it, written as text
//! once, and shared by all who watch. Every event has an `id`; `Last-Event-ID`, as a header or as the query's
//! `last_event_id`, goes on after it.

mod all_runs;
mod one_run;
mod position;
mod text;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::Context;
use super::core::query;
use super::core::reply::{self, Reply};
use crate::model::run::RunId;
use crate::store::{Store, StoreError};
use crate::util::shutdown::Shutdown;
use position::Position;

/// How many clients may watch at once, if `receiver.max_connections` leaves as many places to others.
const WATCHERS: usize = 512;

/// How long what is new may wait, so that much of it is written at once.
const FLUSH: Duration = Duration::from_millis(300);

/// How long a stream is silent at most. Proxies cut off what is silent for longer.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long to leave a broken store alone.
const PAUSE: Duration = Duration::from_millis(500);

/// How many parts wait for a client that is slow. What does not is read from the store once more.
const WAITING: usize = 2;

/// Everything that is being watched. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    runs: one_run::Feeds,
    all: all_runs::Log,
    places: Arc<Semaphore>,
}

impl Events {
    /// Reads from this store, until shutdown.
    pub fn new(store: &Store, shutdown: &Shutdown) -> Self {
        Self {
            runs: one_run::Feeds::new(store.clone(), shutdown.clone()),
            all: all_runs::Log::new(store.clone(), shutdown.clone()),
            places: Arc::new(Semaphore::new(WATCHERS)),
        }
    }

    /// The `id` from which `/api/v1/events` goes on with what happens after this: for a page that shows what is now.
    pub fn now(&self) -> String {
        self.all.now()
    }

    fn place(&self, context: &Context) -> Result<OwnedSemaphorePermit, Refused> {
        let max = (context.config.borrow().receiver.max_connections / 2).clamp(1, WATCHERS);
        let taken = WATCHERS - self.places.available_permits();
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        place
            .filter(|_| taken < max)
            .ok_or(Refused::TooManyAttempts { max })
    }
}

/// Why nothing is told.
enum Refused {
    Method,
    /// What is asked for is wrong, and why.
    Query(String),
    TooManyAttempts {
        max: usize,
    },
    Store(StoreError),
}

impl Refused {
    fn reply(self) -> Reply {
        match self {
            Self::Method => reply::method_not_allowed("GET"),
            Self::Query(why) => reply::error(StatusCode::BAD_REQUEST, why),
            Self::TooManyAttempts { max } => reply::error(
                StatusCode::SERVICE_UNAVAILABLE,
                format_args!(
                    "{max} clients watch events already, which is the most: {WATCHERS}, or half of receiver.max_connections"
                ),
            ),
            Self::Store(e) => reply::failed(&e),
        }
    }
}

/// `GET /api/v1/events`.
pub(super) fn all(context: &Context, request: &Request<Incoming>) -> Reply {
    let begin = || {
        let last = last_event_ids(request)?.into_iter().next();
        let place = context.events.place(context)?;
        let (watcher, body) = watcher(context, place);
        tokio::spawn(context.events.all.clone().watch(last, watcher));
        Ok(body)
    };
    begin().unwrap_or_else(Refused::reply)
}

/// `GET /api/v1/runs/ID/events`; `id` is as it stands in the path.
pub(super) async fn run(context: &Context, id: &str, request: &Request<Incoming>) -> Reply {
    let begin = async {
        let number = id.parse().map(RunId);
        let id = number.map_err(|_| Refused::Query(format!("{id:?} is not a run's number")))?;
        let mut positions = Vec::new();
        for last in last_event_ids(request)? {
            positions.push(Position::parse(&last).ok_or_else(|| {
                Refused::Query(format!("last_event_id: no event has the id {last:?}"))
            })?);
        }
        let from = positions.first().copied().unwrap_or_default();
        let place = context.events.place(context)?;
        let joined = context.events.runs.join(id).await;
        let joined = joined.map_err(Refused::Store)?;
        let (watcher, body) = watcher(context, place);
        tokio::spawn(joined.watch(from, watcher));
        Ok(body)
    };
    begin.await.unwrap_or_else(Refused::reply)
}

/// The id of the last event that the client got, as the header tells it, then as the query does: a browser that connects
/// again tells it in the header, and asks for the same address.
fn last_event_ids(request: &Request<Incoming>) -> Result<Vec<String>, Refused> {
    if request.method() != Method::GET {
        return Err(Refused::Method);
    }
    let fields = query::fields(request.uri().query().unwrap_or(""));
    let mut asked = None;
    for (name, value) in fields.map_err(Refused::Query)? {
        if name != "last_event_id" {
            let why = format!("{name}: unknown; want last_event_id");
            return Err(Refused::Query(why));
        }
        asked = Some(value.into_owned());
    }
    let header = request.headers().get("last-event-id");
    let header = header.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let told = header.into_iter().chain(asked);
    Ok(told.filter(|id| !id.is_empty()).collect())
}

fn watcher(context: &Context, place: OwnedSemaphorePermit) -> (Watcher, Reply) {
    let (out, parts) = mpsc::channel(WAITING);
    let watcher = Watcher {
        out,
        shutdown: context.shutdown.clone(),
        _place: place,
    };
    (watcher, reply::events(parts))
}

/// A client that watches.
struct Watcher {
    out: mpsc::Sender<Bytes>,
    shutdown: Shutdown,
    _place: OwnedSemaphorePermit,
}

/// The client has gone, or promansible ends.
struct Gone;

impl Watcher {
    /// Sends a part as soon as the client takes it.
    async fn send(&mut self, part: Bytes) -> Result<(), Gone> {
        if part.is_empty() {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = self.shutdown.asked() => Err(Gone),
            sent = self.out.send(part) => sent.map_err(|_| Gone),
        }
    }

    /// Waits for what comes, and keeps the connection alive meanwhile.
    async fn wait<T>(&mut self, next: impl Future<Output = T>) -> Result<T, Gone> {
        tokio::pin!(next);
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.asked() => return Err(Gone),
                () = self.out.closed() => return Err(Gone),
                found = &mut next => return Ok(found),
                () = tokio::time::sleep(HEARTBEAT) => {}
            }
            // Who is slow needs no heartbeat.
            let _ = self.out.try_send(text::HEARTBEAT);
        }
    }
}
