//! Sends messages as alerts to Alertmanager, so that its existing routes deliver them.

use chrono::{DateTime, TimeDelta, Utc};

use crate::clients::alertmanager::{Alertmanager, AlertmanagerError, PostedAlert};
use crate::config;
use crate::model::alert::{ALERTNAME, LabelSet};
use crate::model::message::{HoldTarget, Kind, Message, MessageEvent};
use crate::services::notifier::MessageContext;
use crate::services::notifier::Refused;

/// How long such an alert fires: it reports an event, which has no end of its own.
const FIRING_TIME: TimeDelta = TimeDelta::hours(1);

pub(super) async fn post(
    head: &MessageContext,
    settings: Option<&config::Alertmanager>,
    message: &Message,
    now: DateTime<Utc>,
) -> Result<(), Refused> {
    let settings = settings.ok_or_else(|| Refused {
        why: "alertmanager.url is not configured".to_owned(),
        unreachable: true,
    })?;
    let alerts = alerts(head, message, now);
    let posted = Alertmanager::new(settings).post(&alerts).await;
    posted.map_err(|e| Refused {
        unreachable: match &e {
            AlertmanagerError::Refused(status, _) => status.is_server_error(),
            _ => true,
        },
        why: format!("Alertmanager at {}: {e}", settings.url),
    })
}

/// Returns one alert for each host. Labels have values from the configuration and the inventory only; the name of an alert,
/// which is text from outside, is in an annotation.
pub(super) fn alerts(
    head: &MessageContext,
    message: &Message,
    now: DateTime<Utc>,
) -> Vec<PostedAlert> {
    let name = match message.kind() {
        Kind::RunFailed => "PromansibleRunFailed",
        Kind::Ineffective => "PromansibleRemediationIneffective",
        Kind::Held => "PromansibleHeld",
        Kind::Approval => "PromansibleApprovalWanted",
        Kind::Test => "PromansibleTest",
    };
    let mut labels = LabelSet::new();
    let mut set = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            labels.insert(name.to_owned(), value.to_owned());
        }
    };
    set(ALERTNAME, Some(name));
    set("severity", Some("warning"));
    let mut hosts: &[String] = &[];
    match &message.matter {
        MessageEvent::RunFailed {
            roles,
            hosts: on,
            binding,
            schedule,
            outcome,
            ..
        } => {
            set("role", Some(&roles.join(",")));
            set("binding", binding.as_deref());
            set("schedule", schedule.as_deref());
            set("outcome", Some(outcome.as_str()));
            hosts = on;
        }
        MessageEvent::RemediationIneffective { binding, host, .. } => {
            set("binding", Some(binding));
            hosts = std::slice::from_ref(host);
        }
        MessageEvent::Held { what, reason, .. } => {
            set("reason", Some(reason));
            match what {
                HoldTarget::Binding(name) => set("binding", Some(name)),
                HoldTarget::Role(name) => set("role", Some(name)),
                HoldTarget::Host(name) => set("host", Some(name)),
                HoldTarget::All => {}
            }
        }
        MessageEvent::ApprovalWanted {
            roles,
            hosts: on,
            binding,
            ..
        } => {
            set("role", Some(&roles.join(",")));
            set("binding", binding.as_deref());
            hosts = on;
        }
        MessageEvent::Test { notifier } => set("notifier", Some(notifier)),
    }
    let annotations = LabelSet::from([
        ("summary".to_owned(), message.summary()),
        ("description".to_owned(), message.details().join("\n")),
    ]);
    let alert = |labels| PostedAlert {
        labels,
        annotations: annotations.clone(),
        starts_at: message.at,
        ends_at: now + FIRING_TIME,
        generator_url: head.link(message).unwrap_or_default(),
    };
    if hosts.is_empty() {
        return vec![alert(labels)];
    }
    let of_host = |host: &String| {
        let mut labels = labels.clone();
        labels.insert("host".to_owned(), host.clone());
        alert(labels)
    };
    hosts.iter().map(of_host).collect()
}
