//! `promansible facts`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Read as _, Write as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use hyper::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Failure;
use super::client::{Server, block_on};
use super::colored;
use super::follow::{RunEvent, RunFollower};
use super::print;
use super::run::target;
use super::table::{Cell, columns};
use super::terminal::{Ink, json as json_text, plain};
use crate::config::GATHER_ROLE;
use crate::model::facts::{Change, Facts as Known, Imported, cache_file, setup_output};
use crate::model::run::{Outcome, Run, RunId, State, TaskEvent, TaskStatus};
use crate::util::clock;

/// The approximate size of one request, in bytes of JSON.
const BATCH: usize = 8 << 20;

/// Show, gather or import the facts of hosts on a running server.
#[derive(Debug, Args)]
pub(super) struct Facts {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the hosts with facts, and when the facts were gathered.
    List,
    /// Print the facts of a host, or a part of them, as JSON.
    Show {
        /// The name of the host in the inventory.
        host: String,
        /// The path of a fact, such as `default_ipv4.address`.
        path: Option<String>,
    },
    /// Show how the facts of a host changed, most recent first.
    Diff {
        /// The name of the host in the inventory.
        host: String,
    },
    /// Gather facts now, and show the result for each host.
    Gather {
        /// Where to run: host:NAME[,NAME…], group:NAME or controller.
        #[arg(value_parser = target)]
        target: Value,
        /// The facts to gather, as in `gather_subset` of Ansible's setup module: network, '!hardware'.
        #[arg(long, value_delimiter = ',', allow_hyphen_values = true)]
        subset: Vec<String>,
    },
    /// Import facts that were gathered elsewhere.
    Import {
        /// The folder of a fact cache (jsonfile) or of `ansible -m setup --tree`; `-` (the default) reads the output of
        /// `ansible all -m setup`.
        #[arg(default_value = "-")]
        from: PathBuf,
    },
}

#[derive(Deserialize)]
struct List {
    hosts: Vec<HostInfo>,
}

#[derive(Deserialize)]
struct HostInfo {
    host: String,
    gathered_at: DateTime<Utc>,
    live: bool,
}

#[derive(Deserialize)]
struct HostFacts {
    facts: Map<String, Value>,
}

#[derive(Deserialize)]
struct HostChanges {
    changes: Vec<ChangedAt>,
}

#[derive(Deserialize)]
struct ChangedAt {
    at: DateTime<Utc>,
    changes: Vec<Change>,
    more: usize,
}

#[derive(Deserialize)]
struct ImportAnswer {
    kept: Vec<String>,
    unknown: Vec<String>,
}

#[derive(Deserialize)]
struct Started {
    id: RunId,
}

impl Facts {
    pub(super) fn run(self) -> Result<(), Failure> {
        let color = colored(&std::io::stdout());
        match &self.verb {
            Verb::List => self.list(color),
            Verb::Show { host, path } => self.show(host, path.as_deref()),
            Verb::Diff { host } => self.diff(host, color),
            Verb::Gather { target, subset } => self.gather(target, subset, color),
            Verb::Import { from } => self.import(from),
        }
    }

    fn list(&self, color: bool) -> Result<(), Failure> {
        let list: List = self.server.ask(Method::GET, "facts")?;
        if list.hosts.is_empty() {
            return print("No facts yet. To gather them: promansible facts gather group:all\n");
        }
        let mut rows = vec![["HOST", "GATHERED", ""].map(Cell::new)];
        rows.extend(list.hosts.iter().map(|of| {
            let how = if of.live { "" } else { "imported" };
            [
                Cell::new(&of.host),
                Cell::new(&time(of.gathered_at)),
                Cell::new(how),
            ]
        }));
        print(&columns("", &rows, color))
    }

    fn show(&self, host: &str, path: Option<&str>) -> Result<(), Failure> {
        let known: HostFacts = self.server.ask(Method::GET, &format!("facts/{host}"))?;
        let shown = match path {
            None => json_text(&known.facts)?,
            Some(path) => match Known::new(&known.facts).path(path) {
                Some(Value::String(text)) => plain(text) + "\n",
                Some(value) => json_text(value)?,
                None => return Err(Failure::new(format!("{host} has no fact {path:?}"))),
            },
        };
        print(&shown)
    }

