//! `/api/v1/bindings`, and the same operations for `/api/v1/schedules`: list all, including those of the configuration file;
//! create, change and remove the others.
//!
//! These have an `ETag`; a request with `If-Match` fails with 412 if another one changed the object meanwhile.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{ETAG, HeaderMap, HeaderValue, IF_MATCH};
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::config::{ManagedConflict, ManagedKind, StoredObject};
use crate::http::Context;
use crate::http::api::vars;
use crate::http::api::verdicts::Known;
use crate::http::api::views::{self, BindingAnswer};
use crate::http::core::error::ApiError;
use crate::http::core::json as json_body;
use crate::http::core::path;
use crate::http::core::reply::{self, Reply};
use crate::services::config_manager::ChangeError;
use crate::store::Expect;

/// The largest body: up to [`crate::store::OBJECTS_LIMIT`] objects are kept in memory. *Units*: bytes.
const LARGEST: u64 = 64 << 10;

#[derive(Serialize)]
struct Bindings {
    bindings: Vec<BindingAnswer>,
    /// Created over the API, but ignored.
    conflicts: Vec<ManagedConflict>,
}

/// A binding or schedule, with its JSON if it was created over the API.
#[derive(Serialize)]
struct Detail<T> {
    #[serde(flatten)]
    object: Option<T>,
    /// The JSON that created it: change this and send it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    typed: Option<Box<RawValue>>,
    /// Why it is ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    conflict: Option<String>,
}

#[derive(Serialize)]
struct Removed<'a> {
    name: &'a str,
}

/// Handles `/api/v1/bindings`; `parts` is the path after `/api/v1/`.
pub(crate) async fn bindings(
    context: &Context,
    request: Request<Incoming>,
    parts: &[&str],
) -> Reply {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match parts {
        ["bindings"] if reads => {
            let config = Arc::clone(&context.config.borrow());
            let known = match Known::read(context).await {
                Ok(known) => known,
                Err(e) => return reply::failed(&e),
            };
            reply::success(&Bindings {
                bindings: config
                    .bindings
                    .iter()
                    .map(|b| BindingAnswer::of(b, &known))
                    .collect(),
                conflicts: views::conflicts(&config, ManagedKind::Binding),
            })
        }
        _ => answer(context, request, ManagedKind::Binding, parts).await,
    }
}

/// Handles the operations that both kinds have.
pub(crate) async fn answer(
    context: &Context,
    request: Request<Incoming>,
    kind: ManagedKind,
    parts: &[&str],
) -> Reply {
    let method = request.method().clone();
    // The client may disconnect meanwhile. The request is completed all the same.
    let own = context.clone();
    let done = match parts {
        [_] if method == Method::POST => {
            tokio::spawn(async move { create(&own, request, kind).await }).await
        }
        [_] => return reply::method_not_allowed("GET, HEAD, POST"),
        [_, name] => {
            let name = path::decoded(name);
            match method {
                Method::GET | Method::HEAD => Ok(show(context, kind, &name).await),
                Method::PUT => {
                    tokio::spawn(async move { change(&own, request, kind, &name).await }).await
                }
                Method::DELETE => {
                    tokio::spawn(async move { remove(&own, request.headers(), kind, &name).await })
                        .await
                }
                _ => return reply::method_not_allowed("GET, HEAD, PUT, DELETE"),
            }
        }
        _ => {
            let path = parts.join("/");
            return reply::error(
                StatusCode::NOT_FOUND,
                format_args!("there is no /api/v1/{path}"),
            );
        }
    };
    match done {
        Ok(Ok(reply)) => reply,
        Ok(Err(refusal)) => refusal.reply(),
        Err(_) => reply::error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the request failed; see the log",
        ),
    }
}

async fn create(
    context: &Context,
    request: Request<Incoming>,
    kind: ManagedKind,
) -> Result<Reply, ApiError> {
    let timeout = context.config.borrow().receiver.body_timeout;
    let body = json_body::body(request, LARGEST, timeout).await?;
    let kept = put(context, kind, None, &body, Expect::None).await?;
    tracing::info!(
        kind = kind.as_str(),
        name = kept.name,
        "created over the API"
    );
    let mut reply = shown(context, kind, &kept.name, Some(&kept)).await?;
    *reply.status_mut() = StatusCode::CREATED;
    Ok(reply)
}

