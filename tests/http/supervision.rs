//! What must not end does not end unnoticed, and what must end ends: a task that panics, a run's own task that panics, and a
//! disk that hangs. The binary has faults that a test can ask for; a release build has none.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{PATIENCE, Server, Site, alert};

/// Every task that works until the end.
const TASKS: [&str; 12] = [
    "worker",
    "scheduler",
    "inventory watcher",
    "facts collector",
    "recheck",
    "notifier",
    "courier",
    "retention",
    "reloader",
    "scrape targets",
    "scrape target files",
    "http server",
];

/// Says more than the pipes and the store's buffers hold, until it is ended.
const BABBLER: &str = "#!/bin/sh\necho begin >>\"$(dirname \"$0\")/../journal\"\nwhile :; do head -c 65536 /dev/zero | tr '\\0' 'x\\n'; sleep 0.01; done\n";

fn start(site: &Site) -> Server {
    std::fs::create_dir_all(site.path("faults")).unwrap();
    let mut command = site.command();
    command.env("PROMANSIBLE_TEST_FAULTS", site.path("faults"));
    let server = Server::start(command);
    server.wait("ready", || server.get("/-/ready").status == 200);
    server
}

fn ask_for(site: &Site, fault: &str) {
    site.write(&format!("faults/{fault}"), "");
}

/// A run under way on web1, and one that waits for it.
fn begin(site: &Site, server: &Server) {
    let on = |name: &str| alert(name, "web1").label("for", "a");
    server.deliver(&[on("A")]);
    server.wait_run(1, "running");
    server.wait("begun", || !site.journal().is_empty());
    server.deliver(&[on("B")]);
}

#[track_caller]
fn nothing_is_left(site: &Site, within: Duration) {
    let begin = Instant::now();
    while !site.processes().is_empty() {
        assert!(begin.elapsed() < within, "left: {:?}", site.processes());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_task_that_panics_ends_the_process_and_loses_nothing() {
    for task in TASKS {
        let site = Site::new()
            .no_bindings()
            .binding("a", "[wait]", "")
            .binding("b", "[fail]", "")
            .sections("notifiers:\n  - {name: deaf, webhook: {url: 'http://127.0.0.1:1/'}}\n");
        let server = start(&site);
        begin(&site, &server);
        ask_for(&site, &format!("panic-{task}"));
        if task == "courier" {
            // It is at work only when there is a message.
            server.deliver(&[alert("C", "web2").label("for", "b")]);
        }
        let asked = Instant::now();
        // A second, on a machine that has nothing else to do.
        server.wait("ended", || !server.is_running());
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(20), "{task}: {took:?}");
        let log = server.log();
        let name = if task == "courier" { "notifier" } else { task };
        assert!(
            log.contains(&format!(
                "promansible: the task \"{name}\" panicked: a test asks for it"
            )),
            "{task}: {log}"
        );
        assert!(log.contains("level=error"), "{task}: {log}");
        assert_eq!(server.ended().code(), Some(1), "{task}");
        nothing_is_left(&site, PATIENCE);

        let _ = std::fs::remove_file(site.path(&format!("faults/panic-{task}")));
        site.go();
        let server = start(&site);
        assert_eq!(server.run(1)["outcome"], "interrupted", "{task}");
        let next = server.wait_run(2, "finished");
        assert_eq!(next["outcome"], "successful", "{task}");
    }
}

#[test]
fn a_run_whose_task_panics_fails_and_the_others_go_on() {
    let says =
        "promansible itself failed while it executed this run, and ended it: a test asks for it";
    for fault in ["panic-run", "panic-run processes"] {
        let site = Site::new().no_bindings().binding("a", "[wait]", "");
        let server = start(&site);
        begin(&site, &server);
        ask_for(&site, fault);
        server.wait("panicked", || server.log().contains("a test asks for it"));
        let _ = std::fs::remove_file(site.path(&format!("faults/{fault}")));
        let failed = server.wait_run(1, "finished");
        assert_eq!(failed["outcome"], "failed", "{failed}");
        assert_eq!(failed["results"]["web1"]["outcome"], "failed");
        let why = failed["message"].as_str().unwrap();
        assert!(why.contains(says), "{why}");
        // Its host is free, and its processes are gone: the next one has begun on it.
        server.wait_run(2, "running");
        server.wait("the second", || site.journal().len() == 2);
        site.go();
        assert_eq!(server.wait_run(2, "finished")["outcome"], "successful");
        site.assert_nothing_left();
        assert_eq!(server.get("/-/ready").status, 200);
        assert!(server.stop().success());
    }
}

/// A run that babbles, on a disk that hangs.
fn babble(more: &str) -> (Site, Server) {
    let site = Site::new().no_bindings().binding("a", "[ok]", more);
    site.write("bin/ansible-playbook", BABBLER);
    let server = start(&site);
    server.deliver(&[alert("A", "web1").label("for", "a")]);
    server.wait_run(1, "running");
    server.wait("begun", || !site.journal().is_empty());
    ask_for(&site, "hang-store");
    (site, server)
}

#[test]
fn a_disk_that_hangs_does_not_hold_up_the_time_limit() {
    let (site, server) = babble("timeout: 3s");
    nothing_is_left(&site, PATIENCE);
    site.remove("faults/hang-store");
    let run = server.wait_run(1, "finished");
    assert_eq!(run["outcome"], "timeout", "{run}");
    assert_eq!(run["message"], "it took longer than 3s");
    assert!(server.stop().success());
}

#[test]
fn a_disk_that_hangs_does_not_hold_up_a_cancel() {
    let (site, server) = babble("");
    let answer = server.cancel(1);
    assert_eq!(
        (answer.status, answer.text().contains("ending")),
        (200, true)
    );
    nothing_is_left(&site, PATIENCE);
    site.remove("faults/hang-store");
    let run = server.wait_run(1, "finished");
    assert_eq!(run["outcome"], "canceled", "{run}");
    let listed = server.data("audit");
    let first = &listed["entries"][0];
    assert_eq!(first["path"], "/api/v1/runs/1/cancel", "{listed}");
    assert!(server.stop().success());
}

#[test]
fn a_disk_that_hangs_does_not_hold_up_the_end() {
    let (site, server) = babble("");
    server.signal(Signal::SIGTERM);
    nothing_is_left(&site, PATIENCE);
    server.wait("ended", || !server.is_running());
    assert!(
        server
            .log()
            .contains("the store does not answer: ended without it"),
        "{}",
        server.log()
    );
    assert_eq!(server.ended().code(), Some(1));
    site.remove("faults/hang-store");
    let server = start(&site);
    let run = server.run(1);
    assert_eq!(
        (&run["state"], &run["outcome"]),
        (&json!("finished"), &json!("interrupted"))
    );
}

#[test]
fn an_address_that_is_in_use_is_named_with_its_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let site = Site::new().arg(&format!("--web.listen-address={address}"));
    let (code, said) = site.refused();
    assert_eq!(code, 1);
    assert!(
        said.contains(&format!(
            "cannot listen on {address} (--web.listen-address): Address already in use (os error 98). Another process, probably another promansible, listens there: stop it, or set another --web.listen-address"
        )),
        "{said}"
    );
}
