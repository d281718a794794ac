//! Wires the parts together: starts them in order, serves, and stops them in reverse.

mod reload;

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, watch};

use crate::ansible::{self, Ansible};
use crate::app::reload::{AnsibleMaker, Reloader, read_config};
use crate::auth::{Auth, AuthError};
use crate::config::{Config, ConfigErrors};
use crate::http::{self, Context};
use crate::metrics::Metrics;
use crate::model::facts::HostFacts;
use crate::model::identity::Identity;
use crate::services::config_manager::ConfigManager;
use crate::services::facts_cache::StartupFacts;
use crate::services::facts_collector::FactsCollector;
use crate::services::inventory_watcher::{self, Dependencies};
use crate::services::notifier::Dispatcher;
use crate::services::recheck::Recheck;
use crate::services::rule_discovery::RuleDiscovery;
use crate::services::scheduler::Scheduler;
use crate::services::truncated_alerts::TruncatedAlerts;
use crate::services::worker::Worker;
use crate::services::{file_sd, target_index};
use crate::store::{self, OpenError, Store, StoreError};
use crate::util::clock;
use crate::util::shutdown::{self, Shutdown};
use crate::util::supervisor::{Tasks, UnexpectedEnd};

/// How often old history is deleted.
const RETENTION: Duration = Duration::from_mins(1);

/// The longest time that the other tasks may take to end once no run is under way. A store whose disk hangs may never
/// answer.
const ENDING: Duration = Duration::from_secs(10);

/// The same limit after a task has failed: the service manager must restart promansible soon.
const FAILING: Duration = Duration::from_millis(500);

/// How often to try again to get a port or a store that another process holds. A promansible that was killed while it
/// started a run leaves a child process that holds both for a moment, until it executes the supervisor.
const TRIES: u32 = 15;

/// The pause between two tries.
const TRY: Duration = Duration::from_millis(100);

/// The options of the command line, as checked by clap.
#[derive(Debug, Clone)]
pub struct Options {
    /// The configuration file.
    pub config_file: PathBuf,
    /// The store file, if it overrides the configuration.
    pub storage_path: Option<PathBuf>,
    /// The addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// The path of the metrics.
    pub telemetry_path: String,
    /// The external origin of the portal: scheme, name and port.
    pub external_origin: Option<String>,
    /// The prefix of each request path: empty, or such as `/a`, without a trailing slash.
    pub route_prefix: String,
    /// The prefix of each path in a response.
    pub link_prefix: String,
    /// The web configuration file.
    pub web_config_file: Option<PathBuf>,
    /// Whether `/-/reload` is enabled.
    pub enable_lifecycle: bool,
    /// Whether to listen on non-loopback addresses without authentication.
    pub allow_remote: bool,
}

/// Why promansible cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has errors.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The objects that were created over the API cannot be read.
    #[error(transparent)]
    Read(StoreError),
    /// Authentication cannot be set up.
    #[error("{0}")]
    Auth(#[from] AuthError),
    /// A non-loopback address without authentication.
    #[error(
        "{0} can be reached from other machines, and everyone who reaches it can run roles. Listen on a loopback address; or configure authentication: basic_auth_users or client certificates in --web.config.file, or web.tokens; or start with --web.allow-remote-without-authentication"
    )]
    Remote(SocketAddr),
    /// An address that cannot be bound.
    #[error("cannot listen on {0} (--web.listen-address): {1}{advice}", advice = advice(.1))]
    Listen(SocketAddr, std::io::Error),
    /// A system error, with what failed.
    #[error("{0}: {1}")]
    System(&'static str, std::io::Error),
    /// The metrics cannot be registered.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Returns the remedy for an address that cannot be bound.
fn advice(e: &std::io::Error) -> &'static str {
    match e.kind() {
        std::io::ErrorKind::AddrInUse => {
            ". Another process, probably another promansible, listens there: stop it, or set another --web.listen-address"
        }
        std::io::ErrorKind::AddrNotAvailable => {
            ". No network interface of this machine has this address: set an address of this machine, or 0.0.0.0 for all of them"
        }
        std::io::ErrorKind::PermissionDenied => {
            ". Ports below 1024 are reserved for root: set another port, or grant the capability CAP_NET_BIND_SERVICE"
        }
        _ => "",
    }
}

