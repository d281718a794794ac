//! The metric of requests that were rejected before they were processed, by reason.

use prometheus::{IntCounterVec, Registry};

use super::register::counters;

/// The reason to reject a request before it is processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// The request has no credentials.
    NoCredentials,
    /// The password, the token or the scheme is wrong.
    WrongCredentials,
    /// The caller lacks the required scope.
    Forbidden,
    /// Too many passwords wait to be verified.
    TooManyPasswords,
    /// `rate_limit` is exceeded.
    RateLimit,
    /// The `Host` header is missing, repeated, or possibly that of another site.
    Host,
    /// The bodies or the responses of all requests together are too large.
    Memory,
    /// The HTTP/2 connection has too many concurrent requests before its caller is known.
    Streams,
}

impl Rejected {
    /// Every reason, in the order of the checks.
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

    /// Returns the label value.
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
        "Requests and sign-ins that were rejected before they were processed, by reason.",
        &["reason"],
    )?;
    for why in Rejected::ALL {
        rejected.with_label_values(&[why.as_str()]);
    }
    Ok(rejected)
}
