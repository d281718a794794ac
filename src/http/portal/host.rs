//! One host: its source, its facts and their changes, its runs.

use askama::Template;
use hyper::StatusCode;
use serde_json::Value;

use super::Answer;
use super::components::{Moment, Row, part};
use super::facts::{Described, describe};
use super::layout::{self, Frame};
use super::pending::HoldRow;
use crate::http::Context;
use crate::http::core::error::ApiError;
use crate::store::{ChangedAt, RunFilter};
use crate::util::clock;

/// The most runs to show.
const RUNS: usize = 10;

/// The most gatherings with changes, and the most changes of each, to show.
const CHANGED: usize = 10;
const CHANGES: usize = 20;

/// The longest value of a change to show. *Units*: characters.
const VALUE: usize = 120;

struct ChangeRow {
    at: Moment,
    changes: Vec<(String, String, String)>,
    more: usize,
}

#[derive(Template)]
#[template(path = "host.html")]
struct Page {
    frame: Frame,
    name: String,
    address: String,
    groups: Vec<(String, String)>,
    enrolled_at: Option<Moment>,
    conflict: String,
    held: Option<HoldRow>,
    vars: Vec<(String, String)>,
    run_link: String,
    hold_link: String,
    remove_link: String,
    runs_link: String,
    facts_link: String,
    gathered_at: Option<Moment>,
    stale: bool,
    facts: Described,
    raw: String,
    changes: Vec<ChangeRow>,
    runs: Vec<Row>,
}

pub(super) async fn page(context: &Context, name: &str) -> Answer {
    let inventory = context
        .inventory
        .fresh()
        .await
        .map_err(ApiError::unavailable)?;
    let mut conflicts = inventory.conflicts().iter();
    let conflict = conflicts
        .find(|of| of.name == name)
        .map(ToString::to_string);
    let Some(host) = inventory.host(name) else {
        let why = conflict.map_or_else(
            || format!("no host of the inventory is named {name:?}"),
            |conflict| format!("{conflict}, so it is ignored: remove it at /hosts"),
        );
        return Err(ApiError::new(StatusCode::NOT_FOUND, why));
    };
    let (store, now) = (&context.store, clock::now());
    let facts = store.facts_of(name.to_owned()).await?;
    let changes = store.fact_changes(name.to_owned()).await?;
    let filter = RunFilter {
        host: Some(name.to_owned()),
        ..RunFilter::default()
    };
    let runs = store.runs(filter, None, RUNS).await?;
    let stale_after = context.config.borrow().facts.stale_after;
    let gathered_at = facts.as_ref().map(|of| of.gathered_at);
    let age = gathered_at.and_then(|at| (now - at).to_std().ok());
    let enrolled = host.enrolled();
    let page = Page {
        frame: Frame::new(context, "/hosts"),
        name: name.to_owned(),
        address: host.address().unwrap_or_default().to_owned(),
        groups: host
            .groups()
            .map(|group| (group.to_owned(), format!("/hosts?group={}", part(group))))
            .collect(),
        enrolled_at: enrolled.map(|of| Moment(of.enrolled_at)),
        conflict: conflict.unwrap_or_default(),
        held: HoldRow::of(&store.book().await?, name, now),
        vars: enrolled
            .iter()
            .flat_map(|of| &of.vars)
            .map(|(name, value)| (name.clone(), value.to_string()))
            .collect(),
        run_link: format!("/run?hosts={}", part(name)),
        hold_link: format!("/hosts/{}/hold", part(name)),
        remove_link: format!("/hosts/{}/remove", part(name)),
        runs_link: format!("/runs?host={}", part(name)),
        facts_link: format!("/api/v1/facts/{}", part(name)),
        gathered_at: gathered_at.map(Moment),
        stale: age.is_some_and(|age| age > stale_after),
        facts: facts.as_ref().map(describe).unwrap_or_default(),
        raw: facts.map_or_else(String::new, |of| {
            serde_json::to_string_pretty(&of.facts).expect("facts are JSON")
        }),
        changes: changes.into_iter().take(CHANGED).map(changed).collect(),
        runs: runs.runs.iter().map(|run| Row::of(run, now)).collect(),
    };
    layout::page(StatusCode::OK, page).await
}

fn changed(of: ChangedAt) -> ChangeRow {
    let more = of.changes.more + of.changes.changes.len().saturating_sub(CHANGES);
    let changes = of.changes.changes.into_iter().take(CHANGES);
    ChangeRow {
        at: Moment(of.at),
        changes: changes
            .map(|change| {
                (
                    change.path,
                    short(change.old.as_ref()),
                    short(change.new.as_ref()),
                )
            })
            .collect(),
        more,
    }
}

fn short(value: Option<&Value>) -> String {
    let text = match value {
        None => return String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    match text.char_indices().nth(VALUE) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_long_value_is_cut_between_characters() {
        assert_eq!(short(None), "");
        assert_eq!(short(Some(&json!("a"))), "a");
        assert_eq!(short(Some(&json!([1, "b"]))), r#"[1,"b"]"#);
        let long = short(Some(&json!("ä".repeat(VALUE + 1))));
        assert_eq!(long, "ä".repeat(VALUE) + "…");
    }
}
