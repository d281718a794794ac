//! The form that runs roles.

use askama::Template;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::Answer;
use super::form::Form;
use super::layout::{self, Frame, Wrong};
use super::run_form::{self, Ask, Offer};
use crate::config;
use crate::http::Context;
use crate::http::api::create_run;
use crate::http::core::error::ApiError;
use crate::model::run::{Run, RunId};

#[derive(Template)]
#[template(path = "start.html")]
struct Start {
    frame: Frame,
    ask: Ask,
    again: Option<u64>,
}

pub(super) async fn page(context: &Context, query: &str) -> Answer {
    let mut form = Form::parse(query.as_bytes());
    let mut again = None;
    if !form.text("again").is_empty() {
        let id = super::number(form.text("again"))?;
        form = of_run(&context.store.run(id).await?);
        again = Some(id.0);
    }
    shown(context, &form, Wrong::default(), StatusCode::OK, again).await
}

/// Returns the form that repeats a run.
fn of_run(run: &Run) -> Form {
    let mut fields: Vec<(&str, String)> = Vec::new();
    fields.extend(run.work.roles.iter().map(|role| ("role", role.clone())));
    if run.work.controller {
        fields.push(("target", "controller".to_owned()));
    } else {
        fields.push(("target", "hosts".to_owned()));
        fields.push(("hosts", run.hosts.join(", ")));
    }
    if run.work.check {
        fields.push(("check", "on".to_owned()));
    }
    fields.push(("timeout", config::format_duration(run.work.timeout)));
    // The values may be secrets, and everyone who can read runs would see them.
    let vars = run.work.vars.keys().map(|name| format!("# {name}: …"));
    fields.push(("vars", vars.collect::<Vec<_>>().join("\n")));
    Form::of(fields)
}

async fn shown(
    context: &Context,
    form: &Form,
    wrong: Wrong,
    status: StatusCode,
    again: Option<u64>,
) -> Answer {
    let page = Start {
        frame: Frame::new(context, "/run"),
        ask: Ask::new(context, form, wrong, Offer::All),
        again,
    };
    layout::page(status, page).await
}

pub(super) async fn started(context: &Context, form: Form) -> Answer {
    match queue(context, &form).await {
        Ok(id) => Ok(layout::redirect(&format!("/runs/{id}"))),
        Err(refusal) => {
            let wrong = Wrong::new(&refusal, &run_form::FIELDS);
            shown(context, &form, wrong, refusal.status, None).await
        }
    }
}

async fn queue(context: &Context, form: &Form) -> Result<RunId, ApiError> {
    let mut body = run_form::request_body(form, Offer::All)?;
    body.insert("check".to_owned(), json!(form.is_on("check")));
    let json = Value::Object(body).to_string();
    let context = context.clone();
    // A task of its own, so that the run is queued and logged even if the browser disconnects.
    let queued = tokio::spawn(async move { create_run::queue(&context, json.as_bytes()).await });
    queued
        .await
        .map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, e))?
}
