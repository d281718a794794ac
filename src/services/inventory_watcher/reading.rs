//! Reads the inventory and evaluates the result.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Keeper;
use super::log::{log_trouble, log_version, warn_of_doubt};
use super::shrink::{Belief, Doubt};
use super::status::{Shrunk, Trouble};
use crate::ansible::{self, ListError};
use crate::config::Config;
use crate::model::inventory::{Inventory, InventoryError};
use crate::util::blocking::in_place;
use crate::util::clock;

/// How long to wait before an inventory that could not be read is read again, unless its sources change earlier.
pub(super) const RETRY: Duration = Duration::from_secs(10);

/// Why the inventory could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    List(#[from] ListError),
    #[error(transparent)]
    Inventory(#[from] InventoryError),
}

/// The version of ansible-core, with the stamp of the program that reported it.
pub(super) type Version = Option<(u64, Option<(u32, u32)>)>;

/// The result of reading the inventory.
pub(super) struct Read {
    inventory: Inventory,
    version: Version,
    warnings: String,
}

/// An attempt to read the inventory.
pub(super) struct Attempt {
    /// The fingerprint of the sources before the attempt.
    fingerprint: u64,
    began: Instant,
    read: Result<Read, ReadError>,
}

/// An attempt to read the inventory that is under way.
pub(super) type Reading = Pin<Box<dyn Future<Output = Attempt> + Send>>;

impl Keeper {
    pub(super) fn start_reading(&self) -> Reading {
        let config = Arc::clone(&self.keeping.config.borrow());
        let ansible = Arc::clone(&self.keeping.ansible.borrow());
        let known = self.version;
        let began = Instant::now();
        Box::pin(async move {
            // Taken before reading: a change during the read makes the inventory stale.
            let fingerprint = fingerprint_of(Arc::clone(&config)).await;
            let read = async {
                let stamp = in_place(|| ansible.program_stamp());
                let version = match known {
                    Some((of, version)) if of == stamp => version,
                    _ => ansible.version().await?,
                };
                let listed = ansible.list().await?;
                // The JSON may have up to 64 MiB.
                let inventory = in_place(|| {
                    let exposed = &config.service_discovery.exposed;
                    let required = config.roles.required_vars();
                    let inventory = Inventory::parse(&listed.json)?;
                    inventory.keeping_vars(&listed.json, &exposed.vars, &required)
                })?;
                Ok(Read {
                    inventory: inventory.read_by(version),
                    version: Some((stamp, version)),
                    warnings: listed.warnings,
                })
            };
            Attempt {
                fingerprint,
                began,
                read: read.await,
            }
        })
    }

    pub(super) async fn take(&mut self, attempt: Attempt) {
        let took = attempt.began.elapsed();
        // Before the inventory is published: a caller that waits for it may read the metrics at once.
        let metrics = self.keeping.metrics.inventory();
        metrics.read(attempt.read.is_ok(), took, clock::now());
        match attempt.read {
            Ok(read) => self.take_read(attempt.fingerprint, read).await,
            Err(e) => self.take_failure(attempt.fingerprint, attempt.began, &e),
        }
    }

    fn take_failure(&mut self, fingerprint: u64, began: Instant, e: &ReadError) {
        self.failed = Some(fingerprint);
        self.next_read = Instant::now() + RETRY;
        let before = self.trouble.as_ref();
        let from = before.map_or(began, |trouble| trouble.from);
        let is_news = before.is_none_or(|trouble| *trouble.why != e.to_string());
        let trouble = Trouble {
            why: e.to_string().into(),
            since: before.map_or_else(clock::now, |trouble| trouble.since),
            from,
            until: from + self.fallback_time(fingerprint, e),
        };
        let (why, lasts) = (Arc::clone(&trouble.why), trouble.until > Instant::now());
        self.trouble = Some(trouble);
        self.publish_standing();
        if is_news || !lasts {
            log_trouble(&why, self.read_at.filter(|_| lasts));
        }
    }

