//! What a person does about guards: pauses everything, holds a host, and lets go.

use std::time::Duration;

use askama::Template;
use hyper::StatusCode;

use super::Answer;
use super::components::part;
use super::form::Form;
use super::layout::{self, Frame, Wrong};
use super::pending::HoldRow;
use crate::http::Context;
use crate::http::api::guards::{self, Hold};
use crate::http::core::error::ApiError;
use crate::model::run::RunId;
use crate::util::clock;
use crate::util::units::{DURATION_HELP, parse_duration};

/// How long a reason may be. *Units*: characters.
const WHY: usize = 1000;

/// How long a host is held where nothing else is typed.
const HOLD: &str = "2h";

/// The fields that an error can be at.
const FIELDS: [&str; 2] = ["for", "why"];

/// In whose name something is done here.
pub(super) fn by(context: &Context) -> String {
    guards::name_of(context, "the portal")
}

/// A question with a reason in its answer.
#[derive(Template)]
#[template(path = "why.html")]
struct Ask {
    frame: Frame,
    wrong: Wrong,
    title: String,
    what: String,
    action: String,
    /// For how long; `None` where that is not asked.
    time: Option<String>,
    why: String,
    why_hint: &'static str,
    required: bool,
    yes: &'static str,
    danger: bool,
    back: String,
    no: &'static str,
}

/// Asks whether everything is to be paused.
pub(super) async fn ask_pause(context: &Context, form: &Form, wrong: Option<ApiError>) -> Answer {
    if context.pause.is_some() {
        return Ok(layout::see("/"));
    }
    let page = Ask {
        frame: Frame::new(context, "/pause"),
        wrong: said(wrong.as_ref()),
        title: "Pause everything?".to_owned(),
        what: "Nothing more is started: not for alerts, not by schedules, not by hand. What runs now goes on. What comes meanwhile is queued, and starts when somebody resumes; a restart changes nothing of that."
            .to_owned(),
        action: "/pause".to_owned(),
        time: None,
        why: form.text("why").to_owned(),
        why_hint: "Whoever finds it paused reads it on every page. It may be empty: there is no time to lose.",
        required: false,
        yes: "Pause everything",
        danger: true,
        back: "/".to_owned(),
        no: "Let it go on",
    };
    layout::page(status(wrong.as_ref()), page).await
}

/// Starts nothing more.
pub(super) async fn pause(context: &Context, form: &Form) -> Answer {
    let why = match reason(form) {
        Ok(why) => why,
        Err(refusal) => return ask_pause(context, form, Some(refusal)).await,
    };
    guards::pause(context, by(context), why).await?;
    Ok(layout::see("/"))
}

/// Starts runs again.
pub(super) async fn resume(context: &Context) -> Answer {
    guards::resume(context, &by(context)).await?;
    Ok(layout::see("/"))
}

/// Lets go what a storm holds: of the binding that is named, or of all together where the name is empty.
pub(super) async fn release(context: &Context, form: &Form) -> Answer {
    let binding = form.untrimmed("binding").to_owned();
    guards::release(context, Some(&binding), &by(context)).await?;
    Ok(layout::see("/"))
}

/// Forgets a role's failures, so that it runs again.
pub(super) async fn close(context: &Context, role: &str) -> Answer {
    guards::close(context, role, &by(context)).await?;
    Ok(layout::see(&format!("/roles/{}", part(role))))
}

/// Consents to a run that waits for it, or ends it.
pub(super) async fn answer(context: &Context, run: RunId, approved: bool) -> Answer {
    guards::answer_approval(context, run, approved, by(context)).await?;
    Ok(layout::see(&format!("/runs/{run}")))
}