/// A running promansible.
pub struct App {
    store: Store,
    shutdown: shutdown::Trigger,
    /// The worker, which ends only after the processes of its runs.
    worker: Tasks,
    others: Tasks,
    addresses: Vec<SocketAddr>,
}

/// Why promansible did not shut down cleanly.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// A task panicked during the shutdown.
    #[error(transparent)]
    Task(#[from] UnexpectedEnd),
    /// The store did not end in time.
    #[error(
        "the store does not answer: ended without it. Changes that it did not confirm may be lost, and runs that were under way will show as interrupted. Check its disk: {0}"
    )]
    Store(PathBuf),
}

impl App {
    /// Builds and starts everything. The configuration is reloaded at each `hangup`.
    #[allow(clippy::too_many_lines)] // one straight line, a paragraph for each part
    pub async fn start(options: Options, hangup: Signal) -> Result<Self, StartError> {
        let Prepared {
            metrics,
            configs,
            auth,
            listeners,
            opened,
            first,
            make,
            ansible,
        } = prepare(&options).await?;
        let (shutdown, ending) = shutdown::channel();
        let (aliases, exposed) = first.done();
        let config = configs.watch();
        let (ansible_sender, ansible) = watch::channel(Arc::new(ansible));
        let (inventory, inventory_keeper) = inventory_watcher::keep(Dependencies {
            config: config.clone(),
            ansible: ansible.clone(),
            store: opened.store.clone(),
            metrics: metrics.clone(),
            saved: opened.inventory,
            aliases,
            shutdown: ending.clone(),
        });
        let mut others = Tasks::default();
        others.spawn("inventory watcher", inventory_keeper);
        let hosts = target_index::Dependencies {
            config: config.clone(),
            inventory: inventory.clone(),
            store: opened.store.clone(),
            facts: exposed,
            shutdown: ending.clone(),
        };
        let discovery = file_sd::start(hosts, &metrics, &mut others);
        others.spawn("config manager", configs.clone().follow(ending.clone()));
        let facts = FactsCollector {
            store: opened.store.clone(),
            config: config.clone(),
            inventory: inventory.clone(),
            metrics: metrics.clone(),
            shutdown: ending.clone(),
        };
        others.spawn("facts collector", facts.run());
        let (changed_schedules, touched) = mpsc::channel(16);
        let scheduler = Scheduler {
            store: opened.store.clone(),
            config: config.clone(),
            inventory: inventory.clone(),
            metrics: metrics.clone(),
            touched,
            shutdown: ending.clone(),
        };
        others.spawn("scheduler", scheduler.run());
        let recheck = Recheck {
            store: opened.store.clone(),
            config: config.clone(),
            inventory: inventory.clone(),
            shutdown: ending.clone(),
        };
        others.spawn("recheck", recheck.run());
        let dispatcher = Dispatcher {
            store: opened.store.clone(),
            config: config.clone(),
            metrics: metrics.clone(),
            external_url: options.external_origin.as_deref().map(|origin| {
                let prefix = &options.link_prefix;
                format!("{origin}{prefix}").into()
            }),
            shutdown: ending.clone(),
        };
        others.spawn("notifier", dispatcher.run());
        let worker = Worker {
            store: opened.store.clone(),
            config: config.clone(),
            ansible,
            inventory: inventory.clone(),
            metrics: metrics.clone(),
            shutdown: ending.clone(),
        };
        let (reload, requests) = mpsc::channel(16);
        let context = Context {
            store: opened.store.clone(),
            metrics: metrics.clone(),
            config: config.clone(),
            configs: configs.clone(),
            changed_schedules,
            truncated_alerts: TruncatedAlerts::new(
                opened.store.clone(),
                config.clone(),
                inventory.clone(),
                metrics.clone(),
                ending.clone(),
            ),
            inventory,
            alert_types: RuleDiscovery::new(config.clone()),
            targets: discovery,
            events: http::Events::new(&opened.store, &ending),
            reload: options.enable_lifecycle.then_some(reload),
            auth: auth.clone(),
            caller: Identity::anonymous(),
            note: http::Note::default(),
            peer: None,
            pause: None,
            external_origin: options.external_origin.as_deref().map(Into::into),
            prefixes: http::Prefixes {
                route: options.route_prefix.as_str().into(),
                links: options.link_prefix.as_str().into(),
            },
            telemetry_path: options.telemetry_path.as_str().into(),
            shutdown: ending.clone(),
        };
        let reloader = Reloader {
            file: options.config_file,
            storage_path: options.storage_path,
            metrics,
            configs,
            auth,
            ansible: ansible_sender,
            make,
        };
        others.spawn("reloader", reloader.run(requests, hangup, ending.clone()));
        others.spawn("retention", retain(opened.store.clone(), config, ending));
        let addresses = serve_on(listeners, &context, &mut others);
        let mut runs = Tasks::default();
        runs.spawn("worker", worker.run());
        Ok(Self {
            store: opened.store,
            shutdown,
            worker: runs,
            others,
            addresses,
        })
    }

