//! Reading a request's body, and unpacking it, within its limits.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::header::CONTENT_ENCODING;
use hyper::{HeaderMap, Request, StatusCode, Version, body::Incoming};

use crate::http::core::gunzip::gunzip;
use crate::http::core::memory_budget::{Budget, Share};
use crate::http::core::slots::Slot;
use crate::metrics::{Metrics, Rejected};

/// Why a body could not be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// Larger than the limit, as it came or when unpacked.
    #[error("the body is larger than {limit} bytes (receiver.max_body_size)")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The bodies of all requests together are larger than their limit.
    #[error(
        "the bodies of all requests together would be larger than {limit} bytes ({BODIES_MIB} MiB, or 8 times receiver.max_body_size where that is more): try again in a moment"
    )]
    TooMuch {
        /// The limit.
        limit: u64,
    },
    /// It did not come in time. Not the sender's fault for certain, so it may try again.
    #[error("the body did not arrive within {0:?} (receiver.body_timeout)")]
    TooSlow(Duration),
    /// The connection broke.
    #[error("the body broke off: {0}")]
    BrokeOff(String),
    /// It is packed in a way that we do not know.
    #[error("Content-Encoding {0:?}: want gzip or none")]
    Encoding(String),
    /// It says gzip, and is not.
    #[error("the body is not gzip, although its Content-Encoding says so")]
    NotGzip,
    /// It is gzip, and does not say so.
    #[error("the body is gzip, but no header says so: want Content-Encoding: gzip")]
    Unannounced,
    /// It has more members than are read.
    #[error("the gzip body has more than {most} members")]
    Members {
        /// The limit.
        most: usize,
    },
    /// Nothing comes of most of it.
    #[error("the gzip body is larger than what is in it: want it packed by gzip, or not packed")]
    Idle,
    /// It begins as gzip, and does not go on so.
    #[error("the gzip body is cut off or damaged")]
    Damaged,
}

impl BodyError {
    /// How a request with such a body is answered.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow(_) | Self::BrokeOff(_) | Self::TooMuch { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotGzip
            | Self::Unannounced
            | Self::Members { .. }
            | Self::Idle
            | Self::Damaged => StatusCode::BAD_REQUEST,
        }
    }
}

/// The least that the bodies of all requests together may have.
const BODIES_MIB: u64 = 64;

/// What the bodies of all requests together have.
static BODIES: Budget = Budget::new();

/// The limit of the bodies of all requests together, and what counts those that are beyond it. A server puts it among the
/// extensions of each request.
#[derive(Clone)]
pub(crate) struct Bodies {
    most: u64,
    metrics: Metrics,
}

impl Bodies {
    /// For bodies of which each may have `largest` bytes.
    pub(crate) fn new(largest: u64, metrics: &Metrics) -> Self {
        Self {
            most: most(largest),
            metrics: metrics.clone(),
        }
    }
}

fn most(largest: u64) -> u64 {
    largest.saturating_mul(8).max(BODIES_MIB << 20)
}

/// A body as it came.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: Bytes,
    packed: bool,
    share: Share,
    most: u64,
}

/// What every gzip begins with, and no JSON.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Bytes, and what they have of [`BODIES`].
struct Shared(Bytes, #[allow(dead_code)] Share);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Body {
    /// How many bytes there are to work on; `None` if that is known only afterwards.
    pub(crate) fn size(&self) -> Option<usize> {
        (!self.packed).then_some(self.bytes.len())
    }

    /// Unpacks it where needed: of a packed body this takes its time, which no async thread has.
    pub(crate) fn unpack(mut self, limit: u64) -> Result<Bytes, BodyError> {
        let bytes = match (self.packed, self.bytes.starts_with(&GZIP)) {
            (false, false) => self.bytes,
            (false, true) => return Err(BodyError::Unannounced),
            (true, false) => return Err(BodyError::NotGzip),
            (true, true) => gunzip(&self.bytes, limit, &mut self.share, self.most)?,
        };
        Ok(Bytes::from_owner(Shared(bytes, self.share)))
    }

    /// The same, where it does not hold up an async thread.
    pub(crate) async fn unpacked(self, limit: u64) -> Result<Bytes, BodyError> {
        if !self.packed {
            return self.unpack(limit);
        }
        let unpacked = tokio::task::spawn_blocking(move || self.unpack(limit));
        unpacked.await.unwrap_or(Err(BodyError::Damaged))
    }
}

/// How many times the limit of a body by HTTP/2 is read and thrown away before it is cut off: some clients that are cut off
/// there do not see the answer that says why.
const SURPLUS: u64 = 4;

/// How much memory is asked for at once for a body that is announced: it may never come.
const AT_FIRST: u64 = 64 << 10;

