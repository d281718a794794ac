//! Signing in and out.

use askama::Template;
use hyper::header::{HeaderValue, SET_COOKIE};
use hyper::{StatusCode, Uri};

use super::Answer;
use super::form::Form;
use super::layout::{self, Frame};
use crate::auth::{COOKIE_NAME, Denied, SESSION_LASTS};
use crate::http::Context;
use crate::http::authz;
use crate::http::core::reply::Reply;
use crate::http::core::slots::Slot;
use crate::http::core::{audit, reject_log};
use crate::metrics::Rejected;
use crate::model::identity::Scope;
use crate::util::clock;

const WRONG: &str = "The name or the password is wrong.";

const BUSY: &str = "Too many passwords wait to be looked at. Try again in a moment.";

#[derive(Template)]
#[template(path = "login.html")]
struct Login {
    frame: Frame,
    next: String,
    user: String,
    wrong: String,
}

#[derive(Template)]
#[template(path = "bounce.html")]
struct Bounce {
    frame: Frame,
    next: String,
}

/// Where there are no users, nobody can sign in, and nobody need.
pub(super) async fn page(context: &Context, query: &str) -> Answer {
    let form = Form::parse(query.as_bytes());
    let next = own_path(form.text("next"));
    let auth_config = context.door.current(&context.config.borrow().web);
    if !auth_config.has_users() {
        return Ok(layout::see("/"));
    }
    shown(context, next, "", "", StatusCode::OK).await
}

async fn shown(
    context: &Context,
    next: &str,
    user: &str,
    wrong: &str,
    status: StatusCode,
) -> Answer {
    let page = Login {
        frame: Frame::new(context, "/login"),
        next: next.to_owned(),
        user: user.to_owned(),
        wrong: wrong.to_owned(),
    };
    layout::page(status, page).await
}

/// Signs a user in. `place` is that of the connection, which may be ended for another one while the password is looked at,
/// and while one that is wrong waits.
pub(super) async fn signed_in(context: &Context, form: Form, place: Option<Slot>) -> Answer {
    let (next, user) = (own_path(form.text("next")), form.text("user"));
    let auth_config = context.door.current(&context.config.borrow().web);
    let Some(peer) = context.peer.clone() else {
        return Ok(layout::see("/login"));
    };
    let rest = place.as_ref().map(Slot::rest);
    let said = (user, form.untrimmed("password"));
    let found = context
        .door
        .sign_in(&auth_config, said, peer.address.ip(), clock::now())
        .await;
    // A wrong password has waited already.
    if matches!(found, Err(Denied::TooManyAttempts)) {
        tokio::time::sleep(authz::AFTER_WRONG).await;
    }
    drop(rest);
    let (cookie, caller) = match found {
        Ok(found) => found,
        // What was typed as a name may be a password, and is not in the log.
        Err(Denied::TooManyAttempts) => {
            reject_log::no_sign_in(context, &peer, Rejected::TooManyPasswords);
            let status = StatusCode::TOO_MANY_REQUESTS;
            return shown(context, next, user, BUSY, status).await;
        }
        Err(_) => {
            reject_log::no_sign_in(context, &peer, Rejected::WrongCredentials);
            return shown(context, next, user, WRONG, StatusCode::FORBIDDEN).await;
        }
    };
    if !caller.scopes.allow(Scope::Operate) {
        reject_log::no_sign_in(context, &peer, Rejected::Forbidden);
        let why = format!("{user} has not the scope operate, which the portal needs.");
        return shown(context, next, user, &why, StatusCode::FORBIDDEN).await;
    }
    audit::signed_in(context, user).await?;
    tracing::info!(address = peer.shown(), user, "signed in");
    let mut reply = layout::see(next);
    set(context, &mut reply, &cookie, SESSION_LASTS.num_seconds());
    Ok(reply)
}

pub(super) fn signed_out(context: &Context, headers: &hyper::HeaderMap) -> Reply {
    let auth_config = context.door.current(&context.config.borrow().web);
    context.door.sign_out(&auth_config, headers, clock::now());
    context.note.did("signed out");
    let mut reply = layout::see("/login");
    set(context, &mut reply, "", 0);
    reply
}

fn set(context: &Context, reply: &mut Reply, cookie: &str, seconds: i64) {
    let is_tls = context.peer.as_ref().is_some_and(|peer| peer.is_tls);
    let external = context.external_origin.as_deref();
    let is_secure = is_tls || external.is_some_and(|origin| origin.starts_with("https://"));
    // The session ends where promansible does: what else the proxy shows never sees it.
    let path = match &*context.prefixes.links {
        "" => "/",
        prefix => prefix,
    };
    let secure = if is_secure { "; Secure" } else { "" };
    let text = format!(
        "{COOKIE_NAME}={cookie}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    );
    let mut value = HeaderValue::from_str(&text).expect("Base64 and digits are a header's value");
    value.set_sensitive(true);
    reply.headers_mut().insert(SET_COOKIE, value);
}

/// Leads to the form, and from there back.
pub(in crate::http) fn to_login(uri: &Uri) -> Reply {
    let next = uri.path_and_query().map_or("/", |path| path.as_str());
    let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
    layout::see(&format!("/login?next={next}"))
}

/// A page that leads to itself. Who follows a link on another site comes without his cookie, which a strict one is; from
/// here he comes with it.
pub(in crate::http) async fn bounce(context: &Context, uri: &Uri) -> Reply {
    let next = uri.path_and_query().map_or("/", |path| path.as_str());
    let page = Bounce {
        frame: Frame::new(context, "/login"),
        next: own_path(next).to_owned(),
    };
    let page = layout::page(StatusCode::OK, page).await;
    page.unwrap_or_else(|broken| broken.reply())
}

/// A path of ours: nobody is to be led elsewhere by a link to the form.
fn own_path(text: &str) -> &str {
    let is_text = text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let is_own = text.starts_with('/') && !text.starts_with("//");
    if is_text && is_own && !text.starts_with("/login") {
        text
    } else {
        "/"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_elsewhere() {
        for own in ["/", "/runs?state=queued", "/hosts/a%20b"] {
            assert_eq!(own_path(own), own);
        }
        for other in [
            "",
            "runs",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example/",
            "/\r\nSet-Cookie: a=b",
            "/\t/evil.example",
            "/ü",
            "/login?next=/",
        ] {
            assert_eq!(own_path(other), "/", "{other}");
        }
    }
}
