//! An episode in a transaction: its history before a decision, and the changes by a decision.

use chrono::{DateTime, Utc};

use crate::model::run::{RunId, Skip};
use crate::plan::{Choice, Decision, EpisodeHistory};
use crate::store::disk::records::{DecisionRecord, Episode};

/// An episode, and whether it must be written.
pub(crate) struct EpisodeUpdate {
    pub(crate) value: Episode,
    pub(crate) changed: bool,
}

/// Returns the episode's history, assuming it was last reported firing at `heard`.
pub(crate) fn past_of(
    episode: &Episode,
    heard: DateTime<Utc>,
    now: DateTime<Utc>,
) -> EpisodeHistory {
    let decisions = episode.decisions.iter();
    let progress =
        decisions.filter_map(|(binding, d)| Some((binding.clone(), d.under(heard, now)?)));
    EpisodeHistory {
        resolved_at: episode.resolved_at,
        progress: progress.collect(),
    }
}

impl EpisodeUpdate {
    /// Records a decision, and returns whether it changed anything. An episode keeps its run: a later `duplicate` or
    /// `resolved` changes nothing.
    pub(crate) fn record(
        &mut self,
        binding: &str,
        choice: &Choice,
        run: Option<RunId>,
        now: DateTime<Utc>,
    ) -> bool {
        let decisions = &mut self.value.decisions;
        let (reason, why, until) = match choice {
            Choice::Run { step, about, .. } => {
                let decided = DecisionRecord {
                    run,
                    step: *step,
                    about: about.clone(),
                    ..DecisionRecord::new(choice.as_str(), None, now)
                };
                decisions.insert(binding.to_owned(), decided);
                self.changed = true;
                return true;
            }
            Choice::Skip {
                reason: Skip::Resolved | Skip::Duplicate,
                ..
            } => return false,
            Choice::Skip { reason, why, until } => (*reason, why, *until),
        };
        // A time in the future may stay: small changes of it are not worth a write.
        let stays = |old: &DecisionRecord| old.until.is_some_and(|at| at > now) || until.is_none();
        match decisions.get_mut(binding) {
            // The progress is kept.
            Some(old) if old.under(now, now).is_some() => {
                if old.refused == Some(reason) && stays(old) {
                    return false;
                }
                old.refused = Some(reason);
                old.why = Some(why.clone());
                old.until = until;
            }
            Some(old) if old.decision == choice.as_str() && stays(old) => {
                return false;
            }
            _ => {
                let decided = DecisionRecord {
                    until,
                    ..DecisionRecord::new(choice.as_str(), Some(why.clone()), now)
                };
                decisions.insert(binding.to_owned(), decided);
            }
        }
        self.changed = true;
        true
    }

    pub(crate) fn run_of(&self, decision: &Decision) -> Option<RunId> {
        self.value.decisions.get(decision.binding_name())?.run
    }
}
