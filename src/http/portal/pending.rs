//! Pending decisions (runs that need approval, runs that storms hold), and suspended roles and hosts.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::http::Context;
use crate::http::core::excerpt;
use crate::http::portal::components::{Moment, count, few, part};
use crate::model::guards::{ALL, Holds};
use crate::model::run::{Approval, Run, State, Trigger};
use crate::store::{Order, RunFilter, StoreError};

/// The most queued runs to read, oldest first.
const LOOKED_AT: usize = 1_000;

/// The most entries of each kind to show.
const SHOWN: usize = 20;

/// The most ended runs to search for those that did not help.
const ENDED: usize = 500;

/// A run that needs approval.
pub(super) struct ApprovalRow {
    pub id: u64,
    pub roles: String,
    pub hosts: String,
    pub binding: String,
    pub alerts: String,
    pub step: String,
    pub check: bool,
    pub since: Moment,
    pub until: Moment,
}

/// A binding whose runs are held because they would affect too many hosts.
pub(super) struct StormRow {
    /// The name of the binding; empty for the global limit.
    pub binding: String,
    pub hosts: String,
    pub limit: usize,
    pub since: Moment,
    /// The number of held runs, in words.
    pub runs: String,
}

/// A role whose circuit is open.
pub(super) struct CircuitRow {
    pub role: String,
    pub link: String,
    pub failed_on: String,
    pub since: Moment,
    pub probe_at: Moment,
    pub probe: Option<u64>,
}

/// A host on hold.
pub(super) struct HoldRow {
    pub host: String,
    pub link: String,
    pub since: Moment,
    pub until: Option<Moment>,
    pub by: String,
    pub why: String,
}

impl HoldRow {
    /// Returns the hold of a host, if it is in force.
    pub(super) fn of(book: &Holds, host: &str, now: DateTime<Utc>) -> Option<Self> {
        let hold = book.hosts.get(host)?;
        if hold.until.is_some_and(|until| until <= now) {
            return None;
        }
        Some(Self {
            host: host.to_owned(),
            link: format!("/hosts/{}", part(host)),
            since: Moment(hold.since),
            until: hold.until.map(Moment),
            by: hold.by.clone(),
            why: hold.why.clone(),
        })
    }
}

impl CircuitRow {
    /// Returns the open circuit of a role; `None` if it is closed.
    pub(super) fn of(book: &Holds, role: &str) -> Option<Self> {
        let streak = book.streaks.get(role)?;
        let open = streak.open.as_ref()?;
        let hosts: Vec<String> = streak.hosts.iter().cloned().collect();
        Some(Self {
            role: role.to_owned(),
            link: format!("/roles/{}", part(role)),
            failed_on: format!("{} ({})", count(hosts.len(), "host"), few(&hosts, 5)),
            since: Moment(open.since),
            probe_at: Moment(open.probe_at),
            probe: open.probe.map(|id| id.0),
        })
    }
}

/// All pending decisions and suspensions.
pub(super) struct Waiting {
    pub approvals: Vec<ApprovalRow>,
    pub more_approvals: usize,
    pub storms: Vec<StormRow>,
    pub circuits: Vec<CircuitRow>,
    pub holds: Vec<HoldRow>,
    pub more_holds: usize,
}

impl Waiting {
    pub(super) async fn read(
        context: &Context,
        book: &Holds,
        now: DateTime<Utc>,
    ) -> Result<Self, StoreError> {
        let filter = RunFilter {
            state: Some(State::Queued),
            order: Order::Oldest,
            ..RunFilter::default()
        };
        let queued = context.store.runs(filter, None, LOOKED_AT).await?.runs;
        let wanted = |run: &&Run| run.approval.as_ref().is_some_and(Approval::is_wanted);
        let mut wanted: Vec<&Run> = queued.iter().filter(wanted).collect();
        // The approval that expires first comes first.
        wanted.sort_by_key(|run| run.approval.as_ref().map(|approval| approval.until));
        let mut approvals = Vec::new();
        for run in wanted.iter().take(SHOWN) {
            approvals.extend(approval(context, run).await?);
        }
        let mut held: BTreeMap<&str, usize> = BTreeMap::new();
        for binding in queued.iter().filter_map(|run| run.binding.as_deref()) {
            for name in [binding, ALL] {
                *held.entry(name).or_default() += 1;
            }
        }
        let storms = book.storms.iter().map(|(binding, storm)| StormRow {
            binding: binding.clone(),
            hosts: count(storm.hosts, "host"),
            limit: storm.limit,
            since: Moment(storm.since),
            runs: match held.get(binding.as_str()).copied().unwrap_or_default() {
                1 => "1 run is waiting".to_owned(),
                n => format!("{n} runs are waiting"),
            },
        });
        let roles = book.streaks.keys();
        let hosts = book.hosts.keys();
        let mut holds: Vec<HoldRow> = hosts
            .filter_map(|host| HoldRow::of(book, host, now))
            .collect();
        let more_holds = holds.len().saturating_sub(SHOWN);
        holds.truncate(SHOWN);
        Ok(Self {
            more_approvals: wanted.len().saturating_sub(SHOWN),
            approvals,
            storms: storms.collect(),
            circuits: roles
                .filter_map(|role| CircuitRow::of(book, role))
                .collect(),
            holds,
            more_holds,
        })
    }

    /// Whether no decision is pending.
    pub(super) fn is_answered(&self) -> bool {
        self.approvals.is_empty() && self.storms.is_empty()
    }

    /// Whether no role and no host is suspended.
    pub(super) fn leaves_nothing_alone(&self) -> bool {
        self.circuits.is_empty() && self.holds.is_empty()
    }
}

async fn approval(context: &Context, run: &Run) -> Result<Option<ApprovalRow>, StoreError> {
    let Some(approval) = &run.approval else {
        return Ok(None);
    };
    let about = context.store.episodes_of(run.id).await?;
    let mut alerts: Vec<String> = about
        .into_iter()
        .map(|of| excerpt::name(&of.of_run.alertname).into_owned())
        .collect();
    alerts.sort_unstable();
    alerts.dedup();
    Ok(Some(ApprovalRow {
        id: run.id.0,
        roles: run.work.roles.join(", "),
        hosts: few(&run.hosts, 5),
        binding: run.binding.clone().unwrap_or_default(),
        alerts: few(&alerts, 3),
        step: step(run),
        check: run.work.check,
        since: Moment(run.created_at),
        until: Moment(approval.until),
    }))
}

/// Returns the step of a run, such as `1 of 2`; empty if its binding has only one step.
pub(super) fn step(run: &Run) -> String {
    let remedy = run.remedy.filter(|remedy| remedy.steps > 1);
    remedy.map_or_else(String::new, |remedy| {
        format!("{} of {}", remedy.step, remedy.steps)
    })
}

/// Returns the successful runs of the last day whose alert kept firing, newest first, among the last 500 that ended.
pub(super) async fn ineffective(
    context: &Context,
    now: DateTime<Utc>,
) -> Result<Vec<Run>, StoreError> {
    let filter = RunFilter {
        state: Some(State::Finished),
        trigger: Some(Trigger::Alert),
        since: Some(now - TimeDelta::days(1)),
        ..RunFilter::default()
    };
    let mut runs = context.store.runs(filter, None, ENDED).await?.runs;
    runs.retain(|run| run.verdicts.ineffective > 0);
    Ok(runs)
}
