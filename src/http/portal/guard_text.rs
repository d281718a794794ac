//! The guards of a binding, in words.

use crate::config::{Binding, Guards, format_duration};
use crate::model::guards::{Mode, Storm, Then};

use crate::http::portal::components::count;

/// Each guard and what it does here, also where it does nothing.
pub(super) fn in_words(binding: &Binding, guards: &Guards) -> Vec<(&'static str, String)> {
    let limits = &binding.limits;
    let mode = match binding.mode {
        Mode::Run => "runs act",
        Mode::Check => "runs only say what they would change (check mode)",
        Mode::Observe => "nothing is run: it is only noted what would have been",
    };
    let cooldown = if limits.cooldown.is_zero() {
        "none".to_owned()
    } else {
        let time = format_duration(limits.cooldown);
        format!("{time} on each host after a start there")
    };
    let attempts = match limits.attempts.max {
        0 => "no limit".to_owned(),
        max => {
            let then = match limits.attempts.then {
                Then::NextStep if binding.steps.len() > 1 => "then the next step",
                _ => "then it stops and says so",
            };
            let per = format_duration(limits.attempts.per);
            format!("{max} on each host within {per}, {then}")
        }
    };
    let storm = [
        binding.storm.as_ref().and_then(storm),
        storm(&guards.storm).map(|text| format!("all bindings together at {text}")),
    ];
    let storm: Vec<String> = storm.into_iter().flatten().collect();
    let storm = if storm.is_empty() {
        "no limit".to_owned()
    } else {
        format!("held at {}", storm.join("; "))
    };
    let circuit = match guards.circuit.failures {
        0 => "roles are run however often they failed".to_owned(),
        failures => format!(
            "a role that failed on {} in a row is not run for {}, then tried on one",
            count(failures, "different host"),
            format_duration(guards.circuit.retry_after)
        ),
    };
    let approval = binding.approval.map_or_else(
        || "not needed".to_owned(),
        |ttl| {
            format!(
                "a person must approve each run within {}",
                format_duration(ttl)
            )
        },
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

/// The steps and how long each may take to help.
pub(super) fn steps(binding: &Binding) -> Vec<String> {
    let steps = binding.steps.iter();
    let steps = steps.map(|step| {
        let time = format_duration(step.verify_within);
        format!("{}; its alert has {time} to resolve", step.roles.join(", "))
    });
    let last = (!binding.on_resolved.is_empty())
        .then(|| format!("when it resolves, {}", binding.on_resolved.join(", ")));
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
        (!windows.active.is_empty()).then(|| format!("only in {}", names(&windows.active)));
    let mute = (!windows.mute.is_empty()).then(|| format!("not in {}", names(&windows.mute)));
    match (active, mute) {
        (None, None) => "always".to_owned(),
        (Some(active), Some(mute)) => format!("{active}, and {mute}"),
        (one, other) => one.or(other).unwrap_or_default(),
    }
}
