//! The web configuration file of Prometheus's servers: TLS, client certificates, users, headers, a rate limit.
//!
//! Pure: text → [`WebConfig`]. [`crate::auth`] reads the files that it names.
//!
//! *Source*: `docs/web-configuration.md`, `web/tls_config.go` and `web/handler.go` of prometheus/exporter-toolkit. Stricter
//! than those: unsupported settings (TLS 1.0, a curve that rustls lacks) are errors, and so are settings that admit more
//! clients than they seem to (`client_allowed_sans` without client certificates).

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

/// A valid web configuration.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct WebConfig {
    /// TLS; `None` if it is off.
    pub tls: Option<Tls>,
    /// Whether HTTP/2 is offered, with TLS only; true.
    pub http2: bool,
    /// Headers to add to each response that does not set them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// User → bcrypt hash.
    pub users: BTreeMap<String, String>,
    pub rate_limit: Option<RateLimit>,
}

/// A token bucket for all requests together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// The time after which one more request is allowed.
    pub interval: Duration,
    /// The maximum number of requests at once.
    pub burst: u32,
}

/// The TLS settings.
#[derive(Clone, PartialEq, Eq)]
pub struct Tls {
    /// The server's certificate, with its intermediate certificates.
    pub cert: Pem,
    pub key: Pem,
    /// The CA that issues client certificates.
    pub client_ca: Option<Pem>,
    /// The policy for client certificates; none.
    pub client_auth: ClientAuth,
    /// If set, a client certificate must have one of these names.
    pub client_allowed_sans: Option<Vec<String>>,
    /// The oldest version; 1.2.
    pub min_version: Version,
    /// The newest version; 1.3.
    pub max_version: Version,
    /// Names of cipher suites for TLS 1.2; empty means all.
    pub cipher_suites: Vec<&'static str>,
    /// Names of key exchange groups; empty means all.
    pub curves: Vec<&'static str>,
    /// Whether the server's order of cipher suites takes precedence; true.
    pub prefer_server_cipher_suites: bool,
}

/// The place of PEM text.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// In the web configuration itself.
    Inline(String),
    /// In a file.
    File(PathBuf),
}

/// The policy for client certificates, as in Go's `crypto/tls`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// Request none.
    None,
    /// Request a certificate, but verify nothing.
    Request,
    /// Require a certificate, but verify nothing.
    RequireAny,
    /// Request a certificate. If the client sends one, `client_ca` must have issued it.
    VerifyIfGiven,
    /// Require a certificate that `client_ca` issued.
    RequireAndVerify,
}

impl ClientAuth {
    /// Whether client certificates are verified.
    pub const fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }

    /// Whether clients need a certificate.
    pub const fn requires(self) -> bool {
        matches!(self, Self::RequireAny | Self::RequireAndVerify)
    }
}

/// A TLS version that rustls supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 1.2
    Tls12,
    /// 1.3
    Tls13,
}

impl WebConfig {
    /// Whether clients must authenticate.
    pub fn authenticates(&self) -> bool {
        let asks = |tls: &Tls| tls.client_auth == ClientAuth::RequireAndVerify;
        !self.users.is_empty() || self.tls.as_ref().is_some_and(asks)
    }

    /// Whether the file itself contains secrets.
    pub fn holds_secrets(&self) -> bool {
        let holds_key = |tls: &Tls| matches!(tls.key, Pem::Inline(_));
        !self.users.is_empty() || self.tls.as_ref().is_some_and(holds_key)
    }
}

/// Parses a web configuration. `file` is its name in errors; relative paths start at its folder.
///
/// *Errors*: all invalid values, or the first YAML error. The errors contain no line of the file, which may be a secret.
pub fn parse(file: &Path, text: &str) -> Result<WebConfig, ConfigErrors> {
    text::read(file, text).map_err(ConfigErrors::without_lines)
}
