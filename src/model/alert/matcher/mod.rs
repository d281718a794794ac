//! Alertmanager's matchers, which select alerts by their labels.
//!
//! Two syntaxes are supported, with the same meaning. Both the UTF-8 syntax ([`utf8`]) and the classic one
//! ([`classic`]) are tried; if both accept a text and disagree, the classic result is used, as in Alertmanager.
//!
//! *Source*: Alertmanager's `matcher/compat/parse.go` (its default, the fallback mode) and `pkg/labels/matcher.go`.

mod classic;
mod lexer;
mod regexp;
mod utf8;

use std::fmt;
use std::str::FromStr;

use regex::Regex;

use super::LabelSet;

/// The operator of a matcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// `=`: the value is this text.
    Equal,
    /// `!=`: the value is not this text.
    NotEqual,
    /// `=~`: the whole value matches this regular expression.
    Regexp,
    /// `!~`: the whole value does not match this regular expression.
    NotRegexp,
}

impl Op {
    /// Returns the operator's symbol.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regexp => "=~",
            Self::NotRegexp => "!~",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One matcher with its compiled regular expression.
///
/// Regular expressions match the whole value and have the meaning that they have in Go; [`Matcher::new`] lists the
/// differences.
#[derive(Clone)]
pub struct Matcher {
    name: String,
    op: Op,
    value: String,
    /// Present only for [`Op::Regexp`] and [`Op::NotRegexp`].
    regexp: Option<Regex>,
}

impl Matcher {
    /// Builds a matcher from its parts.
    ///
    /// Regular expressions follow Go: `.` is any character but a newline, `\d`, `\s`, `\w` and `\b` are ASCII, `{` that
    /// opens no repetition and `[`, `&&`, `~~` inside a class are literal characters. The differences from Go: a
    /// pattern that is balanced only by the anchoring group (`a)|(b`), `--` or a range to a class inside a class, a
    /// repetition of flags (`(?i)*`), nesting deeper than 250, text over 64 KiB and anything that compiles to more than
    /// 1 MiB are rejected; a few more names after `\p` are accepted.
    ///
    /// *Errors*: the regular expression is invalid or too large.
    pub fn new(
        name: impl Into<String>,
        op: Op,
        value: impl Into<String>,
    ) -> Result<Self, RegexpError> {
        let value = value.into();
        let regexp = match op {
            Op::Equal | Op::NotEqual => None,
            Op::Regexp | Op::NotRegexp => Some(regexp::compile(&value)?),
        };
        Ok(Self {
            name: name.into(),
            op,
            value,
            regexp,
        })
    }

    /// Returns the name of the label.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the operator.
    pub const fn op(&self) -> Op {
        self.op
    }

    /// Returns the text or regular expression.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Returns whether a label value matches. A missing label has the empty value.
    pub fn matches(&self, value: &str) -> bool {
        let equal = match &self.regexp {
            Some(regexp) => regexp.is_match(value),
            None => self.value == value,
        };
        equal == matches!(self.op, Op::Equal | Op::Regexp)
    }
}

pub use regexp::RegexpError;

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Matcher({self})")
    }
}

/// Writes Alertmanager's form, which parses to the same matcher: `name="value"`, or `"name"="value"` if the name needs
/// quotes.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Alertmanager prints an empty name without quotes and cannot parse that again.
        let quoted = self.name.is_empty() || self.name.contains(lexer::is_reserved);
        if quoted {
            write_quoted(f, &self.name, true)?;
        } else {
            f.write_str(&self.name)?;
        }
        f.write_str(self.op.as_str())?;
        write_quoted(f, &self.value, quoted)
    }
}

/// Writes text in double quotes. `all` escapes what Go's `strconv.Quote` escapes (of the unprintable characters:
/// control characters and unusual spaces); otherwise only the escapes of the classic syntax are used.
fn write_quoted(f: &mut impl fmt::Write, text: &str, all: bool) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '\\' => f.write_str("\\\\")?,
            '"' => f.write_str("\\\"")?,
            '\n' => f.write_str("\\n")?,
            '\t' if all => f.write_str("\\t")?,
            '\r' if all => f.write_str("\\r")?,
            '\x07' if all => f.write_str("\\a")?,
            '\x08' if all => f.write_str("\\b")?,
            '\x0b' if all => f.write_str("\\v")?,
            '\x0c' if all => f.write_str("\\f")?,
            '\0'..='\x1f' | '\x7f' if all => write!(f, "\\x{:02x}", u32::from(c))?,
            _ if all && (c.is_control() || (c.is_whitespace() && c != ' ')) => {
                write!(f, "\\u{:04x}", u32::from(c))?;
            }
            _ => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

