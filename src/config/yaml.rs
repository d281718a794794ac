//! What the YAML parser and serde say of a file, in our form.

use serde_saphyr::{Error, MessageFormatter as _, UserMessageFormatter};

use super::error::{Place, Report, place};
pub(super) use crate::util::suggest::{did_you_mean, nearest};

/// Notes the defect that ended the reading of a file.
pub(super) fn note(error: &Error, report: &mut Report<'_>) {
    let error = error.without_snippet();
    let at = error.location().and_then(place);
    let (message, help) = describe(error);
    if is_about_a_tab(error)
        && let Some(tab) = tab_in_indentation(report.text, at.map_or(1, |at| at.line))
    {
        let help = "YAML takes only spaces there: put spaces in the place of the tab";
        report.add(Some(tab), "a tab indents this line", Some(help.to_owned()));
        return;
    }
    report.add(at, message, help);
}

/// Whether the parser met a tab where none may be. It says so with the place of the value before, if there is one.
fn is_about_a_tab(error: &Error) -> bool {
    match error {
        Error::ExternalMessage { msg, .. } => {
            msg.split(' ').any(|word| matches!(word, "tab" | "tabs"))
        }
        _ => false,
    }
}

/// The first line that a tab indents, from a line on, or else of all.
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
                Some(key) => format!("the key {key:?} stands twice"),
                None => "a key stands twice".to_owned(),
            },
            Some("keep one of them: which one would count is not for a reader to guess".to_owned()),
        ),
        Error::NullIntoString { .. } => (
            "a value is missing here".to_owned(),
            Some("write the value, or leave the whole key out to get the default".to_owned()),
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
            // Behind its kind stands the value, which may be a secret.
            let kind = unexpected.split(['"', '`']).next().unwrap_or_default();
            (format!("found {}, want {expected}", kind.trim()), None)
        }
        Error::Unexpected { expected, .. } => kind(expected),
        Error::MultipleDocuments { .. } => (
            "a second document begins here".to_owned(),
            Some("the configuration is one YAML document: remove the `---`".to_owned()),
        ),
        Error::UnknownAnchor { .. } => (
            "this alias has no anchor before it".to_owned(),
            Some("a value that begins with * must be in quotes if it is a text".to_owned()),
        ),
        other => (
            UserMessageFormatter.format_message(other).into_owned(),
            None,
        ),
    }
}

/// The parser's words for the kind of node that it wants, as a person says them.
fn kind(expected: &str) -> (String, Option<String>) {
    let (want, help) = match expected {
        "mapping start" => (
            "keys and values",
            "write lines of `key: value`, or {key: value}",
        ),
        "sequence start" => (
            "a list",
            "write [a, b], or lines that begin with `- `; a list of one is [a]",
        ),
        "scalar" | "string scalar" => (
            "a single value",
            "write it without brackets; a text that begins with { or [ must be in quotes",
        ),
        other => return (format!("want {other} here"), None),
    };
    (format!("want {want} here"), Some(help.to_owned()))
}
