//! A disk that is full in the middle of commits.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::small_disk::SmallDisk;
use crate::support::{PATIENCE, Server, Site, alert, notification};

/// How many alerts a notification has: all of it is kept, or nothing.
const HOSTS: [&str; 3] = ["web1", "web2", "twin1"];

/// What Alertmanager was told of the notifications that it sent.
#[derive(Default)]
struct Told {
    taken: Vec<u32>,
    refused: Vec<u32>,
}

fn send(server: &Server, n: u32) -> u16 {
    let alerts = HOSTS.map(|host| {
        alert(&format!("A{n}"), host)
            .label("for", "a")
            .annotation("filler", &"x".repeat(7000))
    });
    let answer = server.post(&notification(&alerts));
    let (status, text) = (answer.status, answer.text());
    assert!(
        status == 200 || (status == 503 && text.matches("the store is broken").count() == 1),
        "{status}: {text}"
    );
    status
}

/// Several senders at once, so that commits hold several notifications, until some are refused.
fn until_full(server: &Server, round: u32) -> Told {
    let mut told = Told::default();
    let numbers: Vec<u32> = (round * 1000 + 1..round * 1000 + 1000).collect();
    for some in numbers.chunks(4) {
        let answers: Vec<u16> = thread::scope(|scope| {
            let asked: Vec<_> = some
                .iter()
                .map(|n| scope.spawn(|| send(server, *n)))
                .collect();
            asked.into_iter().map(|one| one.join().unwrap()).collect()
        });
        for (n, status) in some.iter().zip(answers) {
            let of = if status == 200 {
                &mut told.taken
            } else {
                &mut told.refused
            };
            of.push(*n);
        }
        if told.refused.len() >= 12 {
            return told;
        }
    }
    panic!("the disk never was full");
}

/// How often each alert name is in the history, with all of its hosts.
fn kept(server: &Server) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for id in server.list("limit=1000") {
        let run = server.data(&format!("runs/{id}"));
        for episode in run["episodes"].as_array().unwrap() {
            let name = episode["alertname"].as_str().unwrap();
            *found.entry(name.to_owned()).or_default() += 1;
        }
    }
    found
}

/// What was taken is there once, and nothing is there in part.
#[track_caller]
fn assert_kept(server: &Server, told: &Told) {
    let kept = kept(server);
    for (name, episodes) in &kept {
        assert_eq!(*episodes, HOSTS.len(), "{name} is there in part or twice");
    }
    for n in &told.taken {
        assert!(
            kept.contains_key(&format!("A{n}")),
            "A{n} was taken and is lost"
        );
    }
    // Kept although it was refused would do no harm, since the next try is a duplicate; but it is not so.
    for n in &told.refused {
        assert!(
            !kept.contains_key(&format!("A{n}")),
            "A{n} was refused and is there"
        );
    }
}

/// A server on a small disk, with a run that waits, and others that wait for it.
fn on_a_small_disk() -> Option<(Site, SmallDisk, Server)> {
    let unguarded = "guards: {attempts: {max: 0}, storm: {max_hosts: 0}, circuit: {failures: 0}}\n";
    let site = Site::new()
        .no_bindings()
        .binding("a", "[wait]", "")
        .sections(unguarded);
    let Some(disk) = SmallDisk::under(&site, 6) else {
        eprintln!("left out: no tmpfs can be mounted here");
        return None;
    };
    let server = start(&site, &disk);
    assert_eq!(send(&server, 0), 200);
    server.wait_run(1, "running");
    Some((site, disk, server))
}

/// Starts it, and kills it when it listens; what it said where it does not.
fn refusal_or_listens(site: &Site, disk: &SmallDisk) -> Option<String> {
    let log = site.path("probe.log");
    let mut child = disk
        .inside(&site.command())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    let said = || fs::read_to_string(&log).unwrap();
    loop {
        assert!(begin.elapsed() < PATIENCE, "{}", said());
        if let Some(status) = child.try_wait().unwrap() {
            assert_eq!(status.code(), Some(1), "{}", said());
            return Some(said());
        }
        if said().contains("listening") {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn start(site: &Site, disk: &SmallDisk) -> Server {
    let server = Server::start(disk.inside(&site.command()));
    server.wait("ready", || server.get("/-/ready").status == 200);
    server
}

#[test]
fn notifications_are_refused_while_the_disk_is_full_and_taken_when_there_is_space() {
    let Some((site, disk, server)) = on_a_small_disk() else {
        return;
    };
    // Not only at one place of a commit.
    let mut told = Told {
        taken: vec![0],
        ..Told::default()
    };
    for round in 0..6_u32 {
        disk.fill_but(u64::from(round) * 37_000);
        let more = until_full(&server, round);
        assert_eq!(server.get("/-/healthy").status, 200);
        assert_eq!(server.get("/metrics").status, 200);
        let ready = server.get("/-/ready");
        let why = ready.text();
        assert_eq!(ready.status, 503, "{why}");
        assert!(why.contains("No space left on device"), "{why}");
        assert_eq!(why.matches("the store is broken").count(), 1, "{why}");
        disk.free();
        // Nobody has to send anything for that.
        server.wait("ready again", || server.get("/-/ready").status == 200);
        // Alertmanager comes again.
        server.wait("taken again", || send(&server, more.refused[0]) == 200);
        for n in &more.refused[1..] {
            assert_eq!(send(&server, *n), 200, "A{n}");
        }
        told.taken.extend(more.taken);
        told.taken.extend(more.refused);
        assert_kept(&server, &told);
    }
    finish_all(&site, &server);
    assert_kept(&server, &told);
    server.kill();
    assert_kept(&start(&site, &disk), &told);
}

/// All runs go on and come to their ends, whatever they met while the disk was full.
fn finish_all(site: &Site, server: &Server) {
    site.go();
    server.wait("all runs finished", || {
        server.metric("promansible_runs_queued") + server.metric("promansible_runs_running") == 0.0
    });
    site.assert_nothing_left();
    let mut began = BTreeMap::new();
    for line in site.journal() {
        if let Some(run) = line.strip_prefix("begin ") {
            let run = run.split(' ').next().unwrap().to_owned();
            *began.entry(run).or_insert(0) += 1;
        }
    }
    let twice: Vec<_> = began.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

#[test]
fn killed_while_the_disk_is_full_the_store_opens_again_and_holds_what_was_taken() {
    let Some((site, disk, mut server)) = on_a_small_disk() else {
        return;
    };
    let mut told = Told {
        taken: vec![0],
        ..Told::default()
    };
    for round in 0..4_u32 {
        disk.fill_but(u64::from(round) * 37_000);
        let more = until_full(&server, round);
        server.kill();
        told.taken.extend(more.taken);
        told.refused.extend(more.refused);
        // While it is full it may be refused, in words, and nothing is spoilt by that.
        disk.fill_but(0);
        if let Some(error) = refusal_or_listens(&site, &disk) {
            assert!(error.contains("data/store.redb"), "{error}");
            assert!(error.contains("No space left on device"), "{error}");
            assert!(!error.contains("panicked"), "{error}");
        }
        disk.free();
        server = start(&site, &disk);
        assert_kept(&server, &told);
        for n in std::mem::take(&mut told.refused) {
            assert_eq!(send(&server, n), 200, "A{n}");
            told.taken.push(n);
        }
    }
    finish_all(&site, &server);
    assert_kept(&server, &told);
}
