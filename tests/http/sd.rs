//! Scrape targets: over HTTP, and in files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Server, Site, inventory, run_with};

const SECTION: &str = "service_discovery:
  vars: [dc]
  files:
    - {path: SITE/targets.json, port: 9100, groups: [web], scheme: https, labels: {job: node}}
    - {path: SITE/far.yml, matchers: ['__meta_ansible_var_dc=\"ber\"']}
";

/// The inventory with a variable that is exposed, and one that is not.
fn with_vars() -> Value {
    let mut listing = inventory();
    let vars = &mut listing["_meta"]["hostvars"];
    vars["web1"]["dc"] = json!("fra");
    vars["web2"]["dc"] = json!("ber");
    vars["web2"]["secret"] = json!("hunter2");
    listing
}

fn site() -> Site {
    let site = Site::new().sections(SECTION);
    site.write("hosts", &with_vars().to_string());
    site
}

/// Targets with their hosts, in the order in which they came.
fn targets(array: &Value) -> Vec<(String, String)> {
    let groups = array.as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    groups
        .iter()
        .map(|group| {
            (
                text(&group["labels"]["__meta_ansible_host"]),
                text(&group["targets"][0]),
            )
        })
        .collect()
}

#[track_caller]
fn ask(server: &Server, query: &str) -> Value {
    let answer = server.get(&format!("/api/v1/sd{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    serde_json::from_slice(&answer.body).unwrap()
}

fn names(array: &Value) -> Vec<String> {
    targets(array).into_iter().map(|(host, _)| host).collect()
}

#[track_caller]
fn wait_for_file(site: &Site, server: &Server, name: &str, wanted: &[&str]) -> Value {
    let read = || -> Option<Value> {
        let text = fs::read(site.path(name)).ok()?;
        Some(serde_json::from_slice(&text).expect("never half of it"))
    };
    server.wait(&format!("{name} with {wanted:?}"), || {
        read().is_some_and(|array| names(&array) == wanted)
    });
    read().unwrap()
}

#[test]
fn hosts_are_targets_with_their_labels() {
    let site = site();
    let server = site.start();
    server.wait("known", || server.get("/api/v1/sd").status == 200);
    let facts = json!({"gathered_at": "2026-11-22T10:00:00Z", "facts": {"web2": {"ansible_distribution": "Debian",
        "ansible_distribution_version": 12.5, "ansible_kernel": "6.1"}}});
    let headers = [("Content-Type", "application/json")];
    let body = facts.to_string();
    let taken = server.request("POST", "/api/v1/facts", &headers, body.as_bytes());
    assert_eq!(taken.status, 200, "{}", taken.text());
    server.wait("facts are labels", || {
        ask(&server, "")
            .to_string()
            .contains("__meta_ansible_fact_distribution")
    });
    let web2 = json!([{"targets": ["10.0.0.2:9100"], "labels": {
        "__meta_ansible_host": "web2", "__meta_ansible_groups": ",web,", "__meta_ansible_var_dc": "ber",
        "__meta_ansible_fact_distribution": "Debian", "__meta_ansible_fact_distribution_version": "12.5",
        "__scheme__": "https", "__metrics_path__": "/m",
    }}]);
    let query = "?group=web&match=__meta_ansible_fact_distribution%3D%22Debian%22&port=9100&scheme=https&metrics_path=/m";
    assert_eq!(ask(&server, query), web2);
    assert_eq!(
        names(&ask(&server, "?group=edge&group=web")),
        ["web1", "web2", "twin1", "twin2"]
    );
    let answer = server.get("/api/v1/sd?group=none");
    assert_eq!((answer.status, answer.text().as_str()), (200, "[]\n"));
    assert_eq!(server.request("HEAD", "/api/v1/sd", &[], b"").status, 200);
    assert_eq!(server.request("POST", "/api/v1/sd", &[], b"").status, 405);
    for (query, why) in [
        (
            "port=http",
            "port: \"http\" is not a number from 1 to 65535",
        ),
        (
            "sort=a",
            "sort: unknown; want group, match, port, scheme or metrics_path",
        ),
    ] {
        let answer = server.get(&format!("/api/v1/sd?{query}"));
        let said: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer.status, 400);
        assert_eq!(
            said,
            json!({"status": "error", "errorType": "bad_data", "error": why})
        );
    }
    let secret = server.get("/api/v1/sd?match=__meta_ansible_var_secret%3D%22hunter2%22");
    assert_eq!(secret.status, 400);
    assert!(!ask(&server, "").to_string().contains("hunter2"));
}

#[test]
fn a_host_that_was_added_a_moment_ago_is_a_target() {
    let site = Site::new();
    let server = site.start();
    assert_eq!(names(&ask(&server, "?group=web&port=1")), ["web1", "web2"]);
    let more = inventory()
        .to_string()
        .replace("\"web2\"]", "\"web2\",\"web3\"]");
    site.write("hosts", &more);
    server.wait("found", || {
        names(&ask(&server, "?group=web&port=1")).len() == 3
    });
    let found = targets(&ask(&server, "?group=web&port=1"));
    assert_eq!(found[2], ("web3".to_owned(), "web3:1".to_owned()));
}

#[test]
fn before_the_hosts_are_known_there_is_no_array_that_would_take_them_all_away() {
    let site = site();
    let old = "[{\"targets\":[\"a:1\"],\"labels\":{\"__meta_ansible_host\":\"a\"}}]";
    site.write("targets.json", old);
    site.write("hold", "");
    let server = site.start_only();
    server.wait_for_log("the inventory is held");
    let answer = server.get("/api/v1/sd");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("the inventory is held"));
    let series = format!(
        "promansible_sd_file_last_write_successful{{path=\"{}\"}}",
        site.path("targets.json").display()
    );
    assert_eq!(server.metric(&series), 0.0);
    assert_eq!(fs::read_to_string(site.path("targets.json")).unwrap(), old);

    site.remove("hold");
    server.wait("known", || server.get("/api/v1/sd").status == 200);
    wait_for_file(&site, &server, "targets.json", &["web1", "web2"]);

    // Broken again, and started again while it is: what was known stays. Variables are in no store, so that the saved
    // inventory has nothing for the matcher of far.yml.
    wait_for_file(&site, &server, "far.yml", &["web2"]);
    site.write("hold", "");
    site.write("hosts", "[]");
    server.wait("broken", || server.get("/-/ready").status == 503);
    assert_eq!(names(&ask(&server, "?group=web")), ["web1", "web2"]);
    site.write("hosts", &with_vars().to_string());
    server.stop();
    let server = site.start_only();
    server.wait_for_log("the inventory is held");
    for (name, wanted) in [
        ("targets.json", vec!["web1", "web2"]),
        ("far.yml", vec!["web2"]),
    ] {
        let text = fs::read(site.path(name)).unwrap();
        assert_eq!(names(&serde_json::from_slice(&text).unwrap()), wanted);
    }
}

