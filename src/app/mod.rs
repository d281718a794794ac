//! Wiring: build in one straight line, run, stop in reverse.

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
use crate::services::inventory_watcher::{self, Keeping};
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

/// How often old history is looked for.
const RETENTION: Duration = Duration::from_mins(1);

/// How long what is left may take to end once no run is under way any more. A store whose disk hangs may never answer.
const ENDING: Duration = Duration::from_secs(10);

/// The same after a task has failed: a service manager is to start us again soon.
const FAILING: Duration = Duration::from_millis(500);

/// How often to try again to get what another process has. A promansible that was killed while it started a run leaves a
/// child that holds its port and its store for the moment until that becomes the supervisor.
const TRIES: u32 = 15;

/// How long to wait in between.
const TRY: Duration = Duration::from_millis(100);

/// What was typed, checked by clap.
#[derive(Debug, Clone)]
pub struct Options {
    /// The configuration file.
    pub config_file: PathBuf,
    /// The store, if not the configuration's.
    pub storage_path: Option<PathBuf>,
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// Where the metrics are.
    pub telemetry_path: String,
    /// Where people open the portal: scheme, name and port.
    pub external_origin: Option<String>,
    /// Before each path of a request; empty, or `/a` without a slash at its end.
    pub route_prefix: String,
    /// Before each path that an answer holds.
    pub link_prefix: String,
    /// The web configuration file.
    pub web_config_file: Option<PathBuf>,
    /// Whether `/-/reload` works.
    pub enable_lifecycle: bool,
    /// Whether to listen beyond loopback although nobody has to say who he is.
    pub allow_remote: bool,
}

/// Why promansible does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has defects.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// What was made over the API cannot be read.
    #[error(transparent)]
    Read(StoreError),
    /// It cannot be told who may come in.
    #[error("{0}")]
    Auth(#[from] AuthError),
    /// An address that others can reach.
    #[error(
        "{0} can be reached from other machines, and whoever reaches it can run roles: listen on a loopback address; or let people say who they are, by basic_auth_users or client certificates in --web.config.file or by web.tokens; or start with --web.allow-remote-without-authentication"
    )]
    Remote(SocketAddr),
    /// An address that cannot be had.
    #[error("cannot listen on {0} (--web.listen-address): {1}{advice}", advice = advice(.1))]
    Listen(SocketAddr, std::io::Error),
    /// Something of the system.
    #[error("{0}: {1}")]
    System(&'static str, std::io::Error),
    /// The metrics contradict each other.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// What to do about an address that cannot be had.
fn advice(e: &std::io::Error) -> &'static str {
    match e.kind() {
        std::io::ErrorKind::AddrInUse => {
            ". Another process listens there, probably another promansible: stop it, or give this one another --web.listen-address"
        }
        std::io::ErrorKind::AddrNotAvailable => {
            ". No network interface of this machine has this address: give one that has, or 0.0.0.0 for all of them"
        }
        std::io::ErrorKind::PermissionDenied => {
            ". Ports below 1024 are for root: give another port, or the capability CAP_NET_BIND_SERVICE"
        }
        _ => "",
    }
}

/// A promansible that runs.
pub struct App {
    store: Store,
    shutdown: shutdown::Trigger,
    /// Has the runs, and ends only after their processes.
    worker: Tasks,
    others: Tasks,
    addresses: Vec<SocketAddr>,
}

/// How promansible did not end as it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// A task panicked at its end.
    #[error(transparent)]
    Task(#[from] UnexpectedEnd),
    /// Something did not end in time.
    #[error(
        "the store does not answer: ended without it. What it did not confirm may be lost, and runs that were under way will show as interrupted. Look at its disk: {0}"
    )]
    Store(PathBuf),
}

