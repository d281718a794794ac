//! The rules that are shipped: each alert says what a person needs, has a runbook, and is tested firing and silent.
//!
//! What `promtool` knows better (syntax, and whether the unit tests hold) is `make rules-check`.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "the deny list is for the product: a test may panic, and starts promtool itself"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use chrono::{NaiveDate, NaiveTime};
use promansible::model::facts::FAMILIES;
use regex::Regex;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

/// Where `runbook_url` points: the place that rules/README.md installs to.
const RUNBOOKS: &str = "file:///etc/prometheus/rules/runbooks/";

const HEADINGS: [&str; 5] = [
    "## Meaning",
    "## Impact",
    "## Diagnosis",
    "## Automatic response",
    "## Manual action",
];

/// Alerts that roles are named after, with the labels that those need. The names may not change.
const REPAIRED: [(&str, &[&str]); 5] = [
    ("server_down", &["instance"]),
    ("cpu_threshold_exceeded", &["instance"]),
    ("DiskWillFillIn4Hours", &["instance", "mountpoint"]),
    ("HighErrorRate", &["instance"]),
    ("net_device_down", &["instance", "device"]),
];

/// Metrics of promansible that `tests/http/metrics.txt` has not, since nothing has run there, no file is written, and no
/// schedule is there.
const SHOWN_LATER: [&str; 6] = [
    "promansible_role_last_success_timestamp_seconds",
    "promansible_schedule_last_run_timestamp_seconds",
    "promansible_schedule_missed_total",
    "promansible_schedule_next_run_timestamp_seconds",
    "promansible_schedule_paused",
    "promansible_sd_file_last_write_successful",
];

/// Data that is written as rules: the ends of operating systems, in `os_eol.yml`.
const OS_EOL: &str = "promansible:os_eol_timestamp_seconds";

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: Option<String>,
    record: Option<String>,
    expr: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct UnitTests {
    tests: Vec<UnitTest>,
}

#[derive(Deserialize)]
struct UnitTest {
    #[serde(default)]
    alert_rule_test: Vec<AlertTest>,
    #[serde(default)]
    promql_expr_test: Vec<ExprTest>,
}

#[derive(Deserialize)]
struct AlertTest {
    alertname: String,
    #[serde(default)]
    exp_alerts: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    exp_labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct ExprTest {
    expr: String,
    exp_samples: Vec<IgnoredAny>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rules")
}

/// The folder's files of this kind, with their text.
fn files(folder: &Path, extension: &str) -> Vec<(PathBuf, String)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("it can be read");
            (path, text)
        })
        .collect();
    files.sort();
    assert!(
        !files.is_empty(),
        "no *.{extension} in {}",
        folder.display()
    );
    files
}

fn parsed<T: DeserializeOwned>(folder: &Path) -> Vec<T> {
    files(folder, "yml")
        .iter()
        .map(|(path, text)| {
            serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        })
        .collect()
}

fn rules() -> Vec<Rule> {
    parsed::<Rules>(&folder())
        .into_iter()
        .flat_map(|file| file.groups)
        .flat_map(|group| group.rules)
        .collect()
}

fn alerts() -> BTreeMap<String, Rule> {
    let mut alerts = BTreeMap::new();
    for mut rule in rules() {
        if let Some(name) = rule.alert.take() {
            assert!(
                alerts.insert(name.clone(), rule).is_none(),
                "{name} is there twice"
            );
        }
    }
    alerts
}

fn unit_tests() -> Vec<UnitTest> {
    parsed::<UnitTests>(&folder().join("tests"))
        .into_iter()
        .flat_map(|file| file.tests)
        .collect()
}

#[test]
fn each_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on() {
    for (name, rule) in alerts() {
        let severity = rule.labels.get("severity").map(String::as_str);
        assert!(
            matches!(severity, Some("critical" | "warning" | "info")),
            "{name}: severity {severity:?}"
        );
        let said = |key| {
            rule.annotations
                .get(key)
                .unwrap_or_else(|| panic!("{name}: no {key}"))
        };
        let summary = said("summary");
        assert!(
            summary.ends_with('.') && !summary.contains(". ") && !summary.contains('\n'),
            "{name}: the summary is not one sentence: {summary}"
        );
        let description = said("description");
        assert!(
            description.contains("{{ $labels.")
                && (description.contains("First check ")
                    || description.contains("First look for ")),
            "{name}: the description lacks its subject or what to look at first: {description}"
        );
        assert_eq!(
            said("runbook_url"),
            &format!("{RUNBOOKS}{name}.md"),
            "{name}"
        );
        assert_eq!(rule.annotations.len(), 3, "{name}: other annotations");
    }
}

