use super::*;

const LIMITS: Limits = Limits { alerts: 3 };

fn body(alerts: &str) -> String {
    format!(
        r#"{{"version":"4","groupKey":"g","truncatedAlerts":2,"status":"firing","receiver":"team\\.x","groupLabels":{{}},"commonLabels":{{}},"commonAnnotations":{{}},"externalURL":"http://am","routeLabels":{{"new":"field"}},"alerts":[{alerts}]}}"#
    )
}

fn alert(status: &str, ends_at: &str) -> String {
    format!(
        r#"{{"status":"{status}","labels":{{"alertname":"A","instance":"h:9100"}},"annotations":{{"summary":"s"}},"startsAt":"2026-11-22T10:00:00.123456789Z","endsAt":"{ends_at}","generatorURL":"","fingerprint":"00000000000000ff","extra":1}}"#
    )
}

fn error(text: &str) -> String {
    Notification::parse(text.as_bytes(), LIMITS)
        .unwrap_err()
        .to_string()
}

#[test]
fn a_mixed_group_is_read_alert_by_alert() {
    let text = body(&format!(
        "{},{}",
        alert("firing", "0001-01-01T00:00:00Z"),
        alert("resolved", "2026-11-22T10:05:00+02:00")
    ));
    let read = Notification::parse(text.as_bytes(), LIMITS).unwrap();
    assert_eq!(read.truncated_alerts, 2);
    assert_eq!(read.receiver, r"team\.x");
    assert_eq!(read.alerts[0].status, Status::Firing);
    assert_eq!(read.alerts[0].ends_at, None);
    assert_eq!(
        read.alerts[1].ends_at.unwrap().to_rfc3339(),
        "2026-11-22T08:05:00+00:00"
    );
    assert_eq!(read.alerts[0].fingerprint, Fingerprint(255));
    assert_eq!(
        read.alerts[0].episode().to_string(),
        "00000000000000ff@2026-11-22T10:00:00.123Z"
    );
    assert_eq!(read.alerts[0].name(), "A");
}

#[test]
fn null_stands_for_gos_nil() {
    let text = r#"{"version":"4","alerts":null}"#;
    assert!(
        Notification::parse(text.as_bytes(), LIMITS)
            .unwrap()
            .alerts
            .is_empty()
    );
}

