//! A door under attack: guessers of passwords, clients that take nothing, floods of headers and of refused requests.
//!
//! They come from other addresses than Alertmanager, and are more than there are connections. Meanwhile every notification is
//! answered, memory and log stay bounded, and the audit list holds what was done and nothing else.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::support::http2::{get, preface, tls};
use crate::support::{Pki, Server, Site, WEBHOOK, alert, notification};

const RECEIVE: &str = "receive-0123456789abcdef";
const OPERATE: &str = "operate-0123456789abcdef";

/// How many there are of each kind.
const GUESSERS: usize = 1500;
const DEAF: usize = 1500;
const HEADERS: usize = 100;
const REFUSED: usize = 20;

/// How long they have to come, and how long notifications are sent then.
const BEGINNING: Duration = Duration::from_secs(10);
const ATTACK: Duration = Duration::from_secs(15);

fn site() -> (Site, Pki) {
    // Half of the default: this build is not optimised, and its connections are larger.
    let site = Site::new().receiver("max_connections", "512");
    let site = site.no_bindings().sections(
        "web:\n  tokens:\n    - {name: am, file: SITE/am.token, scopes: [receive]}\n    - {name: ops, file: SITE/ops.token, scopes: [operate]}\n",
    );
    site.secret("am.token", RECEIVE);
    site.secret("ops.token", OPERATE);
    let pki = Pki::new(&site.path("pki"), "authority");
    pki.issue("server", &["127.0.0.1"]);
    let hash = bcrypt::hash("hunter2", 10).unwrap();
    site.secret(
        "web.yml",
        &format!(
            "tls_server_config: {{cert_file: pki/server.pem, key_file: pki/server.key}}\nbasic_auth_users: {{alice: '{hash}'}}\n"
        ),
    );
    let file = format!("--web.config.file={}", site.path("web.yml").display());
    (site.arg(&file), pki)
}

/// With the log that people have.
fn start(site: &Site) -> Server {
    let inner = site.command();
    let mut command = Command::new(inner.get_program());
    let args = inner.get_args();
    command.args(args.filter(|arg| *arg != "--log.level=debug"));
    let server = Server::start(command);
    server.wait_for_log("inventory read");
    server
}

/// The attackers, and what they attack.
#[derive(Clone)]
struct Attack {
    address: SocketAddr,
    old: Arc<ClientConfig>,
    new: Arc<ClientConfig>,
    is_over: Arc<AtomicBool>,
    /// How many connections there were in all.
    came: Arc<AtomicUsize>,
    /// How many answers they got.
    answers: Arc<AtomicUsize>,
}

type Stream = TlsStream<tokio::net::TcpStream>;

