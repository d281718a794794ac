//! Repeats a run that has ended: `POST /api/v1/runs/ID/rerun`.
//!
//! Returns 202 only after the new run is queued and on disk. A run for alerts is repeated for these, with its binding as it is
//! now; a manual or scheduled run on the same hosts with the same variables.

use std::sync::Arc;

use hyper::body::{Body, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, StatusCode};
use serde::Serialize;

use crate::config::{self, Config, Roles, Target};
use crate::http::Context;
use crate::http::api::create_run;
use crate::http::api::hosts::run_to_completion;
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

/// Returns the run in the path of a rerun.
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
    run_to_completion(async move {
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

/// Reads the variables in the body, which is optional.
async fn vars(context: &Context, request: Request<Incoming>) -> Result<Vars, ApiError> {
    let has_type = request.headers().contains_key(CONTENT_TYPE);
    if !has_type && request.body().is_end_stream() {
        return Ok(Vars::new());
    }
    let timeout = context.config.borrow().receiver.body_timeout;
    let body = json::body(request, create_run::LARGEST, timeout).await?;
    config::rerun_vars(&body).map_err(|e| ApiError::bad(&e).about(e.field.unwrap_or_default()))
}

/// Queues a run again, with these variables replacing its own of the same names.
pub(crate) async fn queue(context: &Context, id: RunId, vars: Vars) -> Result<RunId, ApiError> {
    context.configs.follow_roles().await;
    let config = Arc::clone(&context.config.borrow());
    let old = context.store.run(id).await?;
    if old.binding.is_some() {
        if !vars.is_empty() {
            let why = "vars: this run belongs to a binding, which sets its variables";
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
    tracing::info!(run = new.0, repeats = id.0, by, "rerun requested");
    Ok(new)
}

/// Checks that a run without alerts can be repeated.
async fn check(context: &Context, config: &Config, old: &Run, vars: &Vars) -> Result<(), ApiError> {
    let (work, roles) = (&old.work, &config.roles);
    let is_gone = |role: &&String| roles.about(role).next().is_none();
    if let Some(role) = work.roles.iter().find(is_gone) {
        let why = format_args!("the role {role:?} no longer exists");
        return Err(ApiError::new(StatusCode::CONFLICT, why));
    }
    if !vars.is_empty() && !work.inert_vars {
        let why = "vars: the configuration file sets the variables of this run";
        return Err(ApiError::new(StatusCode::CONFLICT, why).about("vars"));
    }
    let is_missing =
        |name: &&String| roles.is_secret(&work.roles, name) && !vars.contains_key(*name);
    let is_manual = work.inert_vars && old.schedule.is_none();
    if is_manual && let Some(name) = work.vars.keys().find(is_missing) {
        let why = format_args!("vars.{name}: it is a secret, so give it again");
        return Err(ApiError::bad(why).about(&format!("vars.{name}")));
    }
    if work.controller {
        return check_vars(roles, work, vars, &|_| true);
    }
    let inventory = context.inventory.current().await;
    let inventory = inventory.map_err(ApiError::unavailable)?;
    let hosts = plan::hosts(&Target::Hosts(old.hosts.clone()), &inventory, None);
    let hosts = hosts.map_err(|e| ApiError::new(StatusCode::CONFLICT, e))?;
    let sets = |name: &str| hosts.iter().all(|host| inventory.may_set(host, name));
    check_vars(roles, work, vars, &sets)
}

/// Checks the variables of a run, with these replacing its own, against the argument specs of its roles. Applies only to
/// variables that came over the API.
fn check_vars(
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
    fn only_paths_of_reruns_match() {
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
