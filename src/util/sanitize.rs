//! Text from outside, as a person may see it. What would drive a terminal, begin a line of its own or turn the reading order
//! around is replaced, on terminals, on pages and in messages alike.

use std::fmt::Write as _;

/// Stands where something cannot be shown.
pub const REPLACEMENT: char = '\u{fffd}';

/// Whether a character is nothing but itself: no control character (C0, DEL, C1), no end of a line, and none of the marks
/// that set the direction of writing.
pub fn is_visible(c: char) -> bool {
    let turns_around = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    let ends_a_line = matches!(c, '\u{2028}' | '\u{2029}');
    !c.is_control() && !turns_around && !ends_a_line
}

/// A text within a line. Every character stays one character.
pub fn within_line(text: &str) -> String {
    shown(text, is_visible)
}

/// A line that may have tabs. Every character stays one character.
pub fn line(text: &str) -> String {
    shown(text, |c| c == '\t' || is_visible(c))
}

/// Whole lines: their ends and tabs stay.
pub fn lines(text: &str) -> String {
    shown(text, |c| matches!(c, '\n' | '\t') || is_visible(c))
}

/// A text of any number of lines in one.
pub fn one_line(text: &str) -> String {
    let spaced = |c: char| match c {
        '\n' | '\r' | '\t' | '\u{85}' | '\u{2028}' | '\u{2029}' => ' ',
        c if is_visible(c) => c,
        _ => REPLACEMENT,
    };
    text.chars().map(spaced).collect()
}

/// The beginning of a text within a line.
pub fn beginning(text: &str, longest: usize) -> String {
    let mut beginning: String = text.chars().take(longest).collect();
    if text.chars().nth(longest).is_some() {
        beginning.push('…');
    }
    within_line(&beginning)
}

/// JSON whose strings show nothing but visible characters: the others stand there escaped, and the value is the same.
pub fn json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        // Between strings JSON has no such characters but these.
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

fn shown(text: &str, stays: impl Fn(char) -> bool) -> String {
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
