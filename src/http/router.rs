//! Which handler answers what.

use std::convert::Infallible;

use hyper::body::Incoming;
use hyper::header::{HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::{Method, Request, StatusCode};
use tokio::sync::oneshot;

use super::reply::{self, Reply};
use super::{Context, api, metrics, webhook};

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
    if !reads && is_cross_site(request.headers()) {
        if path == "/api/v1/webhook" {
            context.metrics.notification(StatusCode::FORBIDDEN.as_u16());
        }
        return reply::error(
            StatusCode::FORBIDDEN,
            "this request was made by a page of another site",
        );
    }
    match path.as_str() {
        "/api/v1/webhook" if method == Method::POST => webhook::receive(context, request).await,
        "/api/v1/webhook" => reply::method_not_allowed("POST"),
        "/-/healthy" if reads => reply::text(StatusCode::OK, "promansible is healthy."),
        "/-/ready" if reads => ready(context),
        "/-/reload" if matches!(method, Method::POST | Method::PUT) => reload(context).await,
        "/-/reload" => reply::method_not_allowed("POST, PUT"),
        "/" if reads => reply::html(landing(context)),
        "/" | "/-/healthy" | "/-/ready" => reply::method_not_allowed("GET, HEAD"),
        path if path == &*context.telemetry_path && reads => {
            metrics::expose(context, request.headers())
        }
        path if path == &*context.telemetry_path => reply::method_not_allowed("GET, HEAD"),
        path => match path.strip_prefix("/api/v1/") {
            Some(path) => {
                let query = request.uri().query().unwrap_or("");
                api::answer(context, &method, path, query).await
            }
            None => reply::error(StatusCode::NOT_FOUND, format_args!("there is no {path}")),
        },
    }
}

/// Whether a browser says that a page of another site made this request. Whoever can make an administrator's browser
/// post to us could otherwise run roles. Alertmanager and other programs send neither header.
fn is_cross_site(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|v| v.to_str().unwrap_or("?"));
    if let Some(site) = text(HeaderName::from_static("sec-fetch-site"))
        && !matches!(site, "same-origin" | "none")
    {
        return true;
    }
    let Some(origin) = text(ORIGIN) else {
        return false;
    };
    let origin_host = origin.split_once("://").map(|(_, host)| host);
    origin_host.is_none() || origin_host != text(HOST)
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
        let cases: &[(&[(&'static str, &str)], bool)] = &[
            (&[("host", "a:1")], false),
            (&[("host", "a:1"), ("origin", "http://a:1")], false),
            (&[("host", "a:1"), ("sec-fetch-site", "none")], false),
            (
                &[
                    ("host", "a:1"),
                    ("sec-fetch-site", "same-origin"),
                    ("origin", "http://a:1"),
                ],
                false,
            ),
            (&[("host", "a:1"), ("origin", "http://a:2")], true),
            (&[("host", "a:1"), ("origin", "http://evil")], true),
            (&[("host", "a:1"), ("origin", "null")], true),
            (&[("host", "a:1"), ("sec-fetch-site", "cross-site")], true),
            (&[("host", "a:1"), ("sec-fetch-site", "same-site")], true),
            (&[("origin", "http://a:1")], true),
        ];
        for (pairs, cross) in cases {
            assert_eq!(is_cross_site(&headers(pairs)), *cross, "{pairs:?}");
        }
    }
}
