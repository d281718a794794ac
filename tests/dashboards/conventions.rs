//! What every dashboard keeps to, so that it reads and behaves like the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Value, json};

use crate::model::{self, Dashboard, Use, list, text};
use crate::promql;
use crate::stack::process;

/// What Grafana fills in by itself.
const BUILT_IN: [(&str, &str); 3] = [
    ("__interval", "1m"),
    ("__rate_interval", "5m"),
    ("__range", "6h"),
];

#[test]
fn the_four_are_there_and_are_fixed() {
    let dashboards = model::all();
    let names: Vec<&str> = dashboards.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["fleet", "host", "remediation", "routine"]);
    for dashboard in &dashboards {
        let (name, json) = (&dashboard.name, &dashboard.json);
        assert_eq!(json["uid"], format!("promansible-{name}"), "{name}");
        assert_eq!(json["editable"], false, "{name}");
        assert_eq!(json["tags"], json!(["promansible"]), "{name}");
        let version = json["schemaVersion"].as_u64().unwrap_or_default();
        assert!((39..=42).contains(&version), "{name}: schema {version}");
        for key in ["title", "description", "refresh"] {
            assert!(!text(&json[key]).is_empty(), "{name} has no {key}");
        }
        // What Grafana's export adds for other places than a folder of files.
        for key in ["id", "__inputs", "__requires"] {
            assert!(json.get(key).is_none(), "{name} has {key}");
        }
    }
}

#[test]
fn variables_are_said_asked_and_refreshed_alike() {
    for dashboard in model::all() {
        let name = &dashboard.name;
        let variables = dashboard.variables();
        let source = &variables[0];
        assert_eq!(source["type"], "datasource", "{name}");
        assert_eq!(source["name"], "datasource", "{name}");
        assert_eq!(source["label"], "Data source", "{name}");
        assert_eq!(source["query"], "prometheus", "{name}");
        assert_eq!(variables[1]["name"], "job", "{name}");
        assert_eq!(variables[2]["name"], "instance", "{name}");
        for variable in &variables[1..] {
            let place = format!("{name}.json, variable {}", variable["name"]);
            assert_eq!(variable["type"], "query", "{place}");
            assert_eq!(variable["datasource"], data_source(), "{place}");
            assert_eq!(variable["refresh"], 2, "{place}: on time range change");
            assert_eq!(
                variable["definition"], variable["query"]["query"],
                "{place}"
            );
            for key in ["label", "description"] {
                assert!(!text(&variable[key]).is_empty(), "{place} has no {key}");
            }
            // Host shows one.
            let several = !(name == "host" && variable["name"] == "host");
            assert_eq!(variable["multi"], several, "{place}");
            assert_eq!(variable["includeAll"], several, "{place}");
            assert!(!several || variable["allValue"] == ".+", "{place}");
        }
    }
}

#[test]
fn every_variable_is_used_and_every_use_is_a_variable() {
    for dashboard in model::all() {
        let mut used: BTreeSet<String> = dashboard
            .expressions()
            .iter()
            .flat_map(|e| promql::variables(&e.text))
            .collect();
        used.extend(promql::variables(&data_source().to_string()));
        let known: BTreeSet<String> = dashboard
            .variables()
            .iter()
            .map(|v| text(&v["name"]))
            .chain(BUILT_IN.map(|(name, _)| name.to_owned()))
            .collect();
        let unknown: Vec<_> = used.difference(&known).collect();
        assert!(
            unknown.is_empty(),
            "{}: no variables: {unknown:?}",
            dashboard.name
        );
        let idle: Vec<_> = known
            .difference(&used)
            .filter(|name| !name.starts_with("__"))
            .collect();
        assert!(idle.is_empty(), "{}: unused: {idle:?}", dashboard.name);
    }
}

