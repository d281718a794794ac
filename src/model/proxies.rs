//! Reverse proxies in front of promansible, and the headers that they set.
//!
//! Any client can send such headers. They count only if the TCP connection comes from a proxy that the configuration
//! trusts, and in a list of addresses only the part added by trusted proxies counts. The headers are always removed
//! from the request, so that no later code trusts them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use crate::model::identity::Scopes;

/// The trusted proxies and their headers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxies {
    /// The addresses of the proxies; none by default.
    pub trusted: Vec<Network>,
    /// The kind of headers that the proxies set.
    pub headers: HeaderKind,
    /// The header that names the user, if the proxies authenticate users.
    pub user: Option<ProxyUser>,
}

/// The kind of headers that proxies set. Only one kind counts: a proxy forwards the other as its client sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderKind {
    /// `X-Forwarded-For`, `-Proto`, `-Host`, `-Prefix`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The authentication of users by a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyUser {
    /// The header that names the user.
    pub header: HeaderName,
    /// The scopes of users who are not listed; none by default.
    pub scopes: Scopes,
    /// The scopes of the listed users.
    pub users: BTreeMap<String, Scopes>,
}

/// A network of IP addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Parses an address or `ADDRESS/BITS`.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) if bits.bytes().all(|b| b.is_ascii_digit()) => bits.parse().ok()?,
            Some(_) => return None,
        };
        let network = Self { address, bits };
        // Host bits that are not zero are a typing error.
        (bits <= most && network.key(address) == Self::number(address)).then_some(network)
    }

    /// Returns whether the network contains an address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_alike = self.address.is_ipv4() == address.is_ipv4();
        is_alike && self.key(address) == self.key(self.address)
    }

    fn number(address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
            IpAddr::V6(address) => address.to_bits(),
        }
    }

    /// Returns the network part of an address.
    fn key(&self, address: IpAddr) -> u128 {
        let mask = u128::MAX.checked_shl(128 - u32::from(self.bits));
        Self::number(address) & mask.unwrap_or_default()
    }
}

/// The claims of a trusted proxy about a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims {
    /// The address of the client.
    pub address: Option<SocketAddr>,
    /// Whether the client used TLS.
    pub is_tls: Option<bool>,
    /// The host that the client requested.
    pub host: Option<HeaderValue>,
    /// The path prefix under which the proxy serves promansible, without a trailing slash.
    pub prefix: Option<String>,
    /// The user whom the proxy authenticated.
    pub user: ProxyUserClaim,
}

/// The claim of a proxy about the user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ProxyUserClaim {
    /// The header is missing or empty.
    #[default]
    Nothing,
    /// The name of the user.
    User(String),
    /// The header is not a single valid name.
    Unclear,
}

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

impl Proxies {
    /// Removes the headers of proxies from a request, and returns their claims if the peer is trusted.
    pub fn take(&self, headers: &mut HeaderMap, peer: IpAddr) -> Claims {
        let claims = if self.trust(peer) {
            self.claims(headers)
        } else {
            Claims::default()
        };
        for name in [FOR, PROTO, HOST, PREFIX, FORWARDED, REAL_IP] {
            headers.remove(name);
        }
        if let Some(user) = &self.user {
            headers.remove(&user.header);
        }
        claims
    }

    /// Returns whether this address is a proxy that may authenticate users.
    pub fn vouch(&self, peer: IpAddr) -> bool {
        self.user.is_some() && self.trust(peer)
    }

    fn trust(&self, address: IpAddr) -> bool {
        let mut trusted = self.trusted.iter();
        trusted.any(|network| network.contains(address))
    }

    fn claims(&self, headers: &HeaderMap) -> Claims {
        let values = match self.headers {
            HeaderKind::XForwarded => x_forwarded(headers),
            HeaderKind::Forwarded => forwarded(headers),
        };
        let valid_host = |host: &String| {
            let is_host = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
            !host.is_empty() && host.bytes().all(is_host)
        };
        Claims {
            address: self.client(&values.chain),
            is_tls: values.proto.and_then(|proto| match &*proto {
                "https" => Some(true),
                "http" => Some(false),
                _ => None,
            }),
            host: values
                .host
                .filter(valid_host)
                .and_then(|host| HeaderValue::from_str(&host).ok()),
            prefix: values.prefix.and_then(|prefix| path_prefix(&prefix)),
            user: self.user_of(headers),
        }
    }

