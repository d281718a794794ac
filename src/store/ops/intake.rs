//! Turns decisions into queued runs: joins a run that accepts further hosts, or creates a new one; counts for storms,
//! and requests approvals.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::config::{Binding, Config};
use crate::model::alert::EpisodeKey;
use crate::model::guards::{ALL, Storm, StormHold, after};
use crate::model::inventory::Inventory;
use crate::model::message::{HoldTarget, Message, MessageEvent};
use crate::model::run::{Approval, RunId, Skip, Trigger};
use crate::plan::{self, Choice, Decision};
use crate::store::StoreError;
use crate::store::disk::records::RunEpisode;
use crate::store::disk::tables::Tables;
use crate::store::ops::episode_update::EpisodeUpdate;
use crate::store::ops::guards;
use crate::store::ops::state::WriterState;

/// Applies decisions, in one transaction.
pub(crate) struct Intake<'a> {
    config: &'a Config,
    inventory: usize,
    first_new: RunId,
    now: DateTime<Utc>,
    /// New runs that need approval.
    want_approval: BTreeSet<RunId>,
}

impl<'a> Intake<'a> {
    pub(crate) fn new(
        config: &'a Config,
        inventory: &Inventory,
        state: &mut WriterState,
        now: DateTime<Utc>,
    ) -> Self {
        state.guards.circuit = Some(config.guards.circuit);
        Self {
            config,
            inventory: inventory.len(),
            first_new: RunId(state.next_run),
            now,
            want_approval: BTreeSet::new(),
        }
    }

    /// Applies one decision. Returns the final choice and the run, if any.
    pub(crate) fn take(
        &mut self,
        tables: &mut Tables<'_>,
        state: &mut WriterState,
        key: &EpisodeKey,
        episode: &mut EpisodeUpdate,
        decision: &Decision,
    ) -> Result<(Choice, Option<RunId>), StoreError> {
        let Some(binding) = &decision.binding else {
            return Ok((decision.choice.clone(), None));
        };
        let mut choice = decision.choice.clone();
        if let Choice::Run {
            step, probe: true, ..
        } = &choice
            && let Some(run) = probe_run(state, binding, *step)
        {
            choice = Choice::Skip {
                reason: Skip::CircuitOpen,
                why: format!("run {run} is testing its role"),
                until: Some(after(self.now, std::time::Duration::from_mins(1))),
            };
        }
        let mut run = None;
        if let Choice::Run {
            hosts,
            about,
            step,
            probe,
            spared,
        } = &choice
        {
            let id = self.run_for(tables, state, binding, *step, *probe)?;
            state.join(id, *key, hosts);
            let of_run = RunEpisode::new(&episode.value, hosts.clone(), false);
            state.note_joined(id, key, of_run);
            if let Some(queued) = state.queue.get_mut(&id) {
                spared.iter().cloned().for_each(|s| queued.spare(s));
            }
            let about = about.as_ref().map_or(&hosts[..], std::slice::from_ref);
            self.count(tables, state, binding, about)?;
            run = Some(id);
        }
        let is_news = episode.record(&binding.name, &choice, run, self.now);
        if let Choice::Skip {
            reason: reason @ Skip::AttemptsExhausted,
            why,
            ..
        } = &choice
            && is_news
        {
            let what = HoldTarget::Binding(binding.name.clone());
            guards::notify_held(tables, state, what, reason.as_str(), why.clone(), self.now)?;
        }
        Ok((choice, run))
    }

    /// Sends the requests for approval of new runs.
    pub(crate) fn finish(
        self,
        tables: &mut Tables<'_>,
        state: &mut WriterState,
    ) -> Result<(), StoreError> {
        for id in self.want_approval {
            let Some(queued) = state.queue.get(&id) else {
                continue;
            };
            let run = &queued.run;
            let matter = MessageEvent::ApprovalWanted {
                run: id,
                roles: run.work.roles.clone(),
                hosts: run.hosts.clone(),
                binding: run.binding.clone(),
                until: run.approval.as_ref().map(|approval| approval.until),
            };
            crate::store::ops::messages::put(tables, state, &Message::new(matter, self.now))?;
        }
        Ok(())
    }

    /// Returns the queued run of this step that still accepts hosts, or a new one.
    fn run_for(
        &mut self,
        tables: &mut Tables<'_>,
        state: &mut WriterState,
        binding: &Binding,
        step: u32,
        probe: bool,
    ) -> Result<RunId, StoreError> {
        let work = plan::work(binding, step);
        let limit = self.config.runs.alerts_limit;
        let remedy = plan::remedy(binding, step, probe);
        let same = (&work, remedy);
        if let Some(id) = state.open_batch(&binding.name, same, self.first_new, self.now, limit) {
            return Ok(id);
        }
        let mut run = state.new_run(Trigger::Alert, work, self.now);
        run.binding = Some(binding.name.clone());
        run.ready_at = self.now + binding.batch_window;
        run.remedy = Some(remedy);
        run.approval = binding.approval.map(|ttl| Approval {
            until: after(self.now, ttl),
            by: None,
            at: None,
        });
        let id = run.id;
        if run.approval.is_some() {
            self.want_approval.insert(id);
        }
        if probe {
            for role in &run.work.roles.clone() {
                let streak = state.guards.book.streaks.get_mut(role);
                if let Some(open) = streak.and_then(|streak| streak.open.as_mut()) {
                    open.probe = Some(id);
                    guards::keep_streak(tables, state, role)?;
                }
            }
        }
        state.enqueue(tables, run, BTreeMap::new())?;
        Ok(id)
    }

    /// Counts the affected hosts, and starts a storm hold if they are too many.
    fn count(
        &self,
        tables: &mut Tables<'_>,
        state: &mut WriterState,
        binding: &Binding,
        hosts: &[String],
    ) -> Result<(), StoreError> {
        let own = binding.storm.map(|storm| (binding.name.as_str(), storm));
        for (name, storm) in own.into_iter().chain([(ALL, self.config.guards.storm)]) {
            let held = state.guards.book.storms.contains_key(name);
            if held || storm.limit(self.inventory).is_none() {
                continue;
            }
            for host in hosts {
                state.guards.recent.note(name, host, self.now);
            }
            let recent = &mut state.guards.recent;
            if let Some((count, limit)) = recent.too_many(name, &storm, self.inventory, self.now) {
                self.hold(tables, state, name, &storm, (count, limit))?;
            }
        }
        Ok(())
    }

    fn hold(
        &self,
        tables: &mut Tables<'_>,
        state: &mut WriterState,
        name: &str,
        storm: &Storm,
        (hosts, limit): (usize, usize),
    ) -> Result<(), StoreError> {
        let hold = StormHold {
            since: self.now,
            hosts,
            limit,
        };
        state.guards.book.storms.insert(name.to_owned(), hold);
        guards::keep_storm(tables, state, name)?;
        let why = format!(
            "{hosts} hosts would be affected within {}, and the limit is {limit}: its runs wait until a person releases them",
            crate::util::units::format_duration(storm.within)
        );
        let what = if name == ALL {
            HoldTarget::All
        } else {
            HoldTarget::Binding(name.to_owned())
        };
        guards::notify_held(tables, state, what, "storm", why, self.now)
    }
}

/// Returns the run that tests one of the step's roles.
fn probe_run(state: &WriterState, binding: &Binding, step: u32) -> Option<RunId> {
    let roles = &plan::step_of(binding, step)?.roles;
    let streaks = &state.guards.book.streaks;
    let mut roles = roles.iter();
    roles.find_map(|role| streaks.get(role)?.open.as_ref()?.probe)
}
