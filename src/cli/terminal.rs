//! Output to a terminal: our colours, and text from outside. Characters that control the terminal, or reverse the
//! reading order, are shown as a replacement character.

use serde::Serialize;

use crate::util::sanitize::{self, REPLACEMENT, is_visible};

/// The colour or weight of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

impl Ink {
    /// Returns the text in this ink if `color` is set.
    pub(super) fn paint(self, text: &str, color: bool) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Red => "31",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Cyan => "36",
        };
        if color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Returns at most `most` characters of a text, with `…` if it was longer.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Returns a text of several lines as one line.
pub(super) fn folded(text: &str) -> String {
    plain(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Returns a text for the inside of a line.
pub(super) fn plain(text: &str) -> String {
    sanitize::within_line(text)
}

/// Returns whole lines. Newlines and tabs stay.
pub(super) fn lines(text: &str) -> String {
    sanitize::lines(text)
}

/// Returns a value as JSON with a final newline. Characters that cannot be shown are escaped.
pub(super) fn json(value: &impl Serialize) -> serde_json::Result<String> {
    let json = serde_json::to_string_pretty(value)?;
    Ok(sanitize::json(&json) + "\n")
}

/// Returns the output of Ansible. Newlines, tabs and, if `color` is set, colours stay; other escape sequences are
/// removed.
pub(super) fn output(text: &str, color: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\x1b' => {
                let (sequence, after) = escape_sequence(rest);
                if color && sequence.starts_with('[') && sequence.ends_with('m') {
                    shown.push('\x1b');
                    shown.push_str(sequence);
                }
                rest = after;
            }
            '\r' if rest.starts_with('\n') => {}
            '\n' | '\t' => shown.push(c),
            c if is_visible(c) => shown.push(c),
            _ => shown.push(REPLACEMENT),
        }
    }
    shown
}

/// Splits after the escape sequence that follows ESC: `[`, parameters and one final character; or a single character.
fn escape_sequence(rest: &str) -> (&str, &str) {
    let parameter = |c: char| (' '..='?').contains(&c);
    let end = match rest.strip_prefix('[') {
        Some(inner) => inner.find(|c| !parameter(c)).map(|at| at + 1),
        None => Some(0),
    };
    let final_character = end.and_then(|at| rest[at..].chars().next());
    match (end, final_character) {
        // A newline is not part of a truncated sequence.
        (Some(at), Some(c)) if !c.is_control() => rest.split_at(at + c.len_utf8()),
        (Some(at), _) => rest.split_at(at),
        (None, _) => (rest, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drives_a_terminal_is_taken_out_of_a_line() {
        assert_eq!(
            plain("a\x1b[2Jb\rc\u{9b}d\u{202e}e\nünï"),
            "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d\u{fffd}e\u{fffd}ünï"
        );
    }

    #[test]
    fn a_text_is_cut_between_characters_and_folded_between_words() {
        assert_eq!(cut("ünï", 3), "ünï");
        assert_eq!(cut("ünïc", 3), "ünï…");
        assert_eq!(folded("a\n  b\r\n\tc\x1b[2J \n"), "a b c\u{fffd}[2J");
    }

    #[test]
    fn a_text_has_its_ink_where_colours_are_wanted() {
        assert_eq!(Ink::Red.paint("x", true), "\x1b[31mx\x1b[0m");
        assert_eq!(Ink::Red.paint("x", false), "x");
        assert_eq!(Ink::Plain.paint("x", true), "x");
    }

    #[test]
    fn of_an_output_colours_stay_where_they_are_wanted_and_nothing_else() {
        let text =
            "\x1b[0;32mok: [h]\x1b[0m\r\nünï \x1b[2J\x1b]0;t\x07\x1b[1;31mfatal\x1b[0m\tx\rz\x1b[";
        assert_eq!(
            output(text, true),
            "\x1b[0;32mok: [h]\x1b[0m\nünï 0;t\u{fffd}\x1b[1;31mfatal\x1b[0m\tx\u{fffd}z"
        );
        assert_eq!(
            output(text, false),
            "ok: [h]\nünï 0;t\u{fffd}fatal\tx\u{fffd}z"
        );
        assert_eq!(output("\x1b\nx\x1b[31\ny", false), "\nx\ny");
    }
}
