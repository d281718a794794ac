//! The JSON of bindings and schedules.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::config::{
    Binding, Config, ManagedConflict, ManagedKind, Origin, Schedule, Step, Target, format_duration,
};
use crate::http::Context;
use crate::http::api::verdicts::{Counts, Known};
use crate::model::guards::{Attempts, Storm};
use crate::model::run::{Narrowing, Vars};
use crate::model::schedule::{LastRun, Missed, Paused, Progress};
use crate::model::time_interval::TimeInterval;
use crate::store::StoreError;
use crate::util::clock;

/// The number of next times to show.
pub(crate) const NEXT: usize = 5;

/// The JSON of a binding.
#[derive(Serialize)]
#[allow(clippy::struct_excessive_bools)] // as in the configuration
pub(crate) struct BindingAnswer {
    name: String,
    source: Origin,
    matchers: Vec<String>,
    /// The roles of all steps and of `on_resolved`, each once.
    roles: Vec<String>,
    steps: Vec<StepAnswer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    on_resolved: Vec<String>,
    target: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    limit: Vec<String>,
    #[serde(flatten)]
    narrowing: Narrowing,
    vars: Map<String, Value>,
    stop: bool,
    mode: &'static str,
    cooldown: String,
    attempts: AttemptsAnswer,
    #[serde(skip_serializing_if = "Option::is_none")]
    storm: Option<StormAnswer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<ApprovalAnswer>,
    active_times: Vec<String>,
    mute_times: Vec<String>,
    timeout: String,
    batch_window: String,
    allow_overlap: bool,
    on_interrupt: &'static str,
    r#become: bool,
    gather_facts: bool,
    /// How often each of its roles helped.
    verdicts: BTreeMap<String, Counts>,
}

impl BindingAnswer {
    pub(crate) fn of(binding: &Binding, known: &Known) -> Self {
        Self {
            name: binding.name.clone(),
            source: binding.origin,
            matchers: binding.matchers.iter().map(ToString::to_string).collect(),
            roles: binding.roles().into_iter().map(str::to_owned).collect(),
            steps: binding.steps.iter().map(StepAnswer::of).collect(),
            on_resolved: binding.on_resolved.clone(),
            target: target(&binding.target),
            limit: binding.limit.clone(),
            narrowing: binding.narrowing.clone(),
            vars: vars(&binding.vars, binding.origin),
            stop: binding.stop,
            mode: binding.mode.as_str(),
            cooldown: format_duration(binding.limits.cooldown),
            attempts: AttemptsAnswer::of(binding.limits.attempts),
            storm: binding.storm.as_ref().map(StormAnswer::of),
            approval: binding.approval.map(|ttl| ApprovalAnswer {
                required: true,
                ttl: format_duration(ttl),
            }),
            active_times: names(&binding.windows.active),
            mute_times: names(&binding.windows.mute),
            timeout: format_duration(binding.timeout),
            batch_window: format_duration(binding.batch_window),
            allow_overlap: binding.allow_overlap,
            on_interrupt: on_interrupt(binding.rerun_on_interrupt),
            r#become: binding.r#become,
            gather_facts: binding.gather_facts,
            verdicts: known.of_binding(&binding.name),
        }
    }
}

/// The JSON of a step.
#[derive(Serialize)]
struct StepAnswer {
    roles: Vec<String>,
    verify_within: String,
}

impl StepAnswer {
    fn of(step: &Step) -> Self {
        Self {
            roles: step.roles.clone(),
            verify_within: format_duration(step.verify_within),
        }
    }
}

#[derive(Serialize)]
struct AttemptsAnswer {
    max: u32,
    per: String,
    then: &'static str,
}

impl AttemptsAnswer {
    fn of(attempts: Attempts) -> Self {
        Self {
            max: attempts.max,
            per: format_duration(attempts.per),
            then: attempts.then.as_str(),
        }
    }
}

#[derive(Serialize)]
struct StormAnswer {
    max_hosts: usize,
    max_percent: usize,
    within: String,
}

impl StormAnswer {
    fn of(storm: &Storm) -> Self {
        Self {
            max_hosts: storm.max_hosts,
            max_percent: storm.max_percent,
            within: format_duration(storm.within),
        }
    }
}

