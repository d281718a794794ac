//! Reading a request's body, and unpacking it, within its limits.

use std::io::Read;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::header::CONTENT_ENCODING;
use hyper::{HeaderMap, Request, StatusCode, Version, body::Incoming};

use super::places::Place;

/// Why a body could not be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum BodyError {
    /// Larger than the limit, as it came or when unpacked.
    #[error("the body is larger than {limit} bytes (receiver.max_body_size)")]
    TooLarge {
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
    /// It begins as gzip, and does not go on so.
    #[error("the gzip body is cut off or damaged")]
    Damaged,
}

impl BodyError {
    /// How a request with such a body is answered.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow(_) | Self::BrokeOff(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotGzip | Self::Unannounced | Self::Damaged => StatusCode::BAD_REQUEST,
        }
    }
}

/// A body as it came.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Bytes,
    packed: bool,
}

/// What every gzip begins with, and no JSON.
const GZIP: [u8; 2] = [0x1f, 0x8b];

impl Body {
    /// How many bytes there are to work on; `None` if that is known only afterwards.
    pub(super) fn size(&self) -> Option<usize> {
        (!self.packed).then_some(self.bytes.len())
    }

    /// Unpacks it where needed: of a packed body this takes its time, which no async thread has.
    pub(super) fn unpack(self, limit: u64) -> Result<Bytes, BodyError> {
        match (self.packed, self.bytes.starts_with(&GZIP)) {
            (false, false) => Ok(self.bytes),
            (false, true) => Err(BodyError::Unannounced),
            (true, false) => Err(BodyError::NotGzip),
            (true, true) => unpack(&self.bytes, limit),
        }
    }
}

/// How many times the limit of a body by HTTP/2 is read and thrown away before it is cut off: some clients that are cut off
/// there do not see the answer that says why.
const SURPLUS: u64 = 4;

/// Reads a body; one that is packed stays so.
pub(super) async fn read(
    request: Request<Incoming>,
    limit: u64,
    timeout: Duration,
) -> Result<Body, BodyError> {
    let packed = is_gzip(request.headers())?;
    let place = request.extensions().get::<Place>().cloned();
    let is_http2 = request.version() == Version::HTTP_2;
    let mut body = request.into_body();
    let announced = hyper::body::Body::size_hint(&body).lower();
    if announced > limit && !is_http2 {
        return Err(BodyError::TooLarge { limit });
    }
    let whole = async {
        let (mut whole, mut came) = (BytesMut::new(), 0);
        if announced <= limit {
            whole.reserve(usize::try_from(announced).unwrap_or(0));
        }
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| BodyError::BrokeOff(e.to_string()))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            came += data.len() as u64;
            if came.max(announced) <= limit {
                whole.extend_from_slice(&data);
            } else if !is_http2 || came > limit.saturating_mul(SURPLUS) {
                return Err(BodyError::TooLarge { limit });
            }
        }
        if came > limit {
            return Err(BodyError::TooLarge { limit });
        }
        Ok(whole.freeze())
    };
    place.iter().for_each(Place::waits);
    let bytes = tokio::time::timeout(timeout, whole).await;
    place.iter().for_each(Place::works);
    let bytes = bytes.map_err(|_| BodyError::TooSlow(timeout))??;
    Ok(Body { bytes, packed })
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

fn unpack(packed: &[u8], limit: u64) -> Result<Bytes, BodyError> {
    let mut whole = Vec::new();
    flate2::read::MultiGzDecoder::new(packed)
        .take(limit + 1)
        .read_to_end(&mut whole)
        .map_err(|_| BodyError::Damaged)?;
    if whole.len() as u64 > limit {
        return Err(BodyError::TooLarge { limit });
    }
    Ok(whole.into())
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use super::*;

    pub(in crate::http) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    }

    pub(in crate::http) fn body(bytes: impl Into<Bytes>, packed: bool) -> Body {
        let bytes = bytes.into();
        Body { bytes, packed }
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
