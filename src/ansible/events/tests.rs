use proptest::prelude::*;

use super::*;

fn decoder() -> Decoder {
    Decoder::new(["web1".to_owned(), "web2".to_owned()])
}

const TASK: &str = r#"{"event":"task","host":"web1","role":"r","task":"t","action":"a","status":"changed","duration_seconds":1.5,"message":"m"}"#;

#[test]
fn each_kind_is_read() {
    let text = format!(
        "{{\"event\":\"hello\",\"protocol\":1,\"ansible\":\"2.19.1\"}}\n{TASK}\n\n{{\"event\":\"no_hosts_matched\"}}\n{}\n",
        r#"{"event":"stats","hosts":{"web1":{"ok":3,"changed":1,"failures":0,"unreachable":0,"skipped":2,"rescued":0,"ignored":1,"new":9}}}"#
    );
    let mut decoder = decoder();
    let events = decoder.feed(text.as_bytes());
    let task = TaskReport {
        host: "web1".into(),
        role: Some("r".into()),
        task: "t".into(),
        action: "a".into(),
        status: TaskStatus::Changed,
        duration_seconds: 1.5,
        message: Some("m".into()),
        findings: None,
    };
    let stats = HostStats {
        ok: 3,
        changed: 1,
        skipped: 2,
        ignored: 1,
        ..HostStats::default()
    };
    assert_eq!(
        events,
        [
            Event::Hello {
                ansible: "2.19.1".into()
            },
            Event::Task(task),
            Event::NoHostsMatched,
            Event::Stats(Stats::from([("web1".to_owned(), stats)])),
        ]
    );
    assert_eq!(decoder.junk(), 0);
}

