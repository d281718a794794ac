//! Reads alerts: the firing episodes and the known alert types.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use crate::alert_types::SeenType;
use crate::model::alert::EpisodeKey;
use crate::model::run::{Outcome, RunId, State};
use crate::store::disk::names::cut;
use crate::store::disk::records::Episode;
use crate::store::disk::snapshot::Snapshot;
use crate::store::disk::tables::{
    ALERT_TYPES, EPISODES, EPISODES_BY_TYPE, FIRING, RUNS, episode_key, key_of, open_for_reading,
};
use crate::store::{Store, StoreError};

/// The maximum number of episodes examined for one page; a filter may exclude most of them.
const LOOKS: usize = 20_000;

/// The summary of a run in a page of episodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunBrief {
    pub state: State,
    /// `None` until the run is finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
}

/// A page of episodes, ordered by start, newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EpisodePage {
    pub episodes: Vec<Episode>,
    /// The runs of their decisions, except those that retention has deleted.
    pub runs: BTreeMap<RunId, RunBrief>,
    /// The cursor of the next page; `None` on the last. A page may have fewer episodes than the limit and still not be
    /// the last.
    pub next: Option<EpisodeKey>,
}

impl Store {
    /// Returns firing episodes before `before`: at most `limit`, of this alert type if one is given, that `takes`
    /// accepts.
    pub async fn firing(
        &self,
        alertname: Option<String>,
        takes: impl Fn(&Episode) -> bool + Send + 'static,
        before: Option<EpisodeKey>,
        limit: usize,
    ) -> Result<EpisodePage, StoreError> {
        self.read(move |txn| {
            let mut page = EpisodePage::default();
            let tables = (
                open_for_reading(txn, FIRING)?,
                open_for_reading(txn, EPISODES)?,
            );
            let (Some(firing), Some(episodes)) = tables else {
                return Ok(page);
            };
            let to = before.map_or((i64::MAX, u64::MAX), |key| episode_key(&key));
            let mut last = None;
            let mut examined = 0;
            for row in firing.range(..to)?.rev() {
                let (key, name) = row?;
                if alertname.as_ref().is_some_and(|a| cut(a) != name.value()) {
                    continue;
                }
                if page.episodes.len() == limit || examined == LOOKS {
                    page.next = last;
                    break;
                }
                examined += 1;
                last = Some(key_of(key.value()));
                if let Some(value) = episodes.get(key.value())? {
                    let unreadable = &txn.unreadable;
                    let episode = unreadable.decode(EPISODES, &key.value(), value.value());
                    page.episodes.extend(episode.filter(&takes));
                }
            }
            page.runs = briefs(txn, &page.episodes)?;
            Ok(page)
        })
        .await
    }

    /// Counts the firing episodes of each alert type.
    pub async fn firing_counts(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        self.read(|txn| {
            let mut counts = BTreeMap::new();
            let Some(firing) = open_for_reading(txn, FIRING)? else {
                return Ok(counts);
            };
            for row in firing.iter()? {
                let (_, name) = row?;
                match counts.get_mut(name.value()) {
                    Some(count) => *count += 1,
                    None => {
                        counts.insert(name.value().to_owned(), 1);
                    }
                }
            }
            Ok(counts)
        })
        .await
    }

    /// Returns the alert types that were received, by name. *Shape*: at most 10,000; the least recently seen are
    /// deleted first.
    pub async fn alert_types(&self) -> Result<Vec<SeenType>, StoreError> {
        self.read(|txn| {
            let Some(table) = open_for_reading(txn, ALERT_TYPES)? else {
                return Ok(Vec::new());
            };
            let mut all = Vec::new();
            for row in table.iter()? {
                let (name, value) = row?;
                all.extend(seen(txn, name.value(), value.value()));
            }
            Ok(all)
        })
        .await
    }

    /// Returns one alert type, if it was received.
    pub async fn alert_type(&self, name: String) -> Result<Option<SeenType>, StoreError> {
        self.read(move |txn| {
            let Some(table) = open_for_reading(txn, ALERT_TYPES)? else {
                return Ok(None);
            };
            let name = cut(&name);
            let value = table.get(&*name)?;
            Ok(value.and_then(|value| seen(txn, &name, value.value())))
        })
        .await
    }

    /// Returns one episode; an empty page if it is not stored.
    pub async fn episode(&self, key: EpisodeKey) -> Result<EpisodePage, StoreError> {
        self.read(move |txn| {
            let mut page = EpisodePage::default();
            let Some(episodes) = open_for_reading(txn, EPISODES)? else {
                return Ok(page);
            };
            if let Some(value) = episodes.get(episode_key(&key))? {
                let at = episode_key(&key);
                let episode = txn.unreadable.decode(EPISODES, &at, value.value());
                page.episodes.extend(episode);
            }
            page.runs = briefs(txn, &page.episodes)?;
            Ok(page)
        })
        .await
    }

    /// Returns the episodes of an alert type before `before`, at most `limit`.
    pub async fn episodes_of_type(
        &self,
        name: String,
        before: Option<EpisodeKey>,
        limit: usize,
    ) -> Result<EpisodePage, StoreError> {
        self.read(move |txn| {
            let mut page = EpisodePage::default();
            let tables = (
                open_for_reading(txn, EPISODES_BY_TYPE)?,
                open_for_reading(txn, EPISODES)?,
            );
            let (Some(index), Some(episodes)) = tables else {
                return Ok(page);
            };
            let name = &*cut(&name);
            let to = before.map_or((i64::MAX, u64::MAX), |key| episode_key(&key));
            let mut last = None;
            for row in index.range((name, i64::MIN, 0)..(name, to.0, to.1))?.rev() {
                let (_, starts_at, fingerprint) = row?.0.value();
                if page.episodes.len() == limit {
                    page.next = last;
                    break;
                }
                last = Some(key_of((starts_at, fingerprint)));
                let at = (starts_at, fingerprint);
                if let Some(value) = episodes.get(at)? {
                    let episode = txn.unreadable.decode(EPISODES, &at, value.value());
                    page.episodes.extend(episode);
                }
            }
            page.runs = briefs(txn, &page.episodes)?;
            Ok(page)
        })
        .await
    }
}

fn seen(txn: &Snapshot, name: &str, value: &[u8]) -> Option<SeenType> {
    let seen: SeenType = txn.unreadable.decode(ALERT_TYPES, &name, value)?;
    let name = name.to_owned();
    Some(SeenType { name, ..seen })
}

/// Returns the summaries of the runs of these episodes.
fn briefs(txn: &Snapshot, episodes: &[Episode]) -> Result<BTreeMap<RunId, RunBrief>, StoreError> {
    let mut briefs = BTreeMap::new();
    let Some(runs) = open_for_reading(txn, RUNS)? else {
        return Ok(briefs);
    };
    let decisions = episodes.iter().flat_map(|e| e.decisions.values());
    for id in decisions.filter_map(|decided| decided.run) {
        if !briefs.contains_key(&id)
            && let Some(value) = runs.get(id.0)?
        {
            let brief = txn.unreadable.decode(RUNS, &id.0, value.value());
            briefs.extend(brief.map(|brief| (id, brief)));
        }
    }
    Ok(briefs)
}
