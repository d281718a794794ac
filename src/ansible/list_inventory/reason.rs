//! What `ansible-inventory` wrote: its JSON among other lines, and why it failed, for a person.

use serde::de::IgnoredAny;

use super::super::supervisor::LEFT_PROCESSES;
use crate::ansible::error_excerpt::without_colours;
use crate::util::sanitize;

/// How many characters are shown.
const CHARS: usize = 2000;

/// How many lines of what an inventory script complained of.
const SCRIPT_LINES: usize = 10;

/// How many lines are shown where none begins a message.
const LAST_LINES: usize = 5;

/// How messages begin that give reasons.
const WARNING: &str = "[WARNING]:";

/// How the last one begins, on 2.16 and on 2.19.
const ERRORS: [&str; 2] = ["ERROR!", "[ERROR]:"];

/// What 2.19 begins a script's own words with.
const SCRIPT: &str = "Standard error from inventory script:";

/// The last error, and then each warning before it, a line each, with what scripts said; or else the last lines.
///
/// ansible-core wraps a message at 80 columns before 2.19; since then it repeats it, with its causes, below an empty line.
pub(super) fn of(stderr: &[u8]) -> String {
    let text = plain(&String::from_utf8_lossy(stderr));
    // That something outlived the program is no reason for its end.
    let lines = text.lines().map(str::trim_end);
    let lines: Vec<&str> = lines
        .filter(|line| !line.starts_with(LEFT_PROCESSES))
        .collect();
    let (mut warnings, mut error): (Vec<String>, Option<String>) = (Vec::new(), None);
    for (at, line) in lines.iter().enumerate() {
        let said = line.strip_prefix(WARNING);
        let failed = ERRORS.iter().find_map(|begin| line.strip_prefix(begin));
        let Some(first) = said.or(failed) else {
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

/// A message on one line: its first line, those that it was wrapped into, and what a script said.
fn message(first: &str, rest: &[&str]) -> String {
    let end = rest.iter().position(|line| begins_message(line));
    let rest = &rest[..end.unwrap_or(rest.len())];
    let wrapped = rest.iter().take_while(|line| !line.is_empty());
    let mut words: Vec<&str> = vec![first.trim().trim_start_matches("* ")];
    words.extend(wrapped.map(|line| line.trim()));
    let mut message = words.join(" ");
    if let Some(at) = rest.iter().position(|line| *line == SCRIPT) {
        let said = rest[at + 1..].iter().filter(|line| !line.is_empty());
        let said: Vec<&str> = said.take(SCRIPT_LINES).copied().collect();
        message = format!("{message} The script said: {}", said.join(" / "));
    }
    message
}

fn begins_message(line: &str) -> bool {
    line.starts_with(WARNING)
        || line.starts_with("[DEPRECATION WARNING]:")
        || ERRORS.iter().any(|begin| line.starts_with(begin))
}

fn last(lines: &[&str]) -> String {
    let said: Vec<&str> = lines
        .iter()
        .filter(|line| !line.is_empty())
        .copied()
        .collect();
    said[said.len().saturating_sub(LAST_LINES)..].join("\n")
}

/// Without colours, and with nothing in it that drives a terminal or turns a line around.
fn plain(text: &str) -> String {
    let text = without_colours(text).replace("\r\n", "\n");
    sanitize::lines(&text)
}

/// The JSON object in what was printed. Ansible writes other lines around it where it is asked to be verbose.
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
