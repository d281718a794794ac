//! Wires the parts together: starts them in order, serves, and stops them in reverse.

mod prepare;
mod reload;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, watch};

use crate::app::prepare::{Prepared, prepare};
use crate::app::reload::Reloader;
use crate::auth::AuthError;
use crate::config::ConfigErrors;
use crate::http::{self, Context};
use crate::model::identity::Identity;
use crate::services::facts_collector::FactsCollector;
use crate::services::inventory_watcher::{self, Dependencies};
use crate::services::notifier::Dispatcher;
use crate::services::recheck::Recheck;
use crate::services::rule_discovery::RuleDiscovery;
use crate::services::scheduler::Scheduler;
use crate::services::truncated_alerts::TruncatedAlerts;
use crate::services::worker::Worker;
use crate::services::{file_sd, retention, target_index};
use crate::store::{OpenError, Store, StoreError};
use crate::util::shutdown;
use crate::util::supervisor::{Tasks, UnexpectedEnd};

/// The longest time that the other tasks may take to end once no run is under way. A store whose disk hangs may never
/// answer.
const ENDING: Duration = Duration::from_secs(10);

/// The same limit after a task has failed: the service manager must restart promansible soon.
const FAILING: Duration = Duration::from_millis(500);

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
        others.spawn(
            "retention",
            retention::retain(opened.store.clone(), config, ending),
        );
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
