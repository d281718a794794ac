//! Checks that Alertmanager responds, and that it sends to us.

use hyper::Uri;
use serde::Deserialize;

use super::ask::{Other, clock_of, shown};
use super::finding::{Area, Finding};
use super::routing::{Candidate, Fit, Routing};
use crate::config::Alertmanager;
use crate::http::WEBHOOK;

const AREA: Area = Area::Alertmanager;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    config: Original,
    #[serde(default)]
    version_info: Version,
}

#[derive(Deserialize)]
struct Original {
    original: String,
}

#[derive(Default, Deserialize)]
struct Version {
    #[serde(default)]
    version: String,
}

pub(super) async fn check(settings: Option<&Alertmanager>, ours: &Uri) -> Vec<Finding> {
    let Some(settings) = settings else {
        return vec![AREA.warning(
            "alertmanager.url",
            "not set: the receivers of Alertmanager are not checked, and verdicts may stay unknown",
            "set it: alertmanager: {url: http://localhost:9093}",
        )];
    };
    let subject = shown(&settings.url);
    let other = Other {
        url: &settings.url,
        http: &settings.http,
        timeout: settings.timeout,
    };
    let (status, headers) = match other.get::<Status>("/api/v2/status").await {
        Ok(answer) => answer,
        Err(why) => {
            return vec![AREA.error(
                &subject,
                why,
                "start Alertmanager, or correct alertmanager.url; verdicts depend on it",
            )];
        }
    };
    let version = &status.version_info.version;
    let mut findings = vec![AREA.ok(&subject, format!("answers (version {version})"))];
    findings.extend(clock_of("Alertmanager", &headers));
    match Routing::parse(&status.config.original) {
        Some(routing) => findings.extend(judge(&routing.candidates(ours), ours)),
        None => findings.push(AREA.warning(
            "receivers",
            "its configuration cannot be parsed",
            "compare it with config/alertmanager.yml manually",
        )),
    }
    findings
}

/// Returns the findings about the receivers.
fn judge(candidates: &[Candidate], ours: &Uri) -> Vec<Finding> {
    let wanted = format!("{}{WEBHOOK}", ours.to_string().trim_end_matches('/'));
    let visible: Vec<&Candidate> = candidates.iter().filter(|c| c.fit != Fit::Hidden).collect();
    let Some(best) = visible.first() else {
        return without(candidates, &wanted);
    };
    // If one fits better, the others are for another server.
    let alike = visible.iter().filter(|candidate| candidate.fit == best.fit);
    alike
        .flat_map(|candidate| of_one(candidate, &wanted))
        .collect()
}

/// Returns the findings if no visible webhook may be ours.
fn without(candidates: &[Candidate], wanted: &str) -> Vec<Finding> {
    let named = |candidate: &&Candidate| candidate.receiver.to_lowercase().contains("promansible");
    if candidates.is_empty() {
        return vec![AREA.error(
            "receivers",
            format!("none sends to {wanted}"),
            format!(
                "add one, and a route to it, as in config/alertmanager.yml: receivers: [{{name: promansible, \
                 webhook_configs: [{{url: '{wanted}', send_resolved: true}}]}}]"
            ),
        )];
    }
    let mut findings = vec![AREA.warning(
        "receivers",
        "this Alertmanager hides the URLs of its webhooks",
        format!("compare them with {wanted} manually, or run `promansible alerts list` while an alert fires"),
    )];
    if let Some(candidate) = candidates.iter().find(named) {
        findings.extend(of_settings(candidate));
    }
    findings
}

fn of_one(candidate: &Candidate, wanted: &str) -> Vec<Finding> {
    let receiver = &candidate.receiver;
    let mut findings = vec![match candidate.fit {
        Fit::Ours => AREA.ok(receiver, format!("sends to {}", candidate.url)),
        Fit::WrongPath => AREA.error(
            receiver,
            format!("sends to {}, which accepts no notifications", candidate.url),
            format!("correct its url: the path must be that of {wanted}"),
        ),
        Fit::Elsewhere | Fit::Hidden => AREA.warning(
            receiver,
            format!("sends to {}, not to {wanted}", candidate.url),
            "set --server.url to the URL that Alertmanager uses, or correct the receiver's url",
        ),
    }];
    findings.extend(of_settings(candidate));
    findings
}

/// Returns the findings that do not depend on the URL.
fn of_settings(candidate: &Candidate) -> Vec<Finding> {
    let receiver = &candidate.receiver;
    let mut findings = Vec::new();
    findings.push(if candidate.send_resolved {
        AREA.ok(receiver, "sends resolved alerts (send_resolved)")
    } else {
        AREA.error(
            receiver,
            "send_resolved is false: queued runs are not canceled, and episodes stay open",
            "set send_resolved: true in its webhook_configs",
        )
    });
    findings.push(if candidate.is_routed {
        AREA.ok(receiver, "a route leads to it")
    } else {
        AREA.error(
            receiver,
            "no route leads to it, so it never sends anything",
            format!("add a route before those that match every alert: routes: [{{receiver: {receiver}, continue: true}}]"),
        )
    });
    if candidate.max_alerts > 0 {
        findings.push(AREA.warning(
            receiver,
            format!(
                "max_alerts truncates notifications after {} alerts",
                candidate.max_alerts
            ),
            "set max_alerts: 0; otherwise promansible has to fetch the other alerts, which takes time",
        ));
    }
    findings
}
