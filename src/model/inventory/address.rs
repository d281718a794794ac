//! Comparable addresses, and the host part of labels such as `instance`.

use std::net::{IpAddr, Ipv6Addr};

/// The address of a host. IP addresses are compared by value, names character by character.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Address {
    /// An IP address with the zone after `%` (empty if there is none).
    Ip(IpAddr, String),
    /// Any other text.
    Name(String),
}

impl Address {
    pub(super) fn of(text: &str) -> Self {
        let (address, zone) = text.split_once('%').unwrap_or((text, ""));
        match address.parse::<IpAddr>() {
            Ok(ip) if ip.is_ipv6() || zone.is_empty() => Self::Ip(ip, zone.to_owned()),
            _ => Self::Name(text.to_owned()),
        }
    }
}

impl Address {
    /// Returns whether this is a loopback address.
    pub(super) fn is_loopback(&self) -> bool {
        match self {
            Self::Ip(ip, _) => ip.is_loopback(),
            Self::Name(name) => name == "localhost",
        }
    }
}

/// Extracts the host from a label: `web1:9100`, `10.0.0.5:9100`, `[::1]:9100`, `[fe80::1%eth0]:9100`, a bare `fe80::1`,
/// and the URLs of probes such as `http://web1:8080/x`.
///
/// A text with several colons that is not an IPv6 address, or with something other than a port after the last one, is
/// returned unchanged. The result is empty if a bracket is not closed.
pub(super) fn host_part(label: &str) -> &str {
    let text = match label.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            authority.rsplit('@').next().unwrap_or_default()
        }
        _ => label,
    };
    if let Some(inside) = text.strip_prefix('[') {
        return match inside.split_once(']') {
            Some((host, "")) => host,
            Some((host, port)) if port.strip_prefix(':').is_some_and(is_port) => host,
            _ => "",
        };
    }
    match text.split_once(':') {
        Some((host, port)) if is_port(port) => host,
        // At most one colon, or an IPv6 address without brackets, whose last part is not a port.
        _ => text,
    }
}

/// Returns whether a text is an IPv6 address that consists only of hexadecimal digits and colons.
pub(super) fn is_plain_ipv6(text: &str) -> bool {
    !text.contains('.') && text.parse::<Ipv6Addr>().is_ok()
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_the_brackets_and_the_url_are_cut() {
        let table = [
            ("web1", "web1"),
            ("web1:9100", "web1"),
            ("10.0.0.5:9100", "10.0.0.5"),
            ("[::1]:9100", "::1"),
            ("[::1]", "::1"),
            ("[fe80::1%eth0]:9100", "fe80::1%eth0"),
            ("::1", "::1"),
            ("fe80::1", "fe80::1"),
            ("fe80::1:9100", "fe80::1:9100"),
            ("http://web1:8080/x", "web1"),
            ("https://web1/x:y?z", "web1"),
            ("https://user:secret@web1:443/", "web1"),
            ("tcp://[::1]:22", "::1"),
            ("http://web1?x=a@web2", "web1"),
            ("web1:", "web1:"),
            ("web1:http", "web1:http"),
            ("web1:99999", "web1:99999"),
            ("web1:+80", "web1:+80"),
            ("a:b:80", "a:b:80"),
            ("web1/x", "web1/x"),
            ("a b://web1", "a b://web1"),
            ("[::1", ""),
            ("[::1]x", ""),
            ("[::1]:", ""),
            ("[]:80", ""),
            (":9100", ""),
            ("http://", ""),
            ("", ""),
        ];
        for (label, expected) in table {
            assert_eq!(host_part(label), expected, "{label:?}");
        }
    }

    #[test]
    fn ip_addresses_are_equal_however_they_are_spelled() {
        let same = |a, b| Address::of(a) == Address::of(b);
        assert!(same("::1", "0:0:0:0:0:0:0:1"));
        assert!(same("FE80::A%eth0", "fe80::a%eth0"));
        assert!(!same("fe80::a%eth0", "fe80::a%eth1"));
        assert!(!same("fe80::a%eth0", "fe80::a"));
        assert!(!same("10.0.0.5", "10.0.0.50"));
        assert!(!same("10.0.0.5", "10.0.0.5%x"));
        assert!(!same("web1", "WEB1"));
    }
}
