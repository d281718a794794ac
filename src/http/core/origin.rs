//! Protects against requests from pages of other sites (CSRF).

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::header::{HOST, HeaderMap, HeaderName, ORIGIN};

const CROSS_SITE: &str = "this request was made by a page of another site";

const REBOUND: &str = "this request was made by a page, and uses a DNS name that another site may have pointed here (DNS rebinding): \
     open promansible by its IP address or as localhost, or set --web.external-url to its address";

/// Rejects requests that a browser sends for a page of another site. Otherwise such a page could make an administrator's
/// browser run roles. Alertmanager and other programs send neither header.
///
/// A site can also point its own name at our address, and is then the same site for the browser (DNS rebinding). This needs
/// a DNS name: an IP address cannot be pointed elsewhere, and no site can own localhost.
///
/// `external` is the origin of the portal, such as `https://promansible.example.org`: its pages are ours.
pub(crate) fn not_of_another_site(
    headers: &HeaderMap,
    external: Option<&str>,
) -> Result<(), &'static str> {
    let text = |name: HeaderName| headers.get(name).map(|v| v.to_str().unwrap_or("?"));
    if let Some(site) = text(HeaderName::from_static("sec-fetch-site"))
        && !matches!(site, "same-origin" | "none")
    {
        return Err(CROSS_SITE);
    }
    let Some(origin) = text(ORIGIN) else {
        return Ok(());
    };
    if external.is_some_and(|external| origin.eq_ignore_ascii_case(external)) {
        return Ok(());
    }
    match (origin.split_once("://"), text(HOST)) {
        (Some((_, origin)), Some(host)) if origin == host && is_no_dns_name(host) => Ok(()),
        (Some((_, origin)), Some(host)) if origin == host => Err(REBOUND),
        _ => Err(CROSS_SITE),
    }
}

/// Whether a browser explicitly states that one of our own pages sent this request. A form requires this, because a page of
/// another site can send one. Programs do not send these headers, so they must send JSON.
pub(crate) fn of_own_page(headers: &HeaderMap, external: Option<&str>) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if not_of_another_site(headers, external).is_err() {
        return false;
    }
    if text(ORIGIN).is_some() {
        return true; // already compared
    }
    let same_origin = text(HeaderName::from_static("sec-fetch-site")) == Some("same-origin");
    let name = external.and_then(|external| external.split_once("://"));
    let named = |host: &str| name.is_some_and(|(_, name)| host.eq_ignore_ascii_case(name));
    same_origin && text(HOST).is_some_and(|host| is_no_dns_name(host) || named(host))
}

/// Whether a Host header, with or without a port, is an IP address or localhost.
pub(crate) fn is_no_dns_name(host: &str) -> bool {
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
            assert_eq!(
                not_of_another_site(&headers(pairs), None),
                *said,
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn a_page_of_where_people_open_it_is_ours() {
        let external = Some("https://pm.example.org");
        let own = |pairs: &[(&'static str, &str)]| of_own_page(&headers(pairs), external);
        let origin = ("origin", "https://pm.example.org");
        for host in ["pm.example.org", "127.0.0.1:10942"] {
            assert!(own(&[
                ("host", host),
                origin,
                ("sec-fetch-site", "same-origin")
            ]));
            assert!(own(&[("host", host), origin]));
            assert!(!own(&[
                ("host", host),
                origin,
                ("sec-fetch-site", "cross-site")
            ]));
            assert!(!own(&[("host", host), ("origin", "http://pm.example.org")]));
            assert!(!own(&[("host", host), ("origin", "https://evil.example")]));
            assert!(!own(&[("host", host)]));
        }
        let same = ("sec-fetch-site", "same-origin");
        assert!(own(&[("host", "pm.example.org"), same]));
        assert!(!own(&[("host", "evil.example"), same]));
        assert!(!of_own_page(
            &headers(&[("host", "pm.example.org"), same]),
            None
        ));
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
