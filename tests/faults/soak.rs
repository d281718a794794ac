//! A steady load for a long time, under which nothing grows. `make soak` gives it ten minutes, `make test` twenty seconds.
//!
//! A small script stands in for Ansible, or the machine would be busy with Python; `tests/e2e` runs the real one.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::flat::{Reading, assert_flat};
use crate::support::{Server, Site, alert};

const SHORT: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(250);

/// An alert resolves when so many others have fired after it.
const FIRING: u32 = 20;

const CONFIG: &str = "\
guards: {attempts: {max: 0}, storm: {max_hosts: 0}, circuit: {failures: 0}}
schedules:
  - {name: tick, cron: '* * * * *', roles: [tick], target: {hosts: [twin1]}, allow_overlap: true}
";

/// What people and Prometheus read; `RUN` is the last run.
const PAGES: [&str; 14] = [
    "/metrics",
    "/metrics/hosts",
    "/api/v1/runs?limit=50",
    "/api/v1/runs?role=ok&outcome=successful",
    "/api/v1/runs/RUN",
    "/api/v1/runs/RUN/output",
    "/api/v1/alerts",
    "/api/v1/alert-types",
    "/api/v1/roles/ok",
    "/api/v1/hosts",
    "/api/v1/schedules",
    "/",
    "/runs",
    "/runs/RUN",
];

/// What was done, and whether it goes on.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    fired: AtomicU32,
    read: AtomicU32,
    told: AtomicU32,
    reloaded: AtomicU32,
    scheduled: AtomicU32,
}

impl Load {
    /// Does something again and again, until it is over.
    fn every(&self, pause: Duration, counter: &AtomicU32, mut work: impl FnMut(u32)) {
        for n in 0.. {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            work(n);
            counter.fetch_add(1, Ordering::Relaxed);
            thread::sleep(pause);
        }
    }

    fn fire(&self, server: &Server) {
        let one = |n: u32| {
            let host = ["web1", "web2", "twin1", "twin2"][n as usize % 4];
            alert(&format!("A{}", n % 10), host).label("n", &n.to_string())
        };
        self.every(Duration::from_millis(400), &self.fired, |n| {
            server.deliver(&[one(n)]);
            if let Some(before) = n.checked_sub(FIRING) {
                server.deliver(&[one(before).resolved()]);
            }
        });
    }

    fn read(&self, server: &Server) {
        self.every(Duration::from_millis(100), &self.read, |n| {
            let last = server.list("limit=1").first().copied().unwrap_or(1);
            let page = PAGES[n as usize % PAGES.len()].replace("RUN", &last.to_string());
            let status = server.get(&page).status;
            assert!(
                status == 200 || (last == 1 && status == 404),
                "{page}: {status}"
            );
        });
    }

    /// Somebody watches, and comes again after a while.
    fn watch(&self, server: &Server) {
        let mut bytes = [0; 4096];
        while !self.over.load(Ordering::Relaxed) {
            let mut stream = server.connect();
            stream.set_read_timeout(Some(STEP)).unwrap();
            let request = server.bytes_of("GET", "/api/v1/events", &[], b"");
            stream.write_all(&request).unwrap();
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_secs(7) && !self.over.load(Ordering::Relaxed) {
                match stream.read(&mut bytes) {
                    Ok(0) => panic!("the stream of events ended"),
                    Ok(_) => {
                        self.told.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(e) => assert!(
                        matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                        "{e}"
                    ),
                }
            }
        }
    }

    fn reload(&self, server: &Server) {
        self.every(Duration::from_secs(3), &self.reloaded, |_| {
            server.signal(Signal::SIGHUP);
        });
    }

    fn start_schedule(&self, server: &Server) {
        self.every(Duration::from_secs(2), &self.scheduled, |_| {
            let answer = server.request("POST", "/api/v1/schedules/tick/run", &[], b"");
            assert_eq!(answer.status, 202, "{}", answer.text());
        });
    }
}

#[test]
fn soak_under_a_steady_load_nothing_grows() {
    let seconds = std::env::var("SOAK_SECONDS").ok();
    let duration = seconds.map_or(SHORT, |text| Duration::from_secs(text.parse().unwrap()));
    let site = Site::new().sections(CONFIG);
    fs::create_dir_all(site.path("playbook/routine/roles/tick")).unwrap();
    let server = site.start();
    let load = Load::default();
    let readings = thread::scope(|scope| {
        let (load, server) = (&load, &server);
        scope.spawn(|| load.fire(server));
        scope.spawn(|| load.read(server));
        scope.spawn(|| load.reload(server));
        scope.spawn(|| load.start_schedule(server));
        for _ in 0..5 {
            scope.spawn(|| load.watch(server));
        }
        let begin = Instant::now();
        let mut readings = Vec::new();
        while begin.elapsed() < duration {
            thread::sleep(STEP);
            readings.push(Reading::of(server.pid(), begin.elapsed()));
        }
        load.over.store(true, Ordering::Relaxed);
        readings
    });
    server.wait("all runs finished", || {
        server.metric("promansible_runs_queued") + server.metric("promansible_runs_running") == 0.0
    });
    let done = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
    let by_alert = server
        .metric("promansible_runs_total{outcome=\"successful\",role=\"ok\",trigger=\"alert\"}");
    eprintln!(
        "{} alerts fired, {by_alert} runs for them, {} reads, {} chunks of events, {} reloads, {} runs of a schedule; the store has {} bytes",
        done(&load.fired),
        done(&load.read),
        done(&load.told),
        done(&load.reloaded),
        done(&load.scheduled),
        fs::metadata(site.store()).unwrap().len(),
    );
    assert_eq!(
        by_alert,
        f64::from(done(&load.fired)),
        "each alert has its run"
    );
    assert!(done(&load.told) > 0 && done(&load.reloaded) > 1 && done(&load.scheduled) > 1);
    assert_eq!(
        server.metric("promansible_config_last_reload_successful"),
        1.0
    );
    assert!(!server.log().contains("panicked"));
    assert_flat(&readings, duration > SHORT * 10);
    site.assert_nothing_left();
}
