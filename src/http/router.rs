//! Which handler answers what.

use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::body::Incoming;
use hyper::header::{HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::{Method, Request, StatusCode};
use tokio::sync::oneshot;

use super::reply::{self, Reply};
use super::{
    Context, api, events, facts, hosts, metrics, objects, openapi, schedules, start, webhook,
};

pub(super) async fn route(
    context: Context,
    request: Request<Incoming>,
) -> Result<Reply, Infallible> {
    // hyper leaves the body out of an answer to HEAD, and keeps its length.
    Ok(answer(&context, request).await)
}

async fn answer(context: &Context, request: Request<Incoming>) -> Reply {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let reads = matches!(method, Method::GET | Method::HEAD);
    if !reads && let Err(why) = not_of_another_site(request.headers()) {
        if path == "/api/v1/webhook" {
            context.metrics.notification(StatusCode::FORBIDDEN.as_u16());
        }
        return reply::error(StatusCode::FORBIDDEN, why);
    }
    match path.as_str() {
        "/api/v1/webhook" if method == Method::POST => webhook::receive(context, request).await,
        "/api/v1/webhook" => reply::method_not_allowed("POST"),
        "/api/v1/runs" if method == Method::POST => start::start(context, request).await,
        "/api/v1/events" => events::all(context, &request),
        path if let Some(id) = followed(path) => events::run(context, id, &request).await,
        "/api/v1/facts" => facts::answer(context, request, "").await,
        path if path.starts_with("/api/v1/facts/") => {
            let rest = path["/api/v1/facts/".len()..].to_owned();
            facts::answer(context, request, &rest).await
        }
        path if is_below(path, "/api/v1/bindings") => {
            let parts: Vec<&str> = path["/api/v1/".len()..].split('/').collect();
            objects::bindings(context, request, &parts).await
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
        "/" if reads => reply::html(landing(context)),
        "/" | "/-/healthy" | "/-/ready" | "/api/v1/cron" | "/api/v1/openapi.json" => {
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
                api::answer(context, &method, path, query).await
            }
            None => reply::error(StatusCode::NOT_FOUND, format_args!("there is no {path}")),
        },
    }
}

fn is_below(path: &str, resource: &str) -> bool {
    path.strip_prefix(resource)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The run whose events are asked for.
fn followed(path: &str) -> Option<&str> {
    let id = path.strip_prefix("/api/v1/runs/")?;
    let id = id.strip_suffix("/events")?;
    (!id.contains('/')).then_some(id)
}

/// Where the metrics of the hosts are alone.
fn hosts_path(context: &Context) -> String {
    format!("{}/hosts", context.telemetry_path.trim_end_matches('/'))
}

const CROSS_SITE: &str = "this request was made by a page of another site";

const REBOUND: &str = "this request was made by a page, and names promansible by a DNS name, which may be another site's that was made to lead here: \
     open promansible by its IP address or as localhost";

/// Refuses what a browser does for a page of another site. Whoever can make an administrator's browser post to us could
/// otherwise run roles. Alertmanager and other programs send neither header.
///
/// A site can also let its own name lead to our address, and is then the same site to the browser (DNS rebinding). That
/// takes a name: an IP address leads nowhere else, and localhost is nobody's to give.
fn not_of_another_site(headers: &HeaderMap) -> Result<(), &'static str> {
    let text = |name: HeaderName| headers.get(name).map(|v| v.to_str().unwrap_or("?"));
    if let Some(site) = text(HeaderName::from_static("sec-fetch-site"))
        && !matches!(site, "same-origin" | "none")
    {
        return Err(CROSS_SITE);
    }
    let Some(origin) = text(ORIGIN) else {
        return Ok(());
    };
    match (origin.split_once("://"), text(HOST)) {
        (Some((_, origin)), Some(host)) if origin == host && is_no_dns_name(host) => Ok(()),
        (Some((_, origin)), Some(host)) if origin == host => Err(REBOUND),
        _ => Err(CROSS_SITE),
    }
}

/// Whether a Host header, with or without a port, is an IP address or localhost.
fn is_no_dns_name(host: &str) -> bool {
    let port = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(address, rest)| {
            address.parse::<Ipv6Addr>().is_ok()
                && (rest.is_empty() || rest.strip_prefix(':').is_some_and(port))
        });
    }
    let name = match host.split_once(':') {
        Some((name, digits)) if port(digits) => name,
        Some(_) => return false,
        None => host,
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<Ipv4Addr>().is_ok()
}

