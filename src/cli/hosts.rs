//! `promansible hosts`.

use std::io::Write;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use hyper::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Failure;
use super::client::{Server, block_on, segment};
use super::colored;
use super::format::second;
use super::print;
use super::run::var;
use super::table::{Cell, columns};
use super::terminal::{Ink, plain};

/// List, show, hold, enrol or remove hosts on a running server.
#[derive(Debug, Args)]
pub(super) struct Hosts {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the hosts of the inventory sources and the enrolled hosts.
    List,
    /// Show one host.
    Show {
        /// The name of the host.
        name: String,
    },
    /// Enrol a host, so that alerts are matched to it and runs reach it.
    #[command(after_help = AFTER)]
    Add(Add),
    /// Hold a host: no new runs start there. Current runs continue.
    Hold(Hold),
    /// End the hold on a host, so that waiting alerts are decided again.
    Release {
        /// The name of the host.
        name: String,
    },
    /// Remove an enrolled host and its stored data.
    Remove {
        /// The name of the host.
        name: String,
    },
}

const AFTER: &str = "\
Variables are data, never templates. Of the variables of Ansible itself, a host accepts ansible_port, ansible_user and
ansible_python_interpreter; --address sets ansible_host.

For example:
  promansible hosts add web3 --address 10.0.0.5 --group web --var ansible_port=2222";

#[derive(Debug, Args)]
struct Add {
    /// The name of the host, as in alerts and targets.
    name: String,
    /// The address for Ansible: an IP address or a DNS name; by default, the name.
    #[arg(long)]
    address: Option<String>,
    /// A group of the host; may be repeated.
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// A variable of the host; the value is parsed as JSON if possible, otherwise used as a string.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = var)]
    vars: Vec<(String, Value)>,
}

#[derive(Debug, Args)]
struct Hold {
    /// The name of the host.
    name: String,
    /// The duration, such as 2h; by default, until the hold is released.
    #[arg(long = "for", value_name = "DURATION")]
    time: Option<String>,
    /// The reason, shown to other users.
    #[arg(long)]
    why: String,
}

#[derive(Deserialize)]
struct HoldAnswer {
    host: String,
    until: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct Host {
    name: String,
    address: Option<String>,
    groups: Vec<String>,
    source: String,
    enrolled_at: Option<DateTime<Utc>>,
    facts_gathered_at: Option<DateTime<Utc>>,
    #[serde(default)]
    vars: Map<String, Value>,
    conflict: Option<String>,
}

#[derive(Deserialize)]
struct List {
    hosts: Vec<Host>,
    conflicts: Vec<Conflict>,
}

#[derive(Deserialize)]
struct Conflict {
    name: String,
    why: String,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

impl Hosts {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Self { server, verb } = self;
        match verb {
            Verb::List => list(&server.ask(Method::GET, "hosts")?),
            Verb::Show { name } => show(&server.ask(Method::GET, &path(&name))?),
            Verb::Add(add) => {
                let Named { name } = block_on(add.ask(&server))??;
                print(&format!("{} is enrolled\n", plain(&name)))
            }
            Verb::Hold(hold) => {
                let body = match hold.time {
                    Some(time) => json!({"for": time, "why": hold.why}),
                    None => json!({"why": hold.why}),
                };
                let path = format!("{}/hold", path(&hold.name));
                let asked = server.ask_async(Method::POST, &path, Some(&body));
                let HoldAnswer { host, until } = block_on(asked)??;
                let until = match until {
                    Some(until) => format!("until {}", second(until)),
                    None => "until it is released".to_owned(),
                };
                print(&format!("{} is held {until}\n", plain(&host)))
            }
            Verb::Release { name } => {
                let _: Value = server.ask(Method::DELETE, &format!("{}/hold", path(&name)))?;
                print(&format!("{} is released\n", plain(&name)))
            }
            Verb::Remove { name } => {
                let Named { name } = server.ask(Method::DELETE, &path(&name))?;
                print(&format!("{} is removed\n", plain(&name)))
            }
        }
    }
}

impl Add {
    async fn ask(&self, server: &Server) -> Result<Named, Failure> {
        let vars: Map<String, Value> = self.vars.iter().cloned().collect();
        let mut body = json!({"name": self.name, "groups": self.groups, "vars": vars});
        if let Some(address) = &self.address {
            body["address"] = address.as_str().into();
        }
        server.ask_async(Method::POST, "hosts", Some(&body)).await
    }
}

fn path(name: &str) -> String {
    format!("hosts/{}", segment(name))
}

fn list(list: &List) -> Result<(), Failure> {
    let color = colored(&std::io::stdout());
    let head = ["NAME", "ADDRESS", "GROUPS", "SOURCE", "FACTS"];
    let mut rows = vec![head.map(|title| Cell::inked(Ink::Dim, title))];
    rows.extend(list.hosts.iter().map(|host| {
        [
            Cell::new(&host.name),
            Cell::new(host.address.as_deref().unwrap_or_default()),
            Cell::new(&host.groups.join(",")),
            Cell::new(&host.source),
            Cell::new(&host.facts_gathered_at.map_or_else(String::new, second)),
        ]
    }));
    print(&columns("", &rows, color))?;
    for Conflict { name, why } in &list.conflicts {
        let warning = Ink::Yellow.paint("warning:", colored(&std::io::stderr()));
        let _ = writeln!(
            std::io::stderr(),
            "{warning} {} is enrolled, but {}: remove it, or rename one of them",
            plain(name),
            plain(why)
        );
    }
    Ok(())
}

fn show(host: &Host) -> Result<(), Failure> {
    let mut rows = vec![
        [Cell::new("name"), Cell::new(&host.name)],
        [
            Cell::new("address"),
            Cell::new(host.address.as_deref().unwrap_or_default()),
        ],
        [Cell::new("groups"), Cell::new(&host.groups.join(", "))],
        [Cell::new("source"), Cell::new(&host.source)],
    ];
    for (title, at) in [
        ("enrolled", host.enrolled_at),
        ("facts", host.facts_gathered_at),
    ] {
        rows.extend(at.map(|at| [Cell::new(title), Cell::new(&second(at))]));
    }
    for (name, value) in &host.vars {
        rows.push([
            Cell::new(&format!("var {name}")),
            Cell::new(&value.to_string()),
        ]);
    }
    if let Some(conflict) = &host.conflict {
        rows.push([Cell::new("conflict"), Cell::inked(Ink::Yellow, conflict)]);
    }
    print(&columns("", &rows, colored(&std::io::stdout())))
}
