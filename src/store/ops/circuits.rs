//! The circuits of roles: counts failures when runs end.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use redb::ReadableTable;

use crate::model::guards::{Circuit, Streak};
use crate::model::message::HoldTarget;
use crate::model::run::{Outcome, Run, Skip, TaskEvent, TaskStatus};
use crate::store::StoreError;
use crate::store::disk::tables::{EVENTS, Tables};
use crate::store::ops::guard_subjects::about_of;
use crate::store::ops::guards;
use crate::store::ops::mark_due::schedule_scan;
use crate::store::ops::state::WriterState;

/// Counts the results of an ended run for its roles. Roles that failed too often in a row are suspended.
pub(crate) fn count_failures(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    run: &Run,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let circuit = state.guards.circuit;
    let probing = |streak: &Streak| {
        streak
            .open
            .as_ref()
            .is_some_and(|open| open.probe == Some(run.id))
    };
    let streaks = state.guards.book.streaks.iter();
    let tried: Vec<String> = streaks
        .filter(|(_, streak)| probing(streak))
        .map(|(role, _)| role.clone())
        .collect();
    for role in tried {
        let streak = state.guards.book.streaks.get_mut(&role);
        if let Some(open) = streak.and_then(|streak| streak.open.as_mut()) {
            open.probe = None;
        }
        guards::keep_streak(tables, state, &role)?;
    }
    if run.started_at.is_none() || run.work.check {
        return Ok(());
    }
    let failing = failing_roles(tables, run)?;
    let (mut helped, mut failed) = (BTreeSet::new(), BTreeSet::new());
    for (host, result) in &run.results {
        let bad = match result.outcome {
            Outcome::Successful => false,
            Outcome::Failed | Outcome::Unreachable | Outcome::Timeout => true,
            Outcome::Canceled | Outcome::Interrupted => continue,
        };
        // The roles before the failed one succeeded, and those after it were not reached.
        let at = failing.get(host);
        for role in &run.work.roles {
            if bad && at.is_none_or(|at| at == role) {
                failed.insert((role, host));
                break;
            }
            helped.insert(role);
        }
    }
    // The hosts of one run have no order, so its failures take precedence over its successes.
    for role in helped {
        record_success(tables, state, role, now)?;
    }
    // Routine roles fail when they find a problem: that is their purpose.
    let circuit = circuit.filter(|circuit| circuit.failures > 0 && run.binding.is_some());
    let Some(circuit) = circuit else {
        return Ok(());
    };
    // On the controller, a role fails for the hosts that it is about.
    let still = tables.still_about(run.id)?;
    let about = about_of(tables, run, still.keys())?;
    for (role, host) in failed {
        if about.is_empty() {
            record_failure(tables, state, &circuit, (role, host), now)?;
        }
        for host in about.values() {
            record_failure(tables, state, &circuit, (role, host), now)?;
        }
    }
    Ok(())
}

fn record_failure(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    circuit: &Circuit,
    (role, host): (&str, &str),
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let opened = state.guards.book.failed(role, host, circuit, now);
    guards::keep_streak(tables, state, role)?;
    if opened {
        state.scan = None;
        let why = format!(
            "it failed on {} different hosts in a row and is suspended; it will be tested on one host after {}",
            circuit.failures,
            crate::util::units::format_duration(circuit.retry_after)
        );
        let what = HoldTarget::Role(role.to_owned());
        guards::notify_held(tables, state, what, Skip::CircuitOpen.as_str(), why, now)?;
    }
    Ok(())
}

fn record_success(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    role: &str,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let (known, open) = state.guards.book.succeeded(role);
    if known {
        guards::keep_streak(tables, state, role)?;
    }
    if open {
        schedule_scan(tables, state, Skip::CircuitOpen, now)?;
    }
    Ok(())
}

/// Returns host → failed role, as far as it is in the events.
fn failing_roles(tables: &Tables<'_>, run: &Run) -> Result<BTreeMap<String, String>, StoreError> {
    let mut failing = BTreeMap::new();
    if run.work.roles.len() < 2 || run.outcome == Some(Outcome::Successful) {
        return Ok(failing);
    }
    for row in tables.events.range((run.id.0, 0)..=(run.id.0, u32::MAX))? {
        let (key, value) = row?;
        let unreadable = &tables.unreadable;
        let event = unreadable.decode(EVENTS, &key.value(), value.value());
        let Some(event): Option<TaskEvent> = event else {
            continue;
        };
        let bad = matches!(event.status, TaskStatus::Failed | TaskStatus::Unreachable);
        if let Some(role) = event.role.filter(|_| bad) {
            failing.insert(event.host, role);
        }
    }
    Ok(failing)
}
