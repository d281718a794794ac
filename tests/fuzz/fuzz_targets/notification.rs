//! A webhook body is taken as something that can be written down and read again as the same, or refused in a sentence.
#![no_main]

use libfuzzer_sys::fuzz_target;
use promansible_fuzz::model::alert::{Fingerprint, Limits, Notification, Status};
use serde_json::json;

const LIMITS: Limits = Limits { alerts: 20 };

fuzz_target!(|body: &[u8]| {
    let read = match Notification::parse(body, LIMITS) {
        Ok(read) => read,
        Err(refused) => {
            let why = refused.to_string();
            assert!(!why.is_empty() && why.chars().count() <= 1100, "{why}");
            return;
        }
    };
    assert!(read.alerts.len() <= LIMITS.alerts);
    for alert in &read.alerts {
        assert_eq!(
            alert.fingerprint.to_string().parse::<Fingerprint>(),
            Ok(alert.fingerprint)
        );
        assert!(alert.ends_at.is_none() || alert.status == Status::Resolved);
        assert_eq!(alert.episode().fingerprint, alert.fingerprint);
    }
    let written = json!({
        "version": "4",
        "receiver": read.receiver,
        "groupKey": read.group_key,
        "truncatedAlerts": read.truncated_alerts,
        "externalURL": read.external_url,
        "alerts": read.alerts.iter().map(|alert| json!({
            "status": alert.status,
            "labels": alert.labels,
            "annotations": alert.annotations,
            "startsAt": alert.starts_at,
            "endsAt": alert.ends_at,
            "generatorURL": alert.generator_url,
            "fingerprint": alert.fingerprint,
        })).collect::<Vec<_>>(),
    });
    let again = Notification::parse(written.to_string().as_bytes(), LIMITS);
    assert_eq!(again.as_ref(), Ok(&read), "{written}");
});
