//! Clients that are slow, many, half gone or in a hurry.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::http2::{Http2, get};
use crate::support::{Answer, PATIENCE, Pki, Server, Site, WEBHOOK, alert, notification};

/// Whether the other side ends this connection, rather than our patience.
fn is_cut_off(stream: &mut TcpStream) -> bool {
    // A reset is as good as an end; a time-out is neither.
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        Err(e) => !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

fn impatient() -> Site {
    Site::new()
        .receiver("header_timeout", "1s")
        .receiver("body_timeout", "1s")
}

#[test]
fn a_client_that_is_slow_with_its_head_is_cut_off() {
    let server = impatient().start();
    let mut silent = server.connect();
    let mut stuck = server.connect();
    stuck.write_all(b"POST /api/v1/webhook HT").unwrap();
    // One that sends a byte now and then gains nothing by it.
    let mut trickling = server.connect();
    let trickle = std::thread::spawn(move || {
        let head = "GET /metrics HTTP/1.1\r\nHost: x\r\nA: ".bytes();
        // In all it would take many times what a head may.
        head.chain([b'b'; 1000]).all(|byte| {
            std::thread::sleep(Duration::from_millis(20));
            trickling.write_all(&[byte]).is_ok()
        })
    });
    server.deliver(&[alert("A", "web1")]);
    assert!(is_cut_off(&mut silent));
    assert!(is_cut_off(&mut stuck));
    assert!(!trickle.join().unwrap(), "every byte was taken");
    server.deliver(&[alert("B", "web1")]);
}

#[test]
fn a_client_that_is_slow_with_its_body_is_told_to_come_again() {
    let server = impatient().start();
    let whole = notification(&[alert("A", "web1")]);
    let mut slow = server.connect();
    let bytes = server.bytes_of("POST", WEBHOOK, &[], &whole);
    slow.write_all(&bytes[..bytes.len() - 10]).unwrap();
    server.deliver(&[alert("B", "web1")]);
    let answer = Answer::read(&mut BufReader::new(slow.try_clone().unwrap()), "POST").unwrap();
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.text(),
        "the body did not arrive within 1s (receiver.body_timeout)\n"
    );
    assert!(
        is_cut_off(&mut slow),
        "what is left of the body is not taken for a request"
    );
    assert_eq!(server.answered(503), 1.0);
    assert_eq!(server.list(""), [1], "nothing of it is kept");
}

#[test]
fn those_who_hold_every_connection_hold_them_for_a_moment_only() {
    let server = impatient().receiver("max_connections", "4").start();
    let mut holders: Vec<TcpStream> = (0..12).map(|_| server.connect()).collect();
    for holder in &mut holders {
        holder.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    }
    // It gets a connection, and an answer, although none of them has gone by itself.
    server.deliver(&[alert("A", "web1")]);
}

#[test]
fn one_that_waits_for_its_client_makes_room_and_one_that_is_worked_on_does_not() {
    let server = Site::new().receiver("max_connections", "2").start();
    let mut watcher = server.connect();
    watcher
        .write_all(&server.bytes_of("GET", "/api/v1/events", &[], b""))
        .unwrap();
    assert!(watcher.read(&mut [0]).unwrap() > 0, "it watches");
    let mut slow = server.connect();
    let whole = notification(&[alert("A", "web1")]);
    let bytes = server.bytes_of("POST", WEBHOOK, &[], &whole);
    slow.write_all(&bytes[..bytes.len() - 10]).unwrap();
    server.deliver(&[alert("B", "web1")]);
    assert!(is_cut_off(&mut slow), "the one with half a body went");
    watcher.set_nonblocking(true).unwrap();
    let end = loop {
        match watcher.read(&mut [0; 1024]) {
            Ok(0) => break "the end".to_owned(),
            Ok(_) => {}
            Err(e) => break e.kind().to_string(),
        }
    };
    assert_eq!(end, ErrorKind::WouldBlock.to_string(), "it watches on");
}

