//! A real Prometheus that looks every second.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::http;
use super::process::{self, Process};
use super::site::Site;
use super::wait::{Failure, on_free_port};

/// The alert `SiteDown` fires for a site that does not answer.
const RULES: &str = r#"
groups:
  - name: sites
    rules:
      - alert: SiteDown
        expr: up{job="site"} == 0
        labels: {severity: critical}
        annotations:
          # Whatever a label or an annotation says, to Ansible it is text and not a template.
          summary: >-
            The site on {{ $labels.instance }} does not answer{{ ": NOTE" }}.
"#;

/// A running Prometheus.
pub struct Prometheus {
    /// The server.
    pub process: Process,
    /// Its port on 127.0.0.1.
    pub port: u16,
}

impl Prometheus {
    /// Starts it; it scrapes the sites and promansible, and alerts these Alertmanagers. The alert's summary ends with `note`.
    pub fn start(
        dir: &Path,
        sites: &[Site],
        promansible: u16,
        alertmanagers: &[u16],
        note: &str,
    ) -> Result<Self, Failure> {
        let rules = RULES.replace("NOTE", note);
        Self::start_with(dir, &settings(sites, promansible, alertmanagers), &rules)
    }

    /// Starts it with this configuration, and these rules beside it in `rules.yml`.
    pub fn start_with(dir: &Path, settings: &str, rules: &str) -> Result<Self, Failure> {
        let io = |e: std::io::Error| Failure::new(format!("Prometheus in {}: {e}", dir.display()));
        fs::create_dir_all(dir).map_err(io)?;
        fs::write(dir.join("rules.yml"), rules).map_err(io)?;
        let config = dir.join("prometheus.yml");
        fs::write(&config, settings).map_err(io)?;
        let program = process::find(&["prometheus"])?;
        let (process, port) = on_free_port(
            "Prometheus",
            Duration::from_secs(30),
            |port| {
                let arguments = [
                    format!("--config.file={}", config.display()),
                    format!("--storage.tsdb.path={}", dir.join("data").display()),
                    format!("--web.listen-address=127.0.0.1:{port}"),
                    "--log.level=warn".to_owned(),
                ];
                Process::start("Prometheus", &program, &arguments, &[], &dir.join("log"))
            },
            |port| http::is_ok(port, "/-/ready"),
        )?;
        Ok(Self { process, port })
    }

    /// The value of an expression that yields one sample, or nothing if it yields none.
    ///
    /// The expression is put into a URL as it is, but for what a URL cannot hold.
    pub fn value(&self, expression: &str) -> Result<Option<f64>, Failure> {
        let query: String = expression.bytes().fold(String::new(), |mut url, byte| {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => url.push(byte.into()),
                _ => url.push_str(&format!("%{byte:02X}")),
            }
            url
        });
        let data = http::data(self.port, &format!("/api/v1/query?query={query}"))?;
        Ok(data["result"][0]["value"][1]
            .as_str()
            .and_then(|v| v.parse().ok()))
    }

    /// The alert for this instance, if it is firing.
    pub fn firing(&self, instance: &str) -> Result<Option<Value>, Failure> {
        let data = http::data(self.port, "/api/v1/alerts")?;
        let alerts = data["alerts"].as_array().cloned().unwrap_or_default();
        Ok(alerts
            .into_iter()
            .find(|alert| alert["labels"]["instance"] == instance && alert["state"] == "firing"))
    }
}

fn settings(sites: &[Site], promansible: u16, alertmanagers: &[u16]) -> String {
    let mut text = String::from(
        "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
alerting:
  alertmanagers:
    - static_configs:
        - targets:
",
    );
    for port in alertmanagers {
        text.push_str(&format!("            - 127.0.0.1:{port}\n"));
    }
    text.push_str("scrape_configs:\n  - job_name: site\n    static_configs:\n");
    for site in sites {
        text.push_str(&format!(
            "      - {{targets: ['127.0.0.1:{}'], labels: {{instance: '{}'}}}}\n",
            site.port,
            site.instance()
        ));
    }
    text.push_str(&format!(
        "  - job_name: promansible\n    static_configs:\n      - targets: ['127.0.0.1:{promansible}']\n"
    ));
    text
}
