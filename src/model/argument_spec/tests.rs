use serde_json::{Value, json};

use super::*;

fn spec(options: &Value) -> Spec {
    let read = read(&json!({"main": {"options": options}}));
    assert_eq!(read.warnings, [""; 0]);
    read.main.unwrap()
}

fn defects(options: &Value, vars: &Value) -> Vec<String> {
    let set = |name: &str| name == "set_elsewhere";
    let found = check(&spec(options).options, vars.as_object().unwrap(), &set);
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn every_defect_is_told_with_its_place_and_what_would_be_right() {
    let options = json!({
        "count": {"type": "int"},
        "mode": {"choices": ["soft", "hard"]},
        "url": {"required": true},
        "set_elsewhere": {"required": true},
        "has_default": {"required": true, "default": "x"},
        "a": {"type": "list", "elements": "dict", "options": {
            "b": {"type": "bool"},
            "path": {"required": true, "type": "path"},
        }},
        "ports": {"type": "list", "elements": "int"},
        "deep": {"type": "dict", "apply_defaults": true, "options": {"in": {"required": true, "type": "bytes"}}},
    });
    let vars = json!({
        "count": 1.5,
        "mode": "sfot",
        "a": [{"path": "/x"}, {"path": "/y", "b": "maybe"}, {"paht": 1, "b": []}],
        "ports": "80,http",
        "of_others": 1,
    });
    assert_eq!(
        defects(&options, &vars),
        [
            "vars.count: found 1.5; want a whole number",
            r#"vars.mode: found "sfot"; want one of "soft", "hard""#,
            "vars.url: it is required but missing; want a text",
            r#"vars.a[1].b: found "maybe"; want true or false"#,
            "vars.a[2].b: found []; want true or false",
            "vars.a[2].path: it is required but missing; want a path",
            r#"vars.a[2].paht: unknown key; did you mean "path"? the keys here are b, path"#,
            r#"vars.ports[1]: found "http"; want a whole number"#,
            "vars.deep.in: it is required but missing; want a size in bytes, such as 10M or 1.5GB",
        ]
    );
    let right = json!({
        "count": "7", "mode": "hard", "url": "", "a": {}, "ports": "80,443", "deep": "in=5M",
        "a": [{"path": "~", "b": "off"}, "path=/z b=yes"],
    });
    assert_eq!(defects(&options, &right), [""; 0]);
}

#[test]
fn a_secret_is_not_repeated() {
    let options = json!({
        "pin": {"type": "int", "no_log": true, "default": 4711},
        "login": {"type": "dict", "no_log": true, "options": {"user": {"choices": ["root"]}}},
        "open": {"type": "dict", "options": {"pin": {"type": "int", "no_log": true}}},
    });
    let vars = json!({"pin": "hunter2", "login": {"user": "hunter2"}, "open": {"pin": "hunter2"}});
    let told = defects(&options, &vars);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(!told.concat().contains("hunter2"), "{told:?}");
    let shown = serde_json::to_string(&spec(&options)).unwrap();
    assert!(!shown.contains("4711"), "{shown}");
}

#[test]
fn a_long_value_is_cut() {
    let told = defects(
        &json!({"n": {"type": "int"}}),
        &json!({"n": "ü".repeat(5000)}),
    );
    assert!(told[0].len() < 300, "{told:?}");
}

#[test]
fn what_cannot_be_understood_of_a_spec_is_told_and_left_to_ansible() {
    let read = read(&json!({
        "main": {"short_description": "Does it.", "description": ["a", "b"], "options": {
            "n": {"type": "number", "choices": "ab", "required": 1},
            "m": null,
        }},
        "other": {"options": {"k": {"aliases": ["kk"]}}},
        "bad": 5,
    }));
    assert_eq!(
        read.warnings,
        [
            r#"main.options.n.type: "number" is not an Ansible type"#,
            "main.options.n.choices is not a list",
            "main.options.m is not a map",
            "bad is not a map",
        ]
    );
    let main = read.main.unwrap();
    assert_eq!(main.short_description, "Does it.");
    assert_eq!(main.description, ["a", "b"]);
    let vars = json!({"n": "anything", "m": [1]});
    assert_eq!(
        check(&main.options, vars.as_object().unwrap(), &|_| false),
        []
    );
    assert_eq!(
        super::read(&json!([])).warnings,
        ["argument_specs is not a map"]
    );
}

#[test]
fn options_without_an_end_are_cut() {
    let mut options = json!({"a": {"type": "dict"}});
    for _ in 0..100 {
        options = json!({"a": {"type": "dict", "options": options}});
    }
    let read = read(&json!({"main": {"options": options}}));
    assert_eq!(read.warnings.len(), 1, "{:?}", read.warnings);
}
