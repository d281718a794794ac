//! Keeps the inventory current: reads it through `ansible-inventory`, and again whenever its sources change.
//!
//! A notification asks for a [fresh](InventoryKeeper::fresh) inventory: a host that was added a moment ago is to be
//! found. Looking at the sources' files is cheap; only if they changed is Ansible asked. What an inventory script says
//! can change without any file changing, so it is read again after `ansible.inventory_refresh` too.
//!
//! If reading fails, the last inventory stays in force, and a metric and the log say so.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::ansible::{self, Ansible, ListError};
use crate::clock;
use crate::config::Config;
use crate::inventory::{Inventory, InventoryError};
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
use crate::store::Store;

/// How long a look at the sources' files is good for.
const LOOK: Duration = Duration::from_millis(250);

/// How long to leave an inventory alone that could not be read, unless its sources change again.
const RETRY: Duration = Duration::from_secs(10);

/// How long a notification waits for an inventory that is being read. Alertmanager waits ten seconds at least.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the inventory could not be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    List(#[from] ListError),
    #[error(transparent)]
    Inventory(#[from] InventoryError),
}

/// A handle to the keeper. Cheap to clone.
#[derive(Clone)]
pub struct InventoryKeeper {
    latest: watch::Receiver<Option<Arc<Inventory>>>,
    looks: mpsc::Sender<oneshot::Sender<()>>,
    /// When the files were last looked at, in milliseconds since `started`; 0 if never.
    looked_millis: Arc<AtomicU64>,
    started: Instant,
}

impl InventoryKeeper {
    /// The inventory as last read.
    pub fn latest(&self) -> Option<Arc<Inventory>> {
        self.latest.borrow().clone()
    }

    /// Waits until there is one. *Cancel safety*: may be dropped at any time.
    pub async fn known(&self) {
        let mut latest = self.latest.clone();
        if latest.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The inventory, read again if its sources changed. If that takes long, the last one; `None` if there is none.
    pub async fn fresh(&self) -> Option<Arc<Inventory>> {
        let looked = Duration::from_millis(self.looked_millis.load(Ordering::Relaxed));
        let known = self.latest.borrow().is_some();
        if !known || looked.is_zero() || self.started.elapsed().saturating_sub(looked) > LOOK {
            let (done, looked) = oneshot::channel();
            let look = async {
                if self.looks.send(done).await.is_ok() {
                    let _ = looked.await;
                }
            };
            let _ = tokio::time::timeout(PATIENCE, look).await;
        }
        self.latest()
    }
}

/// What the keeper needs.
pub struct Keeping {
    /// The configuration that is in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// Starts `ansible-inventory`, by that configuration.
    pub ansible: watch::Receiver<Arc<Ansible>>,
    /// Keeps the last inventory for the next start.
    pub store: Store,
    /// Shows whether reading succeeded.
    pub metrics: Metrics,
    /// The inventory that was kept, with its sources' fingerprint.
    pub saved: Option<(u64, Bytes)>,
    /// Becomes true when promansible is to end.
    pub shutdown: Shutdown,
}

/// Starts keeping.
///
/// An inventory that was kept is in force at once if its sources' files are as they were; it is read again all the same.
pub fn keep(keeping: Keeping) -> (InventoryKeeper, tokio::task::JoinHandle<()>) {
    let (publish, latest) = watch::channel(None);
    let (looks, requests) = mpsc::channel(1024);
    let looked_millis = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let handle = InventoryKeeper {
        latest,
        looks,
        looked_millis: Arc::clone(&looked_millis),
        started,
    };
    let keeper = Keeper {
        publish,
        looked_millis,
        started,
        fingerprint: None,
        failed: None,
        next_read: started,
        keeping,
    };
    (handle, tokio::spawn(keeper.run(requests)))
}

struct Keeper {
    keeping: Keeping,
    publish: watch::Sender<Option<Arc<Inventory>>>,
    looked_millis: Arc<AtomicU64>,
    started: Instant,
    /// Of the sources, when they were last read with success.
    fingerprint: Option<u64>,
    /// Of the sources, when reading them last failed, if it did since.
    failed: Option<u64>,
    /// When it is read again, whatever the files say.
    next_read: Instant,
}

/// What reading yields: the sources' fingerprint from before, and the inventory.
type Reading = (u64, Result<Inventory, ReadError>);

impl Keeper {
    /// Reading goes on beside looking: who only asks whether the files changed does not wait for Ansible.
    async fn run(mut self, mut requests: mpsc::Receiver<oneshot::Sender<()>>) {
        let mut shutdown = self.keeping.shutdown.clone();
        let mut reloaded = self.keeping.ansible.clone();
        self.take_saved().await;
        // An inventory that was kept may be old, whatever the files say.
        let mut reading = Some(self.start_reading());
        let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
        loop {
            tokio::select! {
                // Dropping a reading ends its processes.
                () = shutdown.asked() => return,
                (fingerprint, read) = done(&mut reading) => {
                    reading = None;
                    self.take(fingerprint, read).await;
                    for done in waiting.drain(..) {
                        let _ = done.send(());
                    }
                }
                request = requests.recv() => {
                    let Some(request) = request else { return };
                    let stale = self.look().await;
                    if stale && reading.is_none() {
                        reading = Some(self.start_reading());
                    }
                    if stale {
                        waiting.retain(|waiting| !waiting.is_closed());
                        waiting.push(request);
                    } else {
                        let _ = request.send(());
                    }
                }
                changed = reloaded.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    reading = Some(self.start_reading());
                }
                () = tokio::time::sleep_until(self.next_read.into()), if reading.is_none() => {
                    reading = Some(self.start_reading());
                }
            }
        }
    }

