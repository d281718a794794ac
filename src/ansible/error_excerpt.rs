//! Extracts the error message from the output of a program.

use crate::util::sanitize;

/// The most lines in an excerpt.
const LINES: usize = 5;

/// The most characters in an excerpt.
const CHARS: usize = 600;

/// How much of the end of an output [`error_excerpt`] needs. *Units*: bytes.
pub const LAST_BYTES: usize = 8192;

/// The beginnings of Ansible's error lines.
const ERRORS: [&str; 3] = ["ERROR!", "[ERROR]", "fatal:"];

/// The beginning of Ansible's final summary, which explains nothing.
const RECAP: &str = "PLAY RECAP";

/// Part of the last error if the inventory could not be read; the reason is in the lines before it.
const NO_SOURCE: &str = "parse inventory source";

/// The line before the standard error of an inventory script.
const SCRIPT_WROTE: &str = "Standard error from inventory script:";

/// Returns the last error and the lines after it, or else the last lines; without empty lines and colours.
pub fn error_excerpt(output: &[u8]) -> String {
    let text = without_colours(&String::from_utf8_lossy(output).replace("\r\n", "\n"));
    let text = sanitize::lines(&text);
    let lines = text.lines().map(str::trim_end);
    let lines = lines.take_while(|line| !line.starts_with(RECAP));
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let is_error = |line: &&str| ERRORS.iter().any(|error| line.starts_with(error));
    let from = lines.iter().rposition(is_error);
    let from = from.unwrap_or(lines.len().saturating_sub(LINES));
    let mut shown: Vec<&str> = lines[from..].iter().take(LINES).copied().collect();
    let reason = source_reason(&lines[..from]);
    if shown.first().is_some_and(|line| line.contains(NO_SOURCE)) {
        shown.truncate(1);
        shown.extend(reason.as_deref());
    }
    let shown = shown.join("\n");
    match shown.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown,
    }
}

/// Returns why an inventory source could not be read: the standard error of its script, or Ansible's warning before the
/// last error. The first plugin that was tried is the one for which the source looked right.
fn source_reason(lines: &[&str]) -> Option<String> {
    let is_warning = |line: &str| line.starts_with("[WARNING]");
    let from = lines
        .iter()
        .position(|line| is_warning(line) && line.contains("Failed to parse"))?;
    let block = lines[from + 1..]
        .iter()
        .take_while(|line| !is_warning(line));
    let block: Vec<&str> = std::iter::once(&lines[from])
        .chain(block)
        .copied()
        .collect();
    // ansible-core 2.19 quotes the script; earlier versions wrap a sentence that ends with the output of the script.
    let quoted = block.iter().position(|line| line.starts_with(SCRIPT_WROTE));
    Some(match quoted {
        Some(at) => block[at + 1..]
            .iter()
            .take(LINES)
            .copied()
            .collect::<Vec<_>>()
            .join("\n"),
        None => block
            .iter()
            .take(LINES)
            .copied()
            .collect::<Vec<_>>()
            .join(" "),
    })
}

/// Removes the sequences `ESC [ … letter`.
pub(super) fn without_colours(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.strip_prefix('[').unwrap_or(part);
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        plain.push_str(rest.get(1..).unwrap_or_default());
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_source_cannot_be_read_is_shown_with_the_error() {
        let old = b"[WARNING]:  * Failed to parse /i.sh with script plugin: Inventory\nscript (/i.sh) had an execution error: cloud API: 503\n[WARNING]:  * Failed to parse /i.sh with ini plugin: x\nERROR! Completely failed to parse inventory source /i.sh\n";
        assert_eq!(
            error_excerpt(old),
            "ERROR! Completely failed to parse inventory source /i.sh\n[WARNING]:  * Failed to parse /i.sh with script plugin: Inventory script (/i.sh) had an execution error: cloud API: 503"
        );
        let new = b"[WARNING]: Failed to parse inventory with 'script' plugin: Inventory script returned non-zero exit code 1.\n\n<<< caused by >>>\n\nStandard error from inventory script:\ncloud API: 503\n\n[WARNING]: Failed to parse inventory with 'ini' plugin: x\n[ERROR]: Completely failed to parse inventory source /i.sh\n";
        assert_eq!(
            error_excerpt(new),
            "[ERROR]: Completely failed to parse inventory source /i.sh\ncloud API: 503"
        );
    }

    #[test]
    fn the_last_error_is_shown_or_else_the_last_lines() {
        let lines = b"1\n2\n\n3\n4\n5\n6  \r\n";
        assert_eq!(error_excerpt(lines), "2\n3\n4\n5\n6");
        let play = b"TASK\nERROR! one\nTASK\n\x1b[1;31mERROR! \xff two\x1b[0m\n\n  here\nPLAY RECAP ***\nweb1\n";
        assert_eq!(error_excerpt(play), "ERROR! \u{fffd} two\n  here");
        let long = error_excerpt(&b"x".repeat(5000));
        assert_eq!(long.chars().count(), CHARS + 1);
        for (odd, shown) in [
            ("a\u{9b}2J\u{202e}b\u{7}", "a\u{fffd}2J\u{fffd}b\u{fffd}"),
            ("", ""),
            ("a\x1b", "a"),
            ("a\x1b[ü", "a"),
            ("\x1b[3", ""),
        ] {
            assert_eq!(error_excerpt(odd.as_bytes()), shown);
        }
    }
}
