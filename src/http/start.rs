//! Starting a run by hand.
//!
//! 202 only after the run is on disk, queued. What it does is no matter of the request: ask for the run by its number.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, Request, StatusCode};
use serde::Serialize;

use super::body::{self, BodyError};
use super::reply::{self, Reply};
use super::{Context, api};
use crate::clock;
use crate::config::{self, Manual};
use crate::plan;
use crate::run::RunId;

/// The largest body. Its variables are kept with the run, and as many runs may wait as `runs.queue_limit` says.
const LARGEST: u64 = 64 << 10;

#[derive(Serialize)]
struct StartAnswer {
    id: RunId,
}

pub(super) async fn start(context: &Context, request: Request<Incoming>) -> Reply {
    // The client may go away while the answer is made. What was begun is ended all the same, and logged.
    let context = context.clone();
    let answer = tokio::spawn(async move {
        match take(&context, request).await {
            Ok(id) => reply::accepted(&StartAnswer { id }),
            Err(refused) => refused,
        }
    });
    answer.await.unwrap_or_else(|_| {
        reply::error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the run could not be taken; see the log",
        )
    })
}

async fn take(context: &Context, request: Request<Incoming>) -> Result<RunId, Reply> {
    let config = Arc::clone(&context.config.borrow());
    let body = json_body(request, LARGEST, config.receiver.body_timeout).await?;
    let bad = |e: &dyn std::error::Error| reply::error(StatusCode::BAD_REQUEST, e);
    let Manual { target, work } = config::manual(&body, &config).map_err(|e| bad(&e))?;
    let inventory = context.inventory.fresh().await;
    let inventory = inventory.map_err(|why| reply::error(StatusCode::SERVICE_UNAVAILABLE, why))?;
    let hosts = plan::hosts(&target, &inventory, None)
        .map_err(|e| reply::error(StatusCode::BAD_REQUEST, format_args!("target: {e}")))?;
    let (roles, touched) = (work.roles.join(","), hosts.join(","));
    let check = work.check;
    let id = context
        .store
        .queue_manual(work, hosts, config.runs.queue_limit, clock::now())
        .await
        .map_err(|e| api::failed(&e))?;
    tracing::info!(
        run = id.0,
        roles,
        hosts = touched,
        check,
        "run asked for by hand"
    );
    Ok(id)
}

/// The body of a request that changes something: JSON, and said to be.
pub(super) async fn json_body(
    request: Request<Incoming>,
    largest: u64,
    timeout: Duration,
) -> Result<Bytes, Reply> {
    if !is_json(request.headers()) {
        return Err(reply::error(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "want Content-Type: application/json",
        ));
    }
    let body = body::read(request, largest, timeout).await;
    body.and_then(|body| body.unpack(largest)).map_err(|e| {
        let why = match e {
            BodyError::TooLarge { limit } => format!("the body is larger than {limit} bytes"),
            ref other => other.to_string(),
        };
        reply::error(e.status(), why)
    })
}

/// A page of another site can make a browser send a form, and no form is sent as this.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}
