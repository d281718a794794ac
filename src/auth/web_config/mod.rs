//! The web configuration file of Prometheus's servers: TLS, client certificates, users, headers, a rate limit.
//!
//! Pure: text → [`WebConfig`]. The files that it names are read by [`crate::auth`].
//!
//! *Source*: `docs/web-configuration.md`, `web/tls_config.go` and `web/handler.go` of prometheus/exporter-toolkit. Stricter
//! than those: what could not be done (TLS 1.0, a curve that rustls has not) and what would let in more people than it
//! seems to (`client_allowed_sans` that nobody is asked for) is an error.

mod headers;
#[cfg(test)]
mod tests;
mod text;
mod tls;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};

use crate::config::ConfigErrors;

/// A web configuration without defects.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct WebConfig {
    /// How TLS is spoken; `None` means that it is not.
    pub tls: Option<Tls>,
    /// Whether HTTP/2 is offered, by TLS alone; true.
    pub http2: bool,
    /// Headers of every answer that has not its own of that name.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// User → bcrypt hash.
    pub users: BTreeMap<String, String>,
    /// How many requests are taken.
    pub rate_limit: Option<RateLimit>,
}

/// A token bucket for all requests together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// After which time there is room for one more.
    pub interval: Duration,
    /// How many may come at once.
    pub burst: u32,
}

/// How TLS is spoken.
#[derive(Clone, PartialEq, Eq)]
pub struct Tls {
    /// The server's certificate, with those between it and its authority.
    pub cert: Pem,
    /// Its key.
    pub key: Pem,
    /// Who issues the certificates of clients.
    pub client_ca: Option<Pem>,
    /// What is asked of clients; nothing.
    pub client_auth: ClientAuth,
    /// One of these names must be in a client's certificate, if this is there.
    pub client_allowed_sans: Option<Vec<String>>,
    /// The oldest version; 1.2.
    pub min_version: Version,
    /// The newest version; 1.3.
    pub max_version: Version,
    /// Names of cipher suites for TLS 1.2; empty means all.
    pub cipher_suites: Vec<&'static str>,
    /// Names of key exchange groups; empty means all.
    pub curves: Vec<&'static str>,
    /// Whether the server's order of cipher suites counts; true.
    pub prefer_server_cipher_suites: bool,
}

/// Where PEM text is.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// In the web configuration itself.
    Inline(String),
    /// In a file.
    File(PathBuf),
}

/// What is asked of clients, in the words of Go's `crypto/tls`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// Nothing.
    None,
    /// A certificate, of which nothing is checked.
    Request,
    /// The same, and nobody comes in without one.
    RequireAny,
    /// A certificate of `client_ca`, from those who have one.
    VerifyIfGiven,
    /// A certificate of `client_ca`.
    RequireAndVerify,
}

impl ClientAuth {
    /// Whether a certificate that is shown is a proof.
    pub const fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }

    /// Whether nobody comes in without a certificate.
    pub const fn requires(self) -> bool {
        matches!(self, Self::RequireAny | Self::RequireAndVerify)
    }
}

/// A version of TLS that rustls has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 1.2
    Tls12,
    /// 1.3
    Tls13,
}

impl WebConfig {
    /// Whether nobody comes in without saying who he is.
    pub fn authenticates(&self) -> bool {
        let asks = |tls: &Tls| tls.client_auth == ClientAuth::RequireAndVerify;
        !self.users.is_empty() || self.tls.as_ref().is_some_and(asks)
    }

    /// Whether the file itself holds something that not everybody may read.
    pub fn holds_secrets(&self) -> bool {
        let holds_key = |tls: &Tls| matches!(tls.key, Pem::Inline(_));
        !self.users.is_empty() || self.tls.as_ref().is_some_and(holds_key)
    }
}

/// Reads a web configuration. `file` is its name in errors, and relative paths start at its folder.
///
/// *Errors*: all that is wrong with its values, or the first thing that is wrong with its YAML. No line of the file is in
/// them: it may hold a secret.
pub fn parse(file: &Path, text: &str) -> Result<WebConfig, ConfigErrors> {
    text::read(file, text).map_err(ConfigErrors::without_lines)
}
