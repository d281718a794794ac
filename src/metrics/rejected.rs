//! Requests that were refused before anything looked at them, by the reason.

use prometheus::{IntCounterVec, Registry};

use super::register::counters;

/// Why a request is refused before anything looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// It brings nothing that says who asks.
    NoCredentials,
    /// The password, the token or the scheme is wrong.
    WrongCredentials,
    /// Its caller has not the scope that it needs.
    Forbidden,
    /// More passwords wait to be compared than may.
    TooManyPasswords,
    /// More requests come than `rate_limit` allows.
    RateLimit,
    /// It names no host, several, or one that may be another site's.
    Host,
    /// The bodies, or the answers, of all requests together are too large.
    Memory,
    /// Its HTTP/2 connection has too many requests at once before a caller of it is known.
    Streams,
}

impl Rejected {
    /// Every reason, in the order in which they are looked at.
    pub const ALL: [Self; 8] = [
        Self::Streams,
        Self::Host,
        Self::RateLimit,
        Self::TooManyPasswords,
        Self::NoCredentials,
        Self::WrongCredentials,
        Self::Forbidden,
        Self::Memory,
    ];

    /// Its name in the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCredentials => "no_credentials",
            Self::WrongCredentials => "wrong_credentials",
            Self::Forbidden => "forbidden",
            Self::TooManyPasswords => "too_many_passwords",
            Self::RateLimit => "rate_limit",
            Self::Host => "host",
            Self::Memory => "memory",
            Self::Streams => "streams",
        }
    }
}

pub(super) fn register(registry: &Registry) -> Result<IntCounterVec, prometheus::Error> {
    let rejected = counters(
        registry,
        "requests_rejected_total",
        "Requests and sign-ins that were refused before anything looked at them, by the reason.",
        &["reason"],
    )?;
    for why in Rejected::ALL {
        rejected.with_label_values(&[why.as_str()]);
    }
    Ok(rejected)
}
