//! The section `bindings`, from YAML to [`Binding`]s.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde_saphyr::Spanned;

use crate::model::alert::matcher::ParseError;
use crate::model::alert::{Matcher, Matchers};

use super::Ansible;
use super::Guards;
use super::Origin;
use super::Roles;
use super::Runs;
use super::Target;
use super::common::{Kind, Known, Names, is_second, name, role_names, vars};
use super::error::{Place, Report, place};
use super::guards;
use super::narrowing::{NarrowingText, limit, narrowing};
use super::raw::{BindingText, StepText};
use super::spanned::{Scalar, exact_place};
use super::target::target;
use super::time_intervals::windows;
use super::values::{BATCH_WINDOW, TIMEOUT, duration};
use crate::model::guards::{Limits, Mode, Storm};
use crate::model::run::{Narrowing, Vars};
use crate::model::time_interval::{TimeInterval, Windows};

const EVERY_ALERT: &str = r#"to match every alert: matchers: ['alertname=~".+"']"#;

/// Maps alerts, by matchers, to roles on a target.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::struct_excessive_bools)] // each is a key of the configuration, and none excludes another
pub struct Binding {
    /// Its name, unique among the bindings.
    pub name: String,
    /// The matchers, at least one; an alert must match all of them.
    pub matchers: Matchers,
    /// The steps, at least one. They run in order while the alert fires.
    pub steps: Vec<Step>,
    /// The alert roles that run once when an episode that had a run of this binding resolves; none.
    pub on_resolved: Vec<String>,
    /// Where to run; the alerting host, by the label `instance`.
    pub target: Target,
    /// The subset of the target's hosts; empty means all of them.
    pub limit: Vec<String>,
    /// Which tasks run, and how verbose Ansible is; all, and not verbose.
    pub narrowing: Narrowing,
    /// The variables for the roles.
    pub vars: Vars,
    /// Whether the variables are data that Ansible must not template: true for bindings made over the API.
    pub inert_vars: bool,
    /// Where the binding is defined.
    pub origin: Origin,
    /// Whether later bindings are ignored for alerts that this one matches; false.
    pub stop: bool,
    /// Whether its runs make changes; [`Guards::mode`] if that is weaker.
    pub mode: Mode,
    /// The limits on starts on one host; [`Guards::limits`].
    pub limits: Limits,
    /// The number of hosts above which its runs are held; no limit of its own, only [`Guards::storm`] for all bindings
    /// together.
    pub storm: Option<Storm>,
    /// How long its runs wait for approval; `None` means that they need none.
    pub approval: Option<Duration>,
    /// When it is active; always.
    pub windows: Windows,
    /// The maximum duration of a run; [`Runs::timeout`].
    pub timeout: Duration,
    /// How long a run waits for more hosts; [`Runs::batch_window`].
    pub batch_window: Duration,
    /// Whether its runs may overlap with other runs on the same host; false.
    pub allow_overlap: bool,
    /// Whether an interrupted run is queued again (`on_interrupt: rerun`); false (`leave`).
    pub rerun_on_interrupt: bool,
    /// Whether tasks run as another user; [`Ansible::become`](Ansible), but false on the controller.
    pub r#become: bool,
    /// Whether a run gathers facts before the first role; [`Ansible::gather_facts`].
    pub gather_facts: bool,
}

/// One step of a binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The alert roles in their order, at least one.
    pub roles: Vec<String>,
    /// The time in which the alert must resolve after this step; [`Guards::verify_within`].
    pub verify_within: Duration,
}

impl Binding {
    /// Returns the roles of all steps and of `on_resolved`, each once.
    pub fn roles(&self) -> Vec<&str> {
        let mut roles: Vec<&str> = Vec::new();
        let steps = self.steps.iter().flat_map(|step| &step.roles);
        for role in steps.chain(&self.on_resolved) {
            if !roles.contains(&role.as_str()) {
                roles.push(role);
            }
        }
        roles
    }

    /// Whether the binding runs a role.
    pub fn runs(&self, role: &str) -> bool {
        self.roles().contains(&role)
    }
}

/// The parts of the file that a binding refers to.
pub(super) struct Defaults<'a> {
    pub(super) ansible: &'a Ansible,
    pub(super) runs: &'a Runs,
    pub(super) guards: &'a Guards,
    pub(super) time_intervals: &'a [Arc<TimeInterval>],
}

