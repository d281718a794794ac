//! Names in keys.
//!
//! Names of alert types come from outside and may have any length. A key is copied into inner pages of its tree, and is
//! stored once for each run or episode.

use std::borrow::Cow;

use ring::digest::{SHA256, digest};

/// Longer names are truncated. *Units*: bytes.
const LIMIT: usize = 256;

/// The length of the kept beginning of a longer name. *Units*: bytes.
const BEGINNING: usize = 180;

/// Returns the form of a name in keys: the name itself, or for a long name its beginning and a hash of the whole.
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
        // A truncated name is not truncated again.
        assert_eq!(cut(&cut(&one)), cut(&one));
    }
}
