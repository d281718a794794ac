//! Keeps the inventory current: reads it through `ansible-inventory`, and again whenever its sources change.
//!
//! A notification asks for a [fresh](InventoryKeeper::fresh) inventory: a host that was added a moment ago is to be
//! found. Looking at the sources' files is cheap; only if they changed is Ansible asked. What an inventory script says
//! can change without any file changing, so it is read again after `ansible.inventory_refresh` too.
//!
//! While it cannot be read, no run starts: `ansible-playbook` reads the same sources, so a run would fail. Where a script is
//! slow or fails, and no file has changed, alerts are decided by the last good inventory for `ansible.inventory_max_age`. After
//! that, and at once where a source was changed to what cannot be read, Alertmanager is told to come again.
//!
//! An inventory that lost most of its hosts at once is believed only when it has been read so for a while
//! (`ansible.inventory_shrink`). Until then alerts and runs go by what it says, the runs of missing hosts wait, and scrape
//! targets and what is kept of hosts stay as they were.
//!
//! Hosts that are enrolled in the store join what was read, without asking Ansible again: [`InventoryWatcher::enrolled`].

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

/// How long a look at the sources' files is good for.
const LOOK: Duration = Duration::from_millis(250);

/// How often they are looked at although nobody asks.
const POLL: Duration = Duration::from_secs(10);

/// Facts come host by host; what comes within this time is looked at once.
const PAUSE: Duration = Duration::from_millis(500);

/// How long a notification waits for an inventory that is being read. Alertmanager waits ten seconds at least.
const PATIENCE: Duration = Duration::from_secs(5);

/// The inventory, or why there is none to decide by.
type State = Result<Arc<Inventory>, Unavailable>;

/// A handle to the keeper. Cheap to clone.
#[derive(Clone)]
pub struct InventoryWatcher {
    standing: watch::Receiver<InventoryStatus>,
    looks: mpsc::Sender<oneshot::Sender<()>>,
    enrolments: mpsc::Sender<oneshot::Sender<()>>,
    /// When the files were last looked at, in milliseconds since `started`; 0 if never.
    looked_millis: Arc<AtomicU64>,
    started: Instant,
}

impl InventoryWatcher {
    /// The inventory as last read, as long as alerts may be decided by it.
    ///
    /// *Errors*: why there is none, or why it cannot be relied upon.
    pub fn latest(&self) -> State {
        self.standing.borrow().usable(Instant::now())
    }

    /// All that is known of it.
    pub fn standing(&self) -> InventoryStatus {
        self.standing.borrow().clone()
    }

    /// Tells when that changes.
    pub fn watch(&self) -> Subscription {
        Subscription(self.standing.clone())
    }

    /// Tells that hosts were enrolled or removed, and waits until the inventory shows it.
    pub async fn enrolled(&self) {
        let (done, shown) = oneshot::channel();
        if self.enrolments.send(done).await.is_ok() {
            let _ = shown.await;
        }
    }

    /// The inventory, read again if its sources changed. If that takes long or fails, the last one, as for [`Self::latest`].
    pub async fn fresh(&self) -> State {
        self.look().await;
        self.latest()
    }

    /// The inventory as `ansible-playbook` would read it too: what starts a run goes by nothing else.
    ///
    /// *Errors*: also if it could not be read the last time.
    pub async fn current(&self) -> State {
        self.look().await;
        self.standing.borrow().current()
    }

    /// Has the sources looked at, unless that was done just now, and waits for a reading, but not for long.
    async fn look(&self) {
        let looked = Duration::from_millis(self.looked_millis.load(Ordering::Relaxed));
        let known = self.standing.borrow().current().is_ok();
        if !known || looked.is_zero() || self.started.elapsed().saturating_sub(looked) > LOOK {
            let (done, looked) = oneshot::channel();
            let look = async {
                if self.looks.send(done).await.is_ok() {
                    let _ = looked.await;
                }
            };
            let _ = tokio::time::timeout(PATIENCE, look).await;
        }
    }
}

/// Sees the inventory come and go.
pub struct Subscription(watch::Receiver<InventoryStatus>);

