//! Answers.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};
use serde::Serialize;

/// An answer.
pub(super) type Reply = Response<Full<Bytes>>;

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// A line of text.
pub(super) fn text(status: StatusCode, line: impl Into<String>) -> Reply {
    let mut line = line.into();
    if !line.ends_with('\n') {
        line.push('\n');
    }
    raw_text(status, line)
}

/// Text as it is.
pub(super) fn raw_text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    reply(status, "text/plain; charset=utf-8", body)
}

/// A page.
pub(super) fn html(body: impl Into<Bytes>) -> Reply {
    reply(StatusCode::OK, "text/html; charset=utf-8", body)
}

/// Another content type.
pub(super) fn typed(content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    reply(StatusCode::OK, content_type, body)
}

/// `{"status":"success","data":…}`, the envelope of Prometheus's HTTP API.
pub(super) fn success(data: &impl Serialize) -> Reply {
    #[derive(Serialize)]
    struct Envelope<'a, T> {
        status: &'static str,
        data: &'a T,
    }
    let body = serde_json::to_vec(&Envelope {
        status: "success",
        data,
    })
    .expect("our own types are JSON");
    reply(StatusCode::OK, "application/json", body)
}

/// The same for what was kept and is done later.
pub(super) fn accepted(data: &impl Serialize) -> Reply {
    let mut reply = success(data);
    *reply.status_mut() = StatusCode::ACCEPTED;
    reply
}

/// The same for what may be long: it is made, and written as JSON, where it does not hold up other connections.
pub(super) async fn long_success<T: Serialize>(data: impl FnOnce() -> T + Send + 'static) -> Reply {
    tokio::task::spawn_blocking(move || success(&data()))
        .await
        .unwrap_or_else(|e| error(StatusCode::INTERNAL_SERVER_ERROR, e))
}

/// `{"status":"error","errorType":…,"error":…}`.
pub(super) fn error(status: StatusCode, error: impl std::fmt::Display) -> Reply {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Envelope {
        status: &'static str,
        error_type: &'static str,
        error: String,
    }
    let error_type = match status {
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::CONFLICT => "conflict",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        s if s.is_client_error() => "bad_data",
        _ => "internal",
    };
    let body = serde_json::to_vec(&Envelope {
        status: "error",
        error_type,
        error: error.to_string(),
    })
    .expect("our own types are JSON");
    reply(status, "application/json", body)
}

/// The path is right, the method is not.
pub(super) fn method_not_allowed(allowed: &'static str) -> Reply {
    let mut reply = error(
        StatusCode::METHOD_NOT_ALLOWED,
        format_args!("use {allowed} here"),
    );
    reply
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    reply
}

#[cfg(test)]
mod tests {
    use std::thread::{ThreadId, current};

    use super::*;

    #[tokio::test]
    async fn what_may_be_long_is_written_off_the_async_threads() {
        struct NotOn(ThreadId);
        impl Serialize for NotOn {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bool(current().id() != self.0)
            }
        }
        let asker = current().id();
        let reply = long_success(move || (NotOn(asker), current().id() != asker)).await;
        let body = http_body_util::BodyExt::collect(reply.into_body()).await;
        assert_eq!(
            body.unwrap().to_bytes(),
            r#"{"status":"success","data":[true,true]}"#
        );
    }
}
