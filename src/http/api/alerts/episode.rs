//! The JSON of an episode.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::config::{Config, Target};
use crate::http::Context;
use crate::http::core::excerpt;
use crate::model::alert::{ALERTNAME, EpisodeKey, Fingerprint, LabelSet, Status};
use crate::model::inventory::{Inventory, resolve_label};
use crate::model::run::{Outcome, State};
use crate::store::{DecisionRecord, EpisodePage};

/// The JSON of an episode.
#[derive(Serialize)]
pub(crate) struct EpisodeAnswer {
    /// Its id in the API.
    id: String,
    /// Whether long texts are cut.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
    alertname: String,
    fingerprint: Fingerprint,
    status: Status,
    /// The inventory host that a label names, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    labels: LabelSet,
    annotations: LabelSet,
    starts_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<DateTime<Utc>>,
    first_seen: DateTime<Utc>,
    last_seen: DateTime<Utc>,
    #[serde(skip_serializing_if = "String::is_empty")]
    generator_url: String,
    receiver: String,
    decisions: Vec<DecisionAnswer>,
}

#[derive(Serialize)]
struct DecisionAnswer {
    binding: String,
    #[serde(flatten)]
    decided: DecisionRecord,
    /// `None` if there is no run, or retention removed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    run_state: Option<State>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_outcome: Option<Outcome>,
}

/// Finds the hosts that alerts name.
pub(crate) struct Hosts {
    inventory: Option<Arc<Inventory>>,
    /// The labels that name a host for any binding.
    labels: BTreeSet<String>,
}

impl Hosts {
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            inventory: context.inventory.latest().ok(),
            labels: host_labels(&context.config.borrow()),
        }
    }

    pub(crate) fn of(&self, labels: &LabelSet) -> Option<&str> {
        let inventory = self.inventory.as_ref()?;
        let values = self.labels.iter().filter_map(|label| labels.get(label));
        let mut hosts = values.filter_map(|value| resolve_label(inventory, value).ok());
        hosts.next()
    }
}

fn host_labels(config: &Config) -> BTreeSet<String> {
    let targets = config.bindings.iter().map(|binding| &binding.target);
    let default = Target::default();
    let targets = targets.chain([&default]);
    targets
        .filter_map(|target| match target {
            Target::AlertingHost { label } => Some(label.clone()),
            _ => None,
        })
        .collect()
}

/// Returns the JSON of episodes, with their full texts or with shortened ones.
pub(crate) fn told(page: EpisodePage, hosts: &Hosts, is_whole: bool) -> Vec<EpisodeAnswer> {
    let EpisodePage { episodes, runs, .. } = page;
    let answers = episodes.into_iter().map(|mut episode| {
        let host = hosts.of(&episode.labels).map(str::to_owned);
        let id = cursor(episode.key());
        let cut = !is_whole && excerpt::cut(&mut episode);
        let decisions = episode.decisions.into_iter().map(|(binding, decided)| {
            let run = decided.run.and_then(|run| runs.get(&run));
            DecisionAnswer {
                binding,
                run_state: run.map(|run| run.state),
                run_outcome: run.and_then(|run| run.outcome),
                decided,
            }
        });
        let name = episode.labels.get(ALERTNAME);
        EpisodeAnswer {
            alertname: name.cloned().unwrap_or_default(),
            fingerprint: episode.fingerprint,
            status: episode.status,
            id,
            cut,
            host,
            annotations: episode.annotations,
            starts_at: *episode.starts_at,
            ends_at: episode.ends_at,
            first_seen: episode.first_seen,
            last_seen: episode.last_seen,
            generator_url: episode.generator_url,
            receiver: episode.receiver,
            decisions: decisions.collect(),
            labels: episode.labels,
        }
    });
    answers.collect()
}

/// Formats the key of an episode as an id and cursor.
pub(in crate::http) fn cursor(key: EpisodeKey) -> String {
    format!("{}-{}", key.fingerprint, key.starts_at_nanos)
}

/// Parses an id or cursor.
pub(crate) fn key(cursor: &str) -> Option<EpisodeKey> {
    let (fingerprint, starts_at_nanos) = cursor.split_once('-')?;
    Some(EpisodeKey {
        fingerprint: fingerprint.parse().ok()?,
        starts_at_nanos: starts_at_nanos.parse().ok()?,
    })
}
