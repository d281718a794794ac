//! People are told of failed runs: at once, later if the receiver is down, and once.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use crate::support::{Server, Site, alert};

/// A receiver on a port of its own. It takes nothing until it is up.
struct Inbox {
    port: u16,
    taken: Arc<Mutex<Vec<(String, String)>>>,
}

impl Inbox {
    /// One that is down.
    fn down() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            port: free.local_addr().unwrap().port(),
            taken: Arc::default(),
        }
    }

    /// Serves from now on, by `take`, which yields the head and the body of what it took.
    fn up(&self, take: fn(TcpStream) -> Option<(String, String)>) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).unwrap();
        let taken = Arc::clone(&self.taken);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                taken.lock().unwrap().extend(take(stream));
            }
        });
    }

    fn taken(&self) -> Vec<(String, String)> {
        self.taken.lock().unwrap().clone()
    }
}

/// One request, answered with 204.
fn http(stream: TcpStream) -> Option<(String, String)> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let mut stream = stream;
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()?;
    Some((head, String::from_utf8(body).ok()?))
}

/// One letter, by SMTP without TLS.
fn smtp(stream: TcpStream) -> Option<(String, String)> {
    let mut out = stream.try_clone().ok()?;
    let mut say = |line: &str| out.write_all(format!("{line}\r\n").as_bytes()).ok();
    let mut reader = BufReader::new(stream);
    let mut envelope = String::new();
    say("220 sink")?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.get(..4)? {
            "EHLO" => say("250 sink")?,
            "DATA" => {
                say("354 go on")?;
                let mut letter = String::new();
                while !letter.ends_with("\r\n.\r\n") {
                    reader.read_line(&mut letter).ok()?;
                }
                say("250 taken")?;
                return Some((envelope, letter));
            }
            _ => {
                envelope += &line;
                say("250 ok")?;
            }
        }
    }
}

fn fails(server: &Server, name: &str) {
    server.deliver(&[alert(name, "web1").label("for", "b")]);
}

fn site(notifiers: &str) -> Site {
    let site = Site::new()
        .no_bindings()
        .binding("b", "[fail]", "")
        .arg("--web.external-url=https://pm.example/");
    site.sections(&format!("notifiers:\n{notifiers}"))
}

fn total(server: &Server, notifier: &str, result: &str) -> f64 {
    server.metric(&format!(
        "promansible_messages_total{{notifier=\"{notifier}\",result=\"{result}\"}}"
    ))
}