#[test]
fn every_selector_is_narrowed_by_the_variables() {
    for dashboard in model::all() {
        for expression in dashboard.expressions() {
            let place = &expression.place;
            let first = expression.used == Use::Variable && expression.owner == "job";
            let second = expression.used == Use::Variable && expression.owner == "instance";
            if first {
                continue;
            }
            let selectors = promql::selectors(&expression.text)
                .unwrap_or_else(|e| panic!("{place}: {e}: {}", expression.text));
            assert!(!selectors.is_empty(), "{place} selects nothing");
            for selector in selectors {
                assert!(
                    selector.has("job", "=~", "$job"),
                    "{place}: job: {selector:?}"
                );
                assert!(
                    second || selector.has("instance", "=~", "$instance"),
                    "{place}: instance: {selector:?}"
                );
                let further = match dashboard.name.as_str() {
                    "host" => "host",
                    "routine" if selector.name.starts_with("promansible_schedule_") => "schedule",
                    "routine" => "role",
                    _ => continue,
                };
                assert!(
                    expression.used == Use::Variable || selector.uses(further),
                    "{place}: {further}: {selector:?}"
                );
            }
        }
    }
}

#[test]
fn rates_look_back_as_far_as_grafana_says() {
    for dashboard in model::all() {
        for expression in dashboard.expressions() {
            for window in promql::windows(&expression.text) {
                let whole = expression.used == Use::Instant && window == "$__range";
                assert!(
                    whole || window == "$__rate_interval",
                    "{}: [{window}]",
                    expression.place
                );
            }
        }
    }
}

#[test]
fn promtool_reads_every_expression() {
    // A group for each, because promtool names the group that it does not understand.
    let mut groups = Vec::new();
    for dashboard in model::all() {
        let mut values: BTreeMap<String, String> =
            BUILT_IN.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        for variable in dashboard.query_variables() {
            values.insert(text(&variable["name"]), "x".to_owned());
        }
        for expression in dashboard.expressions() {
            let filled = promql::fill(&expression.text, &values)
                .unwrap_or_else(|e| panic!("{}: {e}", expression.place));
            groups.push(json!({
                "name": expression.place,
                "rules": [{"record": "dashboards:expression", "expr": filled}],
            }));
        }
    }
    let count = groups.len();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("expressions.yml");
    // JSON is YAML.
    fs::write(&file, json!({ "groups": groups }).to_string()).expect("a file");
    let promtool = process::find(&["promtool"]).expect("promtool");
    let said = process::run(
        process::command(promtool)
            .args(["check", "rules", "--lint=none"])
            .arg(&file),
    )
    .unwrap_or_else(|e| panic!("{e}"));
    assert!(said.contains(&format!("{count} rules found")), "{said}");
}

#[test]
fn every_panel_says_what_it_shows() {
    for dashboard in model::all() {
        let mut titles = BTreeSet::new();
        for panel in dashboard.panels() {
            let place = dashboard.place(panel);
            for key in ["title", "description"] {
                assert!(!text(&panel[key]).is_empty(), "{place} has no {key}");
            }
            assert!(
                titles.insert(text(&panel["title"])),
                "{place} is there twice"
            );
            let defaults = &panel["fieldConfig"]["defaults"];
            assert!(!text(&defaults["unit"]).is_empty(), "{place} has no unit");
            assert_eq!(panel["datasource"], data_source(), "{place}");
            let targets = list(&panel["targets"]);
            assert!(!targets.is_empty(), "{place} asks nothing");
            let kind = text(&panel["type"]);
            for target in targets {
                assert_eq!(target["datasource"], data_source(), "{place}");
                let named = !text(&target["legendFormat"]).is_empty();
                let single = kind == "stat" || target["format"] == "table";
                assert!(single || named, "{place}: a series has no name");
            }
            // An empty panel must not leave one guessing.
            let may_be_empty = ["stat", "table", "state-timeline"].contains(&kind.as_str());
            assert!(
                !may_be_empty || !text(&defaults["noValue"]).is_empty(),
                "{place} does not say what it means that there is nothing"
            );
        }
    }
}

/// The data source that the reader chose.
fn data_source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

#[test]
fn nothing_names_a_data_source_of_its_own() {
    let own = json!({"type": "grafana", "uid": "-- Grafana --"});
    for Dashboard { name, json } in model::all() {
        let mut rest = vec![&json];
        while let Some(value) = rest.pop() {
            match value {
                Value::Object(map) => {
                    let source = map.get("datasource").unwrap_or(&Value::Null);
                    let known = [&Value::Null, &data_source(), &own].contains(&source);
                    assert!(known, "{name}: {source}");
                    rest.extend(map.values());
                }
                Value::Array(values) => rest.extend(values),
                _ => {}
            }
        }
    }
}
