//! Configuration errors with their places, all in one form.

use std::fmt::{self, Write as _};

use serde_saphyr::Location;

use crate::util::sanitize::line as clean;

/// A place in the file.
///
/// *Units*: all three count from 1, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    /// The column of the first character.
    pub column: usize,
    /// The number of characters; those beyond the end of the line are not underlined.
    pub length: usize,
}

/// One defect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, if it is not the configuration itself.
    pub file: Option<String>,
    /// The place; `None` if the defect concerns the whole file.
    pub place: Option<Place>,
    /// The line as typed.
    pub source_line: Option<String>,
    /// The defect.
    pub message: String,
    /// How to correct it.
    pub help: Option<String>,
}

/// All defects of a configuration and of the files of its roles: at least one, in the order of the file, those of the
/// configuration first.
///
/// Its `Display` is [`ConfigErrors::render`] without colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The path of the file, as given.
    pub file: String,
    pub errors: Vec<ConfigError>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ConfigErrors {}

/// The maximum number of characters to show around a defect.
const SHOWN: usize = 160;

impl ConfigErrors {
    /// Formats the defects for a person: `file:line:column: message`, the line underlined, and the help.
    ///
    /// *Shape*: no newline at the end. With `color`, ANSI escapes; text from the file never contains any.
    pub fn render(&self, color: bool) -> String {
        let paint = Paint(color);
        let mut out = String::new();
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                out.push_str("\n\n");
            }
            let file = error.file.as_ref().unwrap_or(&self.file);
            error.render(&clean(file), &paint, &mut out);
        }
        out
    }
}

impl ConfigErrors {
    /// Removes the lines of the file, which may contain secrets. The places stay.
    pub(crate) fn without_lines(mut self) -> Self {
        for error in &mut self.errors {
            error.source_line = None;
        }
        self
    }

    /// Returns the first defect in one line: `file:line:column: message`.
    pub(super) fn first_line(&self) -> String {
        let first = self.errors.first().expect("there is one at least");
        let file = clean(first.file.as_ref().unwrap_or(&self.file));
        let message = clean(&first.message);
        match first.place {
            Some(Place { line, column, .. }) => format!("{file}:{line}:{column}: {message}"),
            None => format!("{file}: {message}"),
        }
    }
}

impl ConfigError {
    fn render(&self, file: &str, paint: &Paint, out: &mut String) {
        let message = paint.bold(&clean(&self.message));
        match self.place {
            None => {
                let _ = write!(out, "{file}: {message}");
            }
            Some(Place {
                line,
                column,
                length,
            }) => {
                let _ = write!(out, "{file}:{line}:{column}: {message}");
                if let Some(source) = &self.source_line {
                    let (shown, underline) = snippet(source, column, length);
                    let number = line.to_string();
                    let gutter = " ".repeat(number.len());
                    let _ = write!(
                        out,
                        "\n {}{shown}\n {}{}",
                        paint.blue(&format!("{number} | ")),
                        paint.blue(&format!("{gutter} | ")),
                        paint.red(&underline),
                    );
                }
            }
        }
        if let Some(help) = &self.help {
            let _ = write!(out, "\n  {} {}", paint.blue("= help:"), clean(help));
        }
    }
}

/// Returns the part of a line around a place, and the line that underlines it.
fn snippet(source: &str, column: usize, length: usize) -> (String, String) {
    let chars: Vec<char> = clean(source).chars().collect();
    let at = (column.max(1) - 1).min(chars.len());
    let (from, to) = if chars.len() <= SHOWN {
        (0, chars.len())
    } else {
        let from = at.saturating_sub(SHOWN / 2);
        (from, (from + SHOWN).min(chars.len()))
    };
    let mut shown: String = chars[from..to].iter().collect();
    // Tabs stay tabs, so that the mark is below its character at any tab width.
    let mut underline: String = chars[from..at]
        .iter()
        .map(|c| if *c == '\t' { '\t' } else { ' ' })
        .collect();
    if from > 0 {
        shown.insert(0, '…');
        underline.insert(0, ' ');
    }
    if to < chars.len() {
        shown.push('…');
    }
    underline.push('^');
    let tail = length.max(1).min(to.saturating_sub(at)).saturating_sub(1);
    underline.extend(std::iter::repeat_n('~', tail));
    (shown, underline)
}

struct Paint(bool);

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }

    fn red(&self, text: &str) -> String {
        self.with("1;31", text)
    }

    fn blue(&self, text: &str) -> String {
        self.with("1;34", text)
    }
}

