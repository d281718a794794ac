//! Describes the guards of a binding.

use crate::config::{Binding, Guards, format_duration};
use crate::model::guards::{Mode, Storm, Then};

use crate::http::portal::components::count;

/// Describes every guard of a binding, also those that are off.
pub(super) fn in_words(binding: &Binding, guards: &Guards) -> Vec<(&'static str, String)> {
    let limits = &binding.limits;
    let mode = match binding.mode {
        Mode::Run => "run",
        Mode::Check => "check mode: runs only report what would change",
        Mode::Observe => "observe: no run starts, decisions are only recorded",
    };
    let cooldown = if limits.cooldown.is_zero() {
        "none".to_owned()
    } else {
        let time = format_duration(limits.cooldown);
        format!("{time} on each host after a start")
    };
    let attempts = match limits.attempts.max {
        0 => "no limit".to_owned(),
        max => {
            let then = match limits.attempts.then {
                Then::NextStep if binding.steps.len() > 1 => "then the next step",
                _ => "then stop",
            };
            let per = format_duration(limits.attempts.per);
            format!("{max} on each host within {per}, {then}")
        }
    };
    let storm = [
        binding.storm.as_ref().and_then(storm),
        storm(&guards.storm).map(|text| format!("{text} (all bindings)")),
    ];
    let storm: Vec<String> = storm.into_iter().flatten().collect();
    let storm = if storm.is_empty() {
        "no limit".to_owned()
    } else {
        format!("runs are held at {}", storm.join("; "))
    };
    let circuit = match guards.circuit.failures {
        0 => "never opens".to_owned(),
        failures => format!(
            "opens after a failure on {} in a row; next retry, on one host, after {}",
            count(failures, "different host"),
            format_duration(guards.circuit.retry_after)
        ),
    };
    let approval = binding.approval.map_or_else(
        || "not required".to_owned(),
        |ttl| format!("required for each run within {}", format_duration(ttl)),
    );
    vec![
        ("Mode", mode.to_owned()),
        ("Approval", approval),
        ("Times", times(binding)),
        ("Cooldown", cooldown),
        ("Attempts", attempts),
        ("Storm", storm),
        ("Circuit", circuit),
    ]
}

/// Describes the steps, with the time that each has to help.
pub(super) fn steps(binding: &Binding) -> Vec<String> {
    let last_step = binding.steps.len().saturating_sub(1);
    let steps = binding.steps.iter().enumerate().map(|(number, step)| {
        let roles = step.roles.join(", ");
        let time = format_duration(step.verify_within);
        let otherwise = if number < last_step {
            ", otherwise the next step"
        } else {
            ""
        };
        format!("{roles}; the alert must resolve within {time}{otherwise}")
    });
    let last = (!binding.on_resolved.is_empty()).then(|| {
        format!(
            "when the alert resolves: {}",
            binding.on_resolved.join(", ")
        )
    });
    steps.chain(last).collect()
}

fn storm(storm: &Storm) -> Option<String> {
    let within = format_duration(storm.within);
    let hosts =
        (storm.max_hosts > 0).then(|| format!("more than {}", count(storm.max_hosts, "host")));
    let percent = (storm.max_percent > 0)
        .then(|| format!("more than {} % of the inventory", storm.max_percent));
    let most: Vec<String> = hosts.into_iter().chain(percent).collect();
    (!most.is_empty()).then(|| format!("{} within {within}", most.join(" or ")))
}

fn times(binding: &Binding) -> String {
    let windows = &binding.windows;
    let names = |of: &[std::sync::Arc<crate::model::time_interval::TimeInterval>]| {
        let names: Vec<&str> = of.iter().map(|interval| interval.name.as_str()).collect();
        names.join(", ")
    };
    let active =
        (!windows.active.is_empty()).then(|| format!("only during {}", names(&windows.active)));
    let mute = (!windows.mute.is_empty()).then(|| format!("not during {}", names(&windows.mute)));
    match (active, mute) {
        (None, None) => "always".to_owned(),
        (Some(active), Some(mute)) => format!("{active}, and {mute}"),
        (one, other) => one.or(other).unwrap_or_default(),
    }
}
