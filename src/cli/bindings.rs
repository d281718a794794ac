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

/// Look at the bindings of a running server, make or remove one.
#[derive(Debug, Args)]
pub(super) struct Bindings {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the bindings, in the order in which they are searched.
    List,
    /// Show one binding.
    Show {
        /// Its name.
        name: String,
    },
    /// Make a binding. Those of the configuration file are made there.
    #[command(after_help = AFTER)]
    Add(Box<Add>),
    /// Remove a binding that was made over the API.
    Remove {
        /// Its name.
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
    /// Its name.
    name: String,
    /// A matcher, as Alertmanager writes it; all must match.
    #[arg(long = "match", value_name = "MATCHER", required = true)]
    matchers: Vec<String>,
    /// An alert role; several are run in this order.
    #[arg(long = "role", value_name = "ROLE", required_unless_present = "steps")]
    roles: Vec<String>,
    /// Instead, the roles of one step; the next step runs if the alert still fires after it.
    #[arg(long = "step", value_name = "ROLE[,ROLE…]", conflicts_with = "roles")]
    steps: Vec<String>,
    /// A role that runs once when an alert that had a run of this binding resolves; several are run in this order.
    #[arg(long = "on-resolved", value_name = "ROLE")]
    on_resolved: Vec<String>,
    /// Only tasks with one of these tags.
    #[arg(long, value_name = "TAG[,TAG…]", value_delimiter = ',')]
    tags: Vec<String>,
    /// No task with one of these tags.
    #[arg(long, value_name = "TAG[,TAG…]", value_delimiter = ',')]
    skip_tags: Vec<String>,
    /// Only on these hosts, by their exact names.
    #[arg(long, value_name = "HOST[,HOST…]", value_delimiter = ',')]
    limit: Vec<String>,
    /// Where: host:NAME[,NAME…], group:NAME or controller; where nothing is said, the host that the label instance names.
    #[arg(long, value_parser = target)]
    target: Option<Value>,
    /// A variable for the roles; the value is taken as JSON if it is, else as a text.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = var)]
    vars: Vec<(String, Value)>,
    /// How long a run may take, such as 10m.
    #[arg(long)]
    timeout: Option<String>,
    /// Only say what would change (Ansible's --check --diff).
    #[arg(long, conflicts_with = "mode")]
    check: bool,
    /// Whether runs act: run, check, or observe (run nothing, and note what would be run).
    #[arg(long)]
    mode: Option<String>,
    /// How long nothing is started on a host after a start, such as 30m.
    #[arg(long, value_name = "DURATION")]
    cooldown: Option<String>,
    /// How often it may run on a host within a time, such as 3/24h.
    #[arg(long, value_name = "MAX/PER", value_parser = attempts)]
    attempts: Option<Value>,
    /// How long an alert has to resolve after a run, such as 10m.
    #[arg(long, value_name = "DURATION")]
    verify_within: Option<String>,
    /// Have each run wait for a person's consent.
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
                print(&format!("{} is made\n", plain(&name)))
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
    let (max, per) = text.split_once('/').ok_or("want MAX/PER, such as 3/24h")?;
    let max: u32 = max
        .parse()
        .map_err(|_| format!("{max:?} is no number; want MAX/PER, such as 3/24h"))?;
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
