//! Writes events in the format of server-sent events.
//!
//! *Source*: the HTML standard, 9.2 "Server-sent events".

use bytes::Bytes;
use serde::Serialize;

/// A comment, which clients ignore.
pub(super) const HEARTBEAT: Bytes = Bytes::from_static(b":\n\n");

/// Appends an event. JSON has no line breaks, so the data is one line.
pub(super) fn event(
    text: &mut Vec<u8>,
    name: &str,
    id: &impl std::fmt::Display,
    data: &impl Serialize,
) {
    let json = serde_json::to_vec(data).expect("our own types are JSON");
    raw_event(text, name, id, &json);
}

/// The same with data that is JSON already.
pub(super) fn raw_event(text: &mut Vec<u8>, name: &str, id: &impl std::fmt::Display, json: &[u8]) {
    text.extend_from_slice(format!("event: {name}\nid: {id}\ndata: ").as_bytes());
    text.extend_from_slice(json);
    text.extend_from_slice(b"\n\n");
}

/// Returns an id without an event, for a client that has received no events yet.
pub(super) fn id_alone(id: &impl std::fmt::Display) -> Bytes {
    format!("id: {id}\n\n").into()
}

/// Returns the number of bytes without an incomplete UTF-8 character at the end.
pub(super) fn whole(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let at = bytes.len() - back;
        let length = match bytes[at] {
            0x80..=0xBF => continue,
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => 1,
        };
        return if length > back { at } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_two_line_breaks_long_at_its_end() {
        let mut text = Vec::new();
        event(&mut text, "output", &7, &"a\nb");
        assert_eq!(text, b"event: output\nid: 7\ndata: \"a\\nb\"\n\n");
    }

    #[test]
    fn a_character_is_not_cut() {
        for character in ["a", "ä", "€", "🦀"] {
            let text = format!("x{character}");
            for end in 1..=text.len() {
                let whole_to = whole(&text.as_bytes()[..end]);
                let wanted = if end == text.len() { end } else { 1 };
                assert_eq!(whole_to, wanted, "{text} to {end}");
            }
        }
        // Invalid UTF-8 is not waited for.
        assert_eq!(whole(b""), 0);
        assert_eq!(whole(b"\x80\x80\x80\x80"), 4);
        assert_eq!(whole(b"a\xFF"), 2);
    }
}