#[test]
fn the_limit_of_connections_is_the_one_in_force() {
    let site = Site::new().receiver("header_timeout", "1m");
    let site = site.receiver("max_connections", "2");
    let server = site.start();
    let mut held: Vec<TcpStream> = (0..2).map(|_| server.connect()).collect();
    let use_again = |stream: &mut TcpStream| {
        stream
            .write_all(&server.bytes_of("GET", "/-/healthy", &[], b""))
            .unwrap();
        let answer = Answer::read(&mut BufReader::new(stream), "GET");
        assert_eq!(answer.expect("it is still open").status, 200);
    };
    held.iter_mut().for_each(use_again);
    let full = "receiver.max_connections are open: new connections replace";
    server.wait_for_log(full);

    let site = site.receiver("max_connections", "3");
    site.config_file();
    let read = "configuration file reloaded";
    server.signal(Signal::SIGHUP);
    server.wait_for_log(read);
    assert_eq!(server.get("/-/healthy").status, 200);
    held.iter_mut().for_each(use_again);

    let site = site.receiver("max_connections", "1");
    site.config_file();
    server.signal(Signal::SIGHUP);
    server.wait("read again", || server.log().matches(read).count() == 2);
    let mut late = server.connect();
    late.write_all(&server.bytes_of("GET", "/metrics", &[("Connection", "close")], b""))
        .unwrap();
    late.set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(late.read(&mut [0]).is_err(), "it has to wait");
    held.iter_mut().for_each(use_again);
    drop(held);
    late.set_read_timeout(Some(PATIENCE)).unwrap();
    let text = Answer::read(&mut BufReader::new(late), "GET").expect("an answer");
    let text = text.text();
    let count = text
        .lines()
        .find_map(|line| line.strip_prefix("promansible_connections_limited_total "))
        .unwrap();
    assert!(count.parse::<f64>().unwrap() >= 2.0, "{count}");
}

#[test]
fn a_client_that_takes_nothing_of_its_answers_is_cut_off() {
    let server = impatient().receiver("max_connections", "1").start();
    let mut deaf = server.connect();
    let one = server.bytes_of("GET", "/metrics", &[], b"");
    // Far more answers than the kernel holds for us.
    deaf.set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let asked = (0..20_000)
        .take_while(|_| deaf.write_all(&one).is_ok())
        .count();
    assert!(asked > 10, "{asked}");
    // The only connection is free again.
    assert_eq!(server.get("/-/healthy").status, 200);
    assert!(is_cut_off(&mut deaf));
}

#[test]
fn an_idle_connection_may_be_used_again_but_is_not_kept() {
    let server = impatient().start();
    let mut stream = server.connect();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    for _ in 0..3 {
        stream
            .write_all(&server.bytes_of("GET", "/-/healthy", &[], b""))
            .unwrap();
        assert_eq!(Answer::read(&mut answers, "GET").unwrap().status, 200);
    }
    assert!(is_cut_off(&mut stream));
}

#[test]
fn whoever_stops_sending_still_gets_the_answer() {
    let server = Site::new().start();
    let mut half = server.connect();
    let whole = notification(&[alert("A", "web1")]);
    half.write_all(&server.bytes_of("POST", WEBHOOK, &[], &whole))
        .unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    let answer = Answer::read(&mut BufReader::new(half), "POST").expect("an answer");
    assert_eq!(answer.status, 200);
}

#[test]
fn a_connection_that_breaks_harms_nobody() {
    let server = Site::new().start();
    let whole = notification(&[alert("A", "web1")]);
    let bytes = server.bytes_of("POST", WEBHOOK, &[], &whole);
    for part in [10, bytes.len() - 10] {
        let mut broken = unread(&server);
        broken.write_all(&bytes[..part]).unwrap();
        drop(broken);
    }
    server.wait("the broken body counted", || server.answered(503) == 1.0);
    // Gone before the answer: what was taken stays taken.
    let mut gone = unread(&server);
    gone.write_all(&bytes).unwrap();
    drop(gone);
    server.wait("run 1", || server.list("") == [1]);
    let said = server.deliver(&[alert("A", "web1")]);
    assert_eq!(
        said, "accepted: 1 alert: 1 duplicate\n",
        "sent again, it is a duplicate"
    );
}

