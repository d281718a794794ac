//! A store in a folder of its own, a configuration and an inventory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use promansible::config::{self, Config, Roles};
use promansible::metrics::Metrics;
use promansible::model::alert::{Alert, Fingerprint, Notification, Status};
use promansible::model::inventory::Inventory;
use promansible::model::run::{Outcome, Run, RunId, TaskEvent, TaskStatus, Work};
use promansible::plan;
use promansible::store::{self, Claim, Claimed, Ended, Opened, RunFilter, Store};
use prometheus::Registry;

pub const HOSTS: [&str; 4] = ["h1", "h2", "h3", "h4"];

/// The guards let everything pass.
pub const NO_GUARDS: &str =
    "guards: {attempts: {max: 0}, storm: {max_hosts: 0}, circuit: {failures: 0}}";

/// A configuration with these limits of runs.
pub fn config(runs: &str) -> Arc<Config> {
    let guards = NO_GUARDS;
    built(&format!(
        r#"
runs: {{{runs}}}
{guards}
bindings:
  - {{name: one, matchers: ['sev="a"'], roles: [r1], batch_window: 0s}}
  - {{name: batched, matchers: ['sev=~"a|b"'], roles: [r1, r2], batch_window: 10s, on_interrupt: rerun}}
  - {{name: group, matchers: ['sev="c"'], roles: [r2], target: {{group: web}}, batch_window: 5s}}
  - {{name: overlap, matchers: ['sev="d"'], roles: [r2], allow_overlap: true, batch_window: 0s}}
"#
    ))
}

/// A configuration with this besides the playbook and the inventory; its roles are r1 and r2.
pub fn built(text: &str) -> Arc<Config> {
    let ansible = "ansible: {playbook_dir: p, inventory: [i]}\nstorage: {path: unused}\n";
    let text = format!("{ansible}{text}");
    let roles = Roles {
        alert: vec!["r1".into(), "r2".into()],
        routine: Vec::new(),
        ..Roles::default()
    };
    Arc::new(config::build("test.yml", &text, &roles).unwrap())
}

/// A configuration that keeps so many bytes of a run's output.
pub fn keeping(output_limit_bytes: u64) -> Arc<Config> {
    let mut config = Config::clone(&config(""));
    config.runs.output_limit_bytes = output_limit_bytes;
    Arc::new(config)
}

pub fn inventory() -> Arc<Inventory> {
    let json = r#"{"all":{"children":["web","ungrouped"]},
        "web":{"hosts":["h1","h2"]},"ungrouped":{"hosts":["h3","h4"]}}"#;
    Arc::new(Inventory::parse(json.as_bytes()).unwrap())
}

pub fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap() + TimeDelta::seconds(seconds)
}

