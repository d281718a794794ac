//! `kill -9` at random points under load: what was answered 200 has its run exactly once, and no process outlives its run.
//!
//! A small script stands in for Ansible here, or the test would measure Python; the other tests run the real one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::stack::notification::{alert, notification};
use crate::stack::promansible::{Promansible, Settings};
use crate::stack::wait::now;
use crate::stack::world::Folder;
use crate::stack::{Failure, http, leftovers, wait_until};

const KILLS: u32 = 55;
const SENDERS: u64 = 3;
const HOSTS: u64 = 20;

#[test]
fn kill_9_loses_nothing_and_runs_nothing_twice() -> Result<(), Failure> {
    let folder = Folder::new()?;
    let dir = folder.path();
    let executions = dir.join("executions");
    let settings = stand_ins(dir, &executions)?;
    let binary = Path::new(env!("CARGO_BIN_EXE_promansible"));
    let mut promansible = Promansible::start(binary, &dir.join("promansible"), &settings)?;

    let load = Load::default();
    let port = promansible.port;
    let (slowest, answered) = std::thread::scope(|scope| {
        let load = &load;
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| scope.spawn(move || load.send(sender, port)))
            .collect();
        let slowest = kill_again_and_again(&mut promansible);
        load.over.store(true, Ordering::Relaxed);
        load.hopeless.store(slowest.is_err(), Ordering::Relaxed);
        let answered: BTreeSet<String> = senders
            .into_iter()
            .flat_map(|sender| sender.join().expect("a sender does not panic"))
            .collect();
        slowest.map(|slowest| (slowest, answered))
    })?;

    let refused = load.refused.load(Ordering::Relaxed);
    println!(
        "{KILLS} kills; {} notifications answered 200 after {refused} attempts that were not; slowest start {slowest:?}",
        answered.len(),
    );
    assert!(
        answered.len() >= KILLS as usize,
        "too little load to say anything: {}",
        answered.len()
    );
    assert!(
        refused > 0,
        "no sender ever met a dead server, so nothing was tortured"
    );

    let runs = drained(&promansible)?;
    assert_each_episode_has_one_run(&promansible, &runs, &answered)?;
    assert_outcomes(&runs);
    assert_executed_at_most_once(&executions)?;

    // The stand-in leaves a process in a session of its own each time.
    let own = promansible.dir().to_owned();
    wait_until(
        Duration::from_mins(1),
        "no process of any run to be left",
        || Ok(leftovers::of_runs(&own).is_empty().then_some(())),
    )
    .unwrap_or_else(|failure| panic!("{failure}: {:#?}", leftovers::of_runs(&own)));
    let status = promansible.stop(Duration::from_secs(30))?;
    assert!(status.success(), "{status}");
    assert_no_run_folder(&own);
    Ok(())
}

/// The programs that stand in for Ansible, and a configuration that uses them.
fn stand_ins(dir: &Path, executions: &Path) -> Result<Settings, Failure> {
    let io = |e: std::io::Error| Failure::new(format!("{}: {e}", dir.display()));
    let bin_dir = dir.join("bin");
    fs::create_dir_all(&bin_dir).map_err(io)?;
    for (name, text) in [
        ("ansible-playbook", include_str!("ansible-playbook.sh")),
        ("ansible-inventory", include_str!("ansible-inventory.sh")),
    ] {
        let path = bin_dir.join(name);
        let text = text.replace("$EXECUTIONS", &executions.to_string_lossy());
        fs::write(&path, text).map_err(io)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(io)?;
    }
    let inventory = dir.join("inventory");
    fs::write(&inventory, "").map_err(io)?;
    Ok(Settings {
        bin_dir,
        inventory,
        bindings: r#"
  - name: torture
    matchers: ['alertname = "Torture"']
    roles: [start_service]
    target: {alerting_host: instance}
guards: {attempts: {max: 0}, storm: {max_hosts: 0}, circuit: {failures: 0}}
"#
        .to_owned(),
        runs: "{max_concurrent: 4, batch_window: 20ms, grace: 1s}".to_owned(),
    })
}

/// What the senders share.
#[derive(Default)]
struct Load {
    /// No new episodes.
    over: AtomicBool,
    /// The server does not come back: do not wait for it.
    hopeless: AtomicBool,
    refused: AtomicU64,
}

