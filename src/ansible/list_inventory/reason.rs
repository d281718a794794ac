//! Parses the output of `ansible-inventory`: its JSON among other lines, and the reasons for a failure, for people.

use serde::de::IgnoredAny;

use super::super::supervisor::LEFT_PROCESSES;
use crate::ansible::error_excerpt::without_colours;
use crate::util::sanitize;

/// The most characters that are shown.
const CHARS: usize = 2000;

/// The most lines that are shown of an inventory script's standard error.
const SCRIPT_LINES: usize = 10;

/// The most lines that are shown if none begins a message.
const LAST_LINES: usize = 5;

/// The beginning of messages that give reasons.
const WARNING: &str = "[WARNING]:";

/// The beginning of the last message, in ansible-core 2.16 and 2.19.
const ERRORS: [&str; 2] = ["ERROR!", "[ERROR]:"];

/// The line before a script's standard error, in ansible-core 2.19.
const SCRIPT_STDERR: &str = "Standard error from inventory script:";

/// Returns the last error, then each warning before it, one per line, with the standard error of scripts; or else the last
/// lines.
///
/// ansible-core before 2.19 wraps messages at 80 columns; since then it repeats a message, with its causes, after an empty
/// line.
pub(super) fn of(stderr: &[u8]) -> String {
    let text = plain(&String::from_utf8_lossy(stderr));
    // Processes that outlived the program are not the reason for its end.
    let lines = text.lines().map(str::trim_end);
    let lines: Vec<&str> = lines
        .filter(|line| !line.starts_with(LEFT_PROCESSES))
        .collect();
    let (mut warnings, mut error): (Vec<String>, Option<String>) = (Vec::new(), None);
    for (at, line) in lines.iter().enumerate() {
        let warning = line.strip_prefix(WARNING);
        let failed = ERRORS.iter().find_map(|begin| line.strip_prefix(begin));
        let Some(first) = warning.or(failed) else {
            continue;
        };
        let message = message(first, &lines[at + 1..]);
        if failed.is_some() {
            error = Some(message);
        } else if !warnings.contains(&message) {
            warnings.push(message);
        }
    }
    let all: Vec<String> = error.into_iter().chain(warnings).collect();
    let shown = if all.is_empty() {
        last(&lines)
    } else {
        all.join("\n")
    };
    match shown.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown,
    }
}

/// Returns a message on one line: its first line, the lines into which it was wrapped, and a script's standard error.
fn message(first: &str, rest: &[&str]) -> String {
    let end = rest.iter().position(|line| begins_message(line));
    let rest = &rest[..end.unwrap_or(rest.len())];
    let wrapped = rest.iter().take_while(|line| !line.is_empty());
    let mut words: Vec<&str> = vec![first.trim().trim_start_matches("* ")];
    words.extend(wrapped.map(|line| line.trim()));
    let mut message = words.join(" ");
    if let Some(at) = rest.iter().position(|line| *line == SCRIPT_STDERR) {
        let stderr = rest[at + 1..].iter().filter(|line| !line.is_empty());
        let stderr: Vec<&str> = stderr.take(SCRIPT_LINES).copied().collect();
        message = format!("{message} The script said: {}", stderr.join(" / "));
    }
    message
}

fn begins_message(line: &str) -> bool {
    line.starts_with(WARNING)
        || line.starts_with("[DEPRECATION WARNING]:")
        || ERRORS.iter().any(|begin| line.starts_with(begin))
}

fn last(lines: &[&str]) -> String {
    let lines: Vec<&str> = lines
        .iter()
        .filter(|line| !line.is_empty())
        .copied()
        .collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

/// Returns the text without colours, terminal control characters and bidirectional overrides.
fn plain(text: &str) -> String {
    let text = without_colours(text).replace("\r\n", "\n");
    sanitize::lines(&text)
}

/// Returns the JSON object in the output. If Ansible is verbose, it prints other lines around it.
pub(super) fn document(printed: Vec<u8>) -> Vec<u8> {
    let trimmed = printed.trim_ascii();
    if trimmed.starts_with(b"{") && trimmed.ends_with(b"}") {
        return printed;
    }
    let mut at = 0;
    for line in printed.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b"{") {
            let mut values = serde_json::Deserializer::from_slice(&printed[at..]).into_iter();
            if let Some(Ok(IgnoredAny)) = values.next() {
                return printed[at..at + values.byte_offset()].to_vec();
            }
        }
        at += line.len();
    }
    printed
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "[WARNING]:  * Failed to parse /i/hosts.yml with yaml plugin: host range
must be begin:end or begin:end:step
[WARNING]:  * Failed to parse /i/hosts.yml with ini plugin: Invalid host
pattern 'all:' supplied
ERROR! Completely failed to parse inventory source /i/hosts.yml
";

    const NEW: &str = "\x1b[1;35m[WARNING]: Failed to parse inventory with 'script' plugin: Inventory script returned non-zero exit code 3.\x1b[0m

Failed to parse inventory with 'script' plugin.

<<< caused by >>>

Inventory script returned non-zero exit code 3.
Origin: <inventory plugin 'script' with source '/i/bad.sh'>

Standard error from inventory script:
oops the \u{202e}token is expired\x07

second line

[DEPRECATION WARNING]: Something else.
[ERROR]: Completely failed to parse inventory source /i/bad.sh
";

    #[test]
    fn the_reasons_stand_in_the_warnings_before_the_error() {
        assert_eq!(
            of(OLD.as_bytes()),
            "Completely failed to parse inventory source /i/hosts.yml\n\
             Failed to parse /i/hosts.yml with yaml plugin: host range must be begin:end or begin:end:step\n\
             Failed to parse /i/hosts.yml with ini plugin: Invalid host pattern 'all:' supplied"
        );
        assert_eq!(
            of(NEW.as_bytes()),
            "Completely failed to parse inventory source /i/bad.sh\n\
             Failed to parse inventory with 'script' plugin: Inventory script returned non-zero exit code 3. \
             The script said: oops the \u{fffd}token is expired\u{fffd} / second line"
        );
        assert_eq!(of(b"\n1\n\n2\n"), "1\n2");
        assert_eq!(of(b""), "");
        let long = of(format!("[WARNING]: {}\n", "x".repeat(9000)).as_bytes());
        assert_eq!(long.chars().count(), CHARS + 1);
    }

    #[test]
    fn the_json_is_found_among_other_lines() {
        for (printed, json) in [
            ("{\"a\": 1}\n", "{\"a\": 1}\n"),
            (
                "Using /x/ansible.cfg as config file\n{\"a\": {\n}}\n",
                "{\"a\": {\n}}",
            ),
            ("{half\n{\"a\": 1}\nafter\n", "{\"a\": 1}"),
            ("nothing\n", "nothing\n"),
            ("", ""),
        ] {
            let found = document(printed.as_bytes().to_vec());
            assert_eq!(String::from_utf8(found).unwrap(), json);
        }
    }
}
