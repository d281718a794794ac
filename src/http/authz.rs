//! Authorization of every request, before anything else handles it.
//!
//! | scope | paths |
//! | --- | --- |
//! | `metrics` | the metrics, and `/api/v1/sd` |
//! | `receive` | `POST /api/v1/webhook` |
//! | `operate` | everything, including these two |
//! | any | `/-/healthy` and `/-/ready`; without users they need no authentication |
//! | none | `/login`, `/logout`, `/assets/…`, which contain nothing secret |

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

/// The permission that a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// Authentication, if there are users.
    AnyUser,
    A(Scope),
}

/// A rejected request: the caller, if known, the reason and the response.
pub(crate) struct Refused {
    pub(crate) caller: Identity,
    pub(crate) why: Rejected,
    pub(crate) reply: Reply,
}

/// An authorized request: the caller, and the permission to re-check while the response is sent.
pub(crate) struct Entry {
    pub(crate) caller: Identity,
    /// `None` if anyone may have the response.
    pub(crate) right: Option<Permission>,
}

impl Refused {
    fn unknown(why: Rejected, reply: Reply) -> Self {
        let caller = Identity::anonymous();
        Self { caller, why, reply }
    }
}

/// Authorizes a request. While its password waits to be checked, its connection may be evicted for another one.
pub(crate) async fn authorize<B>(
    context: &Context,
    auth_config: &AuthConfig,
    request: &Request<B>,
    peer: &Arc<Peer>,
) -> Result<Entry, Refused> {
    let path = request.uri().path();
    if let Err(not_ours) = check_host(context, auth_config, request) {
        let status = match not_ours {
            NotOurs::Unclear => StatusCode::BAD_REQUEST,
            NotOurs::Rebound => StatusCode::MISDIRECTED_REQUEST,
        };
        let reply = reply::error(status, not_ours.why());
        return Err(Refused::unknown(Rejected::Host, reply));
    }
    if !context.auth.allow_request() {
        let reply = later(path, "too many requests: rate_limit is exceeded");
        return Err(Refused::unknown(Rejected::RateLimit, reply));
    }
    let needs = needs(path, &context.telemetry_path);
    let open = needs == Needs::Nothing || needs == Needs::AnyUser && !auth_config.has_users();
    let rest = request.extensions().get::<Slot>().map(Slot::rest);
    let authenticated = context
        .auth
        .authenticate(auth_config, request.headers(), peer, clock::now())
        .await;
    if matches!(
        authenticated,
        Err(Denied::InvalidCredentials | Denied::TooManyAttempts)
    ) {
        tokio::time::sleep(WRONG_CREDENTIALS_DELAY).await;
    }
    drop(rest);
    let scope = match needs {
        Needs::A(scope) => Some(scope),
        Needs::Nothing | Needs::AnyUser => None,
    };
    match authenticated {
        Ok((caller, claim)) => match scope {
            Some(scope) if !caller.scopes.allow(scope) => {
                let reply = forbidden(context, &caller, scope, path).await;
                let why = Rejected::Forbidden;
                Err(Refused { caller, why, reply })
            }
            _ => {
                let right = Permission {
                    door: context.auth.clone(),
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
            caller: Identity::anonymous(),
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

/// The delay of the response to wrong credentials: a client that guesses retries at once, and would keep everything busy.
pub(crate) const WRONG_CREDENTIALS_DELAY: Duration = Duration::from_secs(1);

/// The response if too many passwords wait to be checked.
pub(crate) const TOO_MANY: &str = "too many passwords are waiting to be checked: try again in a moment, or use a token (web.tokens), which is checked at once";

/// Asks the client to retry soon. Alertmanager drops a notification on every 4xx.
fn later(path: &str, why: &str) -> Reply {
    let status = if path == path::WEBHOOK {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::TOO_MANY_REQUESTS
    };
    reply::soon(status, why)
}

/// Checks that a request is meant for this host.
fn check_host<B>(
    context: &Context,
    auth_config: &AuthConfig,
    request: &Request<B>,
) -> Result<(), NotOurs> {
    host_header::named_once(request)?;
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let path = request.uri().path();
    let is_probe = matches!(path, "/-/healthy" | "/-/ready");
    // A POST from a page is recognized by its Origin header; Alertmanager may use any host name.
    if reads && !is_probe && !auth_config.asks() {
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
        "{} may not do this: it needs the scope {scope}, which web in the configuration grants",
        caller.name_or("this caller")
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
        Denied::MissingCredentials => "authentication required",
        Denied::InvalidCredentials => "wrong user, password or token",
        Denied::TooManyAttempts => TOO_MANY,
    };
    let mut reply = reply::error(StatusCode::UNAUTHORIZED, why);
    // A script of our own page must not open the browser's password dialog.
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

/// The response if the client certificate is no longer accepted. It closes the connection.
pub(crate) fn ended(why: &str) -> Reply {
    let why = format!("this connection is no longer accepted, reconnect: {why}");
    let mut reply = reply::error(StatusCode::UNAUTHORIZED, why);
    let close = HeaderValue::from_static("close");
    reply.headers_mut().insert(CONNECTION, close);
    reply
}

/// Whether a path is a page for people.
fn is_page(path: &str) -> bool {
    !path.starts_with("/api/") && !path.starts_with("/-/")
}

/// Adds the headers of the web configuration that a response does not set itself.
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
    fn other_paths_need_operate() {
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
