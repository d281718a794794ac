//! The guards as typed → [`Guards`], and what a binding says of its own.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;

use super::error::{Report, place};
use super::spanned::Scalar;
use super::values::{count, duration};
use super::yaml::nearest;
use crate::model::guards::{Attempts, Circuit, Limits, Mode, Storm, Then};

/// No limit looks further back than this: what is older is forgotten.
pub const FARTHEST: Duration = Duration::from_hours(7 * 24);

/// The bounds of a time within which something is counted.
const WITHIN: RangeInclusive<Duration> = Duration::from_secs(1)..=FARTHEST;
const COOLDOWN: RangeInclusive<Duration> = Duration::ZERO..=FARTHEST;
const VERIFY_WITHIN: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
/// More starts than this on one host are no limit any more.
const ATTEMPTS: RangeInclusive<u32> = 0..=100;

/// What keeps remediation from doing harm. Each field says its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guards {
    /// Whether runs for alerts act; `run`.
    pub mode: Mode,
    /// For each binding that does not say otherwise: no cooldown, 5 attempts in 1h, then stop.
    pub limits: Limits,
    /// For all bindings together: 20 hosts within 10m.
    pub storm: Storm,
    /// For each role: 5 failures, tried again after 30m.
    pub circuit: Circuit,
    /// How long an alert has to resolve after a run that ended well, where its binding does not say; 10m.
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
    /// [`Self::verify_within`], where nothing is said.
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

/// Checks what is said for all bindings.
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
    let help = "write run, check (only say what would change) or observe (run nothing, and note what would be run)";
    word(
        key,
        typed,
        &Mode::ALL.map(|mode| (mode.as_str(), mode)),
        help,
        report,
    )
}

/// One of these words; the first is the default.
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

/// For how long a binding's runs wait for consent.
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
