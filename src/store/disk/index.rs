//! The index of finished runs, by their properties and by the time of their end.
//!
//! A run is added when it finishes, because it does not change afterwards, and because admitting alerts must not cost
//! more. Open runs are few and are read directly.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use redb::ReadableTable;

use crate::model::run::{Outcome, Run, RunId, State};
use crate::store::disk::names::cut;
use crate::store::disk::records::RunEpisodeChange;
use crate::store::disk::tables::{RUN_ENDS, RUNS, Tables, meta_number, open_for_reading};
use crate::store::{Store, StoreError};

/// The indexed properties of a run. The numbers are part of the file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Kind {
    Outcome = 1,
    Trigger = 2,
    Binding = 3,
    Schedule = 4,
    Role = 5,
    Host = 6,
    Alertname = 7,
}

/// The outcomes of runs within one period.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Ends {
    /// The start of the period.
    pub from: DateTime<Utc>,
    /// Outcome → number of runs; outcomes without runs are omitted.
    #[serde(serialize_with = "by_label")]
    pub outcomes: BTreeMap<Outcome, u64>,
}

fn by_label<S: serde::Serializer>(
    outcomes: &BTreeMap<Outcome, u64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(outcomes.iter().map(|(outcome, n)| (outcome.as_str(), n)))
}

impl Store {
    /// Counts the runs that finished since `since`, by outcome and by period of length `bucket`; the first period
    /// begins at `since`. Periods without runs are omitted. Reads only the index.
    pub async fn outcomes_since(
        &self,
        since: DateTime<Utc>,
        bucket: Duration,
    ) -> Result<Vec<Ends>, StoreError> {
        let from = since.timestamp_millis();
        let bucket = i64::try_from(bucket.as_millis()).map_or(i64::MAX, |millis| millis.max(1));
        self.read(move |txn| {
            let mut periods: BTreeMap<i64, BTreeMap<Outcome, u64>> = BTreeMap::new();
            let Some(table) = open_for_reading(txn, RUN_ENDS)? else {
                return Ok(Vec::new());
            };
            for row in table.range((from, 0)..)? {
                let (key, outcome) = row?;
                let period = key.value().0.saturating_sub(from) / bucket;
                let outcome = outcome_of(outcome.value())?;
                let counts = periods.entry(period).or_default();
                *counts.entry(outcome).or_default() += 1;
            }
            let begin = |period: i64| {
                DateTime::from_timestamp_millis(from.saturating_add(period.saturating_mul(bucket)))
            };
            Ok(periods
                .into_iter()
                .map(|(period, outcomes)| Ends {
                    from: begin(period).unwrap_or(since),
                    outcomes,
                })
                .collect())
        })
        .await
    }
}

fn outcome_of(label: &str) -> Result<Outcome, StoreError> {
    let mut all = Outcome::ALL.into_iter();
    all.find(|outcome| outcome.as_str() == label)
        .ok_or_else(|| StoreError::Corrupt(format!("{label:?} is not an outcome")))
}

/// Adds a finished run. `joined` are the changes to its episodes that this transaction has not written yet.
pub(crate) fn add(
    tables: &mut Tables<'_>,
    run: &Run,
    joined: &[RunEpisodeChange],
) -> Result<(), StoreError> {
    let mut alertnames = alertnames(tables, run.id)?;
    alertnames.extend(joined.iter().map(|joined| joined.alertname().to_owned()));
    for (kind, name) in entries(run, &alertnames) {
        let key = (kind as u8, &*cut(name), run.id.0);
        tables.run_index.insert(key, ())?;
    }
    if let Some((at, outcome)) = end(run) {
        tables.run_ends.insert((at, run.id.0), outcome.as_str())?;
    }
    Ok(())
}

/// Removes a run that will be deleted. Call it while its episodes still exist.
pub(crate) fn remove(tables: &mut Tables<'_>, run: &Run) -> Result<(), StoreError> {
    let alertnames = alertnames(tables, run.id)?;
    for (kind, name) in entries(run, &alertnames) {
        let key = (kind as u8, &*cut(name), run.id.0);
        tables.run_index.remove(key)?;
    }
    if let Some((at, _)) = end(run) {
        tables.run_ends.remove((at, run.id.0))?;
    }
    Ok(())
}

/// The name of the index's version in `meta`.
const VERSION: &str = "run_index";

/// Adds the runs of a store that was written before the index existed.
pub(crate) fn build_once(tables: &mut Tables<'_>) -> Result<(), StoreError> {
    if meta_number(&*tables.meta, VERSION)? != 0 {
        return Ok(());
    }
    let mut last = 0;
    // One row at a time: reading borrows the table.
    while let Some((id, run)) = next_run(tables, last)? {
        last = id;
        if let Some(run) = run.filter(|run| run.state == State::Finished) {
            add(tables, &run, &[])?;
        }
    }
    let version = 1_u64.to_le_bytes();
    tables.meta.insert(VERSION, version.as_slice())?;
    Ok(())
}

/// Returns the next run after a number, if any; without the run itself if its row cannot be decoded.
fn next_run(tables: &Tables<'_>, after: u64) -> Result<Option<(u64, Option<Run>)>, StoreError> {
    let Some(row) = tables.runs.range(after + 1..)?.next() else {
        return Ok(None);
    };
    let (key, value) = row?;
    let id = key.value();
    let run = tables.unreadable.decode(RUNS, &id, value.value());
    Ok(Some((id, run)))
}

fn alertnames(tables: &Tables<'_>, id: RunId) -> Result<BTreeSet<String>, StoreError> {
    let episodes = tables.run_episodes(id)?.into_iter();
    Ok(episodes.map(|(_, of_run)| of_run.alertname).collect())
}

fn entries<'a>(run: &'a Run, alertnames: &'a BTreeSet<String>) -> BTreeSet<(Kind, &'a str)> {
    let one = |kind, name: Option<&'a str>| name.map(move |name| (kind, name));
    let many = |kind, names: &'a [String]| names.iter().map(move |name| (kind, name.as_str()));
    let alertnames = alertnames.iter().map(String::as_str);
    many(Kind::Role, &run.work.roles)
        .chain(many(Kind::Host, &run.hosts))
        .chain(alertnames.map(|name| (Kind::Alertname, name)))
        .chain(one(Kind::Outcome, run.outcome.map(Outcome::as_str)))
        .chain(one(Kind::Trigger, Some(run.trigger.as_str())))
        .chain(one(Kind::Binding, run.binding.as_deref()))
        .chain(one(Kind::Schedule, run.schedule.as_deref()))
        .collect()
}

fn end(run: &Run) -> Option<(i64, Outcome)> {
    Some((run.finished_at?.timestamp_millis(), run.outcome?))
}
