//! From a path to the text of a file.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::error::{ConfigErrors, Place, Report};

/// The maximum size of a configuration. People write it, so a larger file is a mistake.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Reads the text of a file.
pub(super) fn read(path: &Path, file: &str) -> Result<String, ConfigErrors> {
    let fail = |message: String, help: Option<&str>| {
        let mut report = Report::new(file, "");
        report.add(None, message, help.map(str::to_owned));
        report.fail()
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| fail(format!("the configuration cannot be read: {error}"), None))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(fail(
            format!(
                "the configuration is larger than {} MiB",
                MAX_FILE_BYTES >> 20
            ),
            Some("is this the right file?"),
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let bytes = error.into_bytes();
        let text = String::from_utf8_lossy(&bytes);
        let before = text.get(..valid).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let place = Place {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            length: 1,
        };
        let mut report = Report::new(file, &text);
        report.add(
            Some(place),
            "this is not UTF-8",
            Some("save the file as UTF-8".to_owned()),
        );
        report.fail().hiding_values(&text)
    })
}
