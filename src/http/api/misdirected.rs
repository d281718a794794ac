//! Detects notifications that are posted to a path other than the receiver. Alertmanager drops a notification on 4xx, so the
//! reason must be in its log, in ours and in the metrics.

use std::time::{Duration, Instant};

use hyper::header::{
    ACCEPT, ALLOW, CONTENT_TYPE, HeaderMap, HeaderName, USER_AGENT, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, StatusCode};

use crate::http::Context;
use crate::http::core::path;
use crate::http::core::reply::{self, Reply};
use crate::metrics::Sender;
use crate::util::sanitize;
use crate::util::throttled_log::ThrottledLog;

static LOGGED: ThrottledLog = ThrottledLog::new(Duration::from_secs(10));

/// A POST that may be a notification.
pub(crate) struct Posted {
    path: String,
    sender: Sender,
    is_json: bool,
}

/// Records a POST before it is handled. A browser that posts a form accepts HTML, so it is not recorded.
pub(crate) fn look<B>(request: &Request<B>) -> Option<Posted> {
    let headers = request.headers();
    let takes_pages = text(headers, &ACCEPT).contains("text/html");
    let path = request.uri().path();
    if *request.method() != Method::POST || path == path::WEBHOOK || takes_pages {
        return None;
    }
    Some(Posted {
        path: path.to_owned(),
        sender: sender(text(headers, &USER_AGENT)),
        is_json: text(headers, &CONTENT_TYPE).starts_with("application/json"),
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

fn sender(agent: &str) -> Sender {
    if agent.starts_with("Alertmanager/") {
        Sender::Alertmanager
    } else if agent.starts_with("Grafana") {
        Sender::Grafana
    } else if agent.starts_with("Prometheus/") {
        Sender::Prometheus
    } else {
        Sender::Other
    }
}

/// Whether a POST is a misdirected notification: its sender posts only alerts, or it is JSON for a path that does not exist.
/// A request to the API for a missing object is not one.
fn is_misdirected(posted: &Posted, status: StatusCode) -> bool {
    let below_api = posted.path.split_once("/api/v1/").map(|(_, rest)| rest);
    let is_lone = below_api.is_none_or(|rest| !rest.contains('/'));
    let may_be = posted.sender != Sender::Other || (posted.is_json && is_lone);
    match status {
        StatusCode::NOT_FOUND => may_be,
        StatusCode::METHOD_NOT_ALLOWED => {
            may_be && (posted.sender != Sender::Other || below_api.is_none())
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            posted.sender != Sender::Other
        }
        _ => false,
    }
}

/// Logs and counts a misdirected notification, and names the receiver in the response.
pub(crate) fn answer(context: &Context, posted: &Posted, reply: Reply) -> Reply {
    let status = reply.status();
    if !is_misdirected(posted, status) {
        return reply;
    }
    context.metrics.misdirected(posted.sender);
    let receiver = receiver(context);
    let path = sanitize::beginning(&posted.path, 200);
    let sender = posted.sender.as_str();
    if let Some(unlogged) = LOGGED.take(Instant::now()) {
        let address = context.peer.as_ref().map(|peer| peer.shown());
        tracing::warn!(
            path,
            sender,
            address,
            unlogged,
            code = status.as_u16(),
            "POST to a path that does not accept notifications: send them to {receiver}"
        );
    }
    let help = match posted.sender {
        Sender::Prometheus => {
            format!(
                "promansible is not an Alertmanager: point Prometheus at Alertmanager, and a webhook receiver of Alertmanager at {receiver}"
            )
        }
        _ => format!("post notifications to {receiver}: correct the URL in the sender"),
    };
    let mut answer = reply::error(
        status,
        format_args!("a POST to {path} does nothing here; {help}"),
    );
    for name in [ALLOW, WWW_AUTHENTICATE] {
        for value in reply.headers().get_all(&name) {
            answer.headers_mut().append(&name, value.clone());
        }
    }
    answer
}

/// Returns the path of the receiver, with the route prefix.
pub(crate) fn receiver(context: &Context) -> String {
    format!("{}{}", context.prefixes.route, path::WEBHOOK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misdirected_post_is_detected_by_its_status_or_its_sender() {
        use Sender::{Alertmanager, Grafana, Other, Prometheus};
        for (agent, path, status, misdirected) in [
            ("Alertmanager/0.27.0", "/", 405, true),
            ("Alertmanager/0.27.0", "/webhook", 404, true),
            ("Alertmanager/0.27.0", "/webhook", 401, true),
            ("Alertmanager/0.27.0", "/run", 403, true),
            ("Alertmanager/0.27.0", "/api/v1/runs", 405, true),
            ("Alertmanager/0.27.0", "/api/v1/runs", 400, false),
            ("Grafana", "/", 405, true),
            ("Prometheus/2.42.0", "/api/v2/alerts", 404, true),
            ("curl/8", "/", 405, true),
            ("curl/8", "/webhook", 404, true),
            ("curl/8", "/api/v1/sd", 405, false),
            ("curl/8", "/run", 403, false),
            ("", "/api/v1/webhooks", 404, true),
            ("curl/8", "/api/v1/runs/7/cancel", 404, false),
        ] {
            let request = Request::post(path).header(USER_AGENT, agent);
            let request = request
                .header(CONTENT_TYPE, "application/json")
                .body(())
                .unwrap();
            let posted = look(&request).unwrap();
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(
                is_misdirected(&posted, status),
                misdirected,
                "{agent} {path}"
            );
        }
        let agents = ["Alertmanager/1", "Grafana/12", "Prometheus/3", "x"].map(sender);
        assert_eq!(agents, [Alertmanager, Grafana, Prometheus, Other]);
        let form = Request::post("/x")
            .header(ACCEPT, "text/html,*/*")
            .body(())
            .unwrap();
        assert!(look(&form).is_none());
        let form = look(&Request::post("/x").body(()).unwrap()).unwrap();
        assert!(!is_misdirected(&form, StatusCode::NOT_FOUND));
        assert!(look(&Request::post(path::WEBHOOK).body(()).unwrap()).is_none());
        assert!(look(&Request::get("/").body(()).unwrap()).is_none());
    }
}