/// The text of a file, and the defects found so far.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    file: &'a str,
    pub(super) text: &'a str,
    errors: Vec<ConfigError>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str) -> Self {
        // The parser does not count a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self {
            file,
            text,
            errors: Vec::new(),
        }
    }

    /// Adds a defect at a place, or of the whole file.
    pub(crate) fn add(
        &mut self,
        place: Option<Place>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.add_unseen(place, message, help);
        let source_line = place
            .and_then(|place| self.text.split('\n').nth(place.line - 1))
            .map(|line| line.trim_end_matches('\r').to_owned());
        if let Some(error) = self.errors.last_mut() {
            error.source_line = source_line;
        }
    }

    /// Adds a defect without the line, which contains a secret.
    pub(super) fn add_unseen(
        &mut self,
        place: Option<Place>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.errors.push(ConfigError {
            file: None,
            place,
            source_line: None,
            message: message.into(),
            help,
        });
    }

    /// Adds the defects of another file.
    pub(super) fn include(&mut self, other: ConfigErrors) {
        let ConfigErrors { file, errors } = other;
        self.errors.extend(errors.into_iter().map(|mut error| {
            error.file.get_or_insert_with(|| file.clone());
            error
        }));
    }

    /// Returns `value` if there are no defects, otherwise the defects.
    pub(crate) fn finish<T>(mut self, value: T) -> Result<T, ConfigErrors> {
        if self.errors.is_empty() {
            return Ok(value);
        }
        self.errors
            .sort_by(|a, b| (&a.file, a.place).cmp(&(&b.file, b.place)));
        Err(ConfigErrors {
            file: self.file.to_owned(),
            errors: self.errors,
        })
    }

    /// Returns the defects. There must be at least one.
    pub(crate) fn fail(self) -> ConfigErrors {
        self.finish(())
            .expect_err("a defect was noted before the report is given up")
    }
}

/// Returns the place of a value.
pub(crate) fn place(location: Location) -> Option<Place> {
    let number = |n: u64| usize::try_from(n).ok();
    (location != Location::UNKNOWN).then_some(())?;
    Some(Place {
        line: number(location.line())?,
        column: number(location.column())?,
        length: number(location.span().len())?.max(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(line: &str, column: usize, length: usize) -> String {
        let mut report = Report::new("f.yml", line);
        report.add(
            Some(Place {
                line: 1,
                column,
                length,
            }),
            "wrong",
            Some("write it so".to_owned()),
        );
        report.fail().to_string()
    }

    #[test]
    fn the_mark_stands_below_its_character() {
        assert_eq!(
            render("\tü: [bad, good]", 6, 3),
            "f.yml:1:6: wrong\n 1 | \tü: [bad, good]\n   | \t    ^~~\n  = help: write it so"
        );
        // Beyond the end: clipped, but never without a mark.
        assert!(render("abc", 3, 99).contains("\n   |   ^\n"));
        assert!(render("abc", 50, 9).contains("\n   |    ^\n"));
        assert!(render("", 1, 0).contains("\n   | ^\n"));
    }

    #[test]
    fn a_long_line_is_shown_around_the_place() {
        let text = render(
            &format!("{}HERE{}", "a".repeat(5000), "b".repeat(5000)),
            5001,
            4,
        );
        assert!(text.len() < 600, "{text}");
        let lines: Vec<&str> = text.lines().collect();
        let mark = lines[2].chars().position(|c| c == '^').expect("a mark");
        assert_eq!(lines[1].chars().nth(mark), Some('H'), "{text}");
    }

    #[test]
    fn text_of_the_file_cannot_drive_the_terminal() {
        let text = render("a: \u{1b}[31m\u{202e}\u{9b}\u{61c}x", 4, 1);
        assert!(
            !text.contains(['\u{1b}', '\u{202e}', '\u{9b}', '\u{61c}']),
            "{text:?}"
        );
    }

    #[test]
    fn colour_adds_escapes_and_nothing_else() {
        let mut report = Report::new("f.yml", "a: b");
        report.add(
            Some(Place {
                line: 1,
                column: 4,
                length: 1,
            }),
            "wrong",
            None,
        );
        let errors = report.fail();
        let coloured = errors.render(true);
        assert!(
            coloured.contains("\u{1b}[1;31m   ^\u{1b}[0m"),
            "{coloured:?}"
        );
        let mut plain = coloured;
        for code in ["0", "1", "1;31", "1;34"] {
            plain = plain.replace(&format!("\u{1b}[{code}m"), "");
        }
        assert_eq!(plain, errors.to_string());
    }
}
