//! `/api/v1/runs…`: lists runs, shows a run and its output, cancels a run. [`crate::http::api::create_run`] starts runs.

use hyper::{Method, StatusCode};
use serde::Serialize;

use crate::http::Context;
use crate::http::core::reply::{self, Reply};
use crate::http::core::{audit_note, excerpt, query};
use crate::model::guards::{Hold, Holds};
use crate::model::run::{Outcome, Run, RunId, State, TaskEvent};
use crate::store::{Canceled, EpisodeOfRun, RunFilter, Store, StoreError, Text};
use crate::util::clock;

/// The default number of runs on a page.
const PAGE: usize = 50;

/// The maximum number of runs on a page.
const PAGE_LIMIT: usize = 1000;

/// The maximum number of shown events of a run.
const EVENTS: usize = 20_000;

/// Handles `runs`; `parts` is the path after it.
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

/// The JSON of a run.
#[derive(Serialize)]
struct RunAnswer {
    #[serde(flatten)]
    run: Run,
    /// Why the run is held, if it is.
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

/// Returns the holds that may apply to these runs. Reads the store only if one is queued: others cannot be held.
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
    /// The `cursor` of the next page.
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

/// Hides the values of a run's variables: those of a binding may be secrets, so the API shows only their names.
pub(crate) fn without_values(mut run: Run) -> Run {
    for (_, value) in &mut run.work.vars {
        *value = "(hidden)".into();
    }
    run
}

/// The query for a list of runs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    pub filter: RunFilter,
    pub cursor: Option<RunId>,
    pub limit: usize,
}

impl Listing {
    /// Parses a query. *Errors*: names the invalid field.
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
                    let limit = query::number(name, value, PAGE_LIMIT as u64)?;
                    listing.limit = usize::try_from(limit).unwrap_or(PAGE);
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

/// Shortens the texts of episodes. `/api/v1/alerts/ID` has the full texts.
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
    /// `ended` or `ending`.
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
        // The worker logs the end of the run.
        Ok(Canceled::Ending) => {
            tracing::info!(run = id.0, "cancel requested");
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
    fn a_query_is_parsed_or_its_invalid_field_named() {
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
            ("text=", "text: it has 0 characters; want 1 to 200"),
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
