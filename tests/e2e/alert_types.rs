//! The rules of the real Prometheus, and what is said while it is down.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::plan;
use crate::stack::promansible::{Promansible, Settings};
use crate::stack::prometheus::Prometheus;
use crate::stack::world::Folder;
use crate::stack::{Failure, http, wait_until};

/// Longer than an answer is kept, on a busy machine.
const LIMIT: Duration = Duration::from_mins(2);

const RULES: &str = "
groups:
  - name: always
    rules:
      - {alert: Always, expr: vector(1), for: 1s, labels: {severity: info}, annotations: {summary: It fires.}}
      - {alert: Broken, expr: 'label_replace(up, \"instance\", \"one\", \"\", \"\")'}
      - {record: 'a:record', expr: vector(2)}
";

/// Two targets that become one series, so that a rule over them cannot be evaluated.
const SETTINGS: &str = "
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs: [{job_name: x, static_configs: [{targets: ['127.0.0.1:9', '127.0.0.1:7']}]}]
";

#[test]
fn prometheus_tells_its_rules_and_the_files_are_shown_without_it() -> Result<(), Failure> {
    let folder = Folder::new()?;
    let dir = folder.path();
    let io = |e: std::io::Error| Failure::new(e.to_string());
    let mut prometheus = Prometheus::start_with(&dir.join("prometheus"), SETTINGS, RULES)?;
    wait_until(LIMIT, "the rules to be evaluated", || {
        let rules = http::data(prometheus.port, "/api/v1/rules?type=alert")?;
        let rules = &rules["groups"][0]["rules"];
        let evaluated = rules[0]["state"] == "firing" && rules[1]["health"] == "err";
        Ok(evaluated.then_some(()))
    })?;
    let inventory = dir.join("inventory");
    std::fs::write(&inventory, "web01\n").map_err(io)?;
    let plan = plan();
    let file = dir.join("prometheus/rules.yml");
    let promansible = Promansible::start(
        &plan.binary,
        &dir.join("promansible"),
        &Settings {
            bin_dir: plan.ansible.bin_dir()?,
            inventory,
            bindings: format!(
                "  []\nprometheus: {{url: 'http://127.0.0.1:{}', rule_files: [{}]}}\n",
                prometheus.port,
                file.display()
            ),
            runs: "{}".to_owned(),
        },
    )?;
    let kinds = |types: &Value, number: usize| -> Vec<String> {
        let sources = types["alert_types"][number]["sources"].as_array().cloned();
        let kinds = sources.unwrap_or_default().into_iter();
        kinds
            .map(|source| source["kind"].as_str().unwrap_or_default().to_owned())
            .collect()
    };

    let types = http::data(promansible.port, "/api/v1/alert-types")?;
    assert_eq!(types["prometheus"]["available"], true, "{types}");
    assert_eq!(types["problems"], json!([]));
    assert_eq!(
        types["alert_types"].as_array().map(Vec::len),
        Some(2),
        "{types}"
    );
    assert_eq!(kinds(&types, 0), ["rule_file", "prometheus"]);
    let error = &types["alert_types"][1]["sources"][1]["error"];
    assert!(
        error.as_str().is_some_and(|error| !error.is_empty()),
        "{types}"
    );

    let always = http::data(promansible.port, "/api/v1/alert-types/Always")?;
    let [ours, theirs] = [&always["rules"][0], &always["rules"][1]];
    for same in ["expr", "for", "labels", "annotations", "group", "file"] {
        assert_eq!(ours[same], theirs[same], "{same}");
    }
    assert_eq!(
        (&theirs["state"], &theirs["health"]),
        (&json!("firing"), &json!("ok"))
    );

    prometheus.process.end(Signal::SIGTERM, LIMIT)?;
    let mut last = Value::Null;
    let down = wait_until(LIMIT, "promansible to see that it is down", || {
        last = http::data(promansible.port, "/api/v1/alert-types")?;
        Ok((last["prometheus"]["available"] == false).then(|| last.clone()))
    })?;
    assert_eq!(
        down["alert_types"].as_array().map(Vec::len),
        Some(2),
        "{down}"
    );
    assert_eq!(kinds(&down, 0), ["rule_file"]);
    let why = down["prometheus"]["why"].as_str().unwrap_or_default();
    assert!(why.starts_with("nothing answers there: "), "{down}");
    let since = down["prometheus"]["since"].clone();
    assert!(since.is_string());

    // It is asked again, and what is told of since when stays.
    let again = wait_until(LIMIT, "it to be asked again", || {
        let types = http::data(promansible.port, "/api/v1/alert-types")?;
        let asked = types["prometheus"]["asked_at"] != since;
        Ok(asked.then_some(types))
    })?;
    assert_eq!(again["prometheus"]["since"], since);
    Ok(())
}
