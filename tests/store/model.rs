//! The store against a model that keeps everything in plain maps, with restarts and kills anywhere in between.

use std::collections::{BTreeMap, BTreeSet};

use promansible::alert::{Alert, EpisodeKey, Status};
use promansible::config::Config;
use promansible::inventory::Inventory;
use promansible::plan::{self, Choice, Past};
use promansible::run::{Outcome, RunId, State};
use promansible::store::StoreError;
use proptest::prelude::*;

use crate::fixture::{Fixture, HOSTS, alert, at, ended};

#[derive(Debug, Clone)]
enum Step {
    Notify(Vec<(u64, i64, usize, bool)>),
    Claim,
    Finish(usize, Outcome),
    Cancel(u64),
    PutBack(usize),
    Wait(i64),
    Restart { kill: bool },
}

const SEVERITIES: [&str; 5] = ["a", "b", "c", "d", "none"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let alert = (
        0..6_u64,
        0..2_i64,
        0..HOSTS.len(),
        prop::bool::weighted(0.25),
    );
    let outcome = prop::sample::select(vec![
        Outcome::Successful,
        Outcome::Failed,
        Outcome::Interrupted,
    ]);
    let step = prop_oneof![
        5 => prop::collection::vec(alert, 1..6).prop_map(Step::Notify),
        5 => Just(Step::Claim),
        4 => (0..4_usize, outcome).prop_map(|(n, outcome)| Step::Finish(n, outcome)),
        1 => (1..12_u64).prop_map(Step::Cancel),
        2 => prop_oneof![8 => 1..12_i64, 1 => Just(3600)].prop_map(Step::Wait),
        1 => (0..4_usize).prop_map(Step::PutBack),
        1 => any::<bool>().prop_map(|kill| Step::Restart { kill }),
    ];
    prop::collection::vec(step, 1..60)
}

/// What a run looks like to somebody outside.
#[derive(Debug, Clone, PartialEq)]
struct ModelRun {
    binding: String,
    state: State,
    outcome: Option<Outcome>,
    hosts: BTreeSet<String>,
    episodes: BTreeMap<EpisodeKey, BTreeSet<String>>,
    ready: i64,
    rerun_of: Option<u64>,
}

#[derive(Default)]
struct Model {
    past: BTreeMap<EpisodeKey, Past>,
    runs: BTreeMap<u64, ModelRun>,
    /// Running ones that somebody wants to end.
    canceled: BTreeSet<u64>,
    now: i64,
}

