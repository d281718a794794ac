//! `promansible bindings`.

use clap::{Args, Subcommand};
use hyper::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Failure;
use super::client::{Server, block_on, segment};
use super::colored;
use super::objects::{Conflict, Named, detail, target_text, warn};
use super::print;
use super::run::{target, var};
use super::table::{Cell, columns};
use super::terminal::{Ink, plain};

/// List, show, add or remove bindings on a running server.
#[derive(Debug, Args)]
pub(super) struct Bindings {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the bindings in the order in which they are evaluated.
    List,
    /// Show one binding.
    Show {
        /// The name of the binding.
        name: String,
    },
    /// Add a binding. To change a binding of the configuration file, edit the file.
    #[command(after_help = AFTER)]
    Add(Box<Add>),
    /// Remove a binding that was added over the API.
    Remove {
        /// The name of the binding.
        name: String,
    },
}

const AFTER: &str = "\
Variables are data, never templates.

For example:
  promansible bindings add disk-web --match 'alertname=\"DiskWillFillIn4Hours\"' --match 'team=\"web\"' \\
    --role handle_DiskWillFillIn4Hours";

#[derive(Debug, Args)]
struct Add {
    /// The name of the binding.
    name: String,
    /// A matcher in Alertmanager syntax; may be repeated, and all must match.
    #[arg(long = "match", value_name = "MATCHER", required = true)]
    matchers: Vec<String>,
    /// An alert role; may be repeated, and the roles run in this order.
    #[arg(long = "role", value_name = "ROLE", required_unless_present = "steps")]
    roles: Vec<String>,
    /// The roles of one step, instead of --role; the next step runs if the alert still fires after it.
    #[arg(long = "step", value_name = "ROLE[,ROLE…]", conflicts_with = "roles")]
    steps: Vec<String>,
    /// A role that runs once when an alert that had a run of this binding resolves; may be repeated, and the roles run
    /// in this order.
    #[arg(long = "on-resolved", value_name = "ROLE")]
    on_resolved: Vec<String>,
    /// Run only tasks with one of these tags.
    #[arg(long, value_name = "TAG[,TAG…]", value_delimiter = ',')]
    tags: Vec<String>,
    /// Skip tasks with one of these tags.
    #[arg(long, value_name = "TAG[,TAG…]", value_delimiter = ',')]
    skip_tags: Vec<String>,
    /// Run only on these hosts (exact names).
    #[arg(long, value_name = "HOST[,HOST…]", value_delimiter = ',')]
    limit: Vec<String>,
    /// Where to run: host:NAME[,NAME…], group:NAME or controller; by default, the host in the label instance.
    #[arg(long, value_parser = target)]
    target: Option<Value>,
    /// A variable for the roles; the value is parsed as JSON if possible, otherwise used as a string.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = var)]
    vars: Vec<(String, Value)>,
    /// The maximum duration of a run, such as 10m.
    #[arg(long)]
    timeout: Option<String>,
    /// Report what would change, without changing it (Ansible's --check --diff).
    #[arg(long, conflicts_with = "mode")]
    check: bool,
    /// The mode: run, check (report changes without making them) or observe (run nothing, record what would run).
    #[arg(long)]
    mode: Option<String>,
    /// The minimum time between two starts on a host, such as 30m.
    #[arg(long, value_name = "DURATION")]
    cooldown: Option<String>,
    /// The maximum number of starts on a host within a period, such as 3/24h.
    #[arg(long, value_name = "MAX/PER", value_parser = attempts)]
    attempts: Option<Value>,
    /// The time in which an alert should resolve after a run, such as 10m.
    #[arg(long, value_name = "DURATION")]
    verify_within: Option<String>,
    /// Require approval before each run.
    #[arg(long)]
    approval: bool,
}

#[derive(Deserialize)]
struct List {
    bindings: Vec<Binding>,
    conflicts: Vec<Conflict>,
}

#[derive(Deserialize)]
struct Binding {
    name: String,
    source: String,
    matchers: Vec<String>,
    roles: Vec<String>,
    target: Value,
}

impl Bindings {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Self { server, verb } = self;
        let path = |name: &str| format!("bindings/{}", segment(name));
        match verb {
            Verb::List => list(&server.ask(Method::GET, "bindings")?),
            Verb::Show { name } => detail(&server.ask(Method::GET, &path(&name))?),
            Verb::Add(add) => {
                let body = add.json();
                let made = server.ask_async(Method::POST, "bindings", Some(&body));
                let Named { name } = block_on(made)??;
                print(&format!("{} is added\n", plain(&name)))
            }
            Verb::Remove { name } => {
                let Named { name } = server.ask(Method::DELETE, &path(&name))?;
                print(&format!("{} is removed\n", plain(&name)))
            }
        }
    }
}

impl Add {
    fn json(&self) -> Value {
        let vars: Map<String, Value> = self.vars.iter().cloned().collect();
        let mut body = json!({
            "name": self.name, "matchers": self.matchers, "vars": vars,
        });
        if self.steps.is_empty() {
            body["roles"] = json!(self.roles);
        } else {
            let steps = self.steps.iter();
            let steps = steps.map(|step| json!({"roles": step.split(',').collect::<Vec<_>>()}));
            body["steps"] = steps.collect();
        }
        for (name, list) in [
            ("on_resolved", &self.on_resolved),
            ("tags", &self.tags),
            ("skip_tags", &self.skip_tags),
            ("limit", &self.limit),
        ] {
            if !list.is_empty() {
                body[name] = json!(list);
            }
        }
        if let Some(target) = &self.target {
            body["target"] = target.clone();
        }
        for (name, value) in [
            ("timeout", &self.timeout),
            ("mode", &self.mode),
            ("cooldown", &self.cooldown),
            ("verify_within", &self.verify_within),
        ] {
            if let Some(value) = value {
                body[name] = value.as_str().into();
            }
        }
        if let Some(attempts) = &self.attempts {
            body["attempts"] = attempts.clone();
        }
        if self.approval {
            body["approval"] = json!({"required": true});
        }
        if self.check {
            body["mode"] = "check".into();
        }
        body
    }
}

fn attempts(text: &str) -> Result<Value, String> {
    let (max, per) = text
        .split_once('/')
        .ok_or("expected MAX/PER, such as 3/24h")?;
    let max: u32 = max
        .parse()
        .map_err(|_| format!("{max:?} is not a number; expected MAX/PER, such as 3/24h"))?;
    Ok(json!({"max": max, "per": per}))
}

fn list(list: &List) -> Result<(), Failure> {
    let color = colored(&std::io::stdout());
    let head = ["NAME", "MATCHERS", "ROLES", "TARGET", "SOURCE"];
    let mut rows = vec![head.map(|title| Cell::inked(Ink::Dim, title))];
    rows.extend(list.bindings.iter().map(|binding| {
        [
            Cell::new(&binding.name),
            Cell::new(&binding.matchers.join(", ")),
            Cell::new(&binding.roles.join(",")),
            Cell::new(&target_text(&binding.target)),
            Cell::new(&binding.source),
        ]
    }));
    print(&columns("", &rows, color))?;
    warn(&list.conflicts);
    Ok(())
}
