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

use hyper::header::{ACCEPT, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, StatusCode};

use super::reply::{self, Reply};
use super::{Context, portal, webhook};
use crate::caller::{Caller, Scope};
use crate::clock;
use crate::door::{Denied, InForce, Peer};

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// That it is known who asks, where there are users.
    AnyUser,
    A(Scope),
}

/// Who is not let in, and what he is answered.
pub(super) struct Refused {
    pub(super) caller: Caller,
    pub(super) reply: Reply,
}

impl Refused {
    fn unknown(reply: Reply) -> Self {
        let caller = Caller::nobody();
        Self { caller, reply }
    }
}

/// Who asks, if he may.
pub(super) async fn enter<B>(
    context: &Context,
    in_force: &InForce,
    request: &Request<B>,
    peer: &Peer,
) -> Result<Caller, Refused> {
    let path = request.uri().path();
    if !context.door.takes() {
        // Alertmanager drops a notification on every 4xx.
        let status = if path == webhook::PATH {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::TOO_MANY_REQUESTS
        };
        let reply = reply::error(status, "more requests come than rate_limit allows");
        return Err(Refused::unknown(reply));
    }
    let needs = needs(path, &context.telemetry_path);
    let open = needs == Needs::Nothing || needs == Needs::AnyUser && !in_force.has_users();
    let who = context
        .door
        .who(in_force, request.headers(), peer, clock::now())
        .await;
    match who {
        Ok(caller) => match needs {
            Needs::A(scope) if !caller.scopes.allow(scope) => {
                let reply = forbidden(context, &caller, scope, path).await;
                Err(Refused { caller, reply })
            }
            _ => Ok(caller),
        },
        Err(_) if open => Ok(Caller::nobody()),
        Err(denied) => {
            if denied == Denied::Wrong {
                tracing::warn!(address = %peer.address, path, "somebody is not who he says");
            }
            let reply = unauthorized(context, in_force, request, denied).await;
            Err(Refused::unknown(reply))
        }
    }
}

fn needs(path: &str, telemetry: &str) -> Needs {
    let hosts = path.strip_suffix("/hosts");
    match path {
        "/login" | "/logout" => Needs::Nothing,
        "/-/healthy" | "/-/ready" => Needs::AnyUser,
        webhook::PATH => Needs::A(Scope::Receive),
        "/api/v1/sd" => Needs::A(Scope::Metrics),
        _ if path.starts_with("/assets/") => Needs::Nothing,
        _ if path == telemetry || hosts == Some(telemetry.trim_end_matches('/')) => {
            Needs::A(Scope::Metrics)
        }
        _ => Needs::A(Scope::Operate),
    }
}

async fn forbidden(context: &Context, caller: &Caller, scope: Scope, path: &str) -> Reply {
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
    in_force: &InForce,
    request: &Request<B>,
    denied: Denied,
) -> Reply {
    let headers = request.headers();
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let site = text(HeaderName::from_static("sec-fetch-site"));
    let wants_page = text(ACCEPT).is_some_and(|accept| accept.contains("text/html"));
    let reads = *request.method() == Method::GET;
    if in_force.has_users() && reads && wants_page && is_page(request.uri().path()) {
        if site == Some("cross-site") {
            return portal::bounce(context, request.uri()).await;
        }
        return portal::to_login(request.uri());
    }
    let why = match denied {
        Denied::Unsaid => "say who you are",
        Denied::Wrong => "the user, the password or the token is wrong",
    };
    let mut reply = reply::error(StatusCode::UNAUTHORIZED, why);
    // A page's own script gets no window of the browser's that asks for a password.
    if in_force.has_users() && site != Some("same-origin") {
        let value = HeaderValue::from_static("Basic realm=\"promansible\", charset=\"UTF-8\"");
        reply.headers_mut().append(WWW_AUTHENTICATE, value);
    }
    if in_force.has_tokens() {
        let value = HeaderValue::from_static("Bearer realm=\"promansible\"");
        reply.headers_mut().append(WWW_AUTHENTICATE, value);
    }
    reply
}

/// Whether people look at it, rather than programs.
fn is_page(path: &str) -> bool {
    !path.starts_with("/api/") && !path.starts_with("/-/")
}

/// Adds the headers that the web configuration wants, where an answer has not its own.
pub(super) fn dress(mut reply: Reply, in_force: &Arc<InForce>) -> Reply {
    for (name, value) in in_force.headers() {
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
            (webhook::PATH, Needs::A(Scope::Receive)),
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
