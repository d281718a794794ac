//! The tables. Values are JSON, so that a field can be added without rewriting the table.

use std::collections::{BTreeMap, HashMap};

use redb::{ReadableTable, TableDefinition, TableHandle as _, WriteTransaction};
use serde::Serialize;

use crate::alert_types::SeenType;
use crate::model::alert::{EpisodeKey, Fingerprint};
use crate::model::run::RunId;
use crate::store::StoreError;
use crate::store::disk::records::{Episode, RunEpisode, RunEpisodeChange};
use crate::store::disk::rows::{Dirty, Rows};
pub(crate) use crate::store::disk::snapshot::open_for_reading;
use crate::store::disk::unreadable::{Removal, Unreadable};

/// The layout of all tables together. A file with a higher number was written by a newer promansible.
pub(crate) const FORMAT: u64 = 1;

/// Key: a name (`format`, `store_id`, `commits`, `next_run`, `next_message`, `next_audit`, `runs_bytes`, `episodes_bytes`, `inventory`, `run_index`). Value: bytes, by name.
pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta_v1");

/// Key: run. Value: JSON of [`crate::model::run::Run`].
pub(crate) const RUNS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("runs_v1");

/// Key: run that is queued or running. Value: nothing. The index that makes a start fast regardless of the history's
/// size.
pub(crate) const OPEN: TableDefinition<'_, u64, ()> = TableDefinition::new("open_v1");

/// Key: property (see [`crate::store::disk::index::Kind`]), its value, finished run. Value: nothing.
pub(crate) const RUN_INDEX: TableDefinition<'_, (u8, &str, u64), ()> =
    TableDefinition::new("run_index_v1");

/// Key: end of a run in milliseconds since 1970, run. Value: its outcome.
pub(crate) const RUN_ENDS: TableDefinition<'_, (i64, u64), &str> =
    TableDefinition::new("run_ends_v1");

/// Key: startsAt in nanoseconds, fingerprint. Value: JSON of [`Episode`]. Ordered by time, so that new rows are
/// adjacent: the cost of a commit is the number of changed pages.
pub(crate) const EPISODES: TableDefinition<'_, (i64, u64), &[u8]> =
    TableDefinition::new("episodes_v1");

/// Key: as in [`EPISODES`]. Value: the alert type. The index of firing episodes.
pub(crate) const FIRING: TableDefinition<'_, (i64, u64), &str> = TableDefinition::new("firing_v1");

/// Key: alert type, then as in [`EPISODES`]. Value: nothing. The index of an alert type's episodes.
pub(crate) const EPISODES_BY_TYPE: TableDefinition<'_, (&str, i64, u64), ()> =
    TableDefinition::new("episodes_by_type_v1");

/// Key: alert type. Value: JSON of [`crate::alert_types::SeenType`].
pub(crate) const ALERT_TYPES: TableDefinition<'_, &str, &[u8]> =
    TableDefinition::new("alert_types_v1");

/// Key: run, number from 0. Value: JSON of a list of [`RunEpisodeChange`]: the changes to the run's episodes in one
/// transaction. A later entry replaces an earlier one of the same episode.
pub(crate) const RUN_EPISODES: TableDefinition<'_, (u64, u32), &[u8]> =
    TableDefinition::new("run_episodes_v1");

/// Key: run, number from 0. Value: JSON of [`crate::model::run::TaskEvent`].
pub(crate) const EVENTS: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("events_v1");

/// Key: run, number: the head counts from 0, the tail from `ops::output_window::TAIL`. Value: raw
/// output.
pub(crate) const OUTPUT: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("output_v1");

/// Key: role, host. Value: end of the last successful run in milliseconds since 1970.
pub(crate) const LAST_SUCCESS: TableDefinition<'_, (&str, &str), i64> =
    TableDefinition::new("last_success_v1");

/// Key: role, host. Value: JSON of [`Reported`]: the role's last report on the host. Only for roles that declare
/// checks.
pub(crate) const FINDINGS: TableDefinition<'_, (&str, &str), &[u8]> =
    TableDefinition::new("findings_v1");

/// Key: host. Value: see `ops::facts`: the gathering time and the deflated facts.
pub(crate) const FACTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("facts_v1");

