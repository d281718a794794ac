//! Live updates as server-sent events.
//!
//! `/api/v1/runs/ID/events` follows one run ([`one_run`]), `/api/v1/events` the states of all runs ([`all_runs`]). The worker
//! sends no events itself: after each commit the store reports the changed runs. Their changes are read from the store,
//! serialized once, and shared by all clients. Every event has an `id`; `Last-Event-ID`, as a header or as the query
//! parameter `last_event_id`, resumes after it.

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

/// The maximum number of clients, if `receiver.max_connections` leaves as many connections to others.
const WATCHERS: usize = 512;

/// The delay in which changes are collected, so that many are written at once.
const FLUSH: Duration = Duration::from_millis(300);

/// The longest silence of a stream. Proxies close streams that are silent for longer.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The pause before a broken store is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// The maximum number of parts that wait for a slow client. It reads the others from the store later.
const WAITING: usize = 2;

/// All event streams. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    runs: one_run::Feeds,
    all: all_runs::Log,
    places: Arc<Semaphore>,
}

impl Events {
    /// Creates the event streams of this store, which end at shutdown.
    pub fn new(store: &Store, shutdown: &Shutdown) -> Self {
        Self {
            runs: one_run::Feeds::new(store.clone(), shutdown.clone()),
            all: all_runs::Log::new(store.clone(), shutdown.clone()),
            places: Arc::new(Semaphore::new(WATCHERS)),
        }
    }

    /// Returns the `id` from which `/api/v1/events` continues with later events: for a page that shows the current state.
    pub fn now(&self) -> String {
        self.all.now()
    }

    fn place(&self, context: &Context) -> Result<OwnedSemaphorePermit, Refused> {
        let max = (context.config.borrow().receiver.max_connections / 2).clamp(1, WATCHERS);
        let taken = WATCHERS - self.places.available_permits();
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        place
            .filter(|_| taken < max)
            .ok_or(Refused::TooManyClients { max })
    }
}

/// Why a request gets no stream.
enum Refused {
    Method,
    /// An invalid request, and the reason.
    Query(String),
    TooManyClients {
        max: usize,
    },
    Store(StoreError),
}

impl Refused {
    fn reply(self) -> Reply {
        match self {
            Self::Method => reply::method_not_allowed("GET"),
            Self::Query(why) => reply::error(StatusCode::BAD_REQUEST, why),
            Self::TooManyClients { max } => reply::error(
                StatusCode::SERVICE_UNAVAILABLE,
                format_args!(
                    "{max} clients watch events already, which is the limit: {WATCHERS}, or half of receiver.max_connections"
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

/// `GET /api/v1/runs/ID/events`; `id` is the text in the path.
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

/// Returns the id of the last event that the client received: from the header, then from the query. A browser that
/// reconnects sends it in the header, with the same URL.
fn last_event_ids(request: &Request<Incoming>) -> Result<Vec<String>, Refused> {
    if request.method() != Method::GET {
        return Err(Refused::Method);
    }
    let fields = query::fields(request.uri().query().unwrap_or(""));
    let mut in_query = None;
    for (name, value) in fields.map_err(Refused::Query)? {
        if name != "last_event_id" {
            let why = format!("{name}: unknown; want last_event_id");
            return Err(Refused::Query(why));
        }
        in_query = Some(value.into_owned());
    }
    let header = request.headers().get("last-event-id");
    let header = header.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let ids = header.into_iter().chain(in_query);
    Ok(ids.filter(|id| !id.is_empty()).collect())
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

/// A client of a stream.
struct Watcher {
    out: mpsc::Sender<Bytes>,
    shutdown: Shutdown,
    _place: OwnedSemaphorePermit,
}

/// The client has disconnected, or promansible shuts down.
struct Gone;

impl Watcher {
    /// Sends a part as soon as the client takes it.
    async fn send(&mut self, part: Bytes) -> Result<(), Gone> {
        if part.is_empty() {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = self.shutdown.requested() => Err(Gone),
            sent = self.out.send(part) => sent.map_err(|_| Gone),
        }
    }

    /// Waits for a future, and keeps the connection alive meanwhile.
    async fn wait<T>(&mut self, next: impl Future<Output = T>) -> Result<T, Gone> {
        tokio::pin!(next);
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.requested() => return Err(Gone),
                () = self.out.closed() => return Err(Gone),
                found = &mut next => return Ok(found),
                () = tokio::time::sleep(HEARTBEAT) => {}
            }
            // A slow client still has parts to read, so it needs no heartbeat.
            let _ = self.out.try_send(text::HEARTBEAT);
        }
    }
}
