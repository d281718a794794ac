use serde_json::json;

use super::*;

/// The output of a run from a position on.
fn followed(pieces: &[(u64, &[u8])], to: u64) -> TailChunk {
    let run = json!({
        "id": 1, "trigger": "manual", "hosts": ["h"], "state": "running",
        "work": {"roles": ["r"], "become": false, "gather_facts": false, "timeout_seconds": 1, "vars": {"secret": "x"}},
        "created_at": "2026-11-22T10:00:00Z", "ready_at": "2026-11-22T10:00:00Z",
    });
    TailChunk {
        run: serde_json::from_value(run).unwrap(),
        events: Vec::new(),
        output: pieces
            .iter()
            .map(|(at, piece)| (*at, piece.to_vec()))
            .collect(),
        to: RunOffset {
            events: 0,
            output_bytes: to,
        },
        more: false,
    }
}

fn texts(written: &[u8]) -> Vec<String> {
    let written = String::from_utf8(written.to_vec()).unwrap();
    let lines = written
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_character_waits_for_its_end_unless_none_will_come() {
    let euro = "€".as_bytes();
    let cut = [b"abc", &euro[..2]].concat();
    let mut at = Position::default();
    let written = write(&mut at, &followed(&[(0, &cut)], 5), None, false);
    assert_eq!(texts(&written), [r#"{"offset":0,"text":"abc"}"#]);
    assert_eq!(at.to_string(), "0.3.none");
    let written = write(&mut at, &followed(&[(3, euro)], 6), None, false);
    assert_eq!(texts(&written), [r#"{"offset":3,"text":"€"}"#]);
    assert_eq!(at.to_string(), "0.6.none");

    // The run has ended, or the following output was not kept.
    let mut at = Position::default();
    let written = write(&mut at, &followed(&[(0, &cut)], 5), None, true);
    assert_eq!(texts(&written), [r#"{"offset":0,"text":"abc�"}"#]);
    let mut at = Position::default();
    let written = write(
        &mut at,
        &followed(&[(0, &cut), (90, b"z")], 91),
        None,
        false,
    );
    let wanted = [
        r#"{"offset":0,"text":"abc�"}"#,
        r#"{"offset":90,"text":"z"}"#,
    ];
    assert_eq!(texts(&written), wanted);
    assert_eq!(at.to_string(), "0.91.none");
}

#[test]
fn a_state_is_sent_when_it_changes_and_the_last_one_at_the_end() {
    let mut at = Position::default();
    let chunk = followed(&[(0, b"a")], 1);
    let written = write(&mut at, &chunk, Some(State::Running), false);
    let first = texts(&written)[0].clone();
    assert!(
        first.contains(r#""state":"running""#) && first.contains("(hidden)"),
        "{first}"
    );
    let written = write(&mut at, &followed(&[], 1), Some(State::Running), false);
    assert!(written.is_empty());
    let chunk = followed(&[(1, b"b")], 2);
    let written = write(&mut at, &chunk, Some(State::Finished), true);
    assert_eq!(texts(&written)[0], r#"{"offset":1,"text":"b"}"#);
    assert_eq!(texts(&written).len(), 2);
    assert_eq!(at.to_string(), "0.2.finished");
}
