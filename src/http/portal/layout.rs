//! The frame around every page, the errors of forms, and the error page.

use askama::Template;
use hyper::StatusCode;
use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderValue, LOCATION, REFERRER_POLICY, X_FRAME_OPTIONS,
};

use crate::http::Context;
use crate::http::api::misdirected;
use crate::http::core::error::ApiError;
use crate::http::core::reply::{self, Reply};
use crate::http::portal::Answer;
use crate::http::portal::assets::{ICON, SCRIPT, STYLE};
use crate::http::portal::components::Moment;
use crate::http::portal::form;
use crate::model::identity::{AuthMethod, Scope};

/// Allows only our own files, and forbids other sites to frame our pages.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// The data of the frame around every page.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// The path of the current entry in the navigation.
    pub here: &'static str,
    /// The user who signed in with the form and can sign out.
    pub signed_in: Option<String>,
    /// Whether the user may pause everything and resume.
    pub operates: bool,
    /// The pause: its start, its author and its reason.
    pub paused: Option<(Moment, String, String)>,
    pub version: &'static str,
    pub metrics: String,
    /// The URL that receives notifications.
    pub receiver: String,
    pub style: String,
    pub script: String,
    pub icon: String,
}

impl Frame {
    pub(super) fn new(context: &Context, here: &'static str) -> Self {
        let caller = &context.caller;
        Self {
            here,
            signed_in: caller
                .name
                .clone()
                .filter(|_| caller.proof == AuthMethod::Session),
            operates: here != "/login" && caller.scopes.allow(Scope::Operate),
            paused: context
                .pause
                .as_ref()
                .map(|pause| (Moment(pause.since), pause.by.clone(), pause.why.clone())),
            version: crate::util::build::LONG,
            metrics: context.telemetry_path.to_string(),
            receiver: misdirected::receiver(context),
            style: STYLE.path(),
            script: SCRIPT.path(),
            icon: ICON.path(),
        }
    }

    /// The pages of the navigation.
    pub(super) const PAGES: [(&'static str, &'static str); 7] = [
        ("/", "Overview"),
        ("/runs", "Runs"),
        ("/alerts", "Alerts"),
        ("/schedules", "Schedules"),
        ("/roles", "Roles"),
        ("/hosts", "Hosts"),
        ("/run", "Run a role"),
    ];
}

/// Renders a page on a blocking thread, so that it does not hold up other connections.
pub(super) async fn page(status: StatusCode, template: impl Template + Send + 'static) -> Answer {
    let broken = |why: &dyn std::fmt::Display| {
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format_args!("cannot render the page: {why}"),
        )
    };
    let text = tokio::task::spawn_blocking(move || template.render()).await;
    let text = text.map_err(|e| broken(&e))?.map_err(|e| broken(&e))?;
    Ok(guarded(reply::html(status, text)))
}

fn guarded(mut reply: Reply) -> Reply {
    let headers = reply.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    // With no-referrer, a browser would not send the origin of a form either.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    reply
}

/// Redirects to another page after a form was accepted.
pub(super) fn redirect(path: &str) -> Reply {
    let mut reply = reply::text(StatusCode::SEE_OTHER, path);
    let value = HeaderValue::from_str(path).expect("our own paths are a header's value");
    reply.headers_mut().insert(LOCATION, value);
    guarded(reply)
}

/// The error of a form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The field; empty for the whole form.
    pub field: &'static str,
    /// The error; empty if there is none.
    pub why: String,
}

impl Wrong {
    pub(super) fn new(refusal: &ApiError, fields: &[&'static str]) -> Self {
        let (field, why) = form::at_field(&refusal.why, fields);
        Self {
            field,
            why: why.to_owned(),
        }
    }

    /// The error to show at this field.
    pub(super) fn at(&self, field: &str) -> &str {
        if self.field == field { &self.why } else { "" }
    }

    /// The ARIA attributes of a field: they refer to its hint and its error.
    pub(super) fn aria(&self, field: &str) -> String {
        if self.at(field).is_empty() {
            format!(r#"aria-describedby="{field}-hint""#)
        } else {
            format!(r#"aria-invalid="true" aria-describedby="{field}-error {field}-hint""#)
        }
    }
}

#[derive(Template)]
#[template(path = "trouble.html")]
struct Trouble {
    frame: Frame,
    title: &'static str,
    why: String,
    status: u16,
}

/// The error page.
pub(super) async fn trouble(context: &Context, refusal: ApiError) -> Reply {
    let title = match refusal.status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::CONFLICT => "Not possible",
        StatusCode::SERVICE_UNAVAILABLE => "Temporarily unavailable",
        status if status.is_client_error() => "Invalid request",
        _ => "Internal error",
    };
    let page = page(
        refusal.status,
        Trouble {
            frame: Frame::new(context, ""),
            title,
            why: refusal.why,
            status: refusal.status.as_u16(),
        },
    );
    page.await.unwrap_or_else(|broken| broken.reply())
}
