//! A disk that fails in the middle of a commit, for a moment or for a while.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use prometheus::{Encoder, Registry, TextEncoder};
use redb::StorageBackend;
use redb::backends::FileBackend;

use super::disk::file::{Opener, builder, file, open_error};
use super::engine::open::open_with;
use super::*;
use crate::config::{self, Roles};
use crate::metrics::Metrics;
use crate::model::alert::{Alert, Fingerprint, Status};
use crate::model::run::{HostResult, Outcome, TaskStatus};

/// The kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Disk {
    #[default]
    Fsyncs,
    FsyncsAndWrites,
    /// The failure begins with an fsync; after that nothing works.
    Everything,
}

/// Lets a number of calls succeed, and then a number of calls fail.
#[derive(Debug, Default)]
struct Faults(Mutex<Fault>);

#[derive(Debug, Default)]
struct Fault {
    disk: Disk,
    pass: u32,
    fail: u32,
    has_begun: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Fsync,
    Write,
    Read,
}

impl Faults {
    fn plan(&self, disk: Disk, pass: u32, fail: u32) {
        *self.0.lock().unwrap() = Fault {
            disk,
            pass,
            fail,
            has_begun: false,
        };
    }

    fn are_over(&self) -> bool {
        self.0.lock().unwrap().fail == 0
    }

    fn meet(&self, call: Call) -> std::io::Result<()> {
        let mut fault = self.0.lock().unwrap();
        let concerned = match fault.disk {
            Disk::Fsyncs => call == Call::Fsync,
            Disk::FsyncsAndWrites => call != Call::Read,
            Disk::Everything => call == Call::Fsync || fault.has_begun,
        };
        if !concerned || fault.fail == 0 {
            return Ok(());
        }
        if fault.pass > 0 {
            fault.pass -= 1;
            return Ok(());
        }
        fault.has_begun = true;
        fault.fail -= 1;
        Err(std::io::Error::other("the disk fails, for this test"))
    }
}

#[derive(Debug)]
struct Faulty {
    file: FileBackend,
    faults: Arc<Faults>,
}

impl StorageBackend for Faulty {
    fn len(&self) -> Result<u64, std::io::Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        self.faults.meet(Call::Read)?;
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.faults.meet(Call::Write)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.faults.meet(Call::Fsync)?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.faults.meet(Call::Write)?;
        self.file.write(offset, data)
    }
}

pub(super) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap() + TimeDelta::seconds(seconds)
}

pub(super) struct Fixture {
    folder: tempfile::TempDir,
    faults: Arc<Faults>,
    metrics: Metrics,
    pub(super) store: Store,
    pub(super) config: Arc<Config>,
    inventory: Arc<Inventory>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let faults = Arc::new(Faults::default());
        let given = Arc::clone(&faults);
        let open = move |path: &Path, create| {
            let backend = Faulty {
                file: FileBackend::new(file(path, create)?).map_err(|e| open_error(path, e))?,
                faults: Arc::clone(&given),
            };
            let opened = builder().create_with_backend(backend);
            opened.map_err(|e| open_error(path, e))
        };
        let metrics = Metrics::new(Registry::new()).unwrap();
        let path = folder.path().join("store.redb");
        let opened = open_with(Opener::of(open), &path, &metrics, at(0), &|_| ()).unwrap();
        let roles = Roles {
            alert: vec!["r".into()],
            routine: Vec::new(),
            ..Roles::default()
        };
        let text = r#"
ansible: {playbook_dir: p, inventory: [i]}
runs: {batch_window: 0s}
bindings:
  - {name: b, matchers: ['alertname="A"'], roles: [r]}
guards: {attempts: {max: 0}, storm: {max_hosts: 0}}
"#;
        Self {
            folder,
            faults,
            metrics,
            store: opened.store,
            config: Arc::new(config::build("test.yml", text, &roles).unwrap()),
            inventory: Arc::new(Inventory::parse(br#"{"all": {"hosts": ["h"]}}"#).unwrap()),
        }
    }

    /// Closes and reopens the store.
    pub(super) async fn reopen(self) -> Self {
        self.store.close().await;
        let metrics = Metrics::new(Registry::new()).unwrap();
        let path = self.folder.path().join("store.redb");
        let opened = open_with(Opener::new(), &path, &metrics, at(10), &|_| ()).unwrap();
        Self {
            metrics,
            store: opened.store,
            ..self
        }
    }

    pub(super) async fn admit(&self) -> Result<Admitted, StoreError> {
        self.admit_as(1, Arc::clone(&self.config)).await
    }

    pub(super) async fn admit_as(
        &self,
        fingerprint: u64,
        config: Arc<Config>,
    ) -> Result<Admitted, StoreError> {
        let labels = [("alertname", "A"), ("instance", "h")];
        let alert = Alert {
            status: Status::Firing,
            labels: labels.map(|(n, v)| (n.to_owned(), v.to_owned())).into(),
            annotations: BTreeMap::new(),
            starts_at: at(0).try_into().unwrap(),
            ends_at: None,
            generator_url: String::new(),
            fingerprint: Fingerprint(fingerprint),
        };
        let notification = Notification {
            receiver: String::new(),
            group_key: String::new(),
            group_labels: std::collections::BTreeMap::new(),
            truncated_alerts: 0,
            external_url: String::new(),
            alerts: vec![alert],
        };
        let inventory = Arc::clone(&self.inventory);
        let notification = Arc::new(notification);
        self.store
            .admit(notification, config, inventory, at(1))
            .await
    }

    pub(super) async fn append(&self, number: usize) -> Result<(), StoreError> {
        let event = TaskEvent {
            at: at(2),
            host: "h".into(),
            role: None,
            task: number.to_string(),
            action: "debug".into(),
            status: TaskStatus::Ok,
            duration_seconds: 0.0,
            message: None,
            findings: None,
        };
        let output = vec![Bytes::from(format!("{number}\n"))];
        let store = &self.store;
        store.append(RunId(1), vec![event], output, 1000).await
    }

    async fn events(&self) -> usize {
        let events = patiently(|| self.store.events_of(RunId(1), 0, 1000)).await;
        events.len()
    }

    pub(super) fn sample(&self, begins: &str) -> f64 {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.metrics.gather(0), &mut text)
            .unwrap();
        let text = String::from_utf8(text).unwrap();
        let line = text.lines().find(|line| line.starts_with(begins));
        line.map_or(0.0, |line| {
            line.rsplit(' ').next().unwrap().parse().unwrap()
        })
    }
}

