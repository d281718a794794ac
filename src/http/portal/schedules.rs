//! The schedules, with their next times and last runs; pauses, resumes and runs them.

use askama::Template;
use hyper::StatusCode;

use super::Answer;
use super::binding::target_in_words;
use super::components::{Badge, Moment, part};
use super::layout::{self, Frame};
use crate::config::{ManagedKind, Origin};
use crate::http::Context;
use crate::http::api::schedules;
use crate::http::core::error::ApiError;
use crate::model::schedule::Cron;
use crate::util::clock;

/// The number of next times to show.
pub(super) const NEXT: usize = 5;

/// A schedule, as shown on pages.
pub(super) struct ScheduleRow {
    pub name: String,
    pub link: String,
    pub cron: String,
    pub described: String,
    pub zone: &'static str,
    pub roles: String,
    pub target: String,
    pub provisioned: bool,
    pub enabled: bool,
    pub paused: Option<(String, Moment)>,
    pub next: Vec<Moment>,
    pub last: Option<(u64, Badge, Moment)>,
    pub missed: u64,
    pub why_missed: String,
}

impl ScheduleRow {
    /// Returns the name encoded for URLs and `id` attributes: a name that starts with `#` or has spaces would break both.
    pub(super) fn part(&self) -> String {
        part(&self.name)
    }
}

/// Describes a cron expression, to be used within a sentence.
pub(super) fn described(cron: &Cron) -> String {
    cron.describe()
}

/// Returns all schedules, in the order of the configuration.
pub(super) async fn rows(context: &Context) -> Result<Vec<ScheduleRow>, ApiError> {
    let config = context.config.borrow().clone();
    let (store, now) = (&context.store, clock::now());
    let progress = store.schedules().await?;
    let mut rows = Vec::with_capacity(config.schedules.len());
    for schedule in &config.schedules {
        let of = progress.get(&schedule.name);
        let paused = of.and_then(|of| of.paused.as_ref());
        let mut last = None;
        if let Some(run) = of.and_then(|of| of.last) {
            // Retention may have deleted the run.
            let found = store.run(run.run).await.ok();
            last = found.map(|found| (run.run.0, Badge::of(&found), Moment(run.at)));
        }
        let is_active = schedule.enabled && paused.is_none();
        let next = if is_active {
            schedule.timing.next(now, NEXT)
        } else {
            Vec::new()
        };
        rows.push(ScheduleRow {
            name: schedule.name.clone(),
            link: format!("/schedules/{}", part(&schedule.name)),
            cron: schedule.timing.cron.to_string(),
            described: described(&schedule.timing.cron),
            zone: schedule.timing.zone.name(),
            roles: schedule.work.roles.join(", "),
            target: target_in_words(&schedule.target),
            provisioned: schedule.origin == Origin::File,
            enabled: schedule.enabled,
            paused: paused.map(|paused| (paused.by.clone(), Moment(paused.at))),
            next: next.into_iter().map(Moment).collect(),
            last,
            missed: of.map_or(0, |of| of.missed),
            why_missed: of.and_then(|of| of.why_missed.clone()).unwrap_or_default(),
        });
    }
    Ok(rows)
}

#[derive(Template)]
#[template(path = "schedules.html")]
struct Schedules {
    frame: Frame,
    rows: Vec<ScheduleRow>,
    conflicts: Vec<(String, String, String)>,
}

pub(super) async fn page(context: &Context) -> Answer {
    let config = context.config.borrow().clone();
    let conflicts = config
        .conflicts
        .iter()
        .filter(|of| of.kind == ManagedKind::Schedule);
    let page = Schedules {
        frame: Frame::new(context, "/schedules"),
        rows: rows(context).await?,
        conflicts: conflicts
            .map(|of| {
                (
                    of.name.clone(),
                    of.why.clone(),
                    format!("/schedules/{}", part(&of.name)),
                )
            })
            .collect(),
    };
    layout::page(StatusCode::OK, page).await
}

/// Pauses or resumes a schedule, or runs it at once.
pub(super) async fn act(context: &Context, name: &str, what: &str) -> Answer {
    let (own, name, what) = (context.clone(), name.to_owned(), what.to_owned());
    // A task of its own, so that the change completes even if the browser disconnects.
    let done = tokio::spawn(async move {
        if what == "run" {
            let run = schedules::run(&own, &name).await?;
            return Ok::<_, ApiError>(format!("/runs/{run}"));
        }
        let by = (what == "pause").then_some(own.caller.name_or("the portal"));
        schedules::pause(&own, &name, by).await?;
        Ok(format!("/schedules#schedule-{}", part(&name)))
    });
    let done = done
        .await
        .map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, e))?;
    Ok(layout::redirect(&done?))
}
