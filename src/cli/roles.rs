//! `promansible roles`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use hyper::Method;
use serde::Deserialize;
use serde_json::Value;

use super::Failure;
use super::client::{Server, segment};
use super::colored;
use super::format::{count, second};
use super::guard_format::helped;
use super::print;
use super::table::{Cell, columns};
use super::terminal::{Ink, lines, plain};

/// List or show the roles of a running server, or close the circuit of a role.
#[derive(Debug, Args)]
pub(super) struct Roles {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the roles, what uses them and the results of their last runs.
    List,
    /// Show one role: its variables, checks, last runs and README.
    Show {
        /// The name of the role.
        name: String,
    },
    /// Close the circuit of a role: forget its failures, so that it can run again at once.
    Close {
        /// The name of the role.
        name: String,
    },
}

#[derive(Deserialize)]
struct Role {
    name: String,
    kind: String,
    short_description: String,
    has_spec: bool,
    warnings: Vec<String>,
    bindings: Vec<String>,
    schedules: Vec<String>,
    checks: BTreeMap<String, Check>,
    last_runs: LastRuns,
    verdicts: Verdicts,
}

#[derive(Deserialize)]
struct Verdicts {
    effective: u64,
    ineffective: u64,
    unknown: u64,
    by_binding: BTreeMap<String, Counts>,
}

#[derive(Deserialize)]
struct Counts {
    effective: u64,
    ineffective: u64,
}

#[derive(Deserialize)]
struct Closed {
    role: String,
    was_open: bool,
}

#[derive(Deserialize)]
struct Check {
    help: String,
}

#[derive(Deserialize)]
struct LastRuns {
    finished: usize,
    outcomes: BTreeMap<String, usize>,
    last: Option<LastRun>,
}

#[derive(Deserialize)]
struct LastRun {
    id: u64,
    state: String,
    outcome: Option<String>,
    created_at: DateTime<Utc>,
}

#[derive(Deserialize)]
struct List {
    roles: Vec<Role>,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(flatten)]
    role: Role,
    readme: Option<String>,
    readme_is_cut: bool,
    spec: Option<Spec>,
}

#[derive(Deserialize)]
struct Spec {
    description: Vec<String>,
    /// In the order of the file, which the map of `serde_json` preserves.
    options: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
struct OptionOf {
    #[serde(rename = "type")]
    kind: String,
    description: Vec<String>,
    required: bool,
    default: Option<Value>,
    choices: Option<Vec<Value>>,
    elements: Option<String>,
}

impl Roles {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Self { server, verb } = self;
        match verb.unwrap_or(Verb::List) {
            Verb::List => list(&server.ask(Method::GET, "roles")?),
            Verb::Show { name } => {
                let path = format!("roles/{}", segment(&name));
                show(&server.ask(Method::GET, &path)?)
            }
            Verb::Close { name } => {
                let path = format!("roles/{}/close", segment(&name));
                let Closed { role, was_open } = server.ask(Method::POST, &path)?;
                let role = plain(&role);
                print(&if was_open {
                    format!("{role} can run again\n")
                } else {
                    format!("the circuit of {role} was not open; its failures are forgotten\n")
                })
            }
        }
    }
}

impl Role {
    fn used_by(&self) -> String {
        [self.bindings.as_slice(), &self.schedules]
            .concat()
            .join(",")
    }
}

impl Verdicts {
    fn helped(&self) -> String {
        match self.effective + self.ineffective {
            0 => String::new(),
            known => format!("{} of {known}", self.effective),
        }
    }

    /// The same, and the number of unknown verdicts.
    fn all(&self) -> String {
        let helped = self.helped();
        match (self.unknown, helped.is_empty()) {
            (0, true) => helped,
            (0, false) => format!("{helped} alerts"),
            (unknown, true) => format!("unknown for {}", count(unknown, "alert")),
            (unknown, false) => {
                format!("{helped} alerts; unknown for {}", count(unknown, "alert"))
            }
        }
    }
}

impl LastRuns {
    fn successful(&self) -> String {
        let successful = self.outcomes.get("successful").copied().unwrap_or(0);
        match self.finished {
            0 => String::new(),
            finished => format!("{successful} of {finished}"),
        }
    }
}

