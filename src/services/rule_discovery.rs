//! Discovers the alerting rules, on request only: reads the rule files and asks Prometheus.
//!
//! A file is read again if it changed. A response of Prometheus is cached for a short time. If Prometheus cannot be asked,
//! the result says so, with the time of the first failure, and still has the rules of the files.

mod files;
mod prometheus;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::sync::{Mutex, watch};

use crate::alert_types::Rule;
use crate::config::{Config, Prometheus};
use crate::util::clock;
use files::Files;

/// How long a response of Prometheus is cached.
const CACHED: Duration = Duration::from_secs(30);

/// How long a failed request is cached: short, so that a repair shows soon, but not every request waits for the time-out.
const FAILURE_CACHED: Duration = Duration::from_secs(5);

/// The alerting rules that were found.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The rules: those of files first, then those that Prometheus has loaded.
    pub rules: Vec<Arc<Rule>>,
    /// Files that could not be read or are not rule files.
    pub problems: Vec<Problem>,
    /// The state of Prometheus; `None` unless it is configured.
    pub prometheus: Option<Health>,
}

/// A problem with a rule file or with a pattern of `prometheus.rule_files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file or the pattern.
    pub file: String,
    pub why: String,
}

/// Whether the rules of Prometheus could be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    pub url: String,
    /// Whether the last request succeeded.
    pub available: bool,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// When a request first failed, if the last one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// When it was last requested.
    pub asked_at: DateTime<Utc>,
}

/// A handle. Cheap to clone.
#[derive(Clone)]
pub struct RuleDiscovery {
    config: watch::Receiver<Arc<Config>>,
    /// Locked while files are read and Prometheus is asked, so that concurrent calls cause one request.
    memory: Arc<Mutex<Memory>>,
}

#[derive(Default)]
struct Memory {
    files: Files,
    cached: Option<Cached>,
}

/// The last response of Prometheus.
struct Cached {
    settings: Prometheus,
    valid_until: Instant,
    health: Health,
    rules: Vec<Arc<Rule>>,
}

impl RuleDiscovery {
    /// Creates a handle; nothing is read yet.
    pub fn new(config: watch::Receiver<Arc<Config>>) -> Self {
        Self {
            config,
            memory: Arc::default(),
        }
    }

    /// Returns the present rules. Takes no longer than `prometheus.timeout` and reading the changed files.
    ///
    /// *Cancel safety*: may be dropped at any time; the next call begins anew.
    pub async fn look(&self) -> Known {
        let settings = self.config.borrow().prometheus.clone();
        let mut memory = self.memory.lock().await;
        let mut files = std::mem::take(&mut memory.files);
        let patterns = settings.rule_files.clone();
        let read = tokio::task::spawn_blocking(move || {
            files.refresh(&patterns);
            files
        });
        let old = memory.cached.take();
        let (read, cached) = tokio::join!(read, ask(&settings, old));
        memory.files = read.unwrap_or_default();
        memory.cached = cached;
        let mut known = Known {
            rules: memory.files.rules().cloned().collect(),
            problems: memory.files.problems(),
            prometheus: None,
        };
        if let Some(cached) = &memory.cached {
            known.rules.extend(cached.rules.iter().cloned());
            known.prometheus = Some(cached.health.clone());
        }
        known
    }
}

/// Returns the response of Prometheus, or the cached one if it is still valid; `None` if no URL is configured.
async fn ask(settings: &Prometheus, old: Option<Cached>) -> Option<Cached> {
    let url = settings.url.as_ref()?;
    let old = old.filter(|old| old.settings == *settings);
    if old
        .as_ref()
        .is_some_and(|old| Instant::now() < old.valid_until)
    {
        return old;
    }
    let fetched = prometheus::rules(url, settings).await;
    let asked_at = clock::now();
    let failing_since = old.and_then(|old| old.health.since);
    let (lifetime, rules, why) = match fetched {
        Ok(rules) => (CACHED, rules.into_iter().map(Arc::new).collect(), None),
        Err(why) => (FAILURE_CACHED, Vec::new(), Some(why)),
    };
    if let Some(why) = why.as_ref().filter(|_| failing_since.is_none()) {
        tracing::warn!(%url, error = why, "the alerting rules of Prometheus cannot be fetched");
    }
    Some(Cached {
        settings: settings.clone(),
        valid_until: Instant::now() + lifetime,
        health: Health {
            url: url.to_string(),
            available: why.is_none(),
            since: why.as_ref().map(|_| failing_since.unwrap_or(asked_at)),
            why,
            asked_at,
        },
        rules,
    })
}