#[test]
fn files_are_written_when_what_is_in_them_changes() {
    let site = site();
    let server = site.start();
    let array = wait_for_file(&site, &server, "targets.json", &["web1", "web2"]);
    assert_eq!(
        array[0],
        json!({"targets": ["10.0.0.1:9100"], "labels": {
            "__meta_ansible_host": "web1", "__meta_ansible_groups": ",web,", "__meta_ansible_var_dc": "fra",
            "__scheme__": "https", "job": "node"}})
    );
    let far = wait_for_file(&site, &server, "far.yml", &["web2"]);
    assert_eq!(far[0]["targets"], json!(["10.0.0.2"]));
    let inode = |name: &str| fs::metadata(site.path(name)).unwrap().ino();
    let before = (inode("targets.json"), inode("far.yml"));

    // web1 moves; of far.yml nothing changes.
    let mut listing = with_vars();
    listing["_meta"]["hostvars"]["web1"]["ansible_host"] = json!("10.0.0.7");
    site.write("hosts", &listing.to_string());
    server.wait("moved", || {
        // Whoever asks has the files looked at.
        ask(&server, "");
        fs::read_to_string(site.path("targets.json"))
            .unwrap()
            .contains("10.0.0.7:9100")
    });
    server.wait("the other looked at", || {
        server.log().matches("inventory read").count() > 1
    });
    assert_ne!(inode("targets.json"), before.0);
    assert_eq!(inode("far.yml"), before.1);
    let hidden = fs::read_dir(site.path("")).unwrap().flatten();
    let hidden: Vec<_> = hidden
        .filter(|entry| entry.file_name().to_string_lossy().starts_with('.'))
        .collect();
    assert!(hidden.is_empty(), "{hidden:?}");
    let judged = run_with(
        Command::new("promtool").args(["check", "metrics"]),
        &server.get("/metrics").body,
    );
    assert!(judged.status.success());
    assert_eq!(
        String::from_utf8_lossy(&judged.stderr) + String::from_utf8_lossy(&judged.stdout),
        ""
    );
}

#[test]
fn a_file_that_cannot_be_written_is_told_once_shown_and_tried_again() {
    let file = |name: &str| {
        format!(
            "service_discovery:\n  files: [{{path: SITE/{name}, groups: [web, none], port: 1}}]\n"
        )
    };
    let site = Site::new().sections(&file("later/targets.json"));
    let server = site.start();
    let series = |what: &str, name: &str| {
        let path = site.path(name).display().to_string();
        format!("promansible_sd_file_{what}{{path=\"{path}\"}}")
    };
    server.wait_for_log("scrape targets cannot be written");
    server.wait_for_log("the inventory has no such group");
    let successful = series("last_write_successful", "later/targets.json");
    assert_eq!(server.metric(&successful), 0.0);
    // It is tried again, and not told again.
    server.signal(Signal::SIGHUP);
    server.wait("read again", || {
        server.log().matches("inventory read").count() > 1
    });
    fs::create_dir(site.path("later")).unwrap();
    server.wait("written", || server.metric(&successful) == 1.0);
    assert_eq!(server.metric(&series("targets", "later/targets.json")), 2.0);
    assert_eq!(
        server
            .log()
            .matches("scrape targets cannot be written")
            .count(),
        1
    );
    assert_eq!(server.log().matches("has no such group").count(), 1);

    // Another configuration, another file; what was written stays.
    let shown = successful;
    let site = site.sections(&file("other.json"));
    site.config_file();
    server.signal(Signal::SIGHUP);
    wait_for_file(&site, &server, "other.json", &["web1", "web2"]);
    server.wait("not shown any more", || {
        !server.get("/metrics").text().contains(&shown)
    });
    assert!(site.path("later/targets.json").exists());
}
