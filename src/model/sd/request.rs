//! What is asked of a view: which hosts, and what of them is scraped.

use std::str::FromStr;

use crate::model::alert::matcher::ParseError;
use crate::model::alert::{Matcher, Matchers};
use crate::model::sd::labels::Exposed;

/// Which hosts. Without groups and matchers, all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// A host must be in one of these, directly or through their children.
    pub groups: Vec<String>,
    /// All must match the host's labels.
    pub matchers: Matchers,
}

/// What is scraped on each host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoint {
    /// The port; without it Prometheus takes that of the scheme.
    pub port: Option<u16>,
    /// How it is spoken to, where it is not as the scrape configuration says.
    pub scheme: Option<Scheme>,
    /// The path of the metrics, where it is not as the scrape configuration says.
    pub metrics_path: Option<String>,
    /// Further labels, the same for every host. Their names are as [`label_defect`](crate::model::sd::label_defect) wants them, and unique.
    pub labels: Vec<(String, String)>,
}

impl Endpoint {
    /// The labels that it adds to a host's.
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

/// How a target is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain.
    Http,
    /// With TLS.
    Https,
}

impl Scheme {
    /// The word for it.
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

/// Reads a port.
pub fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// Whether a text can be the path of metrics. Parameters are labels of their own, `__param_NAME`.
pub fn is_metrics_path(text: &str) -> bool {
    let bad = |c: char| c.is_control() || c.is_whitespace() || "?#".contains(c);
    text.starts_with('/') && !text.contains(bad)
}

/// Why a text is no matcher of hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    /// It is no matcher.
    #[error("{0}")]
    Syntax(#[from] ParseError),
    /// It is a list of none, which would match every host.
    #[error("it is empty")]
    Empty,
    /// It looks at a label that no host can have, so that it would match all or none.
    #[error("no host has a label {label:?}; there are {}", .known.join(", "))]
    UnknownLabel {
        /// The label.
        label: String,
        /// Those that a host can have.
        known: Vec<String>,
    },
}

/// Reads a matcher, or several in one text, over the labels of a host.
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
