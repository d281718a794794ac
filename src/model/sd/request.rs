//! Queries of a view: the selection of hosts, and what is scraped on them.

use std::str::FromStr;

use crate::model::alert::matcher::ParseError;
use crate::model::alert::{Matcher, Matchers};
use crate::model::sd::labels::Exposed;

/// The selection of hosts. Without groups and matchers, all hosts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// A host must be in one of these groups, directly or through their children.
    pub groups: Vec<String>,
    /// All must match the host's labels.
    pub matchers: Matchers,
}

/// The scraped endpoint on each host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoint {
    /// The port; by default Prometheus uses that of the scheme.
    pub port: Option<u16>,
    /// The scheme, if it differs from the scrape configuration.
    pub scheme: Option<Scheme>,
    /// The path of the metrics, if it differs from the scrape configuration.
    pub metrics_path: Option<String>,
    /// Additional labels, the same for every host. Their names are unique and pass
    /// [`label_defect`](crate::model::sd::label_defect).
    pub labels: Vec<(String, String)>,
}

impl Endpoint {
    /// Iterates over the labels that the endpoint adds.
    pub(super) fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let scheme = self.scheme.map(|scheme| ("__scheme__", scheme.as_str()));
        let path = self.metrics_path.as_deref();
        let path = path.map(|path| ("__metrics_path__", path));
        let further = self.labels.iter();
        scheme
            .into_iter()
            .chain(path)
            .chain(further.map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

/// The scheme of a target's URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// Returns the value for `__scheme__`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl FromStr for Scheme {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        let known = [Self::Http, Self::Https];
        known
            .into_iter()
            .find(|known| known.as_str() == word)
            .ok_or(())
    }
}

/// Parses a port.
pub fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// Returns whether a text can be the path of metrics. Parameters have their own labels, `__param_NAME`.
pub fn is_metrics_path(text: &str) -> bool {
    let bad = |c: char| c.is_control() || c.is_whitespace() || "?#".contains(c);
    text.starts_with('/') && !text.contains(bad)
}

/// The error of a text that is not a matcher of hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    /// The syntax is invalid.
    #[error("{0}")]
    Syntax(#[from] ParseError),
    /// The list is empty and would match every host.
    #[error("it is empty")]
    Empty,
    /// No host can have the label, so the matcher would match all hosts or none.
    #[error("no host has a label {label:?}; the labels are {}", .known.join(", "))]
    UnknownLabel {
        label: String,
        /// The labels that a host can have.
        known: Vec<String>,
    },
}

/// Parses one or more matchers on the labels of a host.
pub fn matchers(text: &str, exposed: &Exposed) -> Result<Vec<Matcher>, MatcherError> {
    let matchers: Vec<Matcher> = Matchers::parse(text)?.into_iter().collect();
    if matchers.is_empty() {
        return Err(MatcherError::Empty);
    }
    let known = exposed.labels();
    let unknown = |matcher: &&Matcher| !known.iter().any(|label| label == matcher.name());
    match matchers.iter().find(unknown) {
        None => Ok(matchers),
        Some(matcher) => Err(MatcherError::UnknownLabel {
            label: matcher.name().to_owned(),
            known,
        }),
    }
}
