//! Turns errors of the YAML parser and of serde into configuration errors.

use serde_saphyr::{Error, MessageFormatter as _, UserMessageFormatter};

use super::error::{Place, Report, place};
pub(super) use crate::util::suggest::{did_you_mean, nearest};

/// Reports the defect that ended the parsing of a file.
pub(super) fn note(error: &Error, report: &mut Report<'_>) {
    let error = error.without_snippet();
    let at = error.location().and_then(place);
    let (message, help) = describe(error);
    if is_about_a_tab(error)
        && let Some(tab) = tab_in_indentation(report.text, at.map_or(1, |at| at.line))
    {
        let help = "YAML allows only spaces there: replace the tab with spaces";
        report.add(
            Some(tab),
            "this line is indented with a tab",
            Some(help.to_owned()),
        );
        return;
    }
    report.add(at, message, help);
}

/// Whether the parser found a tab where none is allowed. Its error has the place of the previous value, if there is
/// one.
fn is_about_a_tab(error: &Error) -> bool {
    match error {
        Error::ExternalMessage { msg, .. } => {
            msg.split(' ').any(|word| matches!(word, "tab" | "tabs"))
        }
        _ => false,
    }
}

/// Returns the first line that is indented with a tab, from a line on, or else of all lines.
fn tab_in_indentation(text: &str, from: usize) -> Option<Place> {
    let indents = |(number, line): (usize, &str)| {
        let indent = line.find(|c| c != ' ' && c != '\t')?;
        let tab = line[..indent].find('\t')?;
        Some(Place {
            line: number,
            column: tab + 1,
            length: 1,
        })
    };
    let lines = || (1..).zip(text.split('\n'));
    lines()
        .skip(from.saturating_sub(1))
        .find_map(indents)
        .or_else(|| lines().find_map(indents))
}

fn describe(error: &Error) -> (String, Option<String>) {
    match error {
        Error::AliasError { error, .. } => describe(error),
        Error::SerdeUnknownField {
            field, expected, ..
        } => (
            format!("unknown key {field:?}"),
            Some(did_you_mean(field, expected, "the keys here are")),
        ),
        Error::DuplicateMappingKey { key, .. } => (
            match key {
                Some(key) => format!("duplicate key {key:?}"),
                None => "duplicate key".to_owned(),
            },
            Some("keep only one of them".to_owned()),
        ),
        Error::NullIntoString { .. } => (
            "a value is missing here".to_owned(),
            Some("write a value, or remove the key to use the default".to_owned()),
        ),
        Error::InvalidScalar { ty: "boolean", .. } | Error::InvalidBooleanStrict { .. } => (
            "this is neither true nor false".to_owned(),
            Some("write true or false".to_owned()),
        ),
        Error::SerdeInvalidType {
            unexpected,
            expected,
            ..
        } => {
            // The value after the kind may be a secret.
            let kind = unexpected.split(['"', '`']).next().unwrap_or_default();
            (format!("found {}, expected {expected}", kind.trim()), None)
        }
        Error::Unexpected { expected, .. } => kind(expected),
        Error::MultipleDocuments { .. } => (
            "a second document begins here".to_owned(),
            Some("the configuration is one YAML document: remove the `---`".to_owned()),
        ),
        Error::UnknownAnchor { .. } => (
            "this alias has no anchor before it".to_owned(),
            Some("put a string that begins with * in quotes".to_owned()),
        ),
        other => (
            UserMessageFormatter.format_message(other).into_owned(),
            None,
        ),
    }
}

/// Translates the parser's name of the expected kind of node for a person.
fn kind(expected: &str) -> (String, Option<String>) {
    let (want, help) = match expected {
        "mapping start" => (
            "keys and values",
            "write lines of `key: value`, or {key: value}",
        ),
        "sequence start" => (
            "a list",
            "write [a, b], or lines that begin with `- `; a list with one item is [a]",
        ),
        "scalar" | "string scalar" => (
            "a single value",
            "write it without brackets; put a string that begins with { or [ in quotes",
        ),
        other => return (format!("expected {other} here"), None),
    };
    (format!("expected {want} here"), Some(help.to_owned()))
}
