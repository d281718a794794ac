//! Asks Prometheus for its alerting rules.

use bytes::Bytes;
use hyper::header::ACCEPT;
use hyper::{Request, StatusCode, Uri};

use crate::alert_types::{Rule, parse_rules_answer};
use crate::clients::web_client::{WebClient, under};
use crate::config::Prometheus;

/// The largest response that is read: some ten thousand rules. *Units*: bytes.
const LARGEST: usize = 16 << 20;

/// Requests the rules, within `prometheus.timeout` in total. The error is the end of a sentence.
pub(super) async fn rules(url: &Uri, settings: &Prometheus) -> Result<Vec<Rule>, String> {
    let client = WebClient {
        http: settings.http.clone(),
        timeout: settings.timeout,
        largest: LARGEST,
    };
    // There may be many alerts, and they are not needed; Prometheus before 2.51 sends them in any case.
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

/// Describes the error response of Prometheus, or of a proxy in front of it.
fn refused(status: StatusCode, body: &[u8]) -> String {
    match parse_rules_answer(body) {
        Err(why) if why.starts_with("it reported: ") => format!("it answered {status}: {why}"),
        _ => format!("it answered {status}"),
    }
}
