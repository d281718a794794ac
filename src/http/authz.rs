//! Who may do what: every request passes here before anything looks at it.
//!
//! | scope | what |
//! | --- | --- |
//! | `metrics` | the metrics, and `/api/v1/sd` |
//! | `receive` | `POST /api/v1/webhook` |
//! | `operate` | everything, those two too |
//! | any | `/-/healthy` and `/-/ready`; where there are no users, nobody need say who he is |
//! | none | `/login`, `/logout`, `/assets/…`, which hold nothing |

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{ACCEPT, CONNECTION, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, StatusCode};

use crate::auth::{AuthConfig, Denied, Peer, Permission};
use crate::http::core::host_header::{self, NotOurs};
use crate::http::core::path;
use crate::http::core::reply::{self, Reply};
use crate::http::core::slots::Slot;
use crate::http::{Context, portal};
use crate::metrics::Rejected;
use crate::model::identity::{Identity, Scope};
use crate::util::clock;

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// That it is known who asks, where there are users.
    AnyUser,
    A(Scope),
}

/// Who is not let in, why, and what he is answered.
pub(crate) struct Refused {
    pub(crate) caller: Identity,
    pub(crate) why: Rejected,
    pub(crate) reply: Reply,
}

/// Who is let in, and for how long.
pub(crate) struct Entry {
    pub(crate) caller: Identity,
    /// `None` where anyone may have the answer.
    pub(crate) right: Option<Permission>,
}

impl Refused {
    fn unknown(why: Rejected, reply: Reply) -> Self {
        let caller = Identity::nobody();
        Self { caller, why, reply }
    }
}

/// Who asks, if he may. The connection may be ended for another one while his password waits to be compared.
pub(crate) async fn authorize<B>(
    context: &Context,
    auth_config: &AuthConfig,
    request: &Request<B>,
    peer: &Arc<Peer>,
) -> Result<Entry, Refused> {
    let path = request.uri().path();
    if let Err(not_ours) = is_meant(context, auth_config, request) {
        let status = match not_ours {
            NotOurs::Unclear => StatusCode::BAD_REQUEST,
            NotOurs::Rebound => StatusCode::MISDIRECTED_REQUEST,
        };
        let reply = reply::error(status, not_ours.why());
        return Err(Refused::unknown(Rejected::Host, reply));
    }
    if !context.door.takes() {
        let reply = later(path, "more requests come than rate_limit allows");
        return Err(Refused::unknown(Rejected::RateLimit, reply));
    }
    let needs = needs(path, &context.telemetry_path);
    let open = needs == Needs::Nothing || needs == Needs::AnyUser && !auth_config.has_users();
    let rest = request.extensions().get::<Slot>().map(Slot::rest);
    let who = context
        .door
        .authenticate(auth_config, request.headers(), peer, clock::now())
        .await;
    if matches!(
        who,
        Err(Denied::InvalidCredentials | Denied::TooManyAttempts)
    ) {
        tokio::time::sleep(AFTER_WRONG).await;
    }
    drop(rest);
    let scope = match needs {
        Needs::A(scope) => Some(scope),
        Needs::Nothing | Needs::AnyUser => None,
    };
    match who {
        Ok((caller, claim)) => match scope {
            Some(scope) if !caller.scopes.allow(scope) => {
                let reply = forbidden(context, &caller, scope, path).await;
                let why = Rejected::Forbidden;
                Err(Refused { caller, why, reply })
            }
            _ => {
                let right = Permission {
                    door: context.door.clone(),
                    config: context.config.clone(),
                    peer: Arc::clone(peer),
                    claim,
                    scope,
                };
                let right = Some(right).filter(|_| !open);
                Ok(Entry { caller, right })
            }
        },
        Err(Denied::TooManyAttempts) => {
            let reply = later(path, TOO_MANY);
            Err(Refused::unknown(Rejected::TooManyPasswords, reply))
        }
        Err(_) if open => Ok(Entry {
            caller: Identity::nobody(),
            right: None,
        }),
        Err(denied) => {
            let why = match denied {
                Denied::InvalidCredentials => Rejected::WrongCredentials,
                _ => Rejected::NoCredentials,
            };
            let reply = unauthorized(context, auth_config, request, denied).await;
            Err(Refused::unknown(why, reply))
        }
    }
}

/// How long the answer to wrong credentials is held back: who guesses asks again at once, and would keep everything busy.
pub(crate) const AFTER_WRONG: Duration = Duration::from_secs(1);

/// What is answered where too many passwords wait to be compared.
pub(crate) const TOO_MANY: &str = "too many passwords wait to be compared: try again in a moment, or use a token (web.tokens), which waits for nothing";

/// That it may be asked for again soon. Alertmanager drops a notification on every 4xx.
fn later(path: &str, why: &str) -> Reply {
    let status = if path == path::WEBHOOK {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::TOO_MANY_REQUESTS
    };
    reply::soon(status, why)
}

