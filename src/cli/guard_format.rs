//! Formats the guards of a binding as text.

use serde_json::Value;

/// Formats a field of a binding that is a guard; `None` for other fields.
pub(super) fn guard(name: &str, value: &Value) -> Option<String> {
    let text = |field: &str| value[field].as_str().unwrap_or_default();
    let number = |field: &str| value[field].as_u64().unwrap_or_default();
    Some(match (name, value) {
        ("steps", Value::Array(steps)) => {
            let many = steps.len() > 1;
            let steps = steps.iter().enumerate().map(|(index, step)| {
                let roles = step["roles"].as_array().into_iter().flatten();
                let roles: Vec<&str> = roles.filter_map(Value::as_str).collect();
                let within = step["verify_within"].as_str().unwrap_or_default();
                let number = if many {
                    format!("{}. ", index + 1)
                } else {
                    String::new()
                };
                format!("{number}{}, verify within {within}", roles.join(", "))
            });
            steps.collect::<Vec<_>>().join("; ")
        }
        ("attempts", Value::Object(_)) => {
            let then = match text("then") {
                "next_step" => "the next step",
                other => other,
            };
            match number("max") {
                0 => "unlimited".to_owned(),
                max => format!("{max} within {}, then {then}", text("per")),
            }
        }
        ("storm", Value::Object(_)) => {
            let limits = [
                (
                    number("max_hosts"),
                    if number("max_hosts") == 1 {
                        "host"
                    } else {
                        "hosts"
                    },
                ),
                (number("max_percent"), "% of the inventory"),
            ];
            let limits = limits.iter().filter(|(limit, _)| *limit > 0);
            let limits: Vec<String> = limits.map(|(n, what)| format!("{n} {what}")).collect();
            if limits.is_empty() {
                "no limit".to_owned()
            } else {
                format!(
                    "hold above {} within {}",
                    limits.join(" or "),
                    text("within")
                )
            }
        }
        ("approval", Value::Object(_)) => format!("required within {}", text("ttl")),
        ("verdicts", Value::Object(roles)) => {
            let roles = roles.iter().map(|(role, counts)| {
                let count = |field: &str| counts[field].as_u64().unwrap_or_default();
                format!(
                    "{role} {}",
                    helped(count("effective"), count("ineffective"))
                )
            });
            roles.collect::<Vec<_>>().join(", ")
        }
        _ => return None,
    })
}

/// Returns how often a role helped, of the known verdicts.
pub(super) fn helped(effective: u64, ineffective: u64) -> String {
    match effective + ineffective {
        0 => "no verdict yet".to_owned(),
        known => format!("helped {effective} of {known}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_guard_is_a_phrase() {
        let step = |role: &str| json!({"roles": [role, "b"], "verify_within": "10m"});
        for (name, value, wanted) in [
            ("steps", json!([step("a")]), "a, b, verify within 10m"),
            (
                "steps",
                json!([step("a"), step("c")]),
                "1. a, b, verify within 10m; 2. c, b, verify within 10m",
            ),
            (
                "attempts",
                json!({"max": 3, "per": "1d", "then": "next_step"}),
                "3 within 1d, then the next step",
            ),
            (
                "attempts",
                json!({"max": 0, "per": "1d", "then": "stop"}),
                "unlimited",
            ),
            (
                "storm",
                json!({"max_hosts": 5, "max_percent": 10, "within": "10m"}),
                "hold above 5 hosts or 10 % of the inventory within 10m",
            ),
            (
                "storm",
                json!({"max_hosts": 0, "max_percent": 0, "within": "10m"}),
                "no limit",
            ),
            (
                "approval",
                json!({"required": true, "ttl": "1h"}),
                "required within 1h",
            ),
            (
                "verdicts",
                json!({"a": {"effective": 8, "ineffective": 2}, "b": {"unknown": 1}}),
                "a helped 8 of 10, b no verdict yet",
            ),
        ] {
            assert_eq!(guard(name, &value).as_deref(), Some(wanted));
        }
        assert_eq!(guard("target", &json!({"group": "web"})), None);
    }
}
