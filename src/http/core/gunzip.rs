//! Decompresses gzip from untrusted clients: limited in size, and in work relative to the output.

use std::io::{self, BufRead, Read};

use bytes::Bytes;
use flate2::bufread::GzDecoder;

use crate::http::core::body::BodyError;
use crate::http::core::memory_budget::Share;

/// The maximum number of members. Each takes some time, however small it is.
const MEMBERS: usize = 1024;

/// The maximum number of input bytes without output. gzip adds only a header and a few bytes per block to its input: a body
/// with long runs of empty blocks is made to waste time.
const IDLE: usize = 64 << 10;

/// The size of an output buffer. *Units*: bytes.
const PIECE: usize = 64 << 10;

/// Compressed input that ends with an error once it produces too little output.
struct Metered<'a> {
    rest: &'a [u8],
    taken: usize,
    allowed: usize,
}

impl Metered<'_> {
    /// Reports the number of output bytes so far.
    fn made(&mut self, bytes: usize) {
        // The next piece of input is read before its output is known.
        self.allowed = IDLE + PIECE + bytes + bytes / 64;
    }

    fn is_idle(&self) -> bool {
        self.taken > self.allowed
    }
}

impl BufRead for Metered<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.is_idle() {
            return Err(io::Error::other("too little output for its input"));
        }
        // Never more at once than may be consumed without output.
        Ok(&self.rest[..self.rest.len().min(IDLE)])
    }

    fn consume(&mut self, amount: usize) {
        self.rest = &self.rest[amount..];
        self.taken += amount;
    }
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let read = available.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

/// Decompresses a body of one or more members. The output counts against the share, up to `most`.
pub(crate) fn gunzip(
    packed: &[u8],
    limit: u64,
    share: &mut Share,
    most: u64,
) -> Result<Bytes, BodyError> {
    let mut whole = Vec::new();
    let mut piece = vec![0; PIECE];
    let mut metered = Metered {
        rest: packed,
        taken: 0,
        allowed: IDLE + PIECE,
    };
    for _ in 0..MEMBERS {
        let mut member = GzDecoder::new(metered);
        loop {
            let read = match member.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(_) if member.get_ref().is_idle() => return Err(BodyError::Idle),
                Err(_) => return Err(BodyError::Damaged),
            };
            if whole.len() as u64 + read as u64 > limit {
                return Err(BodyError::TooLarge { limit });
            }
            if !share.grow(read as u64, most) {
                return Err(BodyError::TooMuch { limit: most });
            }
            whole.extend_from_slice(&piece[..read]);
            member.get_mut().made(whole.len());
        }
        metered = member.into_inner();
        if metered.rest.is_empty() {
            return Ok(whole.into());
        }
    }
    Err(BodyError::Members { most: MEMBERS })
}

#[cfg(test)]
mod tests {
    use super::super::body::tests::gzip;
    use super::*;
    use crate::http::core::memory_budget::Budget;

    const LIMIT: u64 = 8 << 20;

    fn unpacked(packed: &[u8]) -> Result<Bytes, BodyError> {
        static BUDGET: Budget = Budget::new();
        gunzip(packed, LIMIT, &mut BUDGET.share(), 64 << 20)
    }

    #[test]
    fn members_are_one_after_the_other_and_not_endless() {
        let members = [gzip(b"{\"a\""), gzip(b""), gzip(b": 1}")].concat();
        assert_eq!(unpacked(&members), Ok(Bytes::from("{\"a\": 1}")));
        // bgzip writes one member for each 64 KiB.
        let text: Vec<u8> = (0..LIMIT / 16)
            .flat_map(|n| format!("{n:016}").into_bytes())
            .collect();
        let blocks: Vec<u8> = text.chunks(65_280).flat_map(gzip).collect();
        assert_eq!(unpacked(&blocks).map(|whole| whole.len()), Ok(text.len()));
        let words = gzip(&[b'x'; 300]).repeat(2000);
        assert_eq!(unpacked(&words), Err(BodyError::Members { most: MEMBERS }));
    }

    #[test]
    fn input_without_output_is_not_read_to_its_end() {
        let empty = gzip(b"");
        let members = empty.repeat((8 << 20) / empty.len());
        assert_eq!(
            unpacked(&members),
            Err(BodyError::Members { most: MEMBERS })
        );
        // One member: a header, empty stored blocks, and no end.
        let mut blocks = empty[..10].to_vec();
        blocks.extend([0, 0, 0, 0xff, 0xff].repeat((8 << 20) / 5));
        assert_eq!(unpacked(&blocks), Err(BodyError::Idle));
    }

    #[test]
    fn incompressible_data_is_accepted() {
        let mut state = 7_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .take(4 << 20)
        .collect();
        let packed = gzip(&noise);
        assert!(packed.len() > noise.len());
        assert_eq!(unpacked(&packed), Ok(noise.into()));
    }
}
