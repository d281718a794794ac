//! `/api/v1/runs…`: the history, one run, its output, its end. Runs are started by [`crate::http::api::create_run`].

use hyper::{Method, StatusCode};
use serde::Serialize;

use crate::http::Context;
use crate::http::core::reply::{self, Reply};
use crate::http::core::{audit_note, excerpt, query};
use crate::model::guards::{Hold, Holds};
use crate::model::run::{Outcome, Run, RunId, State, TaskEvent};
use crate::store::{Canceled, EpisodeOfRun, RunFilter, Store, StoreError, Text};
use crate::util::clock;

/// How many runs a page holds where nothing is said.
const PAGE: usize = 50;

/// How many it holds at most.
const PAGE_LIMIT: usize = 1000;

/// How many events of a run are shown at most.
const EVENTS: usize = 20_000;

/// `parts` is what follows `runs` in the path.
pub(crate) async fn answer(
    context: &Context,
    method: &Method,
    parts: &[&str],
    query: &str,
) -> Reply {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let posts = *method == Method::POST;
    let (id, rest) = match parts {
        [] if reads => return list(context, query).await,
        [] => return reply::method_not_allowed("GET, HEAD, POST"),
        [id, rest @ ..] => (id, rest),
    };
    if !matches!(rest, [] | ["output" | "cancel"]) {
        return reply::not_found(&format!("runs/{}", parts.join("/")));
    }
    let Ok(number) = id.parse().map(RunId) else {
        let why = format_args!("{id:?} is not a run's number");
        return reply::error(StatusCode::BAD_REQUEST, why);
    };
    match rest {
        [] if reads => show(context, number).await,
        ["output"] if reads => output(context, number).await,
        ["cancel"] if posts => cancel(context, number).await,
        ["cancel"] => reply::method_not_allowed("POST"),
        _ => reply::method_not_allowed("GET, HEAD"),
    }
}

/// What is told of a run.
#[derive(Serialize)]
struct RunAnswer {
    #[serde(flatten)]
    run: Run,
    /// Why it waits for a person, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<Hold>,
}

impl RunAnswer {
    fn new(run: Run, book: &Holds) -> Self {
        Self {
            held: book.hold(&run).filter(|_| run.state == State::Queued),
            run: without_values(run),
        }
    }
}

/// What may hold one of these runs: only those that are queued can be.
async fn book<'a>(
    store: &Store,
    mut runs: impl Iterator<Item = &'a Run>,
) -> Result<Holds, StoreError> {
    if runs.any(|run| run.state == State::Queued) {
        store.book().await
    } else {
        Ok(Holds::default())
    }
}

#[derive(Serialize)]
struct Runs {
    runs: Vec<RunAnswer>,
    /// Give this as `cursor` to get the next page.
    next: Option<RunId>,
}

async fn list(context: &Context, query: &str) -> Reply {
    let Listing {
        filter,
        cursor,
        limit,
    } = match Listing::parse(query) {
        Ok(listing) => listing,
        Err(why) => return reply::error(StatusCode::BAD_REQUEST, why),
    };
    let store = &context.store;
    let page = async {
        let page = store.runs(filter, cursor, limit).await?;
        let book = book(store, page.runs.iter()).await?;
        Ok((page, book))
    };
    match page.await {
        Ok((page, book)) => {
            let runs = page.runs.into_iter();
            reply::long_success(move || Runs {
                runs: runs.map(|run| RunAnswer::new(run, &book)).collect(),
                next: page.next,
            })
            .await
        }
        Err(e) => reply::failed(&e),
    }
}

/// A binding's variables may be secrets: who reads runs is told their names only.
pub(crate) fn without_values(mut run: Run) -> Run {
    for (_, value) in &mut run.work.vars {
        *value = "(hidden)".into();
    }
    run
}

/// Which runs are asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    pub filter: RunFilter,
    pub cursor: Option<RunId>,
    pub limit: usize,
}