    /// Returns the last address of the chain that is not a trusted proxy. Earlier addresses may be forged by that
    /// client.
    fn client(&self, chain: &[String]) -> Option<SocketAddr> {
        let mut client = None;
        for text in chain.iter().rev() {
            let Some(address) = address(text) else { break };
            client = Some(address);
            if !self.trust(address.ip()) {
                break;
            }
        }
        client
    }

    fn user_of(&self, headers: &HeaderMap) -> ProxyUserClaim {
        const LONGEST: usize = 256;
        let Some(user) = &self.user else {
            return ProxyUserClaim::Nothing;
        };
        let mut values = headers.get_all(&user.header).iter();
        let (first, more) = (values.next(), values.next());
        let name = match (first.map(HeaderValue::to_str), more) {
            (None, _) => return ProxyUserClaim::Nothing,
            (Some(Ok(name)), None) => name.trim(),
            _ => return ProxyUserClaim::Unclear,
        };
        match name.len() {
            // A proxy that did not authenticate the request forwards its variable, which is empty.
            0 => ProxyUserClaim::Nothing,
            1..=LONGEST => ProxyUserClaim::User(name.to_owned()),
            _ => ProxyUserClaim::Unclear,
        }
    }
}

/// Parses a path prefix: `/a/b`, or empty. Returns `None` if it is not a valid prefix.
pub fn path_prefix(text: &str) -> Option<String> {
    let path = text.trim_end_matches('/');
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let good = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(is_part);
    let is_path = match path.strip_prefix('/') {
        Some(parts) => parts.split('/').all(good),
        None => path.is_empty(),
    };
    (is_path && path.len() <= 256).then(|| path.to_owned())
}

/// Parses an address with or without a port, as proxies write it.
fn address(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(address.to_canonical(), 0));
    }
    if let Some(bare) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        return Some(SocketAddr::new(bare.parse().ok()?, 0));
    }
    text.parse().ok()
}

/// The values of the headers as text. The last element of a list is from the nearest proxy.
#[derive(Default)]
struct Values {
    chain: Vec<String>,
    proto: Option<String>,
    host: Option<String>,
    prefix: Option<String>,
}

/// Returns the elements of a header that may be repeated.
fn elements(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter();
    let texts = values.map(|value| value.to_str().unwrap_or("?"));
    texts
        .flat_map(|text| quoted_split(text, ','))
        .map(|element| element.trim().to_owned())
        .collect()
}

/// Splits a text, except inside quotation marks.
fn quoted_split(text: &str, by: char) -> Vec<&str> {
    let (mut parts, mut begin) = (Vec::new(), 0);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            c if c == by && !is_quoted => {
                parts.push(&text[begin..at]);
                begin = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

fn x_forwarded(headers: &HeaderMap) -> Values {
    let last = |name| elements(headers, name).pop();
    Values {
        chain: elements(headers, &FOR),
        proto: last(&PROTO).map(|proto| proto.to_ascii_lowercase()),
        host: last(&HOST),
        prefix: last(&PREFIX),
    }
}

fn forwarded(headers: &HeaderMap) -> Values {
    let mut values = Values::default();
    for element in elements(headers, &FORWARDED) {
        // Only the values of the nearest proxy count.
        (values.proto, values.host) = (None, None);
        let mut client = "unknown".to_owned();
        for pair in quoted_split(&element, ';') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = value.trim().trim_matches('"').to_owned();
            match name.trim().to_ascii_lowercase().as_str() {
                "for" => client = value,
                "proto" => values.proto = Some(value.to_ascii_lowercase()),
                "host" => values.host = Some(value),
                _ => {}
            }
        }
        values.chain.push(client);
    }
    // RFC 7239 has no parameter for the prefix; proxies that strip a path send this header in addition.
    values.prefix = elements(headers, &PREFIX).pop();
    values
}

#[cfg(test)]
mod tests;
