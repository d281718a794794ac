//! Reads and decompresses request bodies, within limits.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::header::CONTENT_ENCODING;
use hyper::{HeaderMap, Request, StatusCode, Version, body::Incoming};

use crate::http::core::gunzip::gunzip;
use crate::http::core::memory_budget::{Budget, Share};
use crate::http::core::slots::Slot;
use crate::metrics::{Metrics, Rejected};

/// Why a body could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// The body is larger than the limit, compressed or decompressed.
    #[error("the body is larger than {limit} bytes (receiver.max_body_size)")]
    TooLarge { limit: u64 },
    /// The bodies of all requests together exceed their limit.
    #[error(
        "the bodies of all requests together would be larger than {limit} bytes ({BODIES_MIB} MiB, or 8 times receiver.max_body_size if that is more): try again in a moment"
    )]
    TooMuch { limit: u64 },
    /// The body did not arrive in time. This may not be the sender's fault, so it may retry.
    #[error("the body did not arrive within {0:?} (receiver.body_timeout)")]
    TooSlow(Duration),
    /// The connection broke.
    #[error("the body was cut off: {0}")]
    BrokeOff(String),
    /// The encoding is not supported.
    #[error("Content-Encoding {0:?}: want gzip or none")]
    Encoding(String),
    /// The header says gzip, but the body is not.
    #[error("the body is not gzip, although its Content-Encoding says so")]
    NotGzip,
    /// The body is gzip, but the header does not say so.
    #[error(
        "the body is gzip, but its Content-Encoding does not say so: want Content-Encoding: gzip"
    )]
    Unannounced,
    /// The gzip body has too many members.
    #[error("the gzip body has more than {most} members")]
    Members { most: usize },
    /// Most of the gzip body produces no output.
    #[error(
        "the gzip body contains almost only empty blocks: compress it with gzip, or send it uncompressed"
    )]
    Idle,
    /// The body begins as gzip, but is invalid later.
    #[error("the gzip body is cut off or damaged")]
    Damaged,
}

impl BodyError {
    /// Returns the status of the response.
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

/// The minimum limit for the bodies of all requests together. *Units*: MiB.
const BODIES_MIB: u64 = 64;

/// The memory that the bodies of all requests together use.
static BODIES: Budget = Budget::new();

/// The limit for the bodies of all requests together, and the metrics that count requests beyond it. The server puts it into
/// the extensions of each request.
#[derive(Clone)]
pub(crate) struct Bodies {
    most: u64,
    metrics: Metrics,
}

impl Bodies {
    /// Computes the limit for bodies of up to `largest` bytes each.
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

/// A body as received.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: Bytes,
    packed: bool,
    share: Share,
    most: u64,
}

/// The first bytes of every gzip, and of no JSON.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Bytes, with their share of [`BODIES`].
struct Shared(Bytes, #[allow(dead_code)] Share);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Body {
    /// Returns the size of the decompressed body; `None` if it is not yet known.
    pub(crate) fn size(&self) -> Option<usize> {
        (!self.packed).then_some(self.bytes.len())
    }

    /// Decompresses the body if needed. This can take long, so do not call it on an async thread for a compressed body.
    pub(crate) fn unpack(mut self, limit: u64) -> Result<Bytes, BodyError> {
        let bytes = match (self.packed, self.bytes.starts_with(&GZIP)) {
            (false, false) => self.bytes,
            (false, true) => return Err(BodyError::Unannounced),
            (true, false) => return Err(BodyError::NotGzip),
            (true, true) => gunzip(&self.bytes, limit, &mut self.share, self.most)?,
        };
        Ok(Bytes::from_owner(Shared(bytes, self.share)))
    }

    /// The same without blocking an async thread.
    pub(crate) async fn unpacked(self, limit: u64) -> Result<Bytes, BodyError> {
        if !self.packed {
            return self.unpack(limit);
        }
        let unpacked = tokio::task::spawn_blocking(move || self.unpack(limit));
        unpacked.await.unwrap_or(Err(BodyError::Damaged))
    }
}

/// With HTTP/2, a body is read and discarded up to this multiple of its limit before it is cut off: some clients do not see
/// the response if their upload is cut off.
const SURPLUS: u64 = 4;

/// The maximum memory allocated at first for an announced body, which may never arrive. *Units*: bytes.
const AT_FIRST: u64 = 64 << 10;

/// Reads a body, without decompressing it.
pub(crate) async fn read(
    request: Request<Incoming>,
    limit: u64,
    timeout: Duration,
) -> Result<Body, BodyError> {
    let packed = is_gzip(request.headers())?;
    let place = request.extensions().get::<Slot>().cloned();
    let bodies = request.extensions().get::<Bodies>().cloned();
    let is_http2 = request.version() == Version::HTTP_2;
    let mut incoming = IncomingBody {
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
    let bytes = tokio::time::timeout(timeout, incoming.whole()).await;
    drop(rest);
    let bytes = bytes.unwrap_or(Err(BodyError::TooSlow(timeout)));
    if let (Err(BodyError::TooMuch { .. }), Some(bodies)) = (&bytes, &bodies) {
        bodies.metrics.rejected(Rejected::Memory);
    }
    Ok(Body {
        bytes: bytes?,
        packed,
        share: incoming.share,
        most: incoming.most,
    })
}

/// A body that is being read.
struct IncomingBody {
    announced: u64,
    body: Incoming,
    limit: u64,
    /// The multiple of the limit that is read and discarded before the body is cut off.
    surplus: u64,
    most: u64,
    share: Share,
}

impl IncomingBody {
    async fn whole(&mut self) -> Result<Bytes, BodyError> {
        let (limit, announced) = (self.limit, self.announced);
        if announced > limit && self.surplus == 1 {
            return Err(BodyError::TooLarge { limit });
        }
        let (mut whole, mut received) = (BytesMut::new(), 0);
        if announced <= limit {
            whole.reserve(usize::try_from(announced.min(AT_FIRST)).unwrap_or(0));
        }
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|e| BodyError::BrokeOff(e.to_string()))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            received += data.len() as u64;
            if received.max(announced) <= limit {
                if !self.share.grow(data.len() as u64, self.most) {
                    return Err(BodyError::TooMuch { limit: self.most });
                }
                whole.extend_from_slice(&data);
            } else if received > limit.saturating_mul(self.surplus) || self.surplus == 1 {
                return Err(BodyError::TooLarge { limit });
            }
        }
        if received > limit {
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
    fn compression_errors_are_named() {
        let good = gzip(b"{}");
        let message = |bytes: &[u8], packed| {
            let body = body(bytes.to_vec(), packed);
            body.unpack(1000).unwrap_err().to_string()
        };
        assert_eq!(
            message(b"{}", true),
            "the body is not gzip, although its Content-Encoding says so"
        );
        assert_eq!(
            message(&good, false),
            "the body is gzip, but its Content-Encoding does not say so: want Content-Encoding: gzip"
        );
        let damaged = "the gzip body is cut off or damaged";
        for length in [3, 12, good.len() - 1] {
            assert_eq!(message(&good[..length], true), damaged, "{length}");
        }
        let mut other = good.clone();
        other[good.len() - 8] ^= 1;
        assert_eq!(message(&other, true), damaged);
        let trailed = [&*good, b"x"].concat();
        assert_eq!(message(&trailed, true), damaged);
    }
}
