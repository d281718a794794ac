//! Readiness, reloading, metrics, and what keeps promansible from starting.

use std::fs;
use std::io::Read;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use redb::{Database, TableDefinition};
use regex::Regex;

use crate::support::{Server, Site, alert, golden, notification, run_with};

#[test]
fn without_an_inventory_nothing_is_taken() {
    let site = Site::new();
    site.write("hold", "");
    let server = site.start_only();
    assert_eq!(server.get("/-/healthy").status, 200);
    server.wait_for_log("the inventory is held");
    let ready = server.get("/-/ready");
    assert_eq!(
        (ready.status, ready.text().as_str()),
        (
            503,
            "the inventory cannot be read: ansible-inventory ended with 1: the inventory is held\n"
        )
    );
    let refused = server.post(&notification(&[alert("A", "web1")]));
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("inventory"), "{}", refused.text());
    assert_eq!(
        server.metric("promansible_inventory_last_reload_successful"),
        0.0
    );

    site.remove("hold");
    server.wait("taken", || {
        server.post(&notification(&[alert("A", "web1")])).status == 200
    });
    assert_eq!(server.get("/-/ready").status, 200);
    assert_eq!(server.metric("promansible_inventory_hosts"), 4.0);
}

#[test]
fn a_host_that_was_added_a_moment_ago_is_found() {
    let site = Site::new();
    let server = site.start();
    server.deliver(&[alert("A", "web3")]);
    assert_eq!(server.decided("all", "unknown_host"), 1.0);
    let more = fs::read_to_string(site.path("hosts"))
        .unwrap()
        .replace("\"web2\"]", "\"web2\",\"web3\"]");
    site.write("hosts", &more);
    server.wait("found", || {
        server.deliver(&[alert("A", "web3")]);
        server.decided("all", "run") == 1.0
    });
}

#[test]
fn while_the_inventory_cannot_be_read_nothing_is_taken_and_nothing_runs() {
    let site = Site::new()
        .no_bindings()
        .binding("a", "[ok]", "batch_window: 3s");
    let server = site.start();
    let hosts = fs::read_to_string(site.path("hosts")).unwrap();
    let on = |name: &str| alert(name, "web1").label("for", "a");
    server.deliver(&[on("A")]);
    // Ansible would read the same sources, so that the run could only fail.
    site.write("hosts", "[]");
    // A look at the files is good for a quarter of a second.
    std::thread::sleep(Duration::from_millis(300));
    let refused = server.post(&notification(&[on("B")]));
    assert_eq!(refused.status, 503);
    let why = refused.text();
    assert!(why.starts_with("the inventory cannot be read: "), "{why}");
    let ready = server.get("/-/ready");
    assert_eq!((ready.status, ready.text()), (503, why));
    let read = "promansible_inventory_last_reload_successful";
    assert_eq!(server.metric(read), 0.0);
    assert_eq!(server.metric("promansible_inventory_hosts"), 4.0);
    std::thread::sleep(Duration::from_millis(3500));
    assert_eq!(server.run(1)["state"], "queued");

    // As it was before, to the file's time: that it could be read once is no news.
    site.write("hosts", &hosts);
    server.wait("taken", || {
        server.post(&notification(&[on("B")])).status == 200
    });
    assert_eq!(server.metric(read), 1.0);
    for run in [1, 2] {
        assert_eq!(server.wait_run(run, "finished")["outcome"], "successful");
    }
}

#[test]
fn a_run_is_not_lost_when_promansible_ends_between_its_claim_and_its_start() {
    let site = Site::new()
        .no_bindings()
        .binding("a", "[ok]", "batch_window: 1s");
    let server = site.start();
    server.deliver(&[alert("A", "web1").label("for", "a")]);
    // Before it starts, the run looks at the inventory again, and that takes a while now.
    site.write("slow", "");
    let hosts = fs::read_to_string(site.path("hosts")).unwrap();
    site.write("hosts", &(hosts + " "));
    server.wait_run(1, "running");
    assert!(server.stop().success());
    assert!(site.journal().is_empty(), "{:?}", site.journal());
    site.remove("slow");
    let server = site.start();
    assert_eq!(server.wait_run(1, "finished")["outcome"], "successful");
    assert_eq!(server.list(""), [1]);
}