/// Quotes a value for a matcher whose name needs no quotes.
pub fn quoted_value(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    // A string takes all that is written to it.
    let _ = write_quoted(&mut quoted, value, false);
    quoted
}

/// Parses one matcher without braces, as `amtool` and Alertmanager's older `matcher` fields accept it.
impl FromStr for Matcher {
    type Err = ParseError;

    fn from_str(input: &str) -> Result<Self, ParseError> {
        let refuse = |start, end| {
            Err(ParseError::new(
                input,
                start..end,
                "want one matcher without braces around it",
            ))
        };
        if input.starts_with('{') {
            return refuse(0, 1);
        }
        if input.ends_with('}') {
            return refuse(input.len() - 1, input.len());
        }
        choose(utf8::parse_one(input), classic::parse_one(input))
    }
}

/// Matchers that must all match. An empty list matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matchers(Vec<Matcher>);

impl Matchers {
    /// Parses a list of matchers: `{a="b", c!~"d.*"}`, with or without the braces, with or without a trailing comma.
    ///
    /// *Errors*: neither syntax accepts the text. The error is that of the syntax that got further.
    pub fn parse(input: &str) -> Result<Self, ParseError> {
        choose(utf8::parse(input), classic::parse(input)).map(Self)
    }

    /// Returns the matchers in the order in which they were written.
    pub fn iter(&self) -> std::slice::Iter<'_, Matcher> {
        self.0.iter()
    }

    /// Returns whether the list is empty, so that everything matches.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether all of them match these labels.
    pub fn matches(&self, labels: &LabelSet) -> bool {
        self.iter()
            .all(|m| m.matches(labels.get(&m.name).map_or("", String::as_str)))
    }
}

impl FromStr for Matchers {
    type Err = ParseError;

    fn from_str(input: &str) -> Result<Self, ParseError> {
        Self::parse(input)
    }
}

impl FromIterator<Matcher> for Matchers {
    fn from_iter<I: IntoIterator<Item = Matcher>>(matchers: I) -> Self {
        Self(matchers.into_iter().collect())
    }
}

impl IntoIterator for Matchers {
    type Item = Matcher;
    type IntoIter = std::vec::IntoIter<Matcher>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Matchers {
    type Item = &'a Matcher;
    type IntoIter = std::slice::Iter<'a, Matcher>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Matchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, matcher) in self.iter().enumerate() {
            f.write_str(if i > 0 { "," } else { "" })?;
            matcher.fmt(f)?;
        }
        f.write_str("}")
    }
}

/// A text that is not a matcher or a list of matchers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {column}: {message}")]
pub struct ParseError {
    /// Where the error begins. *Units*: bytes from the start of the text.
    pub position: usize,
    /// Where the error ends; equal to `position` if something is missing at the end. *Units*: bytes from the start.
    pub end: usize,
    /// Where the error begins, as Alertmanager counts. *Units*: characters from the start, beginning with 0.
    pub column: usize,
    /// The error and the expected syntax.
    pub message: String,
}

impl ParseError {
    fn new(input: &str, at: std::ops::Range<usize>, message: impl Into<String>) -> Self {
        Self {
            position: at.start,
            end: at.end,
            column: input[..at.start].chars().count(),
            message: message.into(),
        }
    }
}

/// Formats foreign text for an error message: in backquotes, escaped and truncated.
fn shown(text: &str) -> String {
    const LONGEST: usize = 40;
    let cut = text.chars().count() > LONGEST;
    let kept: String = text.chars().take(LONGEST).collect();
    let mark = if cut { "…" } else { "" };
    let kept: String = kept
        .chars()
        .map(|c| {
            if c.is_control() {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
        })
        .collect();
    format!("`{kept}{mark}`")
}

/// Chooses between the results of the two syntaxes as Alertmanager does.
fn choose<T: PartialEq>(
    utf8: Result<T, ParseError>,
    classic: Result<T, ParseError>,
) -> Result<T, ParseError> {
    match (utf8, classic) {
        (_, Ok(classic)) => Ok(classic),
        (Ok(utf8), Err(_)) => Ok(utf8),
        // The syntax that got further has the more useful error.
        (Err(utf8), Err(classic)) if classic.position > utf8.position => Err(classic),
        (Err(utf8), Err(_)) => Err(utf8),
    }
}

#[cfg(test)]
mod tests;
