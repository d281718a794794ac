//! The section `schedules`, from YAML to [`Schedule`]s.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde_saphyr::Spanned;

use super::Ansible;
use super::Origin;
use super::Roles;
use super::Runs;
use super::Schedule;
use super::Target;
use super::common::{Kind, Known, Names, is_second, name, role_names, vars};
use super::error::{Place, Report, place};
use super::narrowing::{NarrowingText, limit, narrowing};
use super::raw::{ScheduleText, TargetText};
use super::spanned::Scalar;
use super::target::target;
use super::values::{TIMEOUT, duration, zone};
use crate::model::run::Work;
use crate::model::schedule::{Cron, CronError, Missed, Timing};

const GRACE: RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(7 * 24);
const JITTER: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24);

const CRON_HELP: &str = "write five fields: minute, hour, day of the month, month, day of the week, as in cron: '*/15 * * * *'; or @hourly, @daily, @weekly, @monthly";

/// Checks every schedule, and that the names are unique.
pub(super) fn check(
    typed: Vec<Spanned<ScheduleText>>,
    ansible: &Ansible,
    runs: &Runs,
    roles: Option<&Roles>,
    report: &mut Report<'_>,
) -> Vec<Arc<Schedule>> {
    let mut names = Names::default();
    let known = roles.map(|roles| Known { roles, ansible });
    let mut schedules = Vec::with_capacity(typed.len());
    for Spanned {
        value, referenced, ..
    } in typed
    {
        names.take(Kind::Schedule, value.name.as_ref(), report);
        let whole = place(referenced);
        let known = known.as_ref();
        let schedule = schedule(value, whole, ansible, runs, known, report);
        schedules.push(Arc::new(schedule));
    }
    schedules
}

pub(super) fn schedule(
    typed: ScheduleText,
    whole: Option<Place>,
    ansible: &Ansible,
    runs: &Runs,
    known: Option<&Known<'_>>,
    report: &mut Report<'_>,
) -> Schedule {
    let target = place_to_run(typed.target, whole, report);
    let controller = target == Target::Controller;
    let allow_overlap = typed.allow_overlap.unwrap_or(false);
    let narrowing = narrowing(
        NarrowingText {
            tags: typed.tags,
            skip_tags: typed.skip_tags,
            verbosity: typed.verbosity,
        },
        report,
    );
    Schedule {
        name: name(Kind::Schedule, typed.name, whole, report),
        enabled: typed.enabled.unwrap_or(true),
        timing: Timing {
            cron: cron(typed.cron, whole, report),
            zone: zone("timezone", typed.timezone.as_ref(), report),
            jitter: duration(
                "jitter",
                typed.jitter.as_ref(),
                Duration::ZERO,
                JITTER,
                report,
            ),
            missed: missed(typed.missed.as_ref(), report),
            grace: duration(
                "grace",
                typed.grace.as_ref(),
                Schedule::GRACE,
                GRACE,
                report,
            ),
            allow_overlap,
        },
        work: Work {
            roles: role_names(Kind::Schedule, typed.roles, whole, known, report),
            controller,
            vars: vars(typed.vars.unwrap_or_default(), report),
            inert_vars: false,
            r#become: typed.r#become.unwrap_or(ansible.r#become && !controller),
            gather_facts: typed.gather_facts.unwrap_or(ansible.gather_facts),
            check: is_second(
                "mode",
                typed.mode.as_ref(),
                ["run", "check"],
                "write run or check (report changes without making them)",
                report,
            ),
            timeout: duration(
                "timeout",
                typed.timeout.as_ref(),
                runs.timeout,
                TIMEOUT,
                report,
            ),
            allow_overlap,
            rerun_on_interrupt: is_second(
                "on_interrupt",
                typed.on_interrupt.as_ref(),
                ["leave", "rerun"],
                "write rerun (queue the run again) or leave (the next scheduled run follows anyway)",
                report,
            ),
            narrowing,
        },
        limit: limit(typed.limit, &target, report),
        target,
        origin: Origin::File,
    }
}

/// Reads a target that needs no alert.
fn place_to_run(
    typed: Option<Spanned<TargetText>>,
    whole: Option<Place>,
    report: &mut Report<'_>,
) -> Target {
    const HELP: &str = "set where it runs: target: {group: NAME}, {hosts: [NAME]} or controller";
    let Some(typed) = typed else {
        report.add(whole, "this schedule has no target", Some(HELP.to_owned()));
        return Target::default();
    };
    let by_alert = matches!(&typed.value, TargetText::Map(map) if map.alerting_host.is_some());
    if by_alert {
        report.add(
            place(typed.referenced),
            "target: there is no alert to take the host from",
            Some(HELP.to_owned()),
        );
        return Target::default();
    }
    target(Some(typed), report)
}

fn cron(typed: Option<Scalar>, whole: Option<Place>, report: &mut Report<'_>) -> Cron {
    let Some(typed) = typed else {
        report.add(
            whole,
            "this schedule has no cron expression",
            Some(CRON_HELP.to_owned()),
        );
        return Cron::default();
    };
    typed.value.parse().unwrap_or_else(|error| {
        let help = match error {
            CronError::Syntax(_) => CRON_HELP,
            CronError::Never => "choose a day that exists in that month",
        };
        report.add(
            place(typed.referenced),
            format!("{:?} is not a cron expression: {error}", typed.value),
            Some(help.to_owned()),
        );
        Cron::default()
    })
}

fn missed(typed: Option<&Scalar>, report: &mut Report<'_>) -> Missed {
    match typed.map(|typed| typed.value.as_str()) {
        None | Some("skip") => Missed::Skip,
        Some("once") => Missed::Once,
        Some("all") => Missed::All,
        Some(other) => {
            report.add(
                typed.and_then(|typed| place(typed.referenced)),
                format!("missed is {other:?}"),
                Some(
                    "write skip (ignore missed times), once (one run for all missed times) or all (one run for each)"
                        .to_owned(),
                ),
            );
            Missed::Skip
        }
    }
}