/// Checks every binding, and that the names are unique.
pub(super) fn check(
    typed: Vec<Spanned<BindingText>>,
    around: &Defaults<'_>,
    roles: Option<&Roles>,
    report: &mut Report<'_>,
) -> Vec<Arc<Binding>> {
    let mut names = Names::default();
    let known = roles.map(|roles| Known {
        roles,
        ansible: around.ansible,
    });
    let mut bindings = Vec::with_capacity(typed.len());
    for Spanned {
        value, referenced, ..
    } in typed
    {
        names.take(Kind::Binding, value.name.as_ref(), report);
        let whole = place(referenced);
        let known = known.as_ref();
        let binding = binding(value, whole, around, known, report);
        bindings.push(Arc::new(binding));
    }
    bindings
}

pub(super) fn binding(
    typed: BindingText,
    whole: Option<Place>,
    around: &Defaults<'_>,
    known: Option<&Known<'_>>,
    report: &mut Report<'_>,
) -> Binding {
    let Defaults {
        ansible,
        runs,
        guards: defaults,
        time_intervals,
    } = around;
    let target = target(typed.target, report);
    let r#become = typed
        .r#become
        .unwrap_or(ansible.r#become && target != Target::Controller);
    let verify_within = guards::verify_within(
        "verify_within",
        typed.verify_within.as_ref(),
        defaults.verify_within,
        report,
    );
    let steps = steps_or_roles(
        (typed.steps, typed.roles),
        whole,
        verify_within,
        known,
        report,
    );
    let storm = typed.storm.as_ref().map(|typed| {
        let none = Storm {
            max_hosts: 0,
            max_percent: 0,
            within: defaults.storm.within,
        };
        guards::storm("", Some(typed), none, report)
    });
    let on_resolved = on_resolved(typed.on_resolved, known, report);
    let narrowing = narrowing(
        NarrowingText {
            tags: typed.tags,
            skip_tags: typed.skip_tags,
            verbosity: typed.verbosity,
        },
        report,
    );
    Binding {
        name: name(Kind::Binding, typed.name, whole, report),
        matchers: matchers(typed.matchers, whole, report),
        steps,
        on_resolved,
        limit: limit(typed.limit, &target, report),
        narrowing,
        target,
        vars: vars(typed.vars.unwrap_or_default(), report),
        inert_vars: false,
        origin: Origin::File,
        stop: typed.stop.unwrap_or(false),
        mode: guards::mode("mode", typed.mode.as_ref(), report).max(defaults.mode),
        limits: guards::limits(
            "",
            typed.cooldown.as_ref(),
            typed.attempts.as_ref(),
            defaults.limits,
            report,
        ),
        storm,
        approval: guards::approval(typed.approval.as_ref(), report),
        windows: windows(typed.active_times, typed.mute_times, time_intervals, report),
        timeout: duration(
            "timeout",
            typed.timeout.as_ref(),
            runs.timeout,
            TIMEOUT,
            report,
        ),
        batch_window: duration(
            "batch_window",
            typed.batch_window.as_ref(),
            runs.batch_window,
            BATCH_WINDOW,
            report,
        ),
        allow_overlap: typed.allow_overlap.unwrap_or(false),
        rerun_on_interrupt: is_second(
            "on_interrupt",
            typed.on_interrupt.as_ref(),
            ["leave", "rerun"],
            "write rerun (queue the run again) or leave (wait for a person)",
            report,
        ),
        r#become,
        gather_facts: typed.gather_facts.unwrap_or(ansible.gather_facts),
    }
}

/// Reads the roles of `on_resolved`. An empty list is an error; to have none, remove the key.
fn on_resolved(
    typed: Option<Spanned<Vec<Scalar>>>,
    known: Option<&Known<'_>>,
    report: &mut Report<'_>,
) -> Vec<String> {
    let Some(typed) = typed else {
        return Vec::new();
    };
    if typed.value.is_empty() {
        report.add(
            place(typed.referenced),
            "on_resolved is empty",
            Some("name a role under alert/roles, or leave the key out".to_owned()),
        );
        return Vec::new();
    }
    role_names(Kind::Binding, Some(typed), None, known, report)
}

/// The steps as typed: a list of steps, or the roles of the only one.
type Typed = (
    Option<Spanned<Vec<Spanned<StepText>>>>,
    Option<Spanned<Vec<Scalar>>>,
);

fn steps_or_roles(
    (typed, roles): Typed,
    whole: Option<Place>,
    verify_within: Duration,
    known: Option<&Known<'_>>,
    report: &mut Report<'_>,
) -> Vec<Step> {
    let Some(typed) = typed else {
        return vec![Step {
            roles: role_names(Kind::Binding, roles, whole, known, report),
            verify_within,
        }];
    };
    if let Some(roles) = &roles {
        report.add(
            place(roles.referenced),
            "roles and steps are both set",
            Some(
                "keep steps, and move these roles into the first step: steps: [{roles: […]}, …]"
                    .to_owned(),
            ),
        );
    }
    steps(typed, verify_within, known, report)
}

/// The maximum number of steps. A longer sequence belongs in a role.
const STEPS: usize = 10;

fn steps(
    typed: Spanned<Vec<Spanned<StepText>>>,
    verify_within: Duration,
    known: Option<&Known<'_>>,
    report: &mut Report<'_>,
) -> Vec<Step> {
    if !(1..=STEPS).contains(&typed.value.len()) {
        report.add(
            place(typed.referenced),
            format!("steps has {} entries", typed.value.len()),
            Some(format!(
                "write 1 to {STEPS}: steps: [{{roles: [restart_service], verify_within: 5m}}, {{roles: [reboot]}}]"
            )),
        );
    }
    let step = |typed: Spanned<StepText>, report: &mut Report<'_>| Step {
        roles: role_names(
            Kind::Binding,
            typed.value.roles,
            place(typed.referenced),
            known,
            report,
        ),
        verify_within: guards::verify_within(
            "verify_within",
            typed.value.verify_within.as_ref(),
            verify_within,
            report,
        ),
    };
    typed
        .value
        .into_iter()
        .map(|typed| step(typed, report))
        .collect()
}