impl Listing {
    /// Takes a query whole, or says which of its fields is wrong.
    pub(crate) fn parse(query: &str) -> Result<Self, String> {
        let mut listing = Self {
            limit: PAGE,
            ..Self::default()
        };
        let filter = &mut listing.filter;
        for (name, value) in query::fields(query)? {
            let (name, value) = (name.as_ref(), value.as_ref());
            match name {
                "state" => filter.state = Some(query::word(name, value)?),
                "outcome" => filter.outcome = Some(query::word(name, value)?),
                "trigger" => filter.trigger = Some(query::word(name, value)?),
                "binding" => filter.binding = Some(query::name(name, value)?),
                "schedule" => filter.schedule = Some(query::name(name, value)?),
                "role" => filter.role = Some(query::name(name, value)?),
                "host" => filter.host = Some(query::name(name, value)?),
                "alertname" => filter.alertname = Some(query::name(name, value)?),
                "since" => filter.since = Some(query::time(name, value)?),
                "until" => filter.until = Some(query::time(name, value)?),
                "text" => {
                    let text = Text::new(value).map_err(|why| format!("text: {why}"))?;
                    filter.text = Some(text);
                }
                "sort" => filter.order = query::word(name, value)?,
                "cursor" => listing.cursor = Some(RunId(query::number(name, value, u64::MAX)?)),
                "limit" => {
                    let asked = query::number(name, value, PAGE_LIMIT as u64)?;
                    listing.limit = usize::try_from(asked).unwrap_or(PAGE);
                }
                _ => return Err(format!("{name}: unknown; want {FIELDS}")),
            }
        }
        if let (Some(since), Some(until)) = (filter.since, filter.until)
            && since > until
        {
            return Err("until: it is before since".to_owned());
        }
        Ok(listing)
    }
}

const FIELDS: &str = "state, outcome, trigger, binding, schedule, role, host, alertname, since, until, text, sort, cursor or limit";

#[derive(Serialize)]
struct RunDetail {
    run: RunAnswer,
    episodes: Vec<EpisodeOfRun>,
    events: Vec<TaskEvent>,
}

async fn show(context: &Context, id: RunId) -> Reply {
    let store = &context.store;
    let detail = async {
        let run = store.run(id).await?;
        let book = book(store, std::iter::once(&run)).await?;
        Ok(RunDetail {
            run: RunAnswer::new(run, &book),
            episodes: beginnings(store.episodes_of(id).await?),
            events: store.events_of(id, 0, EVENTS).await?,
        })
    };
    match detail.await {
        Ok(detail) => reply::long_success(move || detail).await,
        Err(e) => reply::failed(&e),
    }
}

/// The whole of an alert is at `/api/v1/alerts/ID`.
fn beginnings(mut episodes: Vec<EpisodeOfRun>) -> Vec<EpisodeOfRun> {
    for episode in episodes.iter_mut().filter_map(|of| of.episode.as_mut()) {
        excerpt::cut(episode);
    }
    episodes
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
    let canceled = context
        .store
        .cancel(
            id,
            context.caller.name_or("the API").to_owned(),
            clock::now(),
        )
        .await;
    if canceled.is_ok() {
        audit_note::of_run(context, "canceled", id).await;
    }
    match canceled {
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
    use crate::model::run::Trigger;
    use crate::store::Order;

    #[test]
    fn a_query_is_taken_whole_or_refused_by_its_field() {
        let listing = Listing::parse(
            "state=finished&outcome=failed&trigger=alert&role=a%20b&host=h+1&alertname=A&since=7&text=Disk&sort=oldest&cursor=7&limit=3",
        );
        let filter = RunFilter {
            state: Some(State::Finished),
            outcome: Some(Outcome::Failed),
            trigger: Some(Trigger::Alert),
            role: Some("a b".to_owned()),
            host: Some("h 1".to_owned()),
            alertname: Some("A".to_owned()),
            since: Some("1970-01-01T00:00:07Z".parse().unwrap()),
            text: Some(Text::new("Disk").unwrap()),
            order: Order::Oldest,
            ..RunFilter::default()
        };
        let wanted = Listing {
            filter,
            cursor: Some(RunId(7)),
            limit: 3,
        };
        assert_eq!(listing, Ok(wanted));
        for (query, message) in [
            ("limit=0", "limit: \"0\" is not a number from 1 to 1000"),
            (
                "cursor=x",
                "cursor: \"x\" is not a number from 1 to 18446744073709551615",
            ),
            ("before=1", &format!("before: unknown; want {FIELDS}")),
            ("role=", "role: it is empty; want a name"),
            ("text=", "text: it has 0 characters; want from 1 to 200"),
            ("since=2&until=1", "until: it is before since"),
            ("host=a&host=b", "host: given more than once"),
            (
                "sort=id",
                "sort: unknown variant `id`, expected `newest` or `oldest`",
            ),
        ] {
            assert_eq!(Listing::parse(query).unwrap_err(), message);
        }
        assert!(
            Listing::parse("state=done")
                .unwrap_err()
                .starts_with("state: unknown variant `done`")
        );
    }
}
