//! A playbook folder of its own for each test, and everything that a run told.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use promansible::ansible::{
    AlertData, Ansible, Cause, Ending, Evaluation, Event, Progress, RoleKind, RunEnding, Setup,
    Spec, Started, TaskReport, TaskTally, error_excerpt, evaluate,
};
use promansible::config;
use promansible::model::alert::{LabelSet, Status};
use promansible::model::inventory::EnrolledHost;
use promansible::model::run::{Narrowing, RunId, Trigger, Work};
use tempfile::TempDir;

/// The longest that any run of a test may take.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The two ends of what we support.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    New,
    Old,
}

impl Version {
    pub fn bin_dir(self) -> PathBuf {
        let release = match self {
            Self::New => "2.19",
            Self::Old => "2.16",
        };
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        let dir = project.join(format!(".venv/ansible-{release}/bin"));
        let there = dir.join("ansible-playbook").is_file();
        assert!(
            there,
            "there is no ansible-playbook in {}; `tests/setup.sh test` installs it",
            dir.display()
        );
        dir
    }
}

/// Makes each test two: one per version.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod new { $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name($crate::harness::Version::New).await })* }
        mod old { $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name($crate::harness::Version::Old).await })* }
    };
}
pub(crate) use on_both;

pub struct Bench {
    dir: TempDir,
    pub settings: config::Ansible,
    pub grace: Duration,
    pub patience: Duration,
    pub work: Work,
    pub alerts: BTreeMap<String, Vec<AlertData>>,
    pub trigger: Trigger,
    pub enrolled: Vec<Arc<EnrolledHost>>,
}

/// What a run told, from beginning to end.
pub struct Told {
    pub events: Vec<Event>,
    pub output: Vec<u8>,
    pub ending: Ending,
    hosts: Vec<String>,
    alerts: BTreeMap<String, Vec<AlertData>>,
}

impl Bench {
    /// Six hosts that are this machine, and the real ansible-playbook.
    pub fn new(version: Version) -> Self {
        let bench = Self::with_bin_dir(version.bin_dir());
        // The interpreter is said, because what PATH offers on a developer's machine may be a shim.
        bench.write(
            "inventory/hosts",
            "[web-servers]
web[1:6] ansible_connection=local
[all:vars]
ansible_python_interpreter='{{ ansible_playbook_python }}'
",
        );
        bench
    }

    /// A shell script instead of ansible-playbook and ansible-inventory.
    pub fn with_script(script: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).unwrap();
        for name in ["ansible-playbook", "ansible-inventory"] {
            let path = bin.join(name);
            fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self::in_dir(dir, bin)
    }

    fn with_bin_dir(bin_dir: PathBuf) -> Self {
        Self::in_dir(TempDir::new().unwrap(), bin_dir)
    }

    fn in_dir(dir: TempDir, bin_dir: PathBuf) -> Self {
        let playbook_dir = dir.path().join("playbook");
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbook");
        fs::create_dir_all(playbook_dir.join("plugins/callback")).unwrap();
        fs::create_dir_all(dir.path().join("inventory")).unwrap();
        for file in [
            "run.yml",
            "round.yml",
            "ansible.cfg",
            "plugins/callback/promansible.py",
        ] {
            fs::copy(shipped.join(file), playbook_dir.join(file)).unwrap();
        }
        let inventory = vec![dir.path().join("inventory")];
        Self {
            dir,
            settings: config::Ansible {
                bin_dir: Some(bin_dir),
                playbook_dir,
                inventory,
                inventory_refresh: Duration::from_mins(5),
                inventory_timeout: Duration::from_mins(1),
                inventory_max_age: Duration::from_mins(15),
                inventory_shrink: promansible::config::InventoryShrink {
                    max_percent: 50,
                    believe_after: Duration::from_mins(10),
                },
                user: None,
                private_key_file: None,
                r#become: false,
                forks: 6,
                gather_facts: false,
                vault_password_file: None,
                vault_identities: Vec::new(),
                become_password_file: None,
                connection_password_file: None,
                environment: BTreeMap::new(),
            },
            grace: Duration::from_secs(1),
            patience: PATIENCE,
            work: Work {
                roles: vec!["handle".into()],
                controller: false,
                vars: serde_json::Map::new(),
                r#become: false,
                gather_facts: false,
                check: false,
                timeout: Duration::from_mins(1),
                allow_overlap: false,
                rerun_on_interrupt: false,
                narrowing: Narrowing::default(),
                inert_vars: false,
            },
            alerts: BTreeMap::new(),
            trigger: Trigger::Alert,
            enrolled: Vec::new(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// An alert role. `OUT` in its tasks becomes a folder that is there.
    pub fn role(&self, name: &str, tasks: &str) {
        fs::create_dir_all(self.path("out")).unwrap();
        let tasks = tasks.replace("OUT", self.path("out").to_str().unwrap());
        self.write(
            &format!("playbook/alert/roles/{name}/tasks/main.yml"),
            &tasks,
        );
    }

    pub fn out(&self, name: &str) -> PathBuf {
        self.path("out").join(name)
    }

    pub fn alert(&mut self, host: &str, labels: &[(&str, &str)]) {
        let labels = labels
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        self.alerts
            .entry(host.to_owned())
            .or_default()
            .push(alert(labels, LabelSet::new()));
    }

    pub fn store(&self) -> String {
        self.dir
            .path()
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned()
    }

    pub fn runs_dir(&self) -> PathBuf {
        self.path("runs")
    }

    pub fn ansible(&self) -> Ansible {
        Ansible::new(Setup {
            settings: self.settings.clone(),
            grace: self.grace,
            store: self.store(),
            environment: env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v)))
                .collect(),
            exe: env!("CARGO_BIN_EXE_promansible").into(),
            runs_dir: self.runs_dir(),
        })
        .unwrap()
    }

