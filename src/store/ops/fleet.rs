//! What the inventory means for the store: which names are one machine, whose hosts are in doubt, and which have left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use redb::ReadableTable;

use crate::metrics::MetricEvent;
use crate::model::inventory::Machines;
use crate::model::run::{CONTROLLER, Run};
use crate::store::disk::records::Reported;
use crate::store::disk::tables::{FINDINGS, Tables, encode};
use crate::store::ops::state::WriterState;
use crate::store::ops::{facts, finish};
use crate::store::{Store, StoreError};

/// Since when hosts are missing of which something is kept: host → milliseconds since 1970.
const DEPARTED: &str = "departed_hosts";

/// What the inventory says of the hosts that runs are for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Which names are one machine: two runs never meet there.
    pub machines: Machines,
    /// Hosts that are missing from the inventory, and it is not believed yet that they left: their runs wait.
    pub in_doubt: BTreeSet<String>,
}

impl Fleet {
    /// The machines that a run touches.
    pub(crate) fn machines_of<'a>(&'a self, run: &'a Run) -> impl Iterator<Item = &'a str> {
        run.hosts.iter().map(|host| self.machines.of(host))
    }

    pub(crate) fn is_in_doubt(&self, run: &Run) -> bool {
        !run.work.controller && run.hosts.iter().any(|host| self.in_doubt.contains(host))
    }
}

/// Which hosts there are, and how long something is kept of those that left.
#[derive(Debug, Clone)]
pub struct DepartedHosts {
    /// The hosts of the inventory. The controller always is one.
    pub known: BTreeSet<String>,
    /// Hosts that a person removed: nothing is kept of them.
    pub removed: BTreeSet<String>,
    /// How long facts, findings and successes of the others are kept.
    pub keep: Duration,
}

/// Takes hosts that left off the metrics, and forgets them when their time has come.
fn forget(
    tables: &mut Tables<'_>,
    state: &mut WriterState,
    departed: &DepartedHosts,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let before = departed_since(tables)?;
    let now_millis = now.timestamp_millis();
    let mut since = BTreeMap::new();
    for host in missing(tables, &departed.known)? {
        // A clock that was set back must not keep them for longer.
        let at = before
            .get(&host)
            .map_or(now_millis, |at| (*at).min(now_millis));
        let kept = u128::try_from(now_millis - at).unwrap_or(0) < departed.keep.as_millis();
        if kept && !departed.removed.contains(&host) {
            since.insert(host, at);
        }
    }
    let mut stays = departed.known.clone();
    stays.extend(since.keys().cloned());
    finish::forget_hosts_but(tables, state, &stays)?;
    if !since.is_empty() {
        hide(tables, state, &since)?;
    }
    let back = before.keys().filter(|host| departed.known.contains(*host));
    let back: BTreeSet<&String> = back.collect();
    if !back.is_empty() {
        show(tables, state, &back)?;
    }
    if since != before {
        tables.meta.insert(DEPARTED, encode(&since).as_slice())?;
    }
    Ok(())
}

fn departed_since(tables: &Tables<'_>) -> Result<BTreeMap<String, i64>, StoreError> {
    let value = tables.meta.get(DEPARTED)?;
    // Where it cannot be read they count as missing since now.
    let since = value.and_then(|value| serde_json::from_slice(value.value()).ok());
    Ok(since.unwrap_or_default())
}

/// The hosts of which something is kept, and that are not among these.
fn missing(tables: &Tables<'_>, known: &BTreeSet<String>) -> Result<BTreeSet<String>, StoreError> {
    let mut found = BTreeSet::new();
    let mut look = |host: &str| {
        if host != CONTROLLER && !known.contains(host) {
            found.insert(host.to_owned());
        }
    };
    for row in tables.facts.iter()? {
        look(row?.0.value());
    }
    for row in tables.last_success.iter()? {
        look(row?.0.value().1);
    }
    for row in tables.findings.iter()? {
        look(row?.0.value().1);
    }
    Ok(found)
}

/// Takes hosts off the metrics, of which everything is kept.
fn hide(
    tables: &Tables<'_>,
    state: &mut WriterState,
    hosts: &BTreeMap<String, i64>,
) -> Result<(), StoreError> {
    let mut shown = BTreeSet::new();
    let mut look = |(role, host): (&str, &str)| {
        if hosts.contains_key(host) {
            shown.insert((role.to_owned(), host.to_owned()));
        }
    };
    for row in tables.last_success.iter()? {
        look(row?.0.value());
    }
    for row in tables.findings.iter()? {
        look(row?.0.value());
    }
    let shown = shown.into_iter();
    state
        .happened
        .extend(shown.map(|(role, host)| MetricEvent::Forgotten { role, host }));
    let hosts = hosts.keys().cloned();
    state.happened.extend(hosts.map(MetricEvent::FactsHidden));
    Ok(())
}

/// Puts what is kept of hosts that came back on the metrics again.
fn show(
    tables: &Tables<'_>,
    state: &mut WriterState,
    hosts: &BTreeSet<&String>,
) -> Result<(), StoreError> {
    for host in hosts {
        if let Some(facts) = facts::of(tables, host)? {
            state.happened.push(MetricEvent::FactsBack(Box::new(facts)));
        }
    }
    let hosts: BTreeSet<&str> = hosts.iter().map(|host| host.as_str()).collect();
    let is_back = |host: &str| hosts.contains(host);
    for row in tables.last_success.iter()? {
        let (key, at) = row?;
        let (role, host) = key.value();
        let at = DateTime::from_timestamp_millis(at.value());
        if let Some(at) = at.filter(|_| is_back(host)) {
            let (role, host) = (role.to_owned(), host.to_owned());
            state
                .happened
                .push(MetricEvent::SuccessBack { role, host, at });
        }
    }
    for row in tables.findings.iter()? {
        let (key, value) = row?;
        let (role, host) = key.value();
        if is_back(host) {
            let unreadable = &tables.unreadable;
            let reported = unreadable.decode(FINDINGS, &key.value(), value.value());
            let Some(reported): Option<Reported> = reported else {
                continue;
            };
            state.happened.push(MetricEvent::ReportBack {
                role: role.to_owned(),
                host: host.to_owned(),
                at: reported.at,
                findings: reported.findings,
            });
        }
    }
    Ok(())
}

impl Store {
    /// Takes what the inventory says of the hosts: the next claim goes by it. It is not kept.
    pub async fn set_fleet(&self, fleet: Arc<Fleet>) -> Result<(), StoreError> {
        self.write(move |_, state| {
            state.fleet = Arc::clone(&fleet);
            state.scan = None;
            Ok(())
        })
        .await
    }

    /// Takes hosts that left the inventory off the metrics; forgets their facts, findings and successes after the time
    /// for which they are kept, and shows those again that came back before.
    pub async fn forget_departed(
        &self,
        departed: DepartedHosts,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        self.write(move |tables, state| forget(tables, state, &departed, now))
            .await
    }
}
