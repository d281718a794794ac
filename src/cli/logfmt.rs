//! Log lines as `key=value` pairs, as go-logfmt, Loki and Vector parse them: quoted values are escaped as in JSON.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::Write;

use chrono::SecondsFormat;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::util::clock;

/// Writes a line for each event on standard error.
pub(super) struct Logfmt;

impl<S: Subscriber> Layer<S> for Logfmt {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::begin(*event.metadata().level());
        event.record(&mut line);
        line.0.push('\n');
        // If the log cannot be written, the error cannot be logged either.
        let _ = std::io::stderr().lock().write_all(line.0.as_bytes());
    }
}

struct Line(String);

impl Line {
    fn begin(level: Level) -> Self {
        let at = clock::now().to_rfc3339_opts(SecondsFormat::Micros, true);
        let mut line = Self(format!("ts={at}"));
        line.pair("level", &level.as_str().to_ascii_lowercase());
        line
    }

    /// Adds a pair. The names of fields are our own, and need no escapes.
    fn pair(&mut self, key: &str, value: &str) {
        self.0.push(' ');
        self.0.extend(key.chars().filter(|c| !needs_quotes(*c)));
        self.0.push('=');
        // A parser treats an unquoted null as a missing value.
        if value == "null" || value.chars().any(needs_quotes) {
            self.quoted(value);
        } else {
            self.0.push_str(value);
        }
    }

    fn quoted(&mut self, value: &str) {
        self.0.push('"');
        for c in value.chars() {
            match c {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                '\n' => self.0.push_str("\\n"),
                '\r' => self.0.push_str("\\r"),
                '\t' => self.0.push_str("\\t"),
                c if is_hidden(c) => {
                    // All of these characters have four digits.
                    let _ = write!(self.0, "\\u{:04x}", u32::from(c));
                }
                c => self.0.push(c),
            }
        }
        self.0.push('"');
    }
}

fn needs_quotes(c: char) -> bool {
    c <= ' ' || matches!(c, '=' | '"' | '\\' | char::REPLACEMENT_CHARACTER) || is_hidden(c)
}

/// Whether a character controls a terminal, or could make a line look like another.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
        )
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.pair(field.name(), value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.pair(field.name(), &value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.pair(field.name(), &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes a line apart as go-logfmt does, and refuses what it refuses.
    fn read(line: &str) -> Result<Vec<(String, String)>, String> {
        let mut pairs = Vec::new();
        let mut rest = line;
        while !rest.is_empty() {
            let end = rest.find(['=', ' ', '"']).ok_or("a key without a value")?;
            let (key, after) = rest.split_at(end);
            if key.is_empty()
                || key
                    .chars()
                    .any(|c| c <= ' ' || c == char::REPLACEMENT_CHARACTER)
            {
                return Err(format!("bad key {key:?}"));
            }
            let after = after.strip_prefix('=').ok_or("no = after the key")?;
            let (value, after) = if let Some(quoted) = after.strip_prefix('"') {
                let mut escaped = false;
                let end = quoted.find(|c| {
                    let closes = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    closes
                });
                let end = end.ok_or("no closing quote")? + 2;
                // JSON refuses raw control characters and every escape that is not its own.
                let value = serde_json::from_str(&after[..end]).map_err(|e| e.to_string())?;
                (value, &after[end..])
            } else {
                let end = after.find(' ').unwrap_or(after.len());
                let value = &after[..end];
                if value.contains(['=', '"']) || value.chars().any(|c| c < ' ') {
                    return Err(format!("bad value {value:?}"));
                }
                (value.to_owned(), &after[end..])
            };
            pairs.push((key.to_owned(), value));
            rest = match after.strip_prefix(' ') {
                Some(rest) => rest,
                None if after.is_empty() => after,
                None => return Err(format!("{after:?} follows a value")),
            };
        }
        Ok(pairs)
    }

    fn read_back(value: &str) -> String {
        let mut line = Line::begin(Level::INFO);
        line.pair("message", value);
        line.pair("after", "it");
        let shown = line.0;
        let hidden =
            |c: char| c != ' ' && (c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c));
        assert!(!shown.contains(hidden), "{shown:?}");
        let pairs = read(&shown).unwrap_or_else(|e| panic!("{shown}: {e}"));
        let keys: Vec<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["ts", "level", "message", "after"]);
        assert_eq!(pairs[1].1, "info");
        pairs[2].1.clone()
    }

    #[test]
    fn a_strict_reader_gets_back_what_was_logged() {
        for value in [
            "",
            "web1",
            "run ended",
            "null",
            "a=b",
            "\"",
            "\\",
            "\\u{1b}",
            "C:\\new",
            "a\u{1b}[31mb\0c\u{7f}\u{9b}",
            "1\n2\r\n3\t4",
            "ünï 重启 🚀",
            "\u{202e}evil\u{2028}\u{feff}",
            "\u{fffd}",
            "'",
            " ",
        ] {
            assert_eq!(read_back(value), value);
        }
        for bad in ["a", "a=\"", "a=\"\\x\"", "=b", "a=b=c", "a=\"b\"c=d"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_back(value in any::<String>()) {
            prop_assert_eq!(read_back(&value), value);
        }
    }
}
