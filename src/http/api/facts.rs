//! `/api/v1/facts`: the facts of hosts.
//!
//! - `GET /facts`: the hosts with facts. `GET /facts/HOST`: the facts. `GET /facts/HOST/changes`: their changes.
//! - `POST /facts`: imports facts that were gathered elsewhere, `{"gathered_at": TIME, "facts": {HOST: {…}}}`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::http::Context;
use crate::http::core::error::ApiError;
use crate::http::core::reply::{self, Reply};
use crate::http::core::{audit_note, json, path};
use crate::model::facts::HostFacts;
use crate::model::inventory::resolve_name;
use crate::store::{ChangedAt, FactsOf};
use crate::util::blocking::in_place;
use crate::util::clock;

/// The largest body: the facts of a few hundred hosts. More hosts need several requests. *Units*: bytes.
const LARGEST: u64 = 32 << 20;

#[derive(Serialize)]
struct List {
    hosts: Vec<FactsOf>,
}

#[derive(Serialize)]
struct Known {
    host: String,
    gathered_at: DateTime<Utc>,
    live: bool,
    facts: Box<RawValue>,
}

#[derive(Serialize)]
struct ChangesOf {
    changes: Vec<ChangedAt>,
}

/// Handles `/api/v1/facts`; `rest` is the path after it, without the slash.
pub(crate) async fn answer(context: &Context, request: Request<Incoming>, rest: &str) -> Reply {
    let method = request.method().clone();
    let reads = matches!(method, Method::GET | Method::HEAD);
    let mut parts = rest.split('/');
    match (parts.next().unwrap_or(""), parts.next(), parts.next()) {
        ("", None, None) if reads => list(context).await,
        ("", None, None) if method == Method::POST => import(context, request).await,
        ("", None, None) => reply::method_not_allowed("GET, HEAD, POST"),
        (_, None | Some("changes"), None) if !reads => reply::method_not_allowed("GET, HEAD"),
        (host, None, None) => show(context, path::decoded(host)).await,
        (host, Some("changes"), None) => changes(context, path::decoded(host)).await,
        _ => reply::error(
            StatusCode::NOT_FOUND,
            format_args!("there is no /api/v1/facts/{rest}"),
        ),
    }
}

async fn list(context: &Context) -> Reply {
    match context.store.facts_list().await {
        Ok(mut hosts) => {
            let standing = context.inventory.status();
            hosts.retain(|of| !standing.has_left(&of.host));
            reply::long_success(move || List { hosts }).await
        }
        Err(e) => reply::failed(&e),
    }
}

async fn show(context: &Context, host: String) -> Reply {
    if context.inventory.status().has_left(&host) {
        return none_of(&host);
    }
    let known = match context.store.facts_json(host.clone()).await {
        Ok(Some((of, json))) => RawValue::from_string(json).map(|facts| Known {
            host: of.host,
            gathered_at: of.gathered_at,
            live: of.live,
            facts,
        }),
        Ok(None) => return none_of(&host),
        Err(e) => return reply::failed(&e),
    };
    match known {
        Ok(known) => reply::success(&known),
        Err(e) => reply::error(StatusCode::INTERNAL_SERVER_ERROR, e),
    }
}

async fn changes(context: &Context, host: String) -> Reply {
    if context.inventory.status().has_left(&host) {
        return none_of(&host);
    }
    match context.store.fact_changes(host.clone()).await {
        Ok(changes) if changes.is_empty() => match context.store.facts_of(host.clone()).await {
            Ok(None) => none_of(&host),
            Ok(Some(_)) => reply::success(&ChangesOf { changes }),
            Err(e) => reply::failed(&e),
        },
        Ok(changes) => reply::success(&ChangesOf { changes }),
        Err(e) => reply::failed(&e),
    }
}

fn none_of(host: &str) -> Reply {
    reply::error(
        StatusCode::NOT_FOUND,
        format_args!(
            "there are no facts of {host:?}: want the name of an inventory host whose facts were gathered"
        ),
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Import {
    /// When they were gathered; now if absent.
    gathered_at: Option<DateTime<Utc>>,
    facts: BTreeMap<String, Map<String, Value>>,
}

#[derive(Serialize)]
struct ImportAnswer {
    /// The hosts whose facts were stored.
    kept: Vec<String>,
    /// The hosts that are not in the inventory.
    unknown: Vec<String>,
}

async fn import(context: &Context, request: Request<Incoming>) -> Reply {
    match store_facts(context, request).await {
        Ok(answer) => reply::success(&answer),
        Err(refusal) => refusal.reply(),
    }
}

async fn store_facts(
    context: &Context,
    request: Request<Incoming>,
) -> Result<ImportAnswer, ApiError> {
    let timeout = context.config.borrow().receiver.body_timeout;
    let body = json::body(request, LARGEST, timeout).await?;
    let import: Import = in_place(|| {
        let mut json = serde_json::Deserializer::from_slice(&body);
        serde_path_to_error::deserialize(&mut json).map_err(ApiError::bad)
    })?;
    let now = clock::now();
    let gathered_at = import.gathered_at.unwrap_or(now).min(now);
    let inventory = context.inventory.fresh().await;
    let inventory = inventory.map_err(ApiError::unavailable)?;
    let (known, unknown): (Vec<_>, Vec<_>) = import
        .facts
        .into_iter()
        .partition(|(host, _)| resolve_name(&inventory, host).is_ok());
    let known: Vec<HostFacts> = known
        .into_iter()
        .map(|(host, facts)| HostFacts {
            host,
            gathered_at,
            live: false,
            facts,
        })
        .collect();
    let kept: Vec<String> = known.iter().map(|facts| facts.host.clone()).collect();
    context.store.keep_facts(known).await?;
    let hosts = audit_note::names(&kept);
    context.note.did(format_args!("imported facts of {hosts}"));
    Ok(ImportAnswer {
        kept,
        unknown: unknown.into_iter().map(|(host, _)| host).collect(),
    })
}
