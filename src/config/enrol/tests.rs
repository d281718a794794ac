use serde_json::json;

use super::*;

fn typed(json: &Value) -> Result<Enrolment, String> {
    enrolment(json.to_string().as_bytes()).map_err(|e| e.to_string())
}

#[test]
fn all_that_is_said_is_taken() {
    let typed = typed(&json!({
        "name": "web3", "address": "fe80::1%eth0", "groups": ["web", "rack_2", "old-name"],
        "vars": {
            "ansible_port": 2222, "ansible_user": "deploy", "ansible_python_interpreter": "/usr/bin/python3.11",
            "site": {"urls": ["{{ x }}", 1]},
        },
    }))
    .unwrap();
    assert_eq!(typed.name, "web3");
    assert_eq!(typed.address.as_deref(), Some("fe80::1%eth0"));
    assert_eq!(typed.groups, ["old-name", "rack_2", "web"]);
    assert_eq!(typed.vars.len(), 4);
    let why = crate::config::template_in(&typed.vars).unwrap();
    assert!(why.starts_with("\"site\" contains"), "{why}");
}

#[test]
fn a_port_may_be_written_as_any_whole_number_of_json() {
    let port = |port: Value| typed(&json!({"name": "a", "vars": {"ansible_port": port}}));
    assert_eq!(
        port(json!(2031.0)).unwrap().vars["ansible_port"],
        json!(2031)
    );
    assert!(port(json!(2031.5)).is_err());
}

#[test]
fn a_name_is_enough() {
    for name in [
        "web3",
        "10.0.0.5",
        "fe80::1",
        "2001:db8::7",
        "a.b-c_d",
        "9a",
        "主机",
        "мой-узел",
    ] {
        let typed = typed(&json!({ "name": name })).unwrap();
        assert_eq!((typed.name.as_str(), typed.address), (name, None));
        assert!(typed.groups.is_empty() && typed.vars.is_empty());
    }
}

#[test]
fn names_that_could_mean_something_else_are_refused() {
    for name in [
        "",
        "*",
        "a,b",
        "all:!x",
        "~web",
        "-x",
        "_x",
        "__x",
        "a b",
        "web[1:3]",
        "@f",
        "u\u{308}ni",
        "{{ x }}",
        "a/b",
        "localhost",
        "127.0.0.1",
        "::1",
        "127.0.0.2",
        "LOCALHOST",
        "LocalHost.localdomain",
        "localhost.",
        "x.localhost",
        "ip6-localhost",
        "IP6-loopback",
        "localhost6.localdomain6",
        "0.0.0.0",
        "::",
        "::ffff:7f00:1",
        "127.1",
        "127.0.1",
        "0x7f.1",
        "0177.0.0.1",
        "2130706433",
        "0",
        "10.1",
        "9",
        "\u{ff4c}ocalhost",
        "\u{ff11}",
        "all",
        "ungrouped",
        "fe80::1%eth0",
        &"x".repeat(254),
    ] {
        let why = typed(&json!({ "name": name })).unwrap_err();
        assert!(why.starts_with("name: "), "{name}: {why}");
    }
    for address in [
        "",
        "-oProxyCommand=x",
        "a b",
        "{{ x }}",
        "a;b",
        "fe80::1%",
        "10.0.0.1%x",
        "host:22",
        "@x",
    ] {
        let why = typed(&json!({"name": "web3", "address": address})).unwrap_err();
        assert!(why.starts_with("address: "), "{address}: {why}");
    }
    for group in [
        "",
        "all",
        "ungrouped",
        "_meta",
        "a:b",
        "web3",
        "localhost",
        "0",
        "0x7f.1",
        "!x",
        "{{ x }}",
    ] {
        let why = typed(&json!({"name": "web3", "groups": [group]})).unwrap_err();
        assert!(why.starts_with("groups: "), "{group}: {why}");
    }
    let why = typed(&json!({"name": "web3", "groups": ["b", "a", "b"]})).unwrap_err();
    assert_eq!(why, r#"groups: "b" is listed twice"#);
    let many: Vec<String> = (0..=GROUPS).map(|n| format!("g{n}")).collect();
    let why = typed(&json!({"name": "web3", "groups": many})).unwrap_err();
    assert_eq!(why, "groups: 101 groups; at most 100 are allowed");
}

#[test]
fn no_variable_chooses_a_program_of_the_controller() {
    for name in [
        "ansible_connection",
        "ansible_become_exe",
        "ansible_become_method",
        "ansible_ssh_executable",
        "ansible_ssh_common_args",
        "ansible_ssh_extra_args",
        "ansible_ssh_private_key_file",
        "ansible_shell_executable",
        "ansible_shell_type",
        "ansible_remote_tmp",
        "ansible_ssh_host",
        "ansible_ssh_user",
        "ansible_facts",
        "ansible_delegated_vars",
        "ansible_become",
        "ansible_become_password",
        "ansible_password",
    ] {
        let why = typed(&json!({"name": "web3", "vars": {name: "local"}})).unwrap_err();
        let wanted = format!("vars: {name:?} controls Ansible itself");
        assert!(why.starts_with(&wanted), "{why}");
        assert!(
            why.ends_with("accepts are ansible_port, ansible_python_interpreter, ansible_user")
        );
    }
    for (name, value) in [
        ("ansible_port", json!("22")),
        ("ansible_port", json!(0)),
        ("ansible_port", json!(70000)),
        ("ansible_user", json!("-oProxyCommand=x")),
        ("ansible_user", json!("a\" b")),
        ("ansible_user", json!("{{ x }}")),
        ("ansible_python_interpreter", json!("/bin/sh")),
        ("ansible_python_interpreter", json!("/usr/bin/python3 -c x")),
        ("ansible_python_interpreter", json!("python3")),
        ("ansible_python_interpreter", json!("/tmp/$(id)/python3")),
        ("ansible_host", json!("x")),
        ("groups", json!({})),
        ("hostvars", json!({})),
        ("promansible_hosts", json!([])),
        ("__x", json!(1)),
        ("a-b", json!(1)),
        ("x", json!({"__ansible_vault": "y"})),
        ("x", json!([{"__ansible_unsafe": "y"}])),
    ] {
        let why = typed(&json!({"name": "web3", "vars": {name: value}})).unwrap_err();
        assert!(why.starts_with(&format!("vars: {name:?} ")), "{why}");
    }
    for value in [
        "auto",
        "auto_silent",
        "/usr/local/bin/python3.12",
        "/opt/pypy3/bin/pypy3",
    ] {
        typed(&json!({"name": "web3", "vars": {"ansible_python_interpreter": value}})).unwrap();
    }
}

#[test]
fn what_is_no_enrolment_is_said_with_its_field() {
    for (text, why) in [
        ("[\"web3\"]", "the body is not a JSON object"),
        ("{}", "missing field `name`"),
        (
            r#"{"name":"a","adress":"b"}"#,
            "unknown field `adress`, expected one of",
        ),
        (
            r#"{"name":7}"#,
            "invalid type: integer `7`, expected a string",
        ),
        (r#"{"name":"a","vars":[]}"#, "vars: found []; expected"),
        (
            r#"{"name":"a","vars":{"x":1,"x":2}}"#,
            "vars: duplicate key \"x\"",
        ),
    ] {
        let found = enrolment(text.as_bytes()).unwrap_err().to_string();
        assert!(found.starts_with(why), "{text}: {found}");
    }
}
