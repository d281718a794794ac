//! Alertmanager's notifications, the alerts in them, and the matchers that select alerts.

pub mod matcher;
mod notification;

pub use matcher::{Matcher, Matchers};
pub use notification::{Limits, Notification, NotificationError};

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Label or annotation names and their values, sorted by name.
pub type LabelSet = BTreeMap<String, String>;

/// The label that names an alert's type.
pub const ALERTNAME: &str = "alertname";

/// Whether an alert is firing or resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Firing,
    /// The alert was firing and is not any more.
    Resolved,
}

impl Status {
    /// Every status, for metrics that must exist at zero.
    pub const ALL: [Self; 2] = [Self::Firing, Self::Resolved];

    /// Returns Alertmanager's name for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// Alertmanager's hash of an alert's label set.
///
/// *Source*: `model.Fingerprint` of prometheus/common, printed as sixteen hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// Computes the fingerprint of a label set: FNV-1a over names and values in order, each followed by a byte that
    /// UTF-8 text never contains.
    ///
    /// *Source*: `LabelSet.Fingerprint` of prometheus/common.
    pub fn of(labels: &LabelSet) -> Self {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        let texts = labels.iter().flat_map(|(name, value)| [name, value]);
        let bytes = texts.flat_map(|text| text.bytes().chain([0xff]));
        Self(bytes.fold(OFFSET, |sum, byte| {
            (sum ^ u64::from(byte)).wrapping_mul(PRIME)
        }))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hexadecimal = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match u64::from_str_radix(text, 16) {
            Ok(value) if hexadecimal => Ok(Self(value)),
            _ => {
                let shown: String = text.chars().take(32).collect();
                Err(format!(
                    "want 16 hexadecimal digits, as Alertmanager sends them, found {shown:?}"
                ))
            }
        }
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The key of an episode: the same alert firing since the same instant, regardless of how often and by which sender it
/// is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpisodeKey {
    pub fingerprint: Fingerprint,
    /// The start of the alert, in nanoseconds since 1970 (UTC).
    pub starts_at_nanos: i64,
}

impl fmt::Display for EpisodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = DateTime::from_timestamp_nanos(self.starts_at_nanos);
        write!(
            f,
            "{}@{}",
            self.fingerprint,
            since.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
        )
    }
}

/// The start of an alert: an instant that fits into nanoseconds since 1970, as the key of an episode requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct StartsAt(DateTime<Utc>);

/// A time outside the range of [`StartsAt`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a valid start time of an alert (1678 to 2262)")]
pub struct StartsAtError(DateTime<Utc>);

impl TryFrom<DateTime<Utc>> for StartsAt {
    type Error = StartsAtError;

    fn try_from(at: DateTime<Utc>) -> Result<Self, StartsAtError> {
        let fits = at.timestamp_nanos_opt().is_some();
        fits.then_some(Self(at)).ok_or(StartsAtError(at))
    }
}

impl StartsAt {
    /// Returns the nanoseconds since 1970.
    pub fn nanos(self) -> i64 {
        // The range was checked when this value was created.
        self.0.timestamp_nanos_opt().unwrap_or_default()
    }
}

impl Deref for StartsAt {
    type Target = DateTime<Utc>;

    fn deref(&self) -> &DateTime<Utc> {
        &self.0
    }
}

impl<'de> Deserialize<'de> for StartsAt {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let at = DateTime::<Utc>::deserialize(deserializer)?;
        Self::try_from(at).map_err(serde::de::Error::custom)
    }
}

/// A validated alert of a notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// Firing or resolved; a notification may contain both.
    pub status: Status,
    /// The labels. They are text from outside: never use them as a pattern, a path, an option or a template.
    pub labels: LabelSet,
    /// The annotations. The same applies to them.
    pub annotations: LabelSet,
    /// The start of the alert.
    pub starts_at: StartsAt,
    /// The end of the alert; `None` while it fires.
    pub ends_at: Option<DateTime<Utc>>,
    /// The URL of the rule that raised the alert, as the sender reports it.
    pub generator_url: String,
    /// The hash of the labels.
    pub fingerprint: Fingerprint,
}

impl Alert {
    /// Returns the alert type: the value of `alertname`; empty if the label is missing.
    pub fn name(&self) -> &str {
        self.labels.get(ALERTNAME).map_or("", String::as_str)
    }

    /// Returns the key of the alert's episode.
    pub fn episode(&self) -> EpisodeKey {
        EpisodeKey {
            fingerprint: self.fingerprint,
            starts_at_nanos: self.starts_at.nanos(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_the_one_that_alertmanager_gives() {
        // The response of Alertmanager 0.25 to `GET /api/v2/alerts`, after these labels were posted to it.
        let posted: [(&[(&str, &str)], &str); 5] = [
            (&[("alertname", "A")], "d2c6efc389df0927"),
            (
                &[("alertname", "DiskWillFill"), ("instance", "web1:9100")],
                "522caff31536c140",
            ),
            (
                &[("b", "x y"), ("alertname", "A"), ("B", "X")],
                "d68080d538d393b2",
            ),
            (
                &[("alertname", "Größe"), ("z", "ü漢"), ("a", "1")],
                "50718174d891ef9c",
            ),
            // The offset basis of FNV; Alertmanager rejects alerts without labels.
            (&[], "cbf29ce484222325"),
        ];
        for (labels, fingerprint) in posted {
            let labels = labels.iter();
            let labels = labels.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let found = Fingerprint::of(&labels.collect());
            assert_eq!(found.to_string(), fingerprint);
        }
    }
}