    pub fn start(&self, hosts: &[&str]) -> Started {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let spec = Spec {
            run: RunId(7),
            trigger: self.trigger,
            binding: Some("a binding"),
            work: &self.work,
            kind: RoleKind::Alert,
            hosts: &hosts,
            enrolled: &self.enrolled,
            alerts: &self.alerts,
        };
        self.ansible().start(&spec).unwrap()
    }

    /// Runs to the end; then nothing may be left.
    pub async fn run(&self, hosts: &[&str]) -> Told {
        self.finish(self.start(hosts), hosts).await
    }

    pub async fn finish(&self, mut started: Started, hosts: &[&str]) -> Told {
        let (mut events, mut output, mut ending) = (Vec::new(), Vec::new(), None);
        let all = async {
            while let Some(progress) = started.progress.recv().await {
                assert!(ending.is_none(), "something came after the ending");
                match progress {
                    Progress::Event(event) => events.push(event),
                    Progress::Output(bytes) => output.extend_from_slice(&bytes),
                    Progress::Ended(end) => ending = Some(end),
                }
            }
        };
        tokio::time::timeout(self.patience, all)
            .await
            .expect("the run did not end");
        let told = Told {
            events,
            output,
            ending: ending.expect("no ending came"),
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            alerts: self.alerts.clone(),
        };
        self.assert_nothing_left();
        told
    }

    /// The processes that carry this bench's mark.
    pub fn processes(&self) -> BTreeSet<i32> {
        let mark = format!("PROMANSIBLE_RUN={}:", self.store());
        let pids = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter(|pid: &i32| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ
                .split(|&b| b == 0)
                .any(|entry| entry.starts_with(mark.as_bytes()))
        })
        .collect()
    }

    #[track_caller]
    pub fn assert_nothing_left(&self) {
        assert_eq!(self.processes(), BTreeSet::new(), "processes are left");
        let folders: Vec<_> = fs::read_dir(self.runs_dir()).unwrap().collect();
        assert!(folders.is_empty(), "run folders are left: {folders:?}");
    }

    /// Waits until none of this bench's processes is left.
    pub async fn wait_for_the_end(&self) {
        let begin = Instant::now();
        while !self.processes().is_empty() {
            assert!(begin.elapsed() < PATIENCE, "left: {:?}", self.processes());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a file is there.
    pub async fn wait_for(&self, name: &str) {
        let begin = Instant::now();
        while !self.out(name).exists() {
            assert!(begin.elapsed() < PATIENCE, "{name} was never written");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Told {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    pub fn judged(&self, stop: Option<Cause>) -> Evaluation {
        let mut heard = TaskTally::default();
        for report in self.tasks() {
            heard.take(report);
        }
        evaluate(&RunEnding {
            hosts: &self.hosts,
            alerts: &self.alerts,
            stats: self.ending.stats.as_ref(),
            heard: &heard,
            error_excerpt: &error_excerpt(&self.output),
            cause: Cause::of(&self.ending, stop),
        })
    }

    pub fn tasks(&self) -> impl Iterator<Item = &TaskReport> {
        self.events.iter().filter_map(|event| match event {
            Event::Task(report) => Some(report),
            _ => None,
        })
    }

    /// Neither version may grumble about what is ours.
    #[track_caller]
    pub fn assert_quiet(&self) {
        let text = self.text();
        for noise in ["WARNING", "DEPRECAT", "Traceback", "Invalid characters"] {
            assert!(!text.contains(noise), "{noise} in the output:\n{text}");
        }
        assert_eq!(self.ending.junk_lines, 0);
    }
}

pub fn alert(labels: LabelSet, annotations: LabelSet) -> AlertData {
    AlertData {
        status: Status::Firing,
        labels,
        annotations,
        starts_at: "2026-01-02T03:04:05Z".into(),
        fingerprint: "00112233445566aa".into(),
        generator_url: "http://127.0.0.1:9090/graph?g0.expr=up".into(),
    }
}