    /// Returns how long the last good inventory may be used after this failure. A source that was changed and cannot be
    /// read may have been changed to remove hosts; a script that does not answer says nothing about the hosts.
    fn fallback_time(&self, fingerprint: u64, e: &ReadError) -> Duration {
        let slow = matches!(e, ReadError::List(ListError::Timeout { .. }));
        if slow || self.fingerprint == Some(fingerprint) {
            self.keeping.config.borrow().ansible.inventory_max_age
        } else {
            Duration::ZERO
        }
    }

    async fn take_read(&mut self, fingerprint: u64, read: Read) {
        if let (Some((_, version)), true) = (read.version, read.version != self.version) {
            log_version(version);
        }
        self.version = read.version;
        let shrink = self.doubt(&read);
        let limits = self.keeping.config.borrow().ansible.clone();
        let now = Instant::now();
        self.next_read = match &self.doubt {
            Some(doubt) => doubt.next_read(limits.inventory_shrink, now),
            None => now + limits.inventory_refresh,
        };
        self.fingerprint = Some(fingerprint);
        (self.failed, self.trouble) = (None, None);
        self.read_at = Some(clock::now());
        let hosts = read.inventory.len();
        let was = self.files.as_ref().map(Inventory::len);
        let (json, is_news) = in_place(|| {
            let is_news = self.files.as_ref() != Some(&read.inventory);
            (read.inventory.to_json(), is_news)
        });
        if shrink.is_none() {
            self.believed = Some(read.inventory.clone());
        }
        self.files = Some(read.inventory);
        let believed = shrink.is_none();
        self.shrunk = shrink;
        self.merge().await;
        self.forget().await;
        if is_news {
            tracing::info!(hosts, was, "inventory read");
        } else {
            tracing::debug!(hosts, "inventory read: nothing has changed");
        }
        if believed {
            let saved = self.keeping.store.save_inventory(fingerprint, json.into());
            if let Err(e) = saved.await {
                tracing::warn!(error = %e, "the inventory could not be saved for the next start");
            }
        }
    }

    /// Returns the missing hosts if so many are missing that the inventory is not believed yet.
    fn doubt(&mut self, read: &Read) -> Option<Shrunk> {
        let before = self.believed.as_ref()?;
        let limits = self.keeping.config.borrow().ansible.inventory_shrink;
        let now = Instant::now();
        let (doubt, is_new) = match self.doubt.take() {
            Some(doubt) => (doubt, false),
            None => (Doubt::new(now, clock::now()), true),
        };
        let hosts = read.inventory.len();
        match doubt.judge((&read.inventory, &read.warnings), before, limits, now) {
            Belief::Believed => {
                if !is_new {
                    tracing::info!(hosts, "the inventory has its hosts back");
                }
                None
            }
            Belief::BelievedAtLast => {
                tracing::warn!(
                    hosts,
                    was = before.len(),
                    "the smaller inventory is now believed"
                );
                None
            }
            Belief::Doubted(shrunk) => {
                if is_new {
                    warn_of_doubt(hosts, &shrunk);
                }
                self.doubt = Some(doubt);
                Some(shrunk)
            }
        }
    }

    pub(super) async fn take_saved(&mut self) {
        let Some((fingerprint, json)) = self.keeping.saved.take() else {
            return;
        };
        let inventory = match in_place(|| Inventory::parse(&json)) {
            Ok(inventory) => inventory,
            Err(e) => {
                return tracing::warn!(error = %e, "the inventory in the store cannot be read");
            }
        };
        // If the sources changed since, the inventory is read before it is used; but a loss of hosts is detected by
        // comparison with the stored one.
        self.believed = Some(inventory.clone());
        if self.fingerprint_now().await != fingerprint {
            return;
        }
        let hosts = inventory.len();
        self.fingerprint = Some(fingerprint);
        self.files = Some(inventory);
        self.merge().await;
        tracing::info!(
            hosts,
            "using the inventory from the store until it has been read again"
        );
    }
}

pub(super) async fn fingerprint_of(config: Arc<Config>) -> u64 {
    tokio::task::spawn_blocking(move || ansible::fingerprint(&config.ansible))
        .await
        .unwrap_or(0)
}

/// Waits for the attempt that is under way; forever if there is none.
pub(super) async fn done(reading: &mut Option<Reading>) -> Attempt {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}