/// Asks for how long a host is to be left alone, and why.
pub(super) async fn ask_hold(
    context: &Context,
    host: &str,
    form: &Form,
    wrong: Option<ApiError>,
) -> Answer {
    known(context, host).await?;
    let book = context.store.book().await?;
    let held = HoldRow::of(&book, host, clock::now());
    let typed = wrong.is_some();
    let time = if typed { form.text("for") } else { HOLD };
    let why = match &held {
        Some(row) if !typed => row.why.clone(),
        _ => form.text("why").to_owned(),
    };
    let page = Ask {
        frame: Frame::new(context, "/hosts"),
        wrong: said(wrong.as_ref()),
        title: if held.is_some() {
            format!("Hold {host} for longer, or shorter")
        } else {
            format!("Hold {host}")
        },
        what: "No run touches it meanwhile, but for one that is under way there. What alerts ask for is decided again when the time is up or somebody releases it."
            .to_owned(),
        action: format!("/hosts/{}/hold", part(host)),
        time: Some(time.to_owned()),
        why,
        why_hint: "Whoever finds it held has to know.",
        required: true,
        yes: "Hold the host",
        danger: false,
        back: format!("/hosts/{}", part(host)),
        no: "Back",
    };
    layout::page(status(wrong.as_ref()), page).await
}

/// Leaves a host alone.
pub(super) async fn hold(context: &Context, host: &str, form: &Form) -> Answer {
    let wanted = match asked(form) {
        Ok(wanted) => wanted,
        Err(refusal) => return ask_hold(context, host, form, Some(refusal)).await,
    };
    guards::hold_host(context, host, wanted, by(context)).await?;
    Ok(layout::see(&format!("/hosts/{}", part(host))))
}

/// Ends a host's hold. That it has none is no fault: its time was up.
pub(super) async fn release_host(context: &Context, host: &str) -> Answer {
    let store = &context.store;
    if store.release_host(host.to_owned(), clock::now()).await? {
        tracing::info!(host, by = by(context), "a host is released");
    }
    Ok(layout::see(&format!("/hosts/{}", part(host))))
}

async fn known(context: &Context, host: &str) -> Result<(), ApiError> {
    let inventory = context.inventory.fresh().await;
    let inventory = inventory.map_err(ApiError::unavailable)?;
    if inventory.host(host).is_some() {
        return Ok(());
    }
    let why = format_args!("no host of the inventory is named {host:?}");
    Err(ApiError::new(StatusCode::NOT_FOUND, why))
}

fn said(wrong: Option<&ApiError>) -> Wrong {
    wrong.map_or_else(Wrong::default, |refusal| Wrong::new(refusal, &FIELDS))
}

fn status(wrong: Option<&ApiError>) -> StatusCode {
    wrong.map_or(StatusCode::OK, |refusal| refusal.status)
}

/// For how long, or until somebody releases it; and why.
fn asked(form: &Form) -> Result<Hold, ApiError> {
    let text = form.text("for");
    let time = match (text, parse_duration(text)) {
        ("", _) => None,
        (_, Ok(time)) if time >= Duration::from_secs(1) => Some(time),
        (_, Ok(_)) => {
            return Err(ApiError::bad(
                "for: it is too short; want 1s or more, or nothing to hold it until somebody releases it",
            ));
        }
        (_, Err(e)) => {
            return Err(ApiError::bad(format_args!(
                "for: {text:?}: {e}; {DURATION_HELP}"
            )));
        }
    };
    let why = reason(form)?;
    if why.is_empty() {
        return Err(ApiError::bad(
            "why: it is missing; say it to whoever finds the host held",
        ));
    }
    Ok(Hold { time, why })
}

fn reason(form: &Form) -> Result<String, ApiError> {
    let why = form.text("why");
    let length = why.chars().count();
    if length > WHY {
        return Err(ApiError::bad(format_args!(
            "why: it has {length} characters; want at most {WHY}"
        )));
    }
    Ok(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_read_or_refused_by_its_field() {
        let read = |text: &str| {
            asked(&Form::parse(text.as_bytes()))
                .map(|hold| (hold.time, hold.why))
                .map_err(|e| e.why)
        };
        let held = |time| Ok((time, "a new disk".to_owned()));
        let two = Some(Duration::from_hours(2));
        assert_eq!(read("for=2h&why=+a+new+disk+"), held(two));
        assert_eq!(read("for=&why=a+new+disk"), held(None));
        for (form, why) in [
            ("for=2h", "why: it is missing"),
            ("for=0&why=x", "for: it is too short"),
            ("for=two&why=x", "for: \"two\": a number must stand before"),
        ] {
            let found = read(form).unwrap_err();
            assert!(found.starts_with(why), "{form}: {found}");
        }
        let long = format!("why={}", "x".repeat(WHY + 1));
        assert!(read(&long).unwrap_err().contains("1001 characters"));
    }
}
