//! A sender of new alerts, as fast as it can, against a small `storage.retention.size`.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Server, Site, alert, notification};

const MEBIBYTE: u64 = 1 << 20;

/// Seconds and mebibytes: few by default. The whole of it: `PROMANSIBLE_FLOOD=60,64`.
fn measure() -> (Duration, u64) {
    let given = std::env::var("PROMANSIBLE_FLOOD").unwrap_or_else(|_| "10,8".into());
    let (seconds, mebibytes) = given.split_once(',').expect("seconds,mebibytes");
    let seconds = seconds.parse().expect("seconds");
    (
        Duration::from_secs(seconds),
        mebibytes.parse().expect("mebibytes"),
    )
}

/// What a sender was answered.
#[derive(Default)]
struct Answers {
    taken: AtomicU32,
    refused: AtomicU32,
}

/// Sends notifications of new alerts until the time is over: small and many, or few and large.
fn flood(
    server: &Server,
    kind: usize,
    binding: Option<&str>,
    (over, answers): (&AtomicBool, &Answers),
) {
    let (alerts, bytes) = [(200, 300), (20, 4_000), (2, 300_000)][kind];
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        number += 1;
        let alerts: Vec<_> = (0..alerts)
            .map(|n| {
                // The inventory has no such host: it fires, and never runs.
                let host = format!("nowhere-{kind}-{number}-{n}");
                let new = alert("Flood", &host).annotation("text", &"x".repeat(bytes));
                binding.map_or(new.clone(), |binding| new.label("for", binding))
            })
            .collect();
        let answer = server.post(&notification(&alerts));
        let of = match answer.status {
            200 => &answers.taken,
            503 => &answers.refused,
            other => panic!("{other}: {}", answer.text()),
        };
        of.fetch_add(1, Ordering::Relaxed);
    }
}

fn file_mebibytes(site: &Site) -> u64 {
    fs::metadata(site.store()).unwrap().len().div_ceil(MEBIBYTE)
}

fn site(limit: u64) -> Site {
    let unguarded = "guards: {attempts: {max: 0}, storm: {max_hosts: 0}, circuit: {failures: 0}}\n";
    Site::new()
        .retention_size(&format!("{limit}MiB"))
        .no_bindings()
        .binding("mine", "[wait]", "")
        .binding("flooded", "[ok]", "")
        .sections(unguarded)
}

/// What became of a flood: how often it was taken and refused, and what was taken of others meanwhile.
struct Flooded {
    taken: u32,
    refused: u32,
    mine: BTreeSet<String>,
}

/// Floods it for a time, and tells it of other alerts meanwhile. The file stays within twice its limit.
fn flooded(
    site: &Site,
    server: &Server,
    (time, limit): (Duration, u64),
    binding: Option<&str>,
) -> Flooded {
    let (over, answers) = (AtomicBool::new(false), Answers::default());
    let (mut mine, mut largest) = (BTreeSet::new(), 0);
    thread::scope(|scope| {
        for kind in 0..3 {
            let of = (&over, &answers);
            scope.spawn(move || flood(server, kind, binding, of));
        }
        let begun = Instant::now();
        let mut number = 0;
        while begun.elapsed() < time {
            let name = format!("Mine{number}");
            let told = alert(&name, "web1").label("for", "mine");
            let answer = server.post(&notification(&[told]));
            match answer.status {
                200 => {
                    mine.insert(name);
                }
                503 => {}
                other => panic!("{other}: {}", answer.text()),
            }
            number += 1;
            largest = largest.max(file_mebibytes(site));
            assert_eq!(server.get("/-/healthy").status, 200);
            thread::sleep(Duration::from_millis(100));
        }
        over.store(true, Ordering::Relaxed);
    });
    let (taken, refused) = (answers.taken.into_inner(), answers.refused.into_inner());
    let others = mine.len();
    eprintln!("{taken} taken, {refused} refused, {others} of others taken, {largest} MiB at most");
    assert!(taken > 0 && others > 0);
    assert!(largest <= 2 * limit, "{largest} MiB of {limit}");
    Flooded {
        taken,
        refused,
        mine,
    }
}

/// Every run that was promised is there.
#[track_caller]
fn assert_promised(server: &Server, mine: &BTreeSet<String>) {
    let mut names = BTreeSet::new();
    for id in server.list("limit=1000&binding=mine") {
        let run = server.data(&format!("runs/{id}"));
        for episode in run["episodes"].as_array().unwrap() {
            names.insert(episode["alertname"].as_str().unwrap().to_owned());
        }
    }
    let lost: Vec<_> = mine.difference(&names).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[test]
fn a_flood_of_alerts_of_no_binding_loses_nothing_that_was_taken_and_the_file_shrinks_again() {
    let (time, limit) = measure();
    let site = site(limit);
    let server = site.start();
    let Flooded { mine, .. } = flooded(&site, &server, (time, limit), None);
    assert_promised(&server, &mine);
    server.kill();
    let server = site.start();
    assert_promised(&server, &mine);
    server.wait("the file shrinks", || file_mebibytes(&site) <= limit);
    assert_promised(&server, &mine);
    site.go();
    server.wait("all runs finished", || {
        server.metric("promansible_runs_queued") + server.metric("promansible_runs_running") == 0.0
    });
}

#[test]
fn a_flood_of_alerts_under_a_binding_is_refused_when_the_history_is_full() {
    let (time, limit) = measure();
    let site = site(limit);
    let server = site.start();
    let of = flooded(&site, &server, (time, limit), Some("flooded"));
    assert!(of.refused > 0, "{} taken and none refused", of.taken);
    assert_promised(&server, &of.mine);
    // What is known is told again, and taken.
    let known = of.mine.first().expect("one was taken");
    let again = alert(known, "web1").label("for", "mine");
    assert!(server.deliver(&[again]).contains("1 duplicate"));
    server.kill();
    assert_promised(&site.start(), &of.mine);
}
