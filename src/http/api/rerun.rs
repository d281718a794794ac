//! Repeating a run that has ended: `POST /api/v1/runs/ID/rerun`.
//!
//! 202 only after the new run is on disk, queued. A run for alerts is repeated for them, by its binding as it is now; a run by
//! hand or by schedule on the same hosts with the same variables.

use std::sync::Arc;

use hyper::body::{Body, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, StatusCode};
use serde::Serialize;

use crate::config::{self, Config, Roles, Target};
use crate::http::Context;
use crate::http::api::create_run;
use crate::http::api::hosts::to_its_end;
use crate::http::core::error::ApiError;
use crate::http::core::json;
use crate::http::core::reply::{self, Reply};
use crate::model::run::{Run, RunId, Vars, Work};
use crate::plan;
use crate::store::RerunRequest;
use crate::util::clock;

#[derive(Serialize)]
struct RerunAnswer {
    id: RunId,
}

/// The run that is to be repeated, if this path asks for that.
pub(crate) fn asked(path: &str) -> Option<&str> {
    let id = path.strip_prefix("/api/v1/runs/")?;
    let id = id.strip_suffix("/rerun")?;
    (!id.contains('/')).then_some(id)
}

pub(crate) async fn answer(context: &Context, request: Request<Incoming>, id: &str) -> Reply {
    if *request.method() != Method::POST {
        return reply::method_not_allowed("POST");
    }
    let Ok(id) = id.parse().map(RunId) else {
        return ApiError::bad(format_args!("{id:?} is not a run's number")).reply();
    };
    let context = context.clone();
    to_its_end(async move {
        let queued = async {
            let vars = vars(&context, request).await?;
            queue(&context, id, vars).await
        };
        match queued.await {
            Ok(id) => reply::accepted(&RerunAnswer { id }),
            Err(refusal) => refusal.reply(),
        }
    })
    .await
}

/// The variables in the body; there may be none.
async fn vars(context: &Context, request: Request<Incoming>) -> Result<Vars, ApiError> {
    let said = request.headers().contains_key(CONTENT_TYPE);
    if !said && request.body().is_end_stream() {
        return Ok(Vars::new());
    }
    let timeout = context.config.borrow().receiver.body_timeout;
    let body = json::body(request, create_run::LARGEST, timeout).await?;
    config::rerun_vars(&body).map_err(|e| ApiError::bad(&e).about(e.field.unwrap_or_default()))
}

/// Queues a run once more, with these variables in the place of its own of the same names.
pub(crate) async fn queue(context: &Context, id: RunId, vars: Vars) -> Result<RunId, ApiError> {
    context.configs.follow_roles().await;
    let config = Arc::clone(&context.config.borrow());
    let old = context.store.run(id).await?;
    if old.binding.is_some() {
        if !vars.is_empty() {
            let why = "vars: this run is a binding's, which has its variables from there";
            return Err(ApiError::new(StatusCode::CONFLICT, why).about("vars"));
        }
    } else {
        check(context, &config, &old, &vars).await?;
    }
    let again = RerunRequest {
        by: context.caller.name.clone(),
        vars,
    };
    let store = &context.store;
    let new = store.rerun(id, again, config, clock::now()).await?;
    let by = context.caller.name_or("-");
    tracing::info!(run = new.0, repeats = id.0, by, "run asked for once more");
    Ok(new)
}

/// Whether a run of no alert can be repeated as it was.
async fn check(context: &Context, config: &Config, old: &Run, vars: &Vars) -> Result<(), ApiError> {
    let (work, roles) = (&old.work, &config.roles);
    let is_gone = |role: &&String| roles.about(role).next().is_none();
    if let Some(role) = work.roles.iter().find(is_gone) {
        let why = format_args!("the role {role:?} is not there any more");
        return Err(ApiError::new(StatusCode::CONFLICT, why));
    }
    if !vars.is_empty() && !work.inert_vars {
        let why = "vars: this run has its variables from the configuration file";
        return Err(ApiError::new(StatusCode::CONFLICT, why).about("vars"));
    }
    let is_missing =
        |name: &&String| roles.is_secret(&work.roles, name) && !vars.contains_key(*name);
    let by_hand = work.inert_vars && old.schedule.is_none();
    if by_hand && let Some(name) = work.vars.keys().find(is_missing) {
        let why = format_args!("vars.{name}: it is a secret, so give it again");
        return Err(ApiError::bad(why).about(&format!("vars.{name}")));
    }
    if work.controller {
        return take(roles, work, vars, &|_| true);
    }
    let inventory = context.inventory.current().await;
    let inventory = inventory.map_err(ApiError::unavailable)?;
    let hosts = plan::hosts(&Target::Hosts(old.hosts.clone()), &inventory, None);
    let hosts = hosts.map_err(|e| ApiError::new(StatusCode::CONFLICT, e))?;
    let sets = |name: &str| hosts.iter().all(|host| inventory.may_set(host, name));
    take(roles, work, vars, &sets)
}

/// Whether the roles of a run take its variables with these in the place of their own, where they came over the API.
fn take(
    roles: &Roles,
    work: &Work,
    vars: &Vars,
    inventory: &dyn Fn(&str) -> bool,
) -> Result<(), ApiError> {
    if !work.inert_vars {
        return Ok(());
    }
    let mut all = work.vars.clone();
    all.extend(vars.clone());
    let checked = roles.check_vars(&work.roles, &all, inventory);
    checked.map_err(|e| ApiError::bad(&e).about(&e.first().0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_paths_are_taken() {
        assert_eq!(asked("/api/v1/runs/7/rerun"), Some("7"));
        for path in [
            "/api/v1/runs/7",
            "/api/v1/runs/rerun",
            "/api/v1/runs/7/x/rerun",
            "/runs/7/rerun",
        ] {
            assert_eq!(asked(path), None, "{path}");
        }
    }
}
