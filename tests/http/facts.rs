//! Facts: taken, kept, shown for each host, and gone with it.

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::{Server, Site, inventory, run_with};

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
    let named = [crate::bench::alert("A", "web1.example.com:9100")];
    server.deliver(&named);
    assert!(server.decided("all", "unknown_host") > 0.0);
    let facts = |names: [&str; 2]| json!({"ansible_fqdn": names[0], "ansible_all_ipv4_addresses": [names[1]]});
    let told = json!({"facts": {"web1": facts(["web1.example.com", "192.0.2.1"]), "web2": facts(["web2.example.com", "192.0.2.1"])}});
    assert_eq!(post(&server, &told).0, 200);
    server.wait("the host to be known", || {
        server.deliver(&named);
        server.decided("all", "run") > 0.0
    });
    assert_eq!(server.wait_run(1, "finished")["hosts"], json!(["web1"]));
    server.deliver(&[crate::bench::alert("A", "192.0.2.1:9100")]);
    assert!(server.decided("all", "ambiguous_host") > 0.0);
}
