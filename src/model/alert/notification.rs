//! Alertmanager's webhook body, versions "3" and "4", and Grafana's, which has the same shape and the version "1".

use std::fmt;
use std::marker::PhantomData;

use chrono::{DateTime, Datelike, FixedOffset, SubsecRound, Utc};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Alert, Fingerprint, LabelSet, StartsAt, Status};

/// The supported versions of the webhook body. Between "3" and "4" only the type of `groupKey` changed.
///
/// *Source*: `notify/impl.go` and `notify/webhook/webhook.go` of prometheus/alertmanager, from 0.1 on.
const VERSIONS: [&str; 3] = ["1", "3", "4"];

/// A validated webhook body.
///
/// *Source*: `template.Data` and `webhook.Message` of prometheus/alertmanager. Unknown fields are accepted: newer
/// Alertmanagers add some, and Grafana adds more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Alertmanager's receiver name, as sent (it arrives regexp-quoted).
    pub receiver: String,
    pub group_key: String,
    /// The labels shared by all alerts of the group.
    pub group_labels: LabelSet,
    /// The number of alerts that Alertmanager left out because of its `max_alerts`.
    pub truncated_alerts: u64,
    /// Alertmanager's own URL.
    pub external_url: String,
    /// Firing and resolved alerts, mixed.
    pub alerts: Vec<Alert>,
}

/// Limits of one notification.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The maximum number of alerts.
    pub alerts: usize,
}

/// The error of an invalid body. Every message names the field.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotificationError {
    /// The body is not JSON, or a field has a type that differs from Alertmanager's.
    #[error("{0}")]
    Malformed(String),
    /// The version is not supported.
    #[error(
        "version: want \"4\" (Alertmanager from 0.6 on), \"3\" (Alertmanager 0.1 to 0.5) or \"1\" (Grafana's alerting), found {0:?}; update the sender, or let it send to an Alertmanager"
    )]
    Version(String),
    /// The body has more alerts than the limit.
    #[error(
        "alerts: {found} alerts are more than the limit of {limit} (receiver.max_alerts); lower Alertmanager's max_alerts or raise the limit"
    )]
    TooManyAlerts { found: usize, limit: usize },
}

impl Notification {
    /// Parses a webhook body.
    ///
    /// # Errors
    /// Any error rejects the whole body. The message names the field.
    pub fn parse(body: &[u8], limits: Limits) -> Result<Self, NotificationError> {
        Self::read(body, limits).map_err(|fault| match foreign_version(body) {
            // Another version has other fields, so an error about a field would be misleading.
            Some(version) => NotificationError::Version(version),
            None => fault,
        })
    }

    fn read(body: &[u8], limits: Limits) -> Result<Self, NotificationError> {
        let mut json = serde_json::Deserializer::from_slice(body);
        let Object(read): Object<Body> =
            serde_path_to_error::deserialize(&mut json).map_err(|e| {
                let path = e.path().to_string();
                let inner = plain(&e.into_inner().to_string());
                NotificationError::Malformed(if matches!(path.as_str(), "." | "?" | "") {
                    format!("the body is not a notification: {}", Cut(&inner))
                } else {
                    format!("{}: {}", Cut(&path), Cut(&inner))
                })
            })?;
        json.end()
            .map_err(|e| NotificationError::Malformed(format!("after the notification: {e}")))?;
        if let Some(version) = foreign(&read.version) {
            return Err(NotificationError::Version(version));
        }
        if read.alerts.len() > limits.alerts {
            return Err(NotificationError::TooManyAlerts {
                found: read.alerts.len(),
                limit: limits.alerts,
            });
        }
        Ok(Self {
            receiver: read.receiver,
            group_key: read.group_key.0,
            group_labels: read.group_labels,
            truncated_alerts: read.truncated_alerts.0,
            external_url: read.external_url,
            alerts: read.alerts.into_iter().map(|a| a.0.into()).collect(),
        })
    }
}

/// Returns the beginning of an unsupported version.
fn foreign(version: &str) -> Option<String> {
    let is_known = VERSIONS.contains(&version);
    (!is_known).then(|| version.chars().take(32).collect())
}

/// Returns the version of a body that cannot be parsed, if the version is the reason.
fn foreign_version(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Versioned {
        version: String,
    }
    let Object(read): Object<Versioned> = serde_json::from_slice(body).ok()?;
    foreign(&read.version)
}

/// Truncates a part of an error, which may quote a name or value of any length: keeps its beginning, and its end with
/// the column.
struct Cut<T>(T);

impl<T: fmt::Display> fmt::Display for Cut<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HALF: usize = 250;
        let text = self.0.to_string();
        let chars = text.chars().count();
        if chars <= 2 * HALF {
            return f.write_str(&text);
        }
        let at = |n| text.char_indices().nth(n).map_or(text.len(), |(at, _)| at);
        write!(f, "{}…{}", &text[..at(HALF)], &text[at(chars - HALF)..])
    }
}

