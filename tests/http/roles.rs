//! The catalogue: what roles say of themselves, who uses them, how they did; and the inventory's groups.

use serde_json::{Value, json};

use crate::support::{Answer, Server, Site, alert};

const SPEC: &str = "argument_specs:
  main:
    short_description: Asks a resolver.
    description: [It asks., It waits.]
    options:
      zone: {type: str, required: true, description: Which zone.}
      tries: {type: int, default: 3, choices: [1, 3]}
      password: {no_log: true, default: hunter2}
";

/// Roles of both kinds, and who runs them.
fn site() -> Site {
    let site = Site::new().binding("try", "[fail, ok]", "").sections(
        "schedules: [{name: nightly, cron: '0 3 * * *', roles: [check_dns], target: {group: web}, vars: {zone: a}}]\n",
    );
    let role = "playbook/routine/roles/check_dns";
    site.write(&format!("{role}/meta/argument_specs.yml"), SPEC);
    site.write(
        &format!("{role}/meta/promansible.yml"),
        "checks: {dns_answer_seconds: {help: How long it took., labels: [zone]}}",
    );
    site.write(
        &format!("{role}/README.md"),
        "# check_dns\n\n<b>Asks</b>.\n",
    );
    site.write("playbook/alert/roles/fail/meta/argument_specs.yml", "a: [");
    site
}

fn error(answer: &Answer) -> (u16, String) {
    let error: Value = serde_json::from_slice(&answer.body).unwrap();
    (answer.status, error["error"].as_str().unwrap().to_owned())
}

fn role(server: &Server, name: &str) -> Value {
    let list = server.data("roles");
    let mut roles = list["roles"].as_array().unwrap().iter();
    let found = roles.find(|role| role["name"] == name);
    found.unwrap().clone()
}

