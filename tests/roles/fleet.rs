//! Hosts in a LAN, and a promansible that knows them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::host::{Host, Lan};
use crate::stack::ansible::Release;
use crate::stack::promansible::{Promansible, Settings};
use crate::stack::world::Folder;
use crate::stack::{Failure, Process, http, notification, sshd, wait};
use crate::told::Told;

/// How long a run may take on a machine that is busy.
const RUN: Duration = Duration::from_mins(3);

/// Each LAN has a number of its own.
static LANS: AtomicU8 = AtomicU8::new(1);
static EPISODES: AtomicU64 = AtomicU64::new(1);

/// What a test has at hand. What was started last is dropped first, so the fields stand in that order.
pub struct Fleet {
    /// The controller.
    pub promansible: Promansible,
    /// The hosts, in the order in which they were named.
    pub hosts: Vec<Host>,
    /// The network between them.
    pub lan: Lan,
    folder: Folder,
}

/// A role is run as often as its test wants.
const NO_GUARDS: &str =
    "guards: {attempts: {max: 0}, storm: {max_hosts: 0}, circuit: {failures: 0}}\n";

impl Fleet {
    /// Hosts of these names, all in the group `servers`, and a promansible with these bindings (YAML, a list).
    ///
    /// ansible-core is 2.19, unless [`Fleet::with`] says otherwise.
    pub fn start(names: &[&str], bindings: &str) -> Self {
        Self::with(Release::V2_19, names, bindings)
    }

    /// The same with another ansible-core.
    pub fn with(release: Release, names: &[&str], bindings: &str) -> Self {
        Self::try_start(release, names, bindings).unwrap()
    }

    fn try_start(release: Release, names: &[&str], bindings: &str) -> Result<Self, Failure> {
        let folder = Folder::new()?;
        let dir = folder.path();
        let io = |e: std::io::Error| Failure::new(format!("{}: {e}", dir.display()));
        let ssh = dir.join("ssh");
        fs::create_dir(&ssh).map_err(io)?;
        let host_key = sshd::make_key(&ssh.join("host_key"))?;
        let key = sshd::make_key(&ssh.join("key"))?;
        fs::copy(key.with_extension("pub"), ssh.join("authorized_keys")).map_err(io)?;
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/roles/sshd_config");
        fs::copy(config, ssh.join("sshd_config")).map_err(io)?;

        let lan = Lan::new(LANS.fetch_add(1, Ordering::Relaxed))?;
        let mut hosts = Vec::new();
        for (number, name) in (11..).zip(names) {
            hosts.push(Host::start(dir, &ssh, name, &lan, number)?);
        }
        let public = fs::read_to_string(host_key.with_extension("pub")).map_err(io)?;
        let mut known = String::new();
        for host in &hosts {
            known.push_str(&format!("{} {public}", host.address));
        }
        fs::write(ssh.join("known_hosts"), known).map_err(io)?;
        let inventory = dir.join("inventory");
        fs::write(&inventory, render(&hosts, &ssh)).map_err(io)?;
        let settings = Settings {
            bin_dir: release.bin_dir()?,
            inventory,
            bindings: if bindings.trim().is_empty() {
                format!("  []\n{NO_GUARDS}")
            } else {
                format!("{bindings}\n{NO_GUARDS}")
            },
            runs: "{timeout: 3m, grace: 5s, batch_window: 0s}".to_owned(),
        };
        let binary = Path::new(env!("CARGO_BIN_EXE_promansible"));
        let promansible = Promansible::start(binary, &dir.join("promansible"), &settings)?;
        Ok(Self {
            promansible,
            hosts,
            lan,
            folder,
        })
    }

    /// A host by its name.
    pub fn host(&self, name: &str) -> &Host {
        self.hosts
            .iter()
            .find(|host| host.name == name)
            .expect("a host of the fleet")
    }

