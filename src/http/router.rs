//! Routes each request to its handler.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};
use tokio::sync::oneshot;

use super::api::{
    create_run, dispatch, facts, guards, hosts, managed, metrics, misdirected, openapi, rerun,
    schedules, webhook,
};
use super::authz;
use super::authz::{Entry, Refused};
use super::core::path::WEBHOOK;
use super::core::reply::{self, Reply};
use super::core::slots::Slot;
use super::core::{audit, forwarded, origin, reject_log};
use super::{Context, Note, events, portal};
use crate::auth::{AuthConfig, Peer};
use crate::metrics::Rejected;
use crate::util::clock;

pub(super) async fn route(
    mut context: Context,
    mut request: Request<Incoming>,
    peer: Arc<Peer>,
) -> Result<Reply, Infallible> {
    let auth_config = context.auth.current(&context.config.borrow().web);
    if let Err(why) = auth_config.check_peer(&peer, clock::now()) {
        reject_log::refused(&context, &request, &peer, Rejected::WrongCredentials);
        return Ok(authz::ended(&why));
    }
    let peer = forwarded::unwrap(&mut context, &auth_config, &mut request, peer);
    context.peer = Some(Arc::clone(&peer));
    let posted = misdirected::look(&request);
    let reply = match forwarded::strip(&context, &mut request) {
        Ok(()) => answer_authorized(&mut context, &auth_config, request, peer).await,
        Err(reply) => *reply,
    };
    let reply = match posted {
        Some(posted) => misdirected::answer(&context, &posted, reply),
        None => reply,
    };
    let mut reply = forwarded::prefixed(reply, &context.prefixes.links);
    if reply.status() == StatusCode::SERVICE_UNAVAILABLE {
        let soon = HeaderValue::from_static("5");
        reply.headers_mut().entry(RETRY_AFTER).or_insert(soon);
    }
    Ok(authz::add_headers(reply, &auth_config))
}

/// Authorizes and answers a request, without the route prefix in its path.
async fn answer_authorized(
    context: &mut Context,
    auth_config: &AuthConfig,
    request: Request<Incoming>,
    peer: Arc<Peer>,
) -> Reply {
    match authz::authorize(context, auth_config, &request, &peer).await {
        Ok(Entry { caller, right }) => {
            context.caller = caller;
            context.note = Note::default();
            if right.is_some()
                && let Some(place) = request.extensions().get::<Slot>()
            {
                place.set_authenticated();
            }
            // hyper omits the body of a response to HEAD, and keeps its length.
            let answering =
                |context, request| Box::pin(async move { answer(&context, request).await });
            let mut reply = audit::answer(context, request, answering).await;
            if let Some(right) = right {
                reply.extensions_mut().insert(right);
            }
            reply
        }
        Err(Refused { caller, why, reply }) => {
            context.caller = caller;
            // A redirect to the sign-in page is not a rejection.
            if reply.status().is_client_error() || reply.status().is_server_error() {
                reject_log::refused(context, &request, &peer, why);
            }
            if request.uri().path() == WEBHOOK {
                context.metrics.notification(reply.status().as_u16());
            }
            reply
        }
    }
}

