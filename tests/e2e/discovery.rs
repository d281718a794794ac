//! The real Prometheus scrapes what the inventory holds, by `file_sd` and by `http_sd`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::plan;
use crate::stack::node_exporter::NodeExporter;
use crate::stack::promansible::{Promansible, Settings};
use crate::stack::prometheus::Prometheus;
use crate::stack::world::Folder;
use crate::stack::{Failure, http, wait_until};

/// Longer than any of the refreshes needs on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);

/// Both jobs relabel as `config/prometheus.yml` shows.
fn settings(file: &Path, promansible: u16, exporter: u16) -> String {
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: file
    file_sd_configs:
      - {{files: ['{}'], refresh_interval: 1m}}
    relabel_configs: &hosts
      - {{source_labels: [__meta_ansible_host], target_label: instance}}
      - {{source_labels: [__meta_ansible_var_datacenter], target_label: datacenter}}
  - job_name: http
    http_sd_configs:
      - {{url: 'http://127.0.0.1:{promansible}/api/v1/sd?group=web&port={exporter}', refresh_interval: 1s}}
    relabel_configs: *hosts
",
        file.display()
    )
}

/// The hosts that are scraped with success, job by job.
fn scraped(prometheus: &Prometheus) -> Result<Vec<(String, String, String)>, Failure> {
    let data = http::data(prometheus.port, "/api/v1/targets?state=active")?;
    let targets = data["activeTargets"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let mut found: Vec<_> = targets
        .iter()
        .map(|target| {
            let labels = &target["labels"];
            let host = format!(
                "{} {}",
                text(&labels["instance"]),
                text(&labels["datacenter"])
            );
            (text(&labels["job"]), host, text(&target["health"]))
        })
        .collect();
    found.sort();
    Ok(found)
}

#[test]
fn hosts_appear_and_disappear_as_targets() -> Result<(), Failure> {
    let folder = Folder::new()?;
    let dir = folder.path();
    let io = |e: std::io::Error| Failure::new(e.to_string());
    let exporter = NodeExporter::start(dir)?;
    let (inventory, file) = (dir.join("inventory"), dir.join("targets/nodes.json"));
    fs::create_dir(dir.join("targets")).map_err(io)?;
    let write = |hosts: &[&str]| {
        let hosts = hosts.iter();
        let lines: Vec<String> = hosts
            .map(|host| format!("{host} ansible_host=127.0.0.1 ansible_password=hunter2\n"))
            .collect();
        let lines = lines.concat();
        let text = format!("[web]\n{lines}[db]\ndb01\n[web:vars]\ndatacenter=fra\n");
        fs::write(&inventory, text).map_err(io)
    };
    write(&["web01"])?;
    let plan = plan();
    let promansible = Promansible::start(
        &plan.binary,
        &dir.join("promansible"),
        &Settings {
            bin_dir: plan.ansible.bin_dir()?,
            inventory: inventory.clone(),
            bindings: format!(
                "  []\nservice_discovery:\n  vars: [datacenter]\n  files: [{{path: {}, port: {}, groups: [web]}}]\n",
                file.display(),
                exporter.port
            ),
            runs: "{}".to_owned(),
        },
    )?;
    wait_until(LIMIT, "the file", || Ok(file.exists().then_some(())))?;
    let prometheus = Prometheus::start_with(
        &dir.join("prometheus"),
        &settings(&file, promansible.port, exporter.port),
        "",
    )?;
    let wait_for = |hosts: &[&str]| {
        let jobs = ["file", "http"].into_iter();
        let wanted: Vec<_> = jobs
            .flat_map(|job| {
                hosts
                    .iter()
                    .map(move |host| (job.to_owned(), format!("{host} fra"), "up".to_owned()))
            })
            .collect();
        let mut last = Vec::new();
        wait_until(LIMIT, &format!("{hosts:?} to be all targets"), || {
            last = scraped(&prometheus)?;
            Ok((last == wanted).then_some(()))
        })
        .map_err(|failure| {
            let logs = [&prometheus.process]
                .into_iter()
                .chain(&promansible.process);
            Failure::new(format!("{failure}; there are {last:?}")).with_logs(logs)
        })
    };
    wait_for(&["web01"])?;
    write(&["web01", "web02"])?;
    wait_for(&["web01", "web02"])?;
    write(&["web02"])?;
    wait_for(&["web02"])?;

    // Not once was something read that Prometheus could not take.
    let page = http::get(prometheus.port, "/metrics")?.body;
    for failures in [
        "prometheus_sd_file_read_errors_total",
        "prometheus_sd_http_failures_total",
    ] {
        let line = page.lines().find(|line| line.starts_with(failures));
        assert_eq!(line, Some(format!("{failures} 0").as_str()));
    }
    for text in [
        fs::read_to_string(&file).map_err(io)?,
        http::get(promansible.port, "/api/v1/sd")?.body,
    ] {
        assert!(
            text.contains("web02") && !text.contains("hunter2"),
            "{text}"
        );
    }
    Ok(())
}
