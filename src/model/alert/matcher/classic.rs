//! The classic syntax: a label name of ASCII letters, an operator, and a value that may be bare, in quotes, or empty.
//!
//! It is lenient, and this parser is exactly as lenient: a backslash that escapes nothing is a backslash, braces need
//! not be closed, and a value may contain nearly anything.
//!
//! *Source*: Alertmanager's `pkg/labels/parse.go`.

use std::ops::Range;

use super::{Matcher, Op, ParseError, shown};

/// Parses a list of matchers.
pub(super) fn parse(input: &str) -> Result<Vec<Matcher>, ParseError> {
    split(input)
        .into_iter()
        .map(|at| parse_at(input, at))
        .collect()
}

/// Parses one matcher without braces.
pub(super) fn parse_one(input: &str) -> Result<Matcher, ParseError> {
    parse_at(input, 0..input.len())
}

/// Splits a list at its commas, except between unescaped double quotes.
fn split(input: &str) -> Vec<Range<usize>> {
    let start = usize::from(input.starts_with('{'));
    let list = &input[start..];
    let list = list.strip_suffix('}').unwrap_or(list);

    let mut parts = Vec::new();
    let mut begin = start;
    let mut quoted = false;
    let mut escaped = false;
    for (i, c) in list.char_indices() {
        match c {
            ',' if !quoted => {
                parts.push(begin..start + i);
                begin = start + i + 1;
            }
            // A comma does not consume a pending backslash.
            ',' => {}
            '"' if escaped => escaped = false,
            '"' => quoted = !quoted,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    let end = start + list.len();
    let tail = input[begin..end].trim();
    if !tail.is_empty() {
        let begin = end - input[begin..end].trim_start().len();
        parts.push(begin..begin + tail.len());
    }
    parts
}

/// The white space of the classic syntax.
const SPACE: [char; 5] = [' ', '\t', '\n', '\x0c', '\r'];

fn parse_at(input: &str, part: Range<usize>) -> Result<Matcher, ParseError> {
    let text = &input[..part.end];
    // Returns the offset of the next character that is not white space.
    let past_space = |at: usize| part.end - text[at..].trim_start_matches(SPACE).len();

    let begin = past_space(part.start);
    let name_end = begin
        + text[begin..]
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
            .unwrap_or(part.end - begin);
    let name = &text[begin..name_end];
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(unexpected(input, begin..part.end, "a label name"));
    }

    let operator = past_space(name_end);
    let (op, len) = match &text.as_bytes()[operator..] {
        [b'=', b'~', ..] => (Op::Regexp, 2),
        [b'=', ..] => (Op::Equal, 1),
        [b'!', b'=', ..] => (Op::NotEqual, 2),
        [b'!', b'~', ..] => (Op::NotRegexp, 2),
        _ => {
            let wanted = "an operator: `=`, `!=`, `=~` or `!~`";
            return Err(unexpected(input, operator..part.end, wanted));
        }
    };

    let begin = past_space(operator + len);
    let raw = text[begin..].trim_end_matches(SPACE);
    let at = begin..begin + raw.len();
    let value = unescape(raw).map_err(|fault| {
        let (at, message) = match fault {
            Fault::Unescaped(i) => (
                begin + i..begin + i + 1,
                "a double quote inside a value is written `\\\"`",
            ),
            Fault::Unclosed => (at.clone(), "this double quote is never closed"),
        };
        ParseError::new(input, at, message)
    })?;
    Matcher::new(name, op, value).map_err(|error| ParseError::new(input, at, error.to_string()))
}

enum Fault {
    /// A double quote inside the value, at this byte.
    Unescaped(usize),
    /// The opening double quote has no partner.
    Unclosed,
}

/// Removes the quotes from a value and resolves the three escapes of this syntax.
fn unescape(raw: &str) -> Result<String, Fault> {
    let skip = usize::from(raw.starts_with('"'));
    let last = raw.len().saturating_sub(1);
    let mut open = skip == 1;
    let mut escaped = false;
    let mut value = String::with_capacity(raw.len());
    for (i, c) in raw.char_indices().skip(skip) {
        if escaped {
            escaped = false;
            match c {
                'n' => value.push('\n'),
                '"' | '\\' => value.push(c),
                _ => value.extend(['\\', c]),
            }
            continue;
        }
        match c {
            '\\' if i < last => escaped = true,
            '"' if open && i == last => open = false,
            '"' => return Err(Fault::Unescaped(i)),
            _ => value.push(c),
        }
    }
    if open {
        Err(Fault::Unclosed)
    } else {
        Ok(value)
    }
}

fn unexpected(input: &str, at: Range<usize>, wanted: &str) -> ParseError {
    let found = match (&input[at.clone()], input[at.end..].chars().next()) {
        ("", None) => "the end".to_owned(),
        ("", Some(next)) => shown(&next.to_string()),
        (found, _) => shown(found),
    };
    ParseError::new(input, at, format!("want {wanted}, found {found}"))
}
