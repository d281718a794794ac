//! The inventory's data for the store: hosts on the same machine, hosts in doubt, and hosts that left.

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

/// The name in `meta` of the missing hosts with stored data: host → missing since, in milliseconds since 1970.
const DEPARTED: &str = "departed_hosts";

/// The inventory's data about the hosts of runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fleet {
    /// The hosts that share a machine: two runs never overlap there.
    pub machines: Machines,
    /// Hosts that are missing from the inventory while the loss is not believed yet: their runs wait.
    pub in_doubt: BTreeSet<String>,
}

impl Fleet {
    /// Returns the machines of a run's hosts.
    pub(crate) fn machines_of<'a>(&'a self, run: &'a Run) -> impl Iterator<Item = &'a str> {
        run.hosts.iter().map(|host| self.machines.of(host))
    }

    pub(crate) fn is_in_doubt(&self, run: &Run) -> bool {
        !run.work.controller && run.hosts.iter().any(|host| self.in_doubt.contains(host))
    }
}

/// The current hosts, and how long data of departed hosts is kept.
#[derive(Debug, Clone)]
pub struct DepartedHosts {
    /// The hosts of the inventory. The controller is always included.
    pub known: BTreeSet<String>,
    /// Hosts that a person removed: their data is deleted immediately.
    pub removed: BTreeSet<String>,
    /// How long facts, findings and successes of other departed hosts are kept.
    pub keep: Duration,
}

/// Removes departed hosts from the metrics, and deletes their data after the retention.
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
        // A clock that was set back must not extend the retention.
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
    let returned = before.keys().filter(|host| departed.known.contains(*host));
    let returned: BTreeSet<&String> = returned.collect();
    if !returned.is_empty() {
        show(tables, state, &returned)?;
    }
    if since != before {
        tables.meta.insert(DEPARTED, encode(&since).as_slice())?;
    }
    Ok(())
}

fn departed_since(tables: &Tables<'_>) -> Result<BTreeMap<String, i64>, StoreError> {
    let value = tables.meta.get(DEPARTED)?;
    // If it cannot be read, the hosts count as missing since now.
    let since = value.and_then(|value| serde_json::from_slice(value.value()).ok());
    Ok(since.unwrap_or_default())
}

/// Returns the hosts with stored data that are not among these.
fn missing(tables: &Tables<'_>, known: &BTreeSet<String>) -> Result<BTreeSet<String>, StoreError> {
    let mut found = BTreeSet::new();
    let mut collect = |host: &str| {
        if host != CONTROLLER && !known.contains(host) {
            found.insert(host.to_owned());
        }
    };
    for row in tables.facts.iter()? {
        collect(row?.0.value());
    }
    for row in tables.last_success.iter()? {
        collect(row?.0.value().1);
    }
    for row in tables.findings.iter()? {
        collect(row?.0.value().1);
    }
    Ok(found)
}

/// Removes hosts from the metrics and keeps their data.
fn hide(
    tables: &Tables<'_>,
    state: &mut WriterState,
    hosts: &BTreeMap<String, i64>,
) -> Result<(), StoreError> {
    let mut hidden = BTreeSet::new();
    let mut collect = |(role, host): (&str, &str)| {
        if hosts.contains_key(host) {
            hidden.insert((role.to_owned(), host.to_owned()));
        }
    };
    for row in tables.last_success.iter()? {
        collect(row?.0.value());
    }
    for row in tables.findings.iter()? {
        collect(row?.0.value());
    }
    let hidden = hidden.into_iter();
    state
        .happened
        .extend(hidden.map(|(role, host)| MetricEvent::Forgotten { role, host }));
    let hosts = hosts.keys().cloned();
    state.happened.extend(hosts.map(MetricEvent::FactsHidden));
    Ok(())
}

/// Restores the metrics of hosts that returned.
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
    /// Sets the inventory's data about hosts, for the next claims. It is not stored.
    pub async fn set_fleet(&self, fleet: Arc<Fleet>) -> Result<(), StoreError> {
        self.write(move |_, state| {
            state.fleet = Arc::clone(&fleet);
            state.scan = None;
            Ok(())
        })
        .await
    }

    /// Removes hosts that left the inventory from the metrics, deletes their facts, findings and successes after the
    /// retention, and restores hosts that returned before.
    pub async fn forget_departed(
        &self,
        departed: DepartedHosts,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        self.write(move |tables, state| forget(tables, state, &departed, now))
            .await
    }
}
