//! What the store should hold, in plain maps.

use std::collections::{BTreeMap, BTreeSet};

use promansible::config::Config;
use promansible::model::alert::{Alert, EpisodeKey, Status};
use promansible::model::guards;
use promansible::model::inventory::Inventory;
use promansible::model::run::{Outcome, State};
use promansible::plan::{self, Choice, EpisodeHistory};

use crate::fixture::at;

/// What a run looks like to somebody outside.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelRun {
    /// `None` if a person asked for it.
    pub binding: Option<String>,
    pub overlap: bool,
    pub state: State,
    pub outcome: Option<Outcome>,
    pub hosts: BTreeSet<String>,
    pub episodes: BTreeMap<EpisodeKey, BTreeSet<String>>,
    pub created: i64,
    pub ready: i64,
    pub rerun_of: Option<u64>,
}

#[derive(Default)]
pub struct Model {
    pub past: BTreeMap<EpisodeKey, EpisodeHistory>,
    pub runs: BTreeMap<u64, ModelRun>,
    /// Running ones that somebody wants to end.
    pub canceled: BTreeSet<u64>,
    pub enrolled: BTreeSet<String>,
    pub now: i64,
}

impl Model {
    pub fn queued(&self) -> usize {
        self.runs
            .values()
            .filter(|run| run.state == State::Queued)
            .count()
    }

    fn queued_alerts(&self) -> usize {
        let queued = self.runs.values().filter(|run| run.state == State::Queued);
        queued.map(|run| run.episodes.len()).sum()
    }

    /// `None` if the queue is too full.
    pub fn notify(
        &mut self,
        config: &Config,
        inventory: &Inventory,
        alerts: &[Alert],
    ) -> Option<()> {
        let mut after = Self {
            past: self.past.clone(),
            runs: self.runs.clone(),
            canceled: self.canceled.clone(),
            enrolled: self.enrolled.clone(),
            now: self.now,
        };
        let first_new = after.next_id();
        // How many alerts each binding gets. What that needs is counted by the queue as it stands now: what resolves
        // here neither frees a place here, nor asks for a second one where it ends the run that was to be joined.
        let mut joining: BTreeMap<String, usize> = BTreeMap::new();
        for alert in alerts {
            let key = alert.episode();
            let past = after.past.entry(key).or_default();
            let decisions = plan::decide(
                config,
                inventory,
                &guards::State::default(),
                alert,
                past,
                at(self.now),
            );
            let ends = alert.status == Status::Resolved && past.resolved_at.is_none();
            let left = if ends {
                after.resolve(&key)
            } else {
                Vec::new()
            };
            let past = after.past.entry(key).or_default();
            for binding in left {
                past.progress.remove(&binding);
            }
            plan::record(past, alert, &decisions, at(self.now));
            for decision in decisions {
                if let (Choice::Run { hosts, .. }, Some(binding)) =
                    (&decision.choice, &decision.binding)
                {
                    *joining.entry(binding.name.clone()).or_default() += 1;
                    let ready = after.now + i64::try_from(binding.batch_window.as_secs()).unwrap();
                    after.join(config, &binding.name, ready, first_new, key, hosts);
                }
            }
        }
        let limits = &config.runs;
        let new_runs = joining.iter().map(|(binding, alerts)| {
            let open = self.open_batch(config, binding, first_new);
            let room = open.map_or(0, |id| limits.alerts_limit - self.runs[&id].episodes.len());
            alerts.saturating_sub(room).div_ceil(limits.alerts_limit)
        });
        let new_runs: usize = new_runs.sum();
        let new_alerts: usize = joining.values().sum();
        if (new_runs > 0 && self.queued() + new_runs > limits.queue_limit)
            || (new_alerts > 0 && self.queued_alerts() + new_alerts > limits.queue_alerts_limit)
        {
            return None;
        }
        let most = self.queued().max(limits.queue_limit);
        assert!(after.queued() <= most, "too many runs wait");
        let most = self.queued_alerts().max(limits.queue_alerts_limit);
        assert!(after.queued_alerts() <= most, "too many alerts wait");
        *self = after;
        Some(())
    }

    /// The run of this binding that takes further hosts: the newest that is queued, but for repetitions, if it waits.
    fn open_batch(&self, config: &Config, binding: &str, first_new: u64) -> Option<u64> {
        let is_batch = |run: &ModelRun| {
            run.binding.as_deref() == Some(binding)
                && run.rerun_of.is_none()
                && run.state == State::Queued
        };
        let (id, run) = self.runs.iter().rfind(|(_, run)| is_batch(run))?;
        let waits = run.ready > self.now || *id >= first_new;
        let room = run.episodes.len() < config.runs.alerts_limit;
        (waits && room).then_some(*id)
    }

    fn next_id(&self) -> u64 {
        self.runs.keys().next_back().map_or(1, |id| id + 1)
    }

