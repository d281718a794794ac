//! Asks Prometheus for its alerting rules.

use bytes::Bytes;
use hyper::header::ACCEPT;
use hyper::{Request, StatusCode, Uri};

use crate::alert_types::{Rule, parse_rules_answer};
use crate::clients::web_client::{WebClient, under};
use crate::config::Prometheus;

/// The largest answer that is read: some ten thousand rules.
const LARGEST: usize = 16 << 20;

/// Asks, and waits no longer than `prometheus.timeout` in all. The error is a sentence.
pub(super) async fn rules(url: &Uri, settings: &Prometheus) -> Result<Vec<Rule>, String> {
    let client = WebClient {
        http: settings.http.clone(),
        timeout: settings.timeout,
        largest: LARGEST,
    };
    // The alerts themselves may be many, and are not looked at; Prometheus before 2.51 sends them all the same.
    let request = Request::get(under(url, "/api/v1/rules?type=alert&exclude_alerts=true"))
        .header(ACCEPT, "application/json")
        .body(Bytes::new())
        .map_err(|e| e.to_string())?;
    let answer = client.send(request).await.map_err(|e| e.to_string())?;
    let parsed = tokio::task::spawn_blocking(move || {
        if !answer.status.is_success() {
            return Err(refused(answer.status, &answer.body));
        }
        parse_rules_answer(&answer.body)
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
