//! Real Alertmanagers: one, or a pair that cannot agree in time who sends.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::http;
use super::process::{self, Process};
use super::wait::{Failure, free_port, on_free_port, wait_until};

/// How an Alertmanager sends.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Before the first notification of a group.
    pub group_wait: Duration,
    /// Between notifications of a group that changed.
    pub group_interval: Duration,
    /// Between notifications of a group that did not change.
    pub repeat_interval: Duration,
    /// How many alerts a notification has at most; 0 means all.
    pub max_alerts: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            group_wait: Duration::from_millis(200),
            group_interval: Duration::from_secs(1),
            repeat_interval: Duration::from_hours(1),
            max_alerts: 0,
        }
    }
}

/// A running Alertmanager.
pub struct Alertmanager {
    /// The server.
    pub process: Process,
    /// Its port on 127.0.0.1.
    pub port: u16,
}

impl Alertmanager {
    /// Starts one that sends to promansible's port.
    pub fn start(dir: &Path, timing: Timing, promansible: u16) -> Result<Self, Failure> {
        // An empty address switches the cluster off.
        let cluster = ["--cluster.listen-address=".to_owned()];
        Self::launch(dir, &settings(timing, promansible), &cluster)
    }

    /// Starts one with this configuration.
    pub fn start_with(dir: &Path, settings: &str) -> Result<Self, Failure> {
        let cluster = ["--cluster.listen-address=".to_owned()];
        Self::launch(dir, settings, &cluster)
    }

    /// Starts two that form a cluster and send to the same promansible.
    ///
    /// In a healthy cluster the second waits (peer-timeout) for word from the first and then says nothing. Here it does
    /// not wait, and word travels too slowly: as in a split network, each of them sends.
    pub fn start_pair(dir: &Path, timing: Timing, promansible: u16) -> Result<[Self; 2], Failure> {
        let ports = [free_port()?, free_port()?];
        let flags = |own: u16, peer: u16| {
            [
                format!("--cluster.listen-address=127.0.0.1:{own}"),
                format!("--cluster.peer=127.0.0.1:{peer}"),
                "--cluster.peer-timeout=0s".to_owned(),
                "--cluster.gossip-interval=1m".to_owned(),
                "--cluster.pushpull-interval=10m".to_owned(),
                // An Alertmanager sends nothing until its cluster has settled, or this is over.
                "--cluster.settle-timeout=2s".to_owned(),
            ]
        };
        let [first, second] = ports;
        let settings = settings(timing, promansible);
        let pair = [
            Self::launch(&dir.join("a"), &settings, &flags(first, second))?,
            Self::launch(&dir.join("b"), &settings, &flags(second, first))?,
        ];
        for one in &pair {
            wait_until(Duration::from_mins(1), "Alertmanager's cluster", || {
                let status = http::get(one.port, "/api/v2/status")?.json()?;
                let peers = status["cluster"]["peers"].as_array().map_or(0, Vec::len);
                Ok((status["cluster"]["status"] == "ready" && peers == 2).then_some(()))
            })
            .map_err(|failure| failure.with_logs(pair.iter().map(|one| &one.process)))?;
        }
        Ok(pair)
    }

    fn launch(dir: &Path, settings: &str, cluster: &[String]) -> Result<Self, Failure> {
        let io =
            |e: std::io::Error| Failure::new(format!("Alertmanager in {}: {e}", dir.display()));
        fs::create_dir_all(dir).map_err(io)?;
        let config = dir.join("alertmanager.yml");
        fs::write(&config, settings).map_err(io)?;
        let program = process::find(&["prometheus-alertmanager", "alertmanager"])?;
        let (process, port) = on_free_port(
            "Alertmanager",
            Duration::from_secs(30),
            |port| {
                let mut arguments = vec![
                    format!("--config.file={}", config.display()),
                    format!("--storage.path={}", dir.join("data").display()),
                    format!("--web.listen-address=127.0.0.1:{port}"),
                    "--log.level=info".to_owned(),
                ];
                arguments.extend_from_slice(cluster);
                Process::start("Alertmanager", &program, &arguments, &[], &dir.join("log"))
            },
            |port| http::is_ok(port, "/-/ready"),
        )?;
        Ok(Self { process, port })
    }

    /// How many notifications it has delivered to a webhook.
    pub fn delivered(&self) -> Result<f64, Failure> {
        let metrics = super::metrics::Metrics::of(self.port)?;
        let webhook = [("integration", "webhook")];
        let sent = metrics.sum("alertmanager_notifications_total", &webhook);
        let failed = metrics.sum("alertmanager_notifications_failed_total", &webhook);
        Ok(sent.unwrap_or(0.0) - failed.unwrap_or(0.0))
    }
}

fn settings(timing: Timing, promansible: u16) -> String {
    let millis = |d: Duration| format!("{}ms", d.as_millis());
    format!(
        "route:
  receiver: promansible
  group_by: [alertname]
  group_wait: {}
  group_interval: {}
  repeat_interval: {}
receivers:
  - name: promansible
    webhook_configs:
      - {{url: 'http://127.0.0.1:{promansible}/api/v1/webhook', send_resolved: true, max_alerts: {}}}
",
        millis(timing.group_wait),
        millis(timing.group_interval),
        millis(timing.repeat_interval),
        timing.max_alerts,
    )
}
