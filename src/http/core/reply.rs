//! Builds responses.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::store::StoreError;
use crate::util::sanitize;

/// A response.
pub(crate) type Reply = Response<Content>;

/// A body in parts, none of them empty; other responses may share them.
#[derive(Debug)]
pub(crate) enum Content {
    /// A complete body.
    Parts(VecDeque<Bytes>),
    /// A body that is produced while it is sent, and ends with its sender.
    Stream(mpsc::Receiver<Bytes>),
}

impl Content {
    pub(crate) fn new(parts: impl IntoIterator<Item = Bytes>) -> Self {
        let parts = parts.into_iter();
        Self::Parts(parts.filter(bytes::Buf::has_remaining).collect())
    }

    /// Returns the next part when it is ready. *Cancel safety*: nothing is lost between two calls.
    pub(crate) fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match self.get_mut() {
            Self::Parts(parts) => Poll::Ready(parts.pop_front()),
            Self::Stream(parts) => parts.poll_recv(cx),
        }
    }

    /// Whether the body is known to have no more parts.
    pub(crate) fn is_end_stream(&self) -> bool {
        matches!(self, Self::Parts(parts) if parts.is_empty())
    }

    /// Returns the number of bytes; `None` if it is unknown.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Parts(parts) => Some(parts.iter().map(|part| part.len() as u64).sum()),
            Self::Stream(_) => None,
        }
    }
}

/// Removes the body for a response to HEAD, and sets its length in the headers.
pub(crate) fn without_body(mut reply: Reply) -> Reply {
    if let Some(length) = reply.body().length() {
        let headers = reply.headers_mut();
        headers.insert(CONTENT_LENGTH, length.into());
    }
    reply.map(|_| Content::new([]))
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    in_parts(status, content_type, [body.into()])
}

fn in_parts(
    status: StatusCode,
    content_type: &'static str,
    parts: impl IntoIterator<Item = Bytes>,
) -> Reply {
    with_content(status, content_type, Content::new(parts))
}

fn with_content(status: StatusCode, content_type: &'static str, content: Content) -> Reply {
    let mut reply = Response::new(content);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// A response with a line of text.
pub(crate) fn text(status: StatusCode, line: impl Into<String>) -> Reply {
    // It may quote the request, and be shown on a terminal.
    let mut line = sanitize::lines(&line.into());
    if !line.ends_with('\n') {
        line.push('\n');
    }
    raw_text(status, line)
}

/// A response with unchanged text.
pub(crate) fn raw_text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    reply(status, "text/plain; charset=utf-8", body)
}

/// A response with an HTML page.
pub(crate) fn html(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    reply(status, "text/html; charset=utf-8", body)
}

/// A 200 response with another content type, in parts.
pub(crate) fn typed(content_type: &'static str, parts: impl IntoIterator<Item = Bytes>) -> Reply {
    in_parts(StatusCode::OK, content_type, parts)
}

/// A response with server-sent events.
pub(crate) fn events(parts: mpsc::Receiver<Bytes>) -> Reply {
    let content = Content::Stream(parts);
    let mut reply = with_content(StatusCode::OK, "text/event-stream", content);
    // Otherwise nginx would buffer them.
    let buffering = HeaderName::from_static("x-accel-buffering");
    reply
        .headers_mut()
        .insert(buffering, HeaderValue::from_static("no"));
    reply
}

/// `{"status":"success","data":…}`, the envelope of Prometheus's HTTP API.
pub(crate) fn success(data: &impl Serialize) -> Reply {
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

/// The same with 202: the request is stored and is handled later.
pub(crate) fn accepted(data: &impl Serialize) -> Reply {
    let mut reply = success(data);
    *reply.status_mut() = StatusCode::ACCEPTED;
    reply
}

/// The same with 201: the object was created.
pub(crate) fn created(data: &impl Serialize) -> Reply {
    let mut reply = success(data);
    *reply.status_mut() = StatusCode::CREATED;
    reply
}

/// The same for data that may be large: it is produced and serialized without blocking other connections.
pub(crate) async fn long_success<T: Serialize>(data: impl FnOnce() -> T + Send + 'static) -> Reply {
    tokio::task::spawn_blocking(move || success(&data()))
        .await
        .unwrap_or_else(|e| error(StatusCode::INTERNAL_SERVER_ERROR, e))
}

/// `{"status":"error","errorType":…,"error":…}`.
pub(crate) fn error(status: StatusCode, error: impl std::fmt::Display) -> Reply {
    error_at(status, None, error)
}

/// The same, with the field of the request that is wrong.
pub(crate) fn error_at(
    status: StatusCode,
    field: Option<&str>,
    error: impl std::fmt::Display,
) -> Reply {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Envelope<'a> {
        status: &'static str,
        error_type: &'static str,
        error: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        field: Option<&'a str>,
    }
    let error_type = match status {
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::CONFLICT => "conflict",
        StatusCode::PRECONDITION_FAILED => "precondition_failed",
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        s if s.is_client_error() => "bad_data",
        _ => "internal",
    };
    let body = serde_json::to_vec(&Envelope {
        status: "error",
        error_type,
        error: match field {
            Some(field) => format!("{field}: {error}"),
            None => error.to_string(),
        },
        field,
    })
    .expect("our own types are JSON");
    reply(status, "application/json", body)
}

/// An error that asks the client to retry soon.
pub(crate) fn soon(status: StatusCode, why: impl std::fmt::Display) -> Reply {
    let mut reply = error(status, why);
    let headers = reply.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    reply
}

/// The response to an error of the store.
pub(crate) fn failed(e: &StoreError) -> Reply {
    error(status_of(e), e)
}

/// The status of the response to an error of the store.
pub(crate) fn status_of(e: &StoreError) -> StatusCode {
    match e {
        StoreError::NoSuchRun(_)
        | StoreError::HostNotEnrolled(_)
        | StoreError::NoSuchObject(..) => StatusCode::NOT_FOUND,
        StoreError::ObjectChanged { .. } => StatusCode::PRECONDITION_FAILED,
        StoreError::Finished(_)
        | StoreError::RunsStill(_)
        | StoreError::AlertsGone(_)
        | StoreError::BindingGone(_)
        | StoreError::HostHeld(_)
        | StoreError::NoApprovalWanted(_)
        | StoreError::HostEnrolled(_)
        | StoreError::TooManyHosts
        | StoreError::ObjectExists(..)
        | StoreError::TooManyObjects => StatusCode::CONFLICT,
        StoreError::Broken(_)
        | StoreError::Closed
        | StoreError::QueueFull { .. }
        | StoreError::HistoryFull { .. } => StatusCode::SERVICE_UNAVAILABLE,
        StoreError::Corrupt(_) | StoreError::Defect(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// 404 for a path under `/api/v1/`.
pub(crate) fn not_found(path: &str) -> Reply {
    error(
        StatusCode::NOT_FOUND,
        format_args!("there is no /api/v1/{path}"),
    )
}

/// 405 with the allowed methods.
pub(crate) fn method_not_allowed(allowed: &'static str) -> Reply {
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
    async fn long_data_is_serialized_off_the_async_threads() {
        struct NotOn(ThreadId);
        impl Serialize for NotOn {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bool(current().id() != self.0)
            }
        }
        let asker = current().id();
        let reply = long_success(move || (NotOn(asker), current().id() != asker)).await;
        let Content::Parts(parts) = reply.into_body() else {
            panic!("the body is complete");
        };
        assert_eq!(parts, [r#"{"status":"success","data":[true,true]}"#]);
    }
}