pub fn alert(number: u64, since: i64, severity: &str, host: &str, status: Status) -> Alert {
    Alert {
        status,
        labels: [
            ("alertname", "A".to_owned()),
            ("sev", severity.to_owned()),
            ("instance", format!("{host}:9100")),
            ("n", number.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into(),
        annotations: [("summary".to_owned(), "s".to_owned())].into(),
        starts_at: at(since).try_into().unwrap(),
        ends_at: None,
        generator_url: String::new(),
        fingerprint: Fingerprint(number),
    }
}

pub fn notification(alerts: Vec<Alert>) -> Arc<Notification> {
    Arc::new(Notification {
        receiver: "r".into(),
        group_key: "g".into(),
        group_labels: std::collections::BTreeMap::new(),
        truncated_alerts: 0,
        external_url: String::new(),
        alerts,
    })
}

pub struct Fixture {
    _folder: tempfile::TempDir,
    pub path: PathBuf,
    pub store: Store,
    pub metrics: Metrics,
    pub config: Arc<Config>,
    pub inventory: Arc<Inventory>,
}

impl Fixture {
    pub fn new(queue_limit: usize) -> Self {
        Self::with(&format!("queue_limit: {queue_limit}"))
    }

    /// One with these limits of runs.
    pub fn with(runs: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.redb");
        let (opened, metrics) = open(&path, at(0));
        Self {
            store: opened.store,
            metrics,
            config: config(runs),
            inventory: inventory(),
            path,
            _folder: folder,
        }
    }

    pub async fn admit(
        &self,
        alerts: Vec<Alert>,
        now: DateTime<Utc>,
    ) -> Result<store::Admitted, store::StoreError> {
        let (config, inventory) = (Arc::clone(&self.config), Arc::clone(&self.inventory));
        self.store
            .admit(notification(alerts), config, inventory, now)
            .await
    }

    /// A person asks for a run.
    pub async fn ask(
        &self,
        hosts: &[String],
        overlap: bool,
        now: DateTime<Utc>,
    ) -> Result<RunId, store::StoreError> {
        let work = Work {
            allow_overlap: overlap,
            ..plan::work(&self.config.bindings[0], 1)
        };
        let limit = self.config.runs.queue_limit;
        let hosts = hosts.to_vec();
        self.store.queue_manual(work, hosts, None, limit, now).await
    }

    pub async fn claim(&self, now: DateTime<Utc>) -> Option<Claimed> {
        match self
            .store
            .claim(Arc::clone(&self.config), now)
            .await
            .unwrap()
        {
            Claim::Run(claimed) => Some(*claimed),
            Claim::Nothing { .. } => None,
        }
    }

    pub async fn all_runs(&self) -> Vec<Run> {
        let page = self.store.runs(RunFilter::default(), None, 100_000).await;
        page.unwrap().runs
    }

    /// Opens what a kill at this moment would leave: the file as it is now, never closed.
    pub fn kill_and_reopen(&mut self, now: DateTime<Utc>) -> Opened {
        let left = self.path.with_extension("left.redb");
        std::fs::copy(&self.path, &left).unwrap();
        self.path = left;
        let (opened, metrics) = open(&self.path, now);
        self.metrics = metrics;
        self.store = opened.store.clone();
        opened
    }

    pub async fn close_and_reopen(&mut self, now: DateTime<Utc>) -> Opened {
        self.store.close().await;
        let (opened, metrics) = open(&self.path, now);
        self.metrics = metrics;
        self.store = opened.store.clone();
        opened
    }
}

pub fn open(path: &Path, now: DateTime<Utc>) -> (Opened, Metrics) {
    let metrics = Metrics::new(Registry::new()).unwrap();
    (store::open(path, &metrics, now).unwrap(), metrics)
}

pub fn ended(run: &Run, outcome: Outcome) -> Ended {
    Ended {
        outcome,
        results: run
            .hosts
            .iter()
            .map(|host| {
                let result = promansible::model::run::HostResult::bare(outcome, None);
                (host.clone(), result)
            })
            .collect(),
        message: None,
        findings: Vec::new(),
    }
}

/// The value of a sample, by how its line begins.
pub fn sample(metrics: &Metrics, begins: &str) -> f64 {
    use prometheus::Encoder;
    let mut text = Vec::new();
    prometheus::TextEncoder::new()
        .encode(&metrics.gather(0), &mut text)
        .unwrap();
    let text = String::from_utf8(text).unwrap();
    let line = text.lines().find(|line| line.starts_with(begins));
    let line = line.unwrap_or_else(|| panic!("no sample {begins}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

pub fn event(n: usize) -> TaskEvent {
    TaskEvent {
        at: at(0),
        host: "h1".into(),
        role: None,
        task: format!("task {n}"),
        action: "debug".into(),
        status: TaskStatus::Ok,
        duration_seconds: 0.0,
        message: None,
        findings: None,
    }
}

/// A run that is under way on h3, and another one that waits.
pub async fn one_running(fixture: &Fixture, number: u64) -> RunId {
    let firing = alert(number, 0, "a", "h3", Status::Firing);
    fixture.admit(vec![firing], at(0)).await.unwrap();
    fixture.claim(at(0)).await.unwrap().run.id
}
