//! Asks Prometheus for its alerting rules.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{ACCEPT, HOST};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::alert_types::{Rule, parse_rules_answer};

/// The largest answer that is read: some ten thousand rules.
const LARGEST: usize = 16 << 20;

/// Asks, and waits no longer than this in all. The error is a sentence.
pub(super) async fn rules(url: &Uri, timeout: Duration) -> Result<Vec<Rule>, String> {
    let asked = tokio::time::timeout(timeout, exchange(url)).await;
    let (status, body) = asked.map_err(|_| format!("it did not answer within {timeout:?}"))??;
    let parsed = tokio::task::spawn_blocking(move || {
        if !status.is_success() {
            return Err(refused(status, &body));
        }
        parse_rules_answer(&body)
    });
    parsed.await.map_err(|e| e.to_string())?
}

/// Says what Prometheus, or what stands before it, said of a request that it refused.
fn refused(status: StatusCode, body: &[u8]) -> String {
    match parse_rules_answer(body) {
        Err(why) if why.starts_with("it says") => format!("it answered {status}: {why}"),
        _ => format!("it answered {status}"),
    }
}

async fn exchange(url: &Uri) -> Result<(StatusCode, Bytes), String> {
    let host = url.host().unwrap_or_default();
    let port = url.port_u16().unwrap_or(80);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((bare, port))
        .await
        .map_err(|e| format!("nothing answers there: {e}"))?;
    let odd = |e: hyper::Error| format!("it does not speak HTTP: {e}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(odd)?;
    // Ends with this function, also where the time is up.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    // The alerts themselves may be many, and are not looked at; Prometheus before 2.51 sends them all the same.
    let prefix = url.path().trim_end_matches('/');
    let request = Request::builder()
        .uri(format!(
            "{prefix}/api/v1/rules?type=alert&exclude_alerts=true"
        ))
        .header(HOST, format!("{host}:{port}"))
        .header(ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let answer = sender.send_request(request).await.map_err(odd)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LARGEST).collect().await;
    let body = body.map_err(|e| format!("its answer cannot be read: {e}"))?;
    Ok((status, body.to_bytes()))
}
