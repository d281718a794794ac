//! Wiring: build in one straight line, run, stop in reverse.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::ansible::{self, Ansible, Setup};
use crate::clock;
use crate::config::{self, Config, ConfigErrors};
use crate::facts_keeper::FactsKeeper;
use crate::http::{self, Context, ReloadRequest};
use crate::inventory_keeper::{self, Keeping};
use crate::metrics::Metrics;
use crate::run::RunId;
use crate::sd_files;
use crate::sd_keeper;
use crate::shutdown::{self, Shutdown};
use crate::store::{self, OpenError, Store};
use crate::worker::Worker;

/// How often old history is looked for.
const RETENTION: Duration = Duration::from_mins(1);

/// How often to try again to get what another process has. A promansible that was killed while it started a run leaves a
/// child that holds its port and its store for the moment until that becomes the supervisor.
const TRIES: u32 = 15;

/// How long to wait in between.
const TRY: Duration = Duration::from_millis(100);

/// Our own binary. The name stays right when the file behind it is replaced.
const OWN_BINARY: &str = "/proc/self/exe";

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
    /// An address that others can reach.
    #[error(
        "{0} can be reached from other machines, and whoever reaches it can run roles: listen on a loopback address, or start with --web.allow-remote-without-authentication"
    )]
    Remote(SocketAddr),
    /// An address that cannot be had.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// Something of the system.
    #[error("{0}: {1}")]
    System(&'static str, std::io::Error),
    /// The metrics contradict each other.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

fn tell_interrupted(runs: &[RunId]) {
    for run in runs {
        tracing::warn!(
            run = run.0,
            "run was under way when promansible last ended: interrupted"
        );
    }
}

/// A promansible that runs.
pub struct App {
    store: Store,
    shutdown: shutdown::Trigger,
    servers: JoinSet<()>,
    worker: tokio::task::JoinHandle<()>,
    helpers: JoinSet<()>,
    reloader: Reloader,
    requests: mpsc::Receiver<ReloadRequest>,
    addresses: Vec<SocketAddr>,
}

impl App {
    /// Builds everything, and starts it.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let metrics = Metrics::new(Registry::new())?;
        let config = read_config(&options)?;
        know(&metrics, &config);
        metrics.config_read(true, clock::now());
        let listeners = listen(&options).await?;
        metrics.choose_facts(&config.facts.metrics);
        let opened = open_store(&config.storage.path, &metrics).await?;
        tell_interrupted(&opened.interrupted);
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

        let (shutdown, ending) = shutdown::channel();
        let (config_sender, config) = watch::channel(Arc::new(config));
        let (ansible_sender, ansible) = watch::channel(Arc::new(ansible));
        let (inventory, keeper) = inventory_keeper::keep(Keeping {
            config: config.clone(),
            ansible: ansible.clone(),
            store: opened.store.clone(),
            metrics: metrics.clone(),
            saved: opened.inventory,
            shutdown: ending.clone(),
        });
        let mut helpers = JoinSet::new();
        let hosts = sd_keeper::Keeping {
            config: config.clone(),
            inventory: inventory.clone(),
            store: opened.store.clone(),
            shutdown: ending.clone(),
        };
        let discovery = sd_files::start(hosts, &metrics, &mut helpers);
        let facts = FactsKeeper {
            store: opened.store.clone(),
            config: config.clone(),
            inventory: inventory.clone(),
            metrics: metrics.clone(),
            shutdown: ending.clone(),
        };
        helpers.spawn(facts.run());
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
            inventory,
            discovery,
            events: http::Events::new(&opened.store, &ending),
            reload: options.enable_lifecycle.then_some(reload),
            telemetry_path: options.telemetry_path.as_str().into(),
            shutdown: ending.clone(),
        };
        helpers.spawn(async move {
            let _ = keeper.await;
        });
        helpers.spawn(retain(opened.store.clone(), config.clone(), ending));
        let mut servers = JoinSet::new();
        let mut addresses = Vec::new();
        for (address, listener) in listeners {
            tracing::info!(%address, "listening");
            addresses.push(address);
            servers.spawn(http::serve(listener, context.clone()));
        }
        Ok(Self {
            store: opened.store,
            shutdown,
            servers,
            worker: tokio::spawn(worker.run()),
            helpers,
            reloader: Reloader {
                options,
                metrics,
                config: config_sender,
                ansible: ansible_sender,
                make,
            },
            requests,
            addresses,
        })
    }

    /// Where it listens, with the ports that port 0 became.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `stop` is done; reads the configuration again whenever `hangups` yields.
    pub async fn serve(
        &mut self,
        stop: impl Future<Output = ()>,
        hangups: &mut mpsc::Receiver<()>,
    ) {
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return,
                Some(()) = hangups.recv() => {
                    // Its outcome is in the log and in a metric: nobody waits for an answer.
                    let _ = self.reloader.reload();
                }
                Some(request) = self.requests.recv() => {
                    let _ = request.send(self.reloader.reload());
                }
            }
        }
    }

    /// Ends everything in the reverse order: no new requests, no runs, no store.
    pub async fn stop(mut self) {
        tracing::info!("ending");
        self.shutdown.pull();
        while self.servers.join_next().await.is_some() {}
        let _ = self.worker.await;
        while self.helpers.join_next().await.is_some() {}
        self.store.close().await;
        tracing::info!("ended");
    }
}