impl Subscription {
    /// Whether there is an inventory to start runs by.
    pub fn is_current(&mut self) -> bool {
        self.0.borrow_and_update().current().is_ok()
    }

    /// The hosts as far as they are believed: those of the last good inventory, and those that are missing and in doubt.
    pub fn believed(&mut self) -> Option<Arc<Inventory>> {
        self.0.borrow_and_update().believed.clone()
    }

    /// Waits for a change after the last look. *Cancel safety*: may be dropped at any time.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
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
    /// By what else hosts are known, as far as that was read already.
    pub aliases: FactsCache<BTreeSet<String>>,
    /// Becomes true when promansible is to end.
    pub shutdown: Shutdown,
}

/// The handle, and what keeps the inventory until the end.
///
/// An inventory that was kept is in force at once if its sources' files are as they were; it is read again all the same.
pub fn keep(mut keeping: Keeping) -> (InventoryWatcher, impl Future<Output = ()> + Send + 'static) {
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
    keeping: Keeping,
    publish: watch::Sender<InventoryStatus>,
    /// What was last read.
    files: Option<Inventory>,
    /// What was last read and believed, also before this start.
    believed: Option<Inventory>,
    /// Since when what was read is not believed, if it is not.
    doubt: Option<Doubt>,
    /// What is missing then.
    shrunk: Option<Shrunk>,
    /// Why it could not be read the last time, if it could not.
    trouble: Option<Trouble>,
    /// When it was last read with success.
    read_at: Option<chrono::DateTime<chrono::Utc>>,
    /// What the store was last told.
    fleet: Arc<Fleet>,
    /// Enrolled hosts that a person removed, until what is known of them is forgotten.
    removed: BTreeSet<String>,
    /// The hosts in the store.
    enrolled: Vec<Arc<EnrolledHost>>,
    /// Whether these are all, as far as is known.
    enrolled_known: bool,
    /// What hosts call themselves.
    aliases: FactsCache<BTreeSet<String>>,
    /// Both together, as last published.
    last: Option<Arc<Inventory>>,
    /// The same of what is believed.
    last_believed: Option<Arc<Inventory>>,
    looked_millis: Arc<AtomicU64>,
    started: Instant,
    /// Of the sources, when they were last read with success.
    fingerprint: Option<u64>,
    /// Of the sources, when reading them last failed, if it did since.
    failed: Option<u64>,
    /// When it is read again, whatever the files say.
    next_read: Instant,
    version: Version,
}

impl Keeper {
    /// Reading goes on beside looking: who only asks whether the files changed does not wait for Ansible.
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
        // An inventory that was kept may be old, whatever the files say.
        let mut reading = Some(self.start_reading());
        let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
        loop {
            tokio::select! {
                // Dropping a reading ends its processes.
                () = shutdown.asked() => return,
                read = done(&mut reading) => {
                    reading = None;
                    self.take(read).await;
                    for done in waiting.drain(..) {
                        let _ = done.send(());
                    }
                }
                request = requests.recv() => {
                    let Some(request) = request else { return };
                    // One look is good for all who asked before it.
                    let mut asked = vec![request];
                    while let Ok(request) = requests.try_recv() {
                        asked.push(request);
                    }
                    let stale = self.look().await;
                    if stale && reading.is_none() {
                        reading = Some(self.start_reading());
                    }
                    if stale {
                        waiting.retain(|waiting| !waiting.is_closed());
                        waiting.append(&mut asked);
                    } else {
                        for request in asked {
                            let _ = request.send(());
                        }
                    }
                }
                changed = enrolled.recv() => {
                    let Some(done) = changed else { return };
                    let mut told = vec![done];
                    while let Ok(done) = enrolled.try_recv() {
                        told.push(done);
                    }
                    self.take_enrolled().await;
                    for done in told {
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
                    if self.look().await {
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

    /// Whether the sources are not as they were when they were last read, or there is no inventory.
    async fn look(&mut self) -> bool {
        let now = self.started.elapsed();
        let fingerprint = Some(self.fingerprint_now().await);
        // What could not be read as it is now is tried again in its time, not with every notification.
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
