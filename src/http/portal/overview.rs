//! The overview: pending decisions, firing alerts, running, queued and recent runs, the next schedules.

use std::time::Duration;

use askama::Template;
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use hyper::StatusCode;

use crate::config::{ManagedKind, format_duration};
use crate::http::Context;
use crate::http::portal::Answer;
use crate::http::portal::chart::{self, Chart};
use crate::http::portal::components::{Badge, Moment, Row, count};
use crate::http::portal::episode::{self, EpisodeRow};
use crate::http::portal::inventory;
use crate::http::portal::layout::{self, Frame};
use crate::http::portal::pending::{self, Waiting};
use crate::http::portal::schedules::{self, ScheduleRow};
use crate::model::run::State;
use crate::store::{FactsOf, RunFilter, StoreError};
use crate::util::clock;

/// The most queued and running runs to show.
const OPEN: usize = 50;

/// The most firing episodes, and the most next scheduled times, to show.
const FIRING: usize = 10;
const COMING: usize = 6;

/// The time that the chart covers.
const HOURS: i32 = 24;
const HOUR: TimeDelta = TimeDelta::hours(1);

/// The most ended runs, and the most runs that did not help, to show.
const ENDED: usize = 15;
const IN_VAIN: usize = 10;

/// A problem that needs attention.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Warning {
    what: &'static str,
    why: String,
    link: &'static str,
}

#[derive(Template)]
#[template(path = "now.html")]
struct Now {
    frame: Frame,
    waiting: Waiting,
    in_vain: Vec<Row>,
    more_in_vain: usize,
    warnings: Vec<Warning>,
    open: Vec<Row>,
    more_open: bool,
    ended: Vec<Row>,
    bindings: usize,
    firing: Vec<EpisodeRow>,
    more_firing: usize,
    next: Vec<(Moment, String, String, String)>,
    schedules: usize,
    chart: Option<Chart>,
}

pub(super) async fn page(context: &Context) -> Answer {
    let now = clock::now();
    let running = newest(context, State::Running, OPEN, now).await?;
    let mut queued = newest(context, State::Queued, OPEN, now).await?;
    // The run that has waited longest starts next.
    queued.0.reverse();
    let more_open = running.1 || queued.1;
    let ended = newest(context, State::Finished, ENDED, now).await?;
    let firing = context.store.firing(None, |_| true, None, FIRING).await?;
    let all: u64 = context.store.firing_counts().await?.values().sum();
    let firing = episode::rows(firing);
    let schedules = schedules::rows(context).await?;
    let first = |row: &ScheduleRow| {
        let at = *row.next.first()?;
        Some((at, row.name.clone(), row.link.clone(), row.roles.clone()))
    };
    let mut next: Vec<_> = schedules.iter().filter_map(first).collect();
    next.sort_by_key(|(at, ..)| at.0);
    next.truncate(COMING);
    // The columns begin at full hours.
    let since = now.duration_trunc(HOUR).unwrap_or(now) - HOUR * (HOURS - 1);
    let bucket = Duration::from_hours(1);
    let ends = context.store.outcomes_since(since, bucket).await?;
    let book = context.store.book().await?;
    let in_vain = pending::ineffective(context, now).await?;
    let page = Now {
        frame: Frame::new(context, "/"),
        waiting: Waiting::read(context, &book, now).await?,
        in_vain: in_vain
            .iter()
            .take(IN_VAIN)
            .map(|run| Row::of(run, now))
            .collect(),
        more_in_vain: in_vain.len().saturating_sub(IN_VAIN),
        warnings: warnings(context, now).await?,
        open: [running.0, queued.0].concat(),
        more_open,
        ended: ended.0,
        bindings: context.config.borrow().bindings.len(),
        more_firing: usize::try_from(all)
            .unwrap_or(usize::MAX)
            .saturating_sub(firing.len()),
        firing,
        next,
        schedules: schedules.len(),
        chart: chart::outcomes(&ends, since, HOUR, HOURS.unsigned_abs()),
    };
    layout::page(StatusCode::OK, page).await
}

