//! Keeps the inventory current: reads it with `ansible-inventory`, and reads it again whenever its sources change.
//!
//! A notification needs a [fresh](InventoryWatcher::fresh) inventory, so that a host that was added a moment ago is found.
//! Checking the files of the sources is cheap; Ansible is started only if they changed. The output of an inventory script
//! can change without a change of any file, so the inventory is also read again after `ansible.inventory_refresh`.
//!
//! While the inventory cannot be read, no run starts: `ansible-playbook` reads the same sources, so a run would fail. If a
//! script is slow or fails, and no file has changed, alerts are decided with the last good inventory for
//! `ansible.inventory_max_age`. After that, or at once if a changed source cannot be read, Alertmanager is asked to send
//! the notification again.
//!
//! An inventory that lost most of its hosts at once is believed only after it has been read like that for a while
//! (`ansible.inventory_shrink`). Until then alerts and runs use it, runs of the missing hosts wait, and scrape targets and
//! stored data of hosts are left as they were.
//!
//! Hosts that are enrolled in the store are merged with the hosts that were read, without starting Ansible again:
//! [`InventoryWatcher::enrolled`].

mod log;
mod merge;
mod reading;
mod shrink;
mod status;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::ansible::Ansible;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::model::inventory::{EnrolledHost, Inventory};
use crate::services::facts_cache::FactsCache;
use crate::store::{Fleet, Store};
use crate::util::shutdown::Shutdown;
use reading::{Version, done};
use shrink::Doubt;
pub use status::{InventoryStatus, Shrunk, Trouble, Unavailable};

/// How long a check of the sources' files is valid.
const CHECK_VALID: Duration = Duration::from_millis(250);

/// How often the files are checked without a request.
const POLL: Duration = Duration::from_secs(10);

/// Facts arrive host by host: those that arrive within this time are read together.
const PAUSE: Duration = Duration::from_millis(500);

/// How long a notification waits for an inventory that is being read. Alertmanager waits for at least ten seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// The inventory, or the reason why none can be used.
type State = Result<Arc<Inventory>, Unavailable>;

/// A handle to the watcher task. Cheap to clone.
#[derive(Clone)]
pub struct InventoryWatcher {
    standing: watch::Receiver<InventoryStatus>,
    looks: mpsc::Sender<oneshot::Sender<()>>,
    enrolments: mpsc::Sender<oneshot::Sender<()>>,
    /// When the files were last checked. *Units*: milliseconds since `started`; 0 if never.
    looked_millis: Arc<AtomicU64>,
    started: Instant,
}

impl InventoryWatcher {
    /// Returns the inventory as last read, as long as alerts may be decided with it.
    ///
    /// *Errors*: why there is none, or why it must not be used.
    pub fn latest(&self) -> State {
        self.standing.borrow().usable(Instant::now())
    }

    /// Returns the complete status of the inventory.
    pub fn status(&self) -> InventoryStatus {
        self.standing.borrow().clone()
    }

    /// Subscribes to changes of the status.
    pub fn watch(&self) -> Subscription {
        Subscription(self.standing.clone())
    }

    /// Reports that hosts were enrolled or removed, and waits until the inventory reflects it.
    pub async fn enrolled(&self) {
        let (done, shown) = oneshot::channel();
        if self.enrolments.send(done).await.is_ok() {
            let _ = shown.await;
        }
    }

    /// Returns the inventory, read again if its sources changed; if that takes long or fails, the same as [`Self::latest`].
    pub async fn fresh(&self) -> State {
        self.check_sources().await;
        self.latest()
    }

    /// Returns the inventory as `ansible-playbook` would read it now. Runs are started only with this one.
    ///
    /// *Errors*: as [`Self::latest`], and also if the last attempt to read it failed.
    pub async fn current(&self) -> State {
        self.check_sources().await;
        self.standing.borrow().current()
    }

