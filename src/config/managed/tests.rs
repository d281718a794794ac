use serde_json::json;

use super::*;
use crate::config::Roles;
use crate::config::build;

fn config() -> Config {
    let roles = Roles {
        alert: vec!["handle_disk".to_owned()],
        routine: vec!["check_dns".to_owned()],
        ..Roles::default()
    };
    let yaml = r#"
ansible: {playbook_dir: playbook, inventory: [hosts]}
bindings: [{name: disk, matchers: ['alertname="Disk"'], roles: [handle_disk]}]
schedules: [{name: dns, cron: '@hourly', roles: [check_dns], target: {group: all}}]
"#;
    build("promansible.yml", yaml, &roles).unwrap()
}

fn kept(kind: ManagedKind, name: &str, json: &Value) -> StoredObject {
    let at = DateTime::UNIX_EPOCH;
    StoredObject {
        kind,
        name: name.to_owned(),
        json: json.to_string(),
        revision: 1,
        created_at: at,
        updated_at: at,
    }
}

fn read(kind: ManagedKind, json: &str) -> Result<(ManagedObject, String), String> {
    config()
        .parse_managed(kind, json.as_bytes())
        .map_err(|e| e.to_string())
}

#[test]
fn json_becomes_what_yaml_does_but_its_variables_are_data() {
    let json = r#"{"name": "web", "matchers": ["alertname=\"D\u0069sk\"", "team=~\"\ud83d\ude00|b\""], "roles": ["handle_disk"],
        "target": {"group": "web"}, "vars": {"a": "{{ x }}", "n": [1, 2.5, null]}, "timeout": "3m", "stop": true}"#;
    let (object, text) = read(ManagedKind::Binding, json).unwrap();
    let ManagedObject::Binding(binding) = &object else {
        panic!()
    };
    assert_eq!(
        binding.matchers.to_string(),
        "{alertname=\"Disk\",team=~\"😀|b\"}"
    );
    assert_eq!(
        (binding.origin, binding.inert_vars, binding.stop),
        (Origin::Api, true, true)
    );
    assert_eq!(
        Value::from(binding.vars.clone()),
        json!({"a": "{{ x }}", "n": [1, 2.5, null]})
    );
    assert_eq!(read(ManagedKind::Binding, &text).unwrap(), (object, text));

    let json = r#"{"name": "n", "cron": "0 4 * * *", "timezone": "Asia/Shanghai", "roles": ["check_dns"], "target": "controller", "enabled": false}"#;
    let (ManagedObject::Schedule(schedule), _) = read(ManagedKind::Schedule, json).unwrap() else {
        panic!()
    };
    assert_eq!(schedule.timing.to_string(), "0 4 * * * Asia/Shanghai");
    assert!(schedule.work.inert_vars && schedule.work.controller && !schedule.enabled);
}

#[test]
fn what_is_wrong_is_said_with_its_field() {
    let long = "x".repeat(3000);
    let long = format!(
        r#"{{"name": "{long}", "cron": "@daily", "roles": ["check_dns"], "target": "controller"}}"#
    );
    for (kind, json, want) in [
        (
            ManagedKind::Binding,
            "[]",
            r#"the body is not a JSON object: expected {"name": …}"#,
        ),
        (
            ManagedKind::Binding,
            "{",
            "the body is not JSON: EOF while parsing an object at line 1 column 1",
        ),
        (
            ManagedKind::Binding,
            r#"{"name": "a", "name": "b"}"#,
            "the body is not JSON: duplicate key \"name\" at line 1 column 26",
        ),
        (
            ManagedKind::Schedule,
            r#"{"name": "a", "cron": "61 * * * *", "roles": ["check_dns"], "target": "controller"}"#,
            "cron: \"61 * * * *\" is not a cron expression: ",
        ),
        (
            ManagedKind::Schedule,
            r#"{"name": "a", "cron": "0 0 30 2 *", "roles": ["check_dns"], "target": "controller"}"#,
            "cron: \"0 0 30 2 *\" is not a cron expression: this time never occurs; choose a day that exists in that month",
        ),
        (
            ManagedKind::Schedule,
            r#"{"name": "a", "cron": "@daily", "roles": ["check_dns"], "target": {"alerting_host": "x"}}"#,
            "target: there is no alert to take the host from; set where it runs: ",
        ),
        (
            ManagedKind::Schedule,
            r#"{"name": "a", "cron": "@daily", "roles": ["handle_disk"], "target": "controller"}"#,
            "roles: unknown role \"handle_disk\": it is not under playbook/routine/roles; it is an alert role",
        ),
        (
            ManagedKind::Schedule,
            r#"{"name": "a", "cron": "@daily", "timezone": "Asia/Shangai", "roles": ["check_dns"], "target": "controller"}"#,
            "timezone: there is no time zone \"Asia/Shangai\"; did you mean \"Asia/Shanghai\"?",
        ),
        (
            ManagedKind::Schedule,
            r#"{"name": "a", "cron": "@daily", "roles": ["check_dns"], "target": "controller", "vars": {"ansible_user": 1}}"#,
            "vars: \"ansible_user\" controls Ansible itself",
        ),
        (
            ManagedKind::Schedule,
            r#"{"name": "a", "cron": "@daily", "roles": ["check_dns"], "target": "controller", "every": "1h"}"#,
            "every: unknown key \"every\"; ",
        ),
        (ManagedKind::Schedule, &long, "name: \"xxx"),
        (
            ManagedKind::Binding,
            r#"{"roles": ["handle_disk"], "matchers": ["a=b"]}"#,
            "this binding has no name; ",
        ),
        (
            ManagedKind::Binding,
            r#"{"name": "a  b", "roles": ["handle_disk"], "matchers": ["a=b"]}"#,
            "name: \"a  b\" is not a valid binding name: it ",
        ),
        (
            ManagedKind::Binding,
            r#"{"name": "ab", "roles": ["handle_disk"], "matchers": ["x", "a==b"]}"#,
            "matchers: this is not a matcher: ",
        ),
        (
            ManagedKind::Binding,
            r#"{"name": "ab", "roles": "handle_disk", "matchers": ["a=b"]}"#,
            "roles: expected a list here; ",
        ),
    ] {
        let said = read(kind, json).unwrap_err();
        assert!(said.starts_with(want), "{json}\n{said}\n{want}");
    }
}