/// Rewrites serde's error without Rust terms: `want …, found … at line 1 column 2`.
fn plain(error: &str) -> String {
    let parts = || {
        let rest = error
            .strip_prefix("invalid type: ")
            .or(error.strip_prefix("invalid value: "))?;
        // The found part may quote anything; the expected part is ours.
        let (found, wanted) = rest.rsplit_once(", expected ")?;
        let (wanted, place) = match wanted.rsplit_once(" at line ") {
            Some((wanted, place)) => (wanted, format!(" at line {place}")),
            None => (wanted, String::new()),
        };
        let found = match found {
            "map" => "an object",
            "sequence" => "a list",
            other => ["integer `", "floating point `", "boolean `"]
                .iter()
                .find_map(|kind| other.strip_prefix(kind)?.strip_suffix('`'))
                .or(other.strip_prefix("string "))
                .unwrap_or(other),
        };
        let wanted = match wanted {
            "a map" => "an object",
            "a sequence" => "a list",
            other => other,
        };
        Some(format!("want {wanted}, found {found}{place}"))
    };
    parts().unwrap_or_else(|| error.to_owned())
}

/// A JSON object. Rejects the list of its values, which serde would accept as well.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        let fields = deserializer.deserialize_map(Fields(PhantomData))?;
        Ok(Self(fields))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    version: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    receiver: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    group_key: GroupKey,
    #[serde(default, deserialize_with = "null_is_empty")]
    group_labels: LabelSet,
    #[serde(default, deserialize_with = "null_is_empty")]
    truncated_alerts: Count,
    #[serde(default, rename = "externalURL", deserialize_with = "null_is_empty")]
    external_url: String,
    // Go writes a nil slice or map as null.
    #[serde(deserialize_with = "null_is_empty")]
    alerts: Vec<Object<BodyAlert>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BodyAlert {
    #[serde(deserialize_with = "status")]
    status: Status,
    #[serde(deserialize_with = "null_is_empty")]
    labels: LabelSet,
    #[serde(default, deserialize_with = "null_is_empty")]
    annotations: LabelSet,
    #[serde(deserialize_with = "starts_at")]
    starts_at: StartsAt,
    #[serde(default)]
    ends_at: Option<Instant>,
    #[serde(default, rename = "generatorURL", deserialize_with = "null_is_empty")]
    generator_url: String,
    // Alertmanager sends it from 0.19 on.
    fingerprint: Option<Fingerprint>,
}

impl From<BodyAlert> for Alert {
    fn from(read: BodyAlert) -> Self {
        let fingerprint = read.fingerprint;
        Self {
            fingerprint: fingerprint.unwrap_or_else(|| Fingerprint::of(&read.labels)),
            status: read.status,
            labels: read.labels,
            annotations: read.annotations,
            starts_at: read.starts_at,
            // Go's zero time means "still firing".
            ends_at: read
                .ends_at
                .map(|at| at.0)
                .filter(|at| at.year() > 1 && read.status == Status::Resolved),
            generator_url: read.generator_url,
        }
    }
}

fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// The key of a group: a string; in version "3" a number.
#[derive(Default)]
struct GroupKey(String);

impl<'de> Deserialize<'de> for GroupKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Key;
        impl Visitor<'_> for Key {
            type Value = String;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
                Ok(text.to_owned())
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<String, E> {
                Ok(number.to_string())
            }
        }
        deserializer.deserialize_any(Key).map(Self)
    }
}

/// A number of alerts.
#[derive(Default)]
struct Count(u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = u64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of alerts")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
                Ok(number)
            }

            // 3.0 is the number 3 in JSON.
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<u64, E> {
                let whole = format!("{number:.0}").parse();
                whole
                    .ok()
                    .filter(|_| number.fract() == 0.0)
                    .ok_or_else(|| E::invalid_type(Unexpected::Float(number), &self))
            }
        }
        deserializer.deserialize_u64(Number).map(Self)
    }
}

/// A value that is written as a string in some format.
struct Formatted<T> {
    wanted: &'static str,
    read: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for Formatted<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wanted)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.read)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Status, D::Error> {
    deserializer.deserialize_str(Formatted {
        wanted: "\"firing\" or \"resolved\"",
        read: |text| Status::ALL.into_iter().find(|s| s.as_str() == text),
    })
}

struct Instant(DateTime<Utc>);

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Formatted {
            wanted: "a time in RFC 3339 such as 2026-11-22T10:00:00Z",
            read: |text| {
                let at: DateTime<FixedOffset> = text.parse().ok()?;
                Some(Self(at.to_utc()))
            },
        })
    }
}

/// Truncates to milliseconds, the precision of Alertmanager's API. With a higher precision, an alert fetched there
/// would be another episode.
fn starts_at<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StartsAt, D::Error> {
    let Instant(at) = Instant::deserialize(deserializer)?;
    StartsAt::try_from(at.trunc_subsecs(3)).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests;
