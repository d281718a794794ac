//! `/api/v1/schedules`: as [`crate::http::api::managed`], with the next times.
//!
//! - `POST /schedules/NAME/pause`, `/resume`, `/run`: pauses it, resumes it, runs it now.
//! - `GET /cron?cron=…&timezone=…`: previews the next times of an expression.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde::Serialize;

use crate::config::{Config, ManagedConflict, ManagedKind, Schedule};
use crate::http::Context;
use crate::http::api::managed;
use crate::http::api::views::{self, NEXT, ScheduleAnswer};
use crate::http::core::error::ApiError;
use crate::http::core::reply::{self, Reply};
use crate::http::core::{audit_note, path, query};
use crate::model::run::RunId;
use crate::model::schedule::{Cron, Paused};
use crate::plan;
use crate::util::clock;
use crate::util::zone::Zone;

/// The maximum number of next times.
const NEXT_LIMIT: usize = 100;

#[derive(Serialize)]
struct Schedules {
    schedules: Vec<ScheduleAnswer>,
    /// Created over the API, but ignored.
    conflicts: Vec<ManagedConflict>,
}

#[derive(Serialize)]
struct Started {
    id: RunId,
}

/// Handles `/api/v1/schedules`; `parts` is the path after `/api/v1/`.
pub(crate) async fn schedules(
    context: &Context,
    request: Request<Incoming>,
    parts: &[&str],
) -> Reply {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match parts {
        ["schedules"] if reads => list(context)
            .await
            .unwrap_or_else(|refusal| refusal.reply()),
        ["schedules", name, act @ ("pause" | "resume" | "run")] => {
            if *request.method() != Method::POST {
                return reply::method_not_allowed("POST");
            }
            let (own, act) = (context.clone(), (*act).to_owned());
            let name = path::decoded(name);
            // The client may disconnect meanwhile. The request is completed all the same.
            let done = tokio::spawn(async move {
                perform(&own, &name, &act, own.caller.name_or("the API")).await
            });
            match done.await {
                Ok(Ok(reply)) => reply,
                Ok(Err(refusal)) => refusal.reply(),
                Err(_) => reply::error(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the request failed; see the log",
                ),
            }
        }
        _ => managed::answer(context, request, ManagedKind::Schedule, parts).await,
    }
}

async fn list(context: &Context) -> Result<Reply, ApiError> {
    let config = Arc::clone(&context.config.borrow());
    let progress = context.store.schedules().await?;
    let now = clock::now();
    let answer = move || {
        let all = config.schedules.iter();
        Schedules {
            schedules: all
                .map(|schedule| ScheduleAnswer::of(schedule, progress.get(&schedule.name), now))
                .collect(),
            conflicts: views::conflicts(&config, ManagedKind::Schedule),
        }
    };
    Ok(reply::long_success(answer).await)
}

fn find(config: &Config, name: &str) -> Result<Arc<Schedule>, ApiError> {
    let mut all = config.schedules.iter();
    let found = all.find(|schedule| schedule.name == name).cloned();
    found.ok_or_else(|| {
        ApiError::new(
            StatusCode::NOT_FOUND,
            format_args!("there is no schedule {name:?}"),
        )
    })
}

/// Pauses, resumes or runs the schedule of this name.
async fn perform(context: &Context, name: &str, act: &str, who: &str) -> Result<Reply, ApiError> {
    if act == "run" {
        return Ok(reply::accepted(&Started {
            id: run(context, name).await?,
        }));
    }
    pause(context, name, (act == "pause").then_some(who)).await?;
    let config = Arc::clone(&context.config.borrow());
    let schedule = find(&config, name)?;
    Ok(reply::success(&views::one(context, &schedule).await?))
}

/// Pauses a schedule on behalf of `by`, or resumes it if `by` is `None`.
pub(crate) async fn pause(context: &Context, name: &str, by: Option<&str>) -> Result<(), ApiError> {
    let config = Arc::clone(&context.config.borrow());
    let schedule = find(&config, name)?;
    let now = clock::now();
    let paused = by.map(|by| Paused {
        by: by.to_owned(),
        at: now,
    });
    let store = &context.store;
    store.pause_schedule(schedule, paused, now).await?;
    let did = if by.is_some() { "paused" } else { "resumed" };
    context.note.did(format_args!("{did} the schedule {name}"));
    tracing::info!(
        schedule = name,
        by,
        "{}",
        if by.is_some() {
            "schedule paused"
        } else {
            "schedule resumed"
        }
    );
    // Waits if the channel is full; an error means that the scheduler has ended.
    let _ = context.changed_schedules.send(name.to_owned()).await;
    Ok(())
}

/// Queues a run of a schedule now.
pub(crate) async fn run(context: &Context, name: &str) -> Result<RunId, ApiError> {
    let config = Arc::clone(&context.config.borrow());
    let schedule = find(&config, name)?;
    let inventory = context.inventory.current().await;
    let inventory = inventory.map_err(ApiError::unavailable)?;
    let hosts = plan::hosts_within(&schedule.target, &schedule.limit, &inventory, None)
        .map_err(|e| ApiError::new(StatusCode::CONFLICT, format_args!("target: {e}")))?;
    let limit = config.runs.queue_limit;
    let store = &context.store;
    let id = store
        .start_schedule(
            schedule,
            hosts,
            context.caller.name.clone(),
            limit,
            clock::now(),
        )
        .await?;
    let what = format!("ran the schedule {name} at once:");
    audit_note::of_run(context, &what, id).await;
    tracing::info!(
        run = id.0,
        schedule = name,
        "manual run of a schedule requested"
    );
    let _ = context.changed_schedules.send(name.to_owned()).await;
    Ok(id)
}

#[derive(Serialize)]
struct Times {
    cron: String,
    description: String,
    timezone: &'static str,
    next: Vec<DateTime<Utc>>,
}

/// Handles `/api/v1/cron`.
pub(crate) fn cron(query: &str) -> Reply {
    match times(query, clock::now()) {
        Ok(times) => reply::success(&times),
        Err((field, why)) => reply::error_at(StatusCode::BAD_REQUEST, Some(field), why),
    }
}

fn times(query: &str, now: DateTime<Utc>) -> Result<Times, (&'static str, String)> {
    let (mut cron, mut zone, mut count, mut from) = (None, Zone::UTC, NEXT, now);
    for (name, value) in query::fields(query).map_err(|why| ("query", why))? {
        match &*name {
            "cron" => {
                let parsed: Result<Cron, _> = value.parse();
                cron = Some(parsed.map_err(|e| ("cron", e.to_string()))?);
            }
            "timezone" => zone = value.parse().map_err(|e| ("timezone", e))?,
            "count" => {
                let good = value.parse().ok().filter(|n| (1..=NEXT_LIMIT).contains(n));
                let why = || format!("{value:?} is not a number from 1 to {NEXT_LIMIT}");
                count = good.ok_or_else(|| ("count", why()))?;
            }
            "from" => {
                let why = |_| format!("{value:?} is not a time such as 2026-11-25T10:00:00Z");
                from = value.parse().map_err(|e| ("from", why(e)))?;
            }
            _ => {
                let why = format!("{name}: unknown; want cron, timezone, count or from");
                return Err(("query", why));
            }
        }
    }
    let cron = cron.ok_or_else(|| ("cron", "it is missing".to_owned()))?;
    let next = std::iter::successors(cron.after(&zone, from), |time| cron.after(&zone, *time));
    Ok(Times {
        description: cron.describe(),
        timezone: zone.name(),
        next: next.take(count).collect(),
        cron: cron.to_string(),
    })
}
