//! The lexer of the UTF-8 syntax.
//!
//! *Source*: Alertmanager's `matcher/parse/lexer.go`.

use std::ops::Range;

use super::ParseError;

/// Returns whether a character ends an unquoted word. Such characters are literal only inside quotes.
pub(super) fn is_reserved(c: char) -> bool {
    c.is_whitespace() || "{}!=~,\\\"'`".contains(c)
}

/// The kind of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Deserialize), serde(rename_all = "snake_case"))]
pub(super) enum Kind {
    OpenBrace,
    CloseBrace,
    Comma,
    Equals,
    NotEquals,
    Matches,
    NotMatches,
    Quoted,
    Unquoted,
    /// A reserved character that cannot begin a token and is never valid.
    Stray,
}

/// A token and its byte range in the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) at: Range<usize>,
}

/// Splits the input into tokens. After an error, every further call reports the same error.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'a> {
    input: &'a str,
    position: usize,
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(input: &'a str) -> Self {
        Self { input, position: 0 }
    }

    /// Returns the next token without consuming it; `None` at the end.
    pub(super) fn peek(&self) -> Result<Option<Token>, ParseError> {
        let rest = &self.input[self.position..];
        let start = self.input.len() - rest.trim_start().len();
        let rest = &self.input[start..];
        let Some(first) = rest.chars().next() else {
            return Ok(None);
        };
        let second = rest[first.len_utf8()..].chars().next();
        let (kind, len) = match (first, second) {
            ('{', _) => (Kind::OpenBrace, 1),
            ('}', _) => (Kind::CloseBrace, 1),
            (',', _) => (Kind::Comma, 1),
            ('=', Some('~')) => (Kind::Matches, 2),
            ('=', _) => (Kind::Equals, 1),
            ('!', Some('=')) => (Kind::NotEquals, 2),
            ('!', Some('~')) => (Kind::NotMatches, 2),
            ('!', _) => {
                let message = "`!` must be followed by `=` or `~`";
                return Err(self.error(start..start + 1, message));
            }
            ('"', _) => (Kind::Quoted, self.quoted_len(start)?),
            (c, _) if is_reserved(c) => (Kind::Stray, c.len_utf8()),
            _ => (Kind::Unquoted, rest.find(is_reserved).unwrap_or(rest.len())),
        };
        Ok(Some(Token {
            kind,
            at: start..start + len,
        }))
    }

    /// Consumes a token that was peeked.
    pub(super) fn skip(&mut self, token: &Token) {
        self.position = token.at.end;
    }

    /// Returns the length of the quoted token that starts here, including its quotes.
    fn quoted_len(&self, start: usize) -> Result<usize, ParseError> {
        let mut escaped = false;
        for (i, c) in self.input[start..].char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => return Ok(i + 1),
                _ => {}
            }
        }
        let message = "this double quote is never closed";
        Err(self.error(start..self.input.len(), message))
    }

    pub(super) fn error(&self, at: Range<usize>, message: impl Into<String>) -> ParseError {
        ParseError::new(self.input, at, message)
    }

    /// Returns the text of a token.
    pub(super) fn text(&self, token: &Token) -> &'a str {
        &self.input[token.at.clone()]
    }

    /// Returns the end of the input, as a position for an error.
    pub(super) const fn end(&self) -> Range<usize> {
        self.input.len()..self.input.len()
    }
}