/// Whether a request is meant for us.
fn is_meant<B>(
    context: &Context,
    auth_config: &AuthConfig,
    request: &Request<B>,
) -> Result<(), NotOurs> {
    host_header::named_once(request)?;
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let path = request.uri().path();
    let holds_nothing = matches!(path, "/-/healthy" | "/-/ready");
    // What a page makes a browser post is told by its Origin; Alertmanager may post to any name.
    if reads && !holds_nothing && !auth_config.asks() {
        host_header::is_ours(request.headers(), context.external_origin.as_deref())?;
    }
    Ok(())
}

fn needs(path: &str, telemetry: &str) -> Needs {
    let hosts = path.strip_suffix("/hosts");
    match path {
        "/login" | "/logout" => Needs::Nothing,
        "/-/healthy" | "/-/ready" => Needs::AnyUser,
        path::WEBHOOK => Needs::A(Scope::Receive),
        "/api/v1/sd" => Needs::A(Scope::Metrics),
        _ if path.starts_with("/assets/") => Needs::Nothing,
        _ if path == telemetry || hosts == Some(telemetry.trim_end_matches('/')) => {
            Needs::A(Scope::Metrics)
        }
        _ => Needs::A(Scope::Operate),
    }
}

async fn forbidden(context: &Context, caller: &Identity, scope: Scope, path: &str) -> Reply {
    let why = format!(
        "{} may not do this: it needs the scope {scope}, which web in the configuration gives",
        caller.name_or("whoever comes")
    );
    if is_page(path) {
        portal::refused(context, why).await
    } else {
        reply::error(StatusCode::FORBIDDEN, why)
    }
}

async fn unauthorized<B>(
    context: &Context,
    auth_config: &AuthConfig,
    request: &Request<B>,
    denied: Denied,
) -> Reply {
    let headers = request.headers();
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let site = text(HeaderName::from_static("sec-fetch-site"));
    let wants_page = text(ACCEPT).is_some_and(|accept| accept.contains("text/html"));
    let reads = *request.method() == Method::GET;
    if auth_config.has_users() && reads && wants_page && is_page(request.uri().path()) {
        if site == Some("cross-site") {
            return portal::bounce(context, request.uri()).await;
        }
        return portal::to_login(request.uri());
    }
    let why = match denied {
        Denied::MissingCredentials => "say who you are",
        Denied::InvalidCredentials => "the user, the password or the token is wrong",
        Denied::TooManyAttempts => TOO_MANY,
    };
    let mut reply = reply::error(StatusCode::UNAUTHORIZED, why);
    // A page's own script gets no window of the browser's that asks for a password.
    if auth_config.has_users() && site != Some("same-origin") {
        let value = HeaderValue::from_static("Basic realm=\"promansible\", charset=\"UTF-8\"");
        reply.headers_mut().append(WWW_AUTHENTICATE, value);
    }
    if auth_config.has_tokens() {
        let value = HeaderValue::from_static("Bearer realm=\"promansible\"");
        reply.headers_mut().append(WWW_AUTHENTICATE, value);
    }
    reply
}

/// The answer to who came by a certificate that would not be taken now. The connection ends with it.
pub(crate) fn ended(why: &str) -> Reply {
    let why = format!("this connection is not taken any more, connect anew: {why}");
    let mut reply = reply::error(StatusCode::UNAUTHORIZED, why);
    let close = HeaderValue::from_static("close");
    reply.headers_mut().insert(CONNECTION, close);
    reply
}

/// Whether people look at it, rather than programs.
fn is_page(path: &str) -> bool {
    !path.starts_with("/api/") && !path.starts_with("/-/")
}

/// Adds the headers that the web configuration wants, where an answer has not its own.
pub(crate) fn add_headers(mut reply: Reply, auth_config: &Arc<AuthConfig>) -> Reply {
    for (name, value) in auth_config.headers() {
        let entry = reply.headers_mut().entry(name);
        entry.or_insert_with(|| value.clone());
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_needs_operate() {
        let metrics = Needs::A(Scope::Metrics);
        for (path, found) in [
            ("/login", Needs::Nothing),
            ("/assets/portal.css", Needs::Nothing),
            ("/-/healthy", Needs::AnyUser),
            ("/-/ready", Needs::AnyUser),
            (path::WEBHOOK, Needs::A(Scope::Receive)),
            ("/api/v1/sd", metrics),
            ("/metrics", metrics),
            ("/metrics/hosts", metrics),
        ] {
            assert_eq!(needs(path, "/metrics"), found, "{path}");
        }
        for path in [
            "/",
            "",
            "*",
            "/-/reload",
            "/%6cogin",
            "/login/",
            "/logins",
            "//login",
            "/assets",
            "/api/v1/webhook/",
            "/api/v1/sd/",
            "/api/v1/runs",
            "/metrics/",
            "/metrics/hosts/",
            "/hosts",
            "/x/metrics",
        ] {
            assert_eq!(needs(path, "/metrics"), Needs::A(Scope::Operate), "{path}");
        }
        assert_eq!(needs("/m/hosts", "/m/"), metrics);
    }
}
