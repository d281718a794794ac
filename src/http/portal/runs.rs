//! The history of runs, newest first, with filters.

use askama::Template;
use hyper::StatusCode;

use super::Answer;
use super::components::Row;
use super::form::Form;
use super::layout::{self, Frame};
use crate::http::Context;
use crate::http::api::runs::Listing;
use crate::model::run::{Outcome, State, Trigger};
use crate::util::clock;

/// The number of runs per page.
const PAGE: usize = 50;

#[derive(Template)]
#[template(path = "runs.html")]
struct Runs {
    frame: Frame,
    rows: Vec<Row>,
    form: Form,
    filtered: bool,
    wrong: String,
    states: Vec<&'static str>,
    roles: Vec<String>,
    bindings: Vec<String>,
    schedules: Vec<String>,
    triggers: Vec<&'static str>,
    first: String,
    next: String,
}

impl Runs {
    /// Whether a choice is the selected one.
    fn is(&self, field: &str, value: &str) -> bool {
        self.form.text(field) == value
    }
}

pub(super) async fn page(context: &Context, query: &str) -> Answer {
    let form = Form::parse(query.as_bytes());
    let query = api_query(&form);
    let config = context.config.borrow().clone();
    let (mut status, mut wrong) = (StatusCode::OK, String::new());
    let (mut rows, mut next) = (Vec::new(), String::new());
    match Listing::parse(&query) {
        Ok(Listing { filter, cursor, .. }) => {
            let page = context.store.runs(filter, cursor, PAGE).await?;
            let now = clock::now();
            rows = page.runs.iter().map(|run| Row::of(run, now)).collect();
            if let Some(id) = page.next {
                next = format!("/runs?{}", with(&form, Some(&id.to_string())));
            }
        }
        Err(why) => {
            status = StatusCode::BAD_REQUEST;
            wrong = why;
        }
    }
    let first = match form.text("cursor") {
        "" => String::new(),
        _ => format!("/runs?{}", with(&form, None)),
    };
    let roles = [config.roles.alert.as_slice(), &config.roles.routine].concat();
    let filtered = form.pairs().any(|(name, _)| name != "cursor");
    let page = Runs {
        frame: Frame::new(context, "/runs"),
        rows,
        filtered,
        wrong,
        states: [State::Queued.as_str(), State::Running.as_str()]
            .into_iter()
            .chain(Outcome::ALL.iter().map(|outcome| outcome.as_str()))
            .collect(),
        roles,
        bindings: config.bindings.iter().map(|b| b.name.clone()).collect(),
        schedules: config.schedules.iter().map(|s| s.name.clone()).collect(),
        triggers: Trigger::ALL
            .iter()
            .map(|trigger| trigger.as_str())
            .collect(),
        form,
        first,
        next,
    };
    layout::page(status, page).await
}

/// Converts the form to a query of the API. The field `state` of the form also has the outcomes.
fn api_query(form: &Form) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form.pairs() {
        let ends = Outcome::ALL.iter().any(|outcome| outcome.as_str() == value);
        let name = if name == "state" && ends {
            "outcome"
        } else {
            name
        };
        query.append_pair(name, value);
    }
    query.finish()
}

fn with(form: &Form, cursor: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(form.pairs().filter(|(name, _)| *name != "cursor"));
    query.extend_pairs(cursor.map(|id| ("cursor", id)));
    query.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_among_the_states_is_asked_for_as_one() {
        let form = Form::parse(b"state=failed&role=&host=a+b&cursor=7");
        assert_eq!(api_query(&form), "outcome=failed&host=a+b&cursor=7");
        assert_eq!(with(&form, Some("3")), "state=failed&host=a+b&cursor=3");
        assert_eq!(api_query(&Form::parse(b"state=queued")), "state=queued");
    }
}
