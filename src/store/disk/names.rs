//! Names as they stand in keys.
//!
//! Names of alert types come from outside and may be of any length; a key is copied into inner pages of its tree, and
//! stands once for each run or episode.

use std::borrow::Cow;

use ring::digest::{SHA256, digest};

/// A longer name is cut. *Units*: bytes.
const LIMIT: usize = 256;

/// How much of the beginning of a longer name is left. *Units*: bytes.
const BEGINNING: usize = 180;

/// A name as it stands in a key: itself, or where it is long its beginning and a hash of all of it.
pub(crate) fn cut(name: &str) -> Cow<'_, str> {
    if name.len() <= LIMIT {
        return Cow::Borrowed(name);
    }
    let begin = &name[..name.floor_char_boundary(BEGINNING)];
    let hash = digest(&SHA256, name.as_bytes());
    let hash = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
    Cow::Owned(format!("{begin}…{}", hash.collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_and_stays_another_than_its_like() {
        assert_eq!(cut("NodeDown"), "NodeDown");
        let long = |end: &str| format!("{}{end}", "ä".repeat(100_000));
        let (one, other) = (long("1"), long("2"));
        assert!(cut(&one).len() <= LIMIT);
        assert_ne!(cut(&one), cut(&other));
        assert_eq!(cut(&one), cut(&long("1")));
        // What is cut already stays as it is.
        assert_eq!(cut(&cut(&one)), cut(&one));
    }
}