/// Returns the newest runs of a state, and whether there are more.
async fn newest(
    context: &Context,
    state: State,
    most: usize,
    now: DateTime<Utc>,
) -> Result<(Vec<Row>, bool), StoreError> {
    let filter = RunFilter {
        state: Some(state),
        ..RunFilter::default()
    };
    let page = context.store.runs(filter, None, most).await?;
    let rows = page.runs.iter().map(|run| Row::of(run, now)).collect();
    Ok((rows, page.next.is_some()))
}

async fn warnings(context: &Context, now: DateTime<Utc>) -> Result<Vec<Warning>, StoreError> {
    let mut warnings = Vec::new();
    let mut warn = |what, why, link| warnings.push(Warning { what, why, link });
    if let Some(why) = context.store.trouble() {
        let why = format!(
            "Notifications and changes are rejected until the store can be written: {why}."
        );
        warn("The store cannot be written", why, "/-/ready");
    }
    let rows = context.metrics.quarantined_rows();
    if rows > 0 {
        let rows = count(rows, "row");
        let why = format!(
            "{rows} could not be read and were set aside. Their content is missing. The log lists them."
        );
        warn("The store has unreadable rows", why, "");
    }
    if !context.metrics.is_config_read() {
        let why = "The current file has errors, so the previous configuration is in use. `promansible check config` and the log show the errors.";
        warn("The configuration was rejected", why.to_owned(), "");
    }
    let conflicts = context.config.borrow().conflicts.clone();
    for conflict in &conflicts {
        let link = match conflict.kind {
            ManagedKind::Binding => "/alerts",
            ManagedKind::Schedule => "/schedules",
        };
        warn(
            "An object from the portal or the API is ignored",
            format!("{conflict}."),
            link,
        );
    }
    for of in context.truncated_alerts.unhandled(now) {
        let alerts = count(usize::try_from(of.alerts).unwrap_or(usize::MAX), "alert");
        let then = if of.trying {
            "promansible retries."
        } else {
            "They arrive with the next notification of the group, if max_alerts permits."
        };
        let why = format!(
            "Alertmanager truncated a notification of the group {} by {alerts} (max_alerts), and they could not be fetched: {}. {then}",
            of.group, of.why
        );
        warn("Alerts were not handled", why, "");
    }
    let hosts = match context.inventory.latest() {
        Ok(hosts) => hosts,
        Err(why) => {
            let why = format!(
                "{why}. Until the inventory can be read, alerts are not processed and no run starts."
            );
            warn("No inventory", why, "/hosts");
            return Ok(warnings);
        }
    };
    let standing = context.inventory.status();
    if let Some(why) = inventory::unread(&standing) {
        warn("The inventory cannot be read", why, "/hosts");
    }
    if let Some(why) = inventory::shrunk(&standing) {
        warn("The inventory has lost hosts", why, "/hosts");
    }
    if !hosts.conflicts().is_empty() {
        let conflicts = count(hosts.conflicts().len(), "enrolled host");
        let why = format!("{conflicts} ignored, because the inventory sources have the same name.");
        warn("Host names are in conflict", why, "/hosts");
    }
    let facts = context.config.borrow().facts.clone();
    if facts.every.is_some() {
        let known = context.store.facts_list().await?;
        let is_old = |of: &&FactsOf| {
            let age = (now - of.gathered_at).to_std().unwrap_or_default();
            age > facts.stale_after && hosts.host(&of.host).is_some()
        };
        let stale = known.iter().filter(is_old).count();
        if stale > 0 {
            let hosts = count(stale, "host");
            let age = format_duration(facts.stale_after);
            let why = format!("The facts of {hosts} are older than {age} (facts.stale_after).");
            warn("Facts are stale", why, "/hosts");
        }
    }
    Ok(warnings)
}
