//! Hosts of the inventory's sources and enrolled hosts, and the inventory as Ansible's inventory scripts print it.
//!
//! Returns 201 and 200 only after the change is on disk and in the inventory that decides alerts.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::config::{self, Config};
use crate::http::Context;
use crate::http::api::vars;
use crate::http::core::error::ApiError;
use crate::http::core::reply::{self, Reply};
use crate::http::core::{audit_note, json, path};
use crate::model::inventory::{Clash, Conflict, EnrolledHost, Host, Inventory};
use crate::model::run::Work;
use crate::util::clock;

/// The largest body: up to [`crate::store::HOSTS_LIMIT`] hosts are kept in memory. *Units*: bytes.
pub(crate) const LARGEST: u64 = 8 << 10;

/// The JSON of a host.
#[derive(Serialize)]
struct HostAnswer {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    groups: Vec<String>,
    /// `file` or `enrolled`.
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    enrolled_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    facts_gathered_at: Option<DateTime<Utc>>,
}

impl HostAnswer {
    fn of(host: &Host, facts: &BTreeMap<String, DateTime<Utc>>) -> Self {
        Self {
            name: host.name().to_owned(),
            address: host.address().map(str::to_owned),
            groups: host.groups().map(str::to_owned).collect(),
            source: match host.enrolled() {
                Some(_) => "enrolled",
                None => "file",
            },
            enrolled_at: host.enrolled().map(|enrolled| enrolled.enrolled_at),
            facts_gathered_at: facts.get(host.name()).copied(),
        }
    }
}

#[derive(Serialize)]
struct Hosts {
    hosts: Vec<HostAnswer>,
    /// Enrolled hosts that are ignored.
    conflicts: Vec<Conflict>,
}

#[derive(Serialize)]
pub(crate) struct HostDetail {
    #[serde(flatten)]
    host: HostAnswer,
    /// Only for an enrolled host; the variables of the others are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    vars: Option<Map<String, Value>>,
    /// Why an enrolled host of this name is ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    conflict: Option<String>,
}

#[derive(Serialize)]
struct Removed {
    name: String,
}

/// Handles `hosts` and `inventory`, except [`enroll`].
pub(crate) async fn answer(context: &Context, method: &Method, parts: &[&str]) -> Reply {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match parts {
        ["hosts"] if reads => list(context)
            .await
            .unwrap_or_else(|refused| refused.reply()),
        ["hosts", name] if reads => {
            let shown = show(context, &path::decoded(name)).await;
            shown.unwrap_or_else(|refused| refused.reply())
        }
        ["hosts", name] if *method == Method::DELETE => remove(context, path::decoded(name)).await,
        ["inventory"] if reads => script(context)
            .await
            .unwrap_or_else(|refused| refused.reply()),
        ["hosts"] => reply::method_not_allowed("GET, HEAD, POST"),
        ["hosts", _] => reply::method_not_allowed("GET, HEAD, DELETE"),
        ["inventory"] => reply::method_not_allowed("GET, HEAD"),
        _ => reply::error(
            StatusCode::NOT_FOUND,
            format_args!("there is no /api/v1/{}", parts.join("/")),
        ),
    }
}

async fn inventory(context: &Context) -> Result<Arc<Inventory>, ApiError> {
    context
        .inventory
        .fresh()
        .await
        .map_err(ApiError::unavailable)
}

async fn list(context: &Context) -> Result<Reply, ApiError> {
    let inventory = inventory(context).await?;
    let facts = context.store.facts_list().await?.into_iter();
    let facts = facts.map(|of| (of.host, of.gathered_at)).collect();
    Ok(reply::long_success(move || Hosts {
        hosts: inventory
            .hosts()
            .map(|host| HostAnswer::of(host, &facts))
            .collect(),
        conflicts: inventory.conflicts().to_vec(),
    })
    .await)
}

async fn show(context: &Context, name: &str) -> Result<Reply, ApiError> {
    let inventory = inventory(context).await?;
    let mut conflicts = inventory.conflicts().iter();
    let conflict = conflicts.find(|conflict| conflict.name == name);
    let Some(host) = inventory.host(name) else {
        let why = match conflict {
            Some(conflict) => format!("{conflict}, so it is ignored"),
            None => format!("no host of the inventory is named {name:?}"),
        };
        return Err(ApiError::new(StatusCode::NOT_FOUND, why));
    };
    let facts = context.store.facts_of(name.to_owned()).await?.into_iter();
    let facts = facts.map(|of| (of.host, of.gathered_at)).collect();
    Ok(reply::success(&HostDetail {
        host: HostAnswer::of(host, &facts),
        vars: host.enrolled().map(|enrolled| enrolled.vars.clone()),
        conflict: conflict.map(Conflict::to_string),
    }))
}

/// Returns the inventory as Ansible's inventory scripts print it.
async fn script(context: &Context) -> Result<Reply, ApiError> {
    let inventory = inventory(context).await?;
    let text =
        tokio::task::spawn_blocking(move || Value::Object(inventory.to_script()).to_string());
    let text = text
        .await
        .map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, e))?;
    Ok(reply::typed("application/json", [text.into()]))
}

