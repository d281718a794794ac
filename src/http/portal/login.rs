//! Signing in and out.

use askama::Template;
use hyper::header::{HeaderValue, SET_COOKIE};
use hyper::{StatusCode, Uri};

use super::Answer;
use super::form::Form;
use super::frame::{self, Frame};
use crate::caller::Scope;
use crate::clock;
use crate::door::{COOKIE_NAME, SESSION_LASTS};
use crate::http::Context;
use crate::http::audit::SignedIn;
use crate::http::reply::Reply;

const WRONG: &str = "The name or the password is wrong.";

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
    let in_force = context.door.in_force(&context.config.borrow().web);
    if !in_force.has_users() {
        return Ok(frame::see("/"));
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
    frame::page(status, page).await
}

pub(super) async fn signed_in(context: &Context, form: Form) -> Answer {
    let (next, user) = (own_path(form.text("next")), form.text("user"));
    let in_force = context.door.in_force(&context.config.borrow().web);
    let address = context.peer.as_ref().map(|peer| peer.address.to_string());
    let address = address.unwrap_or_default();
    let now = clock::now();
    let found = context
        .door
        .sign_in(&in_force, user, form.untrimmed("password"), now)
        .await;
    let Some((cookie, caller)) = found else {
        // What was typed as a name may be a password.
        tracing::warn!(
            address,
            "somebody did not sign in: name or password is wrong"
        );
        return shown(context, next, user, WRONG, StatusCode::FORBIDDEN).await;
    };
    if !caller.scopes.allow(Scope::Operate) {
        tracing::warn!(
            address,
            user,
            "somebody did not sign in: he may not operate"
        );
        let why = format!("{user} has not the scope operate, which the portal needs.");
        return shown(context, next, user, &why, StatusCode::FORBIDDEN).await;
    }
    tracing::info!(address, user, "signed in");
    let mut reply = frame::see(next);
    reply.extensions_mut().insert(SignedIn(user.to_owned()));
    set(context, &mut reply, &cookie, SESSION_LASTS.num_seconds());
    Ok(reply)
}

pub(super) fn signed_out(context: &Context, headers: &hyper::HeaderMap) -> Reply {
    let in_force = context.door.in_force(&context.config.borrow().web);
    context.door.sign_out(&in_force, headers, clock::now());
    let mut reply = frame::see("/login");
    set(context, &mut reply, "", 0);
    reply
}

fn set(context: &Context, reply: &mut Reply, cookie: &str, seconds: i64) {
    let is_tls = context.peer.as_ref().is_some_and(|peer| peer.is_tls);
    let external = context.external_origin.as_deref();
    let is_secure = is_tls || external.is_some_and(|origin| origin.starts_with("https://"));
    let secure = if is_secure { "; Secure" } else { "" };
    let text = format!(
        "{COOKIE_NAME}={cookie}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    );
    let mut value = HeaderValue::from_str(&text).expect("Base64 and digits are a header's value");
    value.set_sensitive(true);
    reply.headers_mut().insert(SET_COOKIE, value);
}

/// Leads to the form, and from there back.
pub(in crate::http) fn to_login(uri: &Uri) -> Reply {
    let next = uri.path_and_query().map_or("/", |path| path.as_str());
    let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
    frame::see(&format!("/login?next={next}"))
}

/// A page that leads to itself. Who follows a link on another site comes without his cookie, which a strict one is; from
/// here he comes with it.
pub(in crate::http) async fn bounce(context: &Context, uri: &Uri) -> Reply {
    let next = uri.path_and_query().map_or("/", |path| path.as_str());
    let page = Bounce {
        frame: Frame::new(context, "/login"),
        next: own_path(next).to_owned(),
    };
    let page = frame::page(StatusCode::OK, page).await;
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