impl Load {
    /// Sends episode after episode; each again and again until it is answered 200, as Alertmanager does. Returns the
    /// fingerprints of what was answered 200, which is all that was sent.
    fn send(&self, sender: u64, port: u16) -> Vec<String> {
        let mut answered = Vec::new();
        for number in 0.. {
            let fingerprint = (sender << 32) | number;
            let host = format!("h{}:9100", number % HOSTS);
            let labels = [("alertname", "Torture"), ("instance", host.as_str())];
            let body = notification(&[alert(fingerprint, now(), &labels)]).to_string();
            while !http::post(port, "/api/v1/webhook", &body).is_ok_and(|r| r.status == 200) {
                if self.hopeless.load(Ordering::Relaxed) {
                    return answered;
                }
                self.refused.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(10));
            }
            answered.push(format!("{fingerprint:016x}"));
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            std::thread::sleep(Duration::from_millis(40));
        }
        answered
    }
}

/// Kills and starts it, and returns how long the slowest start took.
fn kill_again_and_again(promansible: &mut Promansible) -> Result<Duration, Failure> {
    let mut random = now().timestamp_subsec_nanos() | 1;
    let mut slowest = Duration::ZERO;
    for _ in 0..KILLS {
        // xorshift: any spread of moments will do.
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        std::thread::sleep(Duration::from_millis(u64::from(random % 800)));
        promansible.kill()?;
        slowest = slowest.max(promansible.start_again()?);
    }
    Ok(slowest)
}

/// The history, once nothing waits or runs.
fn drained(promansible: &Promansible) -> Result<Vec<Value>, Failure> {
    wait_until(Duration::from_mins(2), "the queue to be worked off", || {
        let waiting = promansible.count("runs_queued", &[])?;
        let running = promansible.count("runs_running", &[])?;
        Ok((waiting + running < 0.5).then_some(()))
    })
    .map_err(|failure| failure.with_logs(&promansible.process))?;
    promansible.runs()
}

fn assert_each_episode_has_one_run(
    promansible: &Promansible,
    runs: &[Value],
    answered: &BTreeSet<String>,
) -> Result<(), Failure> {
    let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for run in runs {
        let id = run["id"].as_u64().expect("a run has a number");
        let told = promansible.run(id)?;
        for episode in told["episodes"].as_array().expect("a run has episodes") {
            let fingerprint = episode["fingerprint"]
                .as_str()
                .expect("it has a fingerprint");
            found.entry(fingerprint.to_owned()).or_default().push(id);
        }
    }
    let twice: Vec<_> = found.iter().filter(|(_, ids)| ids.len() != 1).collect();
    assert!(
        twice.is_empty(),
        "episodes with more than one run: {twice:?}"
    );
    let known: BTreeSet<String> = found.into_keys().collect();
    let lost: Vec<_> = answered.difference(&known).collect();
    assert!(lost.is_empty(), "answered 200, but without a run: {lost:?}");
    let invented: Vec<_> = known.difference(answered).collect();
    assert!(
        invented.is_empty(),
        "in the history, but never answered 200: {invented:?}"
    );
    Ok(())
}

fn assert_outcomes(runs: &[Value]) {
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    for run in runs {
        assert_eq!(run["state"], "finished", "{run:#}");
        let outcome = run["outcome"]
            .as_str()
            .expect("a finished run has an outcome");
        *outcomes.entry(outcome).or_default() += 1;
    }
    assert!(outcomes.contains_key("successful"), "{outcomes:?}");
    assert!(
        outcomes.contains_key("interrupted"),
        "no kill ever met a run: {outcomes:?}"
    );
    assert_eq!(outcomes.len(), 2, "{outcomes:?}");
}

/// A run that was interrupted is not started again, for its binding does not say so.
fn assert_executed_at_most_once(executions: &Path) -> Result<(), Failure> {
    let text = fs::read_to_string(executions)
        .map_err(|e| Failure::new(format!("{}: {e}", executions.display())))?;
    let mut seen = BTreeSet::new();
    let twice: Vec<&str> = text.lines().filter(|run| !seen.insert(*run)).collect();
    assert!(twice.is_empty(), "started more than once: {twice:?}");
    Ok(())
}

/// Each run has a folder of its own, which goes with it.
fn assert_no_run_folder(dir: &Path) {
    for folder in ["tmp", "data/promansible.runs"] {
        let left: Vec<_> = fs::read_dir(dir.join(folder))
            .expect("the folder is there")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert!(left.is_empty(), "left in {folder}: {left:?}");
    }
}
