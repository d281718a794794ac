//! schemathesis: thousands of requests that are as the document says, or nearly, and their answers held against it.

use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::site::{document, start};
use crate::{program, well_done};

#[test]
fn schemathesis_finds_nothing() {
    let (site, server) = start();
    let document = for_this_site(document(&server));
    site.write("openapi.json", &document.to_string());
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openapi/schemathesis.toml");
    let said = well_done(
        Command::new(program("schemathesis"))
            .arg(format!("--config-file={}", config.display()))
            .args(["--no-color", "run"])
            .arg(site.path("openapi.json"))
            .arg(format!("--url=http://{}", server.address))
            // It would keep what it found in the folder that it runs in.
            .current_dir(site.path("")),
    );
    assert!(said.contains("generated"), "{said}");
    println!("{said}");
    assert_eq!(server.get("/-/ready").status, 200, "{}", server.log());
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
}

/// What JSON schema cannot say: which roles there are, what is within bounds, what a matcher is. Where the document says
/// `RoutineRole`, the site's take the place of every text that could be one: so what schemathesis takes for good is good.
const GOOD: &[(&str, &[&str])] = &[
    ("AlertRole", &["ok"]),
    ("RoutineRole", &["check_dns"]),
    ("AnyRole", &["ok", "check_dns"]),
    ("Timeout", &["1s", "1m30s", "7d"]),
    ("BatchWindow", &["0", "1h"]),
    ("Grace", &["1m", "1w"]),
    ("Jitter", &["0", "30s", "1d"]),
    ("Cooldown", &["0", "30m"]),
    ("Within", &["1s", "7d"]),
    ("VerifyWithin", &["1s", "1d"]),
    ("HoldTime", &["1s", "1h30m"]),
    ("TimeIntervalName", &["nights"]),
    (
        "CronExpression",
        &["*/15 * * * *", "0 4 29 2 mon", "@daily"],
    ),
    ("TimeZone", &["UTC", "Asia/Shanghai"]),
    (
        "Matcher",
        &["team=db", "severity =~ \"warning|critical\"", "{a!=\"\"}"],
    ),
];

fn for_this_site(mut document: Value) -> Value {
    for (name, good) in GOOD {
        let schema = &mut document["components"]["schemas"][name];
        assert!(schema.is_object(), "{name}");
        *schema = json!({"enum": good});
    }
    // For JSON schema 5.0 is a whole number.
    for (of, field) in [
        ("AttemptsRequest", "max"),
        ("StormRequest", "max_hosts"),
        ("StormRequest", "max_percent"),
    ] {
        let number = &mut document["components"]["schemas"][of]["properties"][field];
        assert!(number.is_object(), "{field}");
        *number = json!({"enum": [0, 5]});
    }
    // Neither can it say that a time is not before another. `since` alone is read in the same way.
    let runs = &mut document["paths"]["/api/v1/runs"]["get"]["parameters"];
    let until = json!({"$ref": "#/components/parameters/Until"});
    runs.as_array_mut()
        .unwrap()
        .retain(|parameter| *parameter != until);
    // Nor that hosts have these labels,
    let sd = &mut document["paths"]["/api/v1/sd"]["get"]["parameters"];
    let matching = sd
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .find(|p| p["name"] == "match");
    matching.unwrap()["schema"]["items"] = json!({"enum": ["__meta_ansible_host=~\"web.*\""]});
    // or that what is changed keeps its name.
    for kind in ["binding", "schedule"] {
        let change = &mut document["paths"][format!("/api/v1/{kind}s/{{name}}")]["put"];
        let name =
            json!({"name": "name", "in": "path", "required": true, "schema": {"enum": ["spare"]}});
        change["parameters"].as_array_mut().unwrap().push(name);
        let schema = &mut change["requestBody"]["content"]["application/json"]["schema"];
        let same = json!({"properties": {"name": {"const": "spare"}}});
        *schema = json!({"allOf": [schema.take(), same]});
    }
    // Of a stream schemathesis takes each event, and not the whole text, for what the schema is of.
    let stream = &mut document["paths"]["/api/v1/runs/{id}/events"]["get"]["responses"]["200"];
    stream["content"]["text/event-stream"]["schema"] = json!({
        "type": "object",
        "required": ["event", "id", "data"],
        "properties": {"event": {"enum": ["run", "task", "output"]}, "id": {"type": "string"}, "data": {"type": "string"}},
    });
    // Bindings and schedules may be for hosts that come one day, a run by hand may not.
    let run = &mut document["components"]["schemas"]["RunRequest"]["properties"];
    run["target"] = json!({"enum": [{"hosts": ["web1", "web2"]}, {"group": "web"}, "controller"]});
    run["limit"] = json!({"enum": [null, ["web1"], ["web2", "web1"]]});
    // Facts of hosts that are there go further than those of others.
    let facts = &mut document["components"]["schemas"]["FactsRequest"]["properties"]["facts"];
    facts["propertyNames"] = json!({"enum": ["web1", "web2", "nobody"]});
    close(&mut document);
    document
}

/// Answers hold nothing that the document does not name. Clients may meet more one day, so only the test says so.
fn close(document: &mut Value) {
    let schemas = document["components"]["schemas"].as_object_mut().unwrap();
    let asked = |name: &str| name.ends_with("Request") || name.starts_with("Noti");
    for (_, schema) in schemas.iter_mut().filter(|(name, _)| !asked(name)) {
        close_schema(schema);
    }
    for (_, path) in document["paths"].as_object_mut().unwrap() {
        for (_, operation) in path.as_object_mut().unwrap() {
            if let Some(responses) = operation.get_mut("responses") {
                close_schema(responses);
            }
        }
    }
}

fn close_schema(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let is_closed = map.contains_key("additionalProperties");
            if map.get("type") == Some(&json!("object"))
                && map.contains_key("properties")
                && !is_closed
            {
                map.insert("additionalProperties".to_owned(), false.into());
            }
            let parts: &mut Map<String, Value> = map;
            parts.values_mut().for_each(close_schema);
        }
        Value::Array(items) => items.iter_mut().for_each(close_schema),
        _ => {}
    }
}
