//! An episode in a transaction: what is known of it before a decision, and what a decision makes of it.

use chrono::{DateTime, Utc};

use super::records::{Decided, Episode};
use crate::plan::{Choice, Decision, Past};
use crate::run::{RunId, Skip};

/// An episode, and whether it is to be written.
pub(super) struct Touched {
    pub(super) value: Episode,
    pub(super) changed: bool,
}

/// What is known of an episode before a decision, if it was last heard then that it fires.
pub(super) fn past_of(episode: &Episode, heard: DateTime<Utc>, now: DateTime<Utc>) -> Past {
    let decisions = episode.decisions.iter();
    let under = decisions.filter_map(|(binding, d)| Some((binding.clone(), d.under(heard, now)?)));
    Past {
        resolved_at: episode.resolved_at,
        under: under.collect(),
    }
}

impl Touched {
    /// Notes a decision, and says whether it is news. What has its run keeps it: a later `duplicate` or `resolved` is none.
    pub(super) fn record(
        &mut self,
        binding: &str,
        choice: &Choice,
        run: Option<RunId>,
        now: DateTime<Utc>,
    ) -> bool {
        let decisions = &mut self.value.decisions;
        let (reason, why, until) = match choice {
            Choice::Run { step, about, .. } => {
                let decided = Decided {
                    run,
                    step: *step,
                    about: about.clone(),
                    ..Decided::new(choice.as_str(), None, now)
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
        let stays = |old: &Decided| old.until.is_some_and(|at| at > now) || until.is_none();
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
                let decided = Decided {
                    until,
                    ..Decided::new(choice.as_str(), Some(why.clone()), now)
                };
                decisions.insert(binding.to_owned(), decided);
            }
        }
        self.changed = true;
        true
    }

    pub(super) fn run_of(&self, decision: &Decision) -> Option<RunId> {
        self.value.decisions.get(decision.binding_name())?.run
    }
}
