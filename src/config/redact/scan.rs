//! Splits a line of YAML into keys, values and comments. The YAML may be invalid.

use std::ops::Range;

use super::is_known;

/// The open brackets and the open quote at the start of a line.
#[derive(Default)]
pub(super) struct Open {
    brackets: Vec<char>,
    quote: Option<char>,
}

impl Open {
    pub(super) fn is_inside(&self) -> bool {
        !self.brackets.is_empty() || self.quote.is_some()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Key,
    Value,
    Comment,
}

/// A part of a line.
pub(super) struct Piece {
    pub(super) kind: Kind,
    pub(super) place: Range<usize>,
    pub(super) text: String,
    /// The nearest parent key in the line.
    pub(super) nearest: Option<String>,
    /// Whether the other parent keys are known.
    pub(super) outer_known: bool,
    /// Whether it is alone where a key and a value are expected.
    pub(super) alone: bool,
}

impl Piece {
    pub(super) fn new(kind: Kind, place: Range<usize>, text: String) -> Self {
        Self {
            kind,
            place,
            text,
            nearest: None,
            outer_known: true,
            alone: false,
        }
    }
}

/// A key of a line, and the depth of its brackets.
struct OpenKey {
    depth: usize,
    key: String,
    outer_known: bool,
}

/// The parent keys of a place in a line.
#[derive(Default)]
struct Keys(Vec<OpenKey>);

impl Keys {
    fn close(&mut self, depth: usize) {
        while self.0.last().is_some_and(|of| of.depth >= depth) {
            self.0.pop();
        }
    }

    fn open(&mut self, depth: usize, key: String) {
        let outer = self.0.last();
        let outer_known = outer.is_none_or(|of| of.outer_known && is_known(&of.key));
        self.0.push(OpenKey {
            depth,
            key,
            outer_known,
        });
    }

    fn around(&self, mut piece: Piece, bracket: Option<char>, depth: usize) -> Piece {
        let nearest = self.0.last();
        piece.alone = bracket == Some('{') && nearest.is_none_or(|of| of.depth < depth);
        piece.outer_known = nearest.is_none_or(|of| of.outer_known);
        piece.nearest = nearest.map(|of| of.key.clone());
        piece
    }
}

/// Splits a line. The YAML may be invalid.
pub(super) fn scan(line: &str, open: &mut Open) -> Vec<Piece> {
    let chars: Vec<char> = line.chars().collect();
    let text = |range: Range<usize>| -> String {
        let text: String = chars[range].iter().collect();
        text.trim_matches(['"', '\'']).to_owned()
    };
    let mut pieces = Vec::new();
    let mut keys = Keys::default();
    let mut at = 0;
    if let Some(quote) = open.quote.take() {
        at = end_of_quoted(&chars, 0, quote, open);
        pieces.push(Piece::new(Kind::Value, 0..at, text(0..at)));
    }
    while at < chars.len() {
        let c = chars[at];
        let depth = open.brackets.len();
        let next_is_blank = chars.get(at + 1).is_none_or(|c| c.is_whitespace());
        match c {
            c if c.is_whitespace() => at += 1,
            '#' => {
                let range = at..chars.len();
                pieces.push(Piece::new(Kind::Comment, range.clone(), text(range)));
                break;
            }
            '-' if depth == 0 && next_is_blank => at += 1,
            '[' | '{' => {
                open.brackets.push(c);
                at += 1;
            }
            ']' | '}' if depth > 0 => {
                open.brackets.pop();
                keys.close(depth);
                at += 1;
            }
            ',' if depth > 0 => {
                keys.close(depth);
                at += 1;
            }
            _ => {
                let end = end_of_scalar(&chars, at, open);
                let colon = end + chars[end..].iter().take_while(|c| **c == ' ').count();
                let scalar = text(at..end);
                if is_colon(&chars, colon) {
                    pieces.push(Piece::new(Kind::Key, at..end, scalar.clone()));
                    keys.open(depth, scalar);
                    at = colon + 1;
                } else {
                    let value = Piece::new(Kind::Value, at..end, scalar);
                    pieces.push(keys.around(value, open.brackets.last().copied(), depth));
                    at = end.max(at + 1);
                }
            }
        }
    }
    pieces
}

/// Whether the character is the colon of a key.
fn is_colon(chars: &[char], at: usize) -> bool {
    chars.get(at) == Some(&':')
        && chars
            .get(at + 1)
            .is_none_or(|c| c.is_whitespace() || "[]{},\"'".contains(*c))
}

fn end_of_scalar(chars: &[char], from: usize, open: &mut Open) -> usize {
    if matches!(chars[from], '"' | '\'') {
        return end_of_quoted(chars, from + 1, chars[from], open);
    }
    let in_flow = !open.brackets.is_empty();
    let ends = |at: usize| {
        let c = chars[at];
        is_colon(chars, at)
            || (in_flow && "[]{},".contains(c))
            || (c == '#' && at > 0 && chars[at - 1].is_whitespace())
    };
    let mut end = (from..chars.len())
        .find(|at| ends(*at))
        .unwrap_or(chars.len());
    while end > from && chars[end - 1].is_whitespace() {
        end -= 1;
    }
    end
}

/// Returns the place after the closing quote, or the end of the line if there is none.
fn end_of_quoted(chars: &[char], from: usize, quote: char, open: &mut Open) -> usize {
    let mut at = from;
    while at < chars.len() {
        match chars[at] {
            '\\' if quote == '"' => at += 1,
            c if c == quote => {
                if quote == '\'' && chars.get(at + 1) == Some(&'\'') {
                    at += 1;
                } else {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    open.quote = Some(quote);
    chars.len()
}
