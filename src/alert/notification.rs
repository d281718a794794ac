//! Alertmanager's webhook body, version "4".

use std::fmt;
use std::marker::PhantomData;

use chrono::{DateTime, Datelike, FixedOffset, Utc};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Alert, Fingerprint, LabelSet, Status};

/// The version of the webhook body that is understood.
const VERSION: &str = "4";

/// One webhook body, checked.
///
/// *Source*: `template.Data` and `webhook.Message` of prometheus/alertmanager. Unknown fields are accepted, since
/// newer Alertmanagers add some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Alertmanager's receiver name, as sent (it arrives regexp-quoted).
    pub receiver: String,
    /// The group that this notification is about.
    pub group_key: String,
    /// How many alerts Alertmanager left out because of its `max_alerts`.
    pub truncated_alerts: u64,
    /// Where the Alertmanager says that it can be reached.
    pub external_url: String,
    /// Firing and resolved alerts, mixed.
    pub alerts: Vec<Alert>,
}

/// What one notification may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most alerts in one notification.
    pub alerts: usize,
}

/// Why a body is not a notification. Every message names the field.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotificationError {
    /// The body is not JSON, or a field has another type than Alertmanager's.
    #[error("{0}")]
    Malformed(String),
    /// The body is of another version.
    #[error("version: want \"4\", found {0:?}")]
    Version(String),
    /// More alerts than the limit.
    #[error(
        "alerts: {found} alerts are more than the limit of {limit} (receiver.max_alerts); lower Alertmanager's max_alerts or raise the limit"
    )]
    TooManyAlerts {
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
}

impl Notification {
    /// Reads a webhook body.
    ///
    /// # Errors
    /// Any fault refuses the body whole, and the message names the field that is wrong.
    pub fn parse(body: &[u8], limits: Limits) -> Result<Self, NotificationError> {
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
        if read.version != VERSION {
            return Err(NotificationError::Version(
                read.version.chars().take(32).collect(),
            ));
        }
        if read.alerts.len() > limits.alerts {
            return Err(NotificationError::TooManyAlerts {
                found: read.alerts.len(),
                limit: limits.alerts,
            });
        }
        Ok(Self {
            receiver: read.receiver,
            group_key: read.group_key,
            truncated_alerts: read.truncated_alerts.0,
            external_url: read.external_url,
            alerts: read.alerts.into_iter().map(|a| a.0.into()).collect(),
        })
    }
}

/// A part of an error, which may quote a name or value of any length: its beginning and its end, where the column is.
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

/// What serde says of a value, in words that are not Rust's: `want …, found … at line 1 column 2`.
fn plain(error: &str) -> String {
    let parts = || {
        let rest = error
            .strip_prefix("invalid type: ")
            .or(error.strip_prefix("invalid value: "))?;
        // What was found may quote anything; what is wanted is ours.
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

/// A JSON object, and not the list of its values that serde takes as well.
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
    group_key: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    truncated_alerts: Count,
    #[serde(default, rename = "externalURL", deserialize_with = "null_is_empty")]
    external_url: String,
    // A nil slice or map of Go is written as null.
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
    #[serde(deserialize_with = "begin")]
    starts_at: DateTime<Utc>,
    #[serde(default)]
    ends_at: Option<Instant>,
    #[serde(default, rename = "generatorURL", deserialize_with = "null_is_empty")]
    generator_url: String,
    fingerprint: Fingerprint,
}

impl From<BodyAlert> for Alert {
    fn from(read: BodyAlert) -> Self {
        Self {
            status: read.status,
            labels: read.labels,
            annotations: read.annotations,
            starts_at: read.starts_at,
            // Go's zero time stands for "still firing".
            ends_at: read
                .ends_at
                .map(|at| at.0)
                .filter(|at| at.year() > 1 && read.status == Status::Resolved),
            generator_url: read.generator_url,
            fingerprint: read.fingerprint,
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
        }
        deserializer.deserialize_u64(Number).map(Self)
    }
}

/// A value that is written as a text of some form.
struct Written<T> {
    wanted: &'static str,
    read: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for Written<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wanted)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.read)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Status, D::Error> {
    deserializer.deserialize_str(Written {
        wanted: "\"firing\" or \"resolved\"",
        read: |text| Status::ALL.into_iter().find(|s| s.as_str() == text),
    })
}

struct Instant(DateTime<Utc>);

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Written {
            wanted: "a time in RFC 3339 such as 2026-11-22T10:00:00Z",
            read: |text| {
                let at: DateTime<FixedOffset> = text.parse().ok()?;
                Some(Self(at.to_utc()))
            },
        })
    }
}

/// An instant that fits into nanoseconds since 1970, as an episode's key needs it.
fn begin<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    let Instant(at) = Instant::deserialize(deserializer)?;
    if at.timestamp_nanos_opt().is_none() {
        return Err(de::Error::custom(format!(
            "{at} is not a time at which an alert can have begun (1678 to 2262)"
        )));
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
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
            "00000000000000ff@2026-11-22T10:00:00.123456789Z"
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
                // What serde would take for an object.
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
        assert_eq!(
            error(r#"{"version":"5","alerts":[]}"#),
            r#"version: want "4", found "5""#
        );
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
                .contains("is not a time at which an alert can have begun")
        );
        assert!(one("00000000000000ff", "zz").starts_with("alerts[1].fingerprint: want 16 hexadecimal digits, as Alertmanager sends them, found \"zz\""));
        assert!(
            one("00000000000000ff", "+0000000000000ff")
                .starts_with("alerts[1].fingerprint: want 16")
        );
        assert_eq!(
            error(&body(&[good.as_str(); 4].join(","))),
            "alerts: 4 alerts are more than the limit of 3 (receiver.max_alerts); lower Alertmanager's max_alerts or raise the limit"
        );
    }
}