    fn diff(&self, host: &str, color: bool) -> Result<(), Failure> {
        let path = format!("facts/{host}/changes");
        let of: HostChanges = self.server.ask(Method::GET, &path)?;
        if of.changes.is_empty() {
            return print(&format!(
                "No changes on {host} since its facts were first gathered.\n"
            ));
        }
        let mut text = String::new();
        for at in of.changes {
            text.push_str(&time(at.at));
            text.push('\n');
            let rows: Vec<[Cell; 3]> = at.changes.iter().map(row).collect();
            text.push_str(&columns("  ", &rows, color));
            if at.more > 0 {
                let _ = writeln!(text, "  and {} more", at.more);
            }
        }
        print(&text)
    }

    fn gather(&self, target: &Value, subset: &[String], color: bool) -> Result<(), Failure> {
        let mut vars = Map::new();
        if !subset.is_empty() {
            vars.insert("gather_facts_subset".to_owned(), json!(subset));
        }
        let body = json!({"roles": [GATHER_ROLE], "target": target, "vars": vars});
        block_on(async {
            let Started { id } = self
                .server
                .ask_async(Method::POST, "runs", Some(&body))
                .await?;
            self.follow(id, color).await
        })?
    }

    /// Prints a line for each host when it responds, and on a terminal a progress bar below.
    async fn follow(&self, id: RunId, color: bool) -> Result<(), Failure> {
        let mut told: BTreeMap<String, bool> = BTreeMap::new();
        let bar = Bar(std::io::stderr().is_terminal());
        let mut following = RunFollower::new(&self.server, id);
        let mut hosts = 0;
        loop {
            match following.next().await? {
                RunEvent::Task(event) if is_answer(&event) && !told.contains_key(&event.host) => {
                    let well = event.status == TaskStatus::Ok;
                    bar.clear();
                    print(&line(&event, well, color))?;
                    told.insert(event.host, well);
                    bar.draw(told.len(), hosts);
                }
                RunEvent::Run(run) if run.state == State::Finished => {
                    bar.clear();
                    return ended(&run, told.values().filter(|well| **well).count());
                }
                RunEvent::Run(run) => {
                    hosts = run.hosts.len();
                    bar.draw(told.len(), hosts);
                }
                RunEvent::Task(_) | RunEvent::Output { .. } => {}
            }
        }
    }

    fn import(&self, from: &Path) -> Result<(), Failure> {
        let found = if from == Path::new("-") {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            setup_output(&text)?
                .into_iter()
                .map(|found| (found, None))
                .collect()
        } else {
            read_folder(from)?
        };
        let (mut imported, mut skipped) = (0, Vec::new());
        let mut batch = Batch::default();
        for (Imported { host, facts }, at) in found {
            match facts {
                Ok(facts) => {
                    if let Some(full) = batch.add(host, facts, at) {
                        self.send(&full, &mut imported, &mut skipped)?;
                    }
                }
                Err(why) => skipped.push(format!("{host}: {why}")),
            }
        }
        if let Some(rest) = batch.take() {
            self.send(&rest, &mut imported, &mut skipped)?;
        }
        print(&format!("{imported} hosts imported\n"))?;
        if skipped.is_empty() {
            return Ok(());
        }
        let skipped: Vec<String> = skipped.iter().map(|why| plain(why)).collect();
        Err(Failure::new(format!(
            "{} hosts were skipped:\n  {}",
            skipped.len(),
            skipped.join("\n  ")
        )))
    }

    fn send(
        &self,
        body: &Value,
        imported: &mut usize,
        skipped: &mut Vec<String>,
    ) -> Result<(), Failure> {
        let answer: ImportAnswer =
            block_on(self.server.ask_async(Method::POST, "facts", Some(body)))??;
        *imported += answer.kept.len();
        skipped.extend(
            answer
                .unknown
                .iter()
                .map(|host| format!("{host}: not in the inventory")),
        );
        Ok(())
    }
}

/// Facts to send together: those that were gathered at the same time.
#[derive(Default)]
struct Batch {
    at: Option<DateTime<Utc>>,
    facts: Map<String, Value>,
    bytes: usize,
}

impl Batch {
    /// Adds a host. Returns the previous content if the host does not belong to it.
    fn add(
        &mut self,
        host: String,
        facts: Map<String, Value>,
        at: Option<DateTime<Utc>>,
    ) -> Option<Value> {
        let full = self.at != at || self.bytes > BATCH || self.facts.contains_key(&host);
        let before = if full { self.take() } else { None };
        self.at = at;
        self.bytes += serde_json::to_vec(&facts).map_or(0, |json| json.len());
        self.facts.insert(host, facts.into());
        before
    }

