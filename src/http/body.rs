//! Reading a request's body, within its limits.

use std::io::Read;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::header::CONTENT_ENCODING;
use hyper::{HeaderMap, Request, body::Incoming};

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
    #[error("the body is not gzip: {0}")]
    NotGzip(String),
}

/// Reads and, where needed, unpacks a body.
pub(super) async fn read(
    request: Request<Incoming>,
    limit: u64,
    timeout: Duration,
) -> Result<Bytes, BodyError> {
    let packed = is_gzip(request.headers())?;
    let mut body = request.into_body();
    let announced = hyper::body::Body::size_hint(&body).lower();
    if announced > limit {
        return Err(BodyError::TooLarge { limit });
    }
    let whole = async {
        let mut whole = BytesMut::with_capacity(usize::try_from(announced).unwrap_or(0));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| BodyError::BrokeOff(e.to_string()))?;
            if let Ok(data) = frame.into_data() {
                if (whole.len() + data.len()) as u64 > limit {
                    return Err(BodyError::TooLarge { limit });
                }
                whole.extend_from_slice(&data);
            }
        }
        Ok(whole.freeze())
    };
    let whole = tokio::time::timeout(timeout, whole)
        .await
        .map_err(|_| BodyError::TooSlow(timeout))??;
    if packed {
        unpack(&whole, limit)
    } else {
        Ok(whole)
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

fn unpack(packed: &[u8], limit: u64) -> Result<Bytes, BodyError> {
    let mut whole = Vec::new();
    flate2::read::MultiGzDecoder::new(packed)
        .take(limit + 1)
        .read_to_end(&mut whole)
        .map_err(|e| BodyError::NotGzip(e.to_string()))?;
    if whole.len() as u64 > limit {
        return Err(BodyError::TooLarge { limit });
    }
    Ok(whole.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn a_small_packed_body_cannot_grow_without_bounds() {
        let bomb = gzip(&vec![b' '; 1 << 20]);
        assert!(bomb.len() < 2048);
        assert_eq!(
            unpack(&bomb, 1000),
            Err(BodyError::TooLarge { limit: 1000 })
        );
        assert_eq!(unpack(&gzip(b"{}"), 2).unwrap(), Bytes::from("{}"));
        assert!(matches!(unpack(b"{}", 9), Err(BodyError::NotGzip(_))));
    }
}