    /// Returns the addresses it listens on, with actual ports instead of port 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `stop` completes.
    ///
    /// *Errors*: a task ended before that; pass the error to [`Self::fail`].
    pub async fn serve(&mut self, stop: impl Future<Output = ()>) -> Result<(), UnexpectedEnd> {
        tokio::select! {
            () = stop => Ok(()),
            ended = self.worker.first_end() => Err(ended),
            ended = self.others.first_end() => Err(ended),
        }
    }

    /// Shuts down: first requests and runs, then the store.
    pub async fn stop(mut self) -> Result<(), StopError> {
        tracing::info!("shutting down");
        self.shutdown.request();
        let worker = self.worker.all_end().await;
        let rest = async {
            let others = self.others.all_end().await;
            self.store.close().await;
            others
        };
        match tokio::time::timeout(ENDING, rest).await {
            Ok(others) => worker.and(others)?,
            Err(_) => return Err(StopError::Store(self.store.path().to_owned())),
        }
        tracing::info!("shut down");
        Ok(())
    }

    /// Shuts down shortly after a task ended unexpectedly. Tasks that take longer are abandoned, as after a
    /// kill; their supervisors end the runs that are under way.
    pub async fn fail(mut self, ended: &UnexpectedEnd) {
        tracing::error!(task = ended.task, error = %ended, "a task ended unexpectedly: promansible ends too");
        self.shutdown.request();
        let rest = async {
            let _ = self.worker.all_end().await;
            let _ = self.others.all_end().await;
            self.store.close().await;
        };
        let _ = tokio::time::timeout(FAILING, rest).await;
    }
}

fn serve_on(
    listeners: Vec<(SocketAddr, TcpListener)>,
    context: &Context,
    tasks: &mut Tasks,
) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for (address, listener) in listeners {
        tracing::info!(%address, "listening");
        addresses.push(address);
        tasks.spawn("http server", http::serve(listener, context.clone()));
    }
    addresses
}

/// The parts that all others are built from.
struct Prepared {
    metrics: Metrics,
    configs: ConfigManager,
    auth: Auth,
    listeners: Vec<(SocketAddr, TcpListener)>,
    opened: store::Opened,
    first: StartupFacts,
    make: AnsibleMaker,
    ansible: Ansible,
}

/// Acquires the port and the store, which only one process can have, and ends what an earlier process left behind.
async fn prepare(options: &Options) -> Result<Prepared, StartError> {
    let metrics = Metrics::new(Registry::new())?;
    let config = read_config(&options.config_file, options.storage_path.as_deref())?;
    let auth = open_auth(options, &config)?;
    let listeners = listen(options).await?;
    metrics.choose_facts(&config.facts.metrics);
    // The facts of all hosts are read once, for all caches.
    let first = StartupFacts::new(config.service_discovery.exposed.clone());
    let see = |of: &HostFacts| first.see(of);
    let opened = open_store(&config.storage.path, &metrics, &see).await?;
    for run in &opened.interrupted {
        tracing::warn!(
            run = run.0,
            "the run was under way when promansible last ended: it is marked as interrupted"
        );
    }
    let runs_dir = config.storage.path.with_extension("runs");
    let runs_dir = std::path::absolute(runs_dir)
        .map_err(|e| StartError::System("the current folder cannot be determined", e))?;
    // A copy of the store file has the same id, but not the same path: it must not end the runs of the original.
    let mark = format!("{}@{}", opened.store.id(), runs_dir.display());
    sweep(&mark, &runs_dir).await?;
    let make = AnsibleMaker {
        store: mark,
        runs_dir,
    };
    let ansible = make
        .make(&config)
        .map_err(|e| StartError::System("the current folder cannot be determined", e))?;
    let configs = ConfigManager::new(config, opened.store.clone(), metrics.clone())
        .await
        .map_err(StartError::Read)?;
    metrics.config_read(true, clock::now());
    Ok(Prepared {
        metrics,
        configs,
        auth,
        listeners,
        opened,
        first,
        make,
        ansible,
    })
}

