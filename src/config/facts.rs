//! The section `facts`, from YAML to [`Facts`].

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_saphyr::Spanned;

use super::Config;
use super::Facts;
use super::Target;
use super::error::{Report, place};
use super::raw::{ExtraFactText, FactMetricsText, FactsText};
use super::spanned::Scalar;
use super::target::target;
use super::values::{count, duration};
use super::yaml::did_you_mean;
use crate::model::facts::{ExtraFact, FAMILIES, HostOptions};
use crate::model::run::{Narrowing, Vars, Work};

/// The bounds of `keep_after_removal`: facts are not kept longer than a year.
const KEEP: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24 * 365);

const EVERY: RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(24 * 365);

/// The suffixes that the name of a gauge must not have.
const SUFFIXES: [&str; 5] = ["_total", "_count", "_sum", "_bucket", "_info"];

/// The maximum number of extra metrics. With more, they would be a copy of the facts.
const MAX_EXTRA: usize = 100;

const MAX_NAME_CHARS: usize = 60;

/// The routine role that gathers facts.
pub const GATHER_ROLE: &str = "gather_facts";

impl Config {
    /// Returns the work that gathers facts, if its role exists.
    pub fn gathering(&self) -> Option<Work> {
        let roles = &self.roles.routine;
        roles.iter().any(|role| role == GATHER_ROLE).then(|| {
            let controller = self.facts.target == Target::Controller;
            Work {
                roles: vec![GATHER_ROLE.to_owned()],
                controller,
                vars: Vars::new(),
                inert_vars: false,
                r#become: self.ansible.r#become && !controller,
                gather_facts: false,
                check: false,
                timeout: self.runs.timeout,
                allow_overlap: false,
                rerun_on_interrupt: false,
                narrowing: Narrowing::default(),
            }
        })
    }
}

pub(super) fn check(typed: FactsText, report: &mut Report<'_>) -> Facts {
    let every = typed.every.as_ref().map(|every| {
        duration(
            "facts.every",
            Some(every),
            Facts::STALE_AFTER,
            EVERY,
            report,
        )
    });
    Facts {
        every,
        target: gathered(typed.target, report),
        stale_after: duration(
            "facts.stale_after",
            typed.stale_after.as_ref(),
            Facts::STALE_AFTER,
            EVERY,
            report,
        ),
        keep_after_removal: duration(
            "facts.keep_after_removal",
            typed.keep_after_removal.as_ref(),
            Facts::KEEP_AFTER_REMOVAL,
            KEEP,
            report,
        ),
        metrics: metrics(typed.metrics.unwrap_or_default(), report),
    }
}

fn gathered(typed: Option<Spanned<super::raw::TargetText>>, report: &mut Report<'_>) -> Target {
    let Some(typed) = typed else {
        return Target::Group("all".to_owned());
    };
    let at = place(typed.referenced);
    let target = target(Some(typed), report);
    if matches!(target, Target::AlertingHost { .. }) {
        report.add(
            at,
            "facts.target: there is no alert to take the host from",
            Some("write one of: {group: NAME}, {hosts: [NAME]}, controller".to_owned()),
        );
    }
    target
}

fn metrics(typed: FactMetricsText, report: &mut Report<'_>) -> HostOptions {
    let extra = typed.extra.unwrap_or_default();
    if let Some(one) = extra.get(MAX_EXTRA) {
        report.add(
            place(one.referenced),
            format!("facts.metrics.extra has more than {MAX_EXTRA} entries"),
            Some("keep only the metrics that you use".to_owned()),
        );
    }
    let mut seen = HashSet::new();
    let extra = extra
        .into_iter()
        .map(|typed| {
            let at = place(typed.referenced);
            let one = self::extra(typed.value, at, report);
            if !one.name.is_empty() && !seen.insert(one.name.clone()) {
                report.add(
                    at,
                    format!("the metric {:?} is listed twice", one.name),
                    Some("use a different name for each".to_owned()),
                );
            }
            one
        })
        .collect();
    HostOptions {
        only: names("facts.metrics.only", typed.only, report),
        never: names("facts.metrics.never", typed.never, report),
        extra,
        limit: count(
            "facts.metrics.series_limit",
            typed.series_limit.as_ref(),
            HostOptions::LIMIT,
            1..=100_000,
            report,
        ),
    }
}