impl Model {
    fn queued(&self) -> usize {
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
    fn notify(&mut self, config: &Config, inventory: &Inventory, alerts: &[Alert]) -> Option<()> {
        let mut after = Self {
            past: self.past.clone(),
            runs: self.runs.clone(),
            canceled: self.canceled.clone(),
            now: self.now,
        };
        let first_new = after.next_id();
        // How many alerts each binding gets. What that needs is counted by the queue as it stands now: what resolves
        // here neither frees a place here, nor asks for a second one where it ends the run that was to be joined.
        let mut joining: BTreeMap<String, usize> = BTreeMap::new();
        for alert in alerts {
            let key = alert.episode();
            let past = after.past.entry(key).or_default();
            let decisions = plan::decide(config, inventory, alert, past, at(self.now));
            let ends = alert.status == Status::Resolved && past.resolved_at.is_none();
            let left = if ends {
                after.resolve(&key)
            } else {
                Vec::new()
            };
            let past = after.past.entry(key).or_default();
            for binding in left {
                past.ran.remove(&binding);
            }
            plan::note(past, alert, &decisions, at(self.now));
            for decision in decisions {
                if let (Choice::Run { hosts }, Some(binding)) =
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
            run.binding == binding && run.rerun_of.is_none() && run.state == State::Queued
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
            binding: binding.to_owned(),
            state: State::Queued,
            outcome: None,
            hosts: hosts.clone(),
            episodes: [(key, hosts)].into(),
            ready,
            rerun_of: None,
        };
        self.runs.insert(self.next_id(), run);
    }

    /// The bindings whose runs go without the episode now.
    fn resolve(&mut self, key: &EpisodeKey) -> Vec<String> {
        let mut left = Vec::new();
        for run in self.runs.values_mut() {
            if run.state != State::Queued || run.episodes.remove(key).is_none() {
                continue;
            }
            left.push(run.binding.clone());
            if run.episodes.is_empty() {
                run.state = State::Finished;
                run.outcome = Some(Outcome::Canceled);
            } else {
                run.hosts = run.episodes.values().flatten().cloned().collect();
            }
        }
        left
    }

    fn claim(&mut self) -> Option<u64> {
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
            if run.binding == "overlap" || run.hosts.is_disjoint(&taken) {
                run.state = State::Running;
                return Some(*id);
            }
            taken.extend(run.hosts.iter().cloned());
        }
        None
    }

    fn finish(&mut self, id: u64, outcome: Outcome) {
        self.canceled.remove(&id);
        let run = self.runs.get_mut(&id).unwrap();
        run.state = State::Finished;
        run.outcome = Some(outcome);
        if outcome != Outcome::Interrupted || run.binding != "batched" {
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
        again.ready = self.now;
        again.rerun_of = Some(id);
        self.runs.insert(self.next_id(), again);
    }

    fn running(&self) -> Vec<u64> {
        self.runs
            .iter()
            .filter(|(_, run)| run.state == State::Running)
            .map(|(id, _)| *id)
            .collect()
    }
}

async fn compare(fixture: &Fixture, model: &Model) {
    let runs = fixture.all_runs().await;
    assert_eq!(runs.len(), model.runs.len(), "the number of runs");
    for run in runs {
        let expected = &model.runs[&run.id.0];
        assert_eq!(run.binding.as_deref(), Some(expected.binding.as_str()));
        assert_eq!(
            (run.state, run.outcome),
            (expected.state, expected.outcome),
            "run {}",
            run.id
        );
        assert_eq!(
            run.rerun_of.map(|id| id.0),
            expected.rerun_of,
            "run {}",
            run.id
        );
        if run.outcome != Some(Outcome::Canceled) {
            let hosts: BTreeSet<String> = run.hosts.iter().cloned().collect();
            assert_eq!(hosts, expected.hosts, "run {}", run.id);
            let episodes = fixture.store.episodes_of(run.id).await.unwrap();
            let kept = episodes.iter().filter(|e| !e.of_run.left_out).count();
            assert_eq!(kept, expected.episodes.len(), "episodes of run {}", run.id);
        }
    }
    let queued = crate::fixture::sample(&fixture.metrics, "promansible_runs_queued");
    assert!((queued - f64::from(u32::try_from(model.queued()).unwrap())).abs() < 0.5);
}

#[allow(clippy::too_many_lines)] // a step each
async fn play(steps: Vec<Step>) {
    let mut fixture = Fixture::with("queue_limit: 5, queue_alerts_limit: 9, alerts_limit: 3");
    let mut model = Model::default();
    for step in steps {
        let now = at(model.now);
        match step {
            Step::Notify(alerts) => {
                let alerts: Vec<Alert> = alerts
                    .into_iter()
                    .map(|(number, since, host, resolved)| {
                        // An alert's labels never change: they are what its fingerprint is the hash of.
                        let severity =
                            SEVERITIES[usize::try_from(number).unwrap() % SEVERITIES.len()];
                        let status = if resolved {
                            Status::Resolved
                        } else {
                            Status::Firing
                        };
                        let host = HOSTS[(host + usize::try_from(number).unwrap()) % HOSTS.len()];
                        alert(number, since, severity, host, status)
                    })
                    .collect();
                let admitted = fixture.admit(alerts.clone(), now).await;
                match model.notify(&fixture.config, &fixture.inventory, &alerts) {
                    Some(()) => assert!(admitted.is_ok(), "{admitted:?}"),
                    None => assert!(
                        matches!(admitted, Err(StoreError::QueueFull { .. })),
                        "{admitted:?}"
                    ),
                }
            }
            Step::Claim => {
                let claimed = fixture.claim(now).await;
                assert_eq!(claimed.as_ref().map(|c| c.run.id.0), model.claim());
                if let Some(claimed) = claimed {
                    let about = claimed.alerts.len();
                    assert_eq!(about, model.runs[&claimed.run.id.0].episodes.len());
                }
            }
            Step::Finish(n, outcome) => {
                let running = model.running();
                let Some(id) = running.get(n % running.len().max(1)) else {
                    continue;
                };
                let run = fixture.store.run(RunId(*id)).await.unwrap();
                let finished = fixture
                    .store
                    .finish(run.id, ended(&run, outcome), now)
                    .await;
                assert_eq!(finished.unwrap().outcome, Some(outcome));
                model.finish(*id, outcome);
            }
            Step::Cancel(id) => {
                let canceled = fixture.store.cancel(RunId(id), "me".into(), now).await;
                match model.runs.get_mut(&id) {
                    None => assert!(matches!(canceled, Err(StoreError::NoSuchRun(_)))),
                    Some(run) if run.state == State::Finished => {
                        assert!(matches!(canceled, Err(StoreError::Finished(_))));
                    }
                    Some(run) => {
                        assert!(canceled.is_ok());
                        if run.state == State::Queued {
                            run.state = State::Finished;
                            run.outcome = Some(Outcome::Canceled);
                        } else {
                            model.canceled.insert(id);
                        }
                    }
                }
            }
            Step::PutBack(n) => {
                let running = model.running();
                let Some(id) = running.get(n % running.len().max(1)) else {
                    continue;
                };
                fixture.store.put_back(RunId(*id), now).await.unwrap();
                let canceled = model.canceled.remove(id);
                let run = model.runs.get_mut(id).unwrap();
                run.state = State::Queued;
                if canceled {
                    run.state = State::Finished;
                    run.outcome = Some(Outcome::Canceled);
                }
            }
            Step::Wait(seconds) => model.now += seconds,
            Step::Restart { kill } => {
                let opened = if kill {
                    fixture.kill_and_reopen(now)
                } else {
                    fixture.close_and_reopen(now).await
                };
                let interrupted = model.running();
                assert_eq!(
                    opened.interrupted,
                    interrupted.iter().map(|id| RunId(*id)).collect::<Vec<_>>()
                );
                for id in interrupted {
                    model.finish(id, Outcome::Interrupted);
                }
            }
        }
        compare(&fixture, &model).await;
    }
    fixture.store.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_does(steps in steps()) {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(play(steps));
    }
}