    /// Has the sources checked, unless that was done just now, and waits up to [`PATIENCE`] if they are read again.
    async fn check_sources(&self) {
        let looked = Duration::from_millis(self.looked_millis.load(Ordering::Relaxed));
        let known = self.standing.borrow().current().is_ok();
        if !known || looked.is_zero() || self.started.elapsed().saturating_sub(looked) > CHECK_VALID
        {
            let (done, looked) = oneshot::channel();
            let request = async {
                if self.looks.send(done).await.is_ok() {
                    let _ = looked.await;
                }
            };
            let _ = tokio::time::timeout(PATIENCE, request).await;
        }
    }
}

/// A subscription to changes of the inventory's status.
pub struct Subscription(watch::Receiver<InventoryStatus>);

impl Subscription {
    /// Returns whether runs can be started with the current inventory.
    pub fn is_current(&mut self) -> bool {
        self.0.borrow_and_update().current().is_ok()
    }

    /// Returns the believed inventory: the last good one, with the missing hosts whose loss is in doubt.
    pub fn believed(&mut self) -> Option<Arc<Inventory>> {
        self.0.borrow_and_update().believed.clone()
    }

    /// Waits for a change since the status was last read. *Cancel safety*: may be dropped at any time.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The dependencies of the watcher task.
pub struct Dependencies {
    /// The configuration that is in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// Starts `ansible-inventory` with that configuration.
    pub ansible: watch::Receiver<Arc<Ansible>>,
    /// Stores the last inventory for the next start of promansible.
    pub store: Store,
    /// Exports whether reading succeeded.
    pub metrics: Metrics,
    /// The stored inventory, with the fingerprint of its sources.
    pub saved: Option<(u64, Bytes)>,
    /// The aliases of hosts, as far as they were read already.
    pub aliases: FactsCache<BTreeSet<String>>,
    /// Becomes true when promansible is shutting down.
    pub shutdown: Shutdown,
}

/// Returns the handle, and the task that keeps the inventory current until shutdown.
///
/// A stored inventory is used at once if the files of its sources are unchanged; it is read again in any case.
pub fn keep(
    mut keeping: Dependencies,
) -> (InventoryWatcher, impl Future<Output = ()> + Send + 'static) {
    let (publish, standing) = watch::channel(InventoryStatus::default());
    let (looks, requests) = mpsc::channel(1024);
    let (enrolments, enrolled) = mpsc::channel(64);
    let looked_millis = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let handle = InventoryWatcher {
        standing,
        looks,
        enrolments,
        looked_millis: Arc::clone(&looked_millis),
        started,
    };
    let keeper = Keeper {
        publish,
        files: None,
        enrolled: Vec::new(),
        enrolled_known: false,
        aliases: std::mem::take(&mut keeping.aliases),
        last: None,
        last_believed: None,
        looked_millis,
        started,
        believed: None,
        doubt: None,
        shrunk: None,
        trouble: None,
        read_at: None,
        fleet: Arc::default(),
        removed: BTreeSet::new(),
        fingerprint: None,
        failed: None,
        next_read: started,
        version: None,
        keeping,
    };
    (handle, keeper.run(requests, enrolled))
}

struct Keeper {
    keeping: Dependencies,
    publish: watch::Sender<InventoryStatus>,
    /// The inventory as last read from the sources.
    files: Option<Inventory>,
    /// The last inventory that was read and believed, which may be from before this start.
    believed: Option<Inventory>,
    /// Set while what was read is not believed.
    doubt: Option<Doubt>,
    /// The hosts that are missing then.
    shrunk: Option<Shrunk>,
    /// Why the last attempt to read it failed, if it did.
    trouble: Option<Trouble>,
    /// When it was last read successfully.
    read_at: Option<chrono::DateTime<chrono::Utc>>,
    /// The last update that the store accepted.
    fleet: Arc<Fleet>,
    /// Enrolled hosts that were removed and whose data is not deleted yet.
    removed: BTreeSet<String>,
    /// The enrolled hosts, from the store.
    enrolled: Vec<Arc<EnrolledHost>>,
    /// Whether the last attempt to read all enrolled hosts succeeded.
    enrolled_known: bool,
    /// The names and addresses that hosts report of themselves.
    aliases: FactsCache<BTreeSet<String>>,
    /// `files` with enrolled hosts and aliases, as last published.
    last: Option<Arc<Inventory>>,
    /// `believed` with enrolled hosts and aliases, as last published.
    last_believed: Option<Arc<Inventory>>,
    looked_millis: Arc<AtomicU64>,
    started: Instant,
    /// The fingerprint of the sources when they were last read successfully.
    fingerprint: Option<u64>,
    /// The fingerprint of the sources when reading failed, if it has failed since.
    failed: Option<u64>,
    /// When it is read again even if no file has changed.
    next_read: Instant,
    version: Version,
}

impl Keeper {
    /// Runs until shutdown. Reading and checking run concurrently: a request that finds the files unchanged does not wait
    /// for Ansible.
    async fn run(
        mut self,
        mut requests: mpsc::Receiver<oneshot::Sender<()>>,
        mut enrolled: mpsc::Receiver<oneshot::Sender<()>>,
    ) {
        let mut shutdown = self.keeping.shutdown.clone();
        let mut reloaded = self.keeping.ansible.clone();
        let mut facts = self.keeping.store.facts_changed();
        let mut facts_due = None;
        self.read_aliases().await;
        self.take_saved().await;
        // A stored inventory may be old even if the files are unchanged.
        let mut reading = Some(self.start_reading());
        let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
        loop {
            tokio::select! {
                // Dropping `reading` ends its processes.
                () = shutdown.requested() => return,
                read = done(&mut reading) => {
                    reading = None;
                    self.take(read).await;
                    for done in waiting.drain(..) {
                        let _ = done.send(());
                    }
                }
                request = requests.recv() => {
                    let Some(request) = request else { return };
                    // One check serves all requests that were made before it.
                    let mut requested = vec![request];
                    while let Ok(request) = requests.try_recv() {
                        requested.push(request);
                    }
                    let stale = self.sources_changed().await;
                    if stale && reading.is_none() {
                        reading = Some(self.start_reading());
                    }
                    if stale {
                        waiting.retain(|waiting| !waiting.is_closed());
                        waiting.append(&mut requested);
                    } else {
                        for request in requested {
                            let _ = request.send(());
                        }
                    }
                }
                changed = enrolled.recv() => {
                    let Some(done) = changed else { return };
                    let mut waiting_for_merge = vec![done];
                    while let Ok(done) = enrolled.try_recv() {
                        waiting_for_merge.push(done);
                    }
                    self.take_enrolled().await;
                    for done in waiting_for_merge {
                        let _ = done.send(());
                    }
                }
                Ok(()) = facts.changed(), if facts_due.is_none() => {
                    facts_due = Some(tokio::time::Instant::now() + PAUSE);
                }
                () = until(facts_due), if facts_due.is_some() => {
                    facts_due = None;
                    if self.read_aliases().await {
                        self.merge().await;
                    }
                }
                () = tokio::time::sleep(POLL), if reading.is_none() => {
                    if self.sources_changed().await {
                        reading = Some(self.start_reading());
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

    /// Returns whether the sources changed since they were last read, or were never read.
    async fn sources_changed(&mut self) -> bool {
        let now = self.started.elapsed();
        let fingerprint = Some(self.fingerprint_now().await);
        // Sources that could not be read in their present state are tried again after `RETRY`, not with every notification.
        let stale = self.failed.or(self.fingerprint) != fingerprint;
        if !stale {
            let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            self.looked_millis.store(millis.max(1), Ordering::Relaxed);
        }
        stale
    }

    async fn fingerprint_now(&self) -> u64 {
        let config = Arc::clone(&self.keeping.config.borrow());
        reading::fingerprint_of(config).await
    }
}

async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
