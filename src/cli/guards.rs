//! `promansible guards`, `pause`, `resume` and `release`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use clap::Args;
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Failure;
use super::client::{Server, block_on, segment};
use super::colored;
use super::format::{count, second};
use super::print;
use super::runs::{Format, print_json};
use super::table::{Cell, columns};
use super::terminal::{Ink, plain};
use crate::model::guards::{ALL, Holds, Pause as PauseOf};

/// Show the pauses, holds and open circuits of a running server, and how to end them.
#[derive(Debug, Args)]
pub(super) struct Guards {
    #[command(flatten)]
    server: Server,
    /// The output format.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Pause a running server: it starts no new runs. Current runs continue.
#[derive(Debug, Args)]
pub(super) struct Pause {
    #[command(flatten)]
    server: Server,
    /// The reason, shown to other users.
    #[arg(long, default_value = "")]
    why: String,
}

/// Resume a paused server: it starts runs again.
#[derive(Debug, Args)]
pub(super) struct Resume {
    #[command(flatten)]
    server: Server,
}

/// Release the runs that a running server holds because they would affect too many hosts.
#[derive(Debug, Args)]
pub(super) struct Release {
    #[command(flatten)]
    server: Server,
    /// Release only the runs of this binding; by default, of all bindings.
    binding: Option<String>,
}

/// The guards, as the server reports them.
#[derive(Deserialize)]
pub(super) struct GuardsAnswer {
    mode: String,
    #[serde(flatten)]
    pub(super) book: Holds,
    held: BTreeMap<String, u64>,
    runs: Vec<HeldRun>,
}

#[derive(Deserialize)]
struct HeldRun {
    id: u64,
    #[serde(default)]
    binding: Option<String>,
    roles: Vec<String>,
    hosts: Vec<String>,
    #[serde(default)]
    until: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct Paused {
    pause: Option<PauseOf>,
}

#[derive(Deserialize)]
struct Released {
    released: Vec<String>,
}

impl Guards {
    pub(super) fn run(self) -> Result<(), Failure> {
        if let Format::Json = self.format {
            return print_json(&self.server.ask(Method::GET, "guards")?);
        }
        let told: GuardsAnswer = self.server.ask(Method::GET, "guards")?;
        print(&text(&told, colored(&std::io::stdout())))
    }
}

impl Pause {
    pub(super) fn run(self) -> Result<(), Failure> {
        let body = json!({"why": self.why});
        let asked = self.server.ask_async(Method::POST, "pause", Some(&body));
        let Paused { pause } = block_on(asked)??;
        print(&match pause {
            Some(pause) => format!(
                "everything is paused {}; to resume: promansible resume\n",
                by(&pause.by, pause.since, &pause.why)
            ),
            None => "already resumed by another user\n".to_owned(),
        })
    }
}

impl Resume {
    pub(super) fn run(self) -> Result<(), Failure> {
        let _: Value = self.server.ask(Method::POST, "resume")?;
        print("resumed\n")
    }
}

impl Release {
    pub(super) fn run(self) -> Result<(), Failure> {
        let path = match &self.binding {
            Some(binding) => format!("bindings/{}/release", segment(binding)),
            None => "release".to_owned(),
        };
        let Released { released } = self.server.ask(Method::POST, &path)?;
        if released.is_empty() {
            return print("nothing was held\n");
        }
        let lines = released
            .iter()
            .map(|name| format!("{} are released\n", runs_of(name)));
        print(&lines.collect::<String>())
    }
}

fn runs_of(binding: &str) -> String {
    match binding {
        ALL => "the runs of all bindings".to_owned(),
        name => format!("the runs of the binding {}", plain(name)),
    }
}

fn by(who: &str, since: DateTime<Utc>, why: &str) -> String {
    let why = if why.is_empty() {
        String::new()
    } else {
        format!(": {}", plain(why))
    };
    format!("by {} since {}{why}", plain(who), second(since))
}

/// Quotes a name as one word for a shell.
fn word(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-:@%+/".contains(c);
    if !name.is_empty() && name.chars().all(is_plain) {
        return name.to_owned();
    }
    format!("'{}'", name.replace('\'', r"'\''"))
}

fn text(told: &GuardsAnswer, color: bool) -> String {
    let mut text = String::new();
    if told.mode != "run" {
        let _ = writeln!(
            text,
            "The mode of the configuration is {}: runs for alerts change nothing.",
            plain(&told.mode)
        );
    }
    let rows = rows(told);
    if rows.is_empty() {
        text.push_str("Nothing is paused, held or open.\n");
    } else {
        let head = ["OBJECT", "STATE", "REASON", "COMMAND: promansible"];
        let mut all = vec![head.map(|title| Cell::inked(Ink::Dim, title))];
        all.extend(rows);
        text.push_str(&columns("", &all, color));
    }
    let waiting: u64 = told.held.values().sum();
    if waiting > 0 {
        let by_reason = told.held.iter().filter(|(_, number)| **number > 0);
        let by_reason = by_reason.map(|(reason, number)| format!("{reason} {number}"));
        let by_reason: Vec<String> = by_reason.collect();
        let _ = write!(
            text,
            "\n{} queued and held: {}\n",
            count(waiting, "run"),
            by_reason.join(", ")
        );
    }
    text
}

fn rows(told: &GuardsAnswer) -> Vec<[Cell; 4]> {
    let book = &told.book;
    let mut rows = Vec::new();
    let mut row = |what: &str, ink: Ink, state: &str, why: &str, how: &str| {
        rows.push([
            Cell::new(what),
            Cell::inked(ink, state),
            Cell::new(why),
            Cell::new(how),
        ]);
    };
    if let Some(pause) = &book.pause {
        let why = by(&pause.by, pause.since, &pause.why);
        row("everything", Ink::Red, "paused", &why, "resume");
    }
    for (host, hold) in &book.hosts {
        let until = hold
            .until
            .map_or_else(String::new, |until| format!("until {}, ", second(until)));
        let why = format!("{until}{}", by(&hold.by, hold.since, &hold.why));
        let how = format!("hosts release {}", word(host));
        row(&format!("host {host}"), Ink::Yellow, "held", &why, &how);
    }
    for (binding, storm) in &book.storms {
        let (what, how) = match binding.as_str() {
            ALL => ("all bindings".to_owned(), "release".to_owned()),
            name => (format!("binding {name}"), format!("release {}", word(name))),
        };
        let why = format!(
            "{} since {}, the limit is {}",
            count(storm.hosts as u64, "host"),
            second(storm.since),
            storm.limit
        );
        row(&what, Ink::Red, "held (storm)", &why, &how);
    }
    for (role, streak) in &book.streaks {
        let hosts: Vec<&str> = streak.hosts.iter().map(String::as_str).collect();
        let failed = format!("failed on {}", hosts.join(", "));
        let how = format!("roles close {}", word(role));
        let what = format!("role {role}");
        let Some(open) = &streak.open else {
            row(&what, Ink::Plain, "failing", &failed, &how);
            continue;
        };
        let tried = match open.probe {
            Some(run) => format!("run {run} is the trial"),
            None => format!("next trial on one host at {}", second(open.probe_at)),
        };
        let why = format!("{failed}; {tried}");
        row(&what, Ink::Red, "circuit open", &why, &how);
    }
    // Even if something else holds them too.
    for run in told.runs.iter().filter(|run| run.until.is_some()) {
        let until = run
            .until
            .map_or_else(String::new, |until| format!(", until {}", second(until)));
        let why = format!(
            "{}: {} on {}{until}",
            run.binding.as_deref().unwrap_or_default(),
            run.roles.join(","),
            run.hosts.join(",")
        );
        let how = format!("runs approve {0}, or runs reject {0}", run.id);
        let what = format!("run {}", run.id);
        row(&what, Ink::Yellow, "needs approval", &why, &how);
    }
    rows
}
