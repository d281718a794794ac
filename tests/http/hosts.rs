//! Hosts that are enrolled: they take part in everything, and never in the way of the inventory's sources.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Answer, Server, Site, alert, inventory};

fn enroll(server: &Server, host: &Value) -> Answer {
    let headers = [("Content-Type", "application/json")];
    let body = host.to_string();
    server.request("POST", "/api/v1/hosts", &headers, body.as_bytes())
}

#[track_caller]
fn enrolled(server: &Server, host: &Value) -> Value {
    let answer = enroll(server, host);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let mut envelope: Value = serde_json::from_slice(&answer.body).unwrap();
    envelope["data"].take()
}

fn remove(server: &Server, name: &str) -> Answer {
    server.request("DELETE", &format!("/api/v1/hosts/{name}"), &[], b"")
}

fn error(answer: &Answer) -> (u16, String) {
    let error: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(error["status"], "error");
    (answer.status, error["error"].as_str().unwrap().to_owned())
}

fn web3() -> Value {
    json!({"name": "web3", "address": "10.0.0.3", "groups": ["web"], "vars": {"ansible_port": 2222, "v": "{{ x }}"}})
}

#[test]
fn an_enrolled_host_takes_part_until_it_is_removed() {
    let site = Site::new();
    let server = site.start();
    server.deliver(&[alert("A", "10.0.0.3:9100")]);
    assert_eq!(server.decided("all", "unknown_host"), 1.0);

    let host = enrolled(&server, &web3());
    assert_eq!(
        (&host["name"], &host["source"]),
        (&json!("web3"), &json!("enrolled"))
    );
    assert_eq!(server.metric("promansible_inventory_hosts"), 5.0);
    // By its address, in its group, and as itself.
    server.deliver(&[alert("A", "10.0.0.3:9100")]);
    let run = server.wait_run(1, "finished");
    assert_eq!(
        (&run["hosts"], &run["outcome"]),
        (&json!(["web3"]), &json!("successful"))
    );
    let group = server.started_run(r#"{"roles":["ok"],"target":{"group":"web"}}"#);
    let run = server.wait_run(group, "finished");
    assert_eq!(run["hosts"], json!(["web1", "web2", "web3"]));

    // Ansible is told of it, whatever the run's hosts are, and reads its variables as data.
    let other = server.started_run(r#"{"roles":["ok"],"target":"controller"}"#);
    server.wait_run(other, "finished");
    let told = fs::read(site.path(&format!("enrolled-{other}.json"))).unwrap();
    let told: Value = serde_json::from_slice(&told).unwrap();
    assert_eq!(
        told["all"]["hosts"]["web3"],
        json!({"ansible_port": 2222, "v": {"__ansible_unsafe": "{{ x }}"}, "ansible_host": "10.0.0.3"})
    );
    assert_eq!(
        told["all"]["children"]["web"]["hosts"],
        json!({"web3": null})
    );

    let last = r#"promansible_role_last_success_timestamp_seconds{host="web3",role="ok"}"#;
    assert!(server.get("/metrics").text().contains(last));
    let answer = remove(&server, "web3");
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, r#"{"status":"success","data":{"name":"web3"}}"#)
    );
    assert!(!server.get("/metrics").text().contains(last));
    assert_eq!(server.metric("promansible_inventory_hosts"), 4.0);
    server.deliver(&[alert("B", "10.0.0.3:9100")]);
    assert_eq!(server.decided("all", "unknown_host"), 2.0);
    assert_eq!(server.get("/api/v1/hosts/web3").status, 404);
    let (status, why) = error(&remove(&server, "web3"));
    assert_eq!(
        (status, why.as_str()),
        (404, r#"no host named "web3" is enrolled"#)
    );
}

#[test]
fn hosts_are_shown_with_where_they_come_from() {
    let site = Site::new();
    let server = site.start();
    enrolled(&server, &web3());
    enrolled(&server, &json!({"name": "fe80::7"}));
    let list = server.data("hosts");
    assert_eq!(list["conflicts"], json!([]));
    let hosts: Vec<(&str, &str)> = list["hosts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|host| {
            (
                host["name"].as_str().unwrap(),
                host["source"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        hosts,
        [
            ("web1", "file"),
            ("web2", "file"),
            ("twin1", "file"),
            ("twin2", "file"),
            ("fe80::7", "enrolled"),
            ("web3", "enrolled"),
        ]
    );
    assert_eq!(
        server.data("hosts/web1"),
        json!({"name": "web1", "address": "10.0.0.1", "groups": ["web"], "source": "file"})
    );
    let mut shown = server.data("hosts/web3");
    assert!(shown["enrolled_at"].take().is_string());
    assert_eq!(shown["vars"], json!({"ansible_port": 2222, "v": "{{ x }}"}));
    assert_eq!(
        server.data("hosts/fe80%3A%3A7")["groups"],
        json!(["ungrouped"])
    );
    assert_eq!(server.data("hosts/fe80::7")["name"], "fe80::7");
    let (status, why) = error(&server.get("/api/v1/hosts/%2A"));
    assert_eq!(
        (status, why.as_str()),
        (404, r#"no host of the inventory is named "*""#)
    );

    let script: Value = serde_json::from_slice(&server.get("/api/v1/inventory").body).unwrap();
    assert_eq!(script["web"]["hosts"], json!(["web1", "web2", "web3"]));
    assert_eq!(
        script["_meta"]["hostvars"]["web1"],
        json!({"ansible_host": "10.0.0.1"})
    );
    assert_eq!(
        script["_meta"]["hostvars"]["web3"]["v"],
        json!({"__ansible_unsafe": "{{ x }}"})
    );
}

#[test]
fn the_sources_win_and_the_conflict_is_shown() {
    let site = Site::new();
    let server = site.start();
    let (status, why) = error(&enroll(&server, &json!({"name": "web1"})));
    let wanted = "web1 is already in the inventory's sources (";
    assert!(
        status == 409 && why.starts_with(wanted) && why.contains("hosts"),
        "{why}"
    );
    let (status, why) = error(&enroll(&server, &json!({"name": "edge"})));
    assert_eq!(
        (status, why.as_str()),
        (409, "edge cannot be enrolled: its name belongs to a group")
    );
    let (status, why) = error(&enroll(&server, &json!({"name": "a", "groups": ["web1"]})));
    assert_eq!(
        (status, why.as_str()),
        (
            409,
            r#"a cannot be enrolled: its group "web1" has the name of a host"#
        )
    );
    let (status, why) = error(&remove(&server, "web1"));
    assert_eq!(
        (status, why.as_str()),
        (409, "web1 is in the inventory's sources: remove it there")
    );
    enrolled(&server, &web3());
    let (status, why) = error(&enroll(&server, &web3()));
    assert_eq!(
        (status, why.as_str()),
        (
            409,
            "web3 is already enrolled: remove it first, or use another name"
        )
    );
    assert_eq!(server.metric("promansible_inventory_conflicts"), 0.0);

    let mut sources = inventory();
    sources["_meta"]["hostvars"]["web3"] = json!({"ansible_host": "10.7.7.7"});
    sources["empty"]["hosts"] = json!(["web3"]);
    site.write("hosts", &sources.to_string());
    server.wait("the conflict", || {
        server.deliver(&[alert("A", "10.7.7.7:9100")]);
        server.metric("promansible_inventory_conflicts") == 1.0
    });
    let list = server.data("hosts");
    assert_eq!(
        list["conflicts"],
        json!([{"name": "web3", "why": "its name belongs to a host in the inventory's sources, which take precedence"}])
    );
    let shown = server.data("hosts/web3");
    assert_eq!(
        (&shown["source"], &shown["groups"]),
        (&json!("file"), &json!(["empty"]))
    );
    assert!(
        shown["conflict"]
            .as_str()
            .unwrap()
            .starts_with("web3 is enrolled, but")
    );
    server.wait_for_log("an enrolled host is ignored");
    // Where it stands in the sources, Ansible is not told of the other one.
    let run = server.wait_run(1, "finished");
    assert_eq!(run["hosts"], json!(["web3"]));
    assert!(!site.path("enrolled-1.json").exists());

    assert_eq!(remove(&server, "web3").status, 200);
    assert_eq!(server.metric("promansible_inventory_conflicts"), 0.0);
    assert_eq!(server.data("hosts/web3")["source"], "file");
}

#[test]
fn what_answered_201_survives_a_kill() {
    let site = Site::new();
    let server = site.start();
    enrolled(&server, &web3());
    server.kill();
    let server = site.start();
    assert_eq!(server.data("hosts/web3")["source"], "enrolled");
    server.deliver(&[alert("A", "web3")]);
    assert_eq!(server.wait_run(1, "finished")["hosts"], json!(["web3"]));
}

#[test]
fn while_the_sources_cannot_be_read_nobody_is_enrolled() {
    let site = Site::new();
    let server = site.start();
    enrolled(&server, &web3());
    site.write("hold", "");
    site.write("hosts", &json!({"all": {"hosts": ["x"]}}).to_string());
    server.wait("the inventory to break", || {
        server.get("/api/v1/hosts").status == 503
    });
    let (status, why) = error(&enroll(&server, &json!({"name": "web4"})));
    assert_eq!(status, 503);
    assert!(why.starts_with("the inventory cannot be read"), "{why}");
    assert_eq!(server.get("/api/v1/inventory").status, 503);
    // To take one away nothing needs to be known of the others.
    assert_eq!(remove(&server, "web3").status, 200);
    assert_eq!(server.get("/api/v1/hosts").status, 503);
    site.remove("hold");
    server.wait("the inventory", || {
        server.get("/api/v1/hosts").status == 200
    });
    let hosts = server.data("hosts")["hosts"].take();
    assert_eq!(hosts.as_array().unwrap().len(), 1, "{hosts}");
}

#[test]
fn what_is_no_host_is_refused_with_its_field() {
    let server = Site::new().start();
    for (host, why) in [
        (
            json!({"name": "*"}),
            r#"name: "*" is not a valid host name"#,
        ),
        (
            json!({"name": "localhost"}),
            r#"name: "localhost" refers to this machine; "#,
        ),
        (
            json!({"name": "a", "address": "-oProxyCommand=x"}),
            "address: ",
        ),
        (
            json!({"name": "a", "vars": {"ansible_connection": "local"}}),
            r#"vars: "ansible_connection" controls Ansible itself"#,
        ),
    ] {
        let (status, found) = error(&enroll(&server, &host));
        assert!(status == 400 && found.starts_with(why), "{host}: {found}");
    }
    let long = json!({"name": "a", "vars": {"v": "x".repeat(8 << 10)}});
    let (status, why) = error(&enroll(&server, &long));
    assert_eq!(
        (status, why.as_str()),
        (413, "the body is larger than 8192 bytes")
    );
    for (method, path, allowed) in [
        ("PUT", "/api/v1/hosts", "GET, HEAD, POST"),
        ("DELETE", "/api/v1/hosts", "GET, HEAD, POST"),
        ("POST", "/api/v1/hosts/web1", "GET, HEAD, DELETE"),
        ("POST", "/api/v1/inventory", "GET, HEAD"),
    ] {
        let answer = server.request(method, path, &[], b"");
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some(allowed))
        );
    }
    assert_eq!(server.get("/api/v1/hosts/web1/x").status, 404);
}

#[test]
fn a_page_of_another_site_changes_no_host() {
    let server = Site::new().start();
    enrolled(&server, &web3());
    let body = json!({"name": "web4"}).to_string();
    let evil = ("Origin", "http://evil.example");
    let json = ("Content-Type", "application/json");
    for (method, path, headers, status) in [
        ("POST", "/api/v1/hosts", &[json, evil][..], 403),
        (
            "POST",
            "/api/v1/hosts",
            &[("Content-Type", "text/plain")],
            415,
        ),
        ("POST", "/api/v1/hosts", &[], 415),
        ("DELETE", "/api/v1/hosts/web3", &[evil], 403),
    ] {
        let answer = server.request(method, path, headers, body.as_bytes());
        assert_eq!(answer.status, status, "{method} {headers:?}");
    }
    let hosts = server.data("hosts")["hosts"].take();
    assert_eq!(hosts.as_array().unwrap().len(), 5, "{hosts}");
}

#[test]
fn an_old_ansible_is_given_no_text_that_it_could_take_for_a_template() {
    let site = Site::new();
    let script = site.path("bin/ansible-inventory");
    let text = fs::read_to_string(&script).unwrap();
    fs::write(&script, text.replace("[core 2.19.0]", "[core 2.16.3]")).unwrap();
    let server = site.start();
    let (status, why) = error(&enroll(&server, &web3()));
    let wanted =
        r#"vars: "v" contains text that this version of ansible-core may treat as a template"#;
    assert!(status == 400 && why.starts_with(wanted), "{why}");
    enrolled(&server, &json!({"name": "web3", "vars": {"v": "plain"}}));

    // The same at every other entry; a name in a map counts as well.
    let vars = json!({"v": {"{{ lookup('pipe', 'id') }}": 1}});
    let place = json!({"hosts": ["web1"]});
    for (path, object) in [
        (
            "/api/v1/runs",
            json!({"roles": ["ok"], "target": place, "vars": vars}),
        ),
        (
            "/api/v1/bindings",
            json!({"name": "made", "matchers": ["a=b"], "roles": ["ok"], "vars": vars}),
        ),
        (
            "/api/v1/schedules",
            json!({"name": "made", "cron": "0 3 * * *", "roles": ["ok"], "target": place, "vars": vars}),
        ),
    ] {
        let json = &[("Content-Type", "application/json")];
        let answer = server.request("POST", path, json, object.to_string().as_bytes());
        let (status, why) = error(&answer);
        assert!(status == 400 && why.starts_with(wanted), "{path}: {why}");
    }
}

#[test]
fn a_new_host_is_asked_what_it_is_where_facts_are_gathered() {
    let site = Site::new().sections("facts: {every: 1h, target: {group: edge}}");
    let server = site.start();
    enrolled(&server, &json!({"name": "web4", "address": "10.0.0.4"}));
    assert_eq!(
        server.list("host=web4"),
        Vec::<u64>::new(),
        "there is no role for it"
    );
    server.stop();
    site.write("playbook/routine/roles/gather_facts/tasks/main.yml", "[]");
    let server = site.start();
    enrolled(&server, &web3());
    let runs = server.list("host=web3");
    assert_eq!(runs.len(), 1);
    assert_eq!(
        server.run(runs[0])["work"]["roles"],
        json!(["gather_facts"])
    );
    server.wait_run(runs[0], "finished");
}
