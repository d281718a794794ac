//! The two indexes of episodes (firing, and by alert type) and the known alert types.
//!
//! Episodes are written and deleted only here, so that the indexes are always consistent.

use std::borrow::Cow;

use chrono::TimeDelta;
use redb::{ReadableTable, ReadableTableMetadata};

use crate::alert_types::SeenType;
use crate::model::alert::{ALERTNAME, EpisodeKey, LabelSet, Status};
use crate::store::StoreError;
use crate::store::disk::names::cut;
use crate::store::disk::records::Episode;
use crate::store::disk::tables::{
    ALERT_TYPES, EPISODES, NewAlertType, Tables, encode, episode_key, grown,
};

/// How stale `last_seen` of an alert type may become, as for an episode: not every notification is worth a write.
const LAST_SEEN_STEP: TimeDelta = TimeDelta::minutes(10);

/// The maximum number of stored alert types. Names come from outside.
const TYPES_LIMIT: u64 = 10_000;

/// The number of types deleted at once if there are too many, so that not every new one has to search for the oldest.
const TYPES_SLICE: usize = 1_000;

/// Returns the alert type of these labels as a key; empty if there is no name.
fn type_name(labels: &LabelSet) -> Cow<'_, str> {
    cut(labels.get(ALERTNAME).map_or("", String::as_str))
}

impl Tables<'_> {
    pub(crate) fn put_episode(
        &mut self,
        key: &EpisodeKey,
        episode: &mut Episode,
    ) -> Result<(), StoreError> {
        let at = episode_key(key);
        self.put_due(at, episode)?;
        let json = encode(episode);
        let old = self.episodes.insert(at, json.as_slice())?;
        let old = old.map(|v| v.value().len());
        self.episodes_change += grown(json.len(), old);
        let is_new = old.is_none();
        let name = &*type_name(&episode.labels);
        if is_new {
            self.episodes_by_type.insert((name, at.0, at.1), ())?;
        }
        let fires = episode.status == Status::Firing;
        let listed = !is_new && self.firing.get(at)?.is_some();
        if fires && !listed {
            self.firing.insert(at, name)?;
        } else if listed && !fires {
            self.firing.remove(at)?;
        }
        self.note_type(name, episode, is_new)
    }

    pub(crate) fn remove_episode(
        &mut self,
        key: &EpisodeKey,
        episode: &Episode,
    ) -> Result<(), StoreError> {
        let at = episode_key(key);
        let old = self.episodes.remove(at)?;
        self.episodes_change -= grown(old.map_or(0, |v| v.value().len()), None);
        let name = &*type_name(&episode.labels);
        self.episodes_by_type.remove((name, at.0, at.1))?;
        self.firing.remove(at)?;
        if let Some(due) = episode.due_at {
            self.due.remove((due.timestamp_millis(), at.0, at.1))?;
        }
        Ok(())
    }

    /// Updates the time at which an episode is decided again.
    fn put_due(&mut self, at: (i64, u64), episode: &mut Episode) -> Result<(), StoreError> {
        let next = episode.next_look();
        if next == episode.due_at {
            return Ok(());
        }
        if let Some(old) = episode.due_at {
            self.due.remove((old.timestamp_millis(), at.0, at.1))?;
        }
        if let Some(next) = next {
            self.due.insert((next.timestamp_millis(), at.0, at.1), ())?;
        }
        episode.due_at = next;
        Ok(())
    }

    fn note_type(&mut self, name: &str, episode: &Episode, is_new: bool) -> Result<(), StoreError> {
        if name.is_empty() {
            return Ok(());
        }
        if !self.types.0.contains_key(name) {
            let stored = self.alert_types.get(name)?;
            let unreadable = &self.unreadable;
            let seen = stored.and_then(|v| unreadable.decode(ALERT_TYPES, &name, v.value()));
            let changed = false;
            self.types
                .0
                .insert(name.to_owned(), NewAlertType { seen, changed });
        }
        let noted = self.types.0.get_mut(name).expect("it was just put there");
        noted.record(episode, is_new);
        Ok(())
    }

    /// Writes the changes to alert types.
    pub(crate) fn write_types(&mut self) -> Result<(), StoreError> {
        for (name, noted) in std::mem::take(&mut self.types.0) {
            if let Some(seen) = noted.seen.filter(|_| noted.changed) {
                self.alert_types
                    .insert(name.as_str(), encode(&seen).as_slice())?;
            }
        }
        if self.alert_types.len()? > TYPES_LIMIT {
            self.forget_types()?;
        }
        Ok(())
    }

    /// Deletes the least recently seen alert types.
    fn forget_types(&mut self) -> Result<(), StoreError> {
        let mut by_age = Vec::new();
        for row in self.alert_types.iter()? {
            let (name, value) = row?;
            let unreadable = &self.unreadable;
            let seen = unreadable.decode(ALERT_TYPES, &name.value(), value.value());
            by_age.extend(seen.map(|seen: SeenType| (seen.last_seen, name.value().to_owned())));
        }
        by_age.sort_unstable();
        let limit = usize::try_from(TYPES_LIMIT).unwrap_or(usize::MAX);
        let too_many = by_age.len().saturating_sub(limit - TYPES_SLICE);
        for (_, name) in &by_age[..too_many] {
            self.alert_types.remove(name.as_str())?;
        }
        Ok(())
    }

    /// Builds the indexes and the alert types for episodes that an older promansible wrote without them.
    pub(crate) fn index_episodes(&mut self) -> Result<(), StoreError> {
        if self.episodes.len()? == self.episodes_by_type.len()? {
            return Ok(());
        }
        self.episodes_by_type.retain(|_, ()| false)?;
        self.firing.retain(|_, _| false)?;
        for row in self.episodes.iter()? {
            let (key, value) = row?;
            let at = key.value();
            let episode = self.unreadable.decode(EPISODES, &at, value.value());
            let Some(episode): Option<Episode> = episode else {
                continue;
            };
            let name = &*type_name(&episode.labels);
            self.episodes_by_type.insert((name, at.0, at.1), ())?;
            if episode.status == Status::Firing {
                self.firing.insert(at, name)?;
            }
            if !name.is_empty() {
                let noted = self.types.0.entry(name.to_owned()).or_default();
                noted.record(&episode, true);
            }
        }
        Ok(())
    }
}

impl NewAlertType {
    fn record(&mut self, episode: &Episode, is_new: bool) {
        let severity = episode.labels.get("severity");
        let Some(seen) = &mut self.seen else {
            self.seen = Some(SeenType {
                name: String::new(),
                first_seen: episode.first_seen,
                last_seen: episode.last_seen,
                episodes: 1,
                severity: severity.cloned(),
            });
            self.changed = true;
            return;
        };
        if is_new {
            seen.episodes += 1;
        }
        let newer = episode.last_seen - seen.last_seen > LAST_SEEN_STEP;
        let other = seen.severity.as_ref() != severity;
        if is_new || newer || other {
            seen.first_seen = seen.first_seen.min(episode.first_seen);
            seen.last_seen = seen.last_seen.max(episode.last_seen);
            seen.severity = severity.cloned();
            self.changed = true;
        }
    }
}
