//! One episode, one run per binding; and when runs share, wait, or are called off.

use serde_json::json;

use crate::support::{Site, alert};

#[test]
fn the_same_episode_again_is_a_duplicate_and_a_new_one_is_not() {
    let site = Site::new();
    let server = site.start();
    let a = alert("A", "web1");
    server.deliver(std::slice::from_ref(&a));
    server.deliver(&[a.clone(), a.clone()]);
    assert_eq!(server.decided("all", "duplicate"), 2.0);
    server.wait_run(1, "finished");
    server.deliver(&[a.clone().since(1)]);
    server.wait_run(2, "finished");
    assert!(server.stop().success());

    let server = site.start();
    assert_eq!(
        server.decided("all", "duplicate"),
        0.0,
        "counters begin anew"
    );
    server.deliver(&[a.clone(), a.clone().since(1), a.since(2)]);
    assert_eq!(server.decided("all", "duplicate"), 2.0);
    assert_eq!(server.decided("all", "run"), 1.0);
    assert_eq!(server.list(""), [3, 2, 1]);
}

#[test]
fn all_deliveries_at_once_make_one_run() {
    let server = Site::new().start();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| server.deliver(&[alert("A", "web1")]));
        }
    });
    assert_eq!(server.decided("all", "run"), 1.0);
    assert_eq!(server.decided("all", "duplicate"), 15.0);
    assert_eq!(server.list(""), [1]);
}

#[test]
fn what_resolves_before_it_started_is_not_run() {
    let site = Site::new()
        .no_bindings()
        .binding("one", "[wait]", "")
        .binding("two", "[ok]", "batch_window: 1h");
    let server = site.start();
    let on = |name: &str, host: &str, which: &str| alert(name, host).label("for", which);
    // On the same host, the second waits for the first.
    server.deliver(&[on("A", "web1", "one")]);
    server.wait_run(1, "running");
    server.deliver(&[on("B", "web1", "one")]);
    server.deliver(&[on("B", "web1", "one").resolved()]);
    let canceled = server.wait_run(2, "finished");
    assert_eq!(canceled["outcome"], "canceled");
    assert_eq!(canceled["message"], "its alerts resolved before it started");
    assert_eq!(server.data("runs/2")["episodes"][0]["left_out"], true);
    // One of two that share a run: the other stays.
    server.deliver(&[on("C", "web1", "two"), on("C", "web2", "two")]);
    server.deliver(&[on("C", "web1", "two").resolved()]);
    assert_eq!(server.run(3)["hosts"], json!(["web2"]));
    assert_eq!(server.run(3)["state"], "queued");
    // What runs already is not called off by that.
    server.deliver(&[on("A", "web1", "one").resolved()]);
    assert_eq!(server.run(1)["state"], "running");
    // A firing alert that was overtaken by its own end.
    server.deliver(&[on("B", "web1", "one"), on("A", "web1", "one")]);
    assert_eq!(server.decided("one", "resolved"), 4.0);
    server.deliver(&[on("D", "web2", "one").resolved()]);
    server.deliver(&[on("D", "web2", "one")]);
    assert_eq!(server.decided("one", "resolved"), 6.0);
    site.go();
    assert_eq!(server.wait_run(1, "finished")["outcome"], "successful");
    assert_eq!(server.list(""), [3, 2, 1]);
    let began: Vec<_> = site
        .journal()
        .into_iter()
        .filter(|line| line.starts_with("begin"))
        .collect();
    assert_eq!(began, ["begin 1 wait @ web1"]);
}

#[test]
fn every_binding_that_matches_runs_until_one_says_stop() {
    let site = Site::new()
        .no_bindings()
        .binding("first", "[ok]", "")
        .binding("last", "[fail, ok]", "stop: true")
        .binding("never", "[ok]", "");
    let server = site.start();
    server.deliver(&[alert("A", "web1").label("for", "first,last,never")]);
    assert_eq!(server.wait_run(1, "finished")["outcome"], "successful");
    let last = server.wait_run(2, "finished");
    assert_eq!(last["binding"], "last");
    assert_eq!(last["work"]["roles"], json!(["fail", "ok"]));
    assert_eq!(last["outcome"], "failed");
    assert_eq!(server.decided("never", "run"), 0.0);
    assert_eq!(server.list(""), [2, 1]);
}

#[test]
fn hosts_that_come_within_the_window_share_a_run() {
    let site = Site::new()
        .no_bindings()
        .binding("a", "[ok]", "batch_window: 700ms");
    let server = site.start();
    let on = |name: &str, host: &str| alert(name, host).label("for", "a");
    server.deliver(&[on("A", "web1"), on("A", "web2")]);
    server.deliver(&[on("A", "twin1"), on("B", "web1")]);
    assert_eq!(server.run(1)["state"], "queued");
    let run = server.wait_run(1, "finished");
    assert_eq!(run["hosts"], json!(["web1", "web2", "twin1"]));
    assert_eq!(
        server.data("runs/1")["episodes"].as_array().unwrap().len(),
        4
    );
    // What comes later has missed it.
    server.deliver(&[on("A", "twin2")]);
    assert_eq!(server.wait_run(2, "finished")["hosts"], json!(["twin2"]));
}

#[test]
fn two_runs_never_meet_on_one_host_unless_they_may() {
    let site = Site::new()
        .no_bindings()
        .binding("alone", "[wait]", "")
        .binding("both", "[wait]", "target: {group: web}")
        .binding("along", "[wait]", "allow_overlap: true");
    let server = site.start();
    server.deliver(&[alert("A", "web1").label("for", "alone")]);
    server.wait_run(1, "running");
    server.deliver(&[alert("B", "x").label("for", "both")]);
    server.deliver(&[alert("C", "web2").label("for", "alone")]);
    server.deliver(&[alert("D", "web1").label("for", "along")]);
    server.deliver(&[alert("E", "twin1").label("for", "alone")]);
    server.wait_run(4, "running");
    server.wait_run(5, "running");
    assert_eq!(server.run(2)["state"], "queued", "web1 is busy");
    assert_eq!(
        server.run(3)["state"],
        "queued",
        "an older run waits for web2"
    );
    site.go();
    for id in 1..=5 {
        assert_eq!(server.wait_run(id, "finished")["outcome"], "successful");
    }
    let journal = site.journal();
    let at = |line: &str| journal.iter().position(|l| l.starts_with(line)).unwrap();
    assert!(
        at("end 1") < at("begin 2") && at("end 2") < at("begin 3"),
        "{journal:?}"
    );
}

#[test]
fn no_more_runs_than_allowed_are_under_way() {
    let site = Site::new()
        .no_bindings()
        .binding("a", "[wait]", "")
        .runs("max_concurrent", "2");
    let server = site.start();
    for host in ["web1", "web2", "twin1", "twin2"] {
        server.deliver(&[alert("A", host).label("for", "a")]);
    }
    server.wait_run(2, "running");
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(server.list("state=running"), [2, 1]);
    assert_eq!(server.metric("promansible_runs_running"), 2.0);
    assert_eq!(server.metric("promansible_runs_queued"), 2.0);
    site.go();
    server.wait_run(4, "finished");
    server.wait("all ended", || {
        server.metric("promansible_runs_running") == 0.0
    });
    let mut under_way = 0;
    for line in site.journal() {
        under_way += if line.starts_with("begin") { 1 } else { -1 };
        assert!(under_way <= 2, "{:?}", site.journal());
    }
}
