//! The binary, serving.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::{Alert, Answer, PATIENCE, notification};

pub const WEBHOOK: &str = "/api/v1/webhook";

pub fn ids(list: &Value) -> Vec<u64> {
    let runs = list["runs"].as_array().unwrap();
    runs.iter().map(|run| run["id"].as_u64().unwrap()).collect()
}

/// A promansible that serves. Dropping it kills it.
pub struct Server {
    child: Child,
    log: Arc<Mutex<String>>,
    pub address: SocketAddr,
    #[allow(dead_code)] // held, not looked at
    site: Option<Arc<TempDir>>,
}

impl Server {
    /// Its site's folder stays until it is gone.
    pub fn keeping(mut self, site: Arc<TempDir>) -> Self {
        self.site = Some(site);
        self
    }

    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, kept) = (child.stderr.take().unwrap(), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        let mut server = Self {
            child,
            log,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            site: None,
        };
        let found = || {
            let log = server.log();
            let line = log.lines().find(|line| line.contains("listening"))?;
            let at = line.split("address=").nth(1)?;
            at.split_whitespace().next()?.trim_matches('"').parse().ok()
        };
        let begin = Instant::now();
        server.address = loop {
            if let Some(address) = found() {
                break address;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "it does not listen:\n{}",
                server.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        };
        server
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(
            Pid::from_raw(i32::try_from(self.child.id()).unwrap()),
            signal,
        )
        .unwrap();
    }

    /// Whether it has not ended yet; one that has is a zombie until it is asked for its status.
    pub fn is_running(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        !stat.rsplit(')').next().unwrap().starts_with(" Z")
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.child.wait().unwrap()
    }

    /// How it ended by itself.
    pub fn ended(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub fn kill(self) {
        drop(self);
    }

    #[track_caller]
    pub fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !done() {
            assert!(
                begin.elapsed() < PATIENCE,
                "not {what} in time:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        self.wait(text, || self.log().contains(text));
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut stream = self.connect();
        let mut all = vec![("Connection", "close")];
        all.extend(headers);
        // An early refusal may break the sending off: the answer is what counts.
        let _ = stream.write_all(&self.bytes_of(method, path, &all, body));
        Answer::read(&mut BufReader::new(stream), method).expect("an answer")
    }

    /// Sends a request word for word.
    pub fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        Answer::read(&mut BufReader::new(stream), "").expect("an answer")
    }

    /// A request as it is on the wire.
    pub fn bytes_of(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Vec<u8> {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let framed = headers.iter().any(|(name, _)| {
            ["content-length", "transfer-encoding"].contains(&name.to_lowercase().as_str())
        });
        if !framed && !body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    /// Sends a body to the receiver.
    pub fn post(&self, body: &[u8]) -> Answer {
        self.request(
            "POST",
            WEBHOOK,
            &[("Content-Type", "application/json")],
            body,
        )
    }

    /// Sends alerts, which must be taken; yields what was said.
    #[track_caller]
    pub fn deliver(&self, alerts: &[Alert]) -> String {
        let answer = self.post(&notification(alerts));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    /// The `data` of an answer of the API.
    #[track_caller]
    pub fn data(&self, path: &str) -> Value {
        let answer = self.get(&format!("/api/v1/{path}"));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let mut envelope: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(envelope["status"], "success");
        envelope["data"].take()
    }

    #[track_caller]
    pub fn run(&self, id: u64) -> Value {
        self.data(&format!("runs/{id}"))["run"].take()
    }

    /// The numbers of the runs of a list, newest first.
    #[track_caller]
    pub fn list(&self, query: &str) -> Vec<u64> {
        ids(&self.data(&format!("runs?{query}")))
    }

    /// Waits until a run is in this state, and yields it.
    #[track_caller]
    pub fn wait_run(&self, id: u64, state: &str) -> Value {
        self.wait(&format!("run {id} {state}"), || {
            self.get(&format!("/api/v1/runs/{id}")).status == 200 && self.run(id)["state"] == state
        });
        self.run(id)
    }

    /// Asks for a run.
    pub fn start_run(&self, body: &str) -> Answer {
        let headers = [("Content-Type", "application/json")];
        self.request("POST", "/api/v1/runs", &headers, body.as_bytes())
    }

    /// Asks for a run, which must be taken; yields its number.
    #[track_caller]
    pub fn started_run(&self, body: &str) -> u64 {
        let answer = self.start_run(body);
        assert_eq!(answer.status, 202, "{}", answer.text());
        let envelope: Value = serde_json::from_slice(&answer.body).unwrap();
        envelope["data"]["id"].as_u64().unwrap()
    }

    pub fn cancel(&self, id: u64) -> Answer {
        self.request("POST", &format!("/api/v1/runs/{id}/cancel"), &[], b"")
    }

    /// The value of one series, which must be there.
    #[track_caller]
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics").text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}"))
            .parse()
            .unwrap()
    }

    /// How often this was decided.
    #[track_caller]
    pub fn decided(&self, binding: &str, decision: &str) -> f64 {
        self.metric(&format!(
            "promansible_decisions_total{{binding=\"{binding}\",decision=\"{decision}\"}}"
        ))
    }

    #[track_caller]
    pub fn answered(&self, code: u16) -> f64 {
        self.metric(&format!(
            "promansible_notifications_total{{code=\"{code}\"}}"
        ))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
