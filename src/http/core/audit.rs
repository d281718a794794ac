//! The audit list, and `/api/v1/audit`.
//!
//! A change request is recorded before anything acts on it; if that fails, it is rejected. Its result is recorded when it is
//! done. Notifications are not recorded: their decisions are kept with their alerts.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};

use crate::http::Context;
use crate::http::core::path;
use crate::http::core::query;
use crate::http::core::reply::{self, Reply};
use crate::model::identity::{AuthMethod, Scope};
use crate::store::{AuditAction, AuditEntry, StoreError};
use crate::util::clock;

/// The default number of entries on a page.
const PAGE: usize = 50;

/// The maximum number of entries on a page.
const PAGE_LIMIT: usize = 1000;

/// Answers a request. Records it if it changes something and its caller has the permission.
///
/// Requests without permission are unlimited in number: they are counted, and some are logged (see
/// [`crate::http::core::reject_log`]).
pub(crate) async fn answer<F>(
    context: &Context,
    request: Request<Incoming>,
    answer: impl FnOnce(Context, Request<Incoming>) -> F,
) -> Reply
where
    F: Future<Output = Reply> + Send + 'static,
{
    let is_allowed = context.caller.scopes.allow(Scope::Operate);
    if !is_allowed || !changes(request.method(), request.uri().path()) {
        return answer(context.clone(), request).await;
    }
    let entry = entry(context, request.method(), request.uri().path());
    let recording = context.store.audit(entry);
    let id = match tokio::time::timeout(max_wait(request.uri().path()), recording).await {
        Ok(Ok(id)) => id,
        Ok(Err(e)) => return reply::failed(&e),
        Err(_) => {
            tracing::error!(
                "the store does not answer: a cancel proceeds before it is in the audit list"
            );
            return answer(context.clone(), request).await;
        }
    };
    // The client may disconnect while the request is handled. The result is recorded all the same.
    let context = context.clone();
    let answering = answer(context.clone(), request);
    let answered = tokio::spawn(async move {
        let reply = answering.await;
        ended(&context, id, reply.status().as_u16()).await;
        reply
    });
    answered.await.unwrap_or_else(|_| {
        reply::error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the request failed; see the log",
        )
    })
}

/// Records that a user signed in with the form, before the cookie is sent.
pub(crate) async fn signed_in(context: &Context, user: &str) -> Result<(), StoreError> {
    let mut entry = entry(context, &Method::POST, SIGN_IN);
    (entry.who, entry.proof) = (Some(user.to_owned()), AuthMethod::Password);
    entry.status = Some(StatusCode::SEE_OTHER.as_u16());
    entry.deed.summary = Some("signed in".to_owned());
    context.store.audit(entry).await.map(|_| ())
}

/// The longest wait for the entry. A run can be canceled even while the disk hangs: the entry is written as soon as the disk
/// responds.
fn max_wait(path: &str) -> Duration {
    if path.ends_with("/cancel") {
        Duration::from_secs(2)
    } else {
        Duration::MAX
    }
}

async fn ended(context: &Context, id: u64, status: u16) {
    let deed = context.note.deed();
    if let Err(e) = context.store.audited(id, status, deed).await {
        tracing::error!(id, status, error = %e, "cannot write the result of a request to the audit list");
    }
}

/// The path of the sign-in form. It is recorded only if the password is right.
const SIGN_IN: &str = "/login";

fn changes(method: &Method, path: &str) -> bool {
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    !reads && !matches!(path, path::WEBHOOK | SIGN_IN) && !path.starts_with("/assets/")
}

fn entry(context: &Context, method: &Method, path: &str) -> AuditEntry {
    /// No path of ours is longer.
    const LONGEST: usize = 512;
    let address = context.peer.as_ref().map(|peer| peer.shown());
    AuditEntry {
        id: 0,
        at: clock::now(),
        who: context.caller.name.clone(),
        proof: context.caller.proof,
        address: address.unwrap_or_default(),
        method: method.to_string(),
        path: path.chars().take(LONGEST).collect(),
        status: None,
        deed: AuditAction::default(),
    }
}

pub(crate) async fn list(context: &Context, method: &Method, query: &str) -> Reply {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return reply::method_not_allowed("GET, HEAD");
    }
    let (before, limit) = match asked(query) {
        Ok(asked) => asked,
        Err(why) => return reply::error(StatusCode::BAD_REQUEST, why),
    };
    match context.store.audit_page(before, limit).await {
        Ok(page) => reply::success(&page),
        Err(e) => reply::failed(&e),
    }
}

pub(crate) fn asked(query: &str) -> Result<(Option<u64>, usize), String> {
    let (mut before, mut limit) = (None, PAGE);
    for (name, value) in query::fields(query)? {
        match &*name {
            "cursor" => before = Some(query::number("cursor", &value, u64::MAX)?),
            "limit" => {
                let number = query::number("limit", &value, PAGE_LIMIT as u64)?;
                limit = usize::try_from(number).unwrap_or(PAGE_LIMIT);
            }
            _ => return Err(format!("{name}: unknown; want cursor or limit")),
        }
    }
    Ok((before, limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_parsed_or_its_invalid_field_named() {
        assert_eq!(asked(""), Ok((None, PAGE)));
        assert_eq!(asked("cursor=7&limit=2"), Ok((Some(7), 2)));
        for (query, why) in [
            ("limit=0", "limit: \"0\" is not a number from 1 to 1000"),
            ("before=1", "before: unknown; want cursor or limit"),
            ("limit=1&limit=1", "limit: given more than once"),
        ] {
            assert_eq!(asked(query).unwrap_err(), why);
        }
    }

    #[test]
    fn reads_and_notifications_are_not_recorded() {
        for (method, path, recorded) in [
            (Method::GET, "/api/v1/runs", false),
            (Method::HEAD, "/", false),
            (Method::OPTIONS, "/", false),
            (Method::POST, path::WEBHOOK, false),
            (Method::POST, "/login", false),
            (Method::POST, "/assets/x", false),
            (Method::POST, "/logout", true),
            (Method::POST, "/api/v1/runs", true),
            (Method::PUT, "/-/reload", true),
            (Method::DELETE, "/api/v1/hosts/a", true),
            (Method::from_bytes(b"BREW").unwrap(), "/", true),
        ] {
            assert_eq!(changes(&method, path), recorded, "{method} {path}");
        }
    }
}
