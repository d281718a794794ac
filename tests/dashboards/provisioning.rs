//! Grafana's provisioning files: they bring the data source and the folder of dashboards.

use std::fs;

use serde_json::{Value, json};

use crate::stack::ansible::project;

#[test]
fn a_data_source_is_provisioned() {
    let file = read("datasources");
    let sources = file["datasources"].as_array().expect("a list");
    assert_eq!(sources.len(), 1);
    assert_eq!(sources[0]["type"], "prometheus");
    assert_eq!(sources[0]["uid"], "promansible-prometheus");
    assert_eq!(sources[0]["editable"], false);
    // What the example of Prometheus's configuration says, so that $__rate_interval fits.
    let prometheus = project().join("config/prometheus.yml");
    let text = fs::read_to_string(prometheus).expect("config/prometheus.yml");
    let prometheus: Value = serde_saphyr::from_str(&text).expect("YAML");
    assert_eq!(
        sources[0]["jsonData"]["timeInterval"],
        prometheus["global"]["scrape_interval"]
    );
}

#[test]
fn the_dashboards_are_provisioned_into_a_folder() {
    let file = read("dashboards");
    let providers = file["providers"].as_array().expect("a list");
    assert_eq!(providers.len(), 1);
    let provider = &providers[0];
    assert_eq!(provider["type"], "file");
    assert_eq!(provider["folder"], "promansible");
    assert_eq!(provider["allowUiUpdates"], false);
    let path = provider["options"]["path"].as_str().expect("a path");
    // Where dashboards/README.md says that they are copied to.
    let readme = fs::read_to_string(project().join("dashboards/README.md")).expect("a README");
    assert!(
        readme.contains(path),
        "dashboards/README.md knows no {path}"
    );
}

fn read(kind: &str) -> Value {
    let file = format!("config/grafana/provisioning/{kind}/promansible.yml");
    let text = fs::read_to_string(project().join(&file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    let value: Value = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{file}: {e}"));
    assert_eq!(value["apiVersion"], json!(1), "{file}");
    value
}
