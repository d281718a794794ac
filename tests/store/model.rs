//! The store against a model that keeps everything in plain maps, with restarts and kills anywhere in between.

mod state;

use std::collections::BTreeSet;

use promansible::model::alert::{Alert, EpisodeKey, Status};
use promansible::model::run::{Outcome, RunId, State, Trigger};
use promansible::store::{EpisodePage, StoreError};
use proptest::prelude::*;

use crate::fixture::{Fixture, HOSTS, alert, at, ended};
use crate::listing::{agrees, of_a_type};
use state::Model;

#[derive(Debug, Clone)]
enum Step {
    Notify(Vec<(u64, i64, usize, bool)>),
    /// A person asks for a run on these hosts, which may meet others or not.
    Ask(BTreeSet<usize>, bool),
    Claim,
    Finish(usize, Outcome),
    Cancel(u64),
    PutBack(usize),
    Enroll(usize),
    Remove(usize),
    Wait(i64),
    Restart {
        kill: bool,
    },
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
        2 => (prop::collection::btree_set(0..HOSTS.len(), 1..3), prop::bool::weighted(0.2))
            .prop_map(|(hosts, overlap)| Step::Ask(hosts, overlap)),
        5 => Just(Step::Claim),
        4 => (0..4_usize, outcome).prop_map(|(n, outcome)| Step::Finish(n, outcome)),
        1 => (1..12_u64).prop_map(Step::Cancel),
        2 => prop_oneof![8 => 1..12_i64, 1 => Just(3600)].prop_map(Step::Wait),
        1 => (0..4_usize).prop_map(Step::PutBack),
        1 => (0..4_usize).prop_map(Step::Enroll),
        1 => (0..4_usize).prop_map(Step::Remove),
        1 => any::<bool>().prop_map(|kill| Step::Restart { kill }),
    ];
    prop::collection::vec(step, 1..60)
}

async fn compare(fixture: &Fixture, model: &Model) {
    let runs = fixture.all_runs().await;
    assert_eq!(runs.len(), model.runs.len(), "the number of runs");
    for run in runs {
        let expected = &model.runs[&run.id.0];
        assert_eq!(run.binding, expected.binding);
        let trigger = match expected.binding {
            Some(_) => Trigger::Alert,
            None => Trigger::Manual,
        };
        assert_eq!(run.trigger, trigger);
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
    let enrolled = fixture.store.hosts().await.unwrap();
    let enrolled: BTreeSet<String> = enrolled.into_iter().map(|host| host.name).collect();
    assert_eq!(enrolled, model.enrolled);
    let queued = crate::fixture::sample(&fixture.metrics, "promansible_runs_queued");
    assert!((queued - f64::from(u32::try_from(model.queued()).unwrap())).abs() < 0.5);
    let fires = fixture.store.firing(None, |_| true, None, 1000).await;
    let past = model.past.iter();
    let expected = past.filter(|(_, past)| past.resolved_at.is_none());
    let expected: BTreeSet<EpisodeKey> = expected.map(|(key, _)| *key).collect();
    assert_eq!(keys(&fires.unwrap()), expected, "what fires");
    for (name, odd) in [("A", 0), ("B", 1)] {
        let all = fixture.store.episodes_of_type(name.to_owned(), None, 1000);
        let of_it = model.past.keys().filter(|key| key.fingerprint.0 % 2 == odd);
        let expected: BTreeSet<EpisodeKey> = of_it.copied().collect();
        assert_eq!(keys(&all.await.unwrap()), expected, "what is of {name}");
    }
}

fn keys(page: &EpisodePage) -> BTreeSet<EpisodeKey> {
    let keys = page.episodes.iter().map(|episode| EpisodeKey {
        fingerprint: episode.fingerprint,
        starts_at_nanos: episode.starts_at.timestamp_nanos_opt().unwrap(),
    });
    keys.collect()
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
                        of_a_type(alert(number, since, severity, host, status))
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
            Step::Ask(hosts, overlap) => {
                let hosts: Vec<String> = hosts.into_iter().map(|n| HOSTS[n].to_owned()).collect();
                let asked = fixture.ask(&hosts, overlap, now).await;
                match model.ask(&fixture.config, &hosts, overlap) {
                    Some(id) => assert_eq!(asked.unwrap(), RunId(id)),
                    None => assert!(
                        matches!(asked, Err(StoreError::QueueFull { .. })),
                        "{asked:?}"
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
                model.put_back(*id);
            }
            Step::Enroll(n) => {
                let host = crate::hosts::host(&format!("e{n}"), "a");
                let kept = fixture.store.enroll_host(host.clone()).await;
                assert_eq!(kept.is_ok(), model.enrolled.insert(host.name));
            }
            Step::Remove(n) => {
                let name = format!("e{n}");
                let removed = fixture.store.remove_host(name.clone()).await;
                assert_eq!(removed.is_ok(), model.enrolled.remove(&name));
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
    agrees(&fixture.store, at(model.now)).await;
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
