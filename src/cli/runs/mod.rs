//! `promansible runs`.

mod text;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use serde::Deserialize;

use super::client::Server;
use super::terminal;
use super::{Failure, colored, print};
use crate::clock;
use crate::run::{Run, RunId, TaskEvent};

/// Look at runs, or cancel one, on a running server.
#[derive(Debug, Args)]
pub(super) struct Runs {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For a person.
    Text,
    /// As the API gives it.
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List runs, newest first.
    List {
        /// Only those that are queued, running or finished.
        #[arg(long)]
        state: Option<String>,
        /// Only those that ended so.
        #[arg(long)]
        outcome: Option<String>,
        /// Only those of this binding.
        #[arg(long)]
        binding: Option<String>,
        /// Only those of this role.
        #[arg(long)]
        role: Option<String>,
        /// Only those that touch this host.
        #[arg(long)]
        host: Option<String>,
        /// How many.
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// Only those before this one: how to get at the next page.
        #[arg(long, value_name = "ID")]
        before: Option<u64>,
        /// How to print them.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Show one run: why, where, what each task did.
    Show {
        /// The run.
        id: u64,
        /// How to print it.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Print what Ansible wrote.
    Output {
        /// The run.
        id: u64,
    },
    /// End a run, whether it waits or is under way.
    Cancel {
        /// The run.
        id: u64,
    },
}

#[derive(Deserialize)]
struct List {
    runs: Vec<Run>,
    next: Option<RunId>,
}

#[derive(Deserialize)]
struct Detail {
    run: Run,
    episodes: Vec<Episode>,
    events: Vec<TaskEvent>,
}

#[derive(Deserialize)]
struct Episode {
    alertname: String,
    starts_at: DateTime<Utc>,
    hosts: Vec<String>,
    #[serde(default)]
    left_out: bool,
}

#[derive(Deserialize)]
struct Canceling {
    state: String,
}

impl Runs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let color = colored(&std::io::stdout());
        match self.verb {
            Verb::List {
                state,
                outcome,
                binding,
                role,
                host,
                limit,
                before,
                format,
            } => {
                let fields = [
                    ("state", state),
                    ("outcome", outcome),
                    ("binding", binding),
                    ("role", role),
                    ("host", host),
                    ("limit", Some(limit.to_string())),
                    ("before", before.map(|id| id.to_string())),
                ];
                let path = format!("runs?{}", query(&fields));
                if let Format::Json = format {
                    return print_json(&self.server.ask(Method::GET, &path)?);
                }
                let list: List = self.server.ask(Method::GET, &path)?;
                print(&text::table(&list, clock::now(), color))
            }
            Verb::Show { id, format } => {
                let path = format!("runs/{id}");
                if let Format::Json = format {
                    return print_json(&self.server.ask(Method::GET, &path)?);
                }
                let detail: Detail = self.server.ask(Method::GET, &path)?;
                print(&text::describe(&detail, color))
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
                print(match canceling.state.as_str() {
                    "ended" => "canceled before it started\n",
                    _ => "it is being ended\n",
                })
            }
        }
    }
}

fn query(fields: &[(&str, Option<String>)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    query.finish()
}

fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_escapes_what_it_must() {
        let fields = [
            ("role", Some("a b&c".to_owned())),
            ("host", None),
            ("limit", Some("3".to_owned())),
        ];
        assert_eq!(query(&fields), "role=a+b%26c&limit=3");
    }
}