#[test]
fn each_alert_has_a_runbook_and_each_runbook_an_alert() {
    let mut unread: BTreeSet<_> = alerts().into_keys().collect();
    for (path, text) in files(&folder().join("runbooks"), "md") {
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(unread.remove(name), "{name}.md: there is no such alert");
        assert_eq!(text.lines().next(), Some(&*format!("# {name}")));
        let headings: Vec<_> = text.lines().filter(|l| l.starts_with("## ")).collect();
        assert_eq!(headings, HEADINGS, "{name}.md");
        for (heading, part) in headings.iter().zip(text.split("\n## ").skip(1)) {
            let said = part.lines().skip(1).any(|line| !line.is_empty());
            assert!(said, "{name}.md: nothing under {heading}");
        }
        assert!(text.contains("```promql\n"), "{name}.md: no query to ask");
        if REPAIRED.iter().any(|(repaired, _)| *repaired == name) {
            let binding = format!("matchers: ['alertname = \"{name}\"']\n  roles: [handle_{name}]");
            assert!(
                text.contains(&binding),
                "{name}.md: no binding as an example"
            );
        }
    }
    assert!(unread.is_empty(), "without a runbook: {unread:?}");
}

/// Of the runbook and of the role's README: whoever copies one of them at night has no time to find out what is missing.
#[test]
fn the_bindings_that_are_shown_can_run() {
    let roles = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbook/alert/roles");
    for (alert, _) in REPAIRED {
        let role = roles.join(format!("handle_{alert}"));
        let specs = fs::read_to_string(role.join("meta/argument_specs.yml")).unwrap();
        let specs: Value = serde_saphyr::from_str(&specs).unwrap();
        let options = specs["argument_specs"]["main"]["options"]
            .as_object()
            .unwrap();
        let runbook = folder().join(format!("runbooks/{alert}.md"));
        for page in [runbook, role.join("README.md")] {
            let place = page.display();
            let text = fs::read_to_string(&page).unwrap();
            let shown = text
                .split("```yaml\n")
                .skip(1)
                .filter_map(|block| block.split("```").next())
                .find(|block| block.contains("matchers:"))
                .unwrap_or_else(|| panic!("{place}: no binding"));
            let shown = shown.strip_prefix("bindings:\n").unwrap_or(shown);
            let bindings: Vec<Value> = serde_saphyr::from_str(shown).unwrap();
            let binding = &bindings[0];
            let is_on_controller = alert == "server_down";
            let target = &binding["target"];
            assert_eq!(
                target == "controller",
                is_on_controller,
                "{place}: {target}"
            );
            assert_eq!(
                binding["become"] == true,
                !is_on_controller,
                "{place}: become"
            );
            let vars = binding["vars"].as_object().cloned().unwrap_or_default();
            for name in vars.keys() {
                assert!(options.contains_key(name), "{place}: {name} is no variable");
            }
            for (name, option) in options {
                let is_there = option["required"] != true || vars.contains_key(name);
                assert!(is_there, "{place}: {name} is required");
            }
        }
    }
}

