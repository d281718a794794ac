//! Queues a manual run.
//!
//! Returns 202 only after the queued run is on disk. The request does not wait for the run: get it by its number.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde::Serialize;

use crate::config::{self, AdHocRun};
use crate::http::Context;
use crate::http::api::vars;
use crate::http::core::error::ApiError;
use crate::http::core::reply::{self, Reply};
use crate::http::core::{audit_note, json};
use crate::model::run::RunId;
use crate::plan;
use crate::util::clock;
use crate::util::suggest::did_you_mean;

/// The largest body. Its variables are kept with the run, and up to `runs.queue_limit` runs may wait. *Units*: bytes.
pub(crate) const LARGEST: u64 = 64 << 10;

#[derive(Serialize)]
struct StartAnswer {
    id: RunId,
}

pub(crate) async fn start(context: &Context, request: Request<Incoming>) -> Reply {
    // The client may disconnect meanwhile. The request is completed all the same, and logged.
    let context = context.clone();
    let answer = tokio::spawn(async move {
        let timeout = context.config.borrow().receiver.body_timeout;
        let body = match json::body(request, LARGEST, timeout).await {
            Ok(body) => body,
            Err(refusal) => return refusal.reply(),
        };
        match queue(&context, &body).await {
            Ok(id) => reply::accepted(&StartAnswer { id }),
            Err(refusal) => refusal.reply(),
        }
    });
    answer.await.unwrap_or_else(|_| {
        reply::error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the run could not be queued; see the log",
        )
    })
}

/// Limits the hosts of the target to those in `limit`, all of which must be hosts of the target.
fn narrowed(mut hosts: Vec<String>, limit: &[String]) -> Result<Vec<String>, ApiError> {
    if let Some(unknown) = limit.iter().find(|host| !hosts.contains(host)) {
        let help = did_you_mean(unknown, &hosts, "its hosts are");
        let why = format_args!("limit: {unknown:?} is not a host of the target; {help}");
        return Err(ApiError::bad(why).about("limit"));
    }
    hosts.retain(|host| limit.is_empty() || limit.contains(host));
    Ok(hosts)
}

/// Queues the run that this JSON describes: see [`config::manual`].
pub(crate) async fn queue(context: &Context, json: &[u8]) -> Result<RunId, ApiError> {
    context.configs.follow_roles().await;
    let config = Arc::clone(&context.config.borrow());
    let AdHocRun {
        target,
        limit,
        work,
    } = config::manual(json, &config)
        .map_err(|e| ApiError::bad(&e).about(e.field.unwrap_or_default()))?;
    let inventory = context.inventory.current().await;
    let inventory = inventory.map_err(ApiError::unavailable)?;
    let hosts = plan::hosts(&target, &inventory, None)
        .map_err(|e| ApiError::bad(format_args!("target: {e}")).about("target"))?;
    let hosts = narrowed(hosts, &limit)?;
    let sets = |name: &str| hosts.iter().all(|host| inventory.may_set(host, name));
    let roles = &config.roles;
    let checked = roles.check_vars(&work.roles, &work.vars, &sets);
    checked.map_err(|e| ApiError::bad(&e).about(&e.first().0))?;
    vars::no_templates(&inventory, &work.vars)?;
    let (role_names, host_names) = (work.roles.join(","), hosts.join(","));
    let summary = audit_note::work(&work, &hosts);
    let check = work.check;
    let id = context
        .store
        .queue_manual(
            work,
            hosts,
            context.caller.name.clone(),
            config.runs.queue_limit,
            clock::now(),
        )
        .await?;
    context
        .note
        .did(format_args!("started run {id}: {summary}"));
    tracing::info!(
        run = id.0,
        by = context.caller.name_or("-"),
        roles = role_names,
        hosts = host_names,
        check,
        "manual run requested"
    );
    Ok(id)
}
