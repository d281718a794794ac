//! Whatever comes in whatever order, with restarts and a clock that jumps: no guard lets more through than it may.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use promansible::model::alert::Status;
use promansible::model::guards::{HostHold, Pause};
use promansible::model::run::{Outcome, Run, RunId, State};
use promansible::model::verdict::AlertObservation;
use proptest::prelude::*;

use crate::fixture::{Fixture, HOSTS, alert, at, built, ended, inventory};

const CONFIG: &str = r#"
guards:
  cooldown: 30s
  attempts: {max: 2, per: 5m}
  storm: {max_hosts: 3, within: 1m}
  circuit: {failures: 2, retry_after: 2m}
  verify_within: 20s
bindings:
  - {name: one, matchers: ['sev="a"'], steps: [{roles: [r1]}, {roles: [r2]}], batch_window: 0s}
  - {name: two, matchers: ['sev="b"'], roles: [r1], batch_window: 5s, cooldown: 0, attempts: {max: 3, per: 10m}}
"#;

/// Binding → cooldown, attempts, and the time that they are counted in; in seconds.
const LIMITS: [(&str, i64, usize, i64); 2] = [("one", 30, 2, 300), ("two", 0, 3, 600)];

/// On so many hosts within so many seconds.
const STORM: (usize, i64) = (3, 60);

#[derive(Debug, Clone)]
enum Step {
    Notify(u64, i64, usize, bool),
    Claim,
    Finish(usize, Outcome),
    PutBack(usize),
    Look(AlertObservation),
    Wait(i64),
    Jump(i64),
    Pause,
    Resume,
    Hold(usize, Option<i64>),
    Unhold(usize),
    Release,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome = prop::sample::select(vec![
        Outcome::Successful,
        Outcome::Failed,
        Outcome::Canceled,
        Outcome::Interrupted,
    ]);
    let heard = prop::sample::select(vec![
        AlertObservation::Firing,
        AlertObservation::Resolved,
        AlertObservation::Nothing,
    ]);
    let step = prop_oneof![
        8 => (0..12_u64, 0..3_i64, 0..HOSTS.len(), prop::bool::weighted(0.1))
            .prop_map(|(number, since, host, over)| Step::Notify(number, since, host, over)),
        8 => Just(Step::Claim),
        5 => (0..4_usize, outcome).prop_map(|(n, outcome)| Step::Finish(n, outcome)),
        1 => (0..4_usize).prop_map(Step::PutBack),
        4 => heard.prop_map(Step::Look),
        4 => (1..40_i64).prop_map(Step::Wait),
        1 => (-500..500_i64).prop_map(Step::Jump),
        1 => Just(Step::Pause),
        2 => Just(Step::Resume),
        1 => (0..HOSTS.len(), prop::option::of(1..100_i64)).prop_map(|(h, t)| Step::Hold(h, t)),
        1 => (0..HOSTS.len()).prop_map(Step::Unhold),
        2 => Just(Step::Release),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..120)
}

/// When, which step, which run.
type Start = (i64, u32, RunId);

/// What somebody outside sees of what may start.
#[derive(Default)]
struct Watch {
    now: i64,
    paused: bool,
    held: BTreeMap<String, Option<i64>>,
    /// Binding and host → when something was started there, since the clock last went back.
    starts: BTreeMap<(String, String), Vec<Start>>,
    running: BTreeMap<RunId, Run>,
    /// Role → the hosts on which it failed in a row.
    failed: BTreeMap<String, BTreeSet<String>>,
    /// Host → when a run was last decided there, since the last release, jump or restart.
    decided: BTreeMap<String, i64>,
    /// Whether those were too many at some time since the last release.
    is_storm: bool,
    queued: BTreeMap<RunId, Vec<String>>,
    /// Episode, binding and step → its run.
    ran: BTreeMap<(u64, i64, String, u32), RunId>,
}

