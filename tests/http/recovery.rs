//! Ends, planned or not, under a run, and what the history says afterwards.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{Server, Site, alert};

#[derive(Clone, Copy, PartialEq)]
enum End {
    Term,
    Kill,
}

/// Starts a run that waits, ends promansible under it, and starts it again.
fn interrupt(end: End, on_interrupt: &str) -> (Site, Server) {
    let site = Site::new()
        .no_bindings()
        .binding("a", "[wait]", on_interrupt);
    let server = site.start();
    let on = |name: &str| alert(name, "web1").label("for", "a");
    server.deliver(&[on("A")]);
    server.wait_run(1, "running");
    server.wait("begun", || !site.journal().is_empty());
    // This one waits for the first, and must still be there afterwards.
    server.deliver(&[on("B")]);
    assert!(!site.processes().is_empty());
    match end {
        End::Term => assert!(server.stop().success()),
        End::Kill => server.kill(),
    }
    site.assert_nothing_left();
    let server = site.start();
    (site, server)
}

fn left_interrupted(end: End, message: &str) {
    let (site, server) = interrupt(end, "");
    let run = server.run(1);
    assert_eq!(
        (&run["outcome"], &run["message"]),
        (&json!("interrupted"), &json!(message))
    );
    assert_eq!(run["results"]["web1"]["outcome"], "interrupted");
    // The next one is due: its turn comes without anybody asking.
    server.wait_run(2, "running");
    site.go();
    assert_eq!(server.wait_run(2, "finished")["outcome"], "successful");
    server.deliver(&[alert("A", "web1").label("for", "a")]);
    assert_eq!(server.decided("a", "duplicate"), 1.0);
    assert_eq!(server.list(""), [2, 1]);
}

fn run_again(end: End) {
    let (site, server) = interrupt(end, "on_interrupt: rerun");
    assert_eq!(server.run(1)["outcome"], "interrupted");
    site.go();
    server.wait_run(2, "finished");
    let again = server.wait_run(3, "finished");
    assert_eq!(again["rerun_of"], 1);
    assert_eq!(again["outcome"], "successful");
    assert_eq!(again["hosts"], json!(["web1"]));
    assert_eq!(server.data("runs/3")["episodes"][0]["alertname"], "A");
    assert_eq!(server.list(""), [3, 2, 1]);
}

#[test]
fn a_run_under_which_promansible_is_asked_to_end_is_interrupted() {
    left_interrupted(End::Term, "promansible is ending");
}

#[test]
fn a_run_under_which_promansible_is_killed_is_interrupted() {
    left_interrupted(End::Kill, "promansible ended during this run");
}

#[test]
fn a_run_that_asks_for_it_is_run_again_after_an_end() {
    run_again(End::Term);
}

#[test]
fn a_run_that_asks_for_it_is_run_again_after_a_kill() {
    run_again(End::Kill);
}

#[test]
fn ending_waits_for_no_idle_client_and_answers_the_last_request() {
    // The idle client would be cut off by itself only long after the others.
    let site = Site::new().receiver("header_timeout", "1h");
    let server = site.start();
    let _idle = server.connect();
    let address = server.address;
    server.signal(Signal::SIGTERM);
    server.wait_for_log("message=\"shut down\"");
    assert!(!server.log().contains("cut off"), "{}", server.log());
    assert!(server.stop().success());
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let site = Site::new()
        .no_bindings()
        .binding("a", "[wait]", "")
        .runs("grace", "10s");
    // Something that the first signal waits for: a run that does not care.
    site.write(
        "bin/ansible-playbook",
        "#!/bin/sh\ntrap '' INT\necho begin >>\"$(dirname \"$0\")/../journal\"\nwhile :; do sleep 0.1; done\n",
    );
    let server = site.start();
    server.deliver(&[alert("A", "web1").label("for", "a")]);
    server.wait("begun", || !site.journal().is_empty());
    server.signal(Signal::SIGINT);
    server.wait_for_log("message=\"shutting down\"");
    assert_eq!(server.stop().code(), Some(1));
    // Its supervisor sees to the rest, in its time.
    site.assert_nothing_left();
}

#[test]
fn what_outlives_a_killed_supervisor_is_ended_too_marked_or_not() {
    let site = Site::new().no_bindings().binding("a", "[wait]", "");
    // A daemon in a session of its own that has thrown away its environment, and with it our mark.
    site.write(
        "bin/ansible-playbook",
        "#!/bin/sh\nhere=$(dirname \"$0\")/..\n(setsid env -i sh -c 'echo $$ >\"$0/daemon\"; exec sleep 300' \"$here\" &)\necho begin >>\"$here/journal\"\nsleep 300\n",
    );
    let server = site.start();
    server.deliver(&[alert("A", "web1").label("for", "a")]);
    server.wait("begun", || {
        !site.journal().is_empty()
            && fs::read_to_string(site.path("daemon")).is_ok_and(|pid| !pid.is_empty())
    });
    let daemon = fs::read_to_string(site.path("daemon")).unwrap();
    let stat = format!("/proc/{}/stat", daemon.trim());
    let threads = format!("/proc/{}/task", server.pid());
    let supervisor = || -> String {
        let threads = fs::read_dir(&threads).unwrap().flatten();
        threads
            .map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default())
            .collect()
    };
    let pid = supervisor().trim().parse().expect("one supervisor");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let run = server.wait_run(1, "finished");
    assert_eq!(run["outcome"], "failed");
    assert!(fs::metadata(stat).is_err(), "the daemon lives");
    site.assert_nothing_left();
    // Nothing is left to be reaped either.
    server.wait("no child", || supervisor().trim().is_empty());
}
