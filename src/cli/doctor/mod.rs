//! `promansible doctor`: checks everything that promansible needs, and changes nothing.
//!
//! Each file checks one area and returns its results as [`Finding`]s. The checks run concurrently, except where one needs
//! the result of another, and each has a time limit. `finding` and `output` are the report.

mod alertmanager;
mod ansible;
mod ask;
mod configuration;
mod finding;
mod hosts;
mod inventory;
mod machine;
mod output;
mod prometheus;
mod routing;
mod server;
mod service;
mod ssh;
mod store;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::client::Server;
use super::colored;
use super::explain::Format;
use super::local_ansible::LocalAnsible;
use super::print;
use super::{CONFIG_FILE, Failure};
use crate::config::Config;
use finding::{Area, Finding, Level};

/// Check everything that promansible needs, and show a remedy for each problem.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    server: Server,
    /// The configuration file.
    #[arg(long = "config.file", value_name = "FILE", default_value = CONFIG_FILE)]
    config_file: PathBuf,
    /// The store; by default, `storage.path` of the configuration.
    #[arg(long = "storage.path", value_name = "FILE")]
    storage_path: Option<PathBuf>,
    /// The web configuration file, if the server uses one.
    #[arg(long = "web.config.file", value_name = "FILE")]
    web_config_file: Option<PathBuf>,
    /// The hosts or groups to log in to, separated by commas; by default, the first 20 hosts of the inventory.
    #[arg(long, value_name = "HOST-OR-GROUP", value_delimiter = ',')]
    limit: Vec<String>,
    /// The output format.
    #[arg(short = 'o', long, value_enum, default_value = "text")]
    format: Format,
}

/// The time limit of a check of this machine: a file system that hangs must not block the other checks.
const LOCAL_LIMIT: Duration = Duration::from_secs(30);

impl Doctor {
    pub(super) fn run(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let checked = runtime.block_on(self.check());
        // Threads that still wait for a disk must not delay the exit.
        runtime.shutdown_background();
        let mut findings = checked?;
        // The sort is stable: it keeps the order within an area.
        findings.sort_by_key(|finding| finding.area);
        let report = match self.format {
            Format::Text => output::as_text(&findings, colored(&std::io::stdout())),
            Format::Json => output::as_json(&findings)?,
        };
        print(&report)?;
        match output::worst(&findings) {
            Level::Error => Err(Failure::Shown),
            Level::Ok | Level::Warning => Ok(()),
        }
    }

    async fn check(&self) -> Result<Vec<Finding>, Failure> {
        let (file, web) = (self.config_file.clone(), self.web_config_file.clone());
        let read = with_limit(Area::Configuration, "configuration files", move || {
            configuration::check(&file, web)
        });
        let (config, mut findings) = match read.await {
            Ok(read) => read,
            Err(hung) => (None, vec![hung]),
        };
        let Some(mut config) = config else {
            findings.extend(server::check(&self.server).await);
            findings.extend(service::check());
            return Ok(findings);
        };
        if let Some(path) = &self.storage_path {
            config.storage.path.clone_from(path);
        }
        let local = match LocalAnsible::new(&config, "doctor") {
            Ok(local) => local,
            Err(e) => {
                let folder = std::env::temp_dir();
                findings.push(Area::Machine.error(
                    &folder.display().to_string(),
                    format!("cannot create a folder there: {e}"),
                    "runs need a folder for temporary files: make it writable, or set TMPDIR",
                ));
                return Ok(findings);
            }
        };
        let rest = Box::pin(local.until_signal(self.check_configured(&config, &local)));
        findings.extend(rest.await?);
        Ok(findings)
    }

    /// Runs all checks that need a configuration, concurrently.
    async fn check_configured(&self, config: &Config, local: &LocalAnsible) -> Vec<Finding> {
        let settings = config.clone();
        let machine = with_limit(Area::Machine, "machine", move || machine::check(&settings));
        let path = config.storage.path.clone();
        let store = with_limit(Area::Machine, "store", move || store::check(&path));
        let ansible = async {
            // Enrolled hosts are in the store.
            let (enrolled, mut findings) = match store.await {
                Ok(checked) => checked,
                Err(hung) => (Vec::new(), vec![hung]),
            };
            findings.extend(ansible::check(config, local, &self.limit, &enrolled).await);
            findings
        };
        let (ansible, alertmanager, prometheus, server, machine) = tokio::join!(
            ansible,
            alertmanager::check(config.alertmanager.as_ref(), self.server.url()),
            prometheus::check(config, self.server.url()),
            server::check(&self.server),
            machine,
        );
        let mut findings = ansible;
        findings.extend(alertmanager);
        findings.extend(prometheus);
        findings.extend(server);
        findings.extend(machine.unwrap_or_else(|hung| vec![hung]));
        findings.extend(service::check());
        findings
    }
}

/// Runs work that may wait for a disk on another thread, with a time limit.
async fn with_limit<T: Send + 'static>(
    area: Area,
    subject: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Finding> {
    let done = tokio::time::timeout(LOCAL_LIMIT, tokio::task::spawn_blocking(work)).await;
    match done {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(e)) => Err(area.error(
            subject,
            format!("the check failed: {e}"),
            "report this as a bug",
        )),
        Err(_) => Err(area.warning(
            subject,
            format!("not checked within {LOCAL_LIMIT:?}"),
            "look for a slow disk or an unreachable network file system",
        )),
    }
}
