//! Facts: taken, kept, shown for each host, and gone with it.

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Server, Site, inventory, run_with};

const FACTS: &str = "/api/v1/facts";

fn post(server: &Server, body: &Value) -> (u16, Value) {
    let json = [("content-type", "application/json")];
    let answer = server.request("POST", FACTS, &json, body.to_string().as_bytes());
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

fn facts(memory_mib: u64) -> Value {
    json!({"ansible_gather_subset": ["all"], "ansible_memtotal_mb": memory_mib, "ansible_distribution": "Debian"})
}

/// The samples of one host, after promtool has judged the whole page.
#[track_caller]
fn of_host(server: &Server, page: &str, host: &str) -> Vec<String> {
    let page = server.get(page).text();
    let judged = run_with(
        Command::new("promtool").args(["check", "metrics"]),
        page.as_bytes(),
    );
    let said = String::from_utf8_lossy(&judged.stderr) + String::from_utf8_lossy(&judged.stdout);
    assert!(judged.status.success() && said.is_empty(), "{said}\n{page}");
    let samples = page
        .lines()
        .filter_map(|line| line.strip_prefix("promansible_host_"));
    let of_host = samples.filter(|line| line.contains(&format!("{{host=\"{host}\"")));
    of_host.map(str::to_owned).collect()
}

#[test]
fn facts_are_kept_and_shown_until_their_host_leaves() {
    let site = Site::new();
    let server = site.start();
    assert!(of_host(&server, "/metrics", "web1").is_empty());
    let first = json!({"gathered_at": "2026-01-02T03:04:05Z", "facts": {"web1": facts(1), "web2": facts(2), "nobody": facts(3)}});
    let (status, answer) = post(&server, &first);
    assert_eq!(
        (status, &answer["data"]),
        (
            200,
            &json!({"kept": ["web1", "web2"], "unknown": ["nobody"]})
        )
    );
    let shown = [
        "facts_timestamp_seconds{host=\"web1\"} 1767323045",
        "memory_total_bytes{host=\"web1\"} 1048576",
        "os_info{host=\"web1\",distribution=\"Debian\",version=\"\",release=\"\",family=\"\"} 1",
    ];
    assert_eq!(of_host(&server, "/metrics", "web1"), shown);
    assert_eq!(of_host(&server, "/metrics/hosts", "web1"), shown);
    assert!(
        !server
            .get("/metrics/hosts")
            .text()
            .contains("promansible_runs_queued")
    );

    let later = json!({"gathered_at": "2026-01-03T00:00:00Z", "facts": {"web1": facts(4)}});
    assert_eq!(post(&server, &later).0, 200);
    assert_eq!(server.data("facts/web1")["facts"]["ansible_memtotal_mb"], 4);
    assert_eq!(
        server.data("facts/web1/changes")["changes"],
        json!([{"at": "2026-01-03T00:00:00Z", "changes": [{"path": "memtotal_mb", "old": 1, "new": 4}], "more": 0}])
    );
    assert_eq!(server.data("facts/web2/changes")["changes"], json!([]));
    let hosts = server.data("facts")["hosts"].as_array().unwrap().len();
    assert_eq!(hosts, 2);

    server.stop();
    let server = site.start();
    assert_eq!(
        of_host(&server, "/metrics", "web1")[1],
        "memory_total_bytes{host=\"web1\"} 4194304"
    );
    let mut hosts = inventory();
    hosts["web"]["hosts"] = json!(["web2"]);
    hosts["_meta"]["hostvars"]
        .as_object_mut()
        .unwrap()
        .remove("web1");
    site.write("hosts", &hosts.to_string());
    server.wait("web1 to leave", || {
        of_host(&server, "/metrics", "web1").is_empty()
    });
    assert_eq!(server.get("/api/v1/facts/web1").status, 404);
    assert_eq!(of_host(&server, "/metrics", "web2").len(), 3);
}

#[test]
fn what_cannot_be_taken_is_named() {
    let server = Site::new().start();
    for (body, said) in [
        (json!({}), "missing field `facts`"),
        (
            json!({"facts": {"web1": 5}}),
            "facts.web1: invalid type: integer `5`, expected a map",
        ),
        (json!({"facts": {}, "host": "web1"}), "unknown field `host`"),
        (
            json!({"facts": {}, "gathered_at": "noon"}),
            "gathered_at: input contains invalid characters",
        ),
    ] {
        let (status, answer) = post(&server, &body);
        assert_eq!(status, 400, "{body}");
        assert!(answer["error"].as_str().unwrap().contains(said), "{answer}");
    }
    let form = server.request("POST", FACTS, &[("content-type", "text/plain")], b"{}");
    assert_eq!(form.status, 415);
    for (method, path, status) in [
        ("DELETE", FACTS, 405),
        ("POST", "/api/v1/facts/web1", 405),
        ("GET", "/api/v1/facts/web1", 404),
        ("GET", "/api/v1/facts/web1/changes", 404),
        ("GET", "/api/v1/facts/web1/more", 404),
    ] {
        assert_eq!(
            server.request(method, path, &[], b"").status,
            status,
            "{method} {path}"
        );
    }
}

#[test]
fn a_reload_shows_other_metrics_of_the_same_facts() {
    let site = Site::new();
    let server = site.start();
    let told = json!({"facts": {"web1": {"ansible_memtotal_mb": 1, "ansible_local": {"backup": {"age": 7}}}}});
    assert_eq!(post(&server, &told).0, 200);
    let config = std::fs::read_to_string(site.config_file()).unwrap();
    let chosen = "facts:
  metrics:
    never: [facts_*]
    extra: [{name: backup_age_seconds, path: ansible_local.backup.age, help: How old the last backup is.}]
";
    site.write("promansible.yml", &format!("{config}\n{chosen}"));
    server.signal(Signal::SIGHUP);
    server.wait("the other metrics", || {
        of_host(&server, "/metrics", "web1")
            == [
                "memory_total_bytes{host=\"web1\"} 1048576",
                "backup_age_seconds{host=\"web1\"} 7",
            ]
    });
}

#[test]
fn an_alert_finds_the_host_that_calls_itself_so() {
    let server = Site::new().start();
    let named = [crate::support::alert("A", "web1.example.com:9100")];
    server.deliver(&named);
    assert!(server.decided("all", "unknown_host") > 0.0);
    let facts = |names: [&str; 2]| {
        let eth0 = json!({"device": "eth0", "type": "ether", "ipv4": {"address": names[1]}});
        json!({"ansible_fqdn": names[0], "ansible_interfaces": ["eth0"], "ansible_eth0": eth0})
    };
    let told = json!({"facts": {"web1": facts(["web1.example.com", "192.0.2.1"]), "web2": facts(["web2.example.com", "192.0.2.1"])}});
    assert_eq!(post(&server, &told).0, 200);
    server.wait("the host to be known", || {
        server.deliver(&named);
        server.decided("all", "run") > 0.0
    });
    assert_eq!(server.wait_run(1, "finished")["hosts"], json!(["web1"]));
    server.deliver(&[crate::support::alert("A", "192.0.2.1:9100")]);
    assert!(server.decided("all", "ambiguous_host") > 0.0);
}

#[test]
fn an_address_that_many_machines_have_finds_none_of_them() {
    let server = Site::new().start();
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/facts/debian-12-docker.json"
    );
    let facts: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    // web2 says that web1's address is its own: the inventory knows better.
    let eth0 = json!({"device": "eth0", "type": "ether", "ipv4": {"address": "10.0.0.1"}});
    let other =
        json!({"ansible_nodename": "web1", "ansible_interfaces": ["eth0"], "ansible_eth0": eth0});
    let told = json!({"facts": {"web1": facts["ansible_facts"], "web2": other}});
    assert_eq!(post(&server, &told).0, 200);
    server.wait("the host to be known", || {
        server.deliver(&[crate::support::alert("A", "192.0.2.90:9100")]);
        server.decided("all", "run") > 0.0
    });
    assert_eq!(server.wait_run(1, "finished")["hosts"], json!(["web1"]));
    let unknown = server.decided("all", "unknown_host");
    let nobody = [
        "172.17.0.1:9100",
        "192.168.122.1:9100",
        "10.0.2.15:9100",
        "10.0.3.1",
        "10.88.0.1:9100",
        "172.31.5.1:9100",
        "198.51.100.250:9100",
        "unknown",
    ];
    for (number, instance) in nobody.iter().enumerate() {
        let said = server.deliver(&[crate::support::alert(&format!("B{number}"), instance)]);
        assert!(said.contains("unknown_host"), "{instance}: {said}");
    }
    assert_eq!(server.decided("all", "unknown_host"), unknown + 8.0);
    for instance in ["10.0.0.1:9100", "web1:9100"] {
        server.deliver(&[crate::support::alert("C", instance)]);
    }
    assert_eq!(server.decided("all", "ambiguous_host"), 0.0);
    for run in [2, 3] {
        assert_eq!(server.wait_run(run, "finished")["hosts"], json!(["web1"]));
    }
}