struct AnsibleMaker {
    store: String,
    runs_dir: PathBuf,
}

impl AnsibleMaker {
    fn make(&self, config: &Config) -> std::io::Result<Ansible> {
        Ansible::new(Setup {
            settings: config.ansible.clone(),
            grace: config.runs.grace,
            store: self.store.clone(),
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
                .collect::<BTreeMap<_, _>>(),
            exe: PathBuf::from(OWN_BINARY),
            runs_dir: self.runs_dir.clone(),
        })
    }
}

/// Reads the configuration again. A bad one is refused whole, and the old one stays.
struct Reloader {
    options: Options,
    metrics: Metrics,
    config: watch::Sender<Arc<Config>>,
    ansible: watch::Sender<Arc<Ansible>>,
    make: AnsibleMaker,
}

impl Reloader {
    fn reload(&self) -> Result<(), String> {
        let outcome = self.try_reload();
        self.metrics.config_read(outcome.is_ok(), clock::now());
        match &outcome {
            Ok(()) => tracing::info!("configuration read again"),
            Err(why) => {
                tracing::error!(error = %why, "the configuration is refused; the old one stays in force");
            }
        }
        outcome
    }

    fn try_reload(&self) -> Result<(), String> {
        let config = read_config(&self.options).map_err(|e| e.to_string())?;
        let old = Arc::clone(&self.config.borrow());
        if config.storage.path != old.storage.path {
            return Err(format!(
                "storage.path cannot change from {} to {} while promansible runs: restart it",
                old.storage.path.display(),
                config.storage.path.display()
            ));
        }
        let ansible = self.make.make(&config).map_err(|e| e.to_string())?;
        know(&self.metrics, &config);
        self.config.send_replace(Arc::new(config));
        self.ansible.send_replace(Arc::new(ansible));
        Ok(())
    }
}

fn read_config(options: &Options) -> Result<Config, ConfigErrors> {
    let mut config = config::load(&options.config_file)?;
    if let Some(path) = &options.storage_path {
        config.storage.path.clone_from(path);
    }
    Ok(config)
}

/// Every label value that the configuration brings is there from the start.
fn know(metrics: &Metrics, config: &Config) {
    let bindings = config.bindings.iter().map(|binding| binding.name.as_str());
    let roles = config.roles.alert.iter().chain(&config.roles.routine);
    metrics.know(bindings, roles.map(String::as_str));
    metrics.declare(&config.roles.checks);
}

/// Takes the addresses first: a second promansible fails here, before it touches anything.
async fn listen(options: &Options) -> Result<Vec<(SocketAddr, TcpListener)>, StartError> {
    let mut listeners = Vec::new();
    for address in &options.listen {
        if !address.ip().is_loopback() && !options.allow_remote {
            return Err(StartError::Remote(*address));
        }
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
        match TcpListener::bind(address).await {
            Err(e) if e.kind() == std::io::ErrorKind::AddrInUse && tries > 0 => {}
            bound => return bound,
        }
        tries -= 1;
        tokio::time::sleep(TRY).await;
    }
}

async fn open_store(path: &Path, metrics: &Metrics) -> Result<store::Opened, OpenError> {
    let mut tries = TRIES;
    loop {
        match store::open(path, metrics, clock::now()) {
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