/// Retries until the store is not broken any more.
async fn patiently<T, F: Future<Output = Result<T, StoreError>>>(mut ask: impl FnMut() -> F) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(StoreError::Broken(_)) => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// Processes a notification while the disk fails once; failed operations are retried.
async fn one_run_is_one_run(disk: Disk, pass: u32, fail: u32) -> bool {
    let fixture = Fixture::new();
    let store = &fixture.store;
    fixture.faults.plan(disk, pass, fail);

    patiently(|| fixture.admit()).await;
    let claim = patiently(|| store.claim(Arc::clone(&fixture.config), at(1))).await;
    let Claim::Run(claimed) = claim else {
        panic!("the run is lost: {claim:?}")
    };
    assert_eq!(claimed.run.id, RunId(1));
    let mut kept = 0;
    let mut told = 0;
    for number in 0..3 {
        told += 1;
        kept += usize::from(fixture.append(number).await.is_ok());
    }
    let events = fixture.events().await;
    assert!(
        (kept..=told).contains(&events),
        "{events} of {kept} to {told}"
    );
    let output = patiently(|| store.output_of(RunId(1))).await;
    assert_eq!(output.len(), 2 * events, "output and events part");

    let canceled = patiently(|| store.cancel(RunId(1), "me".into(), at(3))).await;
    assert_eq!(canceled, Canceled::Ending);
    let heard = claimed.cancel.borrow().clone();
    assert_eq!(heard.as_deref(), Some("me"), "the owner does not hear it");

    let ended = Ended {
        outcome: Outcome::Successful,
        results: [("h".to_owned(), HostResult::bare(Outcome::Successful, None))].into(),
        message: None,
        findings: Vec::new(),
    };
    loop {
        match store.finish(RunId(1), ended.clone(), at(4)).await {
            Ok(_) | Err(StoreError::Finished(_)) => break,
            Err(StoreError::Broken(_)) => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            Err(other) => panic!("{other}"),
        }
    }
    let met = fixture.faults.are_over();
    fixture.faults.plan(disk, 0, 0);
    // The doubt is resolved after the next operation.
    patiently(|| fixture.admit()).await;
    let runs = patiently(|| store.runs(RunFilter::default(), None, 10))
        .await
        .runs;
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].outcome, Some(Outcome::Successful));
    for (metric, value) in [
        (
            "promansible_decisions_total{binding=\"b\",decision=\"run\"}",
            1.0,
        ),
        (
            "promansible_runs_total{outcome=\"successful\",role=\"r\",trigger=\"alert\"}",
            1.0,
        ),
        ("promansible_runs_running", 0.0),
        ("promansible_runs_queued", 0.0),
    ] {
        assert!((fixture.sample(metric) - value).abs() < 0.1, "{metric}");
    }
    store.close().await;
    met
}

#[tokio::test]
async fn a_disk_that_fails_for_a_moment_neither_loses_nor_doubles_anything() {
    for disk in [Disk::Fsyncs, Disk::FsyncsAndWrites] {
        let mut pass = 0;
        while one_run_is_one_run(disk, pass, 1).await {
            pass += 1;
        }
        assert!(pass > 8, "only {pass} calls could fail");
    }
}

#[tokio::test]
async fn a_disk_that_is_gone_for_a_while_neither_loses_nor_doubles_anything() {
    let mut pass = 0;
    // One failure for the commit; the others for reopening the file, which then has to wait.
    while one_run_is_one_run(Disk::Everything, pass, 2).await {
        pass += 1;
    }
    assert!(pass > 8, "only {pass} fsyncs could fail");
}

#[tokio::test]
async fn what_shares_a_failed_commit_is_done_once() {
    let mut pass = 0;
    loop {
        let fixture = Fixture::new();
        fixture.admit().await.unwrap();
        let Claim::Run(_claimed) = fixture
            .store
            .claim(Arc::clone(&fixture.config), at(1))
            .await
            .unwrap()
        else {
            panic!()
        };
        fixture.faults.plan(Disk::Fsyncs, pass, 1);
        let fixture = Arc::new(fixture);
        let mut together = tokio::task::JoinSet::new();
        for number in 0..50 {
            let fixture = Arc::clone(&fixture);
            together.spawn(async move { fixture.append(number).await.is_ok() });
        }
        let answers = together.join_all().await;
        let kept = answers.iter().filter(|kept| **kept).count();
        let events = fixture.events().await;
        assert!((kept..=50).contains(&events), "{kept} kept, {events} there");
        let met = fixture.faults.are_over();
        fixture.store.close().await;
        if !met {
            break;
        }
        pass += 1;
    }
    assert!(pass > 0);
}
