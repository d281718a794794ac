//! Checks that Prometheus responds, has rules, scrapes us, and sends to an Alertmanager.

use std::collections::{BTreeMap, BTreeSet};

use hyper::Uri;
use serde::Deserialize;

use super::ask::{Other, clock_of, shown};
use super::finding::{Area, Finding};
use super::routing::port;
use crate::cli::format::count;
use crate::config::Config;
use crate::model::alert::Matcher;
use crate::model::alert::matcher::Op;

const AREA: Area = Area::Prometheus;

#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Targets {
    #[serde(default)]
    active_targets: Vec<Target>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    scrape_url: String,
    #[serde(default)]
    health: String,
    #[serde(default)]
    last_error: String,
}

#[derive(Deserialize)]
struct Groups {
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    last_error: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alertmanagers {
    #[serde(default)]
    active_alertmanagers: Vec<serde_json::Value>,
}

pub(super) async fn check(config: &Config, ours: &Uri) -> Vec<Finding> {
    let settings = &config.prometheus;
    let Some(url) = &settings.url else {
        return vec![AREA.warning(
            "prometheus.url",
            "not set: the scraping of promansible and the rules are not checked",
            "set it: prometheus: {url: http://localhost:9090}",
        )];
    };
    let other = Other {
        url,
        http: &settings.http,
        timeout: settings.timeout,
    };
    let (targets, rules, alertmanagers) = tokio::join!(
        other.get::<Envelope<Targets>>("/api/v1/targets?state=active"),
        other.get::<Envelope<Groups>>("/api/v1/rules?type=alert&exclude_alerts=true"),
        other.get::<Envelope<Alertmanagers>>("/api/v1/alertmanagers"),
    );
    let subject = shown(url);
    let mut findings = Vec::new();
    match targets {
        Ok((targets, headers)) => {
            findings.push(AREA.ok(&subject, "answers"));
            findings.extend(clock_of("Prometheus", &headers));
            findings.push(scraped(&targets.data.active_targets, ours));
        }
        // The other requests failed for the same reason.
        Err(why) => {
            return vec![AREA.error(
                &subject,
                why,
                "start Prometheus, or correct prometheus.url; the list of alert types depends on it",
            )];
        }
    }
    match rules {
        Ok((groups, _)) => findings.extend(of_rules(&groups.data, config)),
        Err(why) => findings.push(AREA.error("rules", why, "see Prometheus's log")),
    }
    if let Ok((listed, _)) = alertmanagers {
        findings.push(match listed.data.active_alertmanagers.len() {
            0 => AREA.error(
                "alerting",
                "it has no Alertmanager, so it sends no alerts",
                "alerting: {alertmanagers: [{static_configs: [{targets: ['localhost:9093']}]}]} in prometheus.yml",
            ),
            n => AREA.ok("alerting", format!("sends to {}", count(n as u64, "Alertmanager"))),
        });
    }
    findings
}

fn scraped(targets: &[Target], ours: &Uri) -> Finding {
    let is_ours = |target: &&Target| {
        let at = target.scrape_url.parse::<Uri>().ok();
        at.is_some_and(|at| port(&at) == port(ours))
            || target
                .labels
                .get("job")
                .is_some_and(|job| job == "promansible")
    };
    let found: Vec<&Target> = targets.iter().filter(is_ours).collect();
    let up = found.iter().find(|target| target.health == "up");
    match (up, found.first()) {
        (Some(target), _) => AREA.ok("scrape", format!("scrapes {}", target.scrape_url)),
        (None, Some(target)) => AREA.error(
            "scrape",
            format!("{} is {}: {}", target.scrape_url, target.health, target.last_error),
            "start promansible, or give Prometheus a token with the scope metrics (authorization in its scrape config)",
        ),
        (None, None) => AREA.error(
            "scrape",
            format!("no target on port {}, and none has the job promansible", port(ours)),
            format!(
                "add to scrape_configs in prometheus.yml: {{job_name: promansible, static_configs: [{{targets: \
                 ['{}']}}]}}",
                ours.authority().map_or("localhost:10942", |at| at.as_str())
            ),
        ),
    }
}

fn of_rules(groups: &Groups, config: &Config) -> Vec<Finding> {
    let rules = || groups.groups.iter().flat_map(|group| &group.rules);
    let alerting: BTreeSet<&str> = rules()
        .filter(|rule| rule.kind == "alerting")
        .map(|rule| rule.name.as_str())
        .collect();
    let mut findings = Vec::new();
    if alerting.iter().any(|name| name.starts_with("Promansible")) {
        let number = count(alerting.len() as u64, "alert");
        findings.push(AREA.ok(
            "rules",
            format!("{number}, including those about promansible"),
        ));
    } else {
        findings.push(AREA.warning(
            "rules",
            "none about promansible itself: no alert fires when it is down or its runs fail",
            "copy rules/*.yml to Prometheus, see rules/README.md",
        ));
    }
    let broken = rules().filter(|rule| !rule.last_error.is_empty());
    findings.extend(broken.map(|rule| {
        AREA.warning(
            &rule.name,
            format!("cannot be evaluated: {}", rule.last_error),
            "correct the rule",
        )
    }));
    for binding in &config.bindings {
        let names = binding.matchers.iter();
        let names = names.filter(|m| m.name() == "alertname" && m.op() == Op::Equal);
        for name in names.map(Matcher::value) {
            if !alerting.contains(name) {
                findings.push(AREA.warning(
                    &format!("binding {}", binding.name),
                    format!("this Prometheus has no alerting rule {name}"),
                    "correct its matchers, or add the rule",
                ));
            }
        }
    }
    findings
}