    fn take(&mut self) -> Option<Value> {
        let Self { at, facts, .. } = std::mem::take(self);
        (!facts.is_empty()).then(|| json!({"gathered_at": at, "facts": facts}))
    }
}

type Found = Vec<(Imported, Option<DateTime<Utc>>)>;

/// Reads the files of a folder. The facts of a file were gathered when it was written.
fn read_folder(folder: &Path) -> Result<Found, Failure> {
    let named = |why: &dyn std::fmt::Display| Failure::new(format!("{}: {why}", folder.display()));
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(|e| named(&e))?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()
        .map_err(|e| named(&e))?;
    files.sort();
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let content = std::fs::read(file).map_err(|e| named(&format!("{name}: {e}")))?;
        let written = file.metadata().and_then(|of| of.modified()).ok();
        let imported = cache_file(&name, &content).unwrap_or_else(|e| Imported {
            host: name.clone().into_owned(),
            facts: Err(e.to_string()),
        });
        found.push((imported, written.map(DateTime::from)));
    }
    if found.is_empty() {
        return Err(named(
            &"it contains no files: expected the folder of a fact cache, with one file per host",
        ));
    }
    Ok(found)
}

fn time(at: DateTime<Utc>) -> String {
    let ago = (clock::now() - at).num_minutes();
    let ago = match ago {
        ..1 => "just now".to_owned(),
        1..120 => format!("{ago} min ago"),
        120..2880 => format!("{} h ago", ago / 60),
        _ => format!("{} d ago", ago / 1440),
    };
    format!("{} UTC ({ago})", at.format("%Y-%m-%d %H:%M:%S"))
}

fn row(change: &Change) -> [Cell; 3] {
    let shown = |value: &Option<Value>| match value {
        None => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    [
        Cell::new(&change.path),
        Cell::inked(Ink::Red, &short(&shown(&change.old))),
        Cell::inked(Ink::Green, &short(&shown(&change.new))),
    ]
}

fn short(text: &str) -> String {
    const CHARS: usize = 60;
    if text.chars().count() <= CHARS {
        return text.to_owned();
    }
    text.chars().take(CHARS - 1).chain(['…']).collect()
}

/// Whether an event is the result of gathering on its host.
fn is_answer(event: &TaskEvent) -> bool {
    let action = event.action.rsplit('.').next().unwrap_or_default();
    let bad = matches!(event.status, TaskStatus::Failed | TaskStatus::Unreachable);
    bad || (event.status == TaskStatus::Ok && matches!(action, "gather_facts" | "setup"))
}

fn line(event: &TaskEvent, well: bool, color: bool) -> String {
    let host = plain(&event.host);
    if well {
        let ok = Ink::Green.paint("ok", color);
        return format!("{ok}  {host}  {:.1} s\n", event.duration_seconds);
    }
    let bad = Ink::Red.paint(event.status.as_str(), color);
    format!(
        "{bad}  {host}  {}\n",
        plain(event.message.as_deref().unwrap_or(""))
    )
}

fn ended(run: &Run, well: usize) -> Result<(), Failure> {
    let all = run.hosts.len();
    let text = format!("run {}: facts gathered from {well} of {all} hosts", run.id);
    match run.outcome {
        Some(Outcome::Successful) => print(&(text + "\n")),
        outcome => {
            let how = outcome.map_or("", Outcome::as_str);
            let why = run
                .message
                .as_deref()
                .map_or_else(String::new, |why| format!(": {}", plain(why)));
            Err(Failure::new(format!("{text}, {how}{why}")))
        }
    }
}

/// A progress bar, only on a terminal.
struct Bar(bool);

impl Bar {
    const WIDTH: usize = 30;

    fn draw(&self, done: usize, all: usize) {
        if self.0 && all > 0 {
            let full = Self::WIDTH * done.min(all) / all;
            let bar = format!(
                "\r[{}{}] {done}/{all}",
                "#".repeat(full),
                " ".repeat(Self::WIDTH - full)
            );
            let _ = write!(std::io::stderr(), "{bar}");
        }
    }

    fn clear(&self) {
        if self.0 {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
