//! `promansible inventory`: prints the inventory in the format of Ansible's inventory scripts.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{ArgGroup, Args};
use hyper::Method;
use serde_json::{Map, Value};

use super::client::{Server, block_on};
use super::explain::list_inventory;
use super::print;
use super::terminal;
use super::{CONFIG_FILE, Failure};
use crate::ansible;
use crate::config::{self, Config};
use crate::model::inventory::Inventory;
use crate::store::{self, OpenError};

/// Print the inventory in the format of Ansible inventory scripts, from a running server or without one.
///
/// It contains the names, groups and addresses of all hosts, and the variables of enrolled hosts. It does not contain
/// the variables from the inventory sources: pass those sources to Ansible as well, after this one.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["list", "host", "status"]))]
pub(super) struct Print {
    #[command(flatten)]
    server: Server,
    /// The configuration file, read if no server answers.
    #[arg(long = "config.file", value_name = "FILE", default_value = CONFIG_FILE)]
    config_file: PathBuf,
    /// The store, read if no server answers; by default, `storage.path` of the configuration.
    #[arg(long = "storage.path", value_name = "FILE")]
    storage_path: Option<PathBuf>,
    /// Print all hosts and groups.
    #[arg(long)]
    list: bool,
    /// Print the variables of one host.
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Print the inventory status of the running server as JSON: whether it is readable and trusted, and if not, why.
    #[arg(long)]
    status: bool,
}

impl Print {
    pub(super) fn run(self) -> Result<(), Failure> {
        // As a source of promansible's own inventory, it would call itself without end.
        if ansible::is_listing(std::env::var_os(ansible::MARKER).as_deref()) {
            return Err(Failure::new(
                "promansible called itself while reading its inventory: remove config/geninventory, and all sources that call it, from ansible.inventory",
            ));
        }
        if self.status {
            let status: Value = self.server.ask(Method::GET, "inventory/status")?;
            return print(&format!("{}\n", serde_json::to_string_pretty(&status)?));
        }
        let document = self.document()?;
        let shown = match &self.host {
            None => document,
            Some(name) => hostvars(&document, name)?,
        };
        print(&terminal::json(&shown)?)
    }

    fn document(&self) -> Result<Map<String, Value>, Failure> {
        let answers = block_on(self.server.answers())??;
        if answers {
            let body = self.server.text("inventory")?;
            return serde_json::from_slice(&body)
                .map_err(|e| Failure::new(format!("unexpected response from the server: {e}")));
        }
        let mut config = config::load(&self.config_file).map_err(|errors| {
            let why = errors.render(false);
            Failure::new(format!("{}, and:\n{why}", self.unreachable()))
        })?;
        if let Some(path) = &self.storage_path {
            config.storage.path.clone_from(path);
        }
        Ok(self.without_server(&config)?.to_script())
    }

    fn without_server(&self, config: &Config) -> Result<Inventory, Failure> {
        let peeked = store::peek(&config.storage.path).map_err(|e| match e {
            OpenError::InUse(path) => Failure::new(format!(
                "{}, but {} is in use: set --server.url to the server that uses it",
                self.unreachable(),
                path.display()
            )),
            other => Failure::new(format!("{}, and {other}", self.unreachable())),
        })?;
        let kept = peeked
            .inventory
            .filter(|(fingerprint, _)| *fingerprint == ansible::fingerprint(&config.ansible))
            .and_then(|(_, json)| Inventory::parse(&json).ok());
        let inventory = match kept {
            Some(inventory) => inventory,
            None => list_inventory(config)?,
        };
        let enrolled: Vec<_> = peeked.hosts.into_iter().map(Arc::new).collect();
        Ok(inventory.with_enrolled(&enrolled))
    }

    fn unreachable(&self) -> String {
        format!("cannot reach promansible at {}", self.server.url())
    }
}

fn hostvars(document: &Map<String, Value>, name: &str) -> Result<Map<String, Value>, Failure> {
    let meta = document.get("_meta").and_then(|meta| meta.get("hostvars"));
    match meta.and_then(|hostvars| hostvars.get(name)) {
        Some(Value::Object(vars)) => Ok(vars.clone()),
        _ => Err(Failure::new(format!(
            "no host of the inventory is named {name:?}"
        ))),
    }
}
