//! Listening: connections, their limits, and an end that lets requests under way finish.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::stream::Impatient;
use super::{Context, router};

/// How long requests under way may take once promansible is to end.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves until `context.shutdown` says so, then lets the requests under way finish.
///
/// Beyond `receiver.max_connections`, connections wait in the kernel's backlog. A client that is slow with its head is
/// cut off after `receiver.header_timeout`; that also ends idle connections. One that takes nothing of its answer is cut
/// off after `receiver.body_timeout`.
pub async fn serve(listener: TcpListener, context: Context) {
    let max = context.config.borrow().receiver.max_connections;
    let places = Arc::new(Semaphore::new(max));
    let mut connections = JoinSet::new();
    let mut shutdown = context.shutdown.clone();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = shutdown.asked() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else {
            continue;
        };
        let context = context.clone();
        connections.spawn(async move {
            connection(stream, context).await;
            drop(place);
        });
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("some connections did not end in time and are cut off");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(e) => {
            // Out of file descriptors, most likely: it passes, and spinning would make it worse.
            tracing::warn!(error = %e, "a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

async fn connection(stream: TcpStream, context: Context) {
    let _ = stream.set_nodelay(true);
    let (header_timeout, write_timeout) = {
        let receiver = &context.config.borrow().receiver;
        (receiver.header_timeout, receiver.body_timeout)
    };
    let mut shutdown = context.shutdown.clone();
    let service = service_fn(move |request| router::route(context.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_headers(100)
        .max_buf_size(64 << 10)
        .half_close(true)
        .serve_connection(TokioIo::new(Impatient::new(stream, write_timeout)), service);
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