fn list(list: &List) -> Result<(), Failure> {
    let head = [
        "NAME",
        "KIND",
        "USED BY",
        "SUCCESSFUL",
        "HELPED",
        "LAST RUN",
        "SUMMARY",
    ];
    let mut rows = vec![head.map(|title| Cell::inked(Ink::Dim, title))];
    rows.extend(list.roles.iter().map(|role| {
        let latest = role.last_runs.last.as_ref();
        [
            Cell::new(&role.name),
            Cell::new(&role.kind),
            Cell::new(&role.used_by()),
            Cell::new(&role.last_runs.successful()),
            Cell::new(&role.verdicts.helped()),
            Cell::new(&latest.map_or_else(String::new, |run| second(run.created_at))),
            Cell::new(&role.short_description),
        ]
    }));
    print(&columns("", &rows, colored(&std::io::stdout())))
}

fn show(detail: &Detail) -> Result<(), Failure> {
    let color = colored(&std::io::stdout());
    let role = &detail.role;
    let mut rows = Vec::new();
    let mut row = |title: &str, value: &str| {
        if !value.is_empty() {
            rows.push([Cell::new(title), Cell::new(value)]);
        }
    };
    row("name", &role.name);
    row("kind", &role.kind);
    row("summary", &role.short_description);
    for line in detail.spec.iter().flat_map(|spec| &spec.description) {
        row("", line);
    }
    row("bindings", &role.bindings.join(", "));
    row("schedules", &role.schedules.join(", "));
    row("successful", &role.last_runs.successful());
    row("helped", &role.verdicts.all());
    for (binding, counts) in role
        .verdicts
        .by_binding
        .iter()
        .filter(|_| role.verdicts.by_binding.len() > 1)
    {
        let helped = helped(counts.effective, counts.ineffective);
        row("", &format!("under {binding} {helped}"));
    }
    if let Some(last) = &role.last_runs.last {
        let how = last.outcome.as_deref().unwrap_or(&last.state);
        let at = second(last.created_at);
        row("last run", &format!("{} of {at}, {how}", last.id));
    }
    for (name, check) in &role.checks {
        row("check", &format!("{name}: {}", check.help));
    }
    if !role.has_spec {
        row("variables", "not declared; Ansible accepts any");
    }
    for warning in &role.warnings {
        rows.push([Cell::new("warning"), Cell::inked(Ink::Yellow, warning)]);
    }
    let mut text = columns("", &rows, color);
    if let Some(spec) = detail.spec.as_ref().filter(|spec| !spec.options.is_empty()) {
        text.push_str("\nvariables\n");
        text.push_str(&columns("  ", &options(spec)?, color));
    }
    if let Some(readme) = &detail.readme {
        text.push_str("\nREADME\n");
        text.push_str(&lines(readme));
        if !readme.ends_with('\n') {
            text.push('\n');
        }
        if detail.readme_is_cut {
            text.push_str("[… truncated …]\n");
        }
    }
    print(&text)
}

fn options(spec: &Spec) -> Result<Vec<[Cell; 4]>, Failure> {
    let row = |(name, option): (&String, &Value)| {
        let option = OptionOf::deserialize(option)?;
        let kind = match &option.elements {
            Some(elements) => format!("{} of {elements}", option.kind),
            None => option.kind,
        };
        let value = match (&option.default, option.required) {
            (Some(default), _) => default.to_string(),
            (None, true) => "required".to_owned(),
            (None, false) => String::new(),
        };
        let choices = option.choices.map(|choices| {
            let choices: Vec<String> = choices.iter().map(Value::to_string).collect();
            format!("One of {}. ", choices.join(", "))
        });
        let text = format!(
            "{}{}",
            choices.unwrap_or_default(),
            option.description.join(" ")
        );
        Ok([
            Cell::new(name),
            Cell::new(&kind),
            Cell::new(&value),
            Cell::new(&text),
        ])
    };
    let rows: Result<_, serde_json::Error> = spec.options.iter().map(row).collect();
    Ok(rows?)
}
