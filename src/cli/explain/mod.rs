//! `promansible explain`.

mod output;

use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use hyper::Method;

use super::client::{Server, block_on};
use super::colored;
use super::guards::GuardsAnswer;
use super::local_ansible::LocalAnsible;
use super::print;
use super::terminal::{self, Ink, plain};
use super::{CONFIG_FILE, Failure};
use crate::ansible::ListError;
use crate::config::{self, Config};
use crate::model::alert::{Limits, Notification};
use crate::model::guards::{StartHistory, State};
use crate::model::inventory::{Inventory, InventoryError};
use crate::plan;
use crate::store::{self, OpenError};
use crate::util::clock;

/// Show what promansible would do about a notification, and why. Runs nothing, and needs no server.
#[derive(Debug, Args)]
pub(super) struct Explain {
    #[command(flatten)]
    server: Server,
    /// The configuration file.
    #[arg(long = "config.file", value_name = "FILE", default_value = CONFIG_FILE)]
    config_file: PathBuf,
    /// Read the inventory from this file, the output of `ansible-inventory --list`, instead of running Ansible.
    #[arg(long = "inventory.json", value_name = "FILE")]
    inventory_json: Option<PathBuf>,
    /// The output format.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// The webhook body of an Alertmanager notification; `-` reads standard input.
    #[arg(value_name = "FILE")]
    notification: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Format {
    /// Human-readable text.
    Text,
    /// JSON.
    Json,
}

impl Explain {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = config::load(&self.config_file)
            .map_err(|errors| Failure::new(errors.render(colored(&std::io::stderr()))))?;
        let limits = Limits {
            alerts: config.receiver.max_alerts,
        };
        let body = read(&self.notification)?;
        let notification = Notification::parse(&body, limits).map_err(|e| {
            let why = plain(&e.to_string());
            Failure::new(format!("{}: {why}", display_name(&self.notification)))
        })?;
        let (inventory, state) = self.known(&config)?;
        let explained = plan::explain(&config, &inventory, &state, &notification, clock::now());
        print(&match self.format {
            Format::Text => output::as_text(
                &notification,
                &explained,
                &state.book,
                colored(&std::io::stdout()),
            ),
            Format::Json => output::as_json(&notification, &explained, &state.book)?,
        })
    }

    /// Returns the inventory and the state of the guards, from the store, or from the server that uses the store.
    fn known(&self, config: &Config) -> Result<(Inventory, State), Failure> {
        if let Some(file) = &self.inventory_json {
            let inventory = Inventory::parse(&read(file)?).map_err(|e| no_inventory(file, &e))?;
            return Ok((inventory, State::default()));
        }
        let inventory = list_inventory(config)?;
        let path = &config.storage.path;
        let peek = || Ok((store::peek(path)?, store::peek_aliases(path)?));
        match peek() {
            Ok((peeked, aliases)) => {
                let enrolled: Vec<_> = peeked.hosts.into_iter().map(Arc::new).collect();
                let aliases = aliases.iter();
                let aliases = aliases.map(|(host, aliases)| (host.as_str(), aliases));
                let inventory = inventory.with_enrolled(&enrolled).with_aliases(aliases);
                Ok((inventory, State::new(peeked.book, peeked.starts)))
            }
            Err(e) => {
                let in_use = matches!(e, OpenError::InUse(_));
                let why = match e {
                    OpenError::InUse(path) => {
                        format!("{} is in use by a running promansible", path.display())
                    }
                    other => other.to_string(),
                };
                warn(&format!(
                    "enrolled hosts and facts of hosts are not included: {why}"
                ));
                let state = if in_use {
                    self.state()?
                } else {
                    State::default()
                };
                Ok((inventory, state))
            }
        }
    }

    /// Returns the state of the guards from the server that uses the store.
    fn state(&self) -> Result<State, Failure> {
        let state = block_on(async {
            let guards = self
                .server
                .ask_async::<GuardsAnswer>(Method::GET, "guards", None);
            let guards = guards.await?;
            let started = self
                .server
                .ask_async::<Started>(Method::GET, "starts", None);
            Ok::<_, Failure>(State::new(guards.book, started.await?.starts))
        })?;
        match state {
            Err(Failure::Message(why)) => {
                warn(&format!("pauses and holds are not included: {why}"));
                Ok(State::default())
            }
            other => other,
        }
    }
}

/// The starts on hosts, as the server reports them.
#[derive(Deserialize)]
struct Started {
    starts: Vec<StartHistory>,
}

fn warn(what: &str) {
    let warning = Ink::Yellow.paint("warning:", colored(&std::io::stderr()));
    let _ = writeln!(std::io::stderr(), "{warning} {what}");
}

/// Lists the inventory with Ansible.
pub(super) fn list_inventory(config: &Config) -> Result<Inventory, Failure> {
    let (version, listed) = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?
        .block_on(list(config))?;
    let inventory = Inventory::parse(&listed);
    let inventory = inventory.map_err(|e| Failure::new(plain(&e.to_string())))?;
    Ok(inventory.read_by(version))
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let named = |e: std::io::Error| Failure::new(format!("{}: {e}", display_name(file)));
    if file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map_err(named)?;
        return Ok(bytes);
    }
    std::fs::read(file).map_err(named)
}

/// Returns the name of a file that may be standard input, for messages.
fn display_name(file: &Path) -> String {
    if file.as_os_str() == "-" {
        return "standard input".to_owned();
    }
    file.display().to_string()
}

fn no_inventory(file: &Path, error: &InventoryError) -> Failure {
    let why = match error {
        InventoryError::Empty => "it is empty".to_owned(),
        InventoryError::Shape { path, message } => plain(&format!("at {path}: {message}")),
    };
    Failure::new(format!(
        "{} is not an inventory: {why}; expected the output of `ansible-inventory --list`",
        display_name(file)
    ))
}

/// Asks Ansible for its version and the inventory, like the server. A signal ends this, and all processes that were
/// started for it.
async fn list(config: &Config) -> Result<(Option<(u32, u32)>, Vec<u8>), Failure> {
    let local = LocalAnsible::new(config, "explain")?;
    let ansible = &local.ansible;
    let listed = async { tokio::try_join!(ansible.version(), ansible.list()) };
    let listed = local.until_signal(listed).await?;
    let listed = listed.map(|(version, listed)| (version, listed.json));
    listed.map_err(|e| list_failure(&e))
}

fn list_failure(error: &ListError) -> Failure {
    let why = terminal::output(&error.to_string(), colored(&std::io::stderr()));
    Failure::new(format!("the inventory cannot be read: {why}"))
}
