//! One schedule: read-only if it comes from the configuration file, a form if it was created in the portal or over the API.
//! The form can preview the next times before anything is saved.

use askama::Template;
use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::Answer;
use super::components::{Moment, part};
use super::form::Form;
use super::layout::{self, Frame, Wrong};
use super::managed;
use super::run_form::{self, Ask, Offer};
use super::schedules::{self, NEXT, ScheduleRow};
use crate::config::{ManagedKind, Origin};
use crate::http::Context;
use crate::http::core::error::ApiError;
use crate::model::schedule::Cron;
use crate::util::clock;
use crate::util::zone::Zone;

/// The fields that can have an error.
const FIELDS: [&str; 9] = [
    "name", "cron", "timezone", "roles", "target", "vars", "timeout", "jitter", "grace",
];

/// The text fields of the form that the configuration has under the same name.
const TEXTS: [&str; 5] = ["cron", "timezone", "missed", "jitter", "grace"];

#[derive(Template)]
#[template(path = "schedule.html")]
struct Page {
    frame: Frame,
    ask: Ask,
    form: Form,
    name: String,
    old: bool,
    revision: String,
    action: String,
    conflict: String,
    zones: Vec<&'static str>,
    described: String,
    next: Vec<Moment>,
}

#[derive(Template)]
#[template(path = "schedule_shown.html")]
struct Shown {
    frame: Frame,
    row: ScheduleRow,
}

pub(super) async fn new(context: &Context, query: &str) -> Answer {
    let form = Form::parse(query.as_bytes());
    shown(context, form, Wrong::default(), StatusCode::OK, None).await
}

/// Shows an existing schedule.
pub(super) async fn one(context: &Context, name: &str) -> Answer {
    let config = context.config.borrow().clone();
    let mut of_file = config
        .schedules
        .iter()
        .filter(|of| of.origin == Origin::File);
    if of_file.any(|of| of.name == name) {
        let mut rows = schedules::rows(context).await?.into_iter();
        let row = rows.find(|row| row.name == name);
        let gone = || ApiError::new(StatusCode::NOT_FOUND, "the schedule was removed just now");
        let page = Shown {
            frame: Frame::new(context, "/schedules"),
            row: row.ok_or_else(gone)?,
        };
        return layout::page(StatusCode::OK, page).await;
    }
    let kept = managed::found(context, ManagedKind::Schedule, name).await?;
    let typed = managed::typed(&kept);
    let mut fields = run_form::fields_of(&typed);
    fields.push(("revision", kept.revision.to_string()));
    for field in TEXTS {
        if let Some(text) = typed.get(field).and_then(Value::as_str) {
            fields.push((field, text.to_owned()));
        }
    }
    shown(
        context,
        Form::of(fields),
        Wrong::default(),
        StatusCode::OK,
        Some(name),
    )
    .await
}

async fn shown(
    context: &Context,
    form: Form,
    wrong: Wrong,
    status: StatusCode,
    old: Option<&str>,
) -> Answer {
    let config = context.config.borrow().clone();
    let mut conflicts = config
        .conflicts
        .iter()
        .filter(|of| of.kind == ManagedKind::Schedule);
    let conflict = conflicts.find(|of| Some(of.name.as_str()) == old);
    let (described, next) = times(&form).unwrap_or_default();
    let page = Page {
        frame: Frame::new(context, "/schedules"),
        ask: Ask::new(context, &form, wrong, Offer::Routine),
        name: old.unwrap_or(form.text("name")).to_owned(),
        old: old.is_some(),
        revision: form.text("revision").to_owned(),
        action: old.map_or("/schedule".to_owned(), |name| {
            format!("/schedules/{}", part(name))
        }),
        conflict: conflict.map(|of| of.why.clone()).unwrap_or_default(),
        zones: Zone::names().collect(),
        described,
        next,
        form,
    };
    layout::page(status, page).await
}

/// Describes the cron expression and lists its next times.
fn times(form: &Form) -> Result<(String, Vec<Moment>), ApiError> {
    if form.text("cron").is_empty() {
        return Ok((String::new(), Vec::new()));
    }
    let cron: Result<Cron, _> = form.text("cron").parse();
    let cron = cron.map_err(|e| ApiError::bad(format_args!("cron: {e}")))?;
    let zone = match form.text("timezone") {
        "" => Zone::UTC,
        zone => zone
            .parse()
            .map_err(|e| ApiError::bad(format_args!("timezone: {e}")))?,
    };
    let first = cron.after(&zone, clock::now());
    let next = std::iter::successors(first, |time| cron.after(&zone, *time));
    Ok((
        schedules::described(&cron),
        next.take(NEXT).map(Moment).collect(),
    ))
}

/// Saves the form, or only previews the next times.
pub(super) async fn keep(context: &Context, form: Form, old: Option<&str>) -> Answer {
    let saved = async {
        times(&form)?;
        if form.is_on("preview") {
            return Ok(None);
        }
        let body = request_body(&form, old)?;
        let name = managed::put(context, ManagedKind::Schedule, old, body, &form).await?;
        Ok(Some(name))
    };
    match saved.await {
        Ok(Some(name)) => Ok(layout::redirect(&format!(
            "/schedules#schedule-{}",
            part(&name)
        ))),
        Ok(None) => shown(context, form, Wrong::default(), StatusCode::OK, old).await,
        Err(refusal) => {
            let wrong = Wrong::new(&refusal, &FIELDS);
            shown(context, form, wrong, refusal.status, old).await
        }
    }
}

/// Converts the form to the body of an API request.
fn request_body(form: &Form, old: Option<&str>) -> Result<Map<String, Value>, ApiError> {
    let mut body = Map::new();
    body.insert("name".to_owned(), json!(old.unwrap_or(form.text("name"))));
    for field in TEXTS {
        let text = form.text(field);
        if !text.is_empty() {
            body.insert(field.to_owned(), json!(text));
        }
    }
    body.extend(run_form::request_body(form, Offer::Routine)?);
    let mode = if form.is_on("check") { "check" } else { "run" };
    body.insert("mode".to_owned(), json!(mode));
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_becomes_what_the_api_takes() {
        let form = Form::parse(b"name=dns&cron=%2A%2F15+%2A+%2A+%2A+%2A&timezone=Asia%2FShanghai&missed=once&jitter=&role=check_dns&target=group&group=web&check=on");
        assert_eq!(
            Value::Object(request_body(&form, None).unwrap()).to_string(),
            r#"{"name":"dns","cron":"*/15 * * * *","timezone":"Asia/Shanghai","missed":"once","roles":["check_dns"],"target":{"group":"web"},"vars":{},"mode":"check"}"#
        );
    }

    #[test]
    fn the_next_times_are_told_before_anything_is_kept() {
        let (described, next) = times(&Form::parse(b"cron=0+3+%2A+%2A+%2A")).unwrap();
        assert!(!described.is_empty());
        assert_eq!(next.len(), NEXT);
        let why = times(&Form::parse(b"cron=61+%2A+%2A+%2A+%2A"))
            .unwrap_err()
            .why;
        assert!(why.starts_with("cron: "), "{why}");
        let why = times(&Form::parse(b"cron=%40daily&timezone=Mars%2FX"))
            .unwrap_err()
            .why;
        assert!(why.starts_with("timezone: "), "{why}");
    }
}
