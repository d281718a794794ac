//! Pauses, holds and open circuits, and how to release them: `/api/v1/guards`, `/pause`, `/resume`, `/release`,
//! `/hosts/NAME/hold`, `/bindings/NAME/release`, `/roles/NAME/close`, `/runs/ID/approve` and `/reject`.
//!
//! Returns 200 only after the change is on disk. A change without effect is not an error.

mod requests;
mod views;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde::Serialize;

use crate::http::Context;
use crate::http::api::hosts::run_to_completion;
use crate::http::core::error::ApiError;
use crate::http::core::reply::{self, Reply};
use crate::http::core::{audit_note, path};
use crate::model::guards::{HostHold, Pause, StartHistory, after};
use crate::model::inventory::Host;
use crate::model::run::{CONTROLLER, RunId};
use crate::util::clock;
use crate::util::suggest::did_you_mean;

pub(in crate::http) use requests::Hold;
pub(in crate::http) use views::state;

/// The operation of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GuardAction {
    /// Show the pause, the holds and the open circuits.
    Guards,
    /// Show the last starts.
    StartHistory,
    Pause,
    Resume,
    /// Release the storm hold of one binding, or all storm holds.
    Release(Option<String>),
    /// Hold or release a host.
    HostHold(String),
    /// Close the circuit of a role.
    Close(String),
    /// Approve or reject a run.
    Answer {
        /// The run number in the path.
        run: String,
        approved: bool,
    },
}

/// Returns the operation of a path, if it has one here.
pub(crate) fn action_of(path: &str) -> Option<GuardAction> {
    let parts: Vec<&str> = path.strip_prefix("/api/v1/")?.split('/').collect();
    Some(match *parts.as_slice() {
        ["guards"] => GuardAction::Guards,
        ["starts"] => GuardAction::StartHistory,
        ["pause"] => GuardAction::Pause,
        ["resume"] => GuardAction::Resume,
        ["release"] => GuardAction::Release(None),
        ["bindings", name, "release"] if !name.is_empty() => {
            GuardAction::Release(Some(path::decoded(name)))
        }
        ["hosts", name, "hold"] => GuardAction::HostHold(path::decoded(name)),
        ["roles", name, "close"] => GuardAction::Close(path::decoded(name)),
        ["runs", run, act @ ("approve" | "reject")] => GuardAction::Answer {
            run: run.to_owned(),
            approved: act == "approve",
        },
        _ => return None,
    })
}

/// Returns the name of the caller, or `way` if it has none.
pub(crate) fn name_of(context: &Context, way: &str) -> String {
    context.caller.name_or(way).to_owned()
}

pub(crate) async fn answer(
    context: &Context,
    request: Request<Incoming>,
    asked: GuardAction,
) -> Reply {
    let method = request.method();
    let (allowed, fits) = match asked {
        GuardAction::Guards | GuardAction::StartHistory => {
            ("GET, HEAD", matches!(*method, Method::GET | Method::HEAD))
        }
        GuardAction::HostHold(_) => (
            "POST, DELETE",
            matches!(*method, Method::POST | Method::DELETE),
        ),
        _ => ("POST", *method == Method::POST),
    };
    if !fits {
        return reply::method_not_allowed(allowed);
    }
    let own = context.clone();
    run_to_completion(async move {
        let done = act(&own, request, asked).await;
        done.unwrap_or_else(|refusal| refusal.reply())
    })
    .await
}

async fn act(
    context: &Context,
    request: Request<Incoming>,
    asked: GuardAction,
) -> Result<Reply, ApiError> {
    let by = name_of(context, "the API");
    match asked {
        GuardAction::Guards => state(context).await.map(|told| reply::success(&told)),
        GuardAction::StartHistory => {
            let starts = context.store.starts().await.map_err(ApiError::from);
            starts.map(|starts| reply::success(&AllStarts { starts }))
        }
        GuardAction::Pause => {
            let why = requests::why(context, request).await?;
            let paused = pause(context, by, why).await;
            paused.map(|pause| reply::success(&Paused { pause }))
        }
        GuardAction::Resume => {
            let resumed = resume(context, &by).await;
            resumed.map(|()| reply::success(&Paused { pause: None }))
        }
        GuardAction::Release(binding) => {
            let released = release(context, binding.as_deref(), &by).await;
            released.map(|released| reply::success(&Released { released }))
        }
        GuardAction::HostHold(host) if request.method() == Method::DELETE => {
            let released = release_host(context, &host, &by).await;
            released.map(|()| reply::success(&ReleasedHost { host }))
        }
        GuardAction::HostHold(host) => {
            let wanted = requests::hold(context, request).await?;
            let held = hold_host(context, &host, wanted, by).await;
            held.map(|hold| reply::success(&HeldHost { host, hold }))
        }
        GuardAction::Close(role) => {
            let closed = close(context, &role, &by).await;
            closed.map(|was_open| reply::success(&Closed { role, was_open }))
        }
        GuardAction::Answer { run, approved } => {
            let Ok(id) = run.parse().map(RunId) else {
                let why = format_args!("{run:?} is not a run's number");
                return Err(ApiError::bad(why));
            };
            let answered = answer_approval(context, id, approved, by).await;
            let state = if approved { "approved" } else { "rejected" };
            answered.map(|()| reply::success(&Answered { state }))
        }
    }
}

#[derive(Serialize)]
struct AllStarts {
    starts: Vec<StartHistory>,
}

#[derive(Serialize)]
struct Paused {
    pause: Option<Pause>,
}

#[derive(Serialize)]
struct Released {
    /// The bindings; the empty name means all bindings together.
    released: Vec<String>,
}

