//! A sender of new alerts, as fast as it can, against a small `storage.retention.size`.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::bench::{Server, Site, alert, notification};

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

/// Sends notifications of new alerts until the time is over. `matching` ones have a binding, and hosts that are not
/// there: they fire, and never run.
fn flood(server: &Server, kind: u32, over: &AtomicBool, answers: &Answers) {
    // Small and many, or few and large.
    let (alerts, bytes) = [(200, 300), (20, 4_000), (2, 300_000)][kind as usize % 3];
    let matching = kind % 2 == 0;
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let alerts: Vec<_> = (0..alerts)
            .map(|n| {
                let host = format!("nowhere-{kind}-{number}-{n}");
                let new = alert("Flood", &host).annotation("text", &"x".repeat(bytes));
                if matching {
                    new.label("for", "flooded")
                } else {
                    new
                }
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

#[test]
fn a_flood_of_new_alerts_keeps_the_file_within_twice_its_limit_and_loses_nothing_that_was_taken() {
    let (time, limit) = measure();
    let unguarded = "guards: {attempts: {max: 0}, storm: {max_hosts: 0}, circuit: {failures: 0}}\n";
    let site = Site::new()
        .retention_size(&format!("{limit}MiB"))
        .no_bindings()
        .binding("mine", "[wait]", "")
        .binding("flooded", "[ok]", "")
        .sections(unguarded);
    let server = site.start();
    let (over, answers) = (AtomicBool::new(false), Answers::default());
    let mut mine = BTreeSet::new();
    let mut largest = 0;
    thread::scope(|scope| {
        for kind in 0..3 {
            let (server, over, answers) = (&server, &over, &answers);
            scope.spawn(move || flood(server, kind, over, answers));
        }
        // Others are told of meanwhile.
        let begun = Instant::now();
        let mut number = 0;
        while begun.elapsed() < time {
            let name = format!("Mine{number}");
            let told = alert(&name, "web1").label("for", "mine");
            let answer = server.post(&notification(&[told]));
            match answer.status {
                200 => drop(mine.insert(name)),
                503 => {}
                other => panic!("{other}: {}", answer.text()),
            }
            number += 1;
            largest = largest.max(file_mebibytes(&site));
            assert_eq!(server.get("/-/healthy").status, 200);
            thread::sleep(Duration::from_millis(100));
        }
        over.store(true, Ordering::Relaxed);
    });
    let (taken, refused) = (answers.taken.into_inner(), answers.refused.into_inner());
    eprintln!(
        "{taken} taken, {refused} refused, {} of others taken, {largest} MiB at most",
        mine.len()
    );
    assert!(taken > 0 && !mine.is_empty());
    assert!(largest <= 2 * limit, "{largest} MiB of {limit}");
    // Every run that was promised is there, now and after an end in the middle of it.
    let promised = |server: &Server| {
        let open = server.list("limit=1000&binding=mine");
        let names: BTreeSet<String> = open
            .iter()
            .flat_map(|id| {
                let run = server.data(&format!("runs/{id}"));
                let episodes = run["episodes"].as_array().unwrap().clone();
                let names = episodes.into_iter();
                names.map(|of| of["alertname"].as_str().unwrap().to_owned())
            })
            .collect();
        let lost: Vec<_> = mine.difference(&names).collect();
        assert!(lost.is_empty(), "{lost:?}");
    };
    promised(&server);
    server.kill();
    let server = site.start();
    promised(&server);
    // What fired under no binding goes, and the space with it.
    server.wait("the file shrinks", || file_mebibytes(&site) <= limit);
    promised(&server);
    site.go();
    server.wait("all runs finished", || {
        server.metric("promansible_runs_queued") + server.metric("promansible_runs_running") == 0.0
    });
}