impl Attack {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    /// Connects, from one of three addresses that are not Alertmanager's.
    async fn connect(&self, number: usize, config: &Arc<ClientConfig>) -> std::io::Result<Stream> {
        let from = u8::try_from(2 + number % 3).unwrap();
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, from], 0)))?;
        let stream = socket.connect(self.address).await?;
        let name = IpAddr::from([127, 0, 0, 1]).into();
        let stream = TlsConnector::from(Arc::clone(config))
            .connect(name, stream)
            .await?;
        self.came.fetch_add(1, Ordering::Relaxed);
        Ok(stream)
    }

    /// Asks for the same over and over, and comes again when it is cut off.
    async fn repeat(self, number: usize, request: Arc<[u8]>) {
        arrive(number).await;
        while self.goes_on() {
            if let Ok(mut stream) = self.connect(number, &self.old).await {
                while self.goes_on() && exchange(&mut stream, &request).await.is_ok() {
                    self.answers.fetch_add(1, Ordering::Relaxed);
                }
            }
            rest(number).await;
        }
    }

    /// Sends this and takes all frames, but its windows have room for nothing.
    async fn take_nothing(self, number: usize, requests: Arc<[u8]>) {
        arrive(number).await;
        while self.goes_on() {
            if let Ok(mut stream) = self.connect(number, &self.new).await {
                let _ = stream.write_all(&preface(0)).await;
                let _ = stream.write_all(&requests).await;
                let _ = stream.flush().await;
                let mut frames = [0; 1024];
                while self.goes_on() && matches!(stream.read(&mut frames).await, Ok(1..)) {}
            }
            rest(number).await;
        }
    }

    /// Sends the beginning of a head, and waits.
    async fn begin(self, number: usize, head: Arc<[u8]>) {
        arrive(number).await;
        while self.goes_on() {
            if let Ok(mut stream) = self.connect(number, &self.old).await {
                let _ = stream.write_all(&head).await;
                let _ = stream.flush().await;
                let _ = stream.read(&mut [0; 1024]).await;
            }
            rest(number).await;
        }
    }

    fn spawn(&self) {
        let bytes = |text: String| Arc::<[u8]>::from(text.into_bytes());
        let form = bytes(
            "POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: https://127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 25\r\n\r\nuser=alice&password=wrong".to_owned(),
        );
        let wrong = format!("Basic {}", STANDARD.encode("alice:wrong"));
        let basic = bytes(format!(
            "GET /api/v1/runs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {wrong}\r\n\r\n"
        ));
        for number in 0..GUESSERS {
            let request = if number % 2 == 0 { &form } else { &basic };
            tokio::spawn(self.clone().repeat(number, Arc::clone(request)));
        }
        let streams = |headers: &[(&str, &str)]| -> Arc<[u8]> {
            let all = (0..64).flat_map(|n| get(2 * n + 1, "/login", headers));
            all.collect::<Vec<u8>>().into()
        };
        let plain = streams(&[]);
        for number in 0..DEAF {
            tokio::spawn(self.clone().take_nothing(number, Arc::clone(&plain)));
        }
        let long = "x".repeat(15_000);
        let heads = streams(&[("authorization", &wrong), ("x-long", &long)]);
        let head = bytes(format!(
            "GET /login HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {wrong}\r\nX-Long: {long}"
        ));
        for number in 0..HEADERS {
            tokio::spawn(self.clone().take_nothing(number, Arc::clone(&heads)));
            tokio::spawn(self.clone().begin(number, Arc::clone(&head)));
        }
        let path = "x".repeat(8000);
        let refused = bytes(format!(
            "POST /{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer wrong-0123456789abcdef\r\nContent-Length: 0\r\n\r\n"
        ));
        for number in 0..REFUSED {
            tokio::spawn(self.clone().repeat(number, Arc::clone(&refused)));
        }
    }
}

/// They come within three seconds: their own handshakes take the same processors.
async fn arrive(number: usize) {
    let wait = u64::try_from(number % 64).unwrap();
    tokio::time::sleep(Duration::from_millis(50 * wait)).await;
}

/// Clients that are cut off come again after some seconds, not all at once.
async fn rest(number: usize) {
    let more = u64::try_from(number % 64).unwrap();
    tokio::time::sleep(Duration::from_millis(4000 + 100 * more)).await;
}

/// Sends a request, and reads the answer to it.
async fn exchange(stream: &mut Stream, request: &[u8]) -> std::io::Result<()> {
    stream.write_all(request).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    loop {
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => answer.extend_from_slice(&piece[..read]),
        }
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if length.is_none_or(|length| body.len() >= length.parse().unwrap()) {
            return Ok(());
        }
    }
}

/// Delivers a notification on a connection of its own, and yields how long that took.
fn notify(server: &Server, config: &Arc<ClientConfig>, number: usize) -> Duration {
    let begin = Instant::now();
    let stream = TcpStream::connect(server.address).unwrap();
    let patience = Some(Duration::from_secs(30));
    stream.set_read_timeout(patience).unwrap();
    stream.set_write_timeout(patience).unwrap();
    let name = "127.0.0.1".try_into().unwrap();
    let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, stream);
    let body = notification(&[alert(&format!("A{number}"), "web1")]);
    let headers = [
        ("Authorization", format!("Bearer {RECEIVE}")),
        ("Content-Type", "application/json".to_owned()),
        ("Connection", "close".to_owned()),
    ];
    let headers = headers
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    stream
        .write_all(&server.bytes_of("POST", WEBHOOK, &headers, &body))
        .unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 200"), "{number}: {answer}");
    begin.elapsed()
}

