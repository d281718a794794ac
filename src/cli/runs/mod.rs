//! `promansible runs`.

mod findings;
mod guarded;
mod list;
mod text;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Failure;
use super::client::{Server, block_on};
use super::colored;
use super::print;
use super::run::var;
use super::terminal;
use crate::model::alert::{Fingerprint, LabelSet, Status};
use crate::model::guards::Hold;
use crate::model::run::{Run, RunId, TaskEvent};
use crate::util::clock;
use list::List;

/// List, show, cancel, approve, reject or repeat runs on a running server.
#[derive(Debug, Args)]
pub(super) struct Runs {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Format {
    /// Human-readable text.
    Text,
    /// JSON, as in the API.
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List runs.
    List(Box<List>),
    /// Show one run: its cause, its hosts and the results of its tasks.
    Show {
        /// The number of the run.
        #[arg(value_parser = run_id)]
        id: u64,
        /// The output format.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Print the output of Ansible.
    Output {
        /// The number of the run.
        #[arg(value_parser = run_id)]
        id: u64,
    },
    /// Cancel a queued or running run.
    Cancel {
        /// The number of the run.
        #[arg(value_parser = run_id)]
        id: u64,
    },
    /// Repeat a run that has ended: for its alerts, if it had any; otherwise on the same hosts with the same variables.
    #[command(after_help = RERUN)]
    Rerun {
        /// The number of the run.
        #[arg(value_parser = run_id)]
        id: u64,
        /// A variable that replaces the old one; secret variables of a manual run must be given again.
        #[arg(long = "var", value_name = "NAME=VALUE", value_parser = var)]
        vars: Vec<(String, Value)>,
    },
    /// Approve a run that waits for approval.
    Approve {
        /// The number of the run.
        #[arg(value_parser = run_id)]
        id: u64,
    },
    /// Reject a run that waits for approval; it is ended.
    Reject {
        /// The number of the run.
        #[arg(value_parser = run_id)]
        id: u64,
    },
}

const RERUN: &str = "\
A run for alerts is repeated by its binding as it is now. The cooldown and attempts of the binding do not prevent the start, \
because you request it. A pause, held hosts, storms, circuits, approval and time intervals do.";

/// A run, and the reason if it waits for a person.
#[derive(Deserialize)]
struct Shown {
    #[serde(flatten)]
    run: Run,
    #[serde(default)]
    held: Option<Hold>,
}

#[derive(Deserialize)]
struct Detail {
    run: Shown,
    episodes: Vec<Episode>,
    events: Vec<TaskEvent>,
}

#[derive(Deserialize)]
struct Episode {
    alertname: String,
    fingerprint: Fingerprint,
    starts_at: DateTime<Utc>,
    hosts: Vec<String>,
    #[serde(default)]
    left_out: bool,
    /// The alert's episode, unless retention has deleted it.
    #[serde(rename = "episode")]
    known: Option<Known>,
}

#[derive(Deserialize)]
struct Known {
    status: Status,
    labels: LabelSet,
    ends_at: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct Queued {
    id: RunId,
}

#[derive(Deserialize)]
struct Canceling {
    state: String,
}

impl Runs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let color = colored(&std::io::stdout());
        match self.verb {
            Verb::List(list) => list.run(&self.server, color),
            Verb::Show { id, format } => {
                let path = format!("runs/{id}");
                if let Format::Json = format {
                    return print_json(&self.server.ask(Method::GET, &path)?);
                }
                let detail: Detail = self.server.ask(Method::GET, &path)?;
                print(&text::describe(&detail, clock::now(), color))
            }
            Verb::Output { id } => {
                let output = self.server.text(&format!("runs/{id}/output"))?;
                let output = String::from_utf8_lossy(&output);
                print(&terminal::output(&output, color))
            }
            Verb::Cancel { id } => {
                let canceling: Canceling = self
                    .server
                    .ask(Method::POST, &format!("runs/{id}/cancel"))?;
                print(&match canceling.state.as_str() {
                    "ended" => format!("run {id} was canceled before it started\n"),
                    _ => format!("run {id} is being canceled\n"),
                })
            }
            Verb::Rerun { id, vars } => {
                let vars: Map<String, Value> = vars.into_iter().collect();
                let body = (!vars.is_empty()).then(|| json!({ "vars": vars }));
                let path = format!("runs/{id}/rerun");
                let asked = self.server.ask_async(Method::POST, &path, body.as_ref());
                let Queued { id: new } = block_on(asked)??;
                print(&format!("run {new} is queued, and repeats run {id}\n"))
            }
            Verb::Approve { id } => {
                let _: Value = self
                    .server
                    .ask(Method::POST, &format!("runs/{id}/approve"))?;
                print(&format!("run {id} is approved\n"))
            }
            Verb::Reject { id } => {
                let _: Value = self
                    .server
                    .ask(Method::POST, &format!("runs/{id}/reject"))?;
                print(&format!("run {id} is rejected\n"))
            }
        }
    }
}

fn run_id(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not the number of a run"))
}

pub(super) fn print_json(value: &Value) -> Result<(), Failure> {
    print(&terminal::json(value)?)
}