/// A connection with an answer in it that nobody reads: closing it is a reset.
fn unread(server: &Server) -> TcpStream {
    let mut stream = server.connect();
    stream
        .write_all(&server.bytes_of("GET", "/-/healthy", &[], b""))
        .unwrap();
    assert!(stream.peek(&mut [0]).unwrap() > 0);
    stream
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let server = Site::new().start();
    let mut all = server.bytes_of("POST", WEBHOOK, &[], &notification(&[alert("A", "web1")]));
    all.extend(server.bytes_of("HEAD", "/-/ready", &[], b""));
    all.extend(server.bytes_of("POST", WEBHOOK, &[], &notification(&[alert("A", "web1")])));
    all.extend(server.bytes_of("GET", "/nothing", &[], b""));
    let mut stream = server.connect();
    stream.write_all(&all).unwrap();
    let mut answers = BufReader::new(stream);
    let mut next = |method| Answer::read(&mut answers, method).expect("an answer");
    assert_eq!(next("POST").text(), "accepted: 1 alert: 1 run\n");
    assert_eq!(next("HEAD").status, 200);
    assert_eq!(next("POST").text(), "accepted: 1 alert: 1 duplicate\n");
    assert_eq!(next("GET").status, 404);
}

#[test]
fn nonsense_is_refused() {
    let server: Server = Site::new().start();
    for sent in [
        "\r\n\r\nx\r\n\r\n",
        "GET\r\n\r\n",
        "POST /api/v1/webhook HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n",
    ] {
        let mut stream = server.connect();
        stream.write_all(sent.as_bytes()).unwrap();
        let answer = Answer::read(&mut BufReader::new(stream.try_clone().unwrap()), "GET");
        assert!(answer.is_none_or(|a| a.status == 400), "{sent:?}");
        assert!(is_cut_off(&mut stream), "{sent:?}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1 << 20));
    let mut stream = server.connect();
    let _ = stream.write_all(long.as_bytes());
    let answer = Answer::read(&mut BufReader::new(stream), "GET");
    assert!(answer.is_none_or(|a| [414, 431].contains(&a.status)));
    assert_eq!(server.get("/-/healthy").status, 200);
}

/// A site that speaks TLS, and so HTTP/2.
fn by_tls(site: Site) -> (Site, Pki) {
    let pki = Pki::new(&site.path("pki"), "authority");
    pki.issue("server", &["127.0.0.1"]);
    site.secret(
        "web.yml",
        "tls_server_config: {cert_file: pki/server.pem, key_file: pki/server.key}\n",
    );
    let file = format!("--web.config.file={}", site.path("web.yml").display());
    (site.arg(&file), pki)
}

#[test]
fn an_http2_client_that_takes_everything_but_an_answer_is_cut_off() {
    let (site, pki) = by_tls(impatient());
    let server = site.start_only();
    server.wait_for_log("inventory read");
    let ca = pki.path("ca.pem");
    for window in [0, 7] {
        let mut deaf = Http2::connect(server.connect(), &ca, window);
        deaf.send(&get(1, "/metrics", &[])).unwrap();
        // It takes every frame that comes, and answers to each that wants an answer, until the connection ends.
        let body = deaf.body_of(1, |_| false);
        assert!(body.len() <= window as usize, "{}", body.len());
    }
    // One that takes it whole gets it whole, whatever its window is.
    let mut polite = Http2::connect(server.connect(), &ca, 60_000);
    polite.send(&get(1, "/assets/portal.css", &[])).unwrap();
    let whole = std::fs::read_to_string("src/http/portal/templates/portal.css").unwrap();
    let length = whole.len();
    assert!(length < 60_000, "it fits into the window");
    let body = polite.body_of(1, |body| body.len() >= length);
    assert_eq!(String::from_utf8(body).unwrap(), whole);
}

#[test]
fn http2_connections_with_a_request_that_is_worked_on_are_not_ended_for_others() {
    let (site, pki) = by_tls(Site::new().receiver("max_connections", "2"));
    let server = site.start_only();
    server.wait_for_log("inventory read");
    let ca = pki.path("ca.pem");
    let mut watcher = Http2::connect(server.connect(), &ca, 60_000);
    watcher.send(&get(1, "/api/v1/events", &[])).unwrap();
    assert!(!watcher.body_of(1, |body| !body.is_empty()).is_empty());
    // A second request of the same connection is answered; the first one goes on.
    watcher.send(&get(3, "/-/healthy", &[])).unwrap();
    assert!(!watcher.body_of(3, |body| body.len() > 20).is_empty());
    let curl = ["--cacert", &ca.display().to_string()].map(str::to_owned);
    // Another one, which has not waited as long as the first would have if it waited.
    let _idle = server.connect();
    for _ in 0..8 {
        let options: Vec<&str> = curl.iter().map(String::as_str).collect();
        assert_eq!(server.curl_tls("/-/healthy", &options).status, 200);
    }
    watcher.send(&get(5, "/-/healthy", &[])).unwrap();
    assert!(
        !watcher.body_of(5, |body| body.len() > 20).is_empty(),
        "it was ended"
    );
}

#[test]
fn before_a_caller_is_known_an_http2_connection_has_few_requests_at_once() {
    let (site, pki) = by_tls(Site::new());
    let web = std::fs::read_to_string(site.path("web.yml")).unwrap();
    let hash = bcrypt::hash("hunter2", 4).unwrap();
    site.secret(
        "web.yml",
        &format!("{web}basic_auth_users: {{alice: '{hash}'}}\n"),
    );
    let server = site.start_only();
    server.wait_for_log("inventory read");
    let mut many = Http2::connect(server.connect(), &pki.path("ca.pem"), 0);
    let all: Vec<u8> = (0..40)
        .flat_map(|n| get(2 * n + 1, "/login", &[]))
        .collect();
    many.send(&all).unwrap();
    let rejected = || {
        let options = ["-u", "alice:hunter2", "--cacert"];
        let ca = pki.path("ca.pem").display().to_string();
        let got = server
            .curl_tls("/metrics", &[&options[..], &[ca.as_str()]].concat())
            .text;
        let series = "promansible_requests_rejected_total{reason=\"streams\"} ";
        let line = got.lines().find_map(|line| line.strip_prefix(series));
        line.unwrap().parse::<f64>().unwrap()
    };
    // One that has more is cut off, and counted once.
    while many.receive().is_ok() {}
    server.wait("counted", || rejected() >= 1.0);
    assert_eq!(rejected(), 1.0);
    // Beyond 16 KiB a head is refused by itself.
    let long = "x".repeat(20_000);
    let mut large = Http2::connect(server.connect(), &pki.path("ca.pem"), 60_000);
    large.send(&get(1, "/login", &[("x-long", &long)])).unwrap();
    let head = loop {
        let (kind, stream, payload) = large.receive().unwrap();
        if kind == 1 && stream == 1 {
            break payload;
        }
    };
    let ok = 0x88;
    assert_ne!(head[0], ok, "the answer's first field is its status");
}

#[test]
fn the_bodies_of_all_requests_together_have_a_limit() {
    let server = Site::new().receiver("body_timeout", "1m").start();
    // Each may have 8 MiB, and all together eight times as much.
    let most = 8 << 20;
    let head =
        format!("POST {WEBHOOK} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {most}\r\n\r\n");
    let begun = vec![b' '; most - 1];
    let mut holders: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&begun).unwrap();
            stream
        })
        .collect();
    let large = notification(&[alert(&"A".repeat(1000), "web1")]);
    let mut refused = server.post(&large);
    let since = std::time::Instant::now();
    // The last of them may be on its way still.
    while refused.status == 200 && since.elapsed() < PATIENCE {
        refused = server.post(&large);
    }
    assert_eq!(refused.status, 503);
    let said = refused.text();
    assert!(
        said.starts_with("the bodies of all requests together would be larger than 67108864 bytes"),
        "{said}"
    );
    assert!(server.metric("promansible_requests_rejected_total{reason=\"memory\"}") >= 1.0);
    // Nothing of it is lost but time.
    holders.clear();
    server.wait("room again", || server.post(&large).status == 200);
}
