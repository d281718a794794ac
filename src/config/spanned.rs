//! Values as typed, with their places, and the YAML parser for them.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_saphyr::Spanned;

use crate::config::error::{ConfigErrors, Place, Report, place};
use crate::config::yaml;

/// A value as typed.
pub(crate) type Scalar = Spanned<String>;

/// A map with arbitrary keys in their order, each with its place.
#[derive(Debug)]
pub(crate) struct Pairs<V>(pub(crate) Vec<(Scalar, V)>);

impl<V> Default for Pairs<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Pairs<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<V>(std::marker::PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for InOrder<V> {
            type Value = Pairs<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of names to values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<V>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(InOrder(std::marker::PhantomData))
    }
}

/// Parses YAML. The first defect ends the parsing, so there is at most one.
pub(crate) fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, ConfigErrors> {
    let options = serde_saphyr::options! {
        // Far more than a person writes, and little enough that no file exhausts the stack or the memory.
        budget: serde_saphyr::budget! { max_depth: 64, max_inclusion_depth: 0 },
        // 0644 and 1_000 are different numbers for different parsers. As strings they stay as typed.
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    let mut report = Report::new(file, text);
    serde_saphyr::from_str_with_options(report.text, options).map_err(|error| {
        yaml::note(&error, &mut report);
        report.fail()
    })
}

/// Returns the place of a part of a value, given in bytes of the value; `None` if the characters cannot be mapped one
/// to one (a block, several lines, a numeric escape).
pub(super) fn exact_place(source: &str, value: &Scalar, part: Range<usize>) -> Option<Place> {
    let whole = place(value.referenced)?;
    let span = value.referenced.span();
    let from = usize::try_from(span.byte_offset()?).ok()?;
    let typed = source.get(from..from + usize::try_from(span.byte_len()?).ok()?)?;
    let (quote, inner) = match typed.chars().next()? {
        quote @ ('\'' | '"') => (Some(quote), &typed[1..]),
        _ => (None, typed),
    };
    let mut typed = inner.chars();
    let mut column = whole.column + usize::from(quote.is_some());
    let mut from = None;
    let mut byte = 0;
    for c in value.value.chars().chain([END]) {
        if byte == part.start {
            from = Some(column);
        }
        if let Some(from) = from
            && (byte >= part.end || c == END)
        {
            let length = (column - from).max(1);
            return Some(Place {
                column: from,
                length,
                ..whole
            });
        }
        let mut width = 1;
        match (quote, typed.next()?) {
            (Some('\''), '\'') => {
                width = 2;
                (typed.next()? == c).then_some(())?;
            }
            (Some('"'), '\\') => {
                width = 2;
                (escaped(typed.next()?)? == c).then_some(())?;
            }
            (_, next) => (next == c && next != '\n').then_some(())?,
        }
        byte += c.len_utf8();
        column += width;
    }
    None
}

/// Marks the end of a value. It cannot occur in YAML.
const END: char = '\u{ffff}';

/// Returns the meaning of the common one-letter escapes of double-quoted values.
fn escaped(letter: char) -> Option<char> {
    match letter {
        '"' | '\\' | '/' => Some(letter),
        'n' => Some('\n'),
        't' => Some('\t'),
        _ => None,
    }
}