pub(crate) async fn enroll(context: &Context, request: Request<Incoming>) -> Reply {
    let context = context.clone();
    run_to_completion(async move {
        let timeout = context.config.borrow().receiver.body_timeout;
        let body = match json::body(request, LARGEST, timeout).await {
            Ok(body) => body,
            Err(refusal) => return refusal.reply(),
        };
        match enrol(&context, &body).await {
            Ok(host) => reply::created(&host),
            Err(refusal) => refusal.reply(),
        }
    })
    .await
}

/// Enrolls the host that this JSON describes: see [`config::enrolment`].
pub(crate) async fn enrol(context: &Context, json: &[u8]) -> Result<HostDetail, ApiError> {
    let config = Arc::clone(&context.config.borrow());
    let enrolment = config::enrolment(json).map_err(ApiError::bad)?;
    // Check against the current sources, or both could have the name.
    let inventory = context.inventory.current().await;
    let inventory = inventory.map_err(ApiError::unavailable)?;
    if let Some(why) = in_the_way(&inventory, &enrolment.name, &enrolment.groups, &config) {
        return Err(ApiError::new(StatusCode::CONFLICT, why));
    }
    let is_reserved = |name: &&String| config.roles.not_over_api.contains_key(*name);
    if let Some(name) = enrolment.vars.keys().find(is_reserved) {
        return Err(ApiError::bad(format_args!(
            "vars: {} does not accept {name:?} over the API (not_over_api in its meta/promansible.yml); set it in the inventory's sources",
            config.roles.not_over_api[name]
        )));
    }
    vars::no_templates(&inventory, &enrolment.vars)?;
    let host = EnrolledHost {
        name: enrolment.name,
        address: enrolment.address,
        groups: enrolment.groups,
        vars: enrolment.vars,
        enrolled_at: clock::now(),
    };
    context.store.enroll_host(host.clone()).await?;
    let vars: Vec<String> = host.vars.keys().cloned().collect();
    context.note.did(format_args!(
        "enrolled {}, address {}, groups {}, variables {}",
        host.name,
        host.address.as_deref().unwrap_or("-"),
        audit_note::names(&host.groups),
        audit_note::names(&vars)
    ));
    tracing::info!(
        host = host.name,
        address = host.address,
        groups = host.groups.join(","),
        "host enrolled"
    );
    context.inventory.enrolled().await;
    gather(context, &config, &host.name).await;
    Ok(HostDetail {
        host: HostAnswer {
            name: host.name,
            address: host.address,
            groups: host.groups,
            source: "enrolled",
            enrolled_at: Some(host.enrolled_at),
            facts_gathered_at: None,
        },
        vars: Some(host.vars),
        conflict: None,
    })
}

/// Gathers the facts of a new host, if facts are gathered at all. The enrolment does not depend on it.
async fn gather(context: &Context, config: &Config, host: &str) {
    let Some(work) = config.gathering().filter(|_| config.facts.every.is_some()) else {
        return;
    };
    let work = Work {
        controller: false,
        r#become: config.ansible.r#become,
        ..work
    };
    let limit = config.runs.queue_limit;
    let store = &context.store;
    match store
        .queue_manual(
            work,
            vec![host.to_owned()],
            context.caller.name.clone(),
            limit,
            clock::now(),
        )
        .await
    {
        Ok(run) => tracing::info!(run = run.0, host, "gathering facts of the new host"),
        Err(e) => tracing::warn!(host, error = %e, "cannot gather facts of the new host now"),
    }
}

/// Returns why a host cannot be enrolled beside the inventory. The store checks for enrolled hosts of the same name.
fn in_the_way(
    inventory: &Inventory,
    name: &str,
    groups: &[String],
    config: &Config,
) -> Option<String> {
    if inventory
        .host(name)
        .is_some_and(|host| host.enrolled().is_some())
    {
        return None;
    }
    let clash = inventory.clash(name, groups)?;
    let sources: Vec<String> = config
        .ansible
        .inventory
        .iter()
        .map(|source| source.display().to_string())
        .collect();
    Some(match clash {
        Clash::Host => format!(
            "{name} is already in the inventory's sources ({}): change it there",
            sources.join(", ")
        ),
        other => format!("{name} cannot be enrolled: {other}"),
    })
}

async fn remove(context: &Context, name: String) -> Reply {
    let context = context.clone();
    run_to_completion(async move {
        match take_away(&context, &name).await {
            Ok(()) => reply::success(&Removed { name }),
            Err(refusal) => refusal.reply(),
        }
    })
    .await
}

/// Removes an enrolled host.
pub(crate) async fn take_away(context: &Context, name: &str) -> Result<(), ApiError> {
    if let Err(e) = context.store.remove_host(name.to_owned()).await {
        return Err(match context.inventory.latest() {
            Ok(inventory) if inventory.host(name).is_some() => ApiError::new(
                StatusCode::CONFLICT,
                format_args!("{name} is in the inventory's sources: remove it there"),
            ),
            _ => e.into(),
        });
    }
    context
        .note
        .did(format_args!("removed the enrolled host {name}"));
    tracing::info!(host = name, "enrolled host removed");
    context.inventory.enrolled().await;
    Ok(())
}

/// Completes a request even if the client disconnects meanwhile.
pub(crate) async fn run_to_completion(work: impl Future<Output = Reply> + Send + 'static) -> Reply {
    tokio::spawn(work).await.unwrap_or_else(|_| {
        reply::error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the request failed; see the log",
        )
    })
}