#[test]
fn a_receiver_that_was_down_is_told_when_it_is_up_and_once() {
    let inbox = Inbox::down();
    let site = site(&format!(
        "  - {{name: hook, on: [run_failed], webhook: {{url: 'http://127.0.0.1:{}/hook?a=b'}}}}\n  - {{name: deaf, on: [held], webhook: {{url: 'http://127.0.0.1:1/'}}}}\n",
        inbox.port
    ));
    let server = site.start();
    assert_eq!(total(&server, "hook", "sent"), 0.0);
    fails(&server, "A");
    server.wait_run(1, "finished");
    server.wait("a refusal", || total(&server, "hook", "failed") >= 1.0);
    assert_eq!(server.metric("promansible_messages_pending"), 1.0);
    inbox.up(http);
    server.wait("the message", || total(&server, "hook", "sent") == 1.0);
    server.wait("an empty outbox", || {
        server.metric("promansible_messages_pending") == 0.0
    });
    fails(&server, "B");
    server.wait("the second", || inbox.taken().len() == 2);
    let taken = inbox.taken();
    let (head, body) = &taken[0];
    assert!(head.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    let key = body["key"].as_str().unwrap();
    assert!(
        head.contains(&format!("idempotency-key: {key}\r\n")),
        "{head}"
    );
    assert_eq!(body["event"], "run_failed");
    assert_eq!(body["run"], 1);
    assert_eq!(body["hosts"], serde_json::json!(["web1"]));
    assert_eq!(body["url"], "https://pm.example/runs/1");
    let second: Value = serde_json::from_str(&taken[1].1).unwrap();
    assert_eq!((&second["run"], &second["id"]), (&2.into(), &2.into()));
    assert_eq!(total(&server, "deaf", "failed"), 0.0, "it wants other news");
}

#[test]
fn kill_minus_nine_loses_no_message() {
    let inbox = Inbox::down();
    let site = site(&format!(
        "  - {{name: hook, webhook: {{url: 'http://127.0.0.1:{}/'}}}}\n",
        inbox.port
    ));
    let server = site.start();
    fails(&server, "A");
    server.wait("a refusal", || total(&server, "hook", "failed") >= 1.0);
    server.kill();
    inbox.up(http);
    let server = site.start();
    server.wait("the message", || total(&server, "hook", "sent") == 1.0);
    let taken = inbox.taken();
    assert_eq!(taken.len(), 1);
    assert!(taken[0].1.contains("\"run\":1"), "{}", taken[0].1);
}

#[test]
fn slack_and_mail_are_told_in_their_words() {
    let (slack, mail) = (Inbox::down(), Inbox::down());
    slack.up(http);
    mail.up(smtp);
    let site = site(&format!(
        "  - {{name: chat, slack: {{api_url_file: SITE/slack-url, channel: '#ops'}}}}\n  - {{name: mail, email: {{to: [a@example.org, 'B <b@example.org>'], from: pm@example.org, smarthost: 'localhost:{}', require_tls: false}}}}\n",
        mail.port
    ));
    let url = format!("http://127.0.0.1:{}/services/T0/SECRET\n", slack.port);
    site.secret("slack-url", &url);
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(site.path("slack-url"), private).unwrap();
    let server = site.start();
    fails(&server, "A");
    server.wait("both", || {
        slack.taken().len() == 1 && mail.taken().len() == 1
    });
    let body: Value = serde_json::from_str(&slack.taken()[0].1).unwrap();
    assert_eq!(body["channel"], "#ops");
    let text = body["text"].as_str().unwrap();
    assert!(
        text.starts_with("*Run 1 of fail on web1: failed*\n"),
        "{text}"
    );
    assert!(
        text.ends_with("\n<https://pm.example/runs/1|View>"),
        "{text}"
    );
    let (envelope, letter) = &mail.taken()[0];
    assert!(envelope.contains("RCPT TO:<b@example.org>"), "{envelope}");
    assert!(
        letter.contains("Subject: [promansible] Run 1 of fail on web1: failed\r\n"),
        "{letter}"
    );
    assert!(
        letter.contains("\r\nhttps://pm.example/runs/1\r\n"),
        "{letter}"
    );
    assert!(!server.log().contains("SECRET"), "{}", server.log());
}

#[test]
fn a_secret_that_everyone_can_read_is_not_used() {
    let site = site("  - {name: chat, slack: {api_url_file: SITE/slack-url}}\n");
    site.secret("slack-url", "http://127.0.0.1:9/SECRET");
    let server = site.start();
    let open = Permissions::from_mode(0o644);
    fs::set_permissions(site.path("slack-url"), open).unwrap();
    fails(&server, "A");
    server.wait_for_log("everyone on this machine can read it");
    assert!(!server.log().contains("SECRET"), "{}", server.log());
}

/// Takes the connection, and says nothing.
fn silent(stream: TcpStream) -> Option<(String, String)> {
    thread::spawn(move || {
        let _ = { stream }.read_to_end(&mut Vec::new());
    });
    None
}

#[test]
fn a_receiver_that_is_slow_holds_up_no_other() {
    let (slow, quick) = (Inbox::down(), Inbox::down());
    slow.up(silent);
    quick.up(http);
    let hook = |name: &str, port: u16| {
        format!("  - {{name: {name}, webhook: {{url: 'http://127.0.0.1:{port}/'}}}}\n")
    };
    let site = site(&(hook("slow", slow.port) + &hook("quick", quick.port)));
    let server = site.start();
    for (run, name) in ["A", "B", "C"].iter().enumerate() {
        fails(&server, name);
        server.wait("told", || quick.taken().len() == run + 1);
    }
    // The slow one was waited for all that time.
    assert_eq!(total(&server, "slow", "failed"), 0.0);
    assert_eq!(total(&server, "slow", "sent"), 0.0);
    server.wait("counted", || {
        server.metric("promansible_messages_pending") == 3.0
    });
    let numbers: Vec<Value> = quick
        .taken()
        .iter()
        .map(|(_, body)| serde_json::from_str::<Value>(body).unwrap()["id"].take())
        .collect();
    assert_eq!(numbers, [1, 2, 3], "in their order");
}

#[test]
fn a_notifier_that_comes_by_a_reload_hears_of_what_is_in_the_box_and_one_that_goes_keeps_nothing_there()
 {
    let inbox = Inbox::down();
    inbox.up(http);
    let site = site("  - {name: deaf, webhook: {url: 'http://127.0.0.1:1/'}}\n");
    let server = site.start();
    fails(&server, "A");
    server.wait("a refusal", || total(&server, "deaf", "failed") >= 1.0);
    let config = fs::read_to_string(site.path("promansible.yml")).unwrap();
    let config = config
        .replace("deaf", "hook")
        .replace(":1/", &format!(":{}/", inbox.port));
    site.write("promansible.yml", &config);
    server.signal(nix::sys::signal::Signal::SIGHUP);
    server.wait("the message", || inbox.taken().len() == 1);
    server.wait("an empty outbox", || {
        server.metric("promansible_messages_pending") == 0.0
    });
}
