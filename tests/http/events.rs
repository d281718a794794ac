//! Live events, read as a browser reads them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{PATIENCE, Server, Site, alert};

#[derive(Debug, Clone, PartialEq)]
struct Event {
    name: String,
    id: String,
    data: Value,
}

/// A stream of events.
struct Stream {
    from: BufReader<TcpStream>,
    text: String,
    last: Option<String>,
}

impl Stream {
    fn open(server: &Server, path: &str, last: Option<&str>) -> Self {
        let mut stream = server.connect();
        let headers: Vec<(&str, &str)> = last.map(|id| ("Last-Event-ID", id)).into_iter().collect();
        let request = server.bytes_of("GET", &format!("/api/v1/{path}"), &headers, b"");
        stream.write_all(&request).unwrap();
        let mut from = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(from.read_line(&mut head).unwrap(), 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(
            head.contains("content-type: text/event-stream\r\n"),
            "{head}"
        );
        Self {
            from,
            text: String::new(),
            last: None,
        }
    }

    /// Reads a chunk; `false` at the end of the stream.
    fn chunk(&mut self) -> bool {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        let length = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut chunk = vec![0; length + 2];
        self.from.read_exact(&mut chunk).unwrap();
        self.text
            .push_str(std::str::from_utf8(&chunk[..length]).unwrap());
        length > 0
    }

    /// The next event; `None` at the end of the stream.
    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    let mut lines = block.lines();
                    lines
                        .find_map(|line| line.strip_prefix(name))
                        .map(str::to_owned)
                };
                if let Some(id) = field("id: ") {
                    self.last = Some(id);
                }
                if let Some(data) = field("data: ") {
                    return Some(Event {
                        name: field("event: ").unwrap(),
                        id: self.last.clone().unwrap(),
                        data: serde_json::from_str(&data).unwrap(),
                    });
                }
            } else if !self.chunk() {
                return None;
            }
        }
    }

    fn rest(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.next()).collect()
    }

    fn until(&mut self, done: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next() {
            let is_done = done(&event);
            events.push(event);
            if is_done {
                return events;
            }
        }
        panic!("it ended before: {events:?}");
    }
}

/// What the events say: states, hosts and roles of tasks, and the output put together by its offsets.
fn told(events: &[Event]) -> (Vec<String>, Vec<String>, String) {
    let (mut states, mut tasks, mut output) = (Vec::new(), Vec::new(), String::new());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    for event in events {
        match event.name.as_str() {
            "run" => states.push(text(&event.data["state"])),
            "task" => tasks.push(format!(
                "{} {}",
                text(&event.data["host"]),
                text(&event.data["role"])
            )),
            "output" => {
                assert_eq!(
                    event.data["offset"],
                    output.len(),
                    "nothing lost, nothing doubled"
                );
                output.push_str(&text(&event.data["text"]));
            }
            other => panic!("{other}?"),
        }
    }
    (states, tasks, output)
}

fn is_run(state: &'static str) -> impl Fn(&Event) -> bool {
    move |event| event.name == "run" && event.data["state"] == state
}

/// Two roles on two hosts: one that ends, and one that waits for a word.
fn site() -> (Site, Server) {
    let site = Site::new()
        .no_bindings()
        .binding("a", "[ok, wait, fail]", "");
    let server = site.start();
    let on = |host: &str| alert("A", host).label("for", "a");
    server.deliver(&[on("web1"), on("web2")]);
    (site, server)
}

