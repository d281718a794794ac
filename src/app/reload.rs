//! Reads the configuration at the start, and reloads it while promansible runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, watch};

use crate::ansible::{Ansible, Setup};
use crate::auth::Auth;
use crate::config::{self, Config, ConfigErrors};
use crate::http::ReloadRequest;
use crate::metrics::Metrics;
use crate::services::config_manager::ConfigManager;
use crate::util::shutdown::Shutdown;
use crate::util::{clock, supervisor};

/// The path of promansible's own binary. It stays valid if the file is replaced.
const OWN_BINARY: &str = "/proc/self/exe";

/// Creates the [`Ansible`] for a configuration.
#[derive(Clone)]
pub(crate) struct AnsibleMaker {
    pub(crate) store: String,
    pub(crate) runs_dir: PathBuf,
}

impl AnsibleMaker {
    pub(crate) fn make(&self, config: &Config) -> std::io::Result<Ansible> {
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

/// Reloads the configuration. A bad one is rejected as a whole, and the old one stays in force.
pub(crate) struct Reloader {
    pub(crate) file: PathBuf,
    pub(crate) storage_path: Option<PathBuf>,
    pub(crate) metrics: Metrics,
    pub(crate) configs: ConfigManager,
    pub(crate) auth: Auth,
    pub(crate) ansible: watch::Sender<Arc<Ansible>>,
    pub(crate) make: AnsibleMaker,
}

impl Reloader {
    /// Reloads the configuration on each request or signal, until shutdown.
    pub(crate) async fn run(
        self,
        mut requests: mpsc::Receiver<ReloadRequest>,
        mut hangup: Signal,
        mut shutdown: Shutdown,
    ) {
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                // The outcome is in the log and in a metric: a signal has no response.
                Some(()) = hangup.recv() => drop(self.reload().await),
                Some(request) = requests.recv() => {
                    let _ = request.send(self.reload().await);
                }
            }
        }
    }

    async fn reload(&self) -> Result<(), String> {
        let outcome = self.try_reload().await;
        self.metrics.config_read(outcome.is_ok(), clock::now());
        match &outcome {
            Ok(()) => tracing::info!("configuration file reloaded"),
            Err(why) => {
                tracing::error!(error = %why, "the configuration is rejected; the old one stays in force");
            }
        }
        outcome
    }

    async fn try_reload(&self) -> Result<(), String> {
        let (file, storage_path) = (self.file.clone(), self.storage_path.clone());
        let (auth, make) = (self.auth.clone(), self.make.clone());
        let old = Arc::clone(&self.configs.watch().borrow());
        let read = tokio::task::spawn_blocking(move || {
            let config = read_config(&file, storage_path.as_deref()).map_err(|e| e.to_string())?;
            if config.storage.path != old.storage.path {
                return Err(format!(
                    "storage.path cannot change from {} to {} while promansible runs: restart it",
                    old.storage.path.display(),
                    config.storage.path.display()
                ));
            }
            auth.check(&config.web).map_err(|e| e.to_string())?;
            let ansible = make.make(&config).map_err(|e| e.to_string())?;
            Ok((config, Arc::new(ansible)))
        });
        let read = read.await.map_err(supervisor::panic_message)?;
        let (config, ansible) = read?;
        let begin = || {
            self.ansible.send_replace(ansible);
        };
        let replaced = self.configs.replace_file(config, begin).await;
        replaced.map_err(|e| e.to_string())
    }
}

/// Reads the configuration file. `storage_path` from the command line overrides the path of the store.
pub(crate) fn read_config(
    file: &Path,
    storage_path: Option<&Path>,
) -> Result<Config, ConfigErrors> {
    let mut config = config::load(file)?;
    if let Some(path) = storage_path {
        path.clone_into(&mut config.storage.path);
    }
    Ok(config)
}
