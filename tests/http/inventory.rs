//! An inventory that is slow, fails, loses its hosts or is not believed: nothing is lost, targets stay, and the reason is shown.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Server, Site, alert, inventory, notification};

/// It is read every second, and what its script says stands in `elsewhere`.
fn far_away() -> Site {
    let site = Site::new()
        .refresh("1s")
        .no_bindings()
        .binding("a", "[ok]", "batch_window: 5s");
    site.write("elsewhere", &inventory().to_string());
    site
}

fn on(name: &str, host: &str) -> crate::support::Alert {
    alert(name, host).label("for", "a")
}

fn status(server: &Server) -> Value {
    server.data("inventory/status")
}

fn targets(server: &Server) -> Vec<String> {
    let answer: Value = serde_json::from_slice(&server.get("/api/v1/sd").body).unwrap();
    let groups = answer.as_array().unwrap().iter();
    let name = |group: &Value| {
        group["labels"]["__meta_ansible_host"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    groups.map(name).collect()
}

const ALL: [&str; 4] = ["twin1", "twin2", "web1", "web2"];

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[test]
fn while_a_script_is_too_slow_alerts_are_taken_and_runs_wait() {
    let site = far_away().ansible("inventory_timeout", "5s");
    let server = site.start();
    assert_eq!(server.metric("promansible_inventory_fallback"), 0.0);
    server.deliver(&[on("A", "web1")]);
    site.write("stuck", "");
    server.wait("too slow", || {
        server.metric("promansible_inventory_last_reload_successful") == 0.0
    });
    assert_eq!(server.metric("promansible_inventory_fallback"), 1.0);
    assert!(server.metric("promansible_inventory_last_reload_duration_seconds") >= 5.0);
    assert_eq!(server.get("/-/ready").status, 200);
    server.deliver(&[on("B", "web2")]);
    // A host that is not known may be on its way: that alert comes again.
    let refused = server.post(&notification(&[on("C", "web3")]));
    assert_eq!(refused.status, 503);
    let why = refused.text();
    assert!(
        why.contains("\"web3\", and the inventory cannot be read"),
        "{why}"
    );
    // What starts something at once is refused, not guessed.
    assert_eq!(
        server
            .start_run(r#"{"roles":["ok"],"target":{"hosts":["web1"]}}"#)
            .status,
        503
    );
    assert_eq!(server.run(2)["state"], "queued");
    assert_eq!(sorted(targets(&server)), ALL);
    let found = status(&server);
    assert_eq!(
        (&found["usable"], &found["readable"]),
        (&json!(true), &json!(false))
    );
    let why = found["trouble"]["why"].as_str().unwrap();
    for part in [
        "did not end within 5s",
        "ansible.inventory_timeout",
        "waiting for the cloud",
    ] {
        assert!(why.contains(part), "{why}");
        for page in ["/", "/hosts"] {
            assert!(server.get(page).text().contains(part), "{page}: {part}");
        }
        assert!(server.log().contains(part), "{}", server.log());
    }
    site.remove("stuck");
    for run in [1, 2] {
        assert_eq!(server.wait_run(run, "finished")["outcome"], "successful");
    }
    assert_eq!(server.metric("promansible_inventory_fallback"), 0.0);
    assert_eq!(status(&server)["trouble"], Value::Null);
}

#[test]
fn the_last_good_inventory_is_used_for_its_time_and_no_longer() {
    let site = far_away().ansible("inventory_max_age", "4s");
    let server = site.start();
    site.write("hold", "");
    server.wait("unread", || {
        server.metric("promansible_inventory_last_reload_successful") == 0.0
    });
    server.wait("too old", || server.get("/-/ready").status == 503);
    let ready = server.get("/-/ready").text();
    assert_eq!(
        ready,
        "the inventory cannot be read: ansible-inventory ended with 1: the inventory is held\n"
    );
    assert_eq!(server.post(&notification(&[on("A", "web1")])).status, 503);
    assert_eq!(status(&server)["usable"], json!(false));
    assert!(
        server
            .get("/hosts")
            .text()
            .contains("the inventory is held")
    );
    // Targets are none of that: Prometheus goes on watching.
    assert_eq!(sorted(targets(&server)), ALL);
    server.wait("shown", || {
        server.metric("promansible_inventory_fallback") == 0.0
    });
    site.remove("hold");
    server.wait("taken", || {
        server.post(&notification(&[on("A", "web1")])).status == 200
    });
}

#[test]
fn with_no_such_time_it_is_not_used_at_all() {
    let site = far_away().ansible("inventory_max_age", "0s");
    let server = site.start();
    site.write("hold", "");
    server.wait("unread", || server.get("/-/ready").status == 503);
    assert_eq!(server.metric("promansible_inventory_fallback"), 0.0);
}

#[test]
fn an_inventory_that_is_empty_for_a_moment_takes_nothing_away() {
    let site = far_away();
    let server = site.start();
    let told = json!({"facts": {"web1": {"ansible_memtotal_mb": 1}}}).to_string();
    let headers = [("Content-Type", "application/json")];
    assert_eq!(
        server
            .request("POST", "/api/v1/facts", &headers, told.as_bytes())
            .status,
        200
    );
    server.deliver(&[on("A", "web1")]);
    site.write("elsewhere", "{}");
    server.wait("shrunk", || {
        server.metric("promansible_inventory_shrunk") == 1.0
    });
    assert_eq!(server.metric("promansible_inventory_hosts"), 0.0);
    assert_eq!(server.metric("promansible_inventory_hosts_in_doubt"), 4.0);
    let refused = server.post(&notification(&[on("B", "web2")]));
    assert_eq!(refused.status, 503);
    assert!(
        refused
            .text()
            .contains("4 hosts disappeared from the inventory at once"),
        "{}",
        refused.text()
    );
    // What was never there is unknown all the same.
    let said = server.deliver(&[on("C", "web9")]);
    assert!(said.contains("unknown_host"), "{said}");
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(server.run(1)["state"], "queued");
    assert_eq!(sorted(targets(&server)), ALL);
    assert_eq!(server.data("facts/web1")["facts"]["ansible_memtotal_mb"], 1);
    assert!(
        server
            .get("/metrics")
            .text()
            .contains("promansible_host_memory_total_bytes{host=\"web1\"}")
    );
    let found = status(&server);
    assert_eq!(
        (&found["usable"], &found["hosts"]),
        (&json!(true), &json!(0))
    );
    assert_eq!(found["shrunk"]["missing_hosts"], json!(ALL));
    assert_eq!(found["shrunk"]["hosts_before"], 4);
    for page in ["/", "/hosts"] {
        assert!(
            server
                .get(page)
                .text()
                .contains("the inventory has lost 4 of 4 hosts"),
            "{page}"
        );
    }
    assert!(server.log().contains("level=warn"), "{}", server.log());
    server.wait_for_log("the inventory has lost these hosts at once");

    // A restart knows it as well.
    server.stop();
    let server = site.start_only();
    server.wait("shrunk", || {
        server.metric("promansible_inventory_shrunk") == 1.0
    });
    assert_eq!(sorted(targets(&server)), ALL);
    site.write("elsewhere", &inventory().to_string());
    server.wait("the hosts to be back", || {
        server.metric("promansible_inventory_shrunk") == 0.0
    });
    assert_eq!(server.wait_run(1, "finished")["outcome"], "successful");
    assert_eq!(server.metric("promansible_inventory_hosts_in_doubt"), 0.0);
    assert_eq!(server.data("facts/web1")["facts"]["ansible_memtotal_mb"], 1);
    server.deliver(&[on("B", "web2")]);
    assert_eq!(server.wait_run(2, "finished")["outcome"], "successful");
}

#[test]
fn a_loss_that_lasts_is_believed() {
    let site = far_away().ansible("inventory_shrink", "{max_percent: 70, believe_after: 3s}");
    let server = site.start();
    server.deliver(&[on("A", "web1")]);
    let mut left = inventory();
    // Half of them are no more than the share that may go.
    left["edge"]["hosts"] = json!([]);
    site.write("elsewhere", &left.to_string());
    server.wait("fewer targets", || {
        sorted(targets(&server)) == ["web1", "web2"]
    });
    assert_eq!(server.metric("promansible_inventory_shrunk"), 0.0);
    site.write("elsewhere", "{}");
    server.wait("shrunk", || {
        server.metric("promansible_inventory_shrunk") == 1.0
    });
    server.wait("believed", || {
        server.metric("promansible_inventory_shrunk") == 0.0
    });
    server.wait_for_log("the smaller inventory is now believed");
    server.wait("no targets", || targets(&server).is_empty());
    // Its alert waited for it; now it is known that it left.
    let run = server.wait_run(1, "finished");
    if run["outcome"] != "successful" {
        let why = run["message"].as_str().unwrap();
        assert!(why.contains("the inventory changed"), "{why}");
    }
    let said = server.deliver(&[on("B", "web2")]);
    assert!(said.contains("unknown_host"), "{said}");
}

#[test]
fn two_names_of_one_machine_meet_no_two_runs() {
    let site = Site::new()
        .no_bindings()
        .binding("a", "[wait]", "")
        .binding("b", "[wait]", "allow_overlap: true");
    let server = site.start();
    server.deliver(&[alert("A", "twin1").label("for", "a")]);
    server.wait_run(1, "running");
    server.deliver(&[alert("A", "twin2").label("for", "a")]);
    server.deliver(&[alert("B", "web1").label("for", "a")]);
    server.deliver(&[alert("C", "twin2").label("for", "b")]);
    for run in [3, 4] {
        server.wait_run(run, "running");
    }
    assert_eq!(server.run(2)["state"], "queued");
    assert_eq!(server.run(1)["hosts"], json!(["twin1"]));
    site.go();
    for run in [1, 2, 3, 4] {
        assert_eq!(server.wait_run(run, "finished")["outcome"], "successful");
    }
    let journal = site.journal();
    let place = |line: &str| journal.iter().position(|l| l == line).unwrap();
    assert!(
        place("end 1") < place("begin 2 wait @ twin2"),
        "{journal:?}"
    );
}

#[test]
fn an_address_that_became_another_hosts_is_not_touched() {
    let site = Site::new()
        .no_bindings()
        .binding("a", "[ok]", "batch_window: 3s");
    let server = site.start();
    server.deliver(&[on("A", "10.0.0.1:9100"), on("B", "10.0.0.2:9100")]);
    let mut moved = inventory();
    moved["_meta"]["hostvars"]["web1"]["ansible_host"] = json!("10.0.0.5");
    moved["all"]["children"] = json!(["ungrouped", "web", "edge", "empty", "new"]);
    moved["new"] = json!({"hosts": ["web3"]});
    moved["_meta"]["hostvars"]["web3"] = json!({"ansible_host": "10.0.0.1"});
    site.write("hosts", &moved.to_string());
    let run = server.wait_run(1, "finished");
    let outcome = |host: &str| run["results"][host]["outcome"].clone();
    assert_eq!(
        (outcome("web1"), outcome("web2")),
        ("failed".into(), "successful".into())
    );
    let why = run["results"]["web1"]["message"].as_str().unwrap();
    assert!(
        why.contains(
            "the inventory changed after the run was decided: its alert's instance is now web3"
        ),
        "{why}"
    );
}
