//! Firing alerts and alert types: `/api/v1/alerts`, `/api/v1/alert-types`.

mod episode;

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::{Method, StatusCode};
use serde::Serialize;

use crate::http::Context;
use crate::http::core::reply::{self, Reply};
use crate::http::core::{path, query};
use episode::{EpisodeAnswer, Hosts, key, told};

use crate::alert_types::{self, AlertType, Rule};
use crate::model::alert::EpisodeKey;
use crate::services::rule_discovery::{Health, Problem};
use crate::store::{Episode, StoreError};
pub(in crate::http) use episode::cursor;

/// The default number of alerts on a page.
const PAGE: usize = 50;

/// The maximum number of alerts on a page.
const PAGE_LIMIT: usize = 1000;

/// The number of episodes shown for an alert type.
const EPISODES: usize = 20;

/// Handles `alerts` and `alert-types`.
pub(crate) async fn answer(
    context: &Context,
    method: &Method,
    parts: &[&str],
    query: &str,
) -> Reply {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let result = match parts {
        ["alerts" | "alert-types"] | ["alerts" | "alert-types", _] if !reads => {
            return reply::method_not_allowed("GET, HEAD");
        }
        ["alerts"] => firing(context, query).await,
        ["alerts", id] => one_alert(context, id).await,
        ["alert-types"] => types(context, query).await,
        ["alert-types", name] => one_type(context, path::decoded(name)).await,
        _ => Err(reply::error(
            StatusCode::NOT_FOUND,
            format_args!("there is no /api/v1/{}", parts.join("/")),
        )),
    };
    result.unwrap_or_else(|error| error)
}

#[derive(Serialize)]
struct Alerts {
    alerts: Vec<EpisodeAnswer>,
    /// The `cursor` of the next page.
    next: Option<String>,
}

async fn firing(context: &Context, query: &str) -> Result<Reply, Reply> {
    let parsed = AlertsQuery::parse(query);
    let parsed = parsed.map_err(|why| reply::error(StatusCode::BAD_REQUEST, why))?;
    if parsed.host.is_some()
        && let Err(why) = context.inventory.latest()
    {
        return Err(reply::error(StatusCode::SERVICE_UNAVAILABLE, why));
    }
    let hosts = Arc::new(Hosts::new(context));
    let (of, host) = (Arc::clone(&hosts), parsed.host);
    let takes = move |episode: &Episode| match &host {
        Some(host) => of.of(&episode.labels) == Some(host),
        None => true,
    };
    let page = context
        .store
        .firing(parsed.alertname, takes, parsed.before, parsed.limit)
        .await
        .map_err(|e| reply::failed(&e))?;
    let next = page.next.map(cursor);
    Ok(reply::long_success(move || Alerts {
        alerts: told(page, &hosts, false),
        next,
    })
    .await)
}

async fn one_alert(context: &Context, id: &str) -> Result<Reply, Reply> {
    let key = key(id).ok_or_else(|| {
        let why = format_args!("{id:?} is not the id of an alert");
        reply::error(StatusCode::BAD_REQUEST, why)
    })?;
    let page = context.store.episode(key).await;
    let page = page.map_err(|e| reply::failed(&e))?;
    if page.episodes.is_empty() {
        let why = format_args!("there is no alert {id}");
        return Err(reply::error(StatusCode::NOT_FOUND, why));
    }
    let hosts = Hosts::new(context);
    Ok(reply::long_success(move || told(page, &hosts, true).pop()).await)
}

#[derive(Debug, Default, PartialEq)]
struct AlertsQuery {
    alertname: Option<String>,
    host: Option<String>,
    before: Option<EpisodeKey>,
    limit: usize,
}

impl AlertsQuery {
    fn parse(query: &str) -> Result<Self, String> {
        let mut parsed = Self {
            limit: PAGE,
            ..Self::default()
        };
        for (name, value) in query::fields(query)? {
            let value = value.into_owned();
            match &*name {
                "alertname" => parsed.alertname = Some(value),
                "host" => parsed.host = Some(value),
                "limit" => {
                    let limit = value.parse().ok();
                    let limit = limit.filter(|limit| (1..=PAGE_LIMIT).contains(limit));
                    parsed.limit = limit.ok_or_else(|| {
                        format!("limit: {value:?} is not a number from 1 to {PAGE_LIMIT}")
                    })?;
                }
                "cursor" => {
                    let key = key(&value);
                    parsed.before = Some(key.ok_or_else(|| {
                        format!("cursor: {value:?} is not the `next` of an earlier page")
                    })?);
                }
                _ => {
                    return Err(format!(
                        "{name}: unknown; want alertname, host, limit or cursor"
                    ));
                }
            }
        }
        Ok(parsed)
    }
}

/// All alert types, and the state of their sources.
#[derive(Serialize)]
pub(crate) struct Catalogue {
    /// Sorted by name.
    pub(crate) alert_types: Vec<AlertType>,
    #[serde(flatten)]
    pub(crate) places: Places,
}