/// Key: host, milliseconds since 1970. Value: JSON of [`crate::model::facts::Changes`].
pub(crate) const FACT_CHANGES: TableDefinition<'_, (&str, i64), &[u8]> =
    TableDefinition::new("fact_changes_v1");

/// Key: host. Value: JSON of [`crate::model::inventory::EnrolledHost`].
pub(crate) const HOSTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("hosts_v1");

/// Key: kind (`binding`, `schedule`), name. Value: JSON of [`crate::config::StoredObject`].
pub(crate) const OBJECTS: TableDefinition<'_, (&str, &str), &[u8]> =
    TableDefinition::new("objects_v1");

/// Key: schedule. Value: JSON of [`crate::model::schedule::Progress`].
pub(crate) const SCHEDULES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("schedules_v1");

/// Key: message. Value: JSON of `ops::messages::Pending`.
pub(crate) const MESSAGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("messages_v1");

/// Key: kind (`pause`, `host`, `storm`, `streak`, `released`), name. Value: JSON, by kind: see [`crate::model::guards::Holds`].
pub(crate) const GUARDS: TableDefinition<'_, (&str, &str), &[u8]> =
    TableDefinition::new("guards_v1");

/// Key: binding, host. Value: JSON of a list of [`crate::model::guards::StartRecord`].
pub(crate) const TOUCHES: TableDefinition<'_, (&str, &str), &[u8]> =
    TableDefinition::new("touches_v1");

/// Key: time at which an episode is decided again in milliseconds since 1970, then as in [`EPISODES`]. Value: nothing.
pub(crate) const DUE: TableDefinition<'_, (i64, i64, u64), ()> = TableDefinition::new("due_v1");

/// Key: role, binding. Value: JSON of [`crate::model::verdict::Verdicts`].
pub(crate) const VERDICTS: TableDefinition<'_, (&str, &str), &[u8]> =
    TableDefinition::new("verdicts_v1");

/// Key: entry. Value: JSON of `ops::audit::AuditEntry`.
pub(crate) const AUDIT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit_v1");

/// Key: caller, number of the caller's entry, without gaps. Value: the entry's number in [`AUDIT`].
pub(crate) const AUDIT_BY_CALLER: TableDefinition<'_, (&str, u64), u64> =
    TableDefinition::new("audit_by_caller_v1");

/// The name of a table, and the key of one of its rows in redb's encoding.
pub(crate) type QuarantineKey<'a> = (&'a str, &'a [u8]);
/// JSON metadata, and the beginning of a row's value.
pub(crate) type QuarantineValue<'a> = (&'a [u8], &'a [u8]);

/// Key: name of a table, key of one of its rows in redb's encoding. Value: JSON with the time and reason of the
/// quarantine, and the beginning of the row's value.
pub(crate) const QUARANTINE: TableDefinition<'_, QuarantineKey<'_>, QuarantineValue<'_>> =
    TableDefinition::new("quarantine_v1");

/// The changes to alert types in a transaction: each type is read once, and written once if it changed.
#[derive(Debug, Default)]
pub(crate) struct Types(pub(crate) HashMap<String, NewAlertType>);

#[derive(Debug, Default)]
pub(crate) struct NewAlertType {
    pub(crate) seen: Option<SeenType>,
    pub(crate) changed: bool,
}

