use serde_json::json;

use super::*;
use crate::config;

fn site() -> Config {
    let text = "
ansible: {playbook_dir: p, inventory: [i], become: true, gather_facts: false}
storage: {path: unused}
runs: {timeout: 3m}
";
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let roles = Roles {
        alert: names(&["start_service", "both"]),
        routine: names(&["both", "check_dns"]),
        ..Roles::default()
    };
    config::build("test.yml", text, &roles).unwrap()
}

fn asked(json: &str) -> Result<AdHocRun, String> {
    manual(json.as_bytes(), &site()).map_err(|e| e.to_string())
}

#[test]
fn what_is_left_out_is_as_for_a_binding() {
    let asked_for = asked(r#"{"roles":["check_dns"],"target":{"hosts":["web1","fe80::1"]}}"#);
    let AdHocRun {
        target,
        limit,
        work,
    } = asked_for.unwrap();
    assert_eq!(limit, Vec::<String>::new());
    assert_eq!(target, Target::Hosts(vec!["web1".into(), "fe80::1".into()]));
    let expected = Work {
        roles: vec!["check_dns".into()],
        controller: false,
        vars: Vars::new(),
        r#become: true,
        gather_facts: false,
        check: false,
        timeout: Duration::from_mins(3),
        allow_overlap: false,
        rerun_on_interrupt: false,
        narrowing: Narrowing::default(),
        inert_vars: true,
    };
    assert_eq!(work, expected);
    let on_controller = asked(r#" {"target":"controller","roles":["check_dns"]}"#).unwrap();
    assert_eq!(
        on_controller.work,
        Work {
            controller: true,
            r#become: false,
            ..expected
        }
    );
}

#[test]
fn all_that_is_said_is_taken() {
    let AdHocRun {
        target,
        limit,
        work,
    } = asked(
        r#"{"roles":["check_dns","start_service"],"target":{"group":"web"},"vars":{"a":[1,{"b":"{{ c }}"}]},
            "check":true,"become":false,"gather_facts":true,"timeout":"90s","allow_overlap":true,
            "limit":["web1"],"tags":["a","b"],"skip_tags":["c"],"verbosity":4}"#,
    )
    .unwrap();
    assert_eq!(target, Target::Group("web".into()));
    assert_eq!(limit, ["web1"]);
    let expected = Work {
        roles: vec!["check_dns".into(), "start_service".into()],
        controller: false,
        vars: json!({"a": [1, {"b": "{{ c }}"}]})
            .as_object()
            .unwrap()
            .clone(),
        r#become: false,
        gather_facts: true,
        check: true,
        timeout: Duration::from_secs(90),
        allow_overlap: true,
        rerun_on_interrupt: false,
        narrowing: Narrowing {
            tags: vec!["a".into(), "b".into()],
            skip_tags: vec!["c".into()],
            verbosity: 4,
        },
        inert_vars: true,
    };
    assert_eq!(work, expected);
}

#[test]
fn a_verbosity_may_be_written_as_any_whole_number_of_json() {
    let typed = r#"{"roles":["check_dns"],"target":"controller","verbosity":2.0}"#;
    assert_eq!(asked(typed).unwrap().work.narrowing.verbosity, 2);
}

#[test]
fn what_is_wrong_is_named_and_so_is_what_would_be_right() {
    let with =
        |more: &str| format!(r#"{{"roles":["check_dns"],"target":{{"hosts":["web1"]}},{more}}}"#);
    let to = |target: &str| format!(r#"{{"roles":["check_dns"],"target":{target}}}"#);
    let of = |roles: &str| format!(r#"{{"roles":{roles},"target":"controller"}}"#);
    let forms = r#"expected {"hosts": ["NAME"]}, {"group": "NAME"} or "controller""#;
    let cases: Vec<(String, String)> = vec![
        ("[]".into(), "the body is not a JSON object".into()),
        (String::new(), "the body is not a JSON object".into()),
        ("{".into(), "EOF while parsing".into()),
        ("{} x".into(), "trailing characters".into()),
        ("{}".into(), format!("target: it is missing; {forms}")),
        (with(r#""chek":true"#), "unknown field `chek`, expected one of `roles`, `target`".into()),
        (with(r#""roles":[]"#), "duplicate field `roles`".into()),
        (with(r#""verbosity":5"#), "verbosity: found 5; expected a whole number from 0 to 4".into()),
        (with(r#""verbosity":2.5"#), "verbosity: found 2.5; expected a whole number".into()),
        (with(r#""verbosity":"v""#), r#"verbosity: found "v"; expected a whole number"#.into()),
        (with(r#""tags":"a,b""#), r#"tags: expected a list: ["config"]"#.into()),
        (with(r#""tags":["a,b"]"#), r#"tags: "a,b" is not a valid tag"#.into()),
        (with(r#""skip_tags":["always"]"#), r#"skip_tags: "always" cannot be skipped"#.into()),
        (with(r#""limit":["all:!x"]"#), r#"limit: "all:!x" is not the exact name of a host"#.into()),
        (with(r#""limit":[]"#), "limit: it is empty".into()),
        (r#"{"roles":["check_dns"],"target":"controller","limit":["web1"]}"#.into(), "limit: the controller is a single host".into()),
        (with(r#""check":"yes""#), r#"check: found "yes"; expected true or false"#.into()),
        (with(r#""become":1"#), "become: found 1; expected true or false".into()),
        (with(r#""timeout":90"#), r#"timeout: found 90; expected a string such as "10m""#.into()),
        (with(r#""timeout":"90""#), r#"timeout: "90" is not a duration: 90 has no unit; write it as"#.into()),
        (with(r#""timeout":"0""#), "timeout: 0 is out of range; write a value from 1s to 1w".into()),
        (of("[]"), r#"roles: it is empty; expected ["check_dns"]"#.into()),
        (of("null"), r#"roles: expected a list: ["check_dns"]"#.into()),
        (of(r#""check_dns""#), r#"roles: expected a list: ["check_dns"]"#.into()),
        (of("[7]"), r#"roles: 7 is not a name: expected ["check_dns"]"#.into()),
        (of(r#"["check_dns","check_dns"]"#), r#"roles: "check_dns" is listed twice"#.into()),
        (of(r#"["chek_dns"]"#), r#"roles: unknown role "chek_dns"; did you mean "check_dns"? the roles are start_service, both"#.into()),
        (of(r#"["both"]"#), r#"roles: "both" is in both alert/roles and routine/roles: rename one"#.into()),
        (to(r#""web1""#), format!(r#"target: found "web1"; {forms}"#)),
        (to(r#"{"group":"web","hosts":["web1"]}"#), "target: found {".into()),
        (to(r#"{"host":["web1"]}"#), format!(r#"target: unknown key "host"; {forms}"#)),
        (to(r#"{"alerting_host":"instance"}"#), format!("target: a manual run has no alert to take the host from; {forms}")),
        (to(r#"{"group":["web"]}"#), r#"target.group: found ["web"]; expected a group name"#.into()),
        (to(r#"{"group":"web:db"}"#), r#"target.group: "web:db" is not the exact name of a group; write"#.into()),
        (to(r#"{"hosts":"web1"}"#), r#"target.hosts: expected a list: ["web1"]"#.into()),
        (to(r#"{"hosts":[]}"#), "target.hosts: it is empty".into()),
        (to(r#"{"hosts":["web*"]}"#), r#"target.hosts: "web*" is not the exact name of a host; write"#.into()),
        (with(r#""vars":["a"]"#), r#"vars: found ["a"]; expected {"NAME": VALUE}"#.into()),
        (with(r#""vars":{"a-b":1}"#), r#"vars: "a-b" is not a valid variable name"#.into()),
        (with(r#""vars":{"promansible_run":1}"#), r#"vars: "promansible_run" is reserved for promansible"#.into()),
        (with(r#""vars":{"ansible_connection":"local"}"#), r#"vars: "ansible_connection" controls Ansible itself"#.into()),
        (with(r#""vars":{"a":[{"__ansible_vault":"x"}]}"#), r#"vars: "a" contains a key that begins with __"#.into()),
        (with(r#""vars":{"a":1,"a":2}"#), r#"vars: duplicate key "a" at line 1"#.into()),
        (with(r#""vars":{"a":123456789012345678901}"#), "vars: this number would lose digits".into()),
    ];
    for (json, begins) in cases {
        let said = asked(&json).expect_err(&json);
        assert!(said.starts_with(&begins), "{json}\n{said}\n{begins}");
    }
}
