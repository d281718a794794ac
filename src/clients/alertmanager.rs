//! A client for Alertmanager's API v2: reads firing alerts and alert groups, and posts alerts.
//!
//! *Source*: `api/v2/openapi.yaml` of prometheus/alertmanager. Times in its responses have only milliseconds, those in its
//! notifications up to nanoseconds. So episodes are compared by the millisecond.

use std::collections::BTreeSet;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::{Request, StatusCode};
use serde::{Deserialize, Serialize};

use crate::clients::web_client::{WebClient, WebError, under};
use crate::config;
use crate::model::alert::matcher::quoted_value;
use crate::model::alert::{
    Alert, EpisodeKey, Fingerprint, LabelSet, StartsAt, StartsAtError, Status,
};

/// The largest accepted response: some fifty thousand alerts. *Units*: bytes.
const LARGEST: usize = 64 << 20;

/// The longest excerpt of an error response. *Units*: characters.
const EXCERPT: usize = 200;

/// An Alertmanager client. Cheap to create.
#[derive(Debug, Clone)]
pub struct Alertmanager {
    url: hyper::Uri,
    client: WebClient,
}

/// Why a request to Alertmanager failed. Each message is a sentence about Alertmanager.
#[derive(Debug, thiserror::Error)]
pub enum AlertmanagerError {
    /// It did not answer.
    #[error(transparent)]
    Web(#[from] WebError),
    /// It rejected the request.
    #[error("it answered {0}: {1}")]
    Refused(StatusCode, String),
    /// Its response does not match its API.
    #[error("it does not answer like Alertmanager: {0}")]
    Odd(serde_path_to_error::Error<serde_json::Error>),
    /// The request is invalid.
    #[error("cannot build the request: {0}")]
    Request(#[from] hyper::http::Error),
}

/// An invalid alert in a response.
#[derive(Debug, thiserror::Error)]
#[error("the alert {fingerprint}: startsAt: {error}")]
pub struct OddAlert {
    fingerprint: Fingerprint,
    error: StartsAtError,
}

/// The episodes that fire in Alertmanager.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Firing(BTreeSet<(Fingerprint, i64)>);

impl FromIterator<EpisodeKey> for Firing {
    fn from_iter<I: IntoIterator<Item = EpisodeKey>>(episodes: I) -> Self {
        let keys = episodes.into_iter();
        Self(keys.map(|key| (key.fingerprint, millis(&key))).collect())
    }
}

fn millis(episode: &EpisodeKey) -> i64 {
    episode.starts_at_nanos.div_euclid(1_000_000)
}

impl Firing {
    /// Whether this episode fires.
    pub fn contains(&self, episode: &EpisodeKey) -> bool {
        self.0.contains(&(episode.fingerprint, millis(episode)))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// An alert to post.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PostedAlert {
    pub labels: LabelSet,
    pub annotations: LabelSet,
    /// When it began to fire.
    pub starts_at: DateTime<Utc>,
    /// When it resolves unless it is posted again.
    pub ends_at: DateTime<Utc>,
    /// The page of its source; empty if there is none.
    #[serde(rename = "generatorURL", skip_serializing_if = "String::is_empty")]
    pub generator_url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GettableAlert {
    labels: LabelSet,
    annotations: LabelSet,
    starts_at: DateTime<Utc>,
    #[serde(default, rename = "generatorURL")]
    generator_url: String,
    fingerprint: Fingerprint,
}

#[derive(Deserialize)]
struct ServerStatus {
    /// The start time, despite the name.
    uptime: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Group {
    labels: LabelSet,
    alerts: Vec<GettableAlert>,
}

impl Alertmanager {
    /// Creates a client for the configured Alertmanager.
    pub fn new(settings: &config::Alertmanager) -> Self {
        Self {
            url: settings.url.clone(),
            client: WebClient {
                http: settings.http.clone(),
                timeout: settings.timeout,
                largest: LARGEST,
            },
        }
    }

    /// Returns all firing episodes. Includes silenced and inhibited alerts: these are muted, not resolved.
    pub async fn firing(&self) -> Result<Firing, AlertmanagerError> {
        let alerts: Vec<GettableAlert> = self.get("/api/v2/alerts").await?;
        let keys = alerts
            .into_iter()
            .map(|alert| (alert.fingerprint, alert.starts_at.timestamp_millis()));
        Ok(Firing(keys.collect()))
    }

    /// Returns the time at which Alertmanager was started.
    pub async fn up_since(&self) -> Result<DateTime<Utc>, AlertmanagerError> {
        let status: ServerStatus = self.get("/api/v2/status").await?;
        Ok(status.uptime)
    }

    /// Returns the firing alerts of a group for which Alertmanager would notify the receiver. `receiver` is in the form of a
    /// notification: quoted as a regular expression, as the API requires.
    ///
    /// An alert with an impossible start is an error of its own, so that it does not block the others.
    pub async fn group(
        &self,
        receiver: &str,
        labels: &LabelSet,
    ) -> Result<Vec<Result<Alert, OddAlert>>, AlertmanagerError> {
        let path = group_path(receiver, labels);
        let groups: Vec<Group> = self.get(&path).await?;
        let of_group = groups.into_iter().filter(|group| group.labels == *labels);
        Ok(of_group
            .flat_map(|group| group.alerts)
            .map(GettableAlert::alert)
            .collect())
    }

    /// Posts alerts. Each resolves at its `ends_at` unless it is posted again.
    pub async fn post(&self, alerts: &[PostedAlert]) -> Result<(), AlertmanagerError> {
        let body = serde_json::to_vec(alerts).expect("our own types are JSON");
        let request = Request::post(under(&self.url, "/api/v2/alerts"))
            .header(CONTENT_TYPE, "application/json")
            .body(body.into())?;
        self.send(request).await?;
        Ok(())
    }

    async fn get<T: serde::de::DeserializeOwned + Send + 'static>(
        &self,
        path: &str,
    ) -> Result<T, AlertmanagerError> {
        let request = Request::get(under(&self.url, path))
            .header(ACCEPT, "application/json")
            .body(Bytes::new())?;
        let body = self.send(request).await?;
        let mut json = serde_json::Deserializer::from_slice(&body);
        serde_path_to_error::deserialize(&mut json).map_err(AlertmanagerError::Odd)
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Bytes, AlertmanagerError> {
        let answer = self.client.send(request).await?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        let text = String::from_utf8_lossy(&answer.body);
        let excerpt = text.trim().chars().take(EXCERPT).collect();
        Err(AlertmanagerError::Refused(answer.status, excerpt))
    }
}

impl GettableAlert {
    fn alert(self) -> Result<Alert, OddAlert> {
        let fingerprint = self.fingerprint;
        let starts_at = StartsAt::try_from(self.starts_at);
        let starts_at = starts_at.map_err(|error| OddAlert { fingerprint, error })?;
        Ok(Alert {
            status: Status::Firing,
            labels: self.labels,
            annotations: self.annotations,
            starts_at,
            ends_at: None,
            generator_url: self.generator_url,
            fingerprint,
        })
    }
}

fn group_path(receiver: &str, labels: &LabelSet) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("receiver", receiver);
    for muted in ["silenced", "inhibited"] {
        query.append_pair(muted, "false");
    }
    // Keeps the response small. Names with other characters need a newer Alertmanager, so they are compared afterwards.
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for (name, value) in labels.iter().filter(|(name, _)| name.chars().all(plain)) {
        query.append_pair("filter", &format!("{name}={}", quoted_value(value)));
    }
    format!("/api/v2/alerts/groups?{}", query.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn episodes_are_compared_by_the_millisecond() {
        let fingerprint = Fingerprint(7);
        let firing = Firing(BTreeSet::from([(fingerprint, -1)]));
        let at = |starts_at_nanos| EpisodeKey {
            fingerprint,
            starts_at_nanos,
        };
        assert!(firing.contains(&at(-1)) && firing.contains(&at(-1_000_000)));
        assert!(!firing.contains(&at(0)) && !firing.contains(&at(-1_000_001)));
    }

    #[test]
    fn an_answer_is_read_as_alertmanager_writes_it() {
        let json = r#"[{"annotations":{"summary":"it is"},"endsAt":"2026-11-22T10:05:00.000Z",
            "fingerprint":"a1f0c3d2e4b59687","receivers":[{"name":"promansible"}],"startsAt":"2026-11-22T10:00:00.123Z",
            "status":{"inhibitedBy":[],"mutedBy":[],"silencedBy":[],"state":"active"},
            "updatedAt":"2026-11-22T10:00:00.000Z","generatorURL":"http://p","labels":{"alertname":"SiteDown"}}]"#;
        let alerts: Vec<GettableAlert> = serde_json::from_str(json).unwrap();
        let alert = alerts.into_iter().next().unwrap().alert().unwrap();
        assert_eq!(alert.fingerprint.to_string(), "a1f0c3d2e4b59687");
        assert_eq!(alert.starts_at.timestamp_subsec_millis(), 123);
        assert_eq!(alert.name(), "SiteDown");
        assert_eq!(alert.ends_at, None);
    }

    #[test]
    fn an_alert_that_cannot_have_begun_then_is_an_error_and_no_panic() {
        let alert_at = |at: &str| -> GettableAlert {
            let json = serde_json::json!({
                "annotations": {}, "labels": {}, "startsAt": at, "fingerprint": "a1f0c3d2e4b59687"
            });
            serde_json::from_value(json).unwrap()
        };
        for at in [
            "0001-01-01T00:00:00Z",
            "1677-09-21T00:12:43Z",
            "2262-04-12T00:00:00Z",
        ] {
            let why = alert_at(at).alert().unwrap_err().to_string();
            assert!(why.contains("a1f0c3d2e4b59687: startsAt:"), "{why}");
        }
        for at in ["1678-01-01T00:00:00Z", "2262-01-01T00:00:00Z"] {
            alert_at(at).alert().unwrap().episode();
        }
    }

    #[test]
    fn a_value_is_quoted_for_a_matcher() {
        assert_eq!(quoted_value("a\"b\\c\nd"), r#""a\"b\\c\nd""#);
    }
}
