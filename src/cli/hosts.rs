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

/// Look at the hosts of a running server, hold, enrol or remove one.
#[derive(Debug, Args)]
pub(super) struct Hosts {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the hosts: those of the inventory's sources, and enrolled ones.
    List,
    /// Show one host.
    Show {
        /// Its name.
        name: String,
    },
    /// Enrol a host, so that alerts find it and runs reach it.
    #[command(after_help = AFTER)]
    Add(Add),
    /// Leave a host alone: nothing is started there. What is under way goes on.
    Hold(Hold),
    /// End a host's hold, so that what waited for it is decided again.
    Release {
        /// Its name.
        name: String,
    },
    /// Remove an enrolled host, and what is known of it.
    Remove {
        /// Its name.
        name: String,
    },
}

const AFTER: &str = "\
Variables are data, never templates. Of those that steer Ansible a host takes ansible_port, ansible_user and
ansible_python_interpreter; --address is its ansible_host.

For example:
  promansible hosts add web3 --address 10.0.0.5 --group web --var ansible_port=2222";

#[derive(Debug, Args)]
struct Add {
    /// Its name, by which alerts and targets find it.
    name: String,
    /// Where Ansible reaches it: an IP address or a DNS name; its name if nothing is said.
    #[arg(long)]
    address: Option<String>,
    /// A group that it is in.
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// A variable; the value is taken as JSON if it is, else as a text.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = var)]
    vars: Vec<(String, Value)>,
}

#[derive(Debug, Args)]
struct Hold {
    /// Its name.
    name: String,
    /// For how long, such as 2h; until it is released, if nothing is said.
    #[arg(long = "for", value_name = "DURATION")]
    time: Option<String>,
    /// Why, for whoever finds it held.
    #[arg(long)]
    why: String,
}

#[derive(Deserialize)]
struct Held {
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
                let Held { host, until } = block_on(asked)??;
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
