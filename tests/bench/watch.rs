//! What it costs that many clients watch a run which tells a lot.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::client::Client;
use super::server::{Server, Site};
use super::table::Table;
use super::{Failure, alerts};

const WATCHERS: usize = 200;
const EVENTS_PER_SECOND: u32 = 100;

/// How long the server's CPU time is taken.
const DURING: Duration = Duration::from_secs(10);

pub(crate) fn measure(table: &mut Table) -> Result<(), Failure> {
    let site = Site::new(
        "{batch_window: 0}",
        &format!(
            "  - name: disk
    matchers: ['alertname = \"{}\"']
    roles: [notify]",
            alerts::ALERTNAME
        ),
    )?;
    let server = Server::start(&site)?;
    server.settle()?;
    let alone = cpu_while_a_run_tells(&server, 1, 0)?;
    let watched = cpu_while_a_run_tells(&server, 2, WATCHERS)?;
    let percent = |cpu: Duration| cpu.as_secs_f64() / DURING.as_secs_f64() * 100.0;
    table.note(
        &format!("a run that tells {EVENTS_PER_SECOND} events a second"),
        &format!("{:.1} % of a core", percent(alone)),
    );
    let more = percent(watched) - percent(alone);
    table.goal(
        &format!("  and {WATCHERS} clients that watch it"),
        &format!("{more:.1} % of a core more"),
        "< 5 %",
        more < 5.0,
    );
    server.stop()
}

/// The server's CPU time over some seconds in the middle of a run, which is the server's `number`th.
fn cpu_while_a_run_tells(
    server: &Server,
    number: u64,
    watchers: usize,
) -> Result<Duration, Failure> {
    let mut client = Client::connect(server.port)?;
    let seconds = DURING.as_secs() + 4;
    let body = format!(
        r#"{{"roles":["notify"],"target":{{"hosts":["{}"]}},"vars":{{"bench_events":{},"bench_per_second":{EVENTS_PER_SECOND}}}}}"#,
        alerts::host(0),
        seconds * u64::from(EVENTS_PER_SECOND),
    );
    client.post("/api/v1/runs", &body)?;
    let path = format!("/api/v1/runs/{number}/events");
    let mut streams = (0..watchers)
        .map(|_| open(server.port, &path))
        .collect::<Result<Vec<_>, _>>()?;
    let told = |streams: &mut [Watcher], during: Duration| -> Result<(), Failure> {
        let begin = Instant::now();
        while begin.elapsed() < during {
            for stream in &mut *streams {
                stream.read()?;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    };
    told(&mut streams, Duration::from_secs(2))?;
    let before = server.cpu()?;
    told(&mut streams, DURING)?;
    let cpu = server.cpu()?.saturating_sub(before);
    // The first connection was silent for longer than a server waits.
    let mut client = Client::connect(server.port)?;
    let begin = Instant::now();
    while client.data(&format!("/api/v1/runs/{number}"))?["run"]["state"] != "finished" {
        if begin.elapsed() > Duration::from_secs(30) {
            return Err("the run does not end".into());
        }
        told(&mut streams, Duration::from_millis(200))?;
    }
    told(&mut streams, Duration::from_secs(1))?;
    // What is kept is what everybody is to be told, once.
    let mut client = Client::connect(server.port)?;
    let kept = client.data(&format!("/api/v1/runs/{number}"))?;
    let wanted = kept["events"].as_array().map_or(0, Vec::len);
    if wanted < usize::try_from(seconds)? * EVENTS_PER_SECOND as usize {
        return Err(format!("the run kept {wanted} events only").into());
    }
    match streams.iter().find(|stream| stream.tasks != wanted) {
        Some(stream) => {
            Err(format!("a client was told {} of {wanted} events", stream.tasks).into())
        }
        None => Ok(cpu),
    }
}

/// A client that counts the tasks it is told.
struct Watcher {
    stream: TcpStream,
    tasks: usize,
    /// The last bytes, in which an event's name may begin.
    rest: Vec<u8>,
}

fn open(port: u16, path: &str) -> Result<Watcher, Failure> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
    stream.set_nonblocking(true)?;
    Ok(Watcher {
        stream,
        tasks: 0,
        rest: Vec::new(),
    })
}

impl Watcher {
    fn read(&mut self) -> Result<(), Failure> {
        const NAME: &[u8] = b"event: task\n";
        let mut chunk = [0; 16 << 10];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(n) => {
                    self.rest.extend_from_slice(&chunk[..n]);
                    self.tasks += memchr::memmem::find_iter(&self.rest, NAME).count();
                    // Too short to hold a whole name, so that none is counted twice.
                    let keep = self.rest.len().min(NAME.len() - 1);
                    self.rest.drain(..self.rest.len() - keep);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
    }
}
