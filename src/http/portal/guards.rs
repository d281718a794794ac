//! The forms for guards: pause, hold, release, approve, close.

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

/// The longest reason. *Units*: characters.
const WHY: usize = 1000;

/// The default duration of a hold.
const HOLD: &str = "2h";

/// The fields that can have an error.
const FIELDS: [&str; 2] = ["for", "why"];

/// The name of the caller for the audit and for messages.
pub(super) fn by(context: &Context) -> String {
    guards::name_of(context, "the portal")
}

/// A question whose answer includes a reason.
#[derive(Template)]
#[template(path = "why.html")]
struct Ask {
    frame: Frame,
    wrong: Wrong,
    title: String,
    what: String,
    action: String,
    /// The duration; `None` if the form does not ask for one.
    time: Option<String>,
    why: String,
    why_hint: &'static str,
    required: bool,
    yes: &'static str,
    danger: bool,
    back: String,
    no: &'static str,
}

/// Asks for confirmation to pause everything.
pub(super) async fn ask_pause(context: &Context, form: &Form, wrong: Option<ApiError>) -> Answer {
    if context.pause.is_some() {
        return Ok(layout::redirect("/"));
    }
    let page = Ask {
        frame: Frame::new(context, "/pause"),
        wrong: form_error(wrong.as_ref()),
        title: "Pause everything?".to_owned(),
        what: "No new run starts: not for alerts, not by schedules, not manually. Running runs continue. New runs are queued and start when someone resumes. The pause survives restarts."
            .to_owned(),
        action: "/pause".to_owned(),
        time: None,
        why: form.text("why").to_owned(),
        why_hint: "Optional. Shown on every page.",
        required: false,
        yes: "Pause everything",
        danger: true,
        back: "/".to_owned(),
        no: "Cancel",
    };
    layout::page(status(wrong.as_ref()), page).await
}

/// Pauses everything.
pub(super) async fn pause(context: &Context, form: &Form) -> Answer {
    let why = match reason(form) {
        Ok(why) => why,
        Err(refusal) => return ask_pause(context, form, Some(refusal)).await,
    };
    guards::pause(context, by(context), why).await?;
    Ok(layout::redirect("/"))
}

/// Ends the pause.
pub(super) async fn resume(context: &Context) -> Answer {
    guards::resume(context, &by(context)).await?;
    Ok(layout::redirect("/"))
}

/// Releases the runs that a storm holds: those of the named binding, or, if the name is empty, those of the global limit.
pub(super) async fn release(context: &Context, form: &Form) -> Answer {
    let binding = form.untrimmed("binding").to_owned();
    guards::release(context, Some(&binding), &by(context)).await?;
    Ok(layout::redirect("/"))
}

/// Closes the circuit of a role.
pub(super) async fn close(context: &Context, role: &str) -> Answer {
    guards::close(context, role, &by(context)).await?;
    Ok(layout::redirect(&format!("/roles/{}", part(role))))
}

/// Approves or rejects a run.
pub(super) async fn answer(context: &Context, run: RunId, approved: bool) -> Answer {
    guards::answer_approval(context, run, approved, by(context)).await?;
    Ok(layout::redirect(&format!("/runs/{run}")))
}

/// Asks for the duration and the reason of a hold.
pub(super) async fn ask_hold(
    context: &Context,
    host: &str,
    form: &Form,
    wrong: Option<ApiError>,
) -> Answer {
    check_host(context, host).await?;
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
        wrong: form_error(wrong.as_ref()),
        title: if held.is_some() {
            format!("Change the hold on {host}")
        } else {
            format!("Hold {host}")
        },
        what: "No new run starts on this host; a running one continues. Its alerts are decided again when the hold ends or someone releases the host."
            .to_owned(),
        action: format!("/hosts/{}/hold", part(host)),
        time: Some(time.to_owned()),
        why,
        why_hint: "Shown wherever the hold is shown.",
        required: true,
        yes: "Hold the host",
        danger: false,
        back: format!("/hosts/{}", part(host)),
        no: "Cancel",
    };
    layout::page(status(wrong.as_ref()), page).await
}

/// Puts a host on hold.
pub(super) async fn hold(context: &Context, host: &str, form: &Form) -> Answer {
    let wanted = match read_hold(form) {
        Ok(wanted) => wanted,
        Err(refusal) => return ask_hold(context, host, form, Some(refusal)).await,
    };
    guards::hold_host(context, host, wanted, by(context)).await?;
    Ok(layout::redirect(&format!("/hosts/{}", part(host))))
}

/// Releases a host. A host without a hold is no error: the hold may just have ended.
pub(super) async fn release_host(context: &Context, host: &str) -> Answer {
    let store = &context.store;
    if store.release_host(host.to_owned(), clock::now()).await? {
        tracing::info!(host, by = by(context), "host released");
    }
    Ok(layout::redirect(&format!("/hosts/{}", part(host))))
}

async fn check_host(context: &Context, host: &str) -> Result<(), ApiError> {
    let inventory = context.inventory.fresh().await;
    let inventory = inventory.map_err(ApiError::unavailable)?;
    if inventory.host(host).is_some() {
        return Ok(());
    }
    let why = format_args!("no host of the inventory is named {host:?}");
    Err(ApiError::new(StatusCode::NOT_FOUND, why))
}

fn form_error(wrong: Option<&ApiError>) -> Wrong {
    wrong.map_or_else(Wrong::default, |refusal| Wrong::new(refusal, &FIELDS))
}

fn status(wrong: Option<&ApiError>) -> StatusCode {
    wrong.map_or(StatusCode::OK, |refusal| refusal.status)
}

/// Reads the hold from the form. Without a duration, it lasts until someone releases the host.
fn read_hold(form: &Form) -> Result<Hold, ApiError> {
    let text = form.text("for");
    let time = match (text, parse_duration(text)) {
        ("", _) => None,
        (_, Ok(time)) if time >= Duration::from_secs(1) => Some(time),
        (_, Ok(_)) => {
            return Err(ApiError::bad(
                "for: too short; enter 1s or more, or nothing to hold the host until someone releases it",
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
        return Err(ApiError::bad("why: a reason is required"));
    }
    Ok(Hold { time, why })
}

fn reason(form: &Form) -> Result<String, ApiError> {
    let why = form.text("why");
    let length = why.chars().count();
    if length > WHY {
        return Err(ApiError::bad(format_args!(
            "why: {length} characters; at most {WHY} are allowed"
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
            read_hold(&Form::parse(text.as_bytes()))
                .map(|hold| (hold.time, hold.why))
                .map_err(|e| e.why)
        };
        let held = |time| Ok((time, "a new disk".to_owned()));
        let two = Some(Duration::from_hours(2));
        assert_eq!(read("for=2h&why=+a+new+disk+"), held(two));
        assert_eq!(read("for=&why=a+new+disk"), held(None));
        for (form, why) in [
            ("for=2h", "why: a reason is required"),
            ("for=0&why=x", "for: too short"),
            ("for=two&why=x", "for: \"two\": expected a number before"),
        ] {
            let found = read(form).unwrap_err();
            assert!(found.starts_with(why), "{form}: {found}");
        }
        let long = format!("why={}", "x".repeat(WHY + 1));
        assert!(read(&long).unwrap_err().contains("1001 characters"));
    }
}
