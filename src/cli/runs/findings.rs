//! Formats the findings of roles as text.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value};

use crate::cli::terminal::{cut, plain};
use crate::model::findings::Findings;
use crate::model::run::TaskEvent;

/// The maximum number of characters to show of a value.
const SHOWN: usize = 200;

/// The maximum number of objects to show of a list.
const ITEMS: usize = 100;

/// Formats the findings by host and role. If a name has several values, the last one is used.
pub(super) fn findings(events: &[TaskEvent]) -> String {
    let mut places: BTreeMap<(&str, &str), Findings> = BTreeMap::new();
    for event in events {
        if let Some(findings) = &event.findings {
            let place = (
                event.host.as_str(),
                event.role.as_deref().unwrap_or_default(),
            );
            places.entry(place).or_default().extend(findings.clone());
        }
    }
    let mut text = String::new();
    for ((host, role), findings) in places {
        let _ = writeln!(text, "  {}  {}", plain(host), plain(role));
        for (name, value) in &findings {
            finding(&mut text, &cut(&plain(name), SHOWN), value);
        }
    }
    text
}

/// Formats `name = value`; the objects of a list are on lines of their own.
fn finding(text: &mut String, name: &str, value: &Value) {
    let Some(objects) = objects(value) else {
        let _ = writeln!(text, "    {name} = {}", word(value));
        return;
    };
    let _ = writeln!(text, "    {name} =");
    for object in objects.iter().take(ITEMS) {
        let pairs = object.iter();
        let pairs: Vec<String> = pairs
            .map(|(name, value)| format!("{}={}", cut(&plain(name), SHOWN), word(value)))
            .collect();
        let _ = writeln!(text, "      {}", pairs.join(" "));
    }
    if objects.len() > ITEMS {
        let _ = writeln!(text, "      and {} more", objects.len() - ITEMS);
    }
}

fn objects(value: &Value) -> Option<Vec<&Map<String, Value>>> {
    let list = value.as_array().filter(|list| !list.is_empty())?;
    list.iter().map(Value::as_object).collect()
}

/// Formats a value for the inside of a line. It is quoted only if it could be misread.
fn word(value: &Value) -> String {
    let text = match value {
        Value::String(text) if is_clear(text) => text.clone(),
        Value::String(text) => format!("{:?}", cut(text, SHOWN)),
        other => other.to_string(),
    };
    cut(&plain(&text), SHOWN + 2)
}

/// Whether a text is a single word, and not a number or other value.
fn is_clear(text: &str) -> bool {
    let clear = |c: char| !c.is_whitespace() && !c.is_control() && !"\"=,{}[]".contains(c);
    !text.is_empty() && text.chars().all(clear) && serde_json::from_str::<Value>(text).is_err()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(host: &str, role: &str, findings: &Value) -> TaskEvent {
        serde_json::from_value(json!({
            "at": "2026-11-22T10:00:00Z", "host": host, "role": role, "task": "t", "action": "set_stats",
            "status": "ok", "findings": findings,
        }))
        .unwrap()
    }

    #[test]
    fn they_stand_below_their_host_and_role() {
        let answers = json!([
            {"name": "example.org", "resolver": "10.0.0.1", "value": 0.012},
            {"name": "a b", "resolver": "", "value": null, "all": [1, 2]},
        ]);
        let events = [
            event("web2", "dns", &json!({"dns_up": false})),
            event(
                "web1",
                "mail",
                &json!({"banner": "220 ready", "port": "25", "up": true}),
            ),
            event("web1", "dns", &json!({"dns_up": false, "answers": answers})),
            event("web1", "dns", &Value::Null),
            event(
                "web1",
                "dns",
                &json!({"dns_up": true, "list": [1, "x"], "none": [], "map": {"a": 1}}),
            ),
        ];
        assert_eq!(
            findings(&events),
            r#"  web1  dns
    dns_up = true
    answers =
      name=example.org resolver=10.0.0.1 value=0.012
      name="a b" resolver="" value=null all=[1,2]
    list = [1,"x"]
    none = []
    map = {"a":1}
  web1  mail
    banner = "220 ready"
    port = "25"
    up = true
  web2  dns
    dns_up = false
"#
        );
        assert_eq!(findings(&[event("h", "r", &Value::Null)]), "");
    }

    #[test]
    fn what_a_host_says_neither_drives_the_terminal_nor_fills_it() {
        let many: Vec<Value> = (0..120).map(|n| json!({ "n": n })).collect();
        let text = findings(&[event(
            "h",
            "r",
            &json!({"a\u{1b}[2J": "\u{1b}[31m\nx", "long": "x".repeat(5000), "many": many}),
        )]);
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(text.lines().all(|line| line.chars().count() < 250));
        assert!(text.ends_with("      n=99\n      and 20 more\n"), "{text}");
    }
}
