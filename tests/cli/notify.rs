//! `notify test`: one message, and what came of it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use serde_json::Value;

use crate::support::{Site, promansible, run};

/// Answers one request with this status, and yields its body.
fn receiver(status: &'static str) -> (u16, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
        }
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(body).unwrap()
    });
    (port, taken)
}

/// Exit code, what it printed, what it complained of.
fn test(site: &Site, notifier: &str) -> (Option<i32>, String, String) {
    let config = format!("--config.file={}", site.config_file().display());
    let said = run(promansible().args(["notify", "test", notifier, &config]));
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (said.status.code(), text(said.stdout), text(said.stderr))
}

fn hook(port: u16) -> Site {
    Site::new().sections(&format!(
        "notifiers:\n  - {{name: team, on: [held], webhook: {{url: 'http://127.0.0.1:{port}/hook'}}}}\n"
    ))
}

#[test]
fn a_test_message_is_sent_at_once_and_whatever_the_notifier_wants_to_hear() {
    let (port, taken) = receiver("204 No Content");
    let said = test(&hook(port), "team");
    assert_eq!(
        said,
        (
            Some(0),
            "the test message to team was sent\n".to_owned(),
            String::new()
        )
    );
    let body: Value = serde_json::from_str(&taken.join().unwrap()).unwrap();
    assert_eq!(body["event"], "test");
    assert_eq!(body["notifier"], "team");
    assert_eq!(body["summary"], "Test of the notifier team");
    assert!(body["key"].as_str().unwrap().starts_with("test-"), "{body}");
}

#[test]
fn why_it_was_not_taken_is_said() {
    let (port, taken) = receiver("403 Forbidden");
    let site = hook(port);
    let said = test(&site, "team");
    taken.join().unwrap();
    let refused = "promansible: the test message to team failed: it answered 403 Forbidden\n";
    assert_eq!(said, (Some(1), String::new(), refused.to_owned()));
    // Nobody listens there any more.
    let (code, _, said) = test(&site, "team");
    assert_eq!(code, Some(1));
    assert!(said.contains("the test message to "), "{said}");
}

#[test]
fn a_notifier_that_is_not_there_is_answered_with_those_that_are() {
    let file = |site: &Site| site.config_file().display().to_string();
    let site = hook(9);
    let said = format!(
        "promansible: there is no notifier \"tame\": {} has team\n",
        file(&site)
    );
    assert_eq!(test(&site, "tame"), (Some(1), String::new(), said));
    let site = Site::new();
    let said = format!(
        "promansible: there is no notifier \"team\": {} has no notifiers\n",
        file(&site)
    );
    assert_eq!(test(&site, "team"), (Some(1), String::new(), said));
}