impl Watch {
    /// Notes what is queued now and was not before.
    async fn look_at_the_queue(&mut self, fixture: &Fixture) {
        let runs = fixture.all_runs().await.into_iter();
        let queued = runs.filter(|run| run.state == State::Queued);
        let queued: BTreeMap<RunId, Vec<String>> = queued.map(|run| (run.id, run.hosts)).collect();
        for (id, hosts) in &queued {
            let before = self.queued.get(id);
            let new = |host: &&String| before.is_none_or(|before| !before.contains(host));
            for host in hosts.iter().filter(new) {
                self.decided.insert(host.clone(), self.now);
            }
        }
        self.queued = queued;
        let lately = self.decided.values().filter(|at| *at + STORM.1 > self.now);
        self.is_storm |= lately.count() > STORM.0;
    }

    fn started(&mut self, run: &Run, episodes: &[(u64, i64)]) {
        assert!(!self.paused, "it is paused");
        assert!(!self.is_storm, "it is a storm");
        let binding = run.binding.clone().unwrap();
        let step = run.remedy.unwrap().step;
        let (_, cooldown, max, per) = *LIMITS.iter().find(|l| l.0 == binding).unwrap();
        for host in &run.hosts {
            if let Some(until) = self.held.get(host) {
                assert!(
                    until.is_some_and(|until| until <= self.now),
                    "{host} is held"
                );
            }
            let starts = self
                .starts
                .entry((binding.clone(), host.clone()))
                .or_default();
            for (at, earlier, _) in starts.iter() {
                assert!(
                    *earlier < step || self.now - at >= cooldown,
                    "{host}: {at} and {} in one cooldown",
                    self.now
                );
            }
            starts.push((self.now, step, run.id));
            let within = starts
                .iter()
                .filter(|(at, s, _)| *s == step && at + per > self.now);
            assert!(within.count() <= max, "{host}: too many attempts");
        }
        for role in &run.work.roles {
            if self.failed.get(role).is_some_and(|hosts| hosts.len() >= 2) {
                assert_eq!(run.hosts.len(), 1, "{role} is tried on one host");
                let others = self.running.values();
                let mut others = others.filter(|other| other.remedy.unwrap().probe);
                assert!(run.remedy.unwrap().probe);
                assert!(
                    others.all(|other| !other.work.roles.contains(role)),
                    "one try of {role} at a time"
                );
            }
        }
        for (number, since) in episodes {
            let key = (*number, *since, binding.clone(), step);
            let earlier = self.ran.insert(key, run.id);
            assert!(earlier.is_none_or(|id| id == run.id), "the same step twice");
            if step > 1 {
                let before = (*number, *since, binding.clone(), step - 1);
                assert!(self.ran.contains_key(&before), "step by step");
            }
        }
        self.running.insert(run.id, run.clone());
    }

    fn ended(&mut self, run: &Run, outcome: Outcome) {
        self.running.remove(&run.id);
        for role in &run.work.roles {
            match outcome {
                Outcome::Successful => drop(self.failed.remove(role)),
                Outcome::Failed => {
                    let hosts = self.failed.entry(role.clone()).or_default();
                    hosts.extend(run.hosts.iter().cloned());
                }
                _ => {}
            }
        }
    }
}

