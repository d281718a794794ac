//! Support for reverse proxies: forwarded client addresses, and path prefixes.
//!
//! Requests are corrected before anything else, and responses after everything else: in between, all paths begin at `/`.
//!
//! As in Prometheus, there are two prefixes. The *route prefix* is the prefix of incoming request paths. The *link prefix* is
//! the prefix of paths in browsers: the route prefix, plus any prefix that a proxy strips.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, LOCATION};
use hyper::{Method, Request, StatusCode, Uri};

use crate::auth::{AuthConfig, Peer};
use crate::http::Context;
use crate::http::core::path;
use crate::http::core::reply::{self, Content, Reply};
use crate::util::blocking::in_place;

/// The path prefixes of promansible, without a trailing slash; empty if it is served at the root.
#[derive(Debug, Clone, Default)]
pub struct Prefixes {
    /// The prefix of request paths.
    pub route: Arc<str>,
    /// The prefix of paths in responses.
    pub links: Arc<str>,
}

/// Applies the forwarding headers of a trusted proxy, and of no one else. Returns the client.
pub(crate) fn unwrap<B>(
    context: &mut Context,
    auth_config: &AuthConfig,
    request: &mut Request<B>,
    peer: Arc<Peer>,
) -> Arc<Peer> {
    let proxies = auth_config.proxies();
    let claims = proxies.take(request.headers_mut(), peer.address.ip());
    if let Some(host) = &claims.host {
        request.headers_mut().insert(HOST, host.clone());
        // With HTTP/2, the URI has a host too: the one that the proxy requested.
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(|| request.uri().clone(), Uri::from);
    }
    if let Some(prefix) = &claims.prefix {
        context.prefixes.links = prefix.as_str().into();
    }
    if claims == crate::model::proxies::Claims::default() {
        return peer;
    }
    Arc::new(peer.behind(&claims))
}

/// Strips the route prefix of a request, and a trailing slash after the receiver. *Errors*: the response to a path outside the
/// prefix.
pub(crate) fn strip<B>(context: &Context, request: &mut Request<B>) -> Result<(), Box<Reply>> {
    let prefixes = &context.prefixes;
    let path = request.uri().path();
    let below = path
        .strip_prefix(&*prefixes.route)
        .filter(|below| below.starts_with('/'));
    let below = match below {
        Some(below) if below.strip_suffix('/') == Some(path::WEBHOOK) => path::WEBHOOK,
        Some(below) => below,
        None => return Err(Box::new(outside(prefixes, request.method(), path))),
    };
    if below.len() == path.len() {
        return Ok(());
    }
    let query = request.uri().query();
    let text = query.map_or_else(|| below.to_owned(), |query| format!("{below}?{query}"));
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = text.parse().ok();
    match Uri::from_parts(parts) {
        Ok(uri) => *request.uri_mut() = uri,
        Err(e) => return Err(Box::new(reply::error(StatusCode::BAD_REQUEST, e))),
    }
    Ok(())
}

fn outside(prefixes: &Prefixes, method: &Method, path: &str) -> Reply {
    let route = &prefixes.route;
    let is_root = path == "/" || path == &**route;
    if is_root && matches!(*method, Method::GET | Method::HEAD) {
        let mut reply = reply::text(StatusCode::FOUND, "/");
        let location = HeaderValue::from_static("/");
        reply.headers_mut().insert(LOCATION, location);
        return reply;
    }
    let why = format!(
        "there is nothing at this path: everything is below {route}/ (--web.route-prefix, or the path of --web.external-url)"
    );
    reply::error(StatusCode::NOT_FOUND, why)
}

/// Adds the link prefix to the links and redirects of a response.
pub(crate) fn prefixed(mut reply: Reply, links: &str) -> Reply {
    if links.is_empty() {
        return reply;
    }
    let headers = reply.headers_mut();
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.filter(|location| is_own(location));
    if let Some(location) = location.map(|location| format!("{links}{location}")) {
        let value = HeaderValue::from_str(&location).expect("both are a header's value");
        headers.insert(LOCATION, value);
    }
    let is_page = |value: &HeaderValue| value.as_bytes().starts_with(b"text/html");
    if !headers.get(CONTENT_TYPE).is_some_and(is_page) {
        return reply;
    }
    headers.remove(CONTENT_LENGTH);
    reply.map(|content| match content {
        Content::Parts(parts) => {
            let page: Vec<u8> = parts.into_iter().flatten().collect();
            Content::Parts([in_place(|| linked(&page, links))].into())
        }
        stream @ Content::Stream(_) => stream,
    })
}

/// Whether a link is a path of ours, and not another host.
fn is_own(link: &str) -> bool {
    link.starts_with('/') && !link.starts_with("//")
}

/// The attributes that contain paths. In text, `<` and quotation marks are escaped, so text cannot look like a tag.
const BEFORE_LINKS: [&[u8]; 6] = [
    b" href=\"",
    b" src=\"",
    b" action=\"",
    b" formaction=\"",
    b" data-live=\"",
    b" content=\"0; url=",
];

/// Adds the prefix to the links of a page. Templates write paths from `/` on, so that no template can forget the prefix.
fn linked(page: &[u8], links: &str) -> Bytes {
    let mut linked = Vec::with_capacity(page.len() + page.len() / 16);
    let (mut in_tag, mut at) = (false, 0);
    while at < page.len() {
        let byte = page[at];
        match byte {
            b'<' => in_tag = true,
            b'>' => in_tag = false,
            _ => {}
        }
        let rest = &page[at..];
        let before = BEFORE_LINKS
            .iter()
            .find(|before| in_tag && byte == b' ' && rest.starts_with(before));
        let Some(before) = before else {
            linked.push(byte);
            at += 1;
            continue;
        };
        linked.extend_from_slice(before);
        at += before.len();
        if page.get(at) == Some(&b'/') && page.get(at + 1) != Some(&b'/') {
            linked.extend_from_slice(links.as_bytes());
        }
    }
    linked.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_a_page_begin_with_the_prefix_and_its_text_stays() {
        let page = r##"<a class="x" href="/runs?a=1#b">a href="/x"</a><a href="#main"></a><a href="https://a/b"></a>
<a href="//evil"></a><form action="/run"><button formaction="/hosts/a"></form><div data-live="/api/v1/events">
<link href="/assets/a"><script src="/assets/b"></script><meta http-equiv="refresh" content="0; url=/runs"> > href="/y""##;
        let wanted = r##"<a class="x" href="/pm/runs?a=1#b">a href="/x"</a><a href="#main"></a><a href="https://a/b"></a>
<a href="//evil"></a><form action="/pm/run"><button formaction="/pm/hosts/a"></form><div data-live="/pm/api/v1/events">
<link href="/pm/assets/a"><script src="/pm/assets/b"></script><meta http-equiv="refresh" content="0; url=/pm/runs"> > href="/y""##;
        assert_eq!(linked(page.as_bytes(), "/pm"), wanted.as_bytes());
    }
}
