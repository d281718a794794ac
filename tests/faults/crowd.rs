//! Ten thousand slow clients.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::support::{PATIENCE, Server, Site, alert};

const CROWD: usize = 10_000;

/// What the server needs beside the connections, and the test beside its own.
const OTHERS: u64 = 200;

/// Two crowds are more than a process may have.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How large a crowd this machine allows.
fn crowd() -> usize {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let wanted = (CROWD as u64 + OTHERS).min(hard);
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).unwrap();
    }
    let crowd = CROWD.min(usize::try_from(wanted - OTHERS).unwrap());
    if crowd < CROWD {
        eprintln!(
            "{crowd} connections instead of {CROWD}: no more files may be open here (ulimit -Hn)"
        );
    }
    crowd
}

/// How a client is slow.
const BEGINNINGS: [&str; 3] = [
    "",
    "POST /api/v1/webhook HT",
    "POST /api/v1/webhook HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"version\"",
];

struct Slow(Vec<TcpStream>);

impl Slow {
    /// Connects them, and lets somebody look now and then.
    fn connect(server: &Server, count: usize, mut look: impl FnMut(usize)) -> Self {
        let mut all = Vec::with_capacity(count);
        for n in 0..count {
            let mut stream = server.connect();
            let _ = stream.write_all(BEGINNINGS[n % BEGINNINGS.len()].as_bytes());
            all.push(stream);
            if n % 1000 == 999 {
                look(n);
            }
        }
        Self(all)
    }

    /// Each sends another byte, as far as it still can.
    fn trickle(&mut self) {
        for (n, stream) in self.0.iter_mut().enumerate() {
            let bytes: &[u8] = if n % BEGINNINGS.len() == 0 { b"" } else { b"x" };
            let _ = stream.write(bytes);
        }
    }

    /// How many the server has not ended.
    fn open(&mut self) -> usize {
        let is_open = |stream: &mut TcpStream| {
            stream.set_nonblocking(true).unwrap();
            let mut bytes = [0; 512];
            loop {
                match stream.read(&mut bytes) {
                    Ok(0) => return false,
                    // An answer to a slow body; the end comes behind it.
                    Ok(_) => {}
                    Err(e) => return e.kind() == ErrorKind::WouldBlock,
                }
            }
        };
        self.0
            .iter_mut()
            .filter_map(|stream| is_open(stream).then_some(()))
            .count()
    }
}

/// Files and connections that the server has open.
fn descriptors(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid()))
        .unwrap()
        .count()
}

fn count(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap())
}

#[track_caller]
fn assert_serves(server: &Server, name: &str) {
    server.deliver(&[alert(name, "web1")]);
    assert!(
        server
            .get("/metrics")
            .text()
            .contains("promansible_notifications_total")
    );
    assert_eq!(server.get("/-/healthy").status, 200);
}

fn assert_back(server: &Server, before: usize) {
    // The store's reading, or a run, may have some of its own at this moment.
    server.wait("descriptors back", || descriptors(server) <= before + 8);
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(!log.contains("cannot accept a connection"), "{log}");
}

#[test]
fn ten_thousand_slow_clients_keep_nobody_out() {
    let _alone = alone();
    let crowd = crowd();
    // In the time that they are given here, nobody would be served if they had to end by themselves.
    let site = Site::new()
        .receiver("header_timeout", "10m")
        .receiver("body_timeout", "10m");
    let server = site.start();
    assert_serves(&server, "before");
    let before = descriptors(&server);
    let mut slow = Slow::connect(&server, crowd, |n| {
        assert_serves(&server, &format!("with {n}"));
    });
    slow.trickle();
    assert_serves(&server, "with all");
    let most = 1024;
    let open = slow.open();
    assert!(
        open <= most && open > most / 2,
        "{open} of {most} places are theirs"
    );
    assert!(descriptors(&server) < most + before + 8);
    assert!(server.metric("promansible_connections_limited_total") >= count(crowd - most));
    drop(slow);
    assert_back(&server, before);
    assert_serves(&server, "after");
}

#[test]
fn ten_thousand_slow_clients_with_a_place_each_are_ended_by_the_time_outs() {
    let _alone = alone();
    let crowd = crowd();
    let hard = getrlimit(Resource::RLIMIT_NOFILE).unwrap().1;
    let site = Site::new()
        .receiver("header_timeout", "10s")
        .receiver("body_timeout", "10s")
        .receiver("max_connections", &(crowd + 100).to_string());
    // What most services are started with.
    let inner = site.command();
    let mut command = Command::new("prlimit");
    command
        .arg(format!("--nofile=1024:{hard}"))
        .arg(inner.get_program())
        .args(inner.get_args());
    let server = Server::start(command);
    server.wait("ready", || server.get("/-/ready").status == 200);
    let before = descriptors(&server);
    let mut slow = Slow::connect(&server, crowd, |n| {
        assert_serves(&server, &format!("with {n}"));
    });
    assert_serves(&server, "with all");
    let held = descriptors(&server) - before;
    assert!(held > crowd / 2, "{held} of {crowd} at once");
    let begin = Instant::now();
    while slow.open() > 0 {
        assert!(
            begin.elapsed() < PATIENCE,
            "{} are open for ever",
            slow.open()
        );
        slow.trickle();
        assert_eq!(server.get("/-/healthy").status, 200);
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_back(&server, before);
    assert!(server.answered(503) >= count(crowd / BEGINNINGS.len()));
    assert_serves(&server, "after");
}
