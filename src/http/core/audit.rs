//! `/api/v1/audit`, and what is entered there.
//!
//! A request that changes something is entered before anything acts on it; where that cannot be, it is refused. What it did is
//! entered when it has done it. Posted notifications are not entered: what was made of them is kept with their alerts.

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

/// How many entries a page holds where nothing is said.
const PAGE: usize = 50;

/// How many it holds at most.
const PAGE_LIMIT: usize = 1000;

/// Has a request answered, and enters it if it changes something and its caller may.
///
/// Of those who may not there may be any number: they are counted, and some are in the log (see [`crate::http::core::reject_log`]).
pub(crate) async fn answer<F>(
    context: &Context,
    request: Request<Incoming>,
    answer: impl FnOnce(Context, Request<Incoming>) -> F,
) -> Reply
where
    F: Future<Output = Reply> + Send + 'static,
{
    let may = context.caller.scopes.allow(Scope::Operate);
    if !may || !changes(request.method(), request.uri().path()) {
        return answer(context.clone(), request).await;
    }
    let entry = entry(context, request.method(), request.uri().path());
    let entering = context.store.audit(entry);
    let id = match tokio::time::timeout(patience(request.uri().path()), entering).await {
        Ok(Ok(id)) => id,
        Ok(Err(e)) => return reply::failed(&e),
        Err(_) => {
            tracing::error!(
                "a cancel is let through before it is in the audit list: the store does not answer"
            );
            return answer(context.clone(), request).await;
        }
    };
    // The client may go away while the answer is made. What became of it is entered all the same.
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
            "this could not be done; see the log",
        )
    })
}

/// Enters that a user signed in by the form, before he gets his cookie.
pub(crate) async fn signed_in(context: &Context, user: &str) -> Result<(), StoreError> {
    let mut entry = entry(context, &Method::POST, SIGN_IN);
    (entry.who, entry.proof) = (Some(user.to_owned()), AuthMethod::Password);
    entry.status = Some(StatusCode::SEE_OTHER.as_u16());
    entry.deed.summary = Some("signed in".to_owned());
    context.store.audit(entry).await.map(|_| ())
}

/// How long an entry is waited for. A run is ended also while the disk hangs: the entry is written as soon as it answers.
fn patience(path: &str) -> Duration {
    if path.ends_with("/cancel") {
        Duration::from_secs(2)
    } else {
        Duration::MAX
    }
}

async fn ended(context: &Context, id: u64, status: u16) {
    let deed = context.note.deed();
    if let Err(e) = context.store.audited(id, status, deed).await {
        tracing::error!(id, status, error = %e, "what became of a request is not in the audit list");
    }
}

/// Where people sign in. That is entered only when the password was right.
const SIGN_IN: &str = "/login";

fn changes(method: &Method, path: &str) -> bool {
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    !reads && !matches!(path, path::WEBHOOK | SIGN_IN) && !path.starts_with("/assets/")
}

fn entry(context: &Context, method: &Method, path: &str) -> AuditEntry {
    /// Longer paths are nobody's.
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
    fn a_query_is_taken_whole_or_refused_by_its_field() {
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
    fn what_only_reads_and_what_alerts_bring_is_not_entered() {
        for (method, path, entered) in [
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
            assert_eq!(changes(&method, path), entered, "{method} {path}");
        }
    }
}
