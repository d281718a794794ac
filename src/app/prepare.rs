//! What a start needs before any task: the listeners and the store, which only one process can have, and what earlier
//! processes left behind.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use prometheus::Registry;
use tokio::net::TcpListener;

use crate::ansible::{self, Ansible};
use crate::app::reload::{AnsibleMaker, read_config};
use crate::app::{Options, StartError};
use crate::auth::{Auth, AuthError};
use crate::config::Config;
use crate::http;
use crate::metrics::Metrics;
use crate::model::facts::HostFacts;
use crate::services::config_manager::ConfigManager;
use crate::services::facts_cache::StartupFacts;
use crate::store::{self, OpenError};
use crate::util::clock;

/// How often to try again to get a port or a store that another process holds. A promansible that was killed while it
/// started a run leaves a child process that holds both for a moment, until it executes the supervisor.
const TRIES: u32 = 15;

/// The pause between two tries.
const TRY: Duration = Duration::from_millis(100);

/// The parts that all others are built from.
pub(super) struct Prepared {
    pub(super) metrics: Metrics,
    pub(super) configs: ConfigManager,
    pub(super) auth: Auth,
    pub(super) listeners: Vec<(SocketAddr, TcpListener)>,
    pub(super) opened: store::Opened,
    pub(super) first: StartupFacts,
    pub(super) make: AnsibleMaker,
    pub(super) ansible: Ansible,
}

/// Acquires the port and the store, which only one process can have, and ends what an earlier process left behind.
pub(super) async fn prepare(options: &Options) -> Result<Prepared, StartError> {
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
