//! Regular expressions with Go's meaning.
//!
//! The `regex` crate and Go's package both descend from RE2, but interpret some characters differently. A pattern is
//! therefore translated, character by character, into the crate's syntax, and syntax that Go does not have is rejected.
//!
//! *Source*: Go's `regexp/syntax/parse.go`, with the flags of `syntax.Perl`.

use std::str::Chars;

use regex::{Regex, RegexBuilder};

use super::shown;

/// The memory limit of one compiled pattern, and again of its cache. *Units*: bytes.
const SIZE_LIMIT: usize = 1 << 20;

/// The maximum length of a pattern. *Units*: bytes.
const LENGTH_LIMIT: usize = 64 << 10;

/// The highest repetition count that Go allows.
const REPEAT_LIMIT: usize = 1000;

/// The error of a rejected regular expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegexpError {
    /// Go does not support this syntax, or this code cannot reproduce Go's meaning.
    #[error("the regular expression has {what}, which is not supported{hint}")]
    Unsupported {
        what: String,
        /// What to write instead, if there is an alternative.
        hint: &'static str,
    },
    /// A closing parenthesis has no opening one.
    #[error("the regular expression has an unmatched `)`; write `\\)` for a literal one")]
    Unbalanced,
    /// A repetition count exceeds Go's limit.
    #[error("the regular expression has the repetition {0}, but the maximum is {REPEAT_LIMIT}")]
    Repeat(String),
    /// A repetition is repeated, which Go rejects too.
    #[error("the regular expression repeats a repetition, such as `a**`; add parentheses")]
    Nested,
    /// The syntax is invalid.
    #[error("the regular expression cannot be read: {0}")]
    Syntax(String),
    /// The pattern needs too much memory.
    #[error(
        "the regular expression is too large: at most {} KiB of text and {} KiB compiled",
        LENGTH_LIMIT >> 10,
        SIZE_LIMIT >> 10
    )]
    TooLarge,
}

/// Compiles a pattern that must match a whole value.
pub(super) fn compile(pattern: &str) -> Result<Regex, RegexpError> {
    if pattern.len() > LENGTH_LIMIT {
        return Err(RegexpError::TooLarge);
    }
    let pattern = translate(pattern)?;
    RegexBuilder::new(&format!("^(?:{pattern})$"))
        .size_limit(SIZE_LIMIT)
        .dfa_size_limit(SIZE_LIMIT)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => RegexpError::TooLarge,
            error => {
                // The crate's error is a multi-line diagram; its last line is the message.
                let text = error.to_string();
                let line = text.lines().last().unwrap_or_default();
                RegexpError::Syntax(line.trim_start_matches("error: ").to_owned())
            }
        })
}