#[test]
fn a_run_is_followed_to_its_end() {
    let (site, server) = site();
    let mut stream = Stream::open(&server, "runs/1/events", None);
    let mut events = stream.until(|event| event.name == "output");
    site.go();
    events.extend(stream.rest());
    let (states, tasks, output) = told(&events);
    assert_eq!(states.last().unwrap(), "finished");
    assert!(states.contains(&"running".to_owned()), "{states:?}");
    let wanted =
        ["ok", "wait", "fail"].map(|role| ["web1", "web2"].map(|host| format!("{host} {role}")));
    assert_eq!(tasks, wanted.concat());
    assert_eq!(output, server.get("/api/v1/runs/1/output").text());
    let end = events.last().unwrap();
    assert_eq!(end.data, server.run(1), "the run is told as it is shown");
    // Whoever comes later is told the same, but for the states in between.
    let again = Stream::open(&server, "runs/1/events", None).rest();
    let (states, again_tasks, again_output) = told(&again);
    assert_eq!(
        (states, again_tasks, again_output),
        (vec!["finished".to_owned()], tasks, output)
    );
    assert_eq!(again.last(), Some(end));
}

#[test]
fn a_stream_goes_on_exactly_where_it_was_cut() {
    let (site, server) = site();
    let mut whole = Stream::open(&server, "runs/1/events", None);
    let mut before = whole.until(|event| event.name == "output");
    site.go();
    server.wait_run(1, "finished");
    before.extend(whole.rest());
    let (_, tasks, output) = told(&before);
    for (n, event) in before.iter().enumerate() {
        let by_query = format!("runs/1/events?last_event_id={}", event.id);
        for (path, header) in [
            ("runs/1/events", Some(event.id.as_str())),
            (&by_query, None),
        ] {
            let mut all = before[..=n].to_vec();
            all.extend(Stream::open(&server, path, header).rest());
            let (states, all_tasks, all_output) = told(&all);
            assert_eq!(
                (&all_tasks, &all_output),
                (&tasks, &output),
                "after {}",
                event.id
            );
            assert_eq!(states.last().unwrap(), "finished");
            assert_eq!(
                states.iter().filter(|state| *state == "finished").count(),
                1
            );
        }
    }
    // The history is the same after a restart, and so are the places in it.
    let middle = &before[before.len() / 2];
    assert!(server.stop().success());
    let server = site.start();
    let mut all = before[..=before.len() / 2].to_vec();
    all.extend(Stream::open(&server, "runs/1/events", Some(&middle.id)).rest());
    let (_, all_tasks, all_output) = told(&all);
    assert_eq!((all_tasks, all_output), (tasks, output));
}

#[test]
fn what_cannot_be_followed_is_said() {
    let (_site, server) = site();
    for (path, status, why) in [
        ("runs/9/events", 404, "there is no run 9"),
        ("runs/x/events", 400, "\\\"x\\\" is not a run's number"),
        (
            "runs/1/events?from=1",
            400,
            "from: unknown; want last_event_id",
        ),
        (
            "runs/1/events?last_event_id=7",
            400,
            "last_event_id: no event has the id",
        ),
        ("events?a=b", 400, "a: unknown; want last_event_id"),
    ] {
        let answer = server.get(&format!("/api/v1/{path}"));
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.text().contains(why), "{}", answer.text());
    }
    for path in ["/api/v1/runs/1/events", "/api/v1/events"] {
        let answer = server.request("POST", path, &[], b"");
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET")));
    }
}

