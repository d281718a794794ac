//! What a host, an alert or the server says drives no terminal, whatever is printed, and JSON stays the same value.

use crate::support::{Site, promansible, run};

const EVIL: &str = "a\u{1b}[2J\u{9b}31m\u{7f}\u{202e}\u{61c}\u{2028}z";

fn is_shown(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c == '\n' || (!c.is_control() && !turns)
}

#[test]
fn facts_and_json_show_no_control_character_and_no_mark_of_direction() {
    let site = Site::new();
    let server = site.start();
    let facts = serde_json::json!({"facts": {"web1": {"evil": EVIL, "list": [EVIL], EVIL: 1}}});
    let json = [("Content-Type", "application/json")];
    let body = facts.to_string();
    let answer = server.request("POST", "/api/v1/facts", &json, body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let vars = serde_json::json!({ "v": EVIL });
    server.started_run(
        &serde_json::json!({"roles": ["ok"], "target": {"hosts": ["web1"]}, "vars": vars})
            .to_string(),
    );
    server.wait_run(1, "finished");
    for args in [
        &["facts", "show", "web1"][..],
        &["facts", "show", "web1", "evil"],
        &["facts", "show", "web1", "list"],
        &["facts", "show", "web1", EVIL],
        &["facts", "diff", "web1"],
        &["runs", "list", "--format=json"],
        &["runs", "show", "1", "--format=json"],
        &["runs", "list", &format!("--role={EVIL}")],
    ] {
        let mut command = promansible();
        command
            .args(args)
            .arg(format!("--server.url=http://{}", server.address));
        let output = run(&mut command);
        let out = String::from_utf8(output.stdout).unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!(out.is_empty() && said.is_empty()), "{args:?}");
        assert!(out.chars().all(is_shown), "{args:?}: {out:?}");
        assert!(said.chars().all(is_shown), "{args:?}: {said:?}");
        if args == ["facts", "show", "web1"] {
            let value: serde_json::Value = serde_json::from_str(&out).unwrap();
            assert_eq!(value["evil"], EVIL, "the value stays");
        }
    }
}
