//! An episode in a transaction: what is known of it before a decision, and what a decision makes of it.

use chrono::{DateTime, Utc};

use crate::model::run::{RunId, Skip};
use crate::plan::{Choice, Decision, EpisodeHistory};
use crate::store::disk::records::{DecisionRecord, Episode};

/// An episode, and whether it is to be written.
pub(crate) struct EpisodeUpdate {
    pub(crate) value: Episode,
    pub(crate) changed: bool,
}

/// What is known of an episode before a decision, if it was last heard then that it fires.
pub(crate) fn past_of(
    episode: &Episode,
    heard: DateTime<Utc>,
    now: DateTime<Utc>,
) -> EpisodeHistory {
    let decisions = episode.decisions.iter();
    let under = decisions.filter_map(|(binding, d)| Some((binding.clone(), d.under(heard, now)?)));
    EpisodeHistory {
        resolved_at: episode.resolved_at,
        under: under.collect(),
    }
}

impl EpisodeUpdate {
    /// Notes a decision, and says whether it is news. What has its run keeps it: a later `duplicate` or `resolved` is none.
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
        // A time that is still to come may stay: what is new of it is not worth a write each time.
        let stays = |old: &DecisionRecord| old.until.is_some_and(|at| at > now) || until.is_none();
        match decisions.get_mut(binding) {
            // How far it has come stays known.
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
