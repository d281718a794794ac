//! What fires, and the alert types: `/api/v1/alerts`, `/api/v1/alert-types`.

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

/// How many alerts a page holds where nothing is said.
const PAGE: usize = 50;

/// How many it holds at most.
const PAGE_LIMIT: usize = 1000;

/// How many episodes are shown of one alert type.
const EPISODES: usize = 20;

/// Answers what is below `alerts` and `alert-types`.
pub(crate) async fn answer(
    context: &Context,
    method: &Method,
    parts: &[&str],
    query: &str,
) -> Reply {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let answered = match parts {
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
    answered.unwrap_or_else(|refused| refused)
}

#[derive(Serialize)]
struct Alerts {
    alerts: Vec<EpisodeAnswer>,
    /// Give this as `cursor` to get the next page.
    next: Option<String>,
}

async fn firing(context: &Context, query: &str) -> Result<Reply, Reply> {
    let asked = AlertsQuery::parse(query);
    let asked = asked.map_err(|why| reply::error(StatusCode::BAD_REQUEST, why))?;
    if asked.host.is_some()
        && let Err(why) = context.inventory.latest()
    {
        return Err(reply::error(StatusCode::SERVICE_UNAVAILABLE, why));
    }
    let hosts = Arc::new(Hosts::new(context));
    let (of, host) = (Arc::clone(&hosts), asked.host);
    let takes = move |episode: &Episode| match &host {
        Some(host) => of.of(&episode.labels) == Some(host),
        None => true,
    };
    let page = context
        .store
        .firing(asked.alertname, takes, asked.before, asked.limit)
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
        let why = format_args!("{id:?} is not the id of an alert in a list");
        reply::error(StatusCode::BAD_REQUEST, why)
    })?;
    let page = context.store.episode(key).await;
    let page = page.map_err(|e| reply::failed(&e))?;
    if page.episodes.is_empty() {
        let why = format_args!("no alert {id} is kept");
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
        let mut asked = Self {
            limit: PAGE,
            ..Self::default()
        };
        for (name, value) in query::fields(query)? {
            let value = value.into_owned();
            match &*name {
                "alertname" => asked.alertname = Some(value),
                "host" => asked.host = Some(value),
                "limit" => {
                    let limit = value.parse().ok();
                    let limit = limit.filter(|limit| (1..=PAGE_LIMIT).contains(limit));
                    asked.limit = limit.ok_or_else(|| {
                        format!("limit: {value:?} is not a number from 1 to {PAGE_LIMIT}")
                    })?;
                }
                "cursor" => {
                    let key = key(&value);
                    asked.before = Some(key.ok_or_else(|| {
                        format!("cursor: {value:?} is not what an answer said as `next`")
                    })?);
                }
                _ => {
                    return Err(format!(
                        "{name}: unknown; want alertname, host, limit or cursor"
                    ));
                }
            }
        }
        Ok(asked)
    }
}

/// All alert types, and how the places are that they are known from.
#[derive(Serialize)]
pub(crate) struct Catalogue {
    /// The types, by name.
    pub(crate) alert_types: Vec<AlertType>,
    /// The places.
    #[serde(flatten)]
    pub(crate) places: Places,
}

/// How the places are that alert types are known from.
#[derive(Serialize)]
pub(crate) struct Places {
    /// Nothing where Prometheus is not configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prometheus: Option<Health>,
    /// Rule files that could not be read.
    pub(crate) problems: Vec<Problem>,
}

/// Puts together what is known; those with, or those without bindings if that is asked for.
pub(crate) async fn catalogue(
    context: &Context,
    unbound: Option<bool>,
) -> Result<Catalogue, StoreError> {
    let known = context.alert_types.look().await;
    let seen = context.store.alert_types().await?;
    let firing = context.store.firing_counts().await?;
    let config = Arc::clone(&context.config.borrow());
    let together = move || {
        let mut types = alert_types::catalogue(&known.rules, seen, &firing, &config.bindings);
        if let Some(unbound) = unbound {
            types.retain(|of| of.bindings.is_empty() == unbound);
        }
        Catalogue {
            alert_types: types,
            places: Places {
                prometheus: known.prometheus,
                problems: known.problems,
            },
        }
    };
    let put = tokio::task::spawn_blocking(together).await;
    put.map_err(|_| StoreError::Closed)
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
    /// The last ones, those that began last first.
    last_episodes: Vec<EpisodeAnswer>,
    /// Of all alert types.
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
            format_args!("no rule and no alert that came has the name {name:?}"),
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
    fn a_query_is_taken_whole_or_refused_by_its_field() {
        let asked =
            AlertsQuery::parse("alertname=A+b&host=h&limit=3&cursor=00000000000000ff--5").unwrap();
        assert_eq!(asked.alertname.as_deref(), Some("A b"));
        assert_eq!((asked.host.as_deref(), asked.limit), (Some("h"), 3));
        let before = asked.before.unwrap();
        assert_eq!(cursor(before), "00000000000000ff--5");
        for (query, message) in [
            ("limit=0", "limit: \"0\" is not a number from 1 to 1000"),
            (
                "limit=1001",
                "limit: \"1001\" is not a number from 1 to 1000",
            ),
            (
                "cursor=7",
                "cursor: \"7\" is not what an answer said as `next`",
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
