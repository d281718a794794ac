//! Every metric that a dashboard names is one that somebody shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use promansible::metrics::Metrics;
use promansible::model::facts::FAMILIES;
use promansible::model::findings::{Checks, Declared, Findings};
use prometheus::{Registry, TextEncoder};
use regex::Regex;
use serde_json::Value;

use crate::model::{self, list, text};
use crate::page;
use crate::promql;
use crate::stack::ansible::project;
use crate::stack::metrics::Metrics as Page;
use crate::stack::node_exporter::NodeExporter;
use crate::stack::wait::now;

/// Prometheus's own.
const PROMETHEUS: [&str; 2] = ["up", "ALERTS"];

#[test]
fn every_metric_exists() {
    let mut known: BTreeSet<String> = PROMETHEUS.map(str::to_owned).into();
    known.extend(of_promansible());
    known.extend(of_node_exporter());
    known.extend(of_recording_rules());
    known.extend(declared_checks().into_keys());

    let mut unknown = Vec::new();
    for dashboard in model::all() {
        for expression in dashboard.expressions() {
            let metrics = if expression.text.contains('{') {
                let selectors = promql::selectors(&expression.text);
                selectors
                    .unwrap_or_else(|e| panic!("{}: {e}", expression.place))
                    .iter()
                    .flat_map(names)
                    .collect()
            } else {
                // A variable's metric may stand alone.
                vec![expression.text.clone()]
            };
            for metric in metrics {
                let pattern = Regex::new(&format!("^(?:{metric})$")).expect("a name or pattern");
                if !known.iter().any(|name| pattern.is_match(name)) {
                    unknown.push(format!("{metric} ({})", expression.place));
                }
            }
        }
    }
    assert!(unknown.is_empty(), "nobody shows these: {unknown:#?}");
}

/// The end-to-end test serves checks that no role declares as little as a dashboard shows them.
#[test]
fn the_sample_of_checks_is_what_roles_declare() {
    let (declared, own) = (declared_checks(), of_promansible());
    let series = Regex::new(r"^(?<name>\w+)\{(?<labels>.*)\} \S+$").unwrap();
    let label = Regex::new(r#"(\w+)="[^"]*""#).unwrap();
    let mut served = BTreeSet::new();
    for line in page::SAMPLE.lines().filter(|line| !line.starts_with('#')) {
        let parts = series.captures(line).unwrap_or_else(|| panic!("{line}"));
        let name = &parts["name"];
        if own.contains(name) {
            continue;
        }
        let labels: BTreeSet<String> = label
            .captures_iter(&parts["labels"])
            .map(|c| c[1].to_owned())
            .collect();
        let wanted = declared.get(name);
        assert_eq!(wanted, Some(&labels), "the declaration of {name}");
        served.insert(name.to_owned());
    }
    let not_served: Vec<_> = declared.keys().filter(|n| !served.contains(*n)).collect();
    assert!(not_served.is_empty(), "add to checks.prom: {not_served:?}");
}

/// The name of a selector; for `{__name__=~"a|b.+"}` each alternative, which is a pattern.
fn names(selector: &promql::Selector) -> Vec<String> {
    let by_pattern = selector
        .matchers
        .iter()
        .filter(|(label, op, _)| label == "__name__" && op == "=~")
        .flat_map(|(_, _, value)| value.split('|').map(str::to_owned));
    let plain = Some(selector.name.clone()).filter(|name| !name.is_empty());
    plain.into_iter().chain(by_pattern).collect()
}

/// From the registry, with a binding, a role, a host, a report and a schedule, so that no family is empty.
fn of_promansible() -> BTreeSet<String> {
    let metrics = Metrics::new(Registry::new()).expect("a registry of its own");
    metrics.preregister(["binding"], ["role"]);
    metrics.sd_files().preregister([Path::new("targets.json")]);
    metrics.last_success("role", "host", now());
    metrics.schedules().preregister(["schedule"]);
    metrics.messages().preregister(["notifier"]);
    metrics.schedules().set_state("schedule", None, Some(now()));
    metrics.declare(&Declared::from([("role".to_owned(), Checks::new())]));
    metrics.reported("role", "host", now(), Findings::new());
    let page = TextEncoder::new().encode_to_string(&metrics.gather(0));
    let mut names = on_page(&page.expect("metrics are text"));
    let hosts = FAMILIES.iter().map(|family| family.name);
    names.extend(hosts.map(|name| format!("promansible_host_{name}")));
    names
}

fn of_node_exporter() -> BTreeSet<String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let exporter = NodeExporter::start(folder.path()).unwrap_or_else(|e| panic!("{e}"));
    on_page(&Page::of(exporter.port).unwrap_or_else(|e| panic!("{e}")).0)
}

fn on_page(page: &str) -> BTreeSet<String> {
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn of_recording_rules() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files(&project().join("rules")) {
        if file.extension().is_none_or(|e| e != "yml") {
            continue;
        }
        let rules = yaml(&file);
        for group in list(&rules["groups"]) {
            let records = list(&group["rules"]).iter().map(|r| text(&r["record"]));
            names.extend(records.filter(|name| !name.is_empty()));
        }
    }
    names
}

/// What the shipped roles declare in `meta/promansible.yml`: metric → its labels.
fn declared_checks() -> BTreeMap<String, BTreeSet<String>> {
    let mut declared = BTreeMap::new();
    for kind in ["alert", "routine"] {
        for role in files(&project().join("playbook").join(kind).join("roles")) {
            let file = role.join("meta/promansible.yml");
            if !file.is_file() {
                continue;
            }
            let checks = yaml(&file)["checks"].take();
            for (name, check) in checks.as_object().into_iter().flatten() {
                let labels = list(&check["labels"]).iter().map(text);
                let labels = labels.chain(["role", "host"].map(str::to_owned));
                declared.insert(format!("promansible_check_{name}"), labels.collect());
            }
        }
    }
    declared
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries.flatten().map(|entry| entry.path()).collect()
}

fn yaml(file: &Path) -> Value {
    let text = fs::read_to_string(file).expect("a file");
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}