#[test]
fn what_is_wanted_is_said_in_the_words_of_json() {
    let good = alert("firing", "0001-01-01T00:00:00Z");
    let one = |from: &str, to: &str| {
        assert!(good.contains(from));
        error(&body(&good.replace(from, to)))
    };
    let begin = r#""2026-11-22T10:00:00.123456789Z""#;
    let time = "want a time in RFC 3339 such as 2026-11-22T10:00:00Z, found";
    let cases = [
        (
            error("[]"),
            "the body is not a notification: want a JSON object, found a list",
        ),
        (
            // serde would accept this list as an object.
            error(r#"["4","","",0,"",[]]"#),
            "the body is not a notification: want a JSON object, found a list",
        ),
        (
            error("null"),
            "the body is not a notification: want a JSON object, found null",
        ),
        (
            error(r#"{"version":"4","truncatedAlerts":-1,"alerts":[]}"#),
            "truncatedAlerts: want a number of alerts, found -1",
        ),
        (
            error(r#"{"version":"4","truncatedAlerts":1.5,"alerts":[]}"#),
            "truncatedAlerts: want a number of alerts, found 1.5",
        ),
        (
            error(r#"{"version":"4","truncatedAlerts":"1","alerts":[]}"#),
            r#"truncatedAlerts: want a number of alerts, found "1""#,
        ),
        (
            error(r#"{"version":"4","alerts":{}}"#),
            "alerts: want a list, found an object",
        ),
        (
            error(&body("true")),
            "alerts[0]: want a JSON object, found true",
        ),
        (
            error(&body("[]")),
            "alerts[0]: want a JSON object, found a list",
        ),
        (
            one(r#"{"summary":"s"}"#, "[]"),
            "alerts[0].annotations: want an object, found a list",
        ),
        (
            one(r#""firing""#, r#""pending, expected x at line 9""#),
            r#"alerts[0].status: want "firing" or "resolved", found "pending, expected x at line 9""#,
        ),
        (
            one(r#""firing""#, "1"),
            r#"alerts[0].status: want "firing" or "resolved", found 1"#,
        ),
        (
            one(begin, r#""yesterday""#),
            &format!("alerts[0].startsAt: {time} \"yesterday\""),
        ),
        (one(begin, "5"), &format!("alerts[0].startsAt: {time} 5")),
        (
            one(begin, "null"),
            &format!("alerts[0].startsAt: {time} null"),
        ),
        (
            one("0001-01-01T00:00:00Z", "never"),
            &format!("alerts[0].endsAt: {time} \"never\""),
        ),
    ];
    for (said, wanted) in cases {
        let place = said
            .strip_prefix(wanted)
            .unwrap_or_else(|| panic!("{said}"));
        assert!(place.starts_with(" at line 1 column "), "{said}");
    }
}

#[test]
fn a_fault_is_named_by_its_field() {
    let good = alert("firing", "0001-01-01T00:00:00Z");
    let one = |from: &str, to: &str| {
        assert!(good.contains(from));
        error(&body(&format!("{good},{}", good.replace(from, to))))
    };
    assert_eq!(
        error("{"),
        "the body is not a notification: EOF while parsing an object at line 1 column 1"
    );
    assert!(error(r#"{"version":"4"}"#).contains("missing field `alerts`"));
    for foreign in [
        r#"{"version":"5","alerts":[]}"#,
        r#"{"version":"5","alerts":[{"what":1}]}"#,
        r#"{"alert":{},"version":"5"}"#,
    ] {
        assert_eq!(
            error(foreign),
            r#"version: want "4" (Alertmanager from 0.6 on), "3" (Alertmanager 0.1 to 0.5) or "1" (Grafana's alerting), found "5"; update the sender, or let it send to an Alertmanager"#
        );
    }
    assert_eq!(
        error(r#"{"version":4,"alerts":[]}"#),
        "version: want a string, found 4 at line 1 column 12"
    );
    assert!(
        error(r#"{"version":"4","alerts":[]} x"#)
            .starts_with("after the notification: trailing characters")
    );
    assert!(
        one(r#""h:9100""#, "7")
            .starts_with("alerts[1].labels.instance: want a string, found 7 at line 1 column ")
    );
    assert!(
        one("2026-11-22T10:00:00.123456789Z", "0001-01-01T00:00:00Z")
            .contains("is not a valid start time of an alert")
    );
    assert!(one("00000000000000ff", "zz").starts_with("alerts[1].fingerprint: want 16 hexadecimal digits, as Alertmanager sends them, found \"zz\""));
    assert!(
        one("00000000000000ff", "+0000000000000ff").starts_with("alerts[1].fingerprint: want 16")
    );
    assert_eq!(
        error(&body(&[good.as_str(); 4].join(","))),
        "alerts: 4 alerts are more than the limit of 3 (receiver.max_alerts); lower Alertmanager's max_alerts or raise the limit"
    );
}

fn sample(name: &str) -> Vec<u8> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/notifications/");
    std::fs::read(format!("{dir}{name}")).unwrap()
}

#[test]
fn every_sender_that_the_documents_name_is_taken() {
    let grafana = Notification::parse(&sample("grafana.json"), LIMITS).unwrap();
    assert_eq!(grafana.group_key, "{}:{}");
    let [fires, ended] = &*grafana.alerts else {
        panic!("{grafana:?}")
    };
    assert_eq!(fires.name(), "High memory usage");
    assert_eq!(fires.fingerprint.to_string(), "c6eadffa33fcdf37");
    assert_eq!(
        fires.starts_at.to_rfc3339(),
        "2026-11-12T07:51:03.157+00:00"
    );
    assert_eq!((fires.status, fires.ends_at), (Status::Firing, None));
    assert_eq!(ended.status, Status::Resolved);
    assert!(ended.ends_at.is_some());
    for (file, group_key) in [
        ("alertmanager-0.5.json", "16131158374286486917"),
        ("alertmanager-0.18.json", r#"{}:{alertname="DiskWillFill"}"#),
    ] {
        let read = Notification::parse(&sample(file), LIMITS).unwrap();
        assert_eq!(read.group_key, group_key);
        assert_eq!(read.alerts[0].fingerprint.to_string(), "522caff31536c140");
    }
    // The first Alertmanagers have the same version as Grafana, but another shape.
    let first = String::from_utf8(sample("alertmanager-0.0.json")).unwrap();
    assert!(
        error(&first).contains("missing field `alerts`"),
        "{}",
        error(&first)
    );
    let prometheus = String::from_utf8(sample("prometheus.json")).unwrap();
    assert!(error(&prometheus).contains("want a JSON object, found a list"));
}