#[test]
fn each_alert_is_tested_firing_and_silent() {
    let alerts = alerts();
    let (mut firing, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for test in unit_tests()
        .into_iter()
        .flat_map(|test| test.alert_rule_test)
    {
        assert!(
            alerts.contains_key(&test.alertname),
            "a test of {}, which is not there",
            test.alertname
        );
        if test.exp_alerts.is_empty() {
            silent.insert(test.alertname);
        } else {
            firing.insert(test.alertname);
        }
    }
    for name in alerts.keys() {
        assert!(firing.contains(name), "{name} is not tested firing");
        assert!(silent.contains(name), "{name} is not tested silent");
    }
}

#[test]
fn alerts_that_roles_repair_keep_the_labels_that_those_need() {
    let alerts = alerts();
    let tests = unit_tests();
    for (name, labels) in REPAIRED {
        assert!(alerts.contains_key(name), "{name} is not there");
        let expected = tests
            .iter()
            .flat_map(|test| &test.alert_rule_test)
            .filter(|test| test.alertname == name)
            .flat_map(|test| &test.exp_alerts);
        for expected in expected {
            for label in labels {
                let value = expected.exp_labels.get(*label);
                assert!(
                    value.is_some_and(|v| !v.is_empty()),
                    "{name} without {label}: {:?}",
                    expected.exp_labels
                );
            }
        }
    }
}

#[test]
fn each_recording_is_named_as_prometheus_names_them_and_tested() {
    let name = Regex::new("^[a-z_]+:[a-zA-Z0-9_]+:[a-z0-9_]+$").unwrap();
    let tests: Vec<_> = unit_tests()
        .into_iter()
        .flat_map(|test| test.promql_expr_test)
        .filter(|test| !test.exp_samples.is_empty())
        .map(|test| test.expr)
        .collect();
    let mut seen = BTreeSet::new();
    let records = rules().into_iter().filter_map(|rule| rule.record);
    for record in records.filter(|record| record != OS_EOL) {
        assert!(
            name.is_match(&record),
            "{record} is not level:metric:operation"
        );
        assert!(
            tests.iter().any(|expr| expr.contains(&record)),
            "{record} is not tested"
        );
        assert!(seen.insert(record.clone()), "{record} is there twice");
    }
    assert!(!seen.is_empty());
}

#[test]
fn each_end_of_an_operating_system_is_the_day_that_stands_behind_it() {
    let text = fs::read_to_string(folder().join("os_eol.yml")).unwrap();
    let line = Regex::new(&format!(
        r#"^      - \{{record: "{OS_EOL}", expr: vector\((?<seconds>[0-9]+)\), labels: \{{(?<release>distribution: \w+, version: "[0-9]+([.][0-9]+)?")\}}\}} # (?<day>[0-9-]+)$"#
    ))
    .unwrap();
    let mut seen = BTreeSet::new();
    for text in text.lines().filter(|line| line.contains("record:")) {
        let parts = line.captures(text).unwrap_or_else(|| panic!("{text}"));
        let day: NaiveDate = parts["day"].parse().unwrap_or_else(|_| panic!("{text}"));
        let midnight = day.and_time(NaiveTime::MIN).and_utc().timestamp();
        assert_eq!(parts["seconds"], midnight.to_string(), "{text}");
        assert!(seen.insert(parts["release"].to_owned()), "twice: {text}");
    }
    let records = rules().into_iter().filter_map(|rule| rule.record);
    assert_eq!(
        seen.len(),
        records.filter(|record| record == OS_EOL).count()
    );
}

#[test]
fn rules_and_runbooks_ask_for_metrics_that_exist() {
    let golden = include_str!("http/metrics.txt");
    let mut known: BTreeSet<String> = SHOWN_LATER.map(str::to_owned).into();
    let hosts = FAMILIES.iter().map(|family| family.name);
    known.extend(hosts.map(|name| format!("promansible_host_{name}")));
    for line in golden.lines().filter_map(|l| l.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a name and a type");
        known.insert(name.to_owned());
        if kind == "histogram" {
            known.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
        }
    }
    // Roles declare their own gauges; their names begin like this.
    let metric = Regex::new(r"\bpromansible_[a-z0-9_]+").unwrap();
    let recorded: BTreeSet<_> = rules().into_iter().filter_map(|rule| rule.record).collect();
    let recording = Regex::new(r"\b[a-z_]+:[a-z_]+[a-z0-9_]*:[a-z0-9_]+").unwrap();
    let check = |place: &str, text: &str| {
        for found in recording.find_iter(text) {
            assert!(recorded.contains(found.as_str()), "{place}: no {found:?}");
        }
        let text = recording.replace_all(text, "");
        for found in metric.find_iter(&text).map(|found| found.as_str()) {
            assert!(
                known.contains(found) || found.starts_with("promansible_check_"),
                "{place}: promansible has no {found}"
            );
        }
    };
    for rule in rules() {
        let place = rule.alert.or(rule.record).expect("a rule has a name");
        check(&place, &rule.expr);
    }
    for (path, text) in files(&folder().join("runbooks"), "md") {
        check(&path.display().to_string(), &text);
    }
}

#[test]
fn the_queries_in_runbooks_are_queries() {
    let folder_of_rules = tempfile::tempdir().unwrap();
    for (path, text) in files(&folder().join("runbooks"), "md") {
        let queries = text
            .split("```promql\n")
            .skip(1)
            .filter_map(|block| block.split("```").next())
            .flat_map(str::lines);
        let mut as_rules = String::from("groups:\n  - name: runbook\n    rules:\n");
        for (number, query) in queries.enumerate() {
            writeln!(
                as_rules,
                "      - record: q{number}\n        expr: |-\n          {query}"
            )
            .unwrap();
        }
        let file = folder_of_rules.path().join("rules.yml");
        fs::write(&file, as_rules).unwrap();
        let checked = Command::new("promtool")
            .args(["check", "rules"])
            .arg(&file)
            .output()
            .expect("promtool comes with Debian's prometheus");
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{}: {said}", path.display());
    }
}