/// Calls the handler of a request.
pub(super) async fn answer(context: &Context, request: Request<Incoming>) -> Reply {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let reads = matches!(method, Method::GET | Method::HEAD);
    if !reads
        && let Err(why) =
            origin::not_of_another_site(request.headers(), context.external_origin.as_deref())
    {
        if path == WEBHOOK {
            context.metrics.notification(StatusCode::FORBIDDEN.as_u16());
        }
        return reply::error(StatusCode::FORBIDDEN, why);
    }
    match path.as_str() {
        WEBHOOK if method == Method::POST => webhook::receive(context, request).await,
        WEBHOOK => reply::method_not_allowed("POST"),
        "/api/v1/runs" if method == Method::POST => create_run::start(context, request).await,
        "/api/v1/events" => events::all(context, &request),
        path if let Some(asked) = guards::action_of(path) => {
            guards::answer(context, request, asked).await
        }
        path if let Some(id) = rerun::asked(path) => rerun::answer(context, request, id).await,
        path if let Some(id) = followed(path) => events::run(context, id, &request).await,
        "/api/v1/facts" => facts::answer(context, request, "").await,
        path if path.starts_with("/api/v1/facts/") => {
            let rest = path["/api/v1/facts/".len()..].to_owned();
            facts::answer(context, request, &rest).await
        }
        path if is_below(path, "/api/v1/bindings") => {
            let parts: Vec<&str> = path["/api/v1/".len()..].split('/').collect();
            managed::bindings(context, request, &parts).await
        }
        path if is_below(path, "/api/v1/schedules") => {
            let parts: Vec<&str> = path["/api/v1/".len()..].split('/').collect();
            schedules::schedules(context, request, &parts).await
        }
        "/api/v1/cron" if reads => schedules::cron(request.uri().query().unwrap_or("")),
        "/api/v1/openapi.json" if reads => openapi::answer(context, &hosts_path(context)),
        "/api/v1/hosts" if method == Method::POST => hosts::enroll(context, request).await,
        "/-/healthy" if reads => reply::text(StatusCode::OK, "promansible is healthy."),
        "/-/ready" if reads => ready(context),
        "/-/reload" if matches!(method, Method::POST | Method::PUT) => reload(context).await,
        "/-/reload" => reply::method_not_allowed("POST, PUT"),
        "/-/healthy" | "/-/ready" | "/api/v1/cron" | "/api/v1/openapi.json" => {
            reply::method_not_allowed("GET, HEAD")
        }
        path if path == &*context.telemetry_path && reads => {
            metrics::expose(context, request.headers()).await
        }
        path if path == hosts_path(context) && reads => {
            metrics::expose_hosts(context, request.headers()).await
        }
        path if path == &*context.telemetry_path || path == hosts_path(context) => {
            reply::method_not_allowed("GET, HEAD")
        }
        path => match path.strip_prefix("/api/v1/") {
            Some(path) => {
                let query = request.uri().query().unwrap_or("");
                dispatch::answer(context, &method, path, query).await
            }
            None => Box::pin(portal::answer(context, request)).await,
        },
    }
}

fn is_below(path: &str, resource: &str) -> bool {
    path.strip_prefix(resource)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns the run in the path of its events.
fn followed(path: &str) -> Option<&str> {
    let id = path.strip_prefix("/api/v1/runs/")?;
    let id = id.strip_suffix("/events")?;
    (!id.contains('/')).then_some(id)
}

/// Returns the path of the metrics of hosts only.
fn hosts_path(context: &Context) -> String {
    format!("{}/hosts", context.telemetry_path.trim_end_matches('/'))
}

fn ready(context: &Context) -> Reply {
    if context.shutdown.is_requested() {
        reply::text(
            StatusCode::SERVICE_UNAVAILABLE,
            "promansible is shutting down.",
        )
    } else if let Some(why) = context.store.trouble() {
        reply::text(StatusCode::SERVICE_UNAVAILABLE, why)
    } else if let Err(why) = context.inventory.latest() {
        reply::text(StatusCode::SERVICE_UNAVAILABLE, why.brief())
    } else {
        reply::text(StatusCode::OK, "promansible is ready.")
    }
}

async fn reload(context: &Context) -> Reply {
    let Some(requests) = &context.reload else {
        return reply::error(
            StatusCode::FORBIDDEN,
            "reloading over HTTP is off: start with --web.enable-lifecycle, or send SIGHUP",
        );
    };
    let (done, outcome) = oneshot::channel();
    if requests.send(done).await.is_err() {
        return reply::error(
            StatusCode::SERVICE_UNAVAILABLE,
            "promansible is shutting down",
        );
    }
    match outcome.await {
        Ok(Ok(())) => {
            context.note.did("reloaded the configuration");
            reply::text(StatusCode::OK, "Configuration reloaded.")
        }
        Ok(Err(why)) => reply::text(StatusCode::INTERNAL_SERVER_ERROR, why),
        Err(_) => reply::error(
            StatusCode::SERVICE_UNAVAILABLE,
            "promansible is shutting down",
        ),
    }
}
