//! Reverse proxies before promansible, and what their headers say of a request.
//!
//! Anybody can send such a header. One counts only where the TCP connection comes from a proxy that the configuration trusts,
//! and of a list of addresses only what trusted proxies added. Whoever sends the request, the headers are taken out of it, so
//! that nothing behind this believes one.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use crate::model::identity::Scopes;

/// Which proxies are trusted, and in which words they speak.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxies {
    /// Where they are; nowhere.
    pub trusted: Vec<Network>,
    /// Which headers they set.
    pub headers: Spoken,
    /// How they say who the user is, if they do.
    pub user: Option<ProxyUser>,
}

/// The headers that proxies set. Only one kind counts: a proxy passes on the other as its client sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spoken {
    /// `X-Forwarded-For`, `-Proto`, `-Host`, `-Prefix`.
    #[default]
    XForwarded,
    /// `Forwarded`, as RFC 7239 has it.
    Forwarded,
}

/// A user whom a proxy has signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyUser {
    /// The header that names the user.
    pub header: HeaderName,
    /// What a user may do who is not named; nothing.
    pub scopes: Scopes,
    /// What those may do who are.
    pub users: BTreeMap<String, Scopes>,
}

/// Addresses that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Reads an address or `ADDRESS/BITS`.
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
        // An address beyond its own network is a typing error.
        (bits <= most && network.key(address) == Self::number(address)).then_some(network)
    }

    /// Whether it holds this address.
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

    /// The bits of an address that count.
    fn key(&self, address: IpAddr) -> u128 {
        let mask = u128::MAX.checked_shl(128 - u32::from(self.bits));
        Self::number(address) & mask.unwrap_or_default()
    }
}

/// What a trusted proxy says of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims {
    /// Where its client is.
    pub address: Option<SocketAddr>,
    /// Whether that spoke TLS.
    pub is_tls: Option<bool>,
    /// Which host it asked for.
    pub host: Option<HeaderValue>,
    /// Below which path the proxy shows promansible, without a slash at its end.
    pub prefix: Option<String>,
    /// Which user the proxy signed in.
    pub user: ProxySaid,
}

/// What a proxy says of the user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ProxySaid {
    /// Nothing.
    #[default]
    Nothing,
    /// The name.
    User(String),
    /// Something else than one name.
    Unclear,
}

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

impl Proxies {
    /// Takes the headers of proxies out of a request. What they say counts if the peer is trusted.
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

    /// Whether this address is a proxy's that may say who the user is.
    pub fn vouch(&self, peer: IpAddr) -> bool {
        self.user.is_some() && self.trust(peer)
    }

    fn trust(&self, address: IpAddr) -> bool {
        let mut trusted = self.trusted.iter();
        trusted.any(|network| network.contains(address))
    }

    fn claims(&self, headers: &HeaderMap) -> Claims {
        let said = match self.headers {
            Spoken::XForwarded => x_forwarded(headers),
            Spoken::Forwarded => forwarded(headers),
        };
        let valid_host = |host: &String| {
            let is_host = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
            !host.is_empty() && host.bytes().all(is_host)
        };
        Claims {
            address: self.client(&said.chain),
            is_tls: said.proto.and_then(|proto| match &*proto {
                "https" => Some(true),
                "http" => Some(false),
                _ => None,
            }),
            host: said
                .host
                .filter(valid_host)
                .and_then(|host| HeaderValue::from_str(&host).ok()),
            prefix: said.prefix.and_then(|prefix| path_prefix(&prefix)),
            user: self.user_of(headers),
        }
    }

    /// The last address of the chain that is no proxy of ours. Whatever stands before it, its client may have made up.
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

    fn user_of(&self, headers: &HeaderMap) -> ProxySaid {
        const LONGEST: usize = 256;
        let Some(user) = &self.user else {
            return ProxySaid::Nothing;
        };
        let mut values = headers.get_all(&user.header).iter();
        let (first, more) = (values.next(), values.next());
        let name = match (first.map(HeaderValue::to_str), more) {
            (None, _) => return ProxySaid::Nothing,
            (Some(Ok(name)), None) => name.trim(),
            _ => return ProxySaid::Unclear,
        };
        match name.len() {
            // A proxy that asks nobody passes the variable on, and that is empty.
            0 => ProxySaid::Nothing,
            1..=LONGEST => ProxySaid::User(name.to_owned()),
            _ => ProxySaid::Unclear,
        }
    }
}

/// A path below which everything is: `/a/b`, or empty. `None` where it is no such path.
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

/// An address with or without a port, as proxies write it.
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

/// What headers say, as text. Of a list the last element is the nearest proxy's.
#[derive(Default)]
struct Said {
    chain: Vec<String>,
    proto: Option<String>,
    host: Option<String>,
    prefix: Option<String>,
}

/// The elements of a header that may come several times.
fn elements(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter();
    let texts = values.map(|value| value.to_str().unwrap_or("?"));
    texts
        .flat_map(|text| quoted_split(text, ','))
        .map(|element| element.trim().to_owned())
        .collect()
}

/// Splits a text, but not inside quotation marks.
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

fn x_forwarded(headers: &HeaderMap) -> Said {
    let last = |name| elements(headers, name).pop();
    Said {
        chain: elements(headers, &FOR),
        proto: last(&PROTO).map(|proto| proto.to_ascii_lowercase()),
        host: last(&HOST),
        prefix: last(&PREFIX),
    }
}

fn forwarded(headers: &HeaderMap) -> Said {
    let mut said = Said::default();
    for element in elements(headers, &FORWARDED) {
        // What the nearest proxy does not say is not said.
        (said.proto, said.host) = (None, None);
        let mut client = "unknown".to_owned();
        for pair in quoted_split(&element, ';') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = value.trim().trim_matches('"').to_owned();
            match name.trim().to_ascii_lowercase().as_str() {
                "for" => client = value,
                "proto" => said.proto = Some(value.to_ascii_lowercase()),
                "host" => said.host = Some(value),
                _ => {}
            }
        }
        said.chain.push(client);
    }
    // There is no such word in RFC 7239; proxies that take a path away say it beside that.
    said.prefix = elements(headers, &PREFIX).pop();
    said
}

#[cfg(test)]
mod tests;
