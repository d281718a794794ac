//! Each panel's query is asked of a real Prometheus, after an alert that ran a role, and answers with data.
//!
//! Of the rules that are shipped, those on facts are in force there, and fire for what the sample of facts says; and those
//! that record for dashboards.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use nix::sys::signal::Signal;
use regex::Regex;
use serde_json::{Value, json};

use crate::guarded;
use crate::model::{self, Dashboard, Expression, Use, asked_for, list, text};
use crate::page;
use crate::promql;
use crate::stack::alertmanager::Timing;
use crate::stack::ansible::{Release, project};
use crate::stack::node_exporter::NodeExporter;
use crate::stack::wait::now;
use crate::stack::world::Plan;
use crate::stack::{Failure, World, http};

const LIMIT: Duration = Duration::from_mins(1);

/// It runs on the controller, so that the alerts' runs on the hosts do not wait for it.
const SCHEDULES: &str = "schedules:
  - {name: every-minute, cron: '* * * * *', roles: [ping], target: controller}
  - {name: rests, cron: '@daily', roles: [ping], target: controller, enabled: false}
";

/// The values of a dashboard's variables.
type Values = BTreeMap<String, String>;

#[test]
fn every_panel_has_data_after_an_alert_ran_a_role() -> Result<(), Failure> {
    let plan = Plan {
        binary: Path::new(env!("CARGO_BIN_EXE_promansible")).to_owned(),
        ansible: Release::V2_19,
        pair: false,
        timing: Timing::default(),
        note: "",
    };
    let began = now();
    let mut world = World::start(&plan, |_, _| {})?;
    let exporter = NodeExporter::start(world.dir())?;
    // The shipped checks need name servers, VPNs and web sites of their own, which their roles' tests make. Here the
    // dashboards are under test: a page of their figures is scraped as promansible's.
    let checks = page::serve()?;
    scrape(&mut world, exporter.port, checks)?;
    know_facts(&world)?;
    let sections = format!("{}{SCHEDULES}", guarded::CONFIGURED);
    world.promansible.configure(&sections)?;

    let [mended, broken] = &world.sites[..] else {
        panic!("the world has two sites");
    };
    // One alert is repaired; the other fires on, because its role fails. One after the other, or they share a run.
    let count = |name: &str, labels: &[(&str, &str)]| world.promansible.count(name, labels);
    mended.break_down()?;
    world.wait(
        LIMIT,
        "an alert to resolve, and so its run to have helped",
        || {
            let resolved = count("alert_to_resolved_seconds_count", &[])?;
            let helped = count("remediations_total", &[("verdict", "effective")])?;
            Ok((resolved >= 1.0 && helped >= 1.0).then_some(()))
        },
    )?;
    guarded::happen(&world, [mended, broken])?;
    broken.block()?;
    broken.break_down()?;
    world.wait(
        LIMIT,
        "a run to fail, and so its role's circuit to open",
        || {
            let failed = count("runs_total", &[("outcome", "failed")])?;
            let open = count("circuit_open", &[("role", "start_service")])?;
            Ok((failed >= 1.0 && open >= 1.0).then_some(()))
        },
    )?;
    // Last, for nothing starts any more then.
    let port = world.promansible.port;
    for (path, body) in [
        (
            "/api/v1/hosts/web01/hold",
            r#"{"for": "1h", "why": "disks"}"#,
        ),
        ("/api/v1/pause", r#"{"why": "pictures"}"#),
    ] {
        let answer = http::post(port, path, body)?;
        assert_eq!(answer.status / 100, 2, "{path}: {}", answer.body);
    }
    world.wait(LIMIT, "it to be shown that all is paused", || {
        let shown = count("paused", &[])? + count("hosts_held", &[])?;
        Ok((shown >= 2.0).then_some(()))
    })?;

    let mut asked = 0;
    for dashboard in model::all() {
        for opened in [true, false] {
            let fills = fills(&world, &dashboard, began, opened)?;
            for expression in dashboard.expressions() {
                if expression.used == Use::Variable {
                    continue;
                }
                asked += 1;
                // Prometheus hears of the last samples within a second.
                let found = world.wait(
                    Duration::from_secs(15),
                    &format!("data for {}", expression.place),
                    || ask_each(&world, &expression, &fills, began),
                )?;
                assert_legend_is_filled(&expression, &found);
            }
        }
    }
    assert!(asked > 200, "only {asked} queries were asked");
    Ok(())
}

/// Has promansible gather the facts of one host, and gives it those of two more: old, of an old system, and alike.
fn know_facts(world: &World) -> Result<(), Failure> {
    let gather = json!({"roles": ["gather_facts"], "target": {"hosts": ["web01"]}});
    let port = world.promansible.port;
    let queued = http::post(port, "/api/v1/runs", &gather.to_string())?;
    assert_eq!(queued.status, 202, "{}", queued.body);
    let sample = project().join("tests/data/facts/rhel-9.json");
    let text = fs::read_to_string(&sample).expect("a sample of facts");
    let mut sample: Value = serde_json::from_str(&text).expect("JSON");
    let mut facts = sample["ansible_facts"].take();
    // What this sample has none of.
    facts["ansible_distribution"] = json!("CentOS");
    facts["ansible_distribution_version"] = json!("7.9");
    facts["ansible_swaptotal_mb"] = json!(2048);
    facts["ansible_swapfree_mb"] = json!(20);
    let told = json!({
        "gathered_at": now() - chrono::Duration::days(3),
        "facts": {"web02": facts, "db01": facts},
    });
    let kept = http::post(port, "/api/v1/facts", &told.to_string())?.json()?;
    assert_eq!(kept["data"]["kept"], json!(["db01", "web02"]), "{kept}");
    world.wait(LIMIT, "facts, and what they are warned of", || {
        let known = "count(promansible_host_facts_timestamp_seconds)";
        let warned = "count(count by (alertname, host) (ALERTS{alertstate=\"firing\", \
            alertname=~\"HostAddressDuplicated|HostOsEndOfLife|HostSwapNearlyFull\", host=~\"db01|web02\"}))";
        let all = world.prometheus.value(known)? == Some(3.0)
            && world.prometheus.value(warned)? == Some(6.0);
        Ok(all.then_some(()))
    })
}

/// Has Prometheus scrape `node_exporter` as two hosts, and the page of checks as a promansible; and judge facts.
fn scrape(world: &mut World, node_exporter: u16, checks: u16) -> Result<(), Failure> {
    let config = world.dir().join("prometheus/prometheus.yml");
    let failed = |e: std::io::Error| Failure::new(format!("{}: {e}", config.display()));
    let mut text = fs::read_to_string(&config).map_err(failed)?;
    // Here nobody waits a minute for a group of rules.
    let shipped = project().join("rules/recording.yml");
    let recording = fs::read_to_string(shipped).map_err(failed)?;
    let recording = recording.replace("interval: 1m", "interval: 1s");
    fs::write(world.dir().join("prometheus/recording.yml"), recording).map_err(failed)?;
    let rules = ["os_eol.yml", "facts.yml"].map(|file| project().join("rules").join(file));
    let [ends, facts] = rules.map(|file| file.display().to_string());
    text = text.replace(
        "rule_files: [rules.yml]",
        &format!("rule_files: [rules.yml, recording.yml, '{ends}', '{facts}']"),
    );
    text.push_str("  - job_name: node\n    static_configs:\n");
    for host in ["web01", "web02"] {
        text.push_str(&format!(
            "      - {{targets: ['127.0.0.1:{node_exporter}'], labels: {{instance: '{host}:9100'}}}}\n"
        ));
    }
    text.push_str(&format!(
        "  - job_name: checks\n    static_configs:\n      - {{targets: ['127.0.0.1:{checks}'], labels: {{job: promansible}}}}\n"
    ));
    fs::write(&config, text).map_err(failed)?;
    world.prometheus.process.signal(Signal::SIGHUP);
    world.wait(LIMIT, "Prometheus to see the new targets", || {
        let up = world
            .prometheus
            .value("sum(up{job=~\"node|promansible\"})")?;
        Ok((up == Some(4.0)).then_some(()))
    })
}

/// Values for all variables, from their own queries. Where a variable takes one value, there is a set for each option.
///
/// `opened`: where a variable has "All", that, as when the dashboard is opened; else all its options, chosen by hand.
fn fills(
    world: &World,
    dashboard: &Dashboard,
    began: DateTime<Utc>,
    opened: bool,
) -> Result<Vec<Values>, Failure> {
    let mut all = vec![built_in()];
    for variable in dashboard.query_variables() {
        let mut further = Vec::new();
        for values in all {
            let options = options(world, variable, &values, began)?;
            let chosen = match variable["allValue"].as_str() {
                Some(value) if opened => vec![value.to_owned()],
                Some(_) => {
                    // As Grafana writes several: its backslashes stand in a string of PromQL.
                    let escaped: Vec<String> = options.iter().map(|o| regex::escape(o)).collect();
                    vec![format!("({})", escaped.join("|").replace('\\', r"\\"))]
                }
                None => options,
            };
            for one in chosen {
                let mut values = values.clone();
                values.insert(text(&variable["name"]), one);
                further.push(values);
            }
        }
        all = further;
    }
    Ok(all)
}

fn built_in() -> Values {
    // Prometheus looks every second here, so that this is long enough.
    [
        ("__interval", "10s"),
        ("__rate_interval", "10s"),
        ("__range", "10m"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// What a variable offers, which must be something.
fn options(
    world: &World,
    variable: &Value,
    values: &Values,
    began: DateTime<Utc>,
) -> Result<Vec<String>, Failure> {
    let (asked, label) = asked_for(variable);
    let asked = promql::fill(&asked, values).map_err(Failure::new)?;
    let found: Vec<String> = if let Some(label) = label {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("match[]", &asked)
            .append_pair("start", &began.timestamp().to_string())
            .append_pair("end", &now().timestamp().to_string());
        let path = format!("/api/v1/label/{label}/values?{}", query.finish());
        let found = http::data(world.prometheus.port, &path)?;
        list(&found).iter().map(text).collect()
    } else {
        let series = ask(world, Use::Instant, &asked, began)?;
        series.iter().map(as_grafana_writes).collect()
    };
    let pattern = text(&variable["regex"]);
    let pattern = Regex::new(pattern.trim_matches('/')).expect("a variable's pattern");
    let named = |value: &String| {
        let captures = pattern.captures(value)?;
        // Without a group, or without a pattern, all of it.
        Some(captures.get(1).map_or(&**value, |m| m.as_str()).to_owned())
    };
    let options: BTreeSet<String> = found.iter().filter_map(named).collect();
    if options.is_empty() {
        return Err(Failure::new(format!("{asked} offers nothing")));
    }
    Ok(options.into_iter().collect())
}

/// A series as Grafana writes it for the pattern of a variable: `{host="web01"} 1 1767323045000`.
fn as_grafana_writes(series: &Value) -> String {
    let labels = series["metric"].as_object().into_iter().flatten();
    let labels: Vec<String> = labels
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let (at, value) = (&series["value"][0], text(&series["value"][1]));
    format!("{{{}}} {value} {at}", labels.join(","))
}

/// Asks with each set of values until one yields data; returns the series.
fn ask_each(
    world: &World,
    expression: &Expression,
    fills: &[Values],
    began: DateTime<Utc>,
) -> Result<Option<Vec<Value>>, Failure> {
    for values in fills {
        let filled = promql::fill(&expression.text, values).map_err(Failure::new)?;
        let series = ask(world, expression.used, &filled, began)?;
        if series.iter().any(has_number) {
            return Ok(Some(series));
        }
    }
    Ok(None)
}

fn ask(
    world: &World,
    used: Use,
    filled: &str,
    began: DateTime<Utc>,
) -> Result<Vec<Value>, Failure> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("query", filled);
    let kind = if used == Use::Instant {
        "query"
    } else {
        query
            .append_pair("start", &began.timestamp().to_string())
            .append_pair("end", &now().timestamp().to_string())
            .append_pair("step", "1");
        "query_range"
    };
    let path = format!("/api/v1/{kind}?{}", query.finish());
    let data = http::data(world.prometheus.port, &path)?;
    Ok(list(&data["result"]).to_vec())
}

/// Whether a series of either kind of answer has a value that is a number.
fn has_number(series: &Value) -> bool {
    let samples = list(&series["values"]).iter().chain([&series["value"]]);
    samples
        .map(|sample| text(&sample[1]))
        .any(|value| value.parse::<f64>().is_ok_and(f64::is_finite))
}

/// Each label in a legend is one that the series have.
fn assert_legend_is_filled(expression: &Expression, series: &[Value]) {
    let wanted = Regex::new(r"\{\{(\w+)\}\}").expect("a pattern");
    for label in wanted.captures_iter(&expression.legend) {
        let there = series.iter().any(|s| s["metric"].get(&label[1]).is_some());
        assert!(
            there,
            "{}: no series has {}: {series:?}",
            expression.place, &label[1]
        );
    }
}