impl App {
    /// Builds everything, and starts it. The configuration is read again at each `hangup`.
    #[allow(clippy::too_many_lines)] // one straight line, a paragraph for each room
    pub async fn start(options: Options, hangup: Signal) -> Result<Self, StartError> {
        let Prepared {
            metrics,
            configs,
            door,
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
        let (inventory, inventory_keeper) = inventory_watcher::keep(Keeping {
            config: config.clone(),
            ansible: ansible.clone(),
            store: opened.store.clone(),
            metrics: metrics.clone(),
            saved: opened.inventory,
            aliases,
            shutdown: ending.clone(),
        });
        let mut others = Tasks::default();
        others.spawn("inventory keeper", inventory_keeper);
        let hosts = target_index::Keeping {
            config: config.clone(),
            inventory: inventory.clone(),
            store: opened.store.clone(),
            facts: exposed,
            shutdown: ending.clone(),
        };
        let discovery = file_sd::start(hosts, &metrics, &mut others);
        others.spawn("config keeper", configs.clone().follow(ending.clone()));
        let facts = FactsCollector {
            store: opened.store.clone(),
            config: config.clone(),
            inventory: inventory.clone(),
            metrics: metrics.clone(),
            shutdown: ending.clone(),
        };
        others.spawn("facts keeper", facts.run());
        let (touched_schedules, touched) = mpsc::channel(16);
        let scheduler = Scheduler {
            store: opened.store.clone(),
            config: config.clone(),
            inventory: inventory.clone(),
            metrics: metrics.clone(),
            touched,
            shutdown: ending.clone(),
        };
        others.spawn("scheduler", scheduler.run());
        let follow_up = Recheck {
            store: opened.store.clone(),
            config: config.clone(),
            inventory: inventory.clone(),
            shutdown: ending.clone(),
        };
        others.spawn("follow-up", follow_up.run());
        let teller = Dispatcher {
            store: opened.store.clone(),
            config: config.clone(),
            metrics: metrics.clone(),
            external_url: options.external_origin.as_deref().map(|origin| {
                let prefix = &options.link_prefix;
                format!("{origin}{prefix}").into()
            }),
            shutdown: ending.clone(),
        };
        others.spawn("notifier", teller.run());
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
            touched_schedules,
            left_out: TruncatedAlerts::new(
                opened.store.clone(),
                config.clone(),
                inventory.clone(),
                metrics.clone(),
                ending.clone(),
            ),
            inventory,
            alert_types: RuleDiscovery::new(config.clone()),
            discovery,
            events: http::Events::new(&opened.store, &ending),
            reload: options.enable_lifecycle.then_some(reload),
            door: door.clone(),
            caller: Identity::nobody(),
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
            door,
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

    /// Where it listens, with the ports that port 0 became.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `stop` is done.
    ///
    /// *Errors*: a task ended before that: give it to [`Self::fail`].
    pub async fn serve(&mut self, stop: impl Future<Output = ()>) -> Result<(), UnexpectedEnd> {
        tokio::select! {
            () = stop => Ok(()),
            ended = self.worker.first_end() => Err(ended),
            ended = self.others.first_end() => Err(ended),
        }
    }

    /// Ends everything: no new requests, no runs, no store.
    pub async fn stop(mut self) -> Result<(), StopError> {
        tracing::info!("ending");
        self.shutdown.pull();
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
        tracing::info!("ended");
        Ok(())
    }

    /// Ends after a task did, soon: what does not end by then is as after a kill. The runs under way end by their supervisors.
    pub async fn fail(mut self, ended: &UnexpectedEnd) {
        tracing::error!(task = ended.task, error = %ended, "a task ended: promansible ends too");
        self.shutdown.pull();
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

/// What everything else is built of.
struct Prepared {
    metrics: Metrics,
    configs: ConfigManager,
    door: Auth,
    listeners: Vec<(SocketAddr, TcpListener)>,
    opened: store::Opened,
    first: StartupFacts,
    make: AnsibleMaker,
    ansible: Ansible,
}

/// Takes what only one process can have, and ends what an earlier one has left behind.
async fn prepare(options: &Options) -> Result<Prepared, StartError> {
    let metrics = Metrics::new(Registry::new())?;
    let config = read_config(&options.config_file, options.storage_path.as_deref())?;
    let door = open_door(options, &config)?;
    let listeners = listen(options).await?;
    metrics.choose_facts(&config.facts.metrics);
    // All who need something of every host's facts get it from one reading.
    let first = StartupFacts::new(config.service_discovery.exposed.clone());
    let see = |of: &HostFacts| first.see(of);
    let opened = open_store(&config.storage.path, &metrics, &see).await?;
    for run in &opened.interrupted {
        tracing::warn!(
            run = run.0,
            "run was under way when promansible last ended: interrupted"
        );
    }
    let runs_dir = config.storage.path.with_extension("runs");
    let runs_dir = std::path::absolute(runs_dir)
        .map_err(|e| StartError::System("the current folder is not known", e))?;
    // A copy of the file has the same id, but not the same place: it must not end the original's runs.
    let mark = format!("{}@{}", opened.store.id(), runs_dir.display());
    sweep(&mark, &runs_dir).await?;
    let make = AnsibleMaker {
        store: mark,
        runs_dir,
    };
    let ansible = make
        .make(&config)
        .map_err(|e| StartError::System("the current folder is not known", e))?;
    let configs = ConfigManager::new(config, opened.store.clone(), metrics.clone())
        .await
        .map_err(StartError::Read)?;
    metrics.config_read(true, clock::now());
    Ok(Prepared {
        metrics,
        configs,
        door,
        listeners,
        opened,
        first,
        make,
        ansible,
    })
}

/// Nobody listens beyond loopback unless whoever comes must say who he is, or it was said in as many words.
fn open_door(options: &Options, config: &Config) -> Result<Auth, StartError> {
    let mut beyond = options.listen.iter().filter(|a| !a.ip().is_loopback());
    let remote = beyond.next().filter(|_| !options.allow_remote);
    let file = options.web_config_file.clone();
    Auth::open(file, &config.web, remote.is_some()).map_err(|e| match (e, remote) {
        (AuthError::Open, Some(address)) => StartError::Remote(*address),
        (e, _) => StartError::Auth(e),
    })
}

/// Takes the addresses first: a second promansible fails here, before it touches anything.
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

/// Ends what a promansible that was killed left behind, before anything new is started.
async fn sweep(store: &str, runs_dir: &Path) -> Result<(), StartError> {
    let (store, runs_dir) = (store.to_owned(), runs_dir.to_owned());
    let swept = tokio::task::spawn_blocking(move || ansible::sweep(&store, &runs_dir))
        .await
        .map_err(|e| StartError::System("sweeping", std::io::Error::other(e)))?
        .map_err(|e| StartError::System("cannot end what earlier runs left behind", e))?;
    if !swept.processes.is_empty() || swept.folders > 0 {
        tracing::warn!(
            processes = swept.processes.len(),
            folders = swept.folders,
            "ended what earlier runs left behind"
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
                tracing::error!(error = %e, "old history was not deleted");
                false
            }
        };
        // Slices of a large clean-up leave room for what else has to be written.
        let pause = if more {
            Duration::from_millis(20)
        } else {
            RETENTION
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = ending.asked() => return,
        }
    }
}