#[test]
fn findings_are_an_object_within_its_limit() {
    let line = |findings: &str| TASK.replace('}', &format!(",\"findings\":{findings}}}\n"));
    let read = |findings: &str| {
        let mut decoder = decoder();
        let events = decoder.feed(line(findings).as_bytes());
        let task = events.into_iter().next().map(|event| match event {
            Event::Task(report) => report,
            other => panic!("{other:?}"),
        });
        (task, decoder.junk())
    };
    let (task, _) = read(r#"{"up":true,"list":[{"value":0.5}]}"#);
    let found = serde_json::to_string(&task.unwrap().at(DateTime::UNIX_EPOCH)).unwrap();
    assert!(
        found.ends_with(r#""findings":{"up":true,"list":[{"value":0.5}]}}"#),
        "{found}"
    );
    let (task, _) = read("null");
    let found = serde_json::to_string(&task.unwrap().at(DateTime::UNIX_EPOCH)).unwrap();
    assert!(!found.contains("findings"), "{found}");
    for odd in ["[1]", "1", "\"x\"", "true"] {
        assert_eq!(read(odd), (None, 1), "{odd}");
    }
    let of = |bytes: usize| format!("{{\"x\":\"{}\"}}", "x".repeat(bytes - 8));
    assert!(read(&of(MAX_FINDINGS_BYTES)).0.unwrap().findings.is_some());
    let (task, junk) = read(&of(MAX_FINDINGS_BYTES + 1));
    let task = task.unwrap();
    assert_eq!((task.findings, junk), (None, 0));
    assert_eq!(
        task.message.unwrap(),
        "findings rejected: 16385 bytes as JSON exceed the limit of 16384"
    );
}

#[test]
fn facts_come_in_pieces() {
    let piece = |host: &str, text: &str, last: bool| {
        serde_json::json!({"event": "facts", "host": host, "text": text, "last": last}).to_string()
            + "\n"
    };
    let read = |lines: &[String]| {
        let mut decoder = decoder();
        let events = decoder.feed(lines.concat().as_bytes()).into_iter();
        let facts = events.map(|event| match event {
            Event::Facts { host, facts } => format!("{host} {}", serde_json::Value::from(facts)),
            other => panic!("{other:?}"),
        });
        (facts.collect::<Vec<_>>(), decoder.junk())
    };
    let whole = [
        piece("web1", "{\"a\":", false),
        piece("web1", "1}", true),
        piece("web2", "{}", true),
    ];
    assert_eq!(
        read(&whole),
        (vec!["web1 {\"a\":1}".to_owned(), "web2 {}".to_owned()], 0)
    );
    // Half of one host's, then another's; no object; nobody's; too much.
    assert_eq!(
        read(&[piece("web1", "{", false), piece("web2", "{}", true)]),
        (vec!["web2 {}".to_owned()], 1)
    );
    assert_eq!(read(&[piece("web1", "[1]", true)]), (vec![], 1));
    assert_eq!(read(&[piece("other", "{}", true)]), (vec![], 1));
    let much = vec![piece("web1", &"x".repeat(60_000), false); MAX_FACTS_BYTES / 60_000 + 1];
    assert_eq!(read(&much), (vec![], 1));
}

#[test]
fn what_is_new_is_ignored_and_what_is_wrong_is_counted() {
    for (line, junk) in [
        (r#"{"event":"news","host":"web1","facts":{}}"#, 0),
        ("", 0),
        ("nonsense", 1),
        ("[]", 1),
        (r#"{"event":"task","host":"web1"}"#, 1),
        (
            r#"{"event":"task","host":"web1","task":"t","action":"a","status":"melted"}"#,
            1,
        ),
        (
            r#"{"event":"task","host":"other","task":"t","action":"a","status":"ok"}"#,
            1,
        ),
        (r#"{"event":"stats","hosts":{"web1":{"ok":-1}}}"#, 1),
        ("\u{0}\u{1}", 1),
    ] {
        let mut decoder = decoder();
        assert_eq!(decoder.feed(format!("{line}\n").as_bytes()), [], "{line}");
        assert_eq!(decoder.junk(), junk, "{line}");
        assert_eq!(
            decoder.feed(format!("{TASK}\n").as_bytes()).len(),
            1,
            "after {line}"
        );
    }
}

#[test]
fn a_stranger_s_statistics_are_left_out() {
    let mut decoder = decoder();
    let events = decoder.feed(b"{\"event\":\"stats\",\"hosts\":{\"web2\":{},\"other\":{}}}\n");
    assert_eq!(
        events,
        [Event::Stats(Stats::from([(
            "web2".to_owned(),
            HostStats::default()
        )]))]
    );
    assert_eq!(decoder.junk(), 1);
}

#[test]
fn a_line_has_a_longest_length() {
    let mut decoder = decoder();
    let fitting = format!("{TASK}{}\n", " ".repeat(MAX_LINE_BYTES - TASK.len()));
    assert_eq!(decoder.feed(fitting.as_bytes()).len(), 1);
    let too_long = format!(
        "{TASK}{}\n{TASK}\n",
        " ".repeat(MAX_LINE_BYTES - TASK.len() + 1)
    );
    assert_eq!(decoder.feed(too_long.as_bytes()).len(), 1);
    assert_eq!(decoder.junk(), 1);
    // Nor is more than that ever held.
    for _ in 0..100 {
        decoder.feed(&[b'x'; 10_000]);
        assert!(decoder.line.len() <= MAX_LINE_BYTES);
    }
    decoder.finish();
    assert_eq!(decoder.junk(), 2);
}

#[test]
fn texts_are_cut_and_times_are_sane() {
    let mut decoder = decoder();
    let line = format!(
        r#"{{"event":"task","host":"web1","task":"{0}","action":"a","status":"ok","duration_seconds":-3,"message":"{0}"}}"#,
        "ü".repeat(5000)
    );
    let events = decoder.feed(format!("{line}\n").as_bytes());
    let [Event::Task(task)] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(task.task.chars().count(), MAX_NAME_CHARS);
    assert_eq!(
        task.message.as_ref().unwrap().chars().count(),
        MAX_MESSAGE_CHARS
    );
    assert!(task.duration_seconds.abs() < f64::EPSILON);
}

fn lines() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(format!("{TASK}\n").into_bytes()),
        2 => Just(b"{\"event\":\"stats\",\"hosts\":{\"web1\":{\"ok\":1},\"x\":{}}}\n".to_vec()),
        1 => Just(b"\n".to_vec()),
        3 => prop::collection::vec(any::<u8>(), 0..80),
        1 => (MAX_LINE_BYTES - 300..MAX_LINE_BYTES + 300).prop_map(|length| vec![b' '; length]),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn how_the_bytes_are_cut_does_not_matter(bytes in lines(), sizes in prop::collection::vec(1usize..5000, 1..20)) {
        let mut whole = decoder();
        let expected = whole.feed(&bytes);
        whole.finish();

        let mut cut = decoder();
        let mut events = Vec::new();
        let mut rest = bytes.as_slice();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            events.extend(cut.feed(piece));
            rest = after;
        }
        cut.finish();
        prop_assert_eq!(events, expected);
        prop_assert_eq!(cut.junk(), whole.junk());
    }

    #[test]
    fn no_event_names_a_stranger(bytes in lines()) {
        for event in decoder().feed(&bytes) {
            match event {
                Event::Task(task) => prop_assert!(task.host == "web1" || task.host == "web2"),
                Event::Stats(stats) => prop_assert!(stats.keys().all(|host| host == "web1" || host == "web2")),
                Event::Facts { host, .. } => prop_assert!(host == "web1" || host == "web2"),
                Event::Hello { .. } | Event::Begin { .. } | Event::NoHostsMatched => {}
            }
        }
    }
}