#[test]
fn every_run_that_moves_is_told() {
    let site = Site::new().no_bindings().binding("a", "[wait]", "");
    let server = site.start();
    let mut stream = Stream::open(&server, "events", None);
    // It knows where it stands before anything happens.
    while stream.last.is_none() {
        stream.chunk();
        if let Some(id) = stream.text.strip_prefix("id: ") {
            stream.last = Some(id.trim().to_owned());
        }
    }
    let begin = stream.last.clone().unwrap();
    server.deliver(&[alert("A", "web1").label("for", "a")]);
    let first = stream.until(is_run("running"));
    let running = &first.last().unwrap().data;
    assert_eq!(running["roles"], serde_json::json!(["wait"]));
    assert_eq!((&running["id"], &running["hosts"]), (&1.into(), &1.into()));
    assert_eq!(
        (&running["trigger"], &running["binding"]),
        (&"alert".into(), &"a".into())
    );
    site.go();
    let end = stream.until(is_run("finished"));
    assert_eq!(end.last().unwrap().data["outcome"], "successful");
    let all = [first, end].concat();
    for (n, event) in all.iter().enumerate() {
        let mut again = Stream::open(&server, "events", Some(&event.id));
        for later in &all[n + 1..] {
            assert_eq!(again.next().as_ref(), Some(later));
        }
    }
    let mut again = Stream::open(&server, &format!("events?last_event_id={begin}"), None);
    assert_eq!(again.next().as_ref(), all.first());
    assert!(server.stop().success());
    // What happened meanwhile nobody knows.
    let server = site.start();
    let mut again = Stream::open(&server, "events", Some(&begin));
    let reset = again.next().unwrap();
    assert_eq!((reset.name.as_str(), reset.data), ("reset", Value::Null));
    assert_ne!(reset.id, begin);
}

#[test]
fn streams_end_at_once_when_promansible_does() {
    let (_site, server) = site();
    server.wait_run(1, "running");
    let mut run = Stream::open(&server, "runs/1/events", None);
    let mut all = Stream::open(&server, "events", None);
    run.until(is_run("running"));
    server.signal(nix::sys::signal::Signal::SIGTERM);
    // Both end as a stream should, and are not cut off when the time for open connections is up.
    while run.chunk() {}
    while all.chunk() {}
}

#[test]
fn many_watch_a_run_one_is_slow_and_all_are_told_the_same() {
    let site = Site::new()
        .no_bindings()
        .binding("a", "[ok, wait, flood]", "");
    let server = site.start();
    server.deliver(&[alert("A", "web1").label("for", "a")]);
    server.wait_run(1, "running");
    let open = || Stream::open(&server, "runs/1/events", None);
    let mut streams: Vec<Stream> = (0..50).map(|_| open()).collect();
    let mut slow = open();
    for stream in &mut streams {
        stream.until(|event| event.name == "output");
    }
    site.go();
    let wanted = {
        server.wait_run(1, "finished");
        server.get("/api/v1/runs/1/output").text()
    };
    for stream in &mut streams {
        let mut all = vec![stream.last.clone().unwrap()];
        let events = stream.rest();
        all.extend(events.iter().map(|event| event.id.clone()));
        assert_eq!(events.last().unwrap().data["state"], "finished");
        let output: String = events
            .iter()
            .filter(|event| event.name == "output")
            .map(|event| event.data["text"].as_str().unwrap())
            .collect();
        assert!(wanted.ends_with(&output) && output.len() > 300_000);
        all.dedup();
        assert_eq!(all.len(), events.len() + 1, "an id is an event's own");
    }
    let (states, tasks, output) = told(&slow.rest());
    assert_eq!(
        (states.last().unwrap().as_str(), tasks.len()),
        ("finished", 3)
    );
    assert_eq!(output, wanted);
}

#[test]
fn those_who_are_too_many_are_told_so_and_places_become_free() {
    let site = Site::new().receiver("max_connections", "8");
    let server = site.start();
    let open = || Stream::open(&server, "events", None);
    let streams: Vec<Stream> = (0..4).map(|_| open()).collect();
    let answer = server.get("/api/v1/events");
    assert_eq!(answer.status, 503);
    assert!(
        answer.text().contains("4 clients watch events already"),
        "{}",
        answer.text()
    );
    drop(streams);
    let begin = Instant::now();
    let is_free = || {
        let mut stream = server.connect();
        let request = server.bytes_of("GET", "/api/v1/events", &[], b"");
        stream.write_all(&request).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line.contains(" 200 ")
    };
    while !is_free() {
        assert!(begin.elapsed() < PATIENCE, "no place becomes free");
        std::thread::sleep(Duration::from_millis(20));
    }
}