/// Opens the authentication. Refuses a non-loopback address unless authentication is configured or
/// `--web.allow-remote-without-authentication` is set.
fn open_auth(options: &Options, config: &Config) -> Result<Auth, StartError> {
    let mut remote = options.listen.iter().filter(|a| !a.ip().is_loopback());
    let remote = remote.next().filter(|_| !options.allow_remote);
    let file = options.web_config_file.clone();
    Auth::open(file, &config.web, remote.is_some()).map_err(|e| match (e, remote) {
        (AuthError::Open, Some(address)) => StartError::Remote(*address),
        (e, _) => StartError::Auth(e),
    })
}

/// Binds the addresses. That comes first, so that a second promansible fails here, before it touches anything.
async fn listen(options: &Options) -> Result<Vec<(SocketAddr, TcpListener)>, StartError> {
    let mut listeners = Vec::new();
    for address in &options.listen {
        let listener = bind(*address)
            .await
            .map_err(|e| StartError::Listen(*address, e))?;
        let bound = listener.local_addr().unwrap_or(*address);
        listeners.push((bound, listener));
    }
    Ok(listeners)
}

async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let mut tries = TRIES;
    loop {
        match http::bind(address) {
            Err(e) if e.kind() == std::io::ErrorKind::AddrInUse && tries > 0 => {}
            bound => return bound,
        }
        tries -= 1;
        tokio::time::sleep(TRY).await;
    }
}

async fn open_store(
    path: &Path,
    metrics: &Metrics,
    see: &(dyn Fn(&HostFacts) + Sync),
) -> Result<store::Opened, OpenError> {
    let mut tries = TRIES;
    loop {
        match store::open_seeing(path, metrics, clock::now(), see) {
            Err(OpenError::InUse(_)) if tries > 0 => {}
            opened => return opened,
        }
        tries -= 1;
        tokio::time::sleep(TRY).await;
    }
}

/// Ends what a killed promansible left behind, before anything new is started.
async fn sweep(store: &str, runs_dir: &Path) -> Result<(), StartError> {
    let (store, runs_dir) = (store.to_owned(), runs_dir.to_owned());
    let swept = tokio::task::spawn_blocking(move || ansible::sweep(&store, &runs_dir))
        .await
        .map_err(|e| {
            StartError::System(
                "cannot end what earlier runs left behind",
                std::io::Error::other(e),
            )
        })?
        .map_err(|e| StartError::System("cannot end what earlier runs left behind", e))?;
    if !swept.processes.is_empty() || swept.folders > 0 {
        tracing::warn!(
            processes = swept.processes.len(),
            folders = swept.folders,
            "ended processes and removed folders that earlier runs left behind"
        );
    }
    if !swept.survivors.is_empty() {
        tracing::error!(pids = ?swept.survivors, "processes of earlier runs cannot be ended");
    }
    Ok(())
}

async fn retain(store: Store, config: watch::Receiver<Arc<Config>>, mut ending: Shutdown) {
    loop {
        let storage = config.borrow().storage.clone();
        let more = match store.retain(storage, clock::now()).await {
            Ok(retained) => {
                if retained.runs + retained.episodes > 0 {
                    tracing::info!(
                        runs = retained.runs,
                        episodes = retained.episodes,
                        "old history deleted"
                    );
                }
                retained.more
            }
            Err(e) => {
                tracing::error!(error = %e, "old history could not be deleted");
                false
            }
        };
        // A large clean-up is done in slices, with pauses for other writes.
        let pause = if more {
            Duration::from_millis(20)
        } else {
            RETENTION
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = ending.requested() => return,
        }
    }
}
