//! Root on one managed host stays there: whatever a host answers, nothing runs on another host, and nothing that it chose
//! runs on the controller.
//!
//! Each host is a real sshd's address, and its Python is `liar.py`, which runs nothing and lies. Every shipped role meets
//! every kind of lie.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use promansible::ansible::{Event, Paths, RoleKind, Spec, command};
use promansible::model::run::{Outcome, RunId};
use serde_json::{Value, json};

use crate::harness::{Bench, Told, Version, on_both};
use crate::stack::process;
use crate::stack::sshd::Sshd;

on_both!(
    a_lie_stays_on_its_host,
    too_many_facts_are_left_out,
    with_facts_as_variables_a_lie_reaches_another_host,
);

/// Name, address, and how it lies: see `liar.py`.
const HOSTS: [(&str, &str, &str); 6] = [
    ("facts1", "127.0.0.11", "facts"),
    ("texts1", "127.0.0.12", "texts"),
    ("keys1", "127.0.0.13", "keys"),
    ("gone1", "127.0.0.14", "gone"),
    ("flood1", "127.0.0.15", "flood"),
    ("victim", "127.0.0.19", "deaf"),
];

/// The hosts of a run; the others are in the inventory.
const LIARS: [&str; 4] = ["facts1", "texts1", "keys1", "gone1"];

/// How long a run may take on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(10);

/// Runs on the controller, about hosts.
const FROM_CONTROLLER: &str = "handle_server_down";

/// What every role needs to come far. What is a default in a role stays one, for the lies to replace.
fn vars() -> Value {
    json!({
        "check_exsi_port_targets": ["192.0.2.1"], "check_ftp_connect_servers": ["192.0.2.1"],
        "check_vpn_dns_names": ["example.org"], "check_vpn_dns_resolvers": ["192.0.2.1"],
        "disk_will_fill_clean_package_cache": true, "disk_will_fill_mountpoint": "/srv",
        "disk_will_fill_reclaim_paths": ["/srv/old"],
        "handle_cpu_threshold_exceeded_restart_units": ["shop.service"],
        "handle_net_device_down_device": "lan0", "handle_net_device_down_seconds": 1,
        "handle_server_down_seconds": 1,
        "high_error_rate_restart_units": ["shop.service"], "high_error_rate_seconds": 1,
        "high_error_rate_url": "http://127.0.0.1/", "restart_l2tp_vpn_force": true, "restart_pptp_vpn_force": true,
        "start_service_command": ["true"], "start_service_seconds": 1, "start_service_url": "http://127.0.0.1/",
    })
}

/// Hosts that lie, the shipped playbook tree, and a bench to run it on.
struct Fleet {
    bench: Bench,
    dir: PathBuf,
    _sshd: Sshd,
}

/// One module that was to run.
#[derive(Debug, serde::Deserialize)]
struct Ran {
    address: String,
    host: String,
    of: Option<String>,
    module: String,
    args: String,
    argv: Option<Value>,
}

impl Fleet {
    fn new(version: Version) -> Self {
        let mut bench = Bench::new(version);
        let dir = bench.path("liars");
        fs::create_dir(&dir).unwrap();
        let addresses = HOSTS.map(|(_, address, _)| address);
        let addresses: Vec<&str> = ["127.0.0.1"].into_iter().chain(addresses).collect();
        let sshd = Sshd::start_on(&dir.join("sshd"), &addresses).unwrap();
        let python = dir.join("python3");
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        fs::copy(project.join("tests/ansible/liar.py"), &python).unwrap();
        fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
        let hosts =
            HOSTS.map(|(name, address, lies)| (address, json!({"name": name, "lies": lies})));
        let plan = json!({
            "victim": "127.0.0.19", "facts": 100_000, "variables": variables_of_roles(),
            "hosts": BTreeMap::from(hosts),
        });
        fs::write(dir.join("plan.json"), plan.to_string()).unwrap();
        bench.write("inventory/hosts", &inventory(&sshd, &dir));
        bench.settings.playbook_dir = project.join("playbook");
        // Not even this may switch it on.
        let inject = ("ANSIBLE_INJECT_FACT_VARS", "True");
        let color = ("ANSIBLE_FORCE_COLOR", "0");
        let environment = [inject, color].map(|(name, value)| (name.to_owned(), value.to_owned()));
        bench.settings.environment = environment.into();
        bench.work.vars.clone_from(vars().as_object().unwrap());
        bench.patience = PATIENCE;
        Self {
            bench,
            dir,
            _sshd: sshd,
        }
    }

