//! Makes text from outside safe to display. Characters that control a terminal, start a new line or reverse the reading
//! order are replaced, on terminals, on pages and in messages alike.

use std::fmt::Write as _;

/// Replaces a character that cannot be shown.
pub const REPLACEMENT: char = '\u{fffd}';

/// Whether a character is safe to show: not a control character (C0, DEL, C1), a line separator or a mark that sets the
/// direction of writing.
pub fn is_visible(c: char) -> bool {
    let turns_around = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    let ends_a_line = matches!(c, '\u{2028}' | '\u{2029}');
    !c.is_control() && !turns_around && !ends_a_line
}

/// Returns a text for the inside of a line. Replaces each unsafe character with one character.
pub fn within_line(text: &str) -> String {
    replace_unsafe(text, is_visible)
}

/// Returns a line that may contain tabs. Replaces each unsafe character with one character.
pub fn line(text: &str) -> String {
    replace_unsafe(text, |c| c == '\t' || is_visible(c))
}

/// Returns whole lines. Newlines and tabs stay.
pub fn lines(text: &str) -> String {
    replace_unsafe(text, |c| matches!(c, '\n' | '\t') || is_visible(c))
}

/// Returns a text of several lines as one line.
pub fn one_line(text: &str) -> String {
    let spaced = |c: char| match c {
        '\n' | '\r' | '\t' | '\u{85}' | '\u{2028}' | '\u{2029}' => ' ',
        c if is_visible(c) => c,
        _ => REPLACEMENT,
    };
    text.chars().map(spaced).collect()
}

/// Returns at most the first `longest` characters of a text, for the inside of a line.
pub fn beginning(text: &str, longest: usize) -> String {
    let mut beginning: String = text.chars().take(longest).collect();
    if text.chars().nth(longest).is_some() {
        beginning.push('…');
    }
    within_line(&beginning)
}

/// Returns JSON with the unsafe characters of its strings escaped. The value stays the same.
pub fn json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        // Outside of strings, JSON contains no other such characters than these.
        if matches!(c, '\n' | '\r' | '\t') || is_visible(c) {
            shown.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                // Writing to a string does not fail.
                let _ = write!(shown, "\\u{unit:04x}");
            }
        }
    }
    shown
}

fn replace_unsafe(text: &str, stays: impl Fn(char) -> bool) -> String {
    let shown = |c| if stays(c) { c } else { REPLACEMENT };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every character that must not be seen.
    fn hidden() -> impl Iterator<Item = char> {
        let ranges = [
            '\0'..='\u{1f}',
            '\u{7f}'..='\u{9f}',
            '\u{61c}'..='\u{61c}',
            '\u{200e}'..='\u{200f}',
            '\u{2028}'..='\u{202e}',
            '\u{2066}'..='\u{2069}',
        ];
        ranges.into_iter().flatten()
    }

    #[test]
    fn control_characters_and_marks_of_direction_are_not_visible_and_all_else_is() {
        assert!(hidden().all(|c| !is_visible(c)));
        let hidden: Vec<char> = hidden().collect();
        let mut others = ('\0'..'\u{3000}').filter(|c| !hidden.contains(c));
        assert!(others.all(is_visible));
        for c in ['\u{200b}', '\u{200d}', 'é', '漢', '👩'] {
            assert!(is_visible(c), "{c:?}");
        }
    }

    #[test]
    fn what_is_hidden_is_replaced_character_for_character() {
        let text = "a\tb\u{1b}[2J\nc\u{9b}\u{202e}";
        assert_eq!(
            within_line(text),
            "a\u{fffd}b\u{fffd}[2J\u{fffd}c\u{fffd}\u{fffd}"
        );
        assert_eq!(line(text), "a\tb\u{fffd}[2J\u{fffd}c\u{fffd}\u{fffd}");
        assert_eq!(lines(text), "a\tb\u{fffd}[2J\nc\u{fffd}\u{fffd}");
        assert_eq!(one_line("a\r\nb\u{2028}c\u{85}d\u{7}"), "a  b c d\u{fffd}");
    }

    #[test]
    fn json_stays_the_same_value_and_shows_no_hidden_character() {
        let text: String = hidden().chain(['é', '"', '\\', '👩']).collect();
        let value = serde_json::json!({ "a\u{9b}": [text, 1] });
        let shown = json(&serde_json::to_string_pretty(&value).unwrap());
        let breaks = |c: char| c == '\n';
        assert!(shown.chars().all(|c| breaks(c) || is_visible(c)), "{shown}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).unwrap(),
            value
        );
    }
}
