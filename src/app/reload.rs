//! Reading the configuration, at the start and again while promansible runs.

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

/// Our own binary. The name stays right when the file behind it is replaced.
const OWN_BINARY: &str = "/proc/self/exe";

/// Makes what starts runs, by a configuration.
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

/// Reads the configuration again. A bad one is refused whole, and the old one stays.
pub(crate) struct Reloader {
    pub(crate) file: PathBuf,
    pub(crate) storage_path: Option<PathBuf>,
    pub(crate) metrics: Metrics,
    pub(crate) configs: ConfigManager,
    pub(crate) door: Auth,
    pub(crate) ansible: watch::Sender<Arc<Ansible>>,
    pub(crate) make: AnsibleMaker,
}

impl Reloader {
    /// Reads it whenever that is asked for, until shutdown.
    pub(crate) async fn run(
        self,
        mut requests: mpsc::Receiver<ReloadRequest>,
        mut hangup: Signal,
        mut shutdown: Shutdown,
    ) {
        loop {
            tokio::select! {
                () = shutdown.asked() => return,
                // Its outcome is in the log and in a metric: nobody waits for an answer.
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
            Ok(()) => tracing::info!("configuration read again"),
            Err(why) => {
                tracing::error!(error = %why, "the configuration is refused; the old one stays in force");
            }
        }
        outcome
    }

    async fn try_reload(&self) -> Result<(), String> {
        let (file, storage_path) = (self.file.clone(), self.storage_path.clone());
        let (door, make) = (self.door.clone(), self.make.clone());
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
            door.check(&config.web).map_err(|e| e.to_string())?;
            let ansible = make.make(&config).map_err(|e| e.to_string())?;
            Ok((config, Arc::new(ansible)))
        });
        let read = read.await.map_err(supervisor::why)?;
        let (config, ansible) = read?;
        let begin = || {
            self.ansible.send_replace(ansible);
        };
        let replaced = self.configs.replace_file(config, begin).await;
        replaced.map_err(|e| e.to_string())
    }
}

/// Reads the configuration; the store's place may be given on the command line.
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