    /// Runs a role on these hosts, or on the controller about them.
    async fn run(&mut self, role: &str, hosts: &[&str]) -> Told {
        self.forget();
        self.bench.work.roles = vec![role.to_owned()];
        self.bench.work.controller = role == FROM_CONTROLLER;
        self.bench.alerts.clear();
        if !self.bench.work.controller {
            return self.bench.run(hosts).await;
        }
        for host in hosts {
            self.bench.alert("localhost", &[("instance", host)]);
        }
        self.bench.run(&["localhost"]).await
    }

    fn forget(&self) {
        let old = |path: &Path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name == "ran" || name.starts_with("gone-")
        };
        for path in files(&self.dir).into_iter().filter(|path| old(path)) {
            fs::remove_file(path).unwrap();
        }
    }

    fn ran(&self) -> Vec<Ran> {
        let text = fs::read_to_string(self.dir.join("ran")).unwrap_or_default();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// What is wrong with where and what was to run, for hosts that may have been touched.
    fn faults(&self, hosts: &[&str]) -> Vec<String> {
        let mut faults = Vec::new();
        for ran in self.ran() {
            let Ran {
                address,
                host,
                module,
                args,
                ..
            } = &ran;
            let mut fault =
                |what: &str| faults.push(format!("{what}: {module} on {host} ({address}): {args}"));
            if !hosts.contains(&ran.host.as_str()) {
                fault("a host that was not asked for");
            }
            if ran.of.as_deref() != Some(remote_tmp(&self.dir, &ran.host).as_str()) {
                fault("a module of another host");
            }
            let mut others = HOSTS.iter().filter(|(name, ..)| *name != ran.host);
            if others.any(|(name, ..)| ran.args.contains(&format!("lie of {name}"))) {
                fault("what another host said");
            }
            if module != "command" && args.contains("lie of") {
                fault("a name that the host chose");
            }
            let program = ran.argv.as_ref().map(|argv| argv[0].to_string());
            if args.contains("trap-program") || program.is_some_and(|it| it.contains("lie of")) {
                fault("a program that the host chose");
            }
        }
        let traps = files(&self.dir).into_iter();
        let traps = traps.filter(|path| path.to_string_lossy().contains("/trap"));
        faults.extend(traps.map(|path| format!("a program of a lie ran: {}", path.display())));
        faults
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Goes with a module to whatever host it is brought to, and says whose it is.
fn remote_tmp(dir: &Path, host: &str) -> String {
    format!("{}/of-{host}", dir.display())
}

fn inventory(sshd: &Sshd, dir: &Path) -> String {
    let hosts = HOSTS.map(|(name, address, _)| {
        let tmp = remote_tmp(dir, name);
        format!("{name} ansible_host={address} ansible_remote_tmp={tmp}\n")
    });
    format!(
        "{}[all:vars]
ansible_port={}
ansible_user={}
ansible_ssh_private_key_file={}
ansible_ssh_common_args='{}'
ansible_python_interpreter={}/python3
",
        hosts.concat(),
        sshd.port,
        sshd.user,
        sshd.key.display(),
        sshd.client_options(),
        dir.display(),
    )
}

fn roles() -> Vec<String> {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbook");
    let kinds = ["alert/roles", "routine/roles"];
    let roles = kinds.iter().flat_map(|kind| files(&tree.join(kind)));
    let mut roles: Vec<String> = roles
        .map(|role| role.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    roles.sort();
    roles
}

/// The names that the roles set in their `defaults` and `vars`.
fn variables_of_roles() -> BTreeSet<String> {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbook");
    let mut names = BTreeSet::new();
    for kind in ["alert/roles", "routine/roles"] {
        for role in files(&tree.join(kind)) {
            for file in ["defaults/main.yml", "vars/main.yml"] {
                let text = fs::read_to_string(role.join(file)).unwrap_or_default();
                let keys = text
                    .lines()
                    .filter(|line| !line.starts_with([' ', '#', '-']));
                names.extend(keys.filter_map(|line| Some(line.split_once(':')?.0.to_owned())));
            }
        }
    }
    assert!(names.len() > 50, "{names:?}");
    names
}

async fn a_lie_stays_on_its_host(version: Version) {
    let mut fleet = Fleet::new(version);
    let mut faults = Vec::new();
    for role in roles() {
        let told = fleet.run(&role, &LIARS).await;
        let ran = fleet.ran();
        let reached: BTreeSet<&str> = ran.iter().map(|ran| ran.host.as_str()).collect();
        assert_eq!(reached, BTreeSet::from(LIARS), "{role}: {}", told.text());
        let of_role = fleet.faults(&LIARS).into_iter();
        faults.extend(of_role.map(|fault| format!("{role}: {fault}")));
        let hosts = if role == FROM_CONTROLLER {
            &["localhost"][..]
        } else {
            &LIARS
        };
        faults.extend(strangers(&told, hosts).map(|fault| format!("{role}: {fault}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What was told of hosts that are not of the run, by events that nobody but our callback may write.
fn strangers(told: &Told, hosts: &[&str]) -> impl Iterator<Item = String> {
    let mut names: Vec<String> = Vec::new();
    for event in &told.events {
        match event {
            Event::Task(report) => names.push(report.host.clone()),
            Event::Facts { host, .. } => names.push(host.clone()),
            _ => {}
        }
    }
    let stats = told.ending.stats.iter();
    names.extend(stats.flat_map(|stats| stats.keys().cloned()));
    names.extend(told.judged(None).results.into_keys());
    names.retain(|name| !hosts.contains(&name.as_str()));
    let junk = told.ending.junk_lines;
    let junk = (junk > 0).then(|| format!("{junk} lines that are no events"));
    names
        .into_iter()
        .map(|name| format!("an event of {name}"))
        .chain(junk)
}

async fn too_many_facts_are_left_out(version: Version) {
    let mut fleet = Fleet::new(version);
    let told = fleet.run("gather_facts", &["flood1"]).await;
    assert_eq!(fleet.faults(&["flood1"]), [""; 0]);
    assert_eq!(
        told.judged(None).outcome,
        Outcome::Successful,
        "{}",
        told.text()
    );
    let facts = |event: &Event| matches!(event, Event::Facts { .. });
    assert!(!told.events.iter().any(facts));
    assert_eq!(told.ending.junk_lines, 0);
}

/// Shows that the lies are dangerous: as Ansible is by default, the same run goes to a host that is not in it.
async fn with_facts_as_variables_a_lie_reaches_another_host(version: Version) {
    let mut fleet = Fleet::new(version);
    fleet.bench.work.roles = vec!["handle_net_device_down".to_owned()];
    let hosts = ["facts1".to_owned()];
    let spec = Spec {
        run: RunId(7),
        trigger: fleet.bench.trigger,
        binding: None,
        work: &fleet.bench.work,
        kind: RoleKind::Alert,
        hosts: &hosts,
        enrolled: &[],
        alerts: &fleet.bench.alerts,
    };
    let base = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v)));
    let base: BTreeMap<String, OsString> = base.collect();
    let paths = Paths {
        dir: fleet.bench.path("control"),
        store: "control",
        base: &base,
        has_config: true,
    };
    let mut line = command::build(&fleet.bench.settings, &spec, &paths).unwrap();
    let held = line
        .env
        .insert("ANSIBLE_INJECT_FACT_VARS".into(), "True".into());
    assert_eq!(held.as_deref(), Some("False".as_ref()));
    // Nothing reads its events here.
    line.env.insert("PROMANSIBLE_EVENTS".into(), "".into());
    for dir in &line.dirs {
        fs::create_dir_all(dir).unwrap();
    }
    for (path, content) in &line.files {
        fs::write(path, content).unwrap();
    }
    let mut playbook = process::command(&line.program);
    let playbook = playbook.args(&line.args).env_clear().envs(&line.env);
    let ended = tokio::task::block_in_place(|| playbook.current_dir(&line.cwd).output());
    let said = String::from_utf8_lossy(&ended.unwrap().stdout).into_owned();
    let faults = fleet.faults(&["facts1"]).join("\n");
    for fault in [
        "a host that was not asked for",
        "a program that the host chose",
    ] {
        assert!(faults.contains(fault), "{faults}\n{said}");
    }
}
