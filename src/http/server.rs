//! Accepts connections within their limits, and shuts down gracefully.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::Error as TlsError;

use crate::auth::{HTTP2, Peer};
use crate::http::Context;
use crate::http::core::delivery::{Debts, Deliveries, Stream};
use crate::http::core::handshakes::Handshakes;
use crate::http::core::slots::{Slot, Slots};
use crate::http::core::write_timeout::WriteTimeoutStream;
use crate::http::requests::Requests;
use crate::model::certificate;
use crate::util::throttled_log::ThrottledLog;
use crate::util::{clock, sanitize};

/// How long requests in progress may take at shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// The number of connections that the kernel queues until they are accepted, if it allows as many (`net.core.somaxconn`).
/// Beyond it, clients retry a second later: with the usual 128, few bursts of notifications would fit.
const BACKLOG: u32 = 4096;

/// Binds a listener to an address. *Errors*: those of the system; `AddrInUse` if another process uses the address.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `context.shutdown`, then lets the requests in progress finish.
///
/// Each listener has its own `receiver.max_connections`. Beyond it, a new connection replaces one that waits for its client
/// (see [`Slots`]), so that many slow clients cannot keep others out; if all are busy, it waits in the kernel's backlog.
/// The current limit applies: lowering it closes no connection, but no new one is accepted until enough have ended.
/// A client that sends its headers too slowly is disconnected after `receiver.header_timeout`; this also closes idle
/// connections. A client that reads nothing of a response is disconnected after `receiver.body_timeout`, with HTTP/2 even if
/// it reads other responses.
pub async fn serve(listener: TcpListener, context: Context) {
    let mut config = context.config.clone();
    let mut shutdown = context.shutdown.clone();
    let mut connections = JoinSet::new();
    let places = Slots::default();
    let handshakes = Handshakes::default();
    let mut limit = Limit::default();
    loop {
        while connections.try_join_next().is_some() {}
        let max = config.borrow_and_update().receiver.max_connections;
        let is_full = connections.len() == max;
        let may_accept = connections.len() < max || (is_full && places.can_evict());
        match limit.meets(connections.len(), max) {
            Met::Not => {}
            Met::Again => context.metrics.connections_limited(),
            Met::Newly => {
                context.metrics.connections_limited();
                tracing::warn!(
                    max_connections = max,
                    "receiver.max_connections are open: new connections replace those that are waiting for their clients"
                );
            }
        }
        // Every branch but the first leads to a new check of the limit. Nothing is accepted before that.
        tokio::select! {
            biased;
            () = shutdown.requested() => break,
            Ok(()) = config.changed() => {}
            Some(_) = connections.join_next() => {}
            () = places.evictable(), if is_full && !may_accept => {}
            accepted = accept(&listener), if may_accept => {
                if let Some((stream, address)) = accepted {
                    if is_full && places.evict_first() {
                        context.metrics.connections_limited();
                    }
                    let place = places.take(address.ip());
                    let turns = handshakes.clone();
                    let served = connection((stream, address), turns, place.clone(), context.clone());
                    connections.spawn(async move {
                        tokio::select! {
                            () = served => {}
                            () = place.lost() => {}
                        }
                    });
                }
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("closing connections that did not end in time");
    }
}

/// Detects that the limit is reached.
#[derive(Debug, Default)]
struct Limit {
    is_met: bool,
    is_logged: bool,
}

/// Whether the limit has just been reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Met {
    /// No, or it was reached before.
    Not,
    /// Yes, but it was left only a moment ago: if clients queue up, each that leaves makes room for the next.
    Again,
    /// Yes, for the first time since half of the slots were free.
    Newly,
}

impl Limit {
    fn meets(&mut self, open: usize, max: usize) -> Met {
        self.is_logged &= open > max / 2;
        let is_met = open >= max;
        let was_met = std::mem::replace(&mut self.is_met, is_met);
        let begins = is_met && !was_met;
        match (begins, self.is_logged) {
            (false, _) => Met::Not,
            (true, true) => Met::Again,
            (true, false) => {
                self.is_logged = true;
                Met::Newly
            }
        }
    }
}

/// Accepts a connection. *Cancel safety*: may be dropped at any time.
async fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match listener.accept().await {
        Ok(accepted) => Some(accepted),
        Err(e) => {
            // Most likely out of file descriptors: it passes, and retrying without a pause would make it worse.
            tracing::warn!(error = %e, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

/// Does the TLS handshake, if TLS is on, and then serves HTTP.
async fn connection(
    (stream, address): (TcpStream, SocketAddr),
    handshakes: Handshakes,
    place: Slot,
    context: Context,
) {
    let _ = stream.set_nodelay(true);
    let (header_timeout, write_timeout) = {
        let receiver = &context.config.borrow().receiver;
        (receiver.header_timeout, receiver.body_timeout)
    };
    let auth_config = context.auth.current(&context.config.borrow().web);
    let stream = WriteTimeoutStream::new(stream, write_timeout);
    let Some(tls) = auth_config.tls() else {
        let peer = auth_config.peer(address, None);
        return serve_http1(stream, peer, header_timeout, place, context).await;
    };
    // The client's timeout begins with its turn. Until then it may lose its slot.
    let turn = handshakes.turn(address.ip()).await;
    let handshake = TlsAcceptor::from(tls).accept(stream);
    let mut shutdown = context.shutdown.clone();
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(header_timeout, handshake) => accepted,
        () = shutdown.requested() => return,
    };
    drop(turn);
    match accepted {
        Ok(Ok(stream)) => {
            let session = stream.get_ref().1;
            let peer = auth_config.peer(address, session.peer_certificates());
            let rejected = certificate_rejected(peer.clone(), context.clone());
            let is_http2 = session.alpn_protocol() == Some(HTTP2);
            let served = async {
                if is_http2 {
                    serve_http2(stream, peer, write_timeout, place, context).await;
                } else {
                    serve_http1(stream, peer, header_timeout, place, context).await;
                }
            };
            tokio::select! {
                () = served => {}
                () = rejected => {}
            }
        }
        Ok(Err(e)) => log_handshake_error(address, &e),
        Err(_) => tracing::debug!(%address, "TLS handshake timed out"),
    }
}

/// The largest request head, and the response buffer, with HTTP/1.1. *Units*: bytes.
const BUFFER: usize = 32 << 10;

/// The interval at which the certificate of a connection is checked again. Each request checks it too; this ends connections
/// without new requests, such as a stream of events.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(5);

/// Returns when the client's certificate is no longer accepted; never without a certificate.
async fn certificate_rejected(peer: Peer, context: Context) {
    if peer.chain.is_empty() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(CERTIFICATE_CHECK).await;
        let auth_config = context.auth.current(&context.config.borrow().web);
        if let Err(why) = auth_config.check_peer(&peer, clock::now()) {
            let address = peer.address;
            tracing::info!(%address, why, "closing a connection: its client certificate is no longer accepted");
            return;
        }
    }
}

/// Logs a failed TLS handshake: as a throttled warning if the client certificate is the reason, else at debug level.
fn log_handshake_error(address: SocketAddr, error: &std::io::Error) {
    static REFUSED: ThrottledLog = ThrottledLog::new(Duration::from_secs(10));
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<TlsError>());
    let is_certificate = matches!(
        inner,
        Some(TlsError::InvalidCertificate(_) | TlsError::NoCertificatesPresented)
    );
    let error = sanitize::beginning(&certificate::handshake_refusal(error), 300);
    match is_certificate.then(|| REFUSED.take(Instant::now())) {
        Some(None) => {}
        Some(Some(unlogged)) => {
            tracing::warn!(%address, error, unlogged, "client certificate rejected");
        }
        None => tracing::debug!(%address, error, "TLS handshake failed"),
    }
}

async fn serve_http1(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: Peer,
    header_timeout: Duration,
    place: Slot,
    context: Context,
) {
    let requests = Requests::new(peer, place, context);
    let mut shutdown = requests.context.shutdown.clone();
    let service = service_fn(move |request| {
        let requests = requests.clone();
        async move { Box::pin(requests.answer(request, Debts::default())).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_headers(100)
        .max_buf_size(BUFFER)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.requested() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        tracing::debug!(error = %e, "connection ended with an error");
    }
}

/// The largest request head with HTTP/2. It is held in memory before authentication. *Units*: bytes.
const HEAD: u32 = 16 << 10;

/// The maximum number of concurrent requests on an HTTP/2 connection.
const STREAMS: u32 = 64;

/// The receive window of an HTTP/2 connection: the bodies held before anything reads them. Only a wait for a password check
/// delays the reading. *Units*: bytes.
const WINDOW: u32 = 256 << 10;

/// The send buffer of a response with HTTP/2. *Units*: bytes.
const UNSENT: usize = 64 << 10;

/// How long an HTTP/2 connection may be silent before it is pinged, and then until it is closed.
const SILENCE: Duration = Duration::from_secs(30);

async fn serve_http2(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: Peer,
    write_timeout: Duration,
    place: Slot,
    context: Context,
) {
    let deliveries = Deliveries::default();
    let requests = Requests {
        deliveries: Some(deliveries.clone()),
        ..Requests::new(peer, place, context)
    };
    let mut shutdown = requests.context.shutdown.clone();
    let streams = Arc::new(());
    let service = service_fn(move |request| {
        let (stream, open) = Stream::new(&streams);
        requests.clone().answer_stream(request, stream, open)
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(UNSENT)
        .keep_alive_interval(SILENCE)
        .keep_alive_timeout(SILENCE)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = deliveries.stalled(write_timeout) => {
            return tracing::debug!("closing an HTTP/2 connection: its client does not read a response");
        }
        () = shutdown.requested() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        tracing::debug!(error = %e, "connection ended with an error");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_reached_again_and_again_is_logged_once() {
        let mut limit = Limit::default();
        let met: Vec<Met> = [3, 4, 4, 3, 4, 2, 4, 0]
            .map(|open| limit.meets(open, 4))
            .into();
        let (not, again, newly) = (Met::Not, Met::Again, Met::Newly);
        assert_eq!(met, [not, newly, not, not, again, not, newly, not]);
        // Lowered below the number of open connections, then raised.
        assert_eq!(limit.meets(5, 2), newly);
        assert_eq!(limit.meets(5, 8), not);
        assert_eq!(limit.meets(8, 8), again);
    }
}