/// All tables, open for writing, and the growth of the history in bytes.
pub(crate) struct Tables<'t> {
    pub meta: Rows<'t, &'static str, &'static [u8]>,
    pub runs: Rows<'t, u64, &'static [u8]>,
    pub open: Rows<'t, u64, ()>,
    pub run_index: Rows<'t, (u8, &'static str, u64), ()>,
    pub run_ends: Rows<'t, (i64, u64), &'static str>,
    pub episodes: Rows<'t, (i64, u64), &'static [u8]>,
    pub firing: Rows<'t, (i64, u64), &'static str>,
    pub episodes_by_type: Rows<'t, (&'static str, i64, u64), ()>,
    pub alert_types: Rows<'t, &'static str, &'static [u8]>,
    pub run_episodes: Rows<'t, (u64, u32), &'static [u8]>,
    pub events: Rows<'t, (u64, u32), &'static [u8]>,
    pub output: Rows<'t, (u64, u32), &'static [u8]>,
    pub last_success: Rows<'t, (&'static str, &'static str), i64>,
    pub findings: Rows<'t, (&'static str, &'static str), &'static [u8]>,
    pub facts: Rows<'t, &'static str, &'static [u8]>,
    pub fact_changes: Rows<'t, (&'static str, i64), &'static [u8]>,
    pub hosts: Rows<'t, &'static str, &'static [u8]>,
    pub objects: Rows<'t, (&'static str, &'static str), &'static [u8]>,
    pub schedules: Rows<'t, &'static str, &'static [u8]>,
    pub messages: Rows<'t, u64, &'static [u8]>,
    pub guards: Rows<'t, (&'static str, &'static str), &'static [u8]>,
    pub touches: Rows<'t, (&'static str, &'static str), &'static [u8]>,
    pub due: Rows<'t, (i64, i64, u64), ()>,
    pub verdicts: Rows<'t, (&'static str, &'static str), &'static [u8]>,
    pub audit: Rows<'t, u64, &'static [u8]>,
    pub audit_by_caller: Rows<'t, (&'static str, u64), u64>,
    pub quarantine: Rows<'t, QuarantineKey<'static>, QuarantineValue<'static>>,
    /// The rows that this transaction could not decode.
    pub unreadable: Unreadable,
    pub dirty: Dirty,
    pub runs_change: i64,
    pub episodes_change: i64,
    pub types: Types,
}

impl<'t> Tables<'t> {
    /// Returns whether anything was written.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty.is_set()
    }

    /// Opens every table, and creates it in a new file.
    pub(crate) fn open(txn: &'t WriteTransaction) -> Result<Self, StoreError> {
        let dirty = Dirty::default();
        Ok(Self {
            meta: Rows::open(txn, META, &dirty)?,
            runs: Rows::open(txn, RUNS, &dirty)?,
            open: Rows::open(txn, OPEN, &dirty)?,
            run_index: Rows::open(txn, RUN_INDEX, &dirty)?,
            run_ends: Rows::open(txn, RUN_ENDS, &dirty)?,
            episodes: Rows::open(txn, EPISODES, &dirty)?,
            firing: Rows::open(txn, FIRING, &dirty)?,
            episodes_by_type: Rows::open(txn, EPISODES_BY_TYPE, &dirty)?,
            alert_types: Rows::open(txn, ALERT_TYPES, &dirty)?,
            run_episodes: Rows::open(txn, RUN_EPISODES, &dirty)?,
            events: Rows::open(txn, EVENTS, &dirty)?,
            output: Rows::open(txn, OUTPUT, &dirty)?,
            last_success: Rows::open(txn, LAST_SUCCESS, &dirty)?,
            findings: Rows::open(txn, FINDINGS, &dirty)?,
            facts: Rows::open(txn, FACTS, &dirty)?,
            fact_changes: Rows::open(txn, FACT_CHANGES, &dirty)?,
            hosts: Rows::open(txn, HOSTS, &dirty)?,
            objects: Rows::open(txn, OBJECTS, &dirty)?,
            schedules: Rows::open(txn, SCHEDULES, &dirty)?,
            messages: Rows::open(txn, MESSAGES, &dirty)?,
            guards: Rows::open(txn, GUARDS, &dirty)?,
            touches: Rows::open(txn, TOUCHES, &dirty)?,
            due: Rows::open(txn, DUE, &dirty)?,
            verdicts: Rows::open(txn, VERDICTS, &dirty)?,
            audit: Rows::open(txn, AUDIT, &dirty)?,
            audit_by_caller: Rows::open(txn, AUDIT_BY_CALLER, &dirty)?,
            quarantine: Rows::open(txn, QUARANTINE, &dirty)?,
            unreadable: Unreadable::default(),
            dirty,
            runs_change: 0,
            episodes_change: 0,
            types: Types::default(),
        })
    }

    pub(crate) fn put_run(&mut self, run: &crate::model::run::Run) -> Result<(), StoreError> {
        let json = encode(run);
        let old = self.runs.insert(run.id.0, json.as_slice())?;
        self.runs_change += grown(json.len(), old.map(|v| v.value().len()));
        Ok(())
    }

    pub(crate) fn episode(&self, key: &EpisodeKey) -> Result<Option<Episode>, StoreError> {
        let at = episode_key(key);
        let value = self.episodes.get(at)?;
        Ok(value.and_then(|value| self.unreadable.decode(EPISODES, &at, value.value())))
    }

    /// Writes this transaction's changes to a run's episodes.
    pub(crate) fn put_joined(
        &mut self,
        run: RunId,
        joined: &[RunEpisodeChange],
    ) -> Result<(), StoreError> {
        let json = encode(&joined);
        let last = self
            .run_episodes
            .range((run.0, 0)..=(run.0, u32::MAX))?
            .next_back()
            .transpose()?
            .map(|(key, _)| key.value().1);
        let number = last.map_or(0, |last| last + 1);
        self.run_episodes.insert((run.0, number), json.as_slice())?;
        self.runs_change += grown(json.len(), None);
        Ok(())
    }

    /// Returns the episodes that a run handles, each with its hosts.
    pub(crate) fn still_about(
        &self,
        run: RunId,
    ) -> Result<BTreeMap<EpisodeKey, Vec<String>>, StoreError> {
        let episodes = self.run_episodes(run)?.into_iter();
        let still = episodes.filter(|(_, of_run)| !of_run.left_out);
        Ok(still.map(|(key, of_run)| (key, of_run.hosts)).collect())
    }

    pub(crate) fn run_episodes(
        &self,
        run: RunId,
    ) -> Result<Vec<(EpisodeKey, RunEpisode)>, StoreError> {
        read_run_episodes(&*self.run_episodes, &self.unreadable, run)
    }

    /// Removes a row from the table of this name, if the table has decodable values.
    pub(crate) fn with_values(
        &mut self,
        name: &str,
        row: &Removal<'_>,
    ) -> Result<bool, StoreError> {
        macro_rules! of {
            ($($table:ident: $definition:ident),*) => { $(
                if name == $definition.name() {
                    return row.of(&mut self.$table);
                }
            )* };
        }
        of!(
            runs: RUNS, episodes: EPISODES, alert_types: ALERT_TYPES, run_episodes: RUN_EPISODES,
            events: EVENTS, findings: FINDINGS, facts: FACTS, fact_changes: FACT_CHANGES,
            hosts: HOSTS, objects: OBJECTS, schedules: SCHEDULES, messages: MESSAGES,
            guards: GUARDS, touches: TOUCHES, verdicts: VERDICTS, audit: AUDIT
        );
        Ok(false)
    }
}

