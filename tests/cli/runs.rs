//! `runs`, against a server.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Output, Stdio};

use regex::Regex;

use crate::support::{Server, Site, alert, golden, promansible, run};

fn runs(url: &str, args: &[&str]) -> Output {
    run(promansible()
        .arg("runs")
        .arg(format!("--server.url={url}"))
        .args(args))
}

fn text(output: &Output) -> String {
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn without_times(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, instead) in [
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "YYYY-MM-DD hh:mm:ss"),
        (r"\d\d:\d\d:\d\d\.", "hh:mm:ss."),
        (r"(ss)\.\d{3}", "$1.mmm"),
        (r"\b\d+\.\ds", "N.Ns"),
        (r"\b[0-9a-f]{16}\b", "FINGERPRINT"),
        (r#""\d{4}-\d\d-\d\dT[^"]*""#, "\"TIME\""),
    ] {
        text = Regex::new(pattern)
            .unwrap()
            .replace_all(&text, instead)
            .into_owned();
    }
    text
}

/// Runs: one that went well on two hosts and found something, one that failed, one that waits.
fn server() -> (Site, Server, String) {
    let site = Site::new()
        .no_bindings()
        .looking("")
        .binding("good", "[ok, look]", "")
        .binding("bad-one", "[ok, fail]", "")
        .binding("long", "[wait]", "");
    site.write(
        "findings",
        r#"{"up":true,"banner":"220 \u001b[2J ready","answers":[{"name":"example.org","resolver":"10.0.0.53","value":0.25}]}"#,
    );
    let server = site.start();
    let on = |name: &str, host: &str, which: &str| alert(name, host).label("for", which);
    server.deliver(&[
        on("DiskFull", "web1", "good"),
        on("DiskFull", "web2", "good"),
    ]);
    server.wait_run(1, "finished");
    server.deliver(&[on("Evil\x1b[2J\nname", "web2", "bad-one")]);
    server.wait_run(2, "finished");
    server.deliver(&[on("A", "web1", "long")]);
    server.wait_run(3, "running");
    server.deliver(&[on("B", "web1", "long")]);
    let url = format!("http://{}", server.address);
    (site, server, url)
}

#[test]
fn runs_are_listed_and_shown_for_a_person() {
    let (_site, _server, url) = server();
    let mut shown = String::new();
    for args in [
        &["list"][..],
        &["list", "--limit=2"],
        &["list", "--limit=2", "--cursor=3"],
        &["list", "--state=finished", "--outcome=failed"],
        &["list", "--host=twin1"],
        &[
            "list",
            "--trigger=alert",
            "--alertname=DiskFull",
            "--sort=oldest",
        ],
        &[
            "list",
            "--text=BY LOOK",
            "--since=1",
            "--until=4000000000",
            "--role=look",
        ],
        &["show", "1"],
        &["show", "2"],
        &["show", "3"],
        &["show", "4"],
        &["output", "2"],
    ] {
        shown.push_str(&format!(
            "$ promansible runs {}\n{}\n",
            args.join(" "),
            text(&runs(&url, args))
        ));
    }
    golden("cli/runs.txt", &without_times(&shown));
    assert!(!shown.contains('\x1b'));
}

#[test]
fn a_program_gets_what_the_api_gives() {
    let (_site, server, url) = server();
    let list: serde_json::Value = serde_json::from_str(&text(&runs(
        &url,
        &["list", "--format=json", "--state=finished"],
    )))
    .unwrap();
    assert_eq!(list, server.data("runs?state=finished"));
    let one: serde_json::Value =
        serde_json::from_str(&text(&runs(&url, &["show", "2", "--format=json"]))).unwrap();
    assert_eq!(one, server.data("runs/2"));
}

#[test]
fn a_run_is_canceled_and_that_is_said() {
    let (_site, server, url) = server();
    assert_eq!(
        text(&runs(&url, &["cancel", "4"])),
        "run 4 was canceled before it started\n"
    );
    let shown = text(&runs(&url, &["show", "4"]));
    assert!(!shown.contains("after"), "it never started: {shown}");
    assert_eq!(
        text(&runs(&url, &["cancel", "3"])),
        "run 3 is being canceled\n"
    );
    assert_eq!(server.wait_run(3, "finished")["outcome"], "canceled");
    assert_eq!(
        error(&runs(&url, &["cancel", "3"])),
        "promansible: run 3 has already ended (409 Conflict)\n"
    );
    assert_eq!(
        error(&runs(&url, &["show", "9"])),
        "promansible: there is no run 9 (404 Not Found)\n"
    );
    assert_eq!(
        error(&runs(&url, &["list", "--limit=0"])),
        "promansible: limit: \"0\" is not a number from 1 to 1000 (400 Bad Request)\n"
    );
}

#[test]
fn the_address_may_come_from_the_environment() {
    let site = Site::new();
    let server = site.start();
    let listed = run(promansible().args(["runs", "list"]).env(
        "PROMANSIBLE_SERVER_URL",
        format!("http://{}/", server.address),
    ));
    assert_eq!(text(&listed), "No runs.\n");
}

#[test]
fn a_server_that_is_not_there_is_named_with_what_to_do() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let why = error(&runs(&format!("http://{free}"), &["list"]));
    assert!(
        why.contains(&format!("cannot reach promansible at http://{free}/"))
            && why.contains("--server.url"),
        "{why}"
    );
    for other in [
        "ftp://127.0.0.1:1",
        "127.0.0.1:10942",
        "http://127.0.0.1:1/?a=b",
    ] {
        let why = error(&runs(other, &["list"]));
        assert!(
            why.contains("expected an http:// or https:// URL without a query, such as http://127.0.0.1:10942"),
            "{why}"
        );
    }
}

#[test]
fn a_password_is_refused_and_not_repeated() {
    for url in ["http://me:hunter2@127.0.0.1:1", "http://hunter2@[::1]:1/x"] {
        let listed = run(promansible()
            .args(["runs", "list"])
            .env("PROMANSIBLE_SERVER_URL", url));
        assert_eq!(
            error(&listed),
            "promansible: --server.url contains a user or a password: use a URL without them, such as http://127.0.0.1:10942, and --http.config.file with basic_auth\n"
        );
    }
}

#[test]
fn something_else_that_answers_is_said_to_be_something_else() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let other = std::thread::spawn(move || {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\noops",
            "SSH-2.0-x\r\n",
        ] {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let why = error(&runs(&url, &["list"]));
    assert!(why.contains("unexpected response from"), "{why}");
    assert_eq!(
        error(&runs(&url, &["list"])),
        "promansible: oops (502 Bad Gateway)\n"
    );
    let why = error(&runs(&url, &["list"]));
    assert!(why.contains(&url), "it names the server: {why}");
    other.join().unwrap();
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let (_site, _server, url) = server();
    for args in [&["runs", "list"][..], &["completions", "bash"]] {
        let mut child = promansible()
            .args(args)
            .env("PROMANSIBLE_SERVER_URL", &url)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Gone before the first byte.
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}
