//! Sends response bodies: in pieces, only while the caller keeps its permission, and with a timeout.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

use crate::auth::Permission;
use crate::http::core::memory_budget::Share;
use crate::http::core::reply::Content;
use crate::http::core::slots::Work;

/// The piece size with HTTP/2, which buffers the part that does not fit the client's window. *Units*: bytes.
const PIECE: usize = 16 << 10;

/// The piece size with HTTP/1.1. *Units*: bytes.
const LARGE_PIECE: usize = 64 << 10;

/// The interval at which the caller's permission is checked again. After a sign-out, or a change of the token or password,
/// the caller gets nothing more.
const RECHECK: Duration = Duration::from_secs(2);

/// The responses of an HTTP/2 connection that wait for the client. Cheap to clone.
///
/// With HTTP/1.1, the connection itself shows that a response is not read. With HTTP/2, a client can read everything else
/// and let one response wait forever.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deliveries(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    since: BTreeMap<u64, Instant>,
}

impl Deliveries {
    /// Waits until a response has waited for this long. *Cancel safety*: may be dropped at any time.
    pub(crate) async fn stalled(&self, timeout: Duration) {
        loop {
            let now = Instant::now();
            let oldest = self.lock().since.values().min().copied();
            match oldest {
                Some(since) if now.duration_since(since) >= timeout => return,
                Some(since) => sleep_until(since + timeout).await,
                None => sleep_until(now + timeout).await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One response of [`Deliveries`].
#[derive(Debug)]
struct Turn {
    deliveries: Deliveries,
    number: u64,
}

impl Turn {
    fn new(deliveries: &Deliveries) -> Self {
        let mut waiting = deliveries.lock();
        let number = waiting.next;
        waiting.next += 1;
        drop(waiting);
        Self {
            deliveries: deliveries.clone(),
            number,
        }
    }

    /// Records that a piece waits for the client.
    fn waits(&self) {
        let mut waiting = self.deliveries.lock();
        waiting.since.insert(self.number, Instant::now());
    }

    /// Records that the client took the piece.
    fn goes_on(&self) {
        self.deliveries.lock().since.remove(&self.number);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.goes_on();
    }
}

/// The resources that are released with a response.
#[derive(Debug, Default)]
#[allow(dead_code)] // only their Drop matters
pub(crate) struct Debts {
    /// Keeps the connection of an event stream busy, so that it is not evicted for another one.
    pub(crate) work: Option<Work>,
    /// The share of the memory budget.
    pub(crate) share: Option<Share>,
    /// One of the connection's concurrent requests.
    pub(crate) stream: Option<Stream>,
}

/// One of the concurrent requests of an HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct Stream(Arc<()>);

impl Stream {
    /// Adds a request, and returns it with the number of the others.
    pub(crate) fn new(all: &Arc<()>) -> (Self, usize) {
        let one = Self(Arc::clone(all));
        let count = Arc::strong_count(&one.0);
        // The connection itself has a reference, and so has this request.
        (one, count.saturating_sub(2))
    }
}

/// A response body.
#[derive(Debug)]
pub(crate) struct Delivery {
    content: Content,
    rest: Bytes,
    turn: Option<Turn>,
    right: Option<(Permission, Interval)>,
    #[allow(dead_code)] // only its Drop matters
    debts: Debts,
}

impl Delivery {
    /// Creates a body. With HTTP/2, `deliveries` are those of its connection. `right` is the caller's permission.
    pub(crate) fn new(
        content: Content,
        deliveries: Option<&Deliveries>,
        right: Option<Permission>,
        debts: Debts,
    ) -> Self {
        // A short response is sent before anything can change.
        let is_long = content
            .length()
            .is_none_or(|length| length > LARGE_PIECE as u64);
        let right = right.filter(|_| is_long).map(|right| {
            let mut again = interval_at(Instant::now() + RECHECK, RECHECK);
            again.set_missed_tick_behavior(MissedTickBehavior::Delay);
            (right, again)
        });
        Self {
            content,
            rest: Bytes::new(),
            turn: deliveries.map(Turn::new),
            right,
            debts,
        }
    }

    /// Whether the caller still has the permission. Checks it at most every [`RECHECK`].
    fn is_allowed(&mut self, cx: &mut Context<'_>) -> bool {
        let Some((right, again)) = &mut self.right else {
            return true;
        };
        while again.poll_tick(cx).is_ready() {
            if !right.holds() {
                return false;
            }
        }
        true
    }

    /// Takes the next piece. With HTTP/2, the last byte is a piece of its own: hyper drops a body with its last piece, even if
    /// the client's window has room only for its first byte, and then nothing would see that the rest waits.
    fn piece(&mut self) -> Bytes {
        let whole = self.rest.len();
        let is_last = whole <= PIECE && self.content.is_end_stream();
        let length = match self.turn {
            Some(_) if is_last && whole > 1 => whole - 1,
            Some(_) => whole.min(PIECE),
            None => whole.min(LARGE_PIECE),
        };
        self.rest.split_to(length)
    }
}

impl Body for Delivery {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        if let Some(turn) = &this.turn {
            turn.goes_on();
        }
        if !this.is_allowed(cx) {
            let is_whole = matches!(this.content, Content::Stream(_)) && this.rest.is_empty();
            let why = "the caller is no longer allowed to read this response";
            return Poll::Ready((!is_whole).then(|| Err(io::Error::other(why))));
        }
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.content).poll_next(cx)) {
                Some(part) => this.rest = part,
                None => return Poll::Ready(None),
            }
        }
        if let Some(turn) = &this.turn {
            turn.waits();
        }
        Poll::Ready(Some(Ok(Frame::data(this.piece()))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.content.length() {
            Some(length) => SizeHint::with_exact(length + self.rest.len() as u64),
            None => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn pieces(deliveries: Option<&Deliveries>, parts: &[usize]) -> Vec<usize> {
        let parts = parts.iter().map(|length| Bytes::from(vec![b'x'; *length]));
        let content = Content::new(parts);
        let mut body = Delivery::new(content, deliveries, None, Debts::default());
        let length = body.size_hint().exact().unwrap();
        let mut pieces = Vec::new();
        while let Some(frame) = body.frame().await {
            pieces.push(frame.unwrap().into_data().unwrap().len());
        }
        assert!(body.is_end_stream());
        assert_eq!(length, pieces.iter().sum::<usize>() as u64);
        pieces
    }

    #[tokio::test]
    async fn a_body_is_sent_in_pieces_and_with_http2_its_last_byte_alone() {
        let deliveries = Deliveries::default();
        for (parts, old, new) in [
            (&[][..], vec![], vec![]),
            (&[1], vec![1], vec![1]),
            (&[2, 3], vec![2, 3], vec![2, 2, 1]),
            (&[40_000], vec![40_000], vec![PIECE, PIECE, 7231, 1]),
            (
                &[70_000],
                vec![LARGE_PIECE, 4464],
                vec![PIECE, PIECE, PIECE, PIECE, 4463, 1],
            ),
            (&[PIECE], vec![PIECE], vec![PIECE - 1, 1]),
        ] {
            assert_eq!(pieces(None, parts).await, old);
            assert_eq!(pieces(Some(&deliveries), parts).await, new);
        }
    }

    #[tokio::test]
    async fn an_unread_piece_stalls_and_an_idle_stream_does_not() {
        let deliveries = Deliveries::default();
        let timeout = Duration::from_millis(20);
        let is_stalled = async |patience| {
            let stalled = deliveries.stalled(timeout);
            tokio::time::timeout(patience, stalled).await.is_ok()
        };
        let (short, long) = (Duration::from_millis(100), Duration::from_mins(1));
        let (out, parts) = tokio::sync::mpsc::channel(1);
        let content = Content::Stream(parts);
        let mut events = Delivery::new(content, Some(&deliveries), None, Debts::default());
        assert!(!is_stalled(short).await);
        out.send(Bytes::from("x")).await.unwrap();
        events.frame().await.unwrap().unwrap();
        assert!(is_stalled(long).await);
        // The piece was taken, and there is nothing more yet.
        let next = tokio::time::timeout(Duration::ZERO, events.frame()).await;
        assert!(next.is_err() && !is_stalled(short).await);
        out.send(Bytes::from("x")).await.unwrap();
        events.frame().await.unwrap().unwrap();
        drop(events);
        assert!(!is_stalled(short).await);
    }
}