#[test]
fn roles_are_listed_with_who_uses_them_and_how_they_did() {
    let site = site();
    let server = site.start();
    let names: Vec<Value> = server.data("roles")["roles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|role| json!([role["kind"], role["name"]]))
        .collect();
    assert_eq!(
        json!(names),
        json!([
            ["alert", "fail"],
            ["alert", "flood"],
            ["alert", "ok"],
            ["alert", "wait"],
            ["routine", "check_dns"]
        ])
    );
    let none = json!({"successful": 0, "failed": 0, "unreachable": 0, "timeout": 0, "canceled": 0, "interrupted": 0});
    let dns = json!({
        "name": "check_dns", "kind": "routine", "short_description": "Asks a resolver.", "has_readme": true,
        "has_spec": true, "warnings": [], "bindings": [], "schedules": ["nightly"],
        "checks": {"dns_answer_seconds": {"help": "How long it took.", "labels": ["zone"]}},
        "last_runs": {"finished": 0, "outcomes": none, "last": null},
        "verdicts": {"effective": 0, "ineffective": 0, "unknown": 0, "by_binding": {}},
    });
    assert_eq!(role(&server, "check_dns"), dns);
    let ok = role(&server, "ok");
    assert_eq!(
        (&ok["bindings"], &ok["has_spec"]),
        (&json!(["all", "try"]), &json!(false))
    );
    let warnings = role(&server, "fail")["warnings"].clone();
    let warning = warnings[0].as_str().unwrap();
    assert!(
        warning.starts_with("meta/argument_specs.yml:"),
        "{warnings}"
    );

    server.deliver(&[alert("A", "web1").label("for", "try")]);
    server.wait("both runs", || server.list("state=finished").len() == 2);
    for _ in 0..21 {
        let id = server.started_run(
            r#"{"roles":["check_dns"],"target":{"hosts":["web1"]},"vars":{"zone":"s3cret"}}"#,
        );
        server.wait_run(id, "finished");
    }
    let fail = &role(&server, "fail")["last_runs"];
    assert_eq!(
        (&fail["finished"], &fail["outcomes"]["failed"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        (&fail["last"]["state"], &fail["last"]["outcome"]),
        (&json!("finished"), &json!("failed"))
    );
    let dns = &role(&server, "check_dns")["last_runs"];
    assert_eq!(
        (&dns["finished"], &dns["outcomes"]["successful"]),
        (&json!(20), &json!(20))
    );
    assert_eq!(dns["last"]["id"], 23);

    let detail = server.data("roles/check_dns");
    assert_eq!(detail["readme"], "# check_dns\n\n<b>Asks</b>.\n");
    assert_eq!(detail["readme_is_cut"], false);
    assert_eq!(
        detail["spec"]["description"],
        json!(["It asks.", "It waits."])
    );
    assert_eq!(
        detail["spec"]["options"]["tries"],
        json!({
            "type": "int", "description": [], "required": false, "default": 3, "choices": [1, 3], "elements": null,
            "options": null, "no_log": false, "aliases": [], "apply_defaults": false,
        })
    );
    assert_eq!(detail["runs"].as_array().unwrap().len(), 20);
    let text = server.get("/api/v1/roles/check_dns").text();
    assert!(
        !text.contains("s3cret") && !text.contains("hunter2"),
        "{text}"
    );
    assert_eq!(server.data("roles/wait")["readme"], Value::Null);
}

#[test]
fn a_long_readme_is_cut_and_a_role_of_both_kinds_is_none() {
    let site = site();
    site.write("playbook/alert/roles/flood/README.md", &"ä".repeat(200_000));
    site.write("playbook/alert/roles/twin/tasks/main.yml", "[]");
    site.write("playbook/routine/roles/twin/tasks/main.yml", "[]");
    let server = site.start();
    let detail = server.data("roles/flood");
    assert_eq!(detail["readme_is_cut"], true);
    assert_eq!(detail["readme"].as_str().unwrap().len(), 256 << 10);
    assert_eq!(
        error(&server.get("/api/v1/roles/twin")),
        (
            409,
            "\"twin\" is in both alert/roles and routine/roles: rename one of them".to_owned()
        )
    );
    let (status, why) = error(&server.get("/api/v1/roles/chekc_dns"));
    assert_eq!(status, 404);
    assert!(
        why.starts_with(
            "no role is named \"chekc_dns\"; did you mean \"check_dns\"? the roles are "
        ),
        "{why}"
    );
    assert_eq!(server.get("/api/v1/roles/a/b").status, 404);
    assert_eq!(
        server.request("POST", "/api/v1/roles", &[], b"").status,
        405
    );
    assert_eq!(
        server
            .request("DELETE", "/api/v1/roles/ok", &[], b"")
            .status,
        405
    );
}

#[test]
fn groups_are_listed_with_their_hosts_and_children() {
    let site = Site::new();
    let server = site.start();
    assert_eq!(
        server.data("groups"),
        json!({"groups": [
            {"name": "all", "hosts": 4, "children": ["edge", "empty", "ungrouped", "web"]},
            {"name": "edge", "hosts": 2, "children": []},
            {"name": "empty", "hosts": 0, "children": []},
            {"name": "ungrouped", "hosts": 0, "children": []},
            {"name": "web", "hosts": 2, "children": []},
        ]})
    );
    assert_eq!(
        server.data("groups/web"),
        json!({"name": "web", "hosts": ["web1", "web2"], "children": []})
    );
    let (status, why) = error(&server.get("/api/v1/groups/wbe"));
    assert_eq!(status, 404);
    assert!(why.contains("did you mean \"web\"?"), "{why}");
    assert_eq!(
        server.request("POST", "/api/v1/groups", &[], b"").status,
        405
    );
    // Below a group, and below that.
    let nested = json!({"all": {"children": ["top"]}, "top": {"children": ["mid"]}, "mid": {"hosts": ["x"]}});
    site.write("hosts", &nested.to_string());
    server.wait("the other inventory", || {
        server.get("/api/v1/groups/top").status == 200
    });
    assert_eq!(
        server.data("groups/all")["children"],
        json!(["top", "ungrouped"])
    );
    assert_eq!(
        server.data("groups/top"),
        json!({"name": "top", "hosts": ["x"], "children": ["mid"]})
    );
}