fn names(key: &str, typed: Option<Vec<Scalar>>, report: &mut Report<'_>) -> Vec<String> {
    let known: Vec<String> = FAMILIES
        .iter()
        .map(|family| family.name.to_owned())
        .collect();
    let typed = typed.unwrap_or_default();
    for name in &typed {
        let bare = name
            .value
            .strip_prefix("promansible_host_")
            .unwrap_or(&name.value);
        let fits = match bare.strip_suffix('*') {
            Some(beginning) => known.iter().any(|name| name.starts_with(beginning)),
            None => known.iter().any(|name| name == bare),
        };
        if !fits {
            report.add(
                place(name.referenced),
                format!("{key}: there is no host metric {:?}", name.value),
                Some(did_you_mean(bare, &known, "the host metrics are")),
            );
        }
    }
    let bare = typed
        .into_iter()
        .map(|name| match name.value.strip_prefix("promansible_host_") {
            Some(bare) => bare.to_owned(),
            None => name.value,
        });
    bare.collect()
}

fn extra(
    typed: ExtraFactText,
    whole: Option<super::error::Place>,
    report: &mut Report<'_>,
) -> ExtraFact {
    let mut field = |name: &str, value: Option<Scalar>, want: &str| {
        if value.is_none() {
            report.add(
                whole,
                format!("this fact has no {name}"),
                Some(want.to_owned()),
            );
        }
        value
    };
    let name = field(
        "name",
        typed.name,
        "name the metric: name: backup_age_seconds becomes promansible_host_backup_age_seconds",
    );
    let path = field(
        "path",
        typed.path,
        "give its path: path: ansible_local.backup.age_seconds",
    );
    let help = field(
        "help",
        typed.help,
        "describe it for /metrics: help: How old the last backup is.",
    );
    if let Some(name) = &name
        && let Some((message, help)) = defect_of_name(&name.value)
    {
        report.add(place(name.referenced), message, Some(help.to_owned()));
    }
    if let Some(path) = &path
        && path.value.split('.').any(str::is_empty)
    {
        report.add(
            place(path.referenced),
            format!("{:?} is not a valid fact path", path.value),
            Some("write names separated by dots: ansible_local.backup.age_seconds".to_owned()),
        );
    }
    if let Some(help) = &help
        && (help.value.trim().is_empty() || help.value.contains(char::is_control))
    {
        report.add(
            place(help.referenced),
            "the help of a metric must be one sentence on one line",
            Some("help: How old the last backup is.".to_owned()),
        );
    }
    let value = |typed: Option<Scalar>| typed.map(|typed| typed.value).unwrap_or_default();
    ExtraFact {
        name: value(name),
        help: value(help),
        path: value(path),
    }
}

fn defect_of_name(name: &str) -> Option<(String, &'static str)> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_lowercase())
        || !name.chars().all(good)
        || name.len() > MAX_NAME_CHARS
    {
        return Some((
            format!("{name:?} is not a valid metric name"),
            "use at most 60 characters from a-z, 0-9 and _, starting with a letter, as in backup_age_seconds",
        ));
    }
    if FAMILIES.iter().any(|family| family.name == name) {
        return Some((
            format!("promansible_host_{name} already exists"),
            "choose another name",
        ));
    }
    let suffix = SUFFIXES.iter().find(|suffix| name.ends_with(**suffix))?;
    Some((
        format!("this metric is a gauge, and a gauge name must not end with {suffix}"),
        "name what it measures and end with the unit, as in backup_age_seconds",
    ))
}
