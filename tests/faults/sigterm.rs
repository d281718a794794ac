//! SIGTERM while notifications come in and runs are under way.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Answer, PATIENCE, Server, Site, WEBHOOK, alert, notification};

const SENDERS: usize = 4;
const UNGUARDED: &str =
    "guards: {attempts: {max: 0}, storm: {max_hosts: 0}, circuit: {failures: 0}}\n";

/// What `ansible-playbook` is where it ignores every signal that can be ignored.
const STUBBORN: &str =
    "#!/bin/sh\ntrap '' INT TERM HUP QUIT\n: >\"${0%/*}/../begun\"\nwhile :; do sleep 0.2; done\n";

/// Sends a notification; `None` where there is no whole answer.
fn post(server: &Server, body: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(server.address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let close = [("Connection", "close")];
    let request = server.bytes_of("POST", WEBHOOK, &close, body);
    stream.write_all(&request).ok()?;
    Some(Answer::read(&mut BufReader::new(stream), "POST")?.status)
}

/// Sends new episodes until it is over. Yields those that were answered 200.
fn send(server: &Server, next: &AtomicU32, over: &AtomicBool) -> Vec<u32> {
    let mut taken = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let n = next.fetch_add(1, Ordering::Relaxed);
        // Runs on web1 wait; those on the others end by themselves.
        let host = ["web1", "web2", "twin1", "twin2"][n as usize % 4];
        let binding = if host == "web1" { "waiting" } else { "quick" };
        let one = alert(&format!("A{n}"), host).label("for", binding);
        match post(server, &notification(&[one])) {
            Some(200) => taken.push(n),
            Some(503) | None => {}
            Some(status) => panic!("{status}"),
        }
        thread::sleep(Duration::from_millis(5));
    }
    taken
}

/// The runs of each alert.
fn runs_of_alerts(server: &Server) -> BTreeMap<String, Vec<u64>> {
    let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut query = "limit=1000".to_owned();
    loop {
        let page = server.data(&format!("runs?{query}"));
        for id in crate::support::ids(&page) {
            for episode in server.data(&format!("runs/{id}"))["episodes"]
                .as_array()
                .unwrap()
            {
                let name = episode["alertname"].as_str().unwrap().to_owned();
                found.entry(name).or_default().push(id);
            }
        }
        match page["next"].as_str() {
            Some(next) => query = format!("limit=1000&cursor={next}"),
            None => return found,
        }
    }
}

#[test]
fn an_end_under_load_comes_within_the_grace_and_loses_nothing() {
    let grace = Duration::from_secs(20);
    let site = Site::new()
        .runs("grace", "20s")
        .no_bindings()
        .binding("waiting", "[wait]", "")
        .binding("quick", "[ok]", "")
        .sections(UNGUARDED);
    let server = site.start();
    let (next, over) = (AtomicU32::new(0), AtomicBool::new(false));
    let (taken, after) = thread::scope(|scope| {
        let (server, next, over) = (&server, &next, &over);
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| scope.spawn(move || send(server, next, over)))
            .collect();
        server.wait("runs are under way and done", || {
            let journal = site.journal();
            let ends = journal
                .iter()
                .filter(|line| line.starts_with("end"))
                .count();
            ends > 5 && journal.len() > 2 * ends
        });
        let begin = Instant::now();
        server.signal(nix::sys::signal::Signal::SIGTERM);
        server.wait("the end", || TcpStream::connect(server.address).is_err());
        // Closed is not yet ended.
        while server.is_running() {
            assert!(begin.elapsed() < PATIENCE, "{}", server.log());
            thread::sleep(Duration::from_millis(10));
        }
        let after = begin.elapsed();
        over.store(true, Ordering::Relaxed);
        let taken: BTreeSet<u32> = senders
            .into_iter()
            .flat_map(|sender| sender.join().unwrap())
            .collect();
        (taken, after)
    });
    assert!(
        after < grace,
        "a run that obeys does not use its grace up: {after:?}"
    );
    assert!(
        server.log().contains("message=\"shut down\""),
        "{}",
        server.log()
    );
    assert!(server.stop().success());
    site.assert_nothing_left();
    let under_way = site
        .journal()
        .iter()
        .filter(|line| line.starts_with("begin"))
        .count();

    site.go();
    let server = site.start();
    server.wait("all runs finished", || {
        server.metric("promansible_runs_queued") + server.metric("promansible_runs_running") == 0.0
    });
    let runs = runs_of_alerts(&server);
    for n in &taken {
        let of = runs.get(&format!("A{n}")).map_or(&[][..], Vec::as_slice);
        assert_eq!(of.len(), 1, "A{n} was answered 200 and has the runs {of:?}");
    }
    let twice: Vec<_> = runs.iter().filter(|(_, ids)| ids.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for id in runs.values().flatten() {
        let outcome = server.run(*id)["outcome"].as_str().unwrap().to_owned();
        *outcomes.entry(outcome).or_default() += 1;
    }
    assert!(
        outcomes.contains_key("interrupted") && outcomes.contains_key("successful"),
        "{outcomes:?}"
    );
    assert_eq!(outcomes.len(), 2, "{outcomes:?}");
    let mut begun = BTreeSet::new();
    let journal = site.journal();
    for line in journal
        .iter()
        .filter_map(|line| line.strip_prefix("begin "))
    {
        let run = line.split(' ').next().unwrap();
        assert!(begun.insert(run.to_owned()), "run {run} was started twice");
    }
    assert!(begun.len() > under_way, "nothing was left to do: no load");
}

#[test]
fn an_end_under_a_run_that_ignores_signals_comes_soon_after_the_grace() {
    let grace = Duration::from_secs(2);
    let site = Site::new().runs("grace", "2s");
    site.write("bin/ansible-playbook", STUBBORN);
    let server = site.start();
    server.deliver(&[alert("A", "web1")]);
    server.wait("begun", || site.path("begun").exists());
    server.wait_run(1, "running");
    let begin = Instant::now();
    assert!(server.stop().success());
    let after = begin.elapsed();
    assert!(after >= grace, "it had its grace: {after:?}");
    assert!(after < grace * 10, "{after:?}");
    site.assert_nothing_left();
    let server = site.start();
    assert_eq!(server.run(1)["outcome"], "interrupted");
}
