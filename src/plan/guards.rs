//! Applies the guards to a choice to run.

use chrono::{DateTime, Utc};

use crate::config::Binding;
use crate::model::guards::{CircuitState, Mode, Refused, State, Then, may_start};
use crate::model::run::{Skip, SkippedHost};
use crate::plan::Choice;
use crate::plan::step_of;

/// Chooses the hosts on which a step may start, or the reason to skip all of them.
pub(super) fn choose(
    binding: &Binding,
    state: &State,
    first: u32,
    (hosts, about): (&[String], Option<String>),
    now: DateTime<Utc>,
) -> Choice {
    if let Some(refused) = closed(binding, now) {
        return skip(refused);
    }
    let mut step = first;
    let (mut free, refused) = loop {
        let (free, refused) = partition_hosts(binding, state, step, (hosts, about.as_deref()), now);
        let exhausted = |r: &(String, Refused)| r.1.reason == Skip::AttemptsExhausted;
        let try_next_step = free.is_empty()
            && refused.iter().all(exhausted)
            && binding.limits.attempts.then == Then::NextStep
            && step_of(binding, step + 1).is_some();
        if !try_next_step {
            break (free, refused);
        }
        step += 1;
    };
    if let [first, others @ ..] = &refused[..]
        && free.is_empty()
    {
        return skip(merge_refusals(first, others));
    }
    let roles = step_of(binding, step).map_or(&[][..], |step| &step.roles);
    let mut spared: Vec<SkippedHost> = refused.into_iter().map(spare).collect();
    let probe = match state.book.gate(roles, now) {
        CircuitState::Open(refused) => return skip(refused),
        CircuitState::Closed => false,
        CircuitState::HalfOpen => {
            for host in free.drain(1..) {
                let refused = Refused {
                    reason: Skip::CircuitOpen,
                    until: None,
                    why: "the role is tested on one host first".to_owned(),
                };
                spared.push(spare((host, refused)));
            }
            true
        }
    };
    if binding.mode == Mode::Observe {
        return skip(Refused {
            reason: Skip::Observe,
            until: None,
            why: format!("it would run {} on {}", roles.join(", "), free.join(", ")),
        });
    }
    Choice::Run {
        hosts: free,
        about,
        step,
        probe,
        spared,
    }
}

/// Returns why a binding is inactive at this time, or `None` if it is active.
pub fn closed(binding: &Binding, now: DateTime<Utc>) -> Option<Refused> {
    let closed = binding.windows.closed(now)?;
    Some(Refused {
        reason: Skip::Muted,
        until: binding.windows.next_change(now),
        why: closed.to_string(),
    })
}

/// Returns why a step may not start on a host at this time, or `None` if it may.
pub fn refused(
    binding: &Binding,
    state: &State,
    step: u32,
    host: &str,
    now: DateTime<Utc>,
) -> Option<Refused> {
    let touches = state.touches.on(&binding.name, host);
    let held = state.book.host(host, now);
    held.and_then(|()| may_start(&binding.limits, step, touches, now))
        .err()
}

fn partition_hosts(
    binding: &Binding,
    state: &State,
    step: u32,
    (hosts, about): (&[String], Option<&str>),
    now: DateTime<Utc>,
) -> (Vec<String>, Vec<(String, Refused)>) {
    let (mut free, mut refusals) = (Vec::new(), Vec::new());
    for host in hosts {
        let counted = about.unwrap_or(host);
        match refused(binding, state, step, counted, now) {
            None => free.push(host.clone()),
            Some(refused) => refusals.push((host.clone(), refused)),
        }
    }
    (free, refusals)
}

/// Merges the refusals of all hosts into one: the first reason, and the earliest time at which a host may be free.
fn merge_refusals((host, first): &(String, Refused), others: &[(String, Refused)]) -> Refused {
    let more = match others.len() {
        0 => String::new(),
        n => format!(", and {n} more are skipped too"),
    };
    let untils = others.iter().filter_map(|(_, refused)| refused.until);
    Refused {
        reason: first.reason,
        until: untils.chain(first.until).min(),
        why: format!("{host}: {}{more}", first.why),
    }
}

fn spare((host, refused): (String, Refused)) -> SkippedHost {
    SkippedHost {
        host,
        reason: refused.reason,
        why: refused.why,
    }
}

fn skip(refused: Refused) -> Choice {
    Choice::Skip {
        reason: refused.reason,
        why: refused.why,
        until: refused.until,
    }
}
