//! The UTF-8 syntax: names and values are either unquoted words without reserved characters, or in double quotes with
//! Go's escapes.
//!
//! *Source*: Alertmanager's `matcher/parse/parse.go`, and Go's `strconv.Unquote`.

use super::lexer::{Kind, Lexer, Token};
use super::{Matcher, Op, ParseError, shown};

/// Parses a list of matchers.
pub(super) fn parse(input: &str) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser {
        lexer: Lexer::new(input),
    };
    let matchers = parser.list()?;
    match parser.lexer.peek()? {
        None => Ok(matchers),
        Some(token) => Err(parser.unexpected(&token, "the end")),
    }
}

/// Parses exactly one matcher, with or without braces.
pub(super) fn parse_one(input: &str) -> Result<Matcher, ParseError> {
    let mut matchers = parse(input)?;
    match (matchers.len(), matchers.pop()) {
        (1, Some(matcher)) => Ok(matcher),
        (found, _) => {
            let message = format!("want exactly one matcher, found {found}");
            Err(ParseError::new(input, 0..input.len(), message))
        }
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
}

const NAME: &str = "a label name";
const OPERATOR: &str = "an operator: `=`, `!=`, `=~` or `!~`";
const VALUE: &str = "a value";
const CLOSE: &str = "`}`";
const COMMA_OR_CLOSE: &str = "a comma or `}`";
const MATCHER_OR_CLOSE: &str = "a matcher or `}` after the comma";

impl Parser<'_> {
    fn list(&mut self) -> Result<Vec<Matcher>, ParseError> {
        let mut matchers = Vec::new();
        let braced = match self.lexer.peek()? {
            None => return Ok(matchers),
            Some(token) if token.kind == Kind::OpenBrace => {
                self.lexer.skip(&token);
                true
            }
            Some(_) => false,
        };
        let first = self.lexer.peek()?;
        if first.is_none_or(|token| token.kind == Kind::CloseBrace) {
            self.close(braced)?;
            return Ok(matchers);
        }
        loop {
            matchers.push(self.matcher()?);
            match self.expect_or_end(&[Kind::Comma, Kind::CloseBrace], COMMA_OR_CLOSE)? {
                Some(token) if token.kind == Kind::Comma => self.lexer.skip(&token),
                _ => break,
            }
            let then = [Kind::CloseBrace, Kind::Unquoted, Kind::Quoted];
            match self.expect_or_end(&then, MATCHER_OR_CLOSE)? {
                Some(token) if token.kind != Kind::CloseBrace => {}
                _ => break,
            }
        }
        self.close(braced)?;
        Ok(matchers)
    }

    /// Expects a closing brace if and only if there was an opening one.
    fn close(&mut self, braced: bool) -> Result<(), ParseError> {
        if braced {
            self.expect(&[Kind::CloseBrace], CLOSE)?;
        } else if let Some(token) = self.lexer.peek()? {
            return Err(self.lexer.error(token.at, "this `}` has no opening `{`"));
        }
        Ok(())
    }

    fn matcher(&mut self) -> Result<Matcher, ParseError> {
        let word = [Kind::Quoted, Kind::Unquoted];
        let name = self.expect(&word, NAME)?;
        let name = self.unquote(&name)?;
        let operators = [
            Kind::Equals,
            Kind::NotEquals,
            Kind::Matches,
            Kind::NotMatches,
        ];
        let op = match self.expect(&operators, OPERATOR)?.kind {
            Kind::NotEquals => Op::NotEqual,
            Kind::Matches => Op::Regexp,
            Kind::NotMatches => Op::NotRegexp,
            _ => Op::Equal,
        };
        let token = self.expect(&word, VALUE)?;
        let value = self.unquote(&token)?;
        Matcher::new(name, op, value).map_err(|error| self.lexer.error(token.at, error.to_string()))
    }

    /// Consumes the next token, which must be of one of these kinds.
    fn expect(&mut self, kinds: &[Kind], wanted: &str) -> Result<Token, ParseError> {
        let Some(token) = self.expect_or_end(kinds, wanted)? else {
            let message = format!("want {wanted}, found the end");
            return Err(self.lexer.error(self.lexer.end(), message));
        };
        self.lexer.skip(&token);
        Ok(token)
    }

    /// Peeks at the next token, which must be of one of these kinds if there is one.
    fn expect_or_end(&self, kinds: &[Kind], wanted: &str) -> Result<Option<Token>, ParseError> {
        match self.lexer.peek()? {
            Some(token) if !kinds.contains(&token.kind) => Err(self.unexpected(&token, wanted)),
            token => Ok(token),
        }
    }

    fn unexpected(&self, token: &Token, wanted: &str) -> ParseError {
        let found = shown(self.lexer.text(token));
        let hint = match token.kind {
            Kind::Stray => ", which must be inside double quotes",
            _ => "",
        };
        let message = format!("want {wanted}, found {found}{hint}");
        self.lexer.error(token.at.clone(), message)
    }

    fn unquote(&self, token: &Token) -> Result<String, ParseError> {
        let text = self.lexer.text(token);
        if token.kind == Kind::Unquoted {
            return Ok(text.to_owned());
        }
        unquote(&text[1..text.len() - 1])
            .map_err(|message| self.lexer.error(token.at.clone(), message))
    }
}