    fn join(
        &mut self,
        config: &Config,
        binding: &str,
        ready: i64,
        first_new: u64,
        key: EpisodeKey,
        hosts: &[String],
    ) {
        let hosts: BTreeSet<String> = hosts.iter().cloned().collect();
        if let Some(id) = self.open_batch(config, binding, first_new) {
            let run = self.runs.get_mut(&id).unwrap();
            run.hosts.extend(hosts.iter().cloned());
            run.episodes.insert(key, hosts);
            return;
        }
        let run = ModelRun {
            binding: Some(binding.to_owned()),
            overlap: binding == "overlap",
            state: State::Queued,
            outcome: None,
            hosts: hosts.clone(),
            episodes: [(key, hosts)].into(),
            created: self.now,
            ready,
            rerun_of: None,
        };
        self.runs.insert(self.next_id(), run);
    }

    /// `None` if the queue is full.
    pub fn ask(&mut self, config: &Config, hosts: &[String], overlap: bool) -> Option<u64> {
        if self.queued() >= config.runs.queue_limit {
            return None;
        }
        let id = self.next_id();
        let run = ModelRun {
            binding: None,
            overlap,
            state: State::Queued,
            outcome: None,
            hosts: hosts.iter().cloned().collect(),
            episodes: BTreeMap::new(),
            created: self.now,
            ready: self.now,
            rerun_of: None,
        };
        self.runs.insert(id, run);
        Some(id)
    }

    /// The bindings whose runs go without the episode now.
    fn resolve(&mut self, key: &EpisodeKey) -> Vec<String> {
        let mut left = Vec::new();
        for run in self.runs.values_mut() {
            if run.state != State::Queued || run.episodes.remove(key).is_none() {
                continue;
            }
            left.extend(run.binding.clone());
            if run.episodes.is_empty() {
                run.state = State::Finished;
                run.outcome = Some(Outcome::Canceled);
            } else {
                run.hosts = run.episodes.values().flatten().cloned().collect();
            }
        }
        left
    }

    pub fn claim(&mut self) -> Option<u64> {
        let mut taken: BTreeSet<String> = self
            .runs
            .values()
            .filter(|run| run.state == State::Running)
            .flat_map(|run| run.hosts.clone())
            .collect();
        let now = self.now;
        for (id, run) in &mut self.runs {
            if run.state != State::Queued || run.ready > now {
                continue;
            }
            if run.overlap || run.hosts.is_disjoint(&taken) {
                run.state = State::Running;
                return Some(*id);
            }
            taken.extend(run.hosts.iter().cloned());
        }
        None
    }

    pub fn finish(&mut self, id: u64, outcome: Outcome) {
        self.canceled.remove(&id);
        let run = self.runs.get_mut(&id).unwrap();
        run.state = State::Finished;
        run.outcome = Some(outcome);
        if outcome != Outcome::Interrupted || run.binding.as_deref() != Some("batched") {
            return;
        }
        let mut again = run.clone();
        let past = |key: &EpisodeKey| self.past.get(key);
        let resolved = |key: &EpisodeKey| past(key).is_some_and(|past| past.resolved_at.is_some());
        again.episodes.retain(|key, _| !resolved(key));
        if again.episodes.is_empty() {
            return;
        }
        again.hosts = again.episodes.values().flatten().cloned().collect();
        again.state = State::Queued;
        again.outcome = None;
        again.created = self.now;
        again.ready = self.now;
        again.rerun_of = Some(id);
        self.runs.insert(self.next_id(), again);
    }

    /// A run that was claimed and not begun waits again, without the episodes that resolved since it was made.
    pub fn put_back(&mut self, id: u64) {
        let run = self.runs.get_mut(&id).unwrap();
        run.state = State::Queued;
        let mut is_over = self.canceled.remove(&id);
        if !is_over {
            let made_at = at(run.created);
            let resolved = |key: &EpisodeKey| {
                let resolved_at = self.past.get(key).and_then(|past| past.resolved_at);
                resolved_at.is_some_and(|at| at > made_at)
            };
            let resolved: Vec<EpisodeKey> = run.episodes.keys().copied().filter(resolved).collect();
            for key in &resolved {
                run.episodes.remove(key);
                if let (Some(past), Some(binding)) = (self.past.get_mut(key), &run.binding) {
                    past.progress.remove(binding);
                }
            }
            is_over = !resolved.is_empty() && run.episodes.is_empty();
            if !resolved.is_empty() && !is_over {
                run.hosts = run.episodes.values().flatten().cloned().collect();
            }
        }
        if is_over {
            run.state = State::Finished;
            run.outcome = Some(Outcome::Canceled);
        }
    }

    pub fn running(&self) -> Vec<u64> {
        self.runs
            .iter()
            .filter(|(_, run)| run.state == State::Running)
            .map(|(id, _)| *id)
            .collect()
    }
}
