//! Checks the Host header of requests.
//!
//! A site can point its DNS name at our address, so that its pages send us requests as if we were that site (DNS rebinding).
//! Without authentication such a page could read everything. So without it, only names are accepted that no other site can
//! have.

use hyper::header::{HOST, HeaderMap};
use hyper::http::uri::Authority;
use hyper::{Request, Version};

use crate::http::core::origin::is_no_dns_name;

/// The message for a request with no host, or with several.
const UNCLEAR: &str = "want exactly one Host header, the same as the host in the request's URL";

const REBOUND: &str = "no authentication is configured, and this request uses a DNS name that another site may have pointed here (DNS rebinding): \
     use promansible's IP address or localhost, set --web.external-url to its address, or configure authentication";

/// Why a host is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotOurs {
    /// The request has no host, or more than one.
    Unclear,
    /// The host may be the name of another site.
    Rebound,
}

impl NotOurs {
    /// Returns the message: what is wrong and how to fix it.
    pub(crate) fn why(self) -> &'static str {
        match self {
            Self::Unclear => UNCLEAR,
            Self::Rebound => REBOUND,
        }
    }
}

/// Rejects a request that does not name exactly one host. HTTP/1.0 has no Host header.
pub(crate) fn named_once<B>(request: &Request<B>) -> Result<(), NotOurs> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let authority = request.uri().authority().map(Authority::as_str);
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            // The URI may have a host too, and always has one with HTTP/2.
            let is_same = authority.is_none_or(|other| {
                let host = host.as_bytes();
                host.eq_ignore_ascii_case(other.as_bytes())
            });
            is_same.then_some(()).ok_or(NotOurs::Unclear)
        }
        (None, None) if request.version() == Version::HTTP_10 => Ok(()),
        (None, None) | (_, Some(_)) => Err(NotOurs::Unclear),
    }
}

/// Rejects a host that could be the name of another site. `external` is the origin of the portal, such as
/// `https://promansible.example.org`.
pub(crate) fn is_ours(headers: &HeaderMap, external: Option<&str>) -> Result<(), NotOurs> {
    // Browsers always send it; HTTP/1.0 does not have it.
    let Some(host) = headers.get(HOST) else {
        return Ok(());
    };
    let host = host.to_str().unwrap_or_default();
    let external = external.and_then(|external| external.split_once("://"));
    let is_external = external.is_some_and(|(_, name)| host.eq_ignore_ascii_case(name));
    if is_external || is_no_dns_name(host) {
        Ok(())
    } else {
        Err(NotOurs::Rebound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, uri: &str, hosts: &[&str]) -> Request<()> {
        let mut request = Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn a_request_names_one_host() {
        for (version, uri, hosts, is_good) in [
            (Version::HTTP_11, "/", &["a:1"][..], true),
            (Version::HTTP_11, "/", &[], false),
            (Version::HTTP_11, "/", &["a", "a"], false),
            (Version::HTTP_11, "/", &["a", "b"], false),
            (Version::HTTP_10, "/", &[], true),
            (Version::HTTP_10, "/", &["a", "b"], false),
            (Version::HTTP_11, "http://A:1/", &["a:1"], true),
            (Version::HTTP_11, "http://b:1/", &["a:1"], false),
            (Version::HTTP_2, "https://a:1/", &["a:1"], true),
            (Version::HTTP_2, "https://b:1/", &["a:1"], false),
            (Version::HTTP_2, "/", &[], false),
        ] {
            let found = named_once(&request(version, uri, hosts));
            assert_eq!(found.is_ok(), is_good, "{version:?} {uri} {hosts:?}");
        }
    }

    #[test]
    fn only_names_that_no_other_site_can_have_are_ours() {
        let external = Some("https://pm.example.org");
        for (host, external, is_good) in [
            ("127.0.0.1:10942", None, true),
            ("[::1]:10942", None, true),
            ("localhost", None, true),
            ("pm.example.org", None, false),
            ("pm.example.org", external, true),
            ("PM.example.org", external, true),
            ("pm.example.org:10942", external, false),
            ("evil.example", external, false),
            ("", external, false),
        ] {
            let request = request(Version::HTTP_11, "/", &[host]);
            let found = is_ours(request.headers(), external);
            assert_eq!(found.is_ok(), is_good, "{host} {external:?}");
        }
    }
}