/// Resolves Go's escapes in the text between double quotes.
fn unquote(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\n' => return Err("a line break inside double quotes must be written `\\n`".into()),
            '\\' => escape(&mut rest, &mut bytes)?,
            _ => push(&mut bytes, c),
        }
    }
    String::from_utf8(bytes).map_err(|_| "the escaped bytes are not UTF-8".into())
}

/// Resolves one escape, after its backslash.
fn escape(rest: &mut std::str::Chars<'_>, bytes: &mut Vec<u8>) -> Result<(), String> {
    let from = rest.as_str();
    let unknown = || {
        let sign: String = from.chars().take(1).collect();
        format!(
            "{} is not an escape; a backslash itself is written `\\\\`",
            shown(&format!("\\{sign}"))
        )
    };
    let byte = match rest.next().ok_or_else(unknown)? {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' => b'\\',
        '"' => b'"',
        'x' => digits(rest, from, 1, 2, 16)?,
        '0'..='7' => digits(rest, from, 0, 3, 8)?,
        'u' => return character(digits(rest, from, 1, 4, 16)?, bytes),
        'U' => return character(digits(rest, from, 1, 8, 16)?, bytes),
        _ => return Err(unknown()),
    };
    bytes.push(byte);
    Ok(())
}

/// Reads `count` digits after the first `skip` characters of `from`, and moves `rest` past them.
fn digits<'a, T: TryFrom<u32>>(
    rest: &mut std::str::Chars<'a>,
    from: &'a str,
    skip: usize,
    count: usize,
    radix: u32,
) -> Result<T, String> {
    let wrong = || {
        let seen: String = from.chars().take(skip + count).collect();
        let kind = if radix == 16 { "hexadecimal" } else { "octal" };
        let escape = shown(&format!("\\{seen}"));
        format!("{escape} needs {count} {kind} digits, and a value that fits")
    };
    let text = from.get(skip..skip + count).ok_or_else(wrong)?;
    if !text.chars().all(|c| c.is_digit(radix)) {
        return Err(wrong());
    }
    *rest = from[skip + count..].chars();
    let value = u32::from_str_radix(text, radix).map_err(|_| wrong())?;
    T::try_from(value).map_err(|_| wrong())
}

fn character(value: u32, bytes: &mut Vec<u8>) -> Result<(), String> {
    let c = char::from_u32(value).ok_or_else(|| format!("U+{value:04X} is not a character"))?;
    push(bytes, c);
    Ok(())
}

fn push(bytes: &mut Vec<u8>, c: char) {
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}
