//! Reading alerts: what fires, and the alert types that were heard of.

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

/// How many episodes one page looks at, most of which a filter may leave out.
const LOOKS: usize = 20_000;

/// What a page of episodes says of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunBrief {
    /// Where it is on its way.
    pub state: State,
    /// How it ended; `None` until it is finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
}

/// A page of episodes, those that began last first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EpisodePage {
    /// The episodes.
    pub episodes: Vec<Episode>,
    /// The runs in their decisions; what retention has taken is missing.
    pub runs: BTreeMap<RunId, RunBrief>,
    /// Where the next page begins; `None` on the last. A page may hold fewer episodes than were asked for and still not be
    /// the last.
    pub next: Option<EpisodeKey>,
}

impl Store {
    /// What fires, from `before` (exclusive) on: at most `limit` episodes, of this alert type if one is named, that `takes`
    /// takes.
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
            let mut looks = 0;
            for row in firing.range(..to)?.rev() {
                let (key, name) = row?;
                if alertname.as_ref().is_some_and(|a| cut(a) != name.value()) {
                    continue;
                }
                if page.episodes.len() == limit || looks == LOOKS {
                    page.next = last;
                    break;
                }
                looks += 1;
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

    /// How many episodes of each alert type fire.
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

    /// The alert types that were heard of, by name. *Shape*: at most 10,000; those heard of least recently go first.
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

    /// One alert type, if it was heard of.
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

    /// One episode; a page without any where it is not kept.
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

    /// The episodes of an alert type from `before` (exclusive) on, at most `limit`.
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

/// The runs that handle, or handled, these episodes.
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