async fn change(
    context: &Context,
    request: Request<Incoming>,
    kind: ManagedKind,
    name: &str,
) -> Result<Reply, ApiError> {
    let expect = if_match(request.headers())?;
    let timeout = context.config.borrow().receiver.body_timeout;
    let body = json_body::body(request, LARGEST, timeout).await?;
    let kept = put(context, kind, Some(name), &body, expect).await?;
    tracing::info!(
        kind = kind.as_str(),
        name,
        revision = kept.revision,
        "changed over the API"
    );
    shown(context, kind, name, Some(&kept)).await
}

async fn remove(
    context: &Context,
    headers: &HeaderMap,
    kind: ManagedKind,
    name: &str,
) -> Result<Reply, ApiError> {
    let expect = if_match(headers)?;
    take_away(context, kind, name, expect).await?;
    tracing::info!(kind = kind.as_str(), name, "removed over the API");
    Ok(reply::success(&Removed { name }))
}

/// Creates an object, or changes the one of this name, and notes its JSON before and after for the audit list.
pub(crate) async fn put(
    context: &Context,
    kind: ManagedKind,
    name: Option<&str>,
    json: &[u8],
    expect: Expect,
) -> Result<StoredObject, ApiError> {
    vars::no_templates_in(context, json).await?;
    let before = match name {
        Some(name) => context.configs.kept(kind, name).await?,
        None => None,
    };
    let kept = context.configs.put(kind, name, json, expect).await?;
    let did = if before.is_some() {
        "changed"
    } else {
        "created"
    };
    let note = &context.note;
    note.did(format_args!("{did} the {kind} {}", kept.name));
    note.changed(
        before.as_ref().map(|kept| kept.json.as_str()),
        Some(&kept.json),
    );
    Ok(kept)
}

/// Removes an object, and notes its JSON for the audit list.
pub(crate) async fn take_away(
    context: &Context,
    kind: ManagedKind,
    name: &str,
    expect: Expect,
) -> Result<(), ChangeError> {
    let before = context.configs.kept(kind, name).await?;
    context.configs.remove(kind, name, expect).await?;
    context.note.did(format_args!("removed the {kind} {name}"));
    let before = before.as_ref().map(|kept| kept.json.as_str());
    context.note.changed(before, None);
    Ok(())
}

async fn show(context: &Context, kind: ManagedKind, name: &str) -> Result<Reply, ApiError> {
    let kept = context.configs.kept(kind, name).await?;
    shown(context, kind, name, kept.as_ref()).await
}

async fn shown(
    context: &Context,
    kind: ManagedKind,
    name: &str,
    kept: Option<&StoredObject>,
) -> Result<Reply, ApiError> {
    let config = Arc::clone(&context.config.borrow());
    let object = match kind {
        ManagedKind::Binding => {
            let known = Known::read(context).await?;
            let found = config.bindings.iter().find(|binding| binding.name == name);
            found.map(|binding| to_value(&BindingAnswer::of(binding, &known)))
        }
        ManagedKind::Schedule => {
            let found = config
                .schedules
                .iter()
                .find(|schedule| schedule.name == name);
            match found {
                Some(schedule) => Some(to_value(&views::one(context, schedule).await?)),
                None => None,
            }
        }
    };
    let mut conflicts = config.conflicts.iter();
    let conflict = conflicts.find(|conflict| conflict.kind == kind && conflict.name == name);
    if object.is_none() && kept.is_none() {
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            format_args!("there is no {kind} {name:?}"),
        ));
    }
    let typed = kept.and_then(|kept| RawValue::from_string(kept.json.clone()).ok());
    let mut reply = reply::success(&Detail {
        object,
        typed,
        conflict: conflict.map(|conflict| conflict.why.clone()),
    });
    if let Some(kept) = kept
        && let Ok(etag) = HeaderValue::from_str(&format!("\"r{}\"", kept.revision))
    {
        reply.headers_mut().insert(ETAG, etag);
    }
    Ok(reply)
}

fn to_value(answer: &impl Serialize) -> Value {
    serde_json::to_value(answer).expect("our own types are JSON")
}

/// Returns the revision that a change requires; any without `If-Match`.
fn if_match(headers: &HeaderMap) -> Result<Expect, ApiError> {
    let Some(value) = headers.get(IF_MATCH) else {
        return Ok(Expect::Any);
    };
    let value = value.to_str().unwrap_or("").trim();
    if value == "*" {
        return Ok(Expect::Any);
    }
    let revision = value
        .strip_prefix("\"r")
        .and_then(|value| value.strip_suffix('"'));
    match revision.and_then(|revision| revision.parse().ok()) {
        Some(revision) => Ok(Expect::Revision(revision)),
        None => Err(ApiError::new(
            StatusCode::PRECONDITION_FAILED,
            format_args!("If-Match: {value} is not an ETag of this object: read it again"),
        )),
    }
}
