//! Checks the running server, if there is one.

use chrono::{DateTime, Utc};
use hyper::Method;
use serde::Deserialize;

use super::ask::shown;
use super::finding::{Area, Finding};
use crate::cli::Failure;
use crate::cli::client::Server;
use crate::cli::format::second;

const AREA: Area = Area::Server;

#[derive(Deserialize)]
struct Types {
    alert_types: Vec<Seen>,
}

#[derive(Deserialize)]
struct Seen {
    name: String,
    #[serde(default)]
    last_seen: Option<DateTime<Utc>>,
}

pub(super) async fn check(server: &Server) -> Vec<Finding> {
    let subject = shown(server.url());
    match server.answers().await {
        Ok(true) => {}
        Ok(false) => {
            return vec![AREA.warning(
                &subject,
                "no server listens there",
                "start promansible when the other checks pass; use --server.url for another address",
            )];
        }
        Err(why) => {
            let remedy = "correct --server.url or the file of --http.config.file";
            return vec![AREA.error(&subject, reason(why), remedy)];
        }
    }
    let mut findings = vec![ready(server, &subject).await];
    findings.extend(last_notification(server).await);
    findings
}

async fn ready(server: &Server, subject: &str) -> Finding {
    let answer = match server.page("/-/ready").await {
        Ok(answer) => answer,
        Err(why) => {
            let remedy = "another program may use this port, or the server may require https: check --server.url, and tls_config in --http.config.file";
            return AREA.error(subject, reason(why), remedy);
        }
    };
    let said = String::from_utf8_lossy(&answer.body);
    let said = said.trim();
    match answer.status.as_u16() {
        200 if said.starts_with("promansible is ready") => AREA.ok(subject, "ready"),
        503 => AREA.error(
            subject,
            format!("not ready: {said}"),
            "see docs/troubleshooting.md and the server's log",
        ),
        401 => AREA.warning(
            subject,
            "requires authentication",
            "set --http.config.file to a file with basic_auth or authorization",
        ),
        code => AREA.error(
            subject,
            format!("unexpected response with status {code}"),
            "another program may use this port: check --server.url, including its path",
        ),
    }
}

/// Returns a finding about the last notification of any sender.
async fn last_notification(server: &Server) -> Option<Finding> {
    let response = server.ask_async::<Types>(Method::GET, "alert-types", None);
    let types = match response.await {
        Ok(types) => types.alert_types,
        Err(why) => {
            return Some(AREA.warning(
                "notifications",
                reason(why),
                "set --http.config.file to a file with basic_auth or authorization",
            ));
        }
    };
    let seen = types.into_iter();
    let seen = seen.filter_map(|of| Some((of.last_seen?, of.name)));
    Some(match seen.max() {
        Some((at, name)) => AREA.ok(
            "notifications",
            format!(
                "the last one was about {name}, at {} or up to ten minutes later",
                second(at)
            ),
        ),
        None => AREA.warning(
            "notifications",
            "none received yet",
            "fire a test alert; see docs/troubleshooting.md, No notification arrives",
        ),
    })
}

fn reason(failure: Failure) -> String {
    match failure {
        Failure::Message(why) => why,
        Failure::Shown | Failure::Signal(_) => "interrupted".to_owned(),
    }
}
