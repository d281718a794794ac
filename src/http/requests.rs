//! The requests of a connection: each is answered within what all of them together may hold.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use crate::auth::{Peer, Permission};
use crate::http::core::body::Bodies;
use crate::http::core::delivery::{Debts, Deliveries, Delivery, Stream};
use crate::http::core::memory_budget::Budget;
use crate::http::core::reject_log;
use crate::http::core::reply::{self, Reply};
use crate::http::core::slots::Slot;
use crate::http::{Context, router};
use crate::metrics::Rejected;

/// How many requests an HTTP/2 connection has at once before any caller of it is known: a sign-in page and all that belongs
/// to it.
const STREAMS_OF_STRANGERS: usize = 8;

const TOO_MANY_STREAMS: &str =
    "too many requests of this connection at once, before it is known who asks";

/// How many bytes of answers wait for clients at most, of which the callers are known.
const ANSWERS: u64 = 128 << 20;

/// The same of callers that are not.
const ANSWERS_TO_STRANGERS: u64 = 16 << 20;

/// An answer that is smaller is not counted, so that notifications are always answered.
const SMALL: u64 = 2 << 10;

static KNOWN: Budget = Budget::new();

static STRANGERS: Budget = Budget::new();

/// The requests of a connection.
#[derive(Clone)]
pub(crate) struct Requests {
    pub(crate) peer: Arc<Peer>,
    pub(crate) place: Slot,
    pub(crate) context: Context,
    /// By HTTP/2, its answers that wait.
    pub(crate) deliveries: Option<Deliveries>,
}

impl Requests {
    pub(crate) fn new(peer: Peer, place: Slot, context: Context) -> Self {
        Self {
            peer: Arc::new(peer),
            place,
            context,
            deliveries: None,
        }
    }

    /// Answers a request by HTTP/2, beside which so many of its connection are open.
    pub(crate) async fn answer_stream(
        self,
        mut request: Request<Incoming>,
        stream: Stream,
        open: usize,
    ) -> Result<Response<Delivery>, Infallible> {
        let debts = Debts {
            stream: Some(stream),
            ..Debts::default()
        };
        if open >= STREAMS_OF_STRANGERS && !self.place.is_known() {
            // Who says nothing of itself is cut off: to answer all that a stranger sends at once costs more than to send it.
            // Alertmanager may send many notifications at once on a new connection, and comes again with those.
            let is_stranger = !request.headers().contains_key(AUTHORIZATION);
            if !is_stranger || self.place.give_up() {
                let (context, peer) = (&self.context, &self.peer);
                reject_log::refused(context, &request, peer, Rejected::Streams);
            }
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return Ok(self.deliver(reply::soon(status, TOO_MANY_STREAMS), debts));
        }
        // HTTP/2 has the host in the address.
        if !request.headers().contains_key(HOST)
            && let Some(host) = request.uri().authority()
            && let Ok(host) = HeaderValue::from_str(host.as_str())
        {
            request.headers_mut().insert(HOST, host);
        }
        Box::pin(self.answer(request, debts)).await
    }

    /// Answers a request. Reading a body knows from its extensions whose turn it is, and how much all bodies may have.
    pub(crate) async fn answer(
        self,
        mut request: Request<Incoming>,
        mut debts: Debts,
    ) -> Result<Response<Delivery>, Infallible> {
        let work = self.place.work();
        let is_head = request.method() == Method::HEAD;
        let largest = self.context.config.borrow().receiver.max_body_bytes;
        let bodies = Bodies::new(largest, &self.context.metrics);
        request.extensions_mut().insert(bodies);
        request.extensions_mut().insert(self.place.clone());
        let (context, peer) = (self.context.clone(), Arc::clone(&self.peer));
        let reply = router::route(context, request, peer).await?;
        // A stream of events has no length, and goes on. What has one is the client's to take.
        if reply.body().length().is_none() {
            debts.work = Some(work);
        }
        // hyper leaves the body out of an answer to HEAD by HTTP/1.1 alone.
        let reply = if is_head && self.deliveries.is_some() {
            reply::without_body(reply)
        } else {
            reply
        };
        Ok(self.deliver(reply, debts))
    }

    fn deliver(&self, reply: Reply, mut debts: Debts) -> Response<Delivery> {
        let (mut reply, is_known) = (reply, self.place.is_known());
        let length = reply.body().length().unwrap_or_default();
        if length > SMALL {
            let (budget, limit) = if is_known {
                (&KNOWN, ANSWERS)
            } else {
                (&STRANGERS, ANSWERS_TO_STRANGERS)
            };
            debts.share = budget.share_of(length, limit);
            if debts.share.is_none() {
                self.context.metrics.rejected(Rejected::Memory);
                let why = format!(
                    "{} MiB of answers wait for clients that do not take them, which is the limit: try again in a moment",
                    limit >> 20
                );
                reply = reply::soon(StatusCode::SERVICE_UNAVAILABLE, why);
            }
        }
        let right = reply.extensions_mut().remove::<Permission>();
        let deliveries = self.deliveries.as_ref();
        reply.map(|content| Delivery::new(content, deliveries, right, debts))
    }
}