#[derive(Serialize)]
struct ReleasedHost {
    host: String,
}

#[derive(Serialize)]
struct HeldHost {
    host: String,
    #[serde(flatten)]
    hold: HostHold,
}

#[derive(Serialize)]
struct Closed {
    role: String,
    /// Whether the circuit was open.
    was_open: bool,
}

#[derive(Serialize)]
struct Answered {
    state: &'static str,
}

/// Pauses everything. Returns the pause in force, which may be an earlier one.
pub(crate) async fn pause(
    context: &Context,
    by: String,
    why: String,
) -> Result<Option<Pause>, ApiError> {
    tracing::info!(by, why, "everything paused");
    let since = clock::now();
    let did = format!("paused everything: {why}");
    context.store.pause(Pause { since, by, why }).await?;
    context.note.did(did);
    Ok(context.store.book().await?.pause)
}

/// Ends the pause.
pub(crate) async fn resume(context: &Context, by: &str) -> Result<(), ApiError> {
    context.store.resume().await?;
    context.note.did("resumed: runs are started again");
    tracing::info!(by, "resumed: runs are started again");
    Ok(())
}

/// Releases the storm hold of one binding, or all of them. Returns the bindings; the empty name means all together.
pub(crate) async fn release(
    context: &Context,
    binding: Option<&str>,
    by: &str,
) -> Result<Vec<String>, ApiError> {
    let config = Arc::clone(&context.config.borrow());
    let names: Vec<&str> = config.bindings.iter().map(|b| b.name.as_str()).collect();
    if let Some(name) = binding
        && !names.contains(&name)
        // A removed binding may still be held.
        && !(name.is_empty() || context.store.book().await?.storms.contains_key(name))
    {
        let help = did_you_mean(name, &names, "the bindings are");
        return Err(not_found(format!("no binding is named {name:?}; {help}")));
    }
    let store = &context.store;
    let released = store.release(binding.map(str::to_owned));
    let released = released.await?;
    for binding in &released {
        tracing::info!(by, binding, "storm hold released");
    }
    let of = match released.as_slice() {
        [] => "nothing was held".to_owned(),
        [name] if name.is_empty() => "the one on all bindings together".to_owned(),
        names => format!("those on {}", audit_note::names(names)),
    };
    context.note.did(format_args!("released storm holds: {of}"));
    Ok(released)
}

/// Holds a host, or replaces its hold.
pub(crate) async fn hold_host(
    context: &Context,
    host: &str,
    wanted: Hold,
    by: String,
) -> Result<HostHold, ApiError> {
    let inventory = context.inventory.fresh().await;
    let inventory = inventory.map_err(ApiError::unavailable)?;
    if host != CONTROLLER && inventory.host(host).is_none() {
        let names: Vec<&str> = inventory.hosts().map(Host::name).collect();
        let help = did_you_mean(host, &names, "the hosts are");
        return Err(not_found(format!(
            "no host of the inventory is named {host:?}; {help}"
        )));
    }
    let since = clock::now();
    let hold = HostHold {
        since,
        until: wanted.time.map(|time| after(since, time)),
        by,
        why: wanted.why,
    };
    let store = &context.store;
    store.hold_host(host.to_owned(), hold.clone()).await?;
    let until = hold.until.map(|until| until.to_rfc3339());
    context.note.did(format_args!(
        "held {host} until {}: {}",
        until.as_deref().unwrap_or("it is released"),
        hold.why
    ));
    tracing::info!(host, by = hold.by, until, why = hold.why, "host held");
    Ok(hold)
}

/// Releases a host.
pub(crate) async fn release_host(context: &Context, host: &str, by: &str) -> Result<(), ApiError> {
    let store = &context.store;
    if !store.release_host(host.to_owned(), clock::now()).await? {
        let book = store.book().await?;
        let names: Vec<&String> = book.hosts.keys().collect();
        let help = if names.is_empty() {
            "no host is".to_owned()
        } else {
            did_you_mean(host, &names, "the held hosts are")
        };
        return Err(not_found(format!("{host:?} is not held; {help}")));
    }
    context.note.did(format_args!("released {host}"));
    tracing::info!(host, by, "host released");
    Ok(())
}

/// Closes the circuit of a role by forgetting its failures. Returns whether it was open.
pub(crate) async fn close(context: &Context, role: &str, by: &str) -> Result<bool, ApiError> {
    let config = Arc::clone(&context.config.borrow());
    let names = config.roles.about.iter().map(|about| about.name.as_str());
    let names: Vec<&str> = names.collect();
    if !names.contains(&role) && !context.store.book().await?.streaks.contains_key(role) {
        let help = did_you_mean(role, &names, "the roles are");
        return Err(not_found(format!("no role is named {role:?}; {help}")));
    }
    let store = &context.store;
    let was_open = store.close_circuit(role.to_owned(), clock::now()).await?;
    context.note.did(format_args!(
        "forgot the failures of {role}; its circuit was {}",
        if was_open { "open" } else { "not open" }
    ));
    tracing::info!(role, by, was_open, "failures of a role forgotten");
    Ok(was_open)
}

/// Approves or rejects a run that waits for approval.
pub(crate) async fn answer_approval(
    context: &Context,
    run: RunId,
    approved: bool,
    by: String,
) -> Result<(), ApiError> {
    let store = &context.store;
    let answered = store.answer_approval(run, approved, by.clone(), clock::now());
    answered.await?;
    let answer = if approved { "approved" } else { "rejected" };
    audit_note::of_run(context, answer, run).await;
    tracing::info!(run = run.0, by, answer, "approval answered");
    Ok(())
}

fn not_found(why: String) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, why)
}
