//! `promansible alerts`.

use std::fmt::Write as _;
use std::io::Write as _;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use hyper::Method;
use serde::Deserialize;

use super::Failure;
use super::client::Server;
use super::colored;
use super::format::{alert_name, count, firing, labels, second};
use super::print;
use super::table::{Cell, columns};
use super::terminal::{Ink, cut, plain};
use crate::alert_types::{Rule, SourceKind};
use crate::model::alert::{LabelSet, Status};
use crate::model::run::{Outcome, RUN, RunId, State};

/// Show the firing alerts and the alert types of a running server.
#[derive(Debug, Args)]
pub(super) struct Alerts {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the firing alerts and the decisions about them, most recent first.
    List {
        /// Only alerts with this alertname.
        #[arg(long)]
        alertname: Option<String>,
        /// Only those of this host.
        #[arg(long)]
        host: Option<String>,
        /// The number of entries, at most 1000.
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// The cursor that the previous page printed.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// List the alert types, from rules and from received alerts.
    Types {
        /// Only alert types without a binding.
        #[arg(long)]
        unbound: bool,
    },
    /// Show one alert type: its rules, bindings and latest alerts.
    Show {
        /// The name of the alert type.
        name: String,
    },
}

#[derive(Deserialize)]
struct List {
    alerts: Vec<Episode>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Episode {
    alertname: String,
    fingerprint: String,
    status: Status,
    labels: LabelSet,
    starts_at: DateTime<Utc>,
    ends_at: Option<DateTime<Utc>>,
    decisions: Vec<Decision>,
}

#[derive(Deserialize)]
struct Decision {
    binding: String,
    #[serde(rename = "decision")]
    decided: String,
    why: Option<String>,
    run: Option<RunId>,
    run_state: Option<State>,
    run_outcome: Option<Outcome>,
}

#[derive(Deserialize)]
struct Types {
    alert_types: Vec<Type>,
    #[serde(flatten)]
    places: Places,
}

#[derive(Deserialize)]
struct Places {
    prometheus: Option<Health>,
    problems: Vec<Problem>,
}

#[derive(Deserialize)]
struct Health {
    url: String,
    why: Option<String>,
    since: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct Problem {
    file: String,
    why: String,
}

#[derive(Deserialize)]
struct Type {
    name: String,
    sources: Vec<Source>,
    severities: Vec<String>,
    summary: Option<String>,
    runbook_url: Option<String>,
    firing: u64,
    episodes: u64,
    last_seen: Option<DateTime<Utc>>,
    bindings: Vec<String>,
}

#[derive(Deserialize)]
struct Source {
    kind: SourceKind,
    #[serde(rename = "where")]
    place: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(flatten)]
    of: Type,
    rules: Vec<Rule>,
    last_episodes: Vec<Episode>,
    #[serde(flatten)]
    places: Places,
}

impl Alerts {
    pub(super) fn run(self) -> Result<(), Failure> {
        let server = self.server;
        match self.verb {
            Verb::List {
                alertname,
                host,
                limit,
                cursor,
            } => {
                let mut query = form_urlencoded::Serializer::new(String::new());
                query.append_pair("limit", &limit.to_string());
                let all = alertname.is_none() && host.is_none() && cursor.is_none();
                for (name, value) in [("alertname", alertname), ("host", host), ("cursor", cursor)]
                {
                    query.extend_pairs(value.map(|value| (name, value)));
                }
                let found = server.ask(Method::GET, &format!("alerts?{}", query.finish()))?;
                list(
                    &found,
                    if all {
                        "No alerts are firing.\n"
                    } else {
                        "No matching alerts are firing.\n"
                    },
                )
            }
            Verb::Types { unbound } => {
                let query = if unbound { "?unbound=true" } else { "" };
                types(&server.ask(Method::GET, &format!("alert-types{query}"))?)
            }
            Verb::Show { name } => {
                let escaped: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
                let escaped = escaped.replace('+', "%20");
                show(&server.ask(Method::GET, &format!("alert-types/{escaped}"))?)
            }
        }
    }
}

fn list(list: &List, nothing: &str) -> Result<(), Failure> {
    let color = colored(&std::io::stdout());
    let episodes: Vec<_> = list.alerts.iter().map(|e| episode(e, color)).collect();
    let mut text = episodes.join("\n");
    if text.is_empty() {
        text.push_str(nothing);
    }
    if let Some(next) = &list.next {
        let _ = writeln!(text, "\nMore: --cursor={}", plain(next));
    }
    print(&text)
}

/// Formats an episode like `promansible explain`: a line of its own, its labels, a line for each decision.
fn episode(of: &Episode, color: bool) -> String {
    let name = Ink::Bold.paint(&alert_name(&of.alertname), color);
    let since = firing(of.status, of.starts_at, of.ends_at);
    let mut text = format!("{name}  {since}  {}\n", plain(&of.fingerprint));
    if !of.labels.is_empty() {
        let mut rest = of.labels.clone();
        rest.remove(crate::model::alert::ALERTNAME);
        let _ = writeln!(text, "  {}", labels(&rest));
    }
    let rows: Vec<_> = of.decisions.iter().map(decision).collect();
    text.push_str(&columns("    ", &rows, color));
    if rows.is_empty() {
        let none = Ink::Dim.paint("no binding matches", color);
        let _ = writeln!(text, "    {none}");
    }
    text
}

fn decision(of: &Decision) -> [Cell; 3] {
    let binding = Cell::new(&of.binding);
    let Some(run) = of.run.filter(|_| of.decided == RUN) else {
        let why = of.why.as_deref().unwrap_or_default();
        return [
            binding,
            Cell::inked(Ink::Yellow, &of.decided),
            Cell::new(why),
        ];
    };
    let (ink, is) = match (of.run_outcome, of.run_state) {
        (Some(Outcome::Successful), _) => (Ink::Green, Outcome::Successful.as_str()),
        (Some(outcome), _) => (Ink::Red, outcome.as_str()),
        (None, Some(state)) => (Ink::Plain, state.as_str()),
        (None, None) => (Ink::Dim, "no longer stored"),
    };
    [
        binding,
        Cell::new(&format!("run {run}")),
        Cell::inked(ink, is),
    ]
}

fn types(types: &Types) -> Result<(), Failure> {
    let color = colored(&std::io::stdout());
    let head = [
        "NAME",
        "SEVERITY",
        "FIRING",
        "LAST SEEN",
        "SOURCES",
        "BINDINGS",
    ];
    let mut rows = vec![head.map(|title| Cell::inked(Ink::Dim, title))];
    for of in &types.alert_types {
        let mut kinds: Vec<&str> = of.sources.iter().map(|s| s.kind.as_str()).collect();
        kinds.dedup();
        rows.push([
            Cell::new(&alert_name(&of.name)),
            Cell::new(&of.severities.join(",")),
            Cell::new(&of.firing.to_string()),
            Cell::new(&of.last_seen.map_or_else(String::new, second)),
            Cell::new(&kinds.join(",")),
            match of.bindings.as_slice() {
                [] => Cell::inked(Ink::Yellow, "none"),
                names => Cell::new(&names.join(",")),
            },
        ]);
    }
    if types.alert_types.is_empty() {
        print("No alert types.\n")?;
    } else {
        print(&columns("", &rows, color))?;
    }
    warn(&types.places);
    Ok(())
}

/// Warns about sources that are unavailable.
fn warn(places: &Places) {
    let mut errors = std::io::stderr();
    let warning = Ink::Yellow.paint("warning:", colored(&errors));
    if let Some(Health { url, why, since }) = &places.prometheus
        && let (Some(why), Some(since)) = (why, since)
    {
        let _ = writeln!(
            errors,
            "{warning} Prometheus at {} has been unavailable since {}: {}",
            plain(url),
            second(*since),
            plain(why)
        );
    }
    for Problem { file, why } in &places.problems {
        let _ = writeln!(errors, "{warning} {}: {}", plain(file), plain(why));
    }
}

fn show(detail: &Detail) -> Result<(), Failure> {
    let color = colored(&std::io::stdout());
    let of = &detail.of;
    let mut rows = vec![[Cell::new("name"), Cell::new(&of.name)]];
    let mut row = |title: &str, value: &str| {
        if !value.is_empty() {
            rows.push([Cell::new(title), Cell::new(value)]);
        }
    };
    row("severity", &of.severities.join(", "));
    row("summary", of.summary.as_deref().unwrap_or_default());
    row("runbook", of.runbook_url.as_deref().unwrap_or_default());
    for source in &of.sources {
        let place = source.place.as_deref().unwrap_or_default();
        let error = source.error.as_ref().map(|e| format!(" failed: {e}"));
        let kind = source.kind.as_str();
        row(
            "source",
            format!("{kind} {place}{}", error.unwrap_or_default()).trim(),
        );
    }
    if let Some(last) = of.last_seen {
        let firing = format!(", {} firing", of.firing);
        row(
            "alerts",
            &format!(
                "{}{firing}, last {}",
                count(of.episodes, "episode"),
                second(last)
            ),
        );
    }
    rows.push([
        Cell::new("bindings"),
        match of.bindings.as_slice() {
            [] => Cell::inked(Ink::Yellow, "none"),
            names => Cell::new(&names.join(", ")),
        },
    ]);
    let mut text = columns("", &rows, color);
    for rule in &detail.rules {
        let hold = rule.hold.as_ref().map(|hold| format!(", for {hold}"));
        let title = format!("rule in group {}{}", rule.group, hold.unwrap_or_default());
        let _ = writeln!(text, "\n{}", Ink::Bold.paint(&plain(&title), color));
        for line in rule.expr.lines() {
            let _ = writeln!(text, "  {}", cut(&plain(line), 200));
        }
    }
    for shown in &detail.last_episodes {
        let _ = write!(text, "\n{}", episode(shown, color));
    }
    print(&text)?;
    warn(&detail.places);
    Ok(())
}