#[derive(Serialize)]
struct ApprovalAnswer {
    required: bool,
    ttl: String,
}

fn names(intervals: &[Arc<TimeInterval>]) -> Vec<String> {
    intervals
        .iter()
        .map(|interval| interval.name.clone())
        .collect()
}

/// Returns a target as in the configuration.
pub(crate) fn target(target: &Target) -> Value {
    match target {
        Target::AlertingHost { label } => json!({"alerting_host": label}),
        Target::Group(group) => json!({"group": group}),
        Target::Hosts(hosts) => json!({"hosts": hosts}),
        Target::Controller => json!("controller"),
    }
}

/// Returns the variables. Those of the configuration file may be secrets, so their values are hidden. Those from the API are
/// data.
pub(crate) fn vars(vars: &Vars, origin: Origin) -> Map<String, Value> {
    let shown = |value: &Value| match origin {
        Origin::File => Value::from("(hidden)"),
        Origin::Api => value.clone(),
    };
    vars.iter()
        .map(|(name, value)| (name.clone(), shown(value)))
        .collect()
}

pub(crate) const fn mode(check: bool) -> &'static str {
    if check { "check" } else { "run" }
}

pub(crate) const fn on_interrupt(rerun: bool) -> &'static str {
    if rerun { "rerun" } else { "leave" }
}

pub(crate) fn conflicts(config: &Config, kind: ManagedKind) -> Vec<ManagedConflict> {
    let conflicts = config.conflicts.iter();
    conflicts
        .filter(|conflict| conflict.kind == kind)
        .cloned()
        .collect()
}

/// The JSON of a schedule.
#[derive(Serialize)]
#[allow(clippy::struct_excessive_bools)] // as in the configuration
pub(crate) struct ScheduleAnswer {
    name: String,
    source: Origin,
    cron: String,
    /// The cron expression in words.
    description: String,
    timezone: &'static str,
    roles: Vec<String>,
    target: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    limit: Vec<String>,
    #[serde(flatten)]
    narrowing: Narrowing,
    vars: Map<String, Value>,
    enabled: bool,
    missed: Missed,
    grace: String,
    jitter: String,
    mode: &'static str,
    timeout: String,
    allow_overlap: bool,
    on_interrupt: &'static str,
    r#become: bool,
    gather_facts: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<Paused>,
    /// The next times; none while the schedule is disabled or paused.
    next: Vec<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<LastRun>,
    missed_times: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    why_missed: Option<String>,
}

impl ScheduleAnswer {
    pub(crate) fn of(schedule: &Schedule, progress: Option<&Progress>, now: DateTime<Utc>) -> Self {
        let (timing, work) = (&schedule.timing, &schedule.work);
        let paused = progress.and_then(|progress| progress.paused.clone());
        let next = if schedule.enabled && paused.is_none() {
            timing.next(now, NEXT)
        } else {
            Vec::new()
        };
        Self {
            name: schedule.name.clone(),
            source: schedule.origin,
            cron: timing.cron.to_string(),
            description: timing.cron.describe(),
            timezone: timing.zone.name(),
            roles: work.roles.clone(),
            target: target(&schedule.target),
            limit: schedule.limit.clone(),
            narrowing: work.narrowing.clone(),
            vars: vars(&work.vars, schedule.origin),
            enabled: schedule.enabled,
            missed: timing.missed,
            grace: format_duration(timing.grace),
            jitter: format_duration(timing.jitter),
            mode: mode(work.check),
            timeout: format_duration(work.timeout),
            allow_overlap: work.allow_overlap,
            on_interrupt: on_interrupt(work.rerun_on_interrupt),
            r#become: work.r#become,
            gather_facts: work.gather_facts,
            paused,
            next,
            last: progress.and_then(|progress| progress.last),
            missed_times: progress.map_or(0, |progress| progress.missed),
            why_missed: progress.and_then(|progress| progress.why_missed.clone()),
        }
    }
}

/// Returns the JSON of one schedule.
pub(crate) async fn one(
    context: &Context,
    schedule: &Schedule,
) -> Result<ScheduleAnswer, StoreError> {
    let progress = context.store.schedules().await?;
    let progress = progress.get(&schedule.name);
    Ok(ScheduleAnswer::of(schedule, progress, clock::now()))
}