/// Returns the episodes of a run, ordered by key.
pub(crate) fn read_run_episodes(
    table: &impl ReadableTable<(u64, u32), &'static [u8]>,
    unreadable: &Unreadable,
    run: RunId,
) -> Result<Vec<(EpisodeKey, RunEpisode)>, StoreError> {
    let mut episodes = BTreeMap::new();
    for row in table.range((run.0, 0)..=(run.0, u32::MAX))? {
        let (key, value) = row?;
        let joined = unreadable.decode(RUN_EPISODES, &key.value(), value.value());
        let joined: Vec<RunEpisodeChange> = joined.unwrap_or_default();
        episodes.extend(
            joined
                .into_iter()
                .map(|joined| (joined.key(), joined.of_run)),
        );
    }
    Ok(episodes.into_iter().collect())
}

pub(crate) fn episode_key(key: &EpisodeKey) -> (i64, u64) {
    (key.starts_at_nanos, key.fingerprint.0)
}

/// The inverse of [`episode_key`].
pub(crate) fn key_of((starts_at_nanos, fingerprint): (i64, u64)) -> EpisodeKey {
    EpisodeKey {
        fingerprint: Fingerprint(fingerprint),
        starts_at_nanos,
    }
}

/// Returns the change of the history's size when a value of this length replaces an old one.
pub(crate) fn grown(new: usize, old: Option<usize>) -> i64 {
    let size = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    size(new) - old.map_or(0, size)
}

pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("our own types are JSON")
}

/// Reads a number from `meta`; 0 if it was never written.
pub(crate) fn meta_number(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &str,
) -> Result<u64, StoreError> {
    match meta.get(name)? {
        None => Ok(0),
        Some(value) => value
            .value()
            .try_into()
            .map(u64::from_le_bytes)
            .map_err(|_| StoreError::Corrupt(format!("meta {name} is not a number"))),
    }
}

/// Reads the random identifier that the file got when it was created.
pub(crate) fn read_id(tables: &Tables<'_>) -> Result<Option<String>, StoreError> {
    let id = tables.meta.get("store_id")?;
    Ok(id.map(|id| String::from_utf8_lossy(id.value()).into_owned()))
}
