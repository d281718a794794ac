//! The portal: pages for people, rendered on the server. They work without scripts; the script adds live updates.
//!
//! | method | path | page |
//! | --- | --- | --- |
//! | GET | `/` | [`overview`]: pending decisions, firing alerts, running and recent runs, the next schedules |
//! | GET, POST | `/pause` | [`guards`]: asks for a reason, then pauses everything |
//! | POST | `/resume` | ends the pause |
//! | POST | `/release` | releases the runs that a storm holds (`binding`; empty for the global limit) |
//! | GET | `/runs` | [`runs`]: the history, with filters |
//! | GET | `/runs/ID` | [`run`]: one run |
//! | GET, POST | `/runs/ID/cancel` | asks for confirmation, then cancels the run |
//! | POST | `/runs/ID/approve`, `/runs/ID/reject` | approves or rejects a run |
//! | POST | `/runs/ID/rerun` | queues an ended run again |
//! | GET, POST | `/run` | [`start`]: runs roles (`role`, `hosts`, `group`, `again` fill the form) |
//! | GET | `/hosts` | [`hosts`]: the inventory |
//! | GET | `/hosts/NAME` | [`host`]: one host and its facts |
//! | GET, POST | `/hosts/NAME/remove` | asks for confirmation, then removes an enrolled host |
//! | GET, POST | `/hosts/NAME/hold` | asks for a duration and a reason, then holds the host |
//! | POST | `/hosts/NAME/release` | ends the hold |
//! | GET, POST | `/enrol` | [`enrol`]: adds a host |
//! | GET | `/alerts` | [`alerts`]: alert types and bindings (`unbound`) |
//! | GET | `/alerts/NAME` | one alert type and its recent episodes |
//! | GET, POST | `/binding` | [`binding`]: creates a binding (`alert` names the alert type) |
//! | GET, POST | `/bindings/NAME`, `/bindings/NAME/remove` | shows, changes, removes a binding |
//! | GET | `/schedules` | [`schedules`]: the schedules and their next times |
//! | POST | `/schedules/NAME/pause`, `…/resume`, `…/run` | as the API |
//! | GET, POST | `/schedule` | [`schedule`]: creates a schedule |
//! | GET, POST | `/schedules/NAME`, `/schedules/NAME/remove` | shows, changes, removes a schedule |
//! | GET | `/roles`, `/roles/NAME` | [`roles`]: the roles; one role with its variables and README |
//! | POST | `/roles/NAME/close` | closes the circuit of the role |
//! | GET | `/audit` | [`audit`]: the audit log |
//! | GET, POST | `/login` | [`login`]: signs a user in (`next` is the path to open afterwards) |
//! | POST | `/logout` | signs the user out |
//! | GET | `/assets/…` | [`assets`]: the style sheet, the script, the icon |
//!
//! A page can do what the API can, through the same functions, and nothing else. A form must come from one of our own
//! pages: see [`form`].

mod alerts;
mod ansi;
mod assets;
mod audit;
mod binding;
mod chart;
mod components;
mod confirm;
mod effectiveness;
mod enrol;
mod episode;
mod facts;
mod form;
mod guard_text;
mod guards;
mod host;
mod hosts;
mod inventory;
mod layout;
mod login;
mod managed;
mod markdown;
mod overview;
mod pending;
mod roles;
mod run;
mod run_form;
mod runs;
mod schedule;
mod schedules;
mod start;
mod timeline;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};

use super::Context;
use super::api::rerun;
use super::core::error::ApiError;
use super::core::path;
use super::core::reply::{self, Reply};
use super::core::slots::Slot;
use crate::model::run::RunId;
use form::Form;

pub(super) use login::{bounce, to_login};

/// A page, or the error to show instead.
type Answer = Result<Reply, ApiError>;

pub(super) async fn answer(context: &Context, request: Request<Incoming>) -> Reply {
    let uri = request.uri().clone();
    let parts: Vec<String> = uri.path().split('/').skip(1).map(path::decoded).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let query = uri.query().unwrap_or("");
    let mut context = context.clone();
    if !matches!(parts.as_slice(), ["assets" | "login" | "logout", ..]) {
        match context.store.book().await {
            Ok(book) => context.pause = book.pause,
            Err(e) => return layout::trouble(&context, e.into()).await,
        }
    }
    let context = &context;
    let answer = match *request.method() {
        Method::GET | Method::HEAD => read(context, &request, &parts, query).await,
        Method::POST => post(context, request, &parts).await,
        _ => return reply::method_not_allowed("GET, HEAD, POST"),
    };
    match answer {
        Ok(reply) => reply,
        Err(refusal) => layout::trouble(context, refusal).await,
    }
}

/// The page for a request that the caller is not allowed to make.
pub(super) async fn refused(context: &Context, why: String) -> Reply {
    layout::trouble(context, ApiError::new(StatusCode::FORBIDDEN, why)).await
}

