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

const WRONG: &str = "The user name or the password is wrong.";

const BUSY: &str = "Too many sign-in attempts at once. Try again in a moment.";

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

/// The form to sign in. Without users in the configuration, it redirects to the overview.
pub(super) async fn page(context: &Context, query: &str) -> Answer {
    let form = Form::parse(query.as_bytes());
    let next = own_path(form.text("next"));
    let auth_config = context.auth.current(&context.config.borrow().web);
    if !auth_config.has_users() {
        return Ok(layout::redirect("/"));
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

/// Signs a user in. `place` is the slot of the connection. While the password is checked, and during the delay after a wrong
/// one, the slot counts as idle, so that another connection may take it.
pub(super) async fn signed_in(context: &Context, form: Form, place: Option<Slot>) -> Answer {
    let (next, user) = (own_path(form.text("next")), form.text("user"));
    let auth_config = context.auth.current(&context.config.borrow().web);
    let Some(peer) = context.peer.clone() else {
        return Ok(layout::redirect("/login"));
    };
    let rest = place.as_ref().map(Slot::rest);
    let credentials = (user, form.untrimmed("password"));
    let found = context
        .auth
        .sign_in(&auth_config, credentials, peer.address.ip(), clock::now())
        .await;
    // After a wrong password, `sign_in` has waited already.
    if matches!(found, Err(Denied::TooManyAttempts)) {
        tokio::time::sleep(authz::WRONG_CREDENTIALS_DELAY).await;
    }
    drop(rest);
    let (cookie, caller) = match found {
        Ok(found) => found,
        // The name is not logged: a user may have typed the password there.
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
        let why = "This account has no access to the portal: it lacks the scope operate.";
        return shown(context, next, user, why, StatusCode::FORBIDDEN).await;
    }
    audit::signed_in(context, user).await?;
    tracing::info!(address = peer.shown(), user, "signed in");
    let mut reply = layout::redirect(next);
    set(context, &mut reply, &cookie, SESSION_LASTS.num_seconds());
    Ok(reply)
}

pub(super) fn signed_out(context: &Context, headers: &hyper::HeaderMap) -> Reply {
    let auth_config = context.auth.current(&context.config.borrow().web);
    context.auth.sign_out(&auth_config, headers, clock::now());
    context.note.did("signed out");
    let mut reply = layout::redirect("/login");
    set(context, &mut reply, "", 0);
    reply
}

fn set(context: &Context, reply: &mut Reply, cookie: &str, seconds: i64) {
    let is_tls = context.peer.as_ref().is_some_and(|peer| peer.is_tls);
    let external = context.external_origin.as_deref();
    let is_secure = is_tls || external.is_some_and(|origin| origin.starts_with("https://"));
    // The cookie is limited to the prefix, so that other sites behind the proxy do not receive it.
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

/// Redirects to the form, which leads back to `uri`.
pub(in crate::http) fn to_login(uri: &Uri) -> Reply {
    let next = uri.path_and_query().map_or("/", |path| path.as_str());
    let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
    layout::redirect(&format!("/login?next={next}"))
}

/// A page that reloads itself. A link on another site arrives without the cookie, because it is `SameSite=Strict`; the reload
/// from our own page sends it.
pub(in crate::http) async fn bounce(context: &Context, uri: &Uri) -> Reply {
    let next = uri.path_and_query().map_or("/", |path| path.as_str());
    let page = Bounce {
        frame: Frame::new(context, "/login"),
        next: own_path(next).to_owned(),
    };
    let page = layout::page(StatusCode::OK, page).await;
    page.unwrap_or_else(|broken| broken.reply())
}

/// Returns `text` if it is a path of ours, else `/`: a link to the form must not redirect to another site.
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
