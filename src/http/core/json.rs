//! Reads the JSON body of a change request.

use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, Request, StatusCode};

use crate::http::core::body::BodyError;
use crate::http::core::error::ApiError;

/// Reads the body of a change request, which must be declared as JSON.
pub(crate) async fn body(
    request: Request<Incoming>,
    largest: u64,
    timeout: Duration,
) -> Result<Bytes, ApiError> {
    if !is_json(request.headers()) {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "want Content-Type: application/json",
        ));
    }
    let body = match crate::http::core::body::read(request, largest, timeout).await {
        Ok(body) => body.unpacked(largest).await,
        Err(e) => Err(e),
    };
    body.map_err(|e| {
        let why = match e {
            BodyError::TooLarge { limit } => format!("the body is larger than {limit} bytes"),
            ref other => other.to_string(),
        };
        ApiError::new(e.status(), why)
    })
}

/// Whether the Content-Type is JSON. A page of another site can make a browser send a form, but not with this type.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}