async fn read(
    context: &Context,
    request: &Request<Incoming>,
    parts: &[&str],
    query: &str,
) -> Answer {
    match parts {
        [""] => overview::page(context).await,
        ["runs"] => runs::page(context, query).await,
        ["runs", id] => run::page(context, number(id)?).await,
        ["runs", id, "cancel"] => confirm::cancel(context, number(id)?).await,
        ["pause"] => guards::ask_pause(context, &Form::default(), None).await,
        ["run"] => start::page(context, query).await,
        ["hosts"] => hosts::page(context, query).await,
        ["hosts", name] => host::page(context, name).await,
        ["hosts", name, "remove"] => confirm::remove(context, name).await,
        ["hosts", name, "hold"] => guards::ask_hold(context, name, &Form::default(), None).await,
        ["enrol"] => enrol::page(context).await,
        ["alerts"] => alerts::page(context, query).await,
        ["alerts", name] => alerts::one(context, name).await,
        ["binding"] => binding::new(context, query).await,
        ["bindings", name] => binding::one(context, name).await,
        ["roles"] => roles::page(context).await,
        ["roles", name] => roles::one(context, name).await,
        ["schedules"] => schedules::page(context).await,
        ["schedule"] => schedule::new(context, query).await,
        ["schedules", name] => schedule::one(context, name).await,
        [kind @ ("bindings" | "schedules"), name, "remove"] => {
            confirm::take_away(context, kind, name).await
        }
        ["assets", name] => assets::answer(name, request.headers()),
        ["audit"] => audit::page(context, query).await,
        ["login"] => login::page(context, query).await,
        _ => Err(nothing(parts)),
    }
}

async fn post(context: &Context, request: Request<Incoming>, parts: &[&str]) -> Answer {
    match parts {
        ["runs", id, "cancel"] => {
            let id = number(id)?;
            form::read(context, request).await?;
            confirm::canceled(context, id).await
        }
        ["runs", id, answer @ ("approve" | "reject")] => {
            let id = number(id)?;
            form::read(context, request).await?;
            guards::answer(context, id, *answer == "approve").await
        }
        ["runs", id, "rerun"] => {
            let id = number(id)?;
            form::read(context, request).await?;
            let new = rerun::queue(context, id, crate::model::run::Vars::new()).await?;
            Ok(layout::redirect(&format!("/runs/{new}")))
        }
        ["pause"] => {
            let form = form::read(context, request).await?;
            guards::pause(context, &form).await
        }
        ["resume"] => {
            form::read(context, request).await?;
            guards::resume(context).await
        }
        ["release"] => {
            let form = form::read(context, request).await?;
            guards::release(context, &form).await
        }
        ["hosts", name, "hold"] => {
            let form = form::read(context, request).await?;
            guards::hold(context, name, &form).await
        }
        ["hosts", name, "release"] => {
            form::read(context, request).await?;
            guards::release_host(context, name).await
        }
        ["roles", name, "close"] => {
            form::read(context, request).await?;
            guards::close(context, name).await
        }
        ["run"] => {
            let form = form::read(context, request).await?;
            start::started(context, form).await
        }
        ["login"] => {
            let place = request.extensions().get::<Slot>().cloned();
            let form = form::read(context, request).await?;
            login::signed_in(context, form, place).await
        }
        ["logout"] => {
            let headers = request.headers().clone();
            form::read(context, request).await?;
            Ok(login::signed_out(context, &headers))
        }
        ["enrol"] => {
            let form = form::read(context, request).await?;
            enrol::enrolled(context, form).await
        }
        ["hosts", name, "remove"] => {
            form::read(context, request).await?;
            confirm::removed(context, name).await
        }
        ["binding"] => {
            let form = form::read(context, request).await?;
            binding::keep(context, form, None).await
        }
        ["bindings", name] => {
            let form = form::read(context, request).await?;
            binding::keep(context, form, Some(name)).await
        }
        ["schedule"] => {
            let form = form::read(context, request).await?;
            schedule::keep(context, form, None).await
        }
        ["schedules", name] => {
            let form = form::read(context, request).await?;
            schedule::keep(context, form, Some(name)).await
        }
        ["schedules", name, what @ ("pause" | "resume" | "run")] => {
            form::read(context, request).await?;
            schedules::act(context, name, what).await
        }
        [kind @ ("bindings" | "schedules"), name, "remove"] => {
            form::read(context, request).await?;
            confirm::taken_away(context, kind, name).await
        }
        ["" | "audit" | "runs" | "hosts" | "alerts" | "bindings" | "schedules" | "roles"]
        | ["runs" | "hosts" | "alerts" | "roles" | "assets", _] => {
            Ok(reply::method_not_allowed("GET, HEAD"))
        }
        _ => Err(nothing(parts)),
    }
}

fn number(id: &str) -> Result<RunId, ApiError> {
    let number = id.parse().map(RunId);
    number.map_err(|_| ApiError::bad(format_args!("{id:?} is not a run's number")))
}

fn nothing(parts: &[&str]) -> ApiError {
    let path = parts.join("/");
    ApiError::new(StatusCode::NOT_FOUND, format_args!("there is no /{path}"))
}