    async fn take_saved(&mut self) {
        let Some((fingerprint, json)) = self.keeping.saved.take() else {
            return;
        };
        if self.fingerprint_now().await != fingerprint {
            return;
        }
        match Inventory::parse(&json) {
            Ok(inventory) => {
                let hosts = inventory.len();
                self.fingerprint = Some(fingerprint);
                self.publish.send_replace(Some(Arc::new(inventory)));
                tracing::info!(
                    hosts,
                    "inventory taken from the store while it is read again"
                );
            }
            Err(e) => tracing::warn!(error = %e, "the inventory in the store cannot be read"),
        }
    }

    /// Whether the sources are not as they were when they were last read, or there is no inventory.
    async fn look(&mut self) -> bool {
        let now = self.started.elapsed();
        let fingerprint = Some(self.fingerprint_now().await);
        // What could not be read as it is now is tried again in its time, not with every notification.
        let stale = self.fingerprint != fingerprint && self.failed != fingerprint;
        if !stale {
            let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            self.looked_millis.store(millis.max(1), Ordering::Relaxed);
        }
        stale
    }

    async fn fingerprint_now(&self) -> u64 {
        let config = Arc::clone(&self.keeping.config.borrow());
        fingerprint_of(config).await
    }

    fn start_reading(&self) -> Pin<Box<dyn Future<Output = Reading> + Send>> {
        let config = Arc::clone(&self.keeping.config.borrow());
        let ansible = Arc::clone(&self.keeping.ansible.borrow());
        Box::pin(async move {
            // Taken before: what changes meanwhile is read again.
            let fingerprint = fingerprint_of(config).await;
            let read = async { Ok(Inventory::parse(&ansible.list().await?)?) };
            (fingerprint, read.await)
        })
    }

    async fn take(&mut self, fingerprint: u64, read: Result<Inventory, ReadError>) {
        let inventory = match read {
            Ok(inventory) => inventory,
            Err(e) => {
                self.failed = Some(fingerprint);
                self.next_read = Instant::now() + RETRY;
                self.keeping.metrics.inventory_read(None, clock::now());
                tracing::error!(error = %e, "the inventory cannot be read; the last one stays in force");
                return;
            }
        };
        let refresh = self.keeping.config.borrow().ansible.inventory_refresh;
        self.next_read = Instant::now() + refresh;
        self.fingerprint = Some(fingerprint);
        self.failed = None;
        let (hosts, json) = (inventory.len(), inventory.to_json());
        let names = inventory.hosts().map(|host| host.name().to_owned());
        let known: BTreeSet<String> = names.collect();
        let was = self.publish.borrow().as_ref().map(|i| i.len());
        self.publish.send_replace(Some(Arc::new(inventory)));
        let metrics = &self.keeping.metrics;
        metrics.inventory_read(Some(hosts), clock::now());
        tracing::info!(hosts, was, "inventory read");
        let store = &self.keeping.store;
        if let Err(e) = store.save_inventory(fingerprint, json.into()).await {
            tracing::warn!(error = %e, "the inventory was not kept for the next start");
        }
        if let Err(e) = store.forget_hosts_but(known).await {
            tracing::warn!(error = %e, "hosts that left the inventory are still on the metrics");
        }
    }
}

async fn fingerprint_of(config: Arc<Config>) -> u64 {
    tokio::task::spawn_blocking(move || ansible::fingerprint(&config.ansible))
        .await
        .unwrap_or(0)
}

/// Waits for a reading that is under way.
async fn done(reading: &mut Option<Pin<Box<dyn Future<Output = Reading> + Send>>>) -> Reading {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}
