//! Answers the requests of a connection, within the memory limits of all requests together.

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

/// The maximum number of concurrent requests on an HTTP/2 connection before authentication: enough for the sign-in page
/// and its assets.
const UNAUTHENTICATED_STREAMS: usize = 8;

const TOO_MANY_STREAMS: &str =
    "too many concurrent requests on this connection before authentication";

/// The limit for all responses that wait for their clients, on authenticated connections. *Units*: bytes.
const RESPONSES: u64 = 128 << 20;

/// The same for all other connections.
const UNAUTHENTICATED_RESPONSES: u64 = 16 << 20;

/// Smaller responses are not counted, so that notifications are always answered. *Units*: bytes.
const SMALL: u64 = 2 << 10;

static AUTHENTICATED: Budget = Budget::new();

static UNAUTHENTICATED: Budget = Budget::new();

/// The requests of a connection.
#[derive(Clone)]
pub(crate) struct Requests {
    pub(crate) peer: Arc<Peer>,
    pub(crate) place: Slot,
    pub(crate) context: Context,
    /// With HTTP/2, the responses that wait for the client.
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

    /// Answers an HTTP/2 request, while `open` other requests of its connection are open.
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
        if open >= UNAUTHENTICATED_STREAMS && !self.place.is_authenticated() {
            // A client without credentials is disconnected: answering all its requests costs more than sending them.
            // Alertmanager may send many notifications at once on a new connection, and retries these.
            let is_anonymous = !request.headers().contains_key(AUTHORIZATION);
            if !is_anonymous || self.place.give_up() {
                let (context, peer) = (&self.context, &self.peer);
                reject_log::refused(context, &request, peer, Rejected::Streams);
            }
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return Ok(self.deliver(reply::soon(status, TOO_MANY_STREAMS), debts));
        }
        // HTTP/2 has the host in the URI.
        if !request.headers().contains_key(HOST)
            && let Some(host) = request.uri().authority()
            && let Ok(host) = HeaderValue::from_str(host.as_str())
        {
            request.headers_mut().insert(HOST, host);
        }
        Box::pin(self.answer(request, debts)).await
    }

    /// Answers a request. Its extensions tell the body reader its connection slot and the limit for all bodies.
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
        // A stream of events has no length, and keeps the connection busy. Any other response only waits for its client.
        if reply.body().length().is_none() {
            debts.work = Some(work);
        }
        // hyper omits the body of a response to HEAD with HTTP/1.1 only.
        let reply = if is_head && self.deliveries.is_some() {
            reply::without_body(reply)
        } else {
            reply
        };
        Ok(self.deliver(reply, debts))
    }

    fn deliver(&self, reply: Reply, mut debts: Debts) -> Response<Delivery> {
        let (mut reply, is_known) = (reply, self.place.is_authenticated());
        let length = reply.body().length().unwrap_or_default();
        if length > SMALL {
            let (budget, limit) = if is_known {
                (&AUTHENTICATED, RESPONSES)
            } else {
                (&UNAUTHENTICATED, UNAUTHENTICATED_RESPONSES)
            };
            debts.share = budget.share_of(length, limit);
            if debts.share.is_none() {
                self.context.metrics.rejected(Rejected::Memory);
                let why = format!(
                    "{} MiB of responses are waiting for slow clients, which is the limit: try again in a moment",
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