/// Reads a body; one that is packed stays so.
pub(crate) async fn read(
    request: Request<Incoming>,
    limit: u64,
    timeout: Duration,
) -> Result<Body, BodyError> {
    let packed = is_gzip(request.headers())?;
    let place = request.extensions().get::<Slot>().cloned();
    let bodies = request.extensions().get::<Bodies>().cloned();
    let is_http2 = request.version() == Version::HTTP_2;
    let mut coming = Coming {
        announced: hyper::body::Body::size_hint(request.body()).lower(),
        body: request.into_body(),
        limit,
        surplus: if is_http2 { SURPLUS } else { 1 },
        most: bodies
            .as_ref()
            .map_or_else(|| most(limit), |bodies| bodies.most),
        share: BODIES.share(),
    };
    let rest = place.as_ref().map(Slot::rest);
    let bytes = tokio::time::timeout(timeout, coming.whole()).await;
    drop(rest);
    let bytes = bytes.unwrap_or(Err(BodyError::TooSlow(timeout)));
    if let (Err(BodyError::TooMuch { .. }), Some(bodies)) = (&bytes, &bodies) {
        bodies.metrics.rejected(Rejected::Memory);
    }
    Ok(Body {
        bytes: bytes?,
        packed,
        share: coming.share,
        most: coming.most,
    })
}

/// A body that comes.
struct Coming {
    announced: u64,
    body: Incoming,
    limit: u64,
    /// How many times the limit is read, and thrown away, before it is cut off.
    surplus: u64,
    most: u64,
    share: Share,
}

impl Coming {
    async fn whole(&mut self) -> Result<Bytes, BodyError> {
        let (limit, announced) = (self.limit, self.announced);
        if announced > limit && self.surplus == 1 {
            return Err(BodyError::TooLarge { limit });
        }
        let (mut whole, mut came) = (BytesMut::new(), 0);
        if announced <= limit {
            whole.reserve(usize::try_from(announced.min(AT_FIRST)).unwrap_or(0));
        }
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|e| BodyError::BrokeOff(e.to_string()))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            came += data.len() as u64;
            if came.max(announced) <= limit {
                if !self.share.grow(data.len() as u64, self.most) {
                    return Err(BodyError::TooMuch { limit: self.most });
                }
                whole.extend_from_slice(&data);
            } else if came > limit.saturating_mul(self.surplus) || self.surplus == 1 {
                return Err(BodyError::TooLarge { limit });
            }
        }
        if came > limit {
            return Err(BodyError::TooLarge { limit });
        }
        Ok(whole.freeze())
    }
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, BodyError> {
    let Some(encoding) = headers.get(CONTENT_ENCODING) else {
        return Ok(false);
    };
    let encoding = String::from_utf8_lossy(encoding.as_bytes());
    match encoding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(false),
        "gzip" | "x-gzip" => Ok(true),
        _ => Err(BodyError::Encoding(encoding.chars().take(40).collect())),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use super::*;

    pub(in crate::http) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    }

    pub(in crate::http) fn body(bytes: impl Into<Bytes>, packed: bool) -> Body {
        Body {
            bytes: bytes.into(),
            packed,
            share: BODIES.share(),
            most: most(0),
        }
    }

    #[test]
    fn a_small_packed_body_cannot_grow_without_bounds() {
        let bomb = gzip(&vec![b' '; 1 << 20]);
        assert!(bomb.len() < 2048);
        assert_eq!(
            body(bomb, true).unpack(1000),
            Err(BodyError::TooLarge { limit: 1000 })
        );
        let small = body(gzip(b"{}"), true);
        assert_eq!(small.unpack(2), Ok(Bytes::from("{}")));
    }

    #[test]
    fn what_is_wrong_with_the_packing_is_said() {
        let good = gzip(b"{}");
        let said = |bytes: &[u8], packed| {
            let body = body(bytes.to_vec(), packed);
            body.unpack(1000).unwrap_err().to_string()
        };
        assert_eq!(
            said(b"{}", true),
            "the body is not gzip, although its Content-Encoding says so"
        );
        assert_eq!(
            said(&good, false),
            "the body is gzip, but no header says so: want Content-Encoding: gzip"
        );
        let damaged = "the gzip body is cut off or damaged";
        for length in [3, 12, good.len() - 1] {
            assert_eq!(said(&good[..length], true), damaged, "{length}");
        }
        let mut other = good.clone();
        other[good.len() - 8] ^= 1;
        assert_eq!(said(&other, true), damaged);
        let trailed = [&*good, b"x"].concat();
        assert_eq!(said(&trailed, true), damaged);
    }
}