#[test]
fn one_hosts_facts_make_no_more_series_than_the_limit() {
    let site = Site::new().sections("facts: {metrics: {series_limit: 3}}\n");
    let server = site.start();
    let mounts: Vec<Value> = (0..2000)
        .map(|n| json!({"mount": format!("/m{n}"), "device": "d", "fstype": "x", "size_total": 1}))
        .collect();
    let told = json!({"facts": {"web1": {"ansible_mounts": mounts}}});
    assert_eq!(post(&server, &told).0, 200);
    server.wait("shown", || !of_host(&server, "/metrics", "web1").is_empty());
    assert_eq!(of_host(&server, "/metrics", "web1").len(), 4);
    let dropped =
        |metric: &str| format!("promansible_host_series_dropped_total{{metric=\"{metric}\"}}");
    assert_eq!(server.metric(&dropped("filesystem_size_bytes")), 1997.0);
    assert_eq!(server.metric(&dropped("network_info")), 0.0);
}

#[test]
fn facts_of_a_host_that_comes_back_are_there_again() {
    let site = Site::new();
    let server = site.start();
    let told = json!({"gathered_at": "2026-01-02T03:04:05Z", "facts": {"web1": facts(1)}});
    assert_eq!(post(&server, &told).0, 200);
    server.wait("shown", || !of_host(&server, "/metrics", "web1").is_empty());
    let shown = of_host(&server, "/metrics", "web1");
    let mut hosts = inventory();
    hosts["web"]["hosts"] = json!(["web2"]);
    hosts["_meta"]["hostvars"]
        .as_object_mut()
        .unwrap()
        .remove("web1");
    site.write("hosts", &hosts.to_string());
    let leave = |server: &Server| {
        server.wait("web1 to leave", || {
            of_host(server, "/metrics", "web1").is_empty()
        });
        assert_eq!(server.get("/api/v1/facts/web1").status, 404);
    };
    leave(&server);
    // That it left is remembered over a restart.
    server.stop();
    let server = site.start();
    leave(&server);
    site.write("hosts", &inventory().to_string());
    server.wait("web1 to come back", || {
        of_host(&server, "/metrics", "web1") == shown
    });
    assert_eq!(
        server.data("facts/web1")["gathered_at"],
        "2026-01-02T03:04:05Z"
    );
}

#[test]
fn facts_of_a_host_that_left_are_dropped_in_time() {
    let site = Site::new().sections("facts: {keep_after_removal: 0s}\n");
    let server = site.start();
    let told = json!({"facts": {"web1": facts(1)}});
    assert_eq!(post(&server, &told).0, 200);
    let all = inventory();
    let mut hosts = all.clone();
    hosts["web"]["hosts"] = json!(["web2"]);
    hosts["_meta"]["hostvars"]
        .as_object_mut()
        .unwrap()
        .remove("web1");
    site.write("hosts", &hosts.to_string());
    server.wait("web1 to leave", || {
        server.metric("promansible_inventory_hosts") == 3.0
    });
    server.wait("its facts to go", || {
        of_host(&server, "/metrics", "web1").is_empty()
    });
    site.write("hosts", &all.to_string());
    server.wait("web1 to come back", || {
        server.metric("promansible_inventory_hosts") == 4.0
    });
    assert_eq!(server.get("/api/v1/facts/web1").status, 404);
}
