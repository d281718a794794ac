//! Facts gathered elsewhere: the output of `ansible -m setup`, and the files of fact caches.

use serde_json::{Deserializer, Map, Value};

/// The imported data of one host.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The inventory name.
    pub host: String,
    /// The facts, or the reason why there are none.
    pub facts: Result<Map<String, Value>, String>,
}

/// The error of input that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The input contains no host.
    #[error(
        "no facts found: want the output of `ansible all -m setup`, with lines like \"web1 | SUCCESS => {{\" before the JSON"
    )]
    Nothing,
    /// The text after a host's line is not JSON.
    #[error("line {line}: the facts of {host} are not JSON: {why}")]
    Json {
        /// The line number, from 1.
        line: usize,
        host: String,
        why: String,
    },
    /// A file of a fact cache is invalid.
    #[error("{0}")]
    Cache(String),
}

/// Reads the output of `ansible … -m setup`, with one line or many lines for each host. Other lines are ignored.
///
/// *Source*: ansible-core's `minimal` and `oneline` callbacks: `HOST | SUCCESS => {…}`, `HOST | UNREACHABLE! => {…}`.
pub fn setup_output(text: &str) -> Result<Vec<Imported>, ImportError> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let line = text[at..].split_inclusive('\n').next().unwrap_or_default();
        let Some((host, succeeded, json)) = header(line) else {
            at += line.len();
            continue;
        };
        let begin = at + json;
        let mut values = Deserializer::from_str(&text[begin..]).into_iter::<Value>();
        let error = |why: String| ImportError::Json {
            line: text[..begin].matches('\n').count() + 1,
            host: host.to_owned(),
            why,
        };
        let value = match values.next() {
            Some(Ok(value)) => value,
            Some(Err(e)) => return Err(error(e.to_string())),
            None => return Err(error("the JSON is missing".to_owned())),
        };
        found.push(Imported {
            host: host.to_owned(),
            facts: facts_of(value, succeeded),
        });
        at = begin + values.byte_offset();
    }
    if found.is_empty() {
        return Err(ImportError::Nothing);
    }
    Ok(found)
}

/// Parses a line with a host: returns the host, whether the module succeeded, and the offset of the JSON.
fn header(line: &str) -> Option<(&str, bool, usize)> {
    let (host, rest) = line.split_once(" | ")?;
    let (status, _) = rest.split_once(" => ")?;
    let json = line.len() - rest.len() + status.len() + " => ".len();
    let plain = !host.is_empty() && !host.contains(char::is_whitespace);
    (plain && line[json..].starts_with('{')).then_some((host, status.starts_with("SUCCESS"), json))
}

fn facts_of(value: Value, succeeded: bool) -> Result<Map<String, Value>, String> {
    let Value::Object(mut map) = value else {
        return Err("it is not an object".to_owned());
    };
    match map.remove("ansible_facts") {
        Some(Value::Object(facts)) if succeeded => Ok(facts),
        _ => Err(match map.get("msg").and_then(Value::as_str) {
            Some(message) => message.trim().to_owned(),
            None => "it has no ansible_facts".to_owned(),
        }),
    }
}

/// The prefix of file names in a fact cache of ansible-core 2.19.
const CACHE_PREFIX: &str = "s1_";

/// Reads one file of a fact cache (`jsonfile`), or of `ansible -m setup --tree`. Its name is that of the host.
///
/// *Source*: until 2.18 the file contains the facts; since 2.19 its name begins with `s1_`, and it contains
/// `{"__payload__": "the facts as JSON in a string"}`.
pub fn cache_file(name: &str, content: &[u8]) -> Result<Imported, ImportError> {
    let wrong = |why: &str| ImportError::Cache(format!("{name}: {why}"));
    let parse = |json: &[u8]| match serde_json::from_slice(json) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(wrong("it is not a JSON object")),
        Err(e) => Err(wrong(&e.to_string())),
    };
    let mut map = parse(content)?;
    let mut host = name;
    if let Some(payload) = map.remove("__payload__") {
        let payload = payload
            .as_str()
            .ok_or_else(|| wrong("its __payload__ is not a string"))?;
        map = parse(payload.as_bytes())?;
        host = name.strip_prefix(CACHE_PREFIX).unwrap_or(name);
    }
    let facts = if map.contains_key("ansible_facts") || map.contains_key("unreachable") {
        facts_of(Value::Object(map), true)
    } else {
        Ok(map)
    };
    Ok(Imported {
        host: host.to_owned(),
        facts,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn facts(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn what_ansible_printed_is_read_host_by_host() {
        let text = "[WARNING]: a warning | with => all of it
web1 | SUCCESS => {
    \"ansible_facts\": {
        \"ansible_kernel\": \"6.1 } | SUCCESS => {\"
    },
    \"changed\": false
}
web2 | UNREACHABLE! => {\"changed\": false, \"msg\": \"Failed to connect \", \"unreachable\": true}
::1 | SUCCESS => {\"ansible_facts\": {\"ansible_kernel\": \"5\"}, \"changed\": false}
web3 | FAILED! => {
    \"ansible_facts\": {}, \"msg\": \"no python\"
}
";
        let found = setup_output(text).unwrap();
        assert_eq!(
            found,
            [
                (
                    "web1",
                    Ok(facts(&json!({"ansible_kernel": "6.1 } | SUCCESS => {"})))
                ),
                ("web2", Err("Failed to connect".to_owned())),
                ("::1", Ok(facts(&json!({"ansible_kernel": "5"})))),
                ("web3", Err("no python".to_owned())),
            ]
            .map(|(host, facts)| Imported {
                host: host.to_owned(),
                facts
            })
        );
    }

    #[test]
    fn what_is_no_output_of_setup_is_refused_with_its_place() {
        assert_eq!(setup_output("nothing here\n"), Err(ImportError::Nothing));
        let cut = setup_output("\nweb1 | SUCCESS => {\n  \"ansible_facts\": {\n").unwrap_err();
        assert!(
            cut.to_string()
                .starts_with("line 2: the facts of web1 are not JSON: EOF"),
            "{cut}"
        );
    }

    #[test]
    fn both_layouts_of_the_cache_and_trees_are_read() {
        let wanted = facts(&json!({"ansible_kernel": "6.1"}));
        for (name, content) in [
            ("web1", r#"{"ansible_kernel": "6.1"}"#),
            (
                "s1_web1",
                r#"{"__payload__": "{\"ansible_kernel\": \"6.1\"}"}"#,
            ),
            (
                "web1",
                r#"{"ansible_facts": {"ansible_kernel": "6.1"}, "changed": false}"#,
            ),
        ] {
            let read = cache_file(name, content.as_bytes()).unwrap();
            assert_eq!(
                (read.host.as_str(), read.facts),
                ("web1", Ok(wanted.clone())),
                "{content}"
            );
        }
        for (content, why) in [
            ("[]", "web1: it is not a JSON object"),
            (
                r#"{"__payload__": 7}"#,
                "web1: its __payload__ is not a string",
            ),
            (
                r#"{"__payload__": "no"}"#,
                "web1: expected ident at line 1 column 2",
            ),
        ] {
            assert_eq!(
                cache_file("web1", content.as_bytes())
                    .unwrap_err()
                    .to_string(),
                why
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "(web1 \\| SUCCESS => |\\{|\\}|\"a\": |\n|\\PC){0,30}") {
            let _ = setup_output(&text);
            let _ = cache_file("x", text.as_bytes());
        }
    }
}