fn matchers(
    typed: Option<Spanned<Vec<Scalar>>>,
    whole: Option<Place>,
    report: &mut Report<'_>,
) -> Matchers {
    let Some(typed) = typed else {
        report.add(
            whole,
            "this binding has no matchers",
            Some(format!(
                r#"select the alerts: matchers: ['alertname="DiskWillFill"']; {EVERY_ALERT}"#
            )),
        );
        return Matchers::default();
    };
    let list = place(typed.referenced);
    let mut all: Vec<Matcher> = Vec::new();
    let mut good = true;
    for text in &typed.value {
        match Matchers::parse(&text.value) {
            Ok(parsed) => all.extend(parsed),
            Err(error) => {
                good = false;
                no_matcher(text, error, MATCHERS, report);
            }
        }
    }
    if all.is_empty() && good {
        report.add(
            list,
            "matchers is empty, so this binding would match every alert",
            Some(EVERY_ALERT.to_owned()),
        );
    }
    all.into_iter().collect()
}

/// The help for a matcher with `==`, and for any other defect.
const MATCHERS: [&str; 2] = [
    r#"`==` is not an operator: use `=`, as in alertname="DiskWillFill""#,
    r#"write matchers as in Alertmanager: alertname="DiskWillFill", severity=~"warning|critical", team!="db""#,
];

/// Reports a text that is not a matcher. `help` is the help for `==`, and for any other defect.
pub(super) fn no_matcher(
    text: &Scalar,
    error: ParseError,
    help: [&str; 2],
    report: &mut Report<'_>,
) {
    let (part, message, help) = match double_equals(&text.value) {
        Some(part) => (
            part,
            "want an operator: `=`, `!=`, `=~` or `!~`, found `==`".to_owned(),
            help[0],
        ),
        None => (error.position..error.end, error.message, help[1]),
    };
    let column = text.value[..part.start].chars().count();
    let (at, message) = match exact_place(report.text, text, part) {
        Some(at) => (Some(at), message),
        None => (
            place(text.referenced),
            format!("at character {column}: {message}"),
        ),
    };
    report.add(
        at,
        format!("this is not a matcher: {message}"),
        Some(help.to_owned()),
    );
}

/// Returns the first `==` outside of quotes.
fn double_equals(matcher: &str) -> Option<Range<usize>> {
    let mut begin = 0;
    for (i, part) in matcher.split('"').enumerate() {
        if let Some(at) = part.find("==").filter(|_| i % 2 == 0) {
            return Some(begin + at..begin + at + 2);
        }
        begin += part.len() + 1;
    }
    None
}
