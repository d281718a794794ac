//! An episode of an alert, with its decisions.

use super::components::{Badge, Moment, Took, part};
use crate::http::api::alerts;
use crate::http::core::excerpt;
use crate::model::alert::{ALERTNAME, EpisodeKey, LabelSet, Status};
use crate::store::{DecisionRecord, Episode, EpisodePage};

/// The decision of one binding.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decision {
    pub binding: String,
    pub word: String,
    pub why: String,
    pub at: Moment,
    /// The time of the next decision, if no notification arrives before.
    pub until: Option<Moment>,
    pub run: Option<(u64, Option<Badge>)>,
    /// Whether the run has ended while its alert still fires, so that it can be repeated.
    pub repeats: bool,
    /// The run of the binding's `on_resolved`.
    pub on_resolved: Option<u64>,
    /// The step of the run, if it is not the first.
    pub step: Option<u32>,
    /// The verdict; [`Badge::PENDING`] until it is known.
    pub verdict: Option<Badge>,
    /// The time of the verdict.
    pub verify_at: Option<Moment>,
}

/// Returns the verdict on a decision; `None` if there is none to come.
pub(super) fn verdict(decided: &DecisionRecord) -> Option<Badge> {
    match decided.verdict {
        Some(verdict) => Some(verdict.into()),
        None => decided.awaits_verdict().then_some(Badge::PENDING),
    }
}

/// An episode, as shown on pages.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EpisodeRow {
    pub name: String,
    pub link: String,
    pub badge: Badge,
    pub since: Moment,
    pub ended: Option<Moment>,
    pub took: Option<Took>,
    pub summary: String,
    pub labels: Vec<(String, String)>,
    /// The link to the full texts; empty if none is shortened.
    pub whole: String,
    pub decisions: Vec<Decision>,
}

pub(super) fn rows(page: EpisodePage) -> Vec<EpisodeRow> {
    let EpisodePage { episodes, runs, .. } = page;
    let row = |mut episode: Episode| {
        let key = episode.key();
        let is_cut = excerpt::cut(&mut episode);
        let name = episode.labels.get(ALERTNAME).cloned().unwrap_or_default();
        let fires = episode.status == Status::Firing;
        let decisions = episode.decisions.into_iter().map(|(binding, decided)| {
            let of = decided.run.and_then(|run| runs.get(&run));
            let badge = of.map(|run| Badge(run.outcome.map_or(run.state.as_str(), |o| o.as_str())));
            Decision {
                repeats: fires && of.is_some_and(|run| run.outcome.is_some()),
                on_resolved: decided.on_resolved.map(|id| id.0),
                until: decided.until.filter(|_| fires).map(Moment),
                step: (decided.step > 1).then_some(decided.step),
                verdict: verdict(&decided),
                verify_at: decided
                    .verify_at
                    .filter(|_| decided.awaits_verdict())
                    .map(Moment),
                binding,
                word: decided.decision,
                why: decided.why.unwrap_or_default(),
                at: Moment(decided.at),
                run: decided.run.map(|id| (id.0, badge)),
            }
        });
        let ended = episode.ends_at.or(episode.resolved_at);
        let ended = ended.filter(|_| episode.status == Status::Resolved);
        EpisodeRow {
            link: format!("/alerts/{}", part(&name)),
            badge: episode.status.into(),
            since: Moment(*episode.starts_at),
            ended: ended.map(Moment),
            took: ended.map(|end| Took::between(*episode.starts_at, end)),
            whole: if is_cut { whole_of(key) } else { String::new() },
            summary: summary(&episode.annotations),
            decisions: decisions.collect(),
            labels: episode
                .labels
                .into_iter()
                .filter(|(label, _)| label != ALERTNAME)
                .collect(),
            name,
        }
    };
    episodes.into_iter().map(row).collect()
}

/// Returns the link to the full texts of an episode.
pub(super) fn whole_of(key: EpisodeKey) -> String {
    format!("/api/v1/alerts/{}", alerts::cursor(key))
}

fn summary(annotations: &LabelSet) -> String {
    let names = ["summary", "description", "message"].iter();
    let mut texts = names.filter_map(|name| annotations.get(*name));
    texts.next().cloned().unwrap_or_default()
}