#[test]
fn a_host_that_leaves_before_its_run_starts_takes_nobody_with_it() {
    let site = Site::new()
        .no_bindings()
        .binding("a", "[ok]", "batch_window: 1s");
    let server = site.start();
    let on = |host: &str| alert("A", host).label("for", "a");
    server.deliver(&[on("web1"), on("web2")]);
    let hosts = fs::read_to_string(site.path("hosts")).unwrap();
    let left = hosts
        .replace("\"web2\"]", "]")
        .replace("\"web1\",]", "\"web1\"]");
    assert_ne!(left, hosts);
    site.write("hosts", &left);
    let run = server.wait_run(1, "finished");
    let outcome = |host: &str| run["results"][host]["outcome"].clone();
    assert_eq!(
        (outcome("web1"), outcome("web2")),
        ("successful".into(), "failed".into())
    );
    let why = run["message"].as_str().unwrap();
    assert!(why.contains("the inventory changed"), "{why}");
    assert_eq!(run["outcome"], "failed");
}

fn reload(server: &Server) -> (u16, String) {
    let answer = server.request("POST", "/-/reload", &[], b"");
    (answer.status, answer.text())
}

#[test]
fn what_a_script_says_is_read_again_in_its_time_however_busy_it_is() {
    let site = Site::new().refresh("1s");
    let server = site.start();
    server.deliver(&[alert("A", "web3")]);
    assert_eq!(server.decided("all", "unknown_host"), 1.0);
    let more = fs::read_to_string(site.path("hosts"))
        .unwrap()
        .replace("\"web2\"]", "\"web2\",\"web3\"]");
    site.write("elsewhere", &more);
    // Notifications that come more often than that must not put it off.
    server.wait("found", || {
        std::thread::sleep(Duration::from_millis(300));
        server.deliver(&[alert("A", "web3")]);
        server.decided("all", "run") == 1.0
    });
}

#[test]
fn reloading_over_http_is_off_unless_it_is_asked_for() {
    let server = Site::new().start();
    let (status, why) = reload(&server);
    assert_eq!(status, 403);
    assert!(why.contains("--web.enable-lifecycle"), "{why}");
}

#[test]
fn a_bad_configuration_is_refused_and_the_old_one_stays() {
    let site = Site::new().arg("--web.enable-lifecycle");
    let server = site.start();
    assert_eq!(
        server.metric("promansible_config_last_reload_successful"),
        1.0
    );
    let good = fs::read_to_string(site.config_file()).unwrap();
    site.write("promansible.yml", &good.replace("[ok]", "[okay]"));
    let (status, why) = reload(&server);
    assert_eq!(status, 500);
    assert!(
        why.contains("promansible.yml:7:13: ") && why.contains("\"okay\""),
        "{why}"
    );
    assert_eq!(
        server.metric("promansible_config_last_reload_successful"),
        0.0
    );
    server.deliver(&[alert("A", "web1")]);
    assert_eq!(server.run(1)["work"]["roles"][0], "ok");

    // What stands beside the defect may be a secret, and goes neither into the answer nor into the log.
    let vars = "roles: [okay]\n    vars: {token: cAnArY}";
    site.write("promansible.yml", &good.replace("roles: [ok]", vars));
    let (status, why) = reload(&server);
    assert!(status == 500 && why.contains("\"okay\""), "{why}");
    assert!(
        !why.contains("cAnArY") && !server.log().contains("cAnArY"),
        "{why}"
    );

    site.write("promansible.yml", &good.replace("store.redb", "other.redb"));
    let (status, why) = reload(&server);
    assert!(
        status == 500 && why.contains("storage.path cannot change"),
        "{why}"
    );

    site.write("promansible.yml", &good.replace("[ok]", "[fail]"));
    assert_eq!(reload(&server).0, 200);
    assert_eq!(server.request("PUT", "/-/reload", &[], b"").status, 200);
    assert_eq!(
        server.metric("promansible_config_last_reload_successful"),
        1.0
    );
    server.deliver(&[alert("B", "web1")]);
    assert_eq!(server.wait_run(2, "finished")["outcome"], "failed");
}

#[test]
fn a_hangup_reads_the_configuration_again() {
    let site = Site::new();
    let server = site.start();
    let site = site.binding("more", "[wait]", "");
    site.config_file();
    server.signal(Signal::SIGHUP);
    let added = "promansible_decisions_total{binding=\"more\",decision=\"run\"} 0";
    server.wait("reloaded", || server.get("/metrics").text().contains(added));
    server.deliver(&[alert("A", "web1").label("for", "more")]);
    assert_eq!(server.decided("more", "run"), 1.0);
    assert_eq!(server.decided("all", "run"), 1.0);
}

