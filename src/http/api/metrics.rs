//! `/metrics`, and `/metrics/hosts` to scrape the metrics of hosts at a longer interval, because they change less often.

use hyper::StatusCode;
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue, VARY};
use prometheus::{Encoder, TextEncoder};

use crate::http::Context;
use crate::http::core::reply::{self, Reply};
use crate::metrics::hosts::Page;
use crate::util::blocking::in_place;

/// The content type of the exposition format. Prometheus 3 rejects a scrape without a known one.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns our own metrics and those of all hosts.
pub(crate) async fn expose(context: &Context, headers: &HeaderMap) -> Reply {
    let encoded = in_place(|| {
        let families = context.metrics.gather(context.store.size_bytes());
        let mut text = Vec::with_capacity(64 << 10);
        TextEncoder::new().encode(&families, &mut text)?;
        Ok::<_, prometheus::Error>(text)
    });
    let text = match encoded {
        Ok(text) => text,
        Err(e) => return reply::text(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
    };
    let page = context.metrics.hosts_page().after(text.into());
    answer(page, headers).await
}

/// Returns the metrics of the hosts only.
pub(crate) async fn expose_hosts(context: &Context, headers: &HeaderMap) -> Reply {
    answer(context.metrics.hosts_page(), headers).await
}

async fn answer(page: Page, headers: &HeaderMap) -> Reply {
    if !wants_gzip(headers) {
        return reply::typed(CONTENT_TYPE, page.plain());
    }
    // The first request compresses the page, which takes a while for a large fleet.
    let packed = match tokio::task::spawn_blocking(move || page.gzip()).await {
        Ok(packed) => packed,
        Err(e) => return reply::text(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
    };
    let mut reply = reply::typed(CONTENT_TYPE, packed);
    let headers = reply.headers_mut();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    reply
}

fn wants_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let gzip = parts.next().is_some_and(|c| c.eq_ignore_ascii_case("gzip"));
            let refused = parts.any(|p| matches!(p, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
            gzip && !refused
        })
}