/// The state of the sources of alert types.
#[derive(Serialize)]
pub(crate) struct Places {
    /// `None` if Prometheus is not configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prometheus: Option<Health>,
    /// Rule files that could not be read.
    pub(crate) problems: Vec<Problem>,
}

/// Builds the catalogue; optionally only the types without, or only those with, bindings.
pub(crate) async fn catalogue(
    context: &Context,
    unbound: Option<bool>,
) -> Result<Catalogue, StoreError> {
    let known = context.alert_types.look().await;
    let seen = context.store.alert_types().await?;
    let firing = context.store.firing_counts().await?;
    let config = Arc::clone(&context.config.borrow());
    let build = move || {
        let mut types = alert_types::catalogue(&known.rules, seen, &firing, &config.bindings);
        if let Some(unbound) = unbound {
            types.retain(|alert_type| alert_type.bindings.is_empty() == unbound);
        }
        Catalogue {
            alert_types: types,
            places: Places {
                prometheus: known.prometheus,
                problems: known.problems,
            },
        }
    };
    let catalogue = tokio::task::spawn_blocking(build).await;
    catalogue.map_err(|_| StoreError::Closed)
}

async fn types(context: &Context, query: &str) -> Result<Reply, Reply> {
    let unbound = unbound(query);
    let unbound = unbound.map_err(|why| reply::error(StatusCode::BAD_REQUEST, why))?;
    let catalogue = catalogue(context, unbound).await;
    let catalogue = catalogue.map_err(|e| reply::failed(&e))?;
    Ok(reply::long_success(move || catalogue).await)
}

fn unbound(query: &str) -> Result<Option<bool>, String> {
    let mut unbound = None;
    for (name, value) in query::fields(query)? {
        match (&*name, &*value) {
            ("unbound", "true") => unbound = Some(true),
            ("unbound", "false") => unbound = Some(false),
            ("unbound", _) => return Err(format!("unbound: {value:?} is neither true nor false")),
            _ => return Err(format!("{name}: unknown; want unbound")),
        }
    }
    Ok(unbound)
}

#[derive(Serialize)]
struct TypeDetail {
    #[serde(flatten)]
    of: AlertType,
    rules: Vec<Arc<Rule>>,
    /// The last episodes, newest first.
    last_episodes: Vec<EpisodeAnswer>,
    /// The sources of all alert types.
    #[serde(flatten)]
    places: Places,
}

async fn one_type(context: &Context, name: String) -> Result<Reply, Reply> {
    let known = context.alert_types.look().await;
    let store = &context.store;
    let of_type = async {
        let seen = store.alert_type(name.clone()).await?;
        let page = store.episodes_of_type(name.clone(), None, EPISODES).await?;
        let firing: BTreeMap<String, u64> = store.firing_counts().await?;
        Ok((seen, page, firing))
    };
    let (seen, page, firing) = of_type.await.map_err(|e| reply::failed(&e))?;
    let rules: Vec<_> = known
        .rules
        .iter()
        .filter(|rule| rule.name == name)
        .collect();
    let rules: Vec<Arc<Rule>> = rules.into_iter().cloned().collect();
    if rules.is_empty() && seen.is_none() && page.episodes.is_empty() {
        return Err(reply::error(
            StatusCode::NOT_FOUND,
            format_args!("no rule and no received alert has the name {name:?}"),
        ));
    }
    let config = Arc::clone(&context.config.borrow());
    let hosts = Hosts::new(context);
    Ok(reply::long_success(move || {
        let of: Vec<&Rule> = rules.iter().map(|rule| &**rule).collect();
        let firing = firing.get(&name).copied().unwrap_or_default();
        TypeDetail {
            of: alert_types::alert_type(name, &of, seen.as_ref(), firing, &config.bindings),
            rules,
            last_episodes: told(page, &hosts, false),
            places: Places {
                prometheus: known.prometheus,
                problems: known.problems,
            },
        }
    })
    .await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_parsed_or_its_invalid_field_named() {
        let parsed =
            AlertsQuery::parse("alertname=A+b&host=h&limit=3&cursor=00000000000000ff--5").unwrap();
        assert_eq!(parsed.alertname.as_deref(), Some("A b"));
        assert_eq!((parsed.host.as_deref(), parsed.limit), (Some("h"), 3));
        let before = parsed.before.unwrap();
        assert_eq!(cursor(before), "00000000000000ff--5");
        for (query, message) in [
            ("limit=0", "limit: \"0\" is not a number from 1 to 1000"),
            (
                "limit=1001",
                "limit: \"1001\" is not a number from 1 to 1000",
            ),
            (
                "cursor=7",
                "cursor: \"7\" is not the `next` of an earlier page",
            ),
            ("host=a&host=b", "host: given more than once"),
            (
                "state=firing",
                "state: unknown; want alertname, host, limit or cursor",
            ),
        ] {
            assert_eq!(AlertsQuery::parse(query).unwrap_err(), message);
        }
        assert_eq!(unbound("unbound=false"), Ok(Some(false)));
        assert_eq!(
            unbound("unbound=1").unwrap_err(),
            "unbound: \"1\" is neither true nor false"
        );
    }
}
