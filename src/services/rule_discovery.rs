//! Knows the alerting rules: it reads the rule files, and asks Prometheus, when somebody wants to know and not before.
//!
//! A file is read again where it changed. What Prometheus said holds for a short while; where it cannot be asked, that is
//! said, with since when, and the files are shown all the same.

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

/// How long an answer of Prometheus holds.
const HOLDS: Duration = Duration::from_secs(30);

/// How long one holds that did not come: who repairs Prometheus wants to see it, and nobody waits for it each time.
const FAILURE_HOLDS: Duration = Duration::from_secs(5);

/// What is known of alerting rules.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The rules: those of files first, then those that Prometheus has loaded.
    pub rules: Vec<Arc<Rule>>,
    /// Files that could not be read, or are no rule files.
    pub problems: Vec<Problem>,
    /// How Prometheus is; `None` unless it is configured.
    pub prometheus: Option<Health>,
}

/// What is wrong with a rule file, or with a pattern of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file or the pattern.
    pub file: String,
    /// What is wrong.
    pub why: String,
}

/// Whether Prometheus tells its rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Where it is.
    pub url: String,
    /// Whether it answered.
    pub available: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Since when: since it was first asked in vain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// When it was last asked.
    pub asked_at: DateTime<Utc>,
}

/// A handle. Cheap to clone.
#[derive(Clone)]
pub struct RuleDiscovery {
    config: watch::Receiver<Arc<Config>>,
    /// Held while files are read and Prometheus is asked, so that many who want to know are one who asks.
    memory: Arc<Mutex<Memory>>,
}

#[derive(Default)]
struct Memory {
    files: Files,
    asked: Option<Asked>,
}

/// What Prometheus last said.
struct Asked {
    settings: Prometheus,
    holds_until: Instant,
    health: Health,
    rules: Vec<Arc<Rule>>,
}

impl RuleDiscovery {
    /// One that knows nothing yet.
    pub fn new(config: watch::Receiver<Arc<Config>>) -> Self {
        Self {
            config,
            memory: Arc::default(),
        }
    }

    /// What is known now. It takes no longer than `prometheus.timeout` and the reading of changed files.
    ///
    /// *Cancel safety*: may be dropped at any time; the next who asks begins anew.
    pub async fn look(&self) -> Known {
        let settings = self.config.borrow().prometheus.clone();
        let mut memory = self.memory.lock().await;
        let mut files = std::mem::take(&mut memory.files);
        let patterns = settings.rule_files.clone();
        let read = tokio::task::spawn_blocking(move || {
            files.refresh(&patterns);
            files
        });
        let old = memory.asked.take();
        let (read, asked) = tokio::join!(read, ask(&settings, old));
        memory.files = read.unwrap_or_default();
        memory.asked = asked;
        let mut known = Known {
            rules: memory.files.rules().cloned().collect(),
            problems: memory.files.problems(),
            prometheus: None,
        };
        if let Some(asked) = &memory.asked {
            known.rules.extend(asked.rules.iter().cloned());
            known.prometheus = Some(asked.health.clone());
        }
        known
    }
}

/// What Prometheus says, or said if that still holds; `None` if it is not to be asked.
async fn ask(settings: &Prometheus, old: Option<Asked>) -> Option<Asked> {
    let url = settings.url.as_ref()?;
    let old = old.filter(|old| old.settings == *settings);
    if old
        .as_ref()
        .is_some_and(|old| Instant::now() < old.holds_until)
    {
        return old;
    }
    let said = prometheus::rules(url, settings).await;
    let asked_at = clock::now();
    let failing_since = old.and_then(|old| old.health.since);
    let (holds, rules, why) = match said {
        Ok(rules) => (HOLDS, rules.into_iter().map(Arc::new).collect(), None),
        Err(why) => (FAILURE_HOLDS, Vec::new(), Some(why)),
    };
    if let Some(why) = why.as_ref().filter(|_| failing_since.is_none()) {
        tracing::warn!(%url, error = why, "Prometheus does not tell its rules");
    }
    Some(Asked {
        settings: settings.clone(),
        holds_until: Instant::now() + holds,
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
