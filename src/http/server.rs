//! Listening: connections, their limits, and an end that lets requests under way finish.

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

/// How long requests under way may take once promansible is to end.
const DRAIN: Duration = Duration::from_secs(5);

/// How many connections the kernel keeps for us until they are taken, if it allows as many (`net.core.somaxconn`). Of those
/// beyond it each tries again a second later: with the usual 128, few bursts of notifications would fit.
const BACKLOG: u32 = 4096;

/// Takes an address. *Errors*: the system's; `AddrInUse` where another process has it.
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

/// Serves until `context.shutdown` says so, then lets the requests under way finish.
///
/// Each address has `receiver.max_connections` of its own. A further one takes the place of a connection that waits for its
/// client (see [`Slots`]), so that a crowd of slow ones keeps nobody out; where all are worked on it waits in the kernel's
/// backlog. The limit is the one in force: one that was lowered ends no connection, and lets none in until enough have ended.
/// A client that is slow with its head is cut off after `receiver.header_timeout`; that also ends idle connections. One that
/// takes nothing of an answer is cut off after `receiver.body_timeout`, by HTTP/2 too, whatever else it does.
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
        let may_come = connections.len() < max || (is_full && places.any_may_go());
        match limit.meets(connections.len(), max) {
            Met::Not => {}
            Met::RerunRequest => context.metrics.connections_limited(),
            Met::Newly => {
                context.metrics.connections_limited();
                tracing::warn!(
                    max_connections = max,
                    "receiver.max_connections are open: further ones take the place of those that wait for their clients"
                );
            }
        }
        // Each end of this wait but the first leads to another look at how many may come in. Nobody comes in before that.
        tokio::select! {
            biased;
            () = shutdown.asked() => break,
            Ok(()) = config.changed() => {}
            Some(_) = connections.join_next() => {}
            () = places.one_may_go(), if is_full && !may_come => {}
            accepted = accept(&listener), if may_come => {
                if let Some((stream, address)) = accepted {
                    if is_full && places.end_first() {
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
        tracing::warn!("some connections did not end in time and are cut off");
    }
}

/// Notices when the limit is reached.
#[derive(Debug, Default)]
struct Limit {
    is_met: bool,
    is_told: bool,
}

/// Whether the limit is reached at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Met {
    /// It is not, or it was before.
    Not,
    /// It is, but it was only just left: where clients queue up, each that goes makes room for the next.
    RerunRequest,
    /// It is, for the first time since half of the places were free.
    Newly,
}

impl Limit {
    fn meets(&mut self, open: usize, max: usize) -> Met {
        self.is_told &= open > max / 2;
        let is_met = open >= max;
        let was_met = std::mem::replace(&mut self.is_met, is_met);
        let begins = is_met && !was_met;
        match (begins, self.is_told) {
            (false, _) => Met::Not,
            (true, true) => Met::RerunRequest,
            (true, false) => {
                self.is_told = true;
                Met::Newly
            }
        }
    }
}

/// Takes a connection. *Cancel safety*: may be dropped at any time.
async fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match listener.accept().await {
        Ok(accepted) => Some(accepted),
        Err(e) => {
            // Out of file descriptors, most likely: it passes, and spinning would make it worse.
            tracing::warn!(error = %e, "a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

/// Speaks TLS, where the door wants that, and then HTTP.
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
    let auth_config = context.door.current(&context.config.borrow().web);
    let stream = WriteTimeoutStream::new(stream, write_timeout);
    let Some(tls) = auth_config.tls() else {
        let peer = auth_config.peer(address, None);
        return speak(stream, peer, header_timeout, place, context).await;
    };
    // The client's time begins with its turn. Until then its place may be taken away.
    let turn = handshakes.turn(address.ip()).await;
    let handshake = TlsAcceptor::from(tls).accept(stream);
    let mut shutdown = context.shutdown.clone();
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(header_timeout, handshake) => accepted,
        () = shutdown.asked() => return,
    };
    drop(turn);
    match accepted {
        Ok(Ok(stream)) => {
            let session = stream.get_ref().1;
            let peer = auth_config.peer(address, session.peer_certificates());
            let over = certificate_ends(peer.clone(), context.clone());
            let is_http2 = session.alpn_protocol() == Some(HTTP2);
            let spoken = async {
                if is_http2 {
                    speak_http2(stream, peer, write_timeout, place, context).await;
                } else {
                    speak(stream, peer, header_timeout, place, context).await;
                }
            };
            tokio::select! {
                () = spoken => {}
                () = over => {}
            }
        }
        Ok(Err(e)) => no_tls(address, &e),
        Err(_) => tracing::debug!(%address, "no TLS with a client: it took too long"),
    }
}

/// How large the head of a request may be by HTTP/1.1, and how much of an answer is held.
const BUFFER: usize = 32 << 10;
/// How often it is looked whether a connection's certificate still counts. Each request looks too; this ends what goes on
/// without one, such as a stream of events.
const LOOK: Duration = Duration::from_secs(5);

/// Ends when the client's certificate would not be taken any more; never where there is none.
async fn certificate_ends(peer: Peer, context: Context) {
    if peer.chain.is_empty() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(LOOK).await;
        let auth_config = context.door.current(&context.config.borrow().web);
        if let Err(why) = auth_config.still_takes(&peer, clock::now()) {
            let address = peer.address;
            tracing::info!(%address, why, "a connection ends: its client certificate does not count any more");
            return;
        }
    }
}

/// Logs why there is no TLS with a client: aloud, now and then, where its certificate is the reason.
fn no_tls(address: SocketAddr, error: &std::io::Error) {
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
            tracing::warn!(%address, error, unlogged, "a client certificate is refused");
        }
        None => tracing::debug!(%address, error, "no TLS with a client"),
    }
}

async fn speak(
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
        () = shutdown.asked() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        tracing::debug!(error = %e, "a connection ended badly");
    }
}

/// How large the head of a request may be by HTTP/2: so much is held of each before it is known who asks.
const HEAD: u32 = 16 << 10;

/// How many requests of one HTTP/2 connection are worked on at once.
const STREAMS: u32 = 64;

/// How much of its bodies an HTTP/2 connection holds before anything reads them: only passwords that wait keep it waiting.
const WINDOW: u32 = 256 << 10;

/// How much of an answer it holds before its client takes it.
const UNSENT: usize = 64 << 10;

/// How long an HTTP/2 connection may say nothing before it is asked whether anybody is there, and then until it is ended.
const SILENCE: Duration = Duration::from_secs(30);

async fn speak_http2(
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
            return tracing::debug!("an HTTP/2 client takes nothing of an answer, and is cut off");
        }
        () = shutdown.asked() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        tracing::debug!(error = %e, "a connection ended badly");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_reached_over_and_over_is_told_once() {
        let mut limit = Limit::default();
        let met: Vec<Met> = [3, 4, 4, 3, 4, 2, 4, 0]
            .map(|open| limit.meets(open, 4))
            .into();
        let (not, again, newly) = (Met::Not, Met::RerunRequest, Met::Newly);
        assert_eq!(met, [not, newly, not, not, again, not, newly, not]);
        // Lowered below what is open, then raised.
        assert_eq!(limit.meets(5, 2), newly);
        assert_eq!(limit.meets(5, 8), not);
        assert_eq!(limit.meets(8, 8), again);
    }
}