#[allow(clippy::too_many_lines)] // a step each
async fn play(steps: Vec<Step>) {
    let mut fixture = Fixture::new(1000);
    fixture.config = built(CONFIG);
    let mut watch = Watch::default();
    for step in steps {
        let now = at(watch.now);
        match step {
            Step::Notify(number, since, host, over) => {
                let status = if over {
                    Status::Resolved
                } else {
                    Status::Firing
                };
                let severity = if number % 3 == 0 { "b" } else { "a" };
                let host = HOSTS[(host + usize::try_from(number).unwrap()) % HOSTS.len()];
                let alert = alert(number, since - 1000, severity, host, status);
                fixture.admit(vec![alert], now).await.unwrap();
                watch.look_at_the_queue(&fixture).await;
            }
            Step::Claim => {
                if let Some(claimed) = fixture.claim(now).await {
                    let episodes = claimed.alerts.iter();
                    let episodes: Vec<(u64, i64)> = episodes
                        .map(|(a, _)| (a.fingerprint.0, a.starts_at.timestamp()))
                        .collect();
                    assert!(!claimed.run.hosts.is_empty());
                    watch.started(&claimed.run, &episodes);
                }
            }
            Step::Finish(n, outcome) => {
                let ids: Vec<RunId> = watch.running.keys().copied().collect();
                let Some(id) = ids.get(n % ids.len().max(1)) else {
                    continue;
                };
                let run = watch.running[id].clone();
                let finished = fixture.store.finish(*id, ended(&run, outcome), now).await;
                finished.unwrap();
                watch.ended(&run, outcome);
            }
            Step::PutBack(n) => {
                let ids: Vec<RunId> = watch.running.keys().copied().collect();
                let Some(id) = ids.get(n % ids.len().max(1)) else {
                    continue;
                };
                fixture.store.put_back(*id, now).await.unwrap();
                if let Some(run) = watch.running.remove(id) {
                    watch.queued.insert(*id, run.hosts);
                }
                for starts in watch.starts.values_mut() {
                    starts.retain(|(_, _, run)| run != id);
                }
                // It was not begun: what it was for may come to another run.
                watch.ran.retain(|_, run| run != id);
            }
            Step::Look(heard) => {
                let due = fixture.store.due(now, 100).await.unwrap();
                let heard = due.episodes.into_iter().map(|of| (of.key, heard)).collect();
                let config = Arc::clone(&fixture.config);
                let looked = fixture.store.follow_up(heard, config, inventory(), now);
                looked.await.unwrap();
                watch.look_at_the_queue(&fixture).await;
            }
            Step::Wait(seconds) => watch.now += seconds,
            Step::Jump(seconds) => {
                watch.now += seconds;
                // What lies ahead of the clock counts from now on; what it skipped is over.
                watch.starts.clear();
                watch.decided.clear();
            }
            Step::Pause => {
                let pause = Pause {
                    since: now,
                    by: "ann".into(),
                    why: String::new(),
                };
                fixture.store.pause(pause).await.unwrap();
                watch.paused = true;
            }
            Step::Resume => {
                fixture.store.resume().await.unwrap();
                watch.paused = false;
            }
            Step::Hold(host, seconds) => {
                let until = seconds.map(|seconds| watch.now + seconds);
                let hold = HostHold {
                    since: now,
                    until: until.map(at),
                    by: "ann".into(),
                    why: String::new(),
                };
                fixture
                    .store
                    .hold_host(HOSTS[host].into(), hold)
                    .await
                    .unwrap();
                watch.held.insert(HOSTS[host].into(), until);
            }
            Step::Unhold(host) => {
                fixture
                    .store
                    .release_host(HOSTS[host].into(), now)
                    .await
                    .unwrap();
                watch.held.remove(HOSTS[host]);
            }
            Step::Release => {
                fixture.store.release(None).await.unwrap();
                watch.decided.clear();
                watch.is_storm = false;
            }
            Step::Restart => {
                let opened = fixture.kill_and_reopen(now);
                let running: Vec<RunId> = watch.running.keys().copied().collect();
                assert_eq!(opened.interrupted, running);
                watch.running.clear();
                // What was decided and ended unstarted is not remembered.
                watch.decided.clear();
                watch.look_at_the_queue(&fixture).await;
            }
        }
    }
    fixture.store.close().await;
}

/// How many orders of things are played: few by default, more by `PROMANSIBLE_LIMITS_CASES`.
fn cases() -> u32 {
    let given = std::env::var("PROMANSIBLE_LIMITS_CASES").ok();
    given.map_or(60, |given| given.parse().expect("a number"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_guard_lets_more_through_than_it_may(steps in steps()) {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(play(steps));
    }
}