fn ready(context: &Context) -> Reply {
    if context.shutdown.is_asked() {
        reply::text(StatusCode::SERVICE_UNAVAILABLE, "promansible is ending.")
    } else if !context.store.is_open() {
        reply::text(StatusCode::SERVICE_UNAVAILABLE, "The store is broken.")
    } else if let Err(why) = context.inventory.latest() {
        reply::text(StatusCode::SERVICE_UNAVAILABLE, why.to_string())
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
        return reply::error(StatusCode::SERVICE_UNAVAILABLE, "promansible is ending");
    }
    match outcome.await {
        Ok(Ok(())) => reply::text(StatusCode::OK, "The configuration was read again."),
        Ok(Err(why)) => reply::text(StatusCode::INTERNAL_SERVER_ERROR, why),
        Err(_) => reply::error(StatusCode::SERVICE_UNAVAILABLE, "promansible is ending"),
    }
}

fn landing(context: &Context) -> String {
    format!(
        include_str!("landing.html"),
        version = crate::build::LONG,
        metrics = context.telemetry_path
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_page_of_another_site_cannot_post() {
        type Said = Result<(), &'static str>;
        let cases: &[(&[(&'static str, &str)], Said)] = &[
            (&[("host", "a:1")], Ok(())),
            (&[("host", "a:1"), ("sec-fetch-site", "none")], Ok(())),
            (
                &[("host", "1.2.3.4:1"), ("origin", "http://1.2.3.4:1")],
                Ok(()),
            ),
            (
                &[
                    ("host", "1.2.3.4:1"),
                    ("sec-fetch-site", "same-origin"),
                    ("origin", "http://1.2.3.4:1"),
                ],
                Ok(()),
            ),
            (
                &[("host", "1.2.3.4:1"), ("origin", "http://1.2.3.4:2")],
                Err(CROSS_SITE),
            ),
            (
                &[("host", "1.2.3.4"), ("origin", "http://evil")],
                Err(CROSS_SITE),
            ),
            (&[("host", "1.2.3.4"), ("origin", "null")], Err(CROSS_SITE)),
            (
                &[("host", "a:1"), ("sec-fetch-site", "cross-site")],
                Err(CROSS_SITE),
            ),
            (
                &[("host", "a:1"), ("sec-fetch-site", "same-site")],
                Err(CROSS_SITE),
            ),
            (&[("origin", "http://1.2.3.4")], Err(CROSS_SITE)),
            (
                &[
                    ("host", "evil.example:1"),
                    ("origin", "http://evil.example:1"),
                ],
                Err(REBOUND),
            ),
            (
                &[
                    ("host", "evil.example:1"),
                    ("sec-fetch-site", "same-origin"),
                    ("origin", "http://evil.example:1"),
                ],
                Err(REBOUND),
            ),
        ];
        for (pairs, said) in cases {
            assert_eq!(not_of_another_site(&headers(pairs)), *said, "{pairs:?}");
        }
    }

    #[test]
    fn an_ip_address_and_localhost_are_no_dns_names() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:10942",
            "10.0.0.5:80",
            "[::1]",
            "[::1]:10942",
            "[fe80::1]:1",
            "localhost",
            "LocalHost:10942",
        ] {
            assert!(is_no_dns_name(host), "{host}");
        }
        for host in [
            "",
            ":1",
            "evil.example",
            "evil.example:10942",
            "127.0.0.1.evil.example",
            "localhost.evil.example:1",
            "localhost.",
            "127.1",
            "0x7f000001",
            "2130706433",
            "::1",
            "[::1",
            "[::1]x",
            "[evil]:1",
            "127.0.0.1:x",
        ] {
            assert!(!is_no_dns_name(host), "{host}");
        }
    }
}
