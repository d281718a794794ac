use chrono::TimeDelta;

use super::*;
use crate::config::Email;
use crate::model::message::MessageEvent;
use crate::model::run::{Outcome, RunId};

fn head() -> MessageContext {
    MessageContext {
        store: "s".into(),
        origin: Some("https://pm.example".into()),
    }
}

fn failed(why: &str) -> Message {
    let matter = MessageEvent::RunFailed {
        run: RunId(7),
        outcome: Outcome::Failed,
        roles: vec!["mend".to_owned()],
        hosts: vec!["web1".to_owned(), "web2".to_owned()],
        binding: Some("b".to_owned()),
        schedule: None,
        why: Some(why.to_owned()),
    };
    Message {
        id: 3,
        at: "2026-11-22T10:00:00Z".parse().unwrap(),
        matter,
    }
}

#[test]
fn slack_makes_nothing_of_a_text_but_text() {
    assert_eq!(
        webhook::slack_text(&head(), &failed("<!channel> & <https://evil|click>")),
        "*Run 7 of mend on web1, web2: failed*\nBinding: b\n\
         Why: &lt;!channel&gt; &amp; &lt;https://evil|click&gt;\n<https://pm.example/runs/7|View>"
    );
}

#[test]
fn a_webhook_gets_the_message_and_its_key() {
    assert_eq!(
        webhook::own(&head(), &failed("x")),
        serde_json::json!({
            "version": "1", "key": "s-3", "summary": "Run 7 of mend on web1, web2: failed",
            "details": ["Binding: b", "Why: x"], "url": "https://pm.example/runs/7",
            "id": 3, "at": "2026-11-22T10:00:00Z", "event": "run_failed", "run": 7, "outcome": "failed",
            "roles": ["mend"], "hosts": ["web1", "web2"], "binding": "b", "schedule": null, "why": "x",
        })
    );
}

#[test]
fn no_text_becomes_a_header_of_a_letter() {
    let settings = Email {
        to: vec!["a@example.org".parse().unwrap()],
        from: "b@example.org".parse().unwrap(),
        host: "localhost".to_owned(),
        port: 25,
        require_tls: false,
        tls: crate::config::TlsClient::default(),
        auth: None,
    };
    let matter = MessageEvent::RemediationIneffective {
        binding: "b".to_owned(),
        alertname: "Disk\r\nBcc: evil@example.org\r\n\r\nfull".to_owned(),
        host: "web1".to_owned(),
        run: RunId(7),
        episode: "e".to_owned(),
    };
    let message = Message::new(matter, "2026-11-22T10:00:00Z".parse().unwrap());
    let letter = email::letter(&head(), &settings, &message).unwrap();
    let letter = String::from_utf8(letter.formatted()).unwrap();
    let (headers, _) = letter.split_once("\r\n\r\n").unwrap();
    assert!(!headers.contains("\r\nBcc:"), "{headers}");
    assert!(
        headers.contains("Subject: [promansible] Run 7 succeeded"),
        "{headers}"
    );
    assert!(
        headers.contains("Message-ID: <s-0@promansible>"),
        "{headers}"
    );
}

#[test]
fn there_is_an_alert_for_each_host() {
    let message = failed("x");
    let now = message.at + TimeDelta::minutes(5);
    let alerts = alertmanager::alerts(&head(), &message, now);
    assert_eq!(alerts.len(), 2);
    assert_eq!(alerts[1].labels["host"], "web2");
    assert_eq!(alerts[1].labels["alertname"], "PromansibleRunFailed");
    assert_eq!(alerts[1].ends_at, now + TimeDelta::hours(1));
    assert_eq!(alerts[1].generator_url, "https://pm.example/runs/7");
}

#[test]
fn pauses_grow_up_to_a_bound() {
    assert_eq!(pause(0), FIRST_PAUSE);
    assert_eq!(pause(3), FIRST_PAUSE * 8);
    assert_eq!(pause(9), LONGEST_PAUSE);
    assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
}
