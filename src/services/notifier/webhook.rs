//! Posts messages as JSON to a URL, in our own format or in Slack's.

use bytes::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, Uri};
use serde_json::{Value, json};

use crate::clients::web_client::{WebClient, WebError};
use crate::config::{Address, HttpClient, parse_url};
use crate::model::message::Message;
use crate::services::notifier::LARGEST;
use crate::services::notifier::MessageContext;
use crate::services::notifier::Refused;
use crate::services::notifier::TIMEOUT;
use crate::util::secret_file;

/// Marks repeated requests as the same one: <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

pub(super) async fn webhook(
    head: &MessageContext,
    url: &Address,
    http: &HttpClient,
    message: &Message,
) -> Result<(), Refused> {
    post(head, url, http, message, &own(head, message)).await
}

pub(super) async fn slack(
    head: &MessageContext,
    url: &Address,
    channel: Option<&str>,
    http: &HttpClient,
    message: &Message,
) -> Result<(), Refused> {
    let mut body = json!({"text": slack_text(head, message)});
    if let Some(channel) = channel {
        body["channel"] = channel.into();
    }
    post(head, url, http, message, &body).await
}

/// Returns the message as JSON, with a summary, details and a link that receivers need not compose.
pub(super) fn own(head: &MessageContext, message: &Message) -> Value {
    let mut body = json!({
        "version": "1",
        "key": head.key(message),
        "summary": message.summary(),
        "details": message.details(),
    });
    if let Some(link) = head.link(message) {
        body["url"] = link.into();
    }
    let message = serde_json::to_value(message).expect("our own types are JSON");
    if let (Some(body), Value::Object(message)) = (body.as_object_mut(), message) {
        body.extend(message);
    }
    body
}

pub(super) fn slack_text(head: &MessageContext, message: &Message) -> String {
    let mut lines = vec![format!("*{}*", escaped(&message.summary()))];
    lines.extend(message.details().iter().map(|line| escaped(line)));
    if let Some(link) = head.link(message) {
        lines.push(format!("<{link}|View>"));
    }
    lines.join("\n")
}

/// Escapes text for Slack, which then formats nothing in it. <https://api.slack.com/reference/surfaces/formatting#escaping>
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

async fn post(
    head: &MessageContext,
    url: &Address,
    http: &HttpClient,
    message: &Message,
    body: &Value,
) -> Result<(), Refused> {
    let url = address(url).await.map_err(|why| Refused {
        why,
        unreachable: true,
    })?;
    let request = Request::post(url)
        .header(CONTENT_TYPE, "application/json")
        .header(IDEMPOTENCY_KEY, head.key(message))
        .body(Bytes::from(body.to_string()));
    let request = request.map_err(|e| Refused {
        why: e.to_string(),
        unreachable: false,
    })?;
    let client = WebClient {
        http: http.clone(),
        timeout: TIMEOUT,
        largest: LARGEST,
    };
    match client.send(request).await {
        Ok(answer) if answer.status.is_success() => Ok(()),
        // Other messages may be accepted.
        Ok(answer) => Err(Refused {
            why: format!("it answered {}", answer.status),
            unreachable: answer.status.is_server_error() || answer.status == 429,
        }),
        // The message was accepted: only the response is too large.
        Err(WebError::Large(_)) => Ok(()),
        Err(e) => Err(Refused {
            why: e.to_string(),
            unreachable: true,
        }),
    }
}

async fn address(url: &Address) -> Result<Uri, String> {
    let file = match url {
        Address::Url(url) => return Ok(url.clone()),
        Address::File(file) => file.clone(),
    };
    let read = tokio::task::spawn_blocking(move || {
        let text = secret_file::read_text(&file).map_err(|e| e.to_string())?;
        // The content is not part of the error, because it is a secret.
        parse_url(&text).map_err(|why| format!("the content of {} {why}", file.display()))
    });
    read.await.map_err(|e| e.to_string())?
}