/// The memory that the server uses, in MiB.
fn resident(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() >> 10
}

/// What an operator asks for, by the real curl.
fn operate(server: &Server, pki: &Pki, path: &str, more: &[&str]) -> String {
    let ca = pki.path("ca.pem").display().to_string();
    let token = format!("Authorization: Bearer {OPERATE}");
    let options = [
        "--cacert",
        &ca,
        "-H",
        &token,
        "-H",
        "Content-Type: application/json",
    ];
    let got = server.curl_tls(path, &[&options[..], more].concat());
    assert!((200..300).contains(&got.status), "{path}: {}", got.text);
    got.text
}

#[test]
fn guessers_deaf_clients_and_floods_shut_nobody_out() {
    let _alone = crate::crowd::alone();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(soft.max(8000)), hard).unwrap();
    let (site, pki) = site();
    let server = start(&site);
    let (ca, begin) = (pki.path("ca.pem"), Instant::now());
    let old = tls(&ca, "http/1.1");
    let hold = |number: usize| {
        let why = format!("{{\"why\":\"act {number}\"}}");
        operate(&server, &pki, "/api/v1/hosts/web1/hold", &["-d", &why]);
    };
    hold(0);
    notify(&server, &old, 0);
    let attack = Attack {
        address: server.address,
        old: Arc::clone(&old),
        new: tls(&ca, "h2"),
        is_over: Arc::default(),
        came: Arc::default(),
        answers: Arc::default(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { attack.spawn() });
    let all = GUESSERS + DEAF + 2 * HEADERS + REFUSED;
    let (mut took, mut most) = (Vec::new(), 0);
    let is_there = || attack.came.load(Ordering::Relaxed) >= all || begin.elapsed() > BEGINNING;
    let mut under_way: Option<Instant> = None;
    while under_way.is_none_or(|since| since.elapsed() < ATTACK) {
        if under_way.is_none() && is_there() {
            under_way = Some(Instant::now());
        }
        took.push(notify(&server, &old, took.len() + 1));
        if took.len().is_multiple_of(20) {
            hold(took.len());
        }
        most = most.max(resident(&server));
        std::thread::sleep(Duration::from_millis(50));
    }
    let acts = took.len() / 20 + 1;
    let (came, answers) = (
        attack.came.load(Ordering::Relaxed),
        attack.answers.load(Ordering::Relaxed),
    );
    attack.is_over.store(true, Ordering::Relaxed);
    runtime.shutdown_background();
    took.sort();
    let of = |share: usize| took[(took.len() - 1) * share / 100];
    let log = server.log();
    println!(
        "{} notifications: median {:?}, p99 {:?}, longest {:?}; {most} MiB; log {} bytes in {:?}; {came} connections of attackers, {answers} answers to them",
        took.len(),
        of(50),
        of(99),
        of(100),
        log.len(),
        begin.elapsed()
    );
    assert!(came > 2000, "{came} connections are no attack");
    assert!(of(100) < Duration::from_secs(5), "{:?}", of(100));
    assert!(most < 256, "{most} MiB");
    assert!(log.len() < 1 << 20, "{} bytes", log.len());
    assert!(!log.contains("panicked"), "{log}");
    let list = operate(&server, &pki, "/api/v1/audit?limit=1000", &[]);
    let (_, body) = list.split_once("\r\n\r\n").unwrap();
    let list: Value = serde_json::from_str(body).unwrap();
    let entries = list["data"]["entries"].as_array().unwrap();
    let is_hold = |entry: &&Value| entry["summary"].as_str().unwrap().starts_with("held web1");
    assert_eq!(entries.iter().filter(is_hold).count(), acts);
    assert_eq!(entries.len(), acts, "{list}");
    // And people come in again.
    let own = [
        "-H",
        "Sec-Fetch-Site: same-origin",
        "-d",
        "user=alice&password=hunter2",
    ];
    server.wait("signed in", || {
        let ca = ca.display().to_string();
        server
            .curl_tls("/login", &[&own[..], &["--cacert", &ca]].concat())
            .status
            == 303
    });
}