    /// A folder for what a test needs on the controller.
    pub fn dir(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Delivers a firing alert as Alertmanager does, and waits for the end of the one run that it makes.
    #[track_caller]
    pub fn alert(&self, labels: &[(&str, &str)]) -> Told {
        let runs = self.deliver(labels);
        assert_eq!(runs.len(), 1, "the alert made these runs: {runs:?}");
        self.told(runs[0])
    }

    /// Delivers a firing alert, a new episode each time, and returns the runs that it made.
    pub fn deliver(&self, labels: &[(&str, &str)]) -> Vec<u64> {
        let before: Vec<Value> = self.promansible.runs().unwrap();
        let number = EPISODES.fetch_add(1, Ordering::Relaxed);
        let alert = notification::alert(number, wait::now(), labels);
        let answer = self
            .promansible
            .notify(&notification::notification(&[alert]))
            .unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        let runs = self.promansible.runs().unwrap();
        let new = runs.len() - before.len();
        runs[..new]
            .iter()
            .filter_map(|run| run["id"].as_u64())
            .collect()
    }

    /// Starts roles by hand on these hosts, and waits for the end of the run. A host called `localhost` is the controller.
    #[track_caller]
    pub fn run(&self, role: &str, hosts: &[&str], vars: &Value) -> Told {
        self.start_run(role, hosts, vars, false)
    }

    /// The same in check mode.
    #[track_caller]
    pub fn check(&self, role: &str, hosts: &[&str], vars: &Value) -> Told {
        self.start_run(role, hosts, vars, true)
    }

    #[track_caller]
    fn start_run(&self, role: &str, hosts: &[&str], vars: &Value, check: bool) -> Told {
        let target = if hosts == ["localhost"] {
            json!("controller")
        } else {
            json!({"hosts": hosts})
        };
        let body = json!({"roles": [role], "target": target, "vars": vars, "check": check});
        let answer = http::post(self.promansible.port, "/api/v1/runs", &body.to_string()).unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
        let answer: Value = serde_json::from_str(&answer.body).unwrap();
        self.told(answer["data"]["id"].as_u64().expect("a run's number"))
    }

    /// Asks for a run that is not taken because of its variables, and yields what was said.
    pub fn not_taken(&self, role: &str, hosts: &[&str], vars: &Value) -> String {
        let body = json!({"roles": [role], "target": {"hosts": hosts}, "vars": vars});
        let answer = http::post(self.promansible.port, "/api/v1/runs", &body.to_string()).unwrap();
        assert_eq!(answer.status, 400, "{}", answer.body);
        answer.body
    }

    /// Has the configuration read again.
    pub fn reload(&self) {
        let process = self.promansible.process.as_ref().expect("it runs");
        let pid = nix::unistd::Pid::from_raw(process.pid());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).unwrap();
    }

    /// All that a run told, when it has ended.
    pub fn told(&self, id: u64) -> Told {
        self.promansible
            .finished(id, RUN)
            .map_err(|failure| failure.with_logs(self.processes()))
            .unwrap();
        Told {
            detail: self.promansible.run(id).unwrap(),
            output: self.promansible.output(id).unwrap(),
        }
    }

    /// The gauge of a check, if it is shown: `name` without `promansible_check_`.
    pub fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.promansible
            .metrics()
            .unwrap()
            .sum(&format!("promansible_check_{name}"), labels)
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        self.promansible
            .process
            .iter()
            .chain(self.hosts.iter().map(Host::process))
    }
}

fn render(hosts: &[Host], ssh: &Path) -> String {
    let mut text = String::from("[servers]\n");
    for host in hosts {
        text.push_str(&format!("{} ansible_host={}\n", host.name, host.address));
    }
    text.push_str(&format!(
        "\n[all:vars]
ansible_user=root
ansible_ssh_private_key_file={}
ansible_ssh_common_args='-F none -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile={} \
-o GlobalKnownHostsFile=none -o ConnectTimeout=5'
ansible_python_interpreter=/usr/bin/python3
",
        ssh.join("key").display(),
        ssh.join("known_hosts").display(),
    ));
    text
}
