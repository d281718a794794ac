//! `/api/v1/…`, in the envelope of Prometheus's HTTP API.

use hyper::{Method, StatusCode};
use serde::Serialize;
use serde::de::IntoDeserializer;

use super::reply::{self, Reply};
use super::{Context, alerts, hosts, sd};
use crate::clock;
use crate::run::{Outcome, Run, RunId, TaskEvent};
use crate::store::{Canceled, EpisodeOfRun, RunFilter};

/// How many runs a page holds where nothing is said.
const PAGE: usize = 50;

/// How many it holds at most.
const PAGE_LIMIT: usize = 1000;

/// How many events of a run are shown at most.
const EVENTS: usize = 20_000;

pub(super) async fn answer(context: &Context, method: &Method, path: &str, query: &str) -> Reply {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let parts: Vec<&str> = path.split('/').collect();
    let id = parts.get(1).map(|id| id.parse().map(RunId));
    match (parts.as_slice(), id) {
        (["runs"], _) if reads => list(context, query).await,
        (["runs", id] | ["runs", id, "output" | "cancel"], Some(Err(_))) => reply::error(
            StatusCode::BAD_REQUEST,
            format_args!("{id:?} is not a run's number"),
        ),
        (["runs", _], Some(Ok(id))) if reads => show(context, id).await,
        (["runs", _, "output"], Some(Ok(id))) if reads => output(context, id).await,
        (["runs", _, "cancel"], Some(Ok(id))) if *method == Method::POST => {
            cancel(context, id).await
        }
        (["sd"], _) if reads => sd::answer(context, query).await,
        (["alerts" | "alert-types", ..], _) => alerts::answer(context, method, &parts, query).await,
        (["hosts" | "inventory", ..], _) => hosts::answer(context, method, &parts).await,
        (["runs"], _) => reply::method_not_allowed("GET, HEAD, POST"),
        (["sd"] | ["runs", _] | ["runs", _, "output"], _) => reply::method_not_allowed("GET, HEAD"),
        (["runs", _, "cancel"], _) => reply::method_not_allowed("POST"),
        _ => reply::error(
            StatusCode::NOT_FOUND,
            format_args!("there is no /api/v1/{path}"),
        ),
    }
}

#[derive(Serialize)]
struct Runs {
    runs: Vec<Run>,
    /// Give this as `before` to get the next page.
    next: Option<RunId>,
}

async fn list(context: &Context, query: &str) -> Reply {
    let (filter, before, limit) = match parse_query(query) {
        Ok(parsed) => parsed,
        Err(why) => return reply::error(StatusCode::BAD_REQUEST, why),
    };
    match context.store.runs(filter, before, limit).await {
        Ok(page) => {
            reply::long_success(move || Runs {
                runs: page.runs.into_iter().map(without_values).collect(),
                next: page.next,
            })
            .await
        }
        Err(e) => reply::failed(&e),
    }
}

/// A binding's variables may be secrets: who reads runs is told their names only.
fn without_values(mut run: Run) -> Run {
    for (_, value) in &mut run.work.vars {
        *value = "(hidden)".into();
    }
    run
}

fn parse_query(query: &str) -> Result<(RunFilter, Option<RunId>, usize), String> {
    let mut filter = RunFilter::default();
    let (mut before, mut limit) = (None, PAGE);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let (name, value) = (name.as_ref(), value.into_owned());
        match name {
            "state" => filter.state = Some(word(name, &value)?),
            "outcome" => filter.outcome = Some(word(name, &value)?),
            "binding" => filter.binding = Some(value),
            "role" => filter.role = Some(value),
            "host" => filter.host = Some(value),
            "before" => before = Some(RunId(number(name, &value, u64::MAX)?)),
            "limit" => {
                let asked = number(name, &value, PAGE_LIMIT as u64)?;
                limit = usize::try_from(asked).unwrap_or(PAGE);
            }
            _ => {
                return Err(format!(
                    "{name}: unknown; want state, outcome, binding, role, host, before or limit"
                ));
            }
        }
    }
    Ok((filter, before, limit))
}

fn number(name: &str, value: &str, most: u64) -> Result<u64, String> {
    match value.parse() {
        Ok(n) if (1..=most).contains(&n) => Ok(n),
        _ => Err(format!(
            "{name}: {value:?} is not a number from 1 to {most}"
        )),
    }
}

/// A word of one of our enums, with serde's list of what would be right.
fn word<'a, T: serde::Deserialize<'a>>(name: &str, value: &'a str) -> Result<T, String> {
    let word: serde::de::value::StrDeserializer<'a, serde::de::value::Error> =
        value.into_deserializer();
    T::deserialize(word).map_err(|e| format!("{name}: {e}"))
}

#[derive(Serialize)]
struct RunDetail {
    run: Run,
    episodes: Vec<EpisodeOfRun>,
    events: Vec<TaskEvent>,
}

async fn show(context: &Context, id: RunId) -> Reply {
    let store = &context.store;
    let detail = async {
        Ok(RunDetail {
            run: store.run(id).await?,
            episodes: store.episodes_of(id).await?,
            events: store.events_of(id, 0, EVENTS).await?,
        })
    };
    match detail.await {
        Ok(detail) => {
            reply::long_success(move || RunDetail {
                run: without_values(detail.run),
                ..detail
            })
            .await
        }
        Err(e) => reply::failed(&e),
    }
}

async fn output(context: &Context, id: RunId) -> Reply {
    match context.store.output_of(id).await {
        Ok(output) => reply::raw_text(StatusCode::OK, output),
        Err(e) => reply::failed(&e),
    }
}

#[derive(Serialize)]
struct CancelAnswer {
    /// Whether the run has ended already, or is being ended.
    state: &'static str,
}

async fn cancel(context: &Context, id: RunId) -> Reply {
    match context
        .store
        .cancel(id, "the API".to_owned(), clock::now())
        .await
    {
        Ok(Canceled::Ended) => {
            let outcome = Outcome::Canceled.as_str();
            tracing::info!(
                run = id.0,
                outcome,
                why = "canceled by the API before it started",
                "run ended"
            );
            reply::success(&CancelAnswer { state: "ended" })
        }
        // Who holds it says when it has ended.
        Ok(Canceled::Ending) => {
            tracing::info!(run = id.0, "cancel asked for");
            reply::success(&CancelAnswer { state: "ending" })
        }
        Err(e) => reply::failed(&e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::State;

    #[test]
    fn a_query_is_taken_whole_or_refused_by_its_field() {
        let (filter, before, limit) =
            parse_query("state=finished&outcome=failed&role=a%20b&host=h+1&before=7&limit=3")
                .unwrap();
        assert_eq!(filter.state, Some(State::Finished));
        assert_eq!(filter.outcome, Some(Outcome::Failed));
        assert_eq!(filter.role.as_deref(), Some("a b"));
        assert_eq!(filter.host.as_deref(), Some("h 1"));
        assert_eq!((before, limit), (Some(RunId(7)), 3));
        for (query, message) in [
            ("limit=0", "limit: \"0\" is not a number from 1 to 1000"),
            (
                "before=x",
                "before: \"x\" is not a number from 1 to 18446744073709551615",
            ),
            (
                "sort=id",
                "sort: unknown; want state, outcome, binding, role, host, before or limit",
            ),
        ] {
            assert_eq!(parse_query(query).unwrap_err(), message);
        }
        assert!(
            parse_query("state=done")
                .unwrap_err()
                .starts_with("state: unknown variant `done`")
        );
    }
}
