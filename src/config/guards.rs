//! The section `guards`, from YAML to [`Guards`], and the guards of a binding.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;

use super::error::{Report, place};
use super::spanned::Scalar;
use super::values::{count, duration};
use super::yaml::nearest;
use crate::model::guards::{Attempts, Circuit, Limits, Mode, Storm, Then};

/// The longest period of a limit. Older starts are forgotten.
pub const MAX_PERIOD: Duration = Duration::from_hours(7 * 24);

/// The bounds of the periods of limits.
const WITHIN: RangeInclusive<Duration> = Duration::from_secs(1)..=MAX_PERIOD;
const COOLDOWN: RangeInclusive<Duration> = Duration::ZERO..=MAX_PERIOD;
const VERIFY_WITHIN: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
/// The bounds of the starts on one host.
const ATTEMPTS: RangeInclusive<u32> = 0..=100;

/// The limits that protect hosts from too many runs. Each field states its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guards {
    /// Whether runs for alerts make changes; `run`.
    pub mode: Mode,
    /// The limits of each binding, unless it sets its own: no cooldown, 5 attempts in 1h, then stop.
    pub limits: Limits,
    /// The storm limit of all bindings together: 20 hosts within 10m.
    pub storm: Storm,
    /// The circuit of each role: opens after 5 failures, retries after 30m.
    pub circuit: Circuit,
    /// The time in which an alert must resolve after a successful run, unless its binding sets it; 10m.
    pub verify_within: Duration,
}

impl Guards {
    const LIMITS: Limits = Limits {
        cooldown: Duration::ZERO,
        attempts: Attempts {
            max: 5,
            per: Duration::from_hours(1),
            then: Then::Stop,
        },
    };
    const STORM: Storm = Storm {
        max_hosts: 20,
        max_percent: 0,
        within: Duration::from_mins(10),
    };
    const CIRCUIT: Circuit = Circuit {
        failures: 5,
        retry_after: Duration::from_mins(30),
    };
    /// The default of [`Self::verify_within`].
    pub const VERIFY_WITHIN: Duration = Duration::from_mins(10);
    const APPROVAL_TTL: Duration = Duration::from_hours(1);
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GuardsText {
    pub(super) mode: Option<Scalar>,
    pub(super) cooldown: Option<Scalar>,
    pub(super) attempts: Option<AttemptsText>,
    pub(super) storm: Option<StormText>,
    pub(super) circuit: Option<CircuitText>,
    pub(super) verify_within: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AttemptsText {
    pub(super) max: Option<Scalar>,
    pub(super) per: Option<Scalar>,
    pub(super) then: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StormText {
    pub(super) max_hosts: Option<Scalar>,
    pub(super) max_percent: Option<Scalar>,
    pub(super) within: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CircuitText {
    pub(super) failures: Option<Scalar>,
    pub(super) retry_after: Option<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApprovalText {
    pub(super) required: Option<bool>,
    pub(super) ttl: Option<Scalar>,
}

/// Checks the section `guards`.
pub(super) fn check(typed: &GuardsText, report: &mut Report<'_>) -> Guards {
    let circuit = typed.circuit.as_ref();
    Guards {
        mode: mode("guards.mode", typed.mode.as_ref(), report),
        limits: limits(
            "guards.",
            typed.cooldown.as_ref(),
            typed.attempts.as_ref(),
            Guards::LIMITS,
            report,
        ),
        storm: storm("guards.", typed.storm.as_ref(), Guards::STORM, report),
        circuit: Circuit {
            failures: count(
                "guards.circuit.failures",
                circuit.and_then(|c| c.failures.as_ref()),
                Guards::CIRCUIT.failures,
                0..=1000,
                report,
            ),
            retry_after: duration(
                "guards.circuit.retry_after",
                circuit.and_then(|c| c.retry_after.as_ref()),
                Guards::CIRCUIT.retry_after,
                WITHIN,
                report,
            ),
        },
        verify_within: verify_within(
            "guards.verify_within",
            typed.verify_within.as_ref(),
            Guards::VERIFY_WITHIN,
            report,
        ),
    }
}

pub(super) fn verify_within(
    key: &str,
    typed: Option<&Scalar>,
    default: Duration,
    report: &mut Report<'_>,
) -> Duration {
    duration(key, typed, default, VERIFY_WITHIN, report)
}

pub(super) fn mode(key: &str, typed: Option<&Scalar>, report: &mut Report<'_>) -> Mode {
    let help = "write run, check (report changes without making them) or observe (run nothing, record what would run)";
    word(
        key,
        typed,
        &Mode::ALL.map(|mode| (mode.as_str(), mode)),
        help,
        report,
    )
}

/// Reads one of these words; the first is the default.
fn word<T: Copy>(
    key: &str,
    typed: Option<&Scalar>,
    words: &[(&str, T)],
    help: &str,
    report: &mut Report<'_>,
) -> T {
    let Some(typed) = typed else {
        return words[0].1;
    };
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == typed.value) {
        return *value;
    }
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let meant = nearest(&typed.value, &names);
    let meant = meant.map_or_else(String::new, |word| format!("did you mean {word:?}? "));
    report.add(
        place(typed.referenced),
        format!("{key} is {:?}", typed.value),
        Some(meant + help),
    );
    words[0].1
}

pub(super) fn limits(
    prefix: &str,
    cooldown: Option<&Scalar>,
    attempts: Option<&AttemptsText>,
    default: Limits,
    report: &mut Report<'_>,
) -> Limits {
    Limits {
        cooldown: duration(
            &format!("{prefix}cooldown"),
            cooldown,
            default.cooldown,
            COOLDOWN,
            report,
        ),
        attempts: Attempts {
            max: count(
                &format!("{prefix}attempts.max"),
                attempts.and_then(|a| a.max.as_ref()),
                default.attempts.max,
                ATTEMPTS,
                report,
            ),
            per: duration(
                &format!("{prefix}attempts.per"),
                attempts.and_then(|a| a.per.as_ref()),
                default.attempts.per,
                WITHIN,
                report,
            ),
            then: match attempts.and_then(|a| a.then.as_ref()) {
                None => default.attempts.then,
                typed => word(
                    &format!("{prefix}attempts.then"),
                    typed,
                    &[Then::Stop, Then::NextStep].map(|then| (then.as_str(), then)),
                    "write stop or next_step (the binding's next step)",
                    report,
                ),
            },
        },
    }
}

pub(super) fn storm(
    prefix: &str,
    typed: Option<&StormText>,
    default: Storm,
    report: &mut Report<'_>,
) -> Storm {
    Storm {
        max_hosts: count(
            &format!("{prefix}storm.max_hosts"),
            typed.and_then(|s| s.max_hosts.as_ref()),
            default.max_hosts,
            0..=1_000_000,
            report,
        ),
        max_percent: count(
            &format!("{prefix}storm.max_percent"),
            typed.and_then(|s| s.max_percent.as_ref()),
            default.max_percent,
            0..=100,
            report,
        ),
        within: duration(
            &format!("{prefix}storm.within"),
            typed.and_then(|s| s.within.as_ref()),
            default.within,
            WITHIN,
            report,
        ),
    }
}

/// Reads how long the runs of a binding wait for approval.
pub(super) fn approval(typed: Option<&ApprovalText>, report: &mut Report<'_>) -> Option<Duration> {
    let typed = typed?;
    let ttl = duration(
        "approval.ttl",
        typed.ttl.as_ref(),
        Guards::APPROVAL_TTL,
        WITHIN,
        report,
    );
    typed.required.unwrap_or(true).then_some(ttl)
}