/// Translates Go's pattern into the crate's syntax.
fn translate(pattern: &str) -> Result<String, RegexpError> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern.chars();
    let mut depth = 0_usize;
    // The repetition before this character: 0 for none, 1 for `a*`, 2 for the lazy `a*?`.
    let mut before = 0;
    while let Some(c) = rest.next() {
        let repeats = "*+?".contains(c) || (c == '{' && counts(rest.as_str()).is_some());
        before = match (repeats, before) {
            (false, _) => 0,
            (true, 0) => 1,
            (true, 1) if c == '?' => 2,
            (true, _) => return Err(RegexpError::Nested),
        };
        match c {
            '\\' => escape(&mut rest, &mut out, false)?,
            '[' => class(&mut rest, &mut out)?,
            '{' => brace(&mut rest, &mut out)?,
            '(' => {
                depth += 1;
                group(&mut rest, &mut out)?;
            }
            ')' => {
                depth = depth.checked_sub(1).ok_or(RegexpError::Unbalanced)?;
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    Ok(out)
}

/// After `(`: accepts only the flags that Go has.
fn group(rest: &mut Chars<'_>, out: &mut String) -> Result<(), RegexpError> {
    out.push('(');
    let text = rest.as_str();
    if !text.starts_with('?') {
        return Ok(());
    }
    if let Some(name) = text.strip_prefix("?P<").or(text.strip_prefix("?<")) {
        let name = name.split_once('>').map_or(name, |(name, _)| name);
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if name.bytes().all(word) {
            return Ok(());
        }
    }
    let flags: String = text
        .chars()
        .skip(1)
        .take_while(|c| !":)".contains(*c))
        .collect();
    if flags.chars().all(|c| "imsU-".contains(c)) {
        return Ok(());
    }
    unsupported(&format!("(?{flags}"), "")
}

/// After `{`: returns the counts of `{n}`, `{n,}` or `{n,m}`; `None` for anything else.
fn counts(text: &str) -> Option<&str> {
    let number = |n: &str| {
        !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) && (n == "0" || !n.starts_with('0'))
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != ',')?;
    let inside = text[end..].starts_with('}').then(|| &text[..end])?;
    let repeats = match inside.split_once(',') {
        None => number(inside),
        Some((least, most)) => number(least) && (most.is_empty() || number(most)),
    };
    repeats.then_some(inside)
}

/// After `{`: translates a repetition or a literal brace.
fn brace(rest: &mut Chars<'_>, out: &mut String) -> Result<(), RegexpError> {
    let text = rest.as_str();
    let Some(counts) = counts(text) else {
        out.push_str("\\{");
        return Ok(());
    };
    for count in counts.split(',').filter(|n| !n.is_empty()) {
        if count.parse::<usize>().map_or(true, |n| n > REPEAT_LIMIT) {
            return Err(RegexpError::Repeat(shown(&format!("{{{counts}}}"))));
        }
    }
    out.extend(["{", counts, "}"]);
    *rest = text[counts.len() + 1..].chars();
    Ok(())
}

/// After a backslash: translates an escape, inside or outside a class.
fn escape(rest: &mut Chars<'_>, out: &mut String, in_class: bool) -> Result<(), RegexpError> {
    let from = rest.as_str();
    let Some(c) = rest.next() else {
        return Err(RegexpError::Syntax("it ends in a backslash".into()));
    };
    match c {
        // Perl's classes are ASCII in Go.
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        's' => out.push_str(r"[\t\n\f\r ]"),
        'S' => out.push_str(r"[^\t\n\f\r ]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        'b' | 'B' if !in_class => out.extend(["(?-u:\\", c.encode_utf8(&mut [0; 4]), ")"]),
        'A' | 'z' if !in_class => out.extend(['\\', c]),
        'Q' if !in_class => {
            let text = rest.as_str();
            let Some((literal, after)) = text.split_once(r"\E") else {
                return Err(RegexpError::Syntax(r"a `\Q` is never ended by `\E`".into()));
            };
            out.push_str(&regex::escape(literal));
            *rest = after.chars();
        }
        'a' | 'f' | 'n' | 'r' | 't' | 'v' => out.extend(['\\', c]),
        'x' => {
            let digits = match braced(rest, c)? {
                Some(inside) => inside,
                None => take(rest, 2),
            };
            if digits.len() < 2 && !from.starts_with("x{")
                || !digits.bytes().all(|b| b.is_ascii_hexdigit())
            {
                return Err(RegexpError::Syntax(
                    r"a `\x` needs two hexadecimal digits, or braces as in `\x{1F642}`".into(),
                ));
            }
            out.extend([r"\x{", digits, "}"]);
        }
        'p' | 'P' => {
            let name = match braced(rest, c)? {
                Some(inside) => inside,
                None => take(rest, 1),
            };
            // `\p{^Lu}` is another way to write `\P{Lu}`.
            let (name, negated) = match name.strip_prefix('^') {
                Some(name) => (name, true),
                None => (name, false),
            };
            let sign = if (c == 'p') == negated { "P" } else { "p" };
            out.extend(["\\", sign, "{", name, "}"]);
        }
        // A single `\1` to `\7` would be a back-reference.
        '0'..='7' if c == '0' || rest.as_str().starts_with(|d: char| d.is_digit(8)) => {
            let octal: String = from.chars().take(3).take_while(|d| d.is_digit(8)).collect();
            let value = u32::from_str_radix(&octal, 8).unwrap_or_default();
            out.extend(char::from_u32(value).map(|c| regex::escape(&c.to_string())));
            *rest = from[octal.len()..].chars();
        }
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => {
            out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
        }
        c => return unsupported(&format!("\\{c}"), ""),
    }
    Ok(())
}

/// After `\x`, `\p` or `\P`: returns the text in braces, if there are braces.
fn braced<'a>(rest: &mut Chars<'a>, escape: char) -> Result<Option<&'a str>, RegexpError> {
    let Some(text) = rest.as_str().strip_prefix('{') else {
        return Ok(None);
    };
    let Some((inside, after)) = text.split_once('}') else {
        return Err(RegexpError::Syntax(format!(
            "a `\\{escape}{{` is never closed"
        )));
    };
    *rest = after.chars();
    Ok(Some(inside))
}

/// Takes up to `count` characters.
fn take<'a>(rest: &mut Chars<'a>, count: usize) -> &'a str {
    let text = rest.as_str();
    let end = text
        .char_indices()
        .nth(count)
        .map_or(text.len(), |(at, _)| at);
    *rest = text[end..].chars();
    &text[..end]
}

/// The names of the classes `[:name:]`.
const NAMED: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// After `[` in a class: returns the name in `[:name:]` and the rest of the text.
fn named(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix(':')?.split_once(":]")
}

/// After `[`: translates a class, in which only `]`, `^`, `-`, backslash and `[:name:]` are special.
fn class(rest: &mut Chars<'_>, out: &mut String) -> Result<(), RegexpError> {
    out.push('[');
    if let Some(text) = rest.as_str().strip_prefix('^') {
        out.push('^');
        *rest = text.chars();
    }
    let mut first = true;
    // Whether the previous character was a literal `-` that may be the middle of a range.
    let mut dashed = false;
    while let Some(c) = rest.next() {
        let text = rest.as_str();
        let ranged = std::mem::take(&mut dashed);
        match c {
            ']' if !first => {
                out.push(']');
                return Ok(());
            }
            '-' if text.starts_with('-') => {
                return unsupported("`--` in a class", "; write `\\-` for a literal `-`");
            }
            '-' => {
                dashed = !first;
                out.push('-');
            }
            '\\' if ranged && text.starts_with(|c| "dDsSwWpP".contains(c)) => {
                return unsupported("a range to a class", "; write `\\-` for a literal `-`");
            }
            '\\' => escape(rest, out, true)?,
            '[' if named(text).is_some() => {
                let (name, after) = named(text).unwrap_or_default();
                if ranged || !NAMED.contains(&name.strip_prefix('^').unwrap_or(name)) {
                    return unsupported(&format!("[:{name}:]"), "; write `\\[` for a literal `[`");
                }
                out.extend(["[:", name, ":]"]);
                *rest = after.chars();
            }
            ']' | '[' | '&' | '~' | '^' => out.extend(['\\', c]),
            _ => out.push(c),
        }
        first = false;
    }
    Err(RegexpError::Syntax("a `[` is never closed".into()))
}

fn unsupported(what: &str, hint: &'static str) -> Result<(), RegexpError> {
    Err(RegexpError::Unsupported {
        what: shown(what),
        hint,
    })
}
