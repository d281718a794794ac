//! A store's file that holds something of everything, and all that can be read of it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use promansible::config::ManagedKind;
use promansible::metrics::Metrics;
use promansible::model::alert::Status;
use promansible::model::facts::HostFacts;
use promansible::model::findings::Findings;
use promansible::model::inventory::EnrolledHost;
use promansible::model::run::{Outcome, RunId};
use promansible::store::{
    Expect, Order, RoleFindings, RunFilter, RunOffset, Store, StoreError, Text,
};
use prometheus::Encoder as _;
use serde_json::json;
use tempfile::TempDir;

use crate::fixture::{Fixture, HOSTS, alert, at, ended, event};

const RUNS: u64 = 60;

/// Files as a clean stop and a kill leave them.
pub struct History {
    folder: TempDir,
    pub clean: PathBuf,
    pub killed: PathBuf,
}

impl History {
    /// Written by real operations.
    pub async fn write() -> Self {
        let fixture = Fixture::new(1000);
        let store = &fixture.store;
        for n in 0..RUNS {
            let seconds = i64::try_from(n).unwrap() * 100;
            let host = HOSTS[usize::try_from(n).unwrap() % HOSTS.len()];
            let firing = alert(n, seconds, "a", host, Status::Firing);
            fixture.admit(vec![firing], at(seconds)).await.unwrap();
            let Some(claimed) = fixture.claim(at(seconds + 50)).await else {
                continue;
            };
            let id = claimed.run.id;
            let events = (0..usize::try_from(n % 40).unwrap()).map(event).collect();
            let line = format!("run {id} says something on {host}\n");
            let output = vec![Bytes::from(line.repeat(usize::try_from(n * 20).unwrap()))];
            store.append(id, events, output, 1000).await.unwrap();
            let outcome = [Outcome::Successful, Outcome::Failed][usize::from(n % 5 == 0)];
            let mut ended = ended(&claimed.run, outcome);
            ended.findings = vec![RoleFindings {
                role: "r1".into(),
                host: host.into(),
                at: at(seconds + 60),
                findings: Findings::from_iter([("size_bytes".to_owned(), json!(n))]),
            }];
            store.finish(id, ended, at(seconds + 60)).await.unwrap();
            if n % 3 == 0 {
                let over = alert(n, seconds, "a", host, Status::Resolved);
                fixture.admit(vec![over], at(seconds + 70)).await.unwrap();
            }
        }
        for (round, host) in (0..3).flat_map(|round| HOSTS.map(|host| (round, host))) {
            store.keep_facts(vec![facts(host, round)]).await.unwrap();
        }
        for n in 0..5 {
            let host = json!({"name": format!("e{n}"), "groups": ["web"], "address": "10.0.0.1", "vars": {}, "enrolled_at": at(0)});
            let host: EnrolledHost = serde_json::from_value(host).unwrap();
            store.enroll_host(host).await.unwrap();
            let (name, json) = (format!("b{n}"), json!({"roles": ["r1"]}).to_string());
            let put = store.put_object(ManagedKind::Binding, name, json, Expect::None, at(0));
            put.await.unwrap();
        }
        let json = Bytes::from_static(br#"{"all":{"hosts":["h1","h2","h3","h4"]}}"#);
        store.save_inventory(7, json).await.unwrap();
        // One is under way, and others wait, when it is killed.
        fixture.claim(at(100_000)).await.unwrap();

        let folder = tempfile::tempdir().unwrap();
        let (clean, killed) = (folder.path().join("clean"), folder.path().join("killed"));
        std::fs::copy(&fixture.path, &killed).unwrap();
        store.close().await;
        std::fs::copy(&fixture.path, &clean).unwrap();
        Self {
            folder,
            clean,
            killed,
        }
    }

    /// A file beside them.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn facts(host: &str, round: i64) -> HostFacts {
    let facts = json!({
        "gather_subset": ["all"],
        "ansible_gather_subset": ["all"],
        "ansible_kernel": format!("6.{round}"),
        "ansible_memtotal_mb": 1000 + round,
        "ansible_fqdn": format!("{host}.example"),
        "ansible_mounts": (0..40).map(|n| json!({"mount": format!("/m{n}"), "size_total": 1000 * n})).collect::<Vec<_>>(),
    });
    HostFacts {
        host: host.into(),
        gathered_at: at(1000 * round),
        live: true,
        facts: facts.as_object().unwrap().clone(),
    }
}

/// What each question to a store is answered.
pub type Answers = BTreeMap<String, Result<String, StoreError>>;

fn note<T: Debug>(answers: &mut Answers, question: String, answer: Result<T, StoreError>) {
    answers.insert(question, answer.map(|answer| format!("{answer:?}")));
}

/// Asks a store for everything that it can be asked.
pub async fn read_everything(store: &Store, metrics: &Metrics) -> Answers {
    let mut all = Answers::new();
    for id in (1..=RUNS + 5).map(RunId) {
        note(&mut all, format!("run {id}"), store.run(id).await);
        note(
            &mut all,
            format!("told by {id}"),
            store.run_offset(id).await,
        );
        let mut episodes = store.episodes_of(id).await;
        if let Ok(episodes) = &mut episodes {
            episodes.sort_by_key(|one| one.fingerprint.0);
        }
        note(&mut all, format!("episodes of {id}"), episodes);
        let events = store.events_of(id, 0, 1000).await;
        note(&mut all, format!("events of {id}"), events);
        note(
            &mut all,
            format!("output of {id}"),
            store.output_of(id).await,
        );
        let followed = store.follow(id, RunOffset::default(), None).await;
        note(&mut all, format!("follow {id}"), followed);
    }
    let text = |text: &str| Text::new(text).unwrap();
    let by = RunFilter::default;
    for (name, filter) in [
        ("all", by()),
        (
            "of h1",
            RunFilter {
                host: Some("h1".into()),
                ..by()
            },
        ),
        (
            "failed",
            RunFilter {
                outcome: Some(Outcome::Failed),
                ..by()
            },
        ),
        (
            "of r1, oldest first",
            RunFilter {
                role: Some("r1".into()),
                order: Order::Oldest,
                ..by()
            },
        ),
        (
            "of A",
            RunFilter {
                alertname: Some("A".into()),
                ..by()
            },
        ),
        (
            "saying",
            RunFilter {
                text: Some(text("says something on h2")),
                ..by()
            },
        ),
    ] {
        let page = store.runs(filter, None, 1000).await;
        note(&mut all, format!("runs {name}"), page);
    }
    read_the_rest(store, &mut all).await;
    all.insert("metrics".into(), Ok(page(metrics)));
    all
}

/// All that is not of a run or a list of runs.
async fn read_the_rest(store: &Store, all: &mut Answers) {
    let ends = store.outcomes_since(at(0), Duration::from_mins(10)).await;
    note(all, "outcomes".into(), ends);
    let firing = store.firing(None, |_| true, None, 1000).await;
    note(all, "firing".into(), firing);
    note(all, "firing counts".into(), store.firing_counts().await);
    note(all, "alert types".into(), store.alert_types().await);
    note(
        all,
        "alert type A".into(),
        store.alert_type("A".into()).await,
    );
    let episodes = store.episodes_of_type("A".into(), None, 1000).await;
    note(all, "episodes of A".into(), episodes);
    note(all, "facts".into(), store.facts_list().await);
    for host in HOSTS.map(str::to_owned) {
        let changes = store.fact_changes(host.clone()).await;
        note(all, format!("changes of {host}"), changes);
        let json = store.facts_json(host.clone()).await;
        note(all, format!("facts of {host} as JSON"), json);
        let facts = store.facts_of(host.clone()).await;
        note(all, format!("facts of {host}"), facts);
    }
    let each = Arc::new(Mutex::new(BTreeMap::new()));
    let taken = Arc::clone(&each);
    let read = store.each_facts(move |of| {
        taken.lock().unwrap().insert(of.host.clone(), of);
    });
    let read = read
        .await
        .map(|()| std::mem::take(&mut *each.lock().unwrap()));
    note(all, "each host's facts".into(), read);
    note(all, "enrolled hosts".into(), store.hosts().await);
    note(all, "objects".into(), store.objects().await);
    note(all, "schedules".into(), store.schedules().await);
}

/// The page of metrics, without what is of this process and not of the file.
fn page(metrics: &Metrics) -> String {
    let mut text = Vec::new();
    prometheus::TextEncoder::new()
        .encode(&metrics.gather(0), &mut text)
        .unwrap();
    let text = String::from_utf8(text).unwrap();
    let lines = text.lines().filter(|line| !line.contains("process_"));
    lines.collect::<Vec<_>>().join("\n")
}

/// How many bytes a file has.
pub fn length(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}
