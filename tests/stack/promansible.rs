//! The binary under test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::ansible::project;
use super::http::{self, Response};
use super::metrics::Metrics;
use super::process::Process;
use super::wait::{Failure, on_free_port, wait_until};

/// How long a start may take on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(30);

/// What differs from test to test.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder with `ansible-playbook` and `ansible-inventory`.
    pub bin_dir: PathBuf,
    /// The inventory file.
    pub inventory: PathBuf,
    /// The `bindings` of the configuration, as YAML.
    pub bindings: String,
    /// The `runs` of the configuration, as a YAML flow map.
    pub runs: String,
}

/// A promansible with its store in a folder; it can be stopped, killed and started again on the same store and port.
pub struct Promansible {
    /// The server; `None` while it is down.
    pub process: Option<Process>,
    /// Its port on 127.0.0.1.
    pub port: u16,
    binary: PathBuf,
    dir: PathBuf,
}

impl Promansible {
    /// Writes its configuration into `dir` and starts it.
    pub fn start(binary: &Path, dir: &Path, settings: &Settings) -> Result<Self, Failure> {
        let io = |e: std::io::Error| Failure::new(format!("promansible in {}: {e}", dir.display()));
        fs::create_dir_all(dir.join("data")).map_err(io)?;
        fs::create_dir_all(dir.join("tmp")).map_err(io)?;
        fs::write(dir.join("promansible.yml"), settings.render(dir)).map_err(io)?;
        let (process, port) = on_free_port(
            "promansible",
            START,
            |port| launch(binary, dir, port),
            |port| http::is_ok(port, "/-/ready"),
        )?;
        Ok(Self {
            process: Some(process),
            port,
            binary: binary.to_owned(),
            dir: dir.to_owned(),
        })
    }

    /// The folder that holds its configuration, its store and its temporary files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Adds sections to its configuration, and has it read again while it runs.
    pub fn configure(&self, sections: &str) -> Result<(), Failure> {
        let file = self.dir.join("promansible.yml");
        let io = |e: std::io::Error| Failure::new(format!("{}: {e}", file.display()));
        let text = fs::read_to_string(&file).map_err(io)?;
        fs::write(&file, format!("{}\n{sections}", text.trim_end())).map_err(io)?;
        let read_at = || {
            let metrics = self.metrics()?;
            Ok(metrics.sum(
                "promansible_config_last_reload_success_timestamp_seconds",
                &[],
            ))
        };
        let before = read_at()?;
        let process = self.process.as_ref();
        let process = process.ok_or_else(|| Failure::new("promansible is down"))?;
        kill(Pid::from_raw(process.pid()), Signal::SIGHUP)
            .map_err(|e| Failure::new(format!("SIGHUP for promansible: {e}")))?;
        wait_until(START, "the configuration to be read again", || {
            Ok((read_at()? > before).then_some(()))
        })
        .map_err(|failure| failure.with_logs([process]))
    }

    /// Stops it as a service manager does, and says how it ended.
    pub fn stop(&mut self, limit: Duration) -> Result<ExitStatus, Failure> {
        self.end(Signal::SIGTERM, limit)
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) -> Result<ExitStatus, Failure> {
        self.end(Signal::SIGKILL, Duration::from_secs(10))
    }

    fn end(&mut self, signal: Signal, limit: Duration) -> Result<ExitStatus, Failure> {
        let mut process = self
            .process
            .take()
            .ok_or_else(|| Failure::new("promansible is down already"))?;
        process.end(signal, limit)
    }

    /// Starts it again where it is down, and returns how long it took until it was ready.
    pub fn start_again(&mut self) -> Result<Duration, Failure> {
        let begin = Instant::now();
        let mut process = launch(&self.binary, &self.dir, self.port)?;
        let ended = wait_until(START, "promansible to be ready again", || {
            match process.exited() {
                Some(status) => Ok(Some(Some(status))),
                None => Ok(http::is_ok(self.port, "/-/ready").then_some(None)),
            }
        })
        .map_err(|failure| failure.with_logs([&process]))?;
        if let Some(status) = ended {
            let text = format!("promansible did not start again: {status}");
            return Err(Failure::new(text).with_logs([&process]));
        }
        self.process = Some(process);
        Ok(begin.elapsed())
    }

    /// Posts a notification, as Alertmanager does.
    pub fn notify(&self, body: &Value) -> Result<Response, Failure> {
        http::post(self.port, "/api/v1/webhook", &body.to_string())
    }

    /// Every run of the history, the newest first, over all pages.
    pub fn runs(&self) -> Result<Vec<Value>, Failure> {
        let mut runs = Vec::new();
        let mut path = "/api/v1/runs?limit=1000".to_owned();
        loop {
            let mut page = http::data(self.port, &path)?;
            match page["runs"].take() {
                Value::Array(more) => runs.extend(more),
                other => return Err(Failure::new(format!("`runs` is no list: {other}"))),
            }
            path = match &page["next"] {
                Value::Null => return Ok(runs),
                next => format!("/api/v1/runs?limit=1000&cursor={next}"),
            };
        }
    }

    /// One run with its episodes and events: `{run, episodes, events}`.
    pub fn run(&self, id: u64) -> Result<Value, Failure> {
        http::data(self.port, &format!("/api/v1/runs/{id}"))
    }

    /// What Ansible wrote in a run.
    pub fn output(&self, id: u64) -> Result<String, Failure> {
        let response = http::get(self.port, &format!("/api/v1/runs/{id}/output"))?;
        if response.status == 200 {
            Ok(response.body)
        } else {
            Err(Failure::new(format!(
                "the output of run {id}: status {}: {}",
                response.status, response.body
            )))
        }
    }

    /// Its metrics.
    pub fn metrics(&self) -> Result<Metrics, Failure> {
        Metrics::of(self.port)
    }

    /// A counter's sum over the samples with these labels; nothing counts as 0.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64, Failure> {
        Ok(self
            .metrics()?
            .sum(&format!("promansible_{name}"), labels)
            .unwrap_or(0.0))
    }

    /// Waits until a run of this number has an outcome, and returns it (the run).
    pub fn finished(&self, id: u64, limit: Duration) -> Result<Value, Failure> {
        wait_until(limit, &format!("run {id} to finish"), || {
            let run = self.run(id)?["run"].take();
            Ok((run["state"] == "finished").then_some(run))
        })
    }
}

fn launch(binary: &Path, dir: &Path, port: u16) -> Result<Process, Failure> {
    let arguments = [
        "serve".to_owned(),
        format!("--config.file={}", dir.join("promansible.yml").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    let environment = [("TMPDIR", dir.join("tmp").display().to_string())];
    Process::start(
        "promansible",
        binary,
        &arguments,
        &environment,
        &dir.join("log"),
    )
}

impl Settings {
    fn render(&self, dir: &Path) -> String {
        format!(
            "ansible:
  bin_dir: {}
  playbook_dir: {}
  inventory: [{}]
  become: false
  gather_facts: false
storage: {{path: {}}}
runs: {}
bindings:
{}",
            self.bin_dir.display(),
            project().join("playbook").display(),
            self.inventory.display(),
            dir.join("data/promansible.redb").display(),
            self.runs,
            self.bindings,
        )
    }
}