#[test]
fn what_is_kept_joins_what_the_file_says_or_is_a_conflict() {
    let schedule = |name: &str, role: &str| {
        let json = json!({"name": name, "cron": "@daily", "roles": [role], "target": "controller"});
        kept(ManagedKind::Schedule, name, &json)
    };
    let binding = json!({"name": "dns", "matchers": ["a=b"], "roles": ["handle_disk"]});
    let config = config().with_managed(&[
        schedule("dns", "check_dns"),
        schedule("gone", "check_gone"),
        schedule("nightly", "check_dns"),
        kept(ManagedKind::Binding, "dns", &binding),
    ]);
    let names: Vec<&str> = config.schedules.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["dns", "nightly"]);
    let names: Vec<&str> = config.bindings.iter().map(|b| b.name.as_str()).collect();
    assert_eq!(names, ["disk", "dns"]);
    let conflicts: Vec<String> = config.conflicts.iter().map(ToString::to_string).collect();
    assert_eq!(conflicts.len(), 2);
    assert!(
        conflicts[0]
            .starts_with("the schedule \"dns\" is ignored: the configuration file already has")
    );
    assert!(conflicts[1].starts_with("the schedule \"gone\" is ignored: roles: unknown role"));
}

#[test]
fn what_yaml_takes_for_a_text_is_none_in_json() {
    let with = |field: &str, value: Value| {
        let mut typed = json!({"name": "n", "cron": "@daily", "roles": ["check_dns"], "target": {"group": "web"}});
        typed[field] = value;
        read(ManagedKind::Schedule, &typed.to_string()).map(|_| ())
    };
    assert_eq!(
        with("name", json!(false)),
        Err("name: found false; expected a string".to_owned())
    );
    assert_eq!(
        with("target", json!({"hosts": [7]})),
        Err("target: found {\"hosts\":[7]}; expected names as strings".to_owned())
    );
    assert_eq!(with("jitter", json!(0)), Ok(()));
    assert_eq!(with("jitter", Value::Null), Ok(()));
    assert!(with("enabled", json!("true")).is_err());
}

#[test]
fn every_character_of_a_variable_is_kept() {
    let odd: String = ('\u{1}'..='\u{a0}')
        .chain("\u{2028}\u{2029}\u{feff}\u{fffe}\u{ffff}😀".chars())
        .collect();
    let typed = json!({"name": "n", "cron": "@daily", "roles": ["check_dns"], "target": "controller", "vars": {"odd": odd}});
    let (object, _) = read(ManagedKind::Schedule, &typed.to_string()).unwrap();
    let ManagedObject::Schedule(schedule) = object else {
        panic!()
    };
    assert_eq!(schedule.work.vars["odd"], odd);
}

#[test]
fn guards_are_typed_as_json_has_them() {
    let with = |field: &str, value: Value| {
        let mut typed = json!({"name": "n", "matchers": ["a=b"], "roles": ["handle_disk"]});
        if field == "steps" {
            typed["roles"] = Value::Null;
        }
        typed[field] = value;
        match read(ManagedKind::Binding, &typed.to_string())?.0 {
            ManagedObject::Binding(binding) => Ok::<_, String>(*binding),
            ManagedObject::Schedule(_) => panic!("it is a binding"),
        }
    };
    let max = |value| with("attempts", value).map(|binding| binding.limits.attempts.max);
    assert_eq!(max(json!({"max": 3})), Ok(3));
    assert_eq!(
        max(json!({"max": 3.0, "per": "2h"})),
        Ok(3),
        "the same in JSON"
    );
    assert!(max(json!({"max": 3.5})).is_err() && max(json!({"max": true})).is_err());
    let verbosity = |value| with("verbosity", value).map(|binding| binding.narrowing.verbosity);
    assert_eq!(verbosity(json!(3.0)), Ok(3), "the same in JSON");
    assert_eq!(verbosity(Value::Null), Ok(0));
    assert!(verbosity(json!(0.5)).is_err() && verbosity(json!("3")).is_err());
    let twice = with("skip_tags", json!(["slow", "slow"])).unwrap_err();
    assert!(
        twice.contains("the tag \"slow\" is listed twice"),
        "{twice}"
    );
    let approval = |value| with("approval", value).map(|binding| binding.approval.is_some());
    assert_eq!(approval(json!({"required": true, "ttl": "2h"})), Ok(true));
    assert_eq!(approval(json!({"required": false})), Ok(false));
    assert!(approval(json!({"required": "true"})).is_err());
    let steps = with(
        "steps",
        json!([{"roles": ["handle_disk"], "verify_within": "2m"}, {"roles": ["handle_disk"]}]),
    );
    assert_eq!(steps.unwrap().steps.len(), 2);
    assert!(with("steps", json!([{"roles": [7]}])).is_err());
}
