//! Facts that somebody else gathered: what `ansible -m setup` printed, and the files of fact caches.

use serde_json::{Deserializer, Map, Value};

/// What is there of one host.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The host's inventory name.
    pub host: String,
    /// Its facts, or why there are none.
    pub facts: Result<Map<String, Value>, String>,
}

/// Why nothing can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// There is no host in it.
    #[error(
        "no host's facts are in it: want what `ansible all -m setup` prints, lines like \"web1 | SUCCESS => {{\" before the JSON"
    )]
    Nothing,
    /// What stands behind a host's line is not JSON.
    #[error("line {line}: the facts of {host} are not JSON: {why}")]
    Json {
        /// Where, from 1.
        line: usize,
        /// Whose.
        host: String,
        /// What is wrong.
        why: String,
    },
    /// A file of a cache is not what a cache writes.
    #[error("{0}")]
    Cache(String),
}

/// Reads what `ansible … -m setup` printed, on one line for each host or on many. Other lines are passed over.
///
/// *Source*: ansible-core's `minimal` and `oneline` callbacks: `HOST | SUCCESS => {…}`, `HOST | UNREACHABLE! => {…}`.
pub fn setup_output(text: &str) -> Result<Vec<Imported>, ImportError> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let line = text[at..].split_inclusive('\n').next().unwrap_or_default();
        let Some((host, well, json)) = header(line) else {
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
            None => return Err(error("there is nothing".to_owned())),
        };
        found.push(Imported {
            host: host.to_owned(),
            facts: facts_of(value, well),
        });
        at = begin + values.byte_offset();
    }
    if found.is_empty() {
        return Err(ImportError::Nothing);
    }
    Ok(found)
}

/// The host, whether it answered well, and where the JSON begins.
fn header(line: &str) -> Option<(&str, bool, usize)> {
    let (host, rest) = line.split_once(" | ")?;
    let (said, _) = rest.split_once(" => ")?;
    let json = line.len() - rest.len() + said.len() + " => ".len();
    let plain = !host.is_empty() && !host.contains(char::is_whitespace);
    (plain && line[json..].starts_with('{')).then_some((host, said.starts_with("SUCCESS"), json))
}

fn facts_of(value: Value, well: bool) -> Result<Map<String, Value>, String> {
    let Value::Object(mut map) = value else {
        return Err("it is no object".to_owned());
    };
    match map.remove("ansible_facts") {
        Some(Value::Object(facts)) if well => Ok(facts),
        _ => Err(match map.get("msg").and_then(Value::as_str) {
            Some(said) => said.trim().to_owned(),
            None => "it has no ansible_facts".to_owned(),
        }),
    }
}

/// What a fact cache of ansible-core 2.19 begins the names of its files with.
const CACHE_PREFIX: &str = "s1_";

/// Reads one file of a fact cache (`jsonfile`), or of `ansible -m setup --tree`. Its name is the host's.
///
/// *Source*: until 2.18 the file holds the facts; since 2.19 its name begins with `s1_`, and it holds
/// `{"__payload__": "the facts as JSON in a text"}`.
pub fn cache_file(name: &str, content: &[u8]) -> Result<Imported, ImportError> {
    let wrong = |why: &str| ImportError::Cache(format!("{name}: {why}"));
    let parse = |json: &[u8]| match serde_json::from_slice(json) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(wrong("it is no JSON object")),
        Err(e) => Err(wrong(&e.to_string())),
    };
    let mut map = parse(content)?;
    let mut host = name;
    if let Some(payload) = map.remove("__payload__") {
        let payload = payload
            .as_str()
            .ok_or_else(|| wrong("its __payload__ is no text"))?;
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
            ("[]", "web1: it is no JSON object"),
            (r#"{"__payload__": 7}"#, "web1: its __payload__ is no text"),
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