#[test]
fn a_fresh_server_shows_every_metric_and_every_label_value() {
    let server = Site::new().binding("other", "[fail]", "").start();
    let text = server.get("/metrics").text();
    let changes = Regex::new(concat!(
        r"(?m)^((?:process_\w+|promansible_store_\w+|promansible_\w+_timestamp_seconds|promansible_inventory_last_reload_duration_seconds|promansible_build_info)",
        r"(?:\{[^}]*\})?) \S+$"
    ));
    let shown = changes.unwrap().replace_all(&text, "$1 *");
    let built = Regex::new("(revision|rustversion|version)=\"[^\"]*\"").unwrap();
    golden("http/metrics.txt", &built.replace_all(&shown, "$1=\"*\""));
    let judged = run_with(
        Command::new("promtool").args(["check", "metrics"]),
        text.as_bytes(),
    );
    assert!(judged.status.success());
    assert_eq!(
        String::from_utf8_lossy(&judged.stderr) + String::from_utf8_lossy(&judged.stdout),
        ""
    );
}

#[test]
fn a_scrape_is_typed_and_packed_when_that_is_asked_for() {
    let server = Site::new().arg("--web.telemetry-path=/own").start_only();
    assert_eq!(server.get("/metrics").status, 404);
    let plain = server.get("/own");
    assert_eq!(
        plain.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    assert_eq!(plain.header("content-encoding"), None);
    let packed = server.request("GET", "/own", &[("Accept-Encoding", "br, gzip;q=0.5")], b"");
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed.body.as_slice())
        .read_to_string(&mut text)
        .unwrap();
    assert!(
        text.contains("# TYPE promansible_runs_queued gauge"),
        "{text}"
    );
    let refused = server.request(
        "GET",
        "/own",
        &[("Accept-Encoding", "gzip;q=0, identity")],
        b"",
    );
    assert_eq!(refused.header("content-encoding"), None);
}

#[test]
fn a_second_process_on_the_same_store_is_told_so() {
    let site = Site::new();
    let server = site.start();
    let (code, why) = site.refused();
    assert_eq!(code, 1);
    assert!(
        why.contains("store.redb is in use by another process"),
        "{why}"
    );
    server.deliver(&[alert("A", "web1")]);
    assert_eq!(server.wait_run(1, "finished")["outcome"], "successful");
}

#[test]
fn a_store_of_a_newer_format_is_left_as_it_is() {
    const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta_v1");
    let site = Site::new();
    assert!(site.start().stop().success());
    let database = Database::open(site.store()).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(META)
        .unwrap()
        .insert("format", 2_u64.to_le_bytes().as_slice())
        .unwrap();
    txn.commit().unwrap();
    drop(database);
    let before = fs::read(site.store()).unwrap();
    let (code, why) = site.refused();
    assert_eq!(code, 1);
    assert!(
        why.contains("has format 2, and this promansible knows formats up to 1"),
        "{why}"
    );
    assert!(
        fs::read(site.store()).unwrap() == before,
        "the file was touched"
    );
}

#[test]
fn what_is_no_store_is_left_as_it_is() {
    let site = Site::new();
    fs::create_dir(site.path("data")).unwrap();
    fs::write(site.store(), "a letter to grandmother ".repeat(1000)).unwrap();
    let (code, why) = site.refused();
    assert_eq!(code, 1);
    assert!(why.contains("damaged or not a promansible store"), "{why}");
    assert!(
        fs::read_to_string(site.store())
            .unwrap()
            .starts_with("a letter")
    );
}

#[test]
fn others_cannot_reach_it_unless_somebody_said_so_in_as_many_words() {
    let open = || Site::new().arg("--web.listen-address=0.0.0.0:0");
    let (code, why) = open().refused();
    assert_eq!(code, 1);
    assert!(
        why.contains("--web.allow-remote-without-authentication"),
        "{why}"
    );
    // The test itself must not be reachable either: where the flag is tried, loopback is all there is.
    let site = Site::new()
        .arg("--web.listen-address=127.0.0.1:0")
        .arg("--web.listen-address=[::1]:0")
        .arg("--web.allow-remote-without-authentication");
    assert_eq!(site.start().get("/-/ready").status, 200);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let site = Site::new();
    let server = site.start();
    let other = Site::new().arg(&format!("--web.listen-address={}", server.address));
    let (code, why) = other.refused();
    assert_eq!(code, 1);
    assert!(
        why.contains(&format!("cannot listen on {}", server.address)),
        "{why}"
    );
    assert!(
        !other.store().exists(),
        "it touched its store before it knew"
    );
}
