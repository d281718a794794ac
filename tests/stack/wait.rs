//! Waiting with a limit, and failing with everything that helps.

use std::fmt;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::process::Process;

/// What went wrong, as a text for a person; it may hold the ends of logs.
pub struct Failure(pub String);

impl Failure {
    /// A failure with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The same, with the ends of these processes' logs.
    #[must_use]
    pub fn with_logs<'a>(mut self, processes: impl IntoIterator<Item = &'a Process>) -> Self {
        for process in processes {
            self.0.push_str(&process.tail(25));
        }
        self
    }
}

// A test that returns it prints it with {:?}.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Set where a person asked for the end: every wait then fails at once, so that everything is torn down.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// How often conditions are looked at.
const STEP: Duration = Duration::from_millis(20);

/// Waits until `look` returns something.
///
/// *Errors*: says what was awaited, how long, and the last `Err` of `look`, if it returned any.
pub fn wait_until<T>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let begin = Instant::now();
    loop {
        let last = match look() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => None,
            Err(failure) => Some(failure),
        };
        if STOP.load(Ordering::Relaxed) {
            return Err(Failure::new(format!("stopped while waiting for {what}")));
        }
        if begin.elapsed() >= limit {
            let last = last.map_or_else(String::new, |l| format!("; the last look said: {l}"));
            return Err(Failure::new(format!(
                "waited {} s in vain for {what}{last}",
                limit.as_secs_f64()
            )));
        }
        std::thread::sleep(STEP);
    }
}

/// A port of 127.0.0.1 that was free a moment ago.
pub fn free_port() -> Result<u16, Failure> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|e| Failure::new(format!("no free port on 127.0.0.1: {e}")))
}

/// Starts a server on a free port and waits until it is ready.
///
/// Between looking for a port and binding it another program can take it, so a server that ends at once is started
/// again on another port.
pub fn on_free_port(
    what: &str,
    limit: Duration,
    start: impl Fn(u16) -> Result<Process, Failure>,
    ready: impl Fn(u16) -> bool,
) -> Result<(Process, u16), Failure> {
    const TRIES: u32 = 3;
    let mut tries = 0;
    loop {
        tries += 1;
        let port = free_port()?;
        let mut process = start(port)?;
        let outcome = wait_until(limit, what, || match process.exited() {
            Some(status) => Ok(Some(Err(status))),
            None => Ok(ready(port).then_some(Ok(()))),
        });
        match outcome {
            Ok(Ok(())) => return Ok((process, port)),
            Ok(Err(_)) if tries < TRIES => {}
            Ok(Err(status)) => {
                return Err(
                    Failure::new(format!("{what} did not start: {status}")).with_logs([&process])
                );
            }
            Err(failure) => return Err(failure.with_logs([&process])),
        }
    }
}

/// The time of day, to set beside the times that servers tell.
#[allow(clippy::disallowed_methods)] // the tests are an edge of their own
pub fn now() -> DateTime<Utc> {
    Utc::now()
}
