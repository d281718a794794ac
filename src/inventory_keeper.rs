//! Keeps the inventory current: reads it through `ansible-inventory`, and again whenever its sources change.
//!
//! A notification asks for a [fresh](InventoryKeeper::fresh) inventory: a host that was added a moment ago is to be
//! found. Looking at the sources' files is cheap; only if they changed is Ansible asked. What an inventory script says
//! can change without any file changing, so it is read again after `ansible.inventory_refresh` too.
//!
//! While it cannot be read, nothing is decided and no run starts: `ansible-playbook` reads the same sources, so a run
//! would fail, and its episode would have had its run. Alertmanager is told to come again.
//!
//! Hosts that are enrolled in the store join what was read, without asking Ansible again: [`InventoryKeeper::enrolled`].

mod merge;
mod told;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::ansible::{self, Ansible, ListError};
use crate::blocking::in_place;
use crate::clock;
use crate::config::Config;
use crate::facts_cache::FactsCache;
use crate::inventory::{EnrolledHost, Inventory, InventoryError};
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
use crate::store::Store;
use told::tell_of_version;

/// How long a look at the sources' files is good for.
const LOOK: Duration = Duration::from_millis(250);

/// How often they are looked at although nobody asks.
const POLL: Duration = Duration::from_secs(10);

/// Facts come host by host; what comes within this time is looked at once.
const PAUSE: Duration = Duration::from_millis(500);

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

/// Why there is no inventory to decide by. It passes: whoever asks may come again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Since the start.
    #[error("the inventory has not been read yet")]
    NotYet,
    /// Since its sources changed, or since they were last read.
    #[error("the inventory cannot be read: {0}")]
    Broken(Arc<str>),
}

type State = Result<Arc<Inventory>, Unavailable>;

/// A handle to the keeper. Cheap to clone.
#[derive(Clone)]
pub struct InventoryKeeper {
    state: watch::Receiver<State>,
    looks: mpsc::Sender<oneshot::Sender<()>>,
    enrolments: mpsc::Sender<oneshot::Sender<()>>,
    /// When the files were last looked at, in milliseconds since `started`; 0 if never.
    looked_millis: Arc<AtomicU64>,
    started: Instant,
}

impl InventoryKeeper {
    /// The inventory as last read.
    ///
    /// *Errors*: why there is none, or why it cannot be relied upon.
    pub fn latest(&self) -> State {
        self.state.borrow().clone()
    }

    /// Tells when that changes.
    pub fn watch(&self) -> Watching {
        Watching(self.state.clone())
    }

    /// Tells that hosts were enrolled or removed, and waits until the inventory shows it.
    pub async fn enrolled(&self) {
        let (done, shown) = oneshot::channel();
        if self.enrolments.send(done).await.is_ok() {
            let _ = shown.await;
        }
    }

    /// The inventory, read again if its sources changed. If that takes long, the last one.
    ///
    /// *Errors*: as for [`Self::latest`].
    pub async fn fresh(&self) -> State {
        let looked = Duration::from_millis(self.looked_millis.load(Ordering::Relaxed));
        let known = self.state.borrow().is_ok();
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

/// Sees the inventory come and go.
pub struct Watching(watch::Receiver<State>);

impl Watching {
    /// Whether there is an inventory to work by.
    pub fn is_usable(&mut self) -> bool {
        self.0.borrow_and_update().is_ok()
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
pub fn keep(mut keeping: Keeping) -> (InventoryKeeper, impl Future<Output = ()> + Send + 'static) {
    let (publish, state) = watch::channel(Err(Unavailable::NotYet));
    let (looks, requests) = mpsc::channel(1024);
    let (enrolments, enrolled) = mpsc::channel(64);
    let looked_millis = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let handle = InventoryKeeper {
        state,
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
        looked_millis,
        started,
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
    publish: watch::Sender<State>,
    /// What was last read.
    files: Option<Inventory>,
    /// The hosts in the store.
    enrolled: Vec<Arc<EnrolledHost>>,
    /// Whether these are all, as far as is known.
    enrolled_known: bool,
    /// What hosts call themselves.
    aliases: FactsCache<BTreeSet<String>>,
    /// Both together, as last published.
    last: Option<Arc<Inventory>>,
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

/// Which ansible-core it is, by the stamp of its program.
type Version = Option<(u64, Option<(u32, u32)>)>;

/// What reading yields: the sources' fingerprint from before, and the inventory with the version that read it.
type Reading = (u64, Result<(Inventory, Version), ReadError>);

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
                (fingerprint, read) = done(&mut reading) => {
                    reading = None;
                    self.take(fingerprint, read).await;
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

    async fn take_saved(&mut self) {
        let Some((fingerprint, json)) = self.keeping.saved.take() else {
            return;
        };
        if self.fingerprint_now().await != fingerprint {
            return;
        }
        match in_place(|| Inventory::parse(&json)) {
            Ok(inventory) => {
                let hosts = inventory.len();
                self.fingerprint = Some(fingerprint);
                self.files = Some(inventory);
                self.merge().await;
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
        let stale = self.failed.or(self.fingerprint) != fingerprint;
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
        let known = self.version;
        Box::pin(async move {
            // Taken before: what changes meanwhile is read again.
            let fingerprint = fingerprint_of(Arc::clone(&config)).await;
            let read = async {
                let stamp = in_place(|| ansible.program_stamp());
                let version = match known {
                    Some((of, version)) if of == stamp => version,
                    _ => ansible.version().await?,
                };
                let listing = ansible.list().await?;
                // It may be 64 MiB of JSON.
                let inventory = in_place(|| {
                    let exposed = &config.service_discovery.exposed;
                    let required = config.roles.required_vars();
                    Inventory::parse(&listing)?.keeping_vars(&listing, &exposed.vars, &required)
                })?;
                Ok((inventory.read_by(version), Some((stamp, version))))
            };
            (fingerprint, read.await)
        })
    }

    async fn take(&mut self, fingerprint: u64, read: Result<(Inventory, Version), ReadError>) {
        let (inventory, version) = match read {
            Ok(read) => read,
            Err(e) => {
                self.failed = Some(fingerprint);
                self.next_read = Instant::now() + RETRY;
                self.keeping.metrics.inventory_read(false, clock::now());
                tracing::error!(error = %e, "the inventory cannot be read; until it can, no alert is taken and no run starts");
                let why = e.to_string().into();
                let _ = self.publish.send_replace(Err(Unavailable::Broken(why)));
                return;
            }
        };
        if let (Some((_, version)), true) = (version, version != self.version) {
            tell_of_version(version);
        }
        self.version = version;
        let refresh = self.keeping.config.borrow().ansible.inventory_refresh;
        self.next_read = Instant::now() + refresh;
        self.fingerprint = Some(fingerprint);
        self.failed = None;
        let hosts = inventory.len();
        let was = self.files.as_ref().map(Inventory::len);
        let (json, is_news) = in_place(|| {
            let is_news = self.files.as_ref() != Some(&inventory);
            (inventory.to_json(), is_news)
        });
        self.files = Some(inventory);
        self.merge().await;
        self.forget().await;
        self.keeping.metrics.inventory_read(true, clock::now());
        if is_news {
            tracing::info!(hosts, was, "inventory read");
        } else {
            tracing::debug!(hosts, "inventory read, and nothing has changed");
        }
        let saved = self.keeping.store.save_inventory(fingerprint, json.into());
        if let Err(e) = saved.await {
            tracing::warn!(error = %e, "the inventory was not kept for the next start");
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

async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
