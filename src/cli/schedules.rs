//! `promansible schedules`.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use hyper::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Failure;
use super::client::{Server, block_on, segment};
use super::colored;
use super::format::{second, second_in};
use super::objects::{Conflict, Named, detail, target_text, warn};
use super::print;
use super::run::{target, var};
use super::table::{Cell, columns};
use super::terminal::{Ink, plain};
use crate::model::schedule::Cron;
use crate::util::clock;
use crate::util::suggest::nearest;
use crate::util::zone::Zone;

/// List, show, add, pause, resume, run or remove schedules on a running server.
#[derive(Debug, Args)]
pub(super) struct Schedules {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the schedules and their next times.
    List,
    /// Show one schedule.
    Show {
        /// The name of the schedule.
        name: String,
    },
    /// Show the next times of a cron expression. Needs no server.
    Next {
        /// The cron expression: five fields, or a word such as @daily.
        cron: Cron,
        /// The time zone.
        #[arg(long, default_value = "UTC", value_parser = zone)]
        timezone: Zone,
        /// The number of times, from 1 to 1000.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
        count: u16,
    },
    /// Add a schedule. To change a schedule of the configuration file, edit the file.
    #[command(after_help = AFTER)]
    Add(Box<Add>),
    /// Remove a schedule that was added over the API.
    Remove {
        /// The name of the schedule.
        name: String,
    },
    /// Pause a schedule. Times that pass meanwhile do not count as missed.
    Pause {
        /// The name of the schedule.
        name: String,
    },
    /// Resume a paused schedule.
    Resume {
        /// The name of the schedule.
        name: String,
    },
    /// Queue a run of a schedule now.
    Run {
        /// The name of the schedule.
        name: String,
    },
}

const AFTER: &str = "\
Variables are data, never templates.

For example:
  promansible schedules add dns --cron '*/15 * * * *' --timezone Asia/Shanghai \\
    --role check_dns_sinobot_biz --target group:servers --jitter 30s";

#[derive(Debug, Args)]
struct Add {
    /// The name of the schedule.
    name: String,
    /// The cron expression: minute, hour, day of the month, month, day of the week; or a word such as @daily.
    #[arg(long)]
    cron: String,
    /// The time zone.
    #[arg(long)]
    timezone: Option<String>,
    /// A routine role; may be repeated, and the roles run in this order.
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<String>,
    /// Where to run: host:NAME[,NAME…], group:NAME or controller.
    #[arg(long, value_parser = target)]
    target: Value,
    /// A variable for the roles; the value is parsed as JSON if possible, otherwise used as a string.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = var)]
    vars: Vec<(String, Value)>,
    /// What to do about missed times: skip, once or all.
    #[arg(long)]
    missed: Option<String>,
    /// The maximum delay of a run for a missed time, such as 1h.
    #[arg(long)]
    grace: Option<String>,
    /// The maximum random delay of each start, such as 30s.
    #[arg(long)]
    jitter: Option<String>,
    /// The maximum duration of a run, such as 10m.
    #[arg(long)]
    timeout: Option<String>,
    /// Report what would change, without changing it (Ansible's --check --diff).
    #[arg(long)]
    check: bool,
}

#[derive(Deserialize)]
struct List {
    schedules: Vec<Schedule>,
    conflicts: Vec<Conflict>,
}

#[derive(Deserialize)]
struct Schedule {
    name: String,
    source: String,
    cron: String,
    timezone: String,
    roles: Vec<String>,
    target: Value,
    enabled: bool,
    paused: Option<Paused>,
    next: Vec<DateTime<Utc>>,
    last: Option<Last>,
}

#[derive(Deserialize)]
struct Paused {
    by: String,
}

#[derive(Deserialize)]
struct Last {
    run: u64,
    at: DateTime<Utc>,
}

#[derive(Deserialize)]
struct Started {
    id: u64,
}

impl Schedules {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Self { server, verb } = self;
        let path = |name: &str| format!("schedules/{}", segment(name));
        match verb {
            Verb::List => list(&server.ask(Method::GET, "schedules")?),
            Verb::Show { name } => detail(&server.ask(Method::GET, &path(&name))?),
            Verb::Next {
                cron,
                timezone,
                count,
            } => times(&cron, timezone, count),
            Verb::Add(add) => {
                let body = add.json();
                let made = server.ask_async(Method::POST, "schedules", Some(&body));
                let schedule: Schedule = block_on(made)??;
                let next = schedule.next.first().map_or_else(String::new, |next| {
                    format!(", next run at {}", second(*next))
                });
                print(&format!("{} is added{next}\n", plain(&schedule.name)))
            }
            Verb::Remove { name } => {
                let Named { name } = server.ask(Method::DELETE, &path(&name))?;
                print(&format!("{} is removed\n", plain(&name)))
            }
            Verb::Pause { name } => {
                let schedule: Schedule =
                    server.ask(Method::POST, &format!("{}/pause", path(&name)))?;
                print(&format!("{} is paused\n", plain(&schedule.name)))
            }
            Verb::Resume { name } => {
                let schedule: Schedule =
                    server.ask(Method::POST, &format!("{}/resume", path(&name)))?;
                let next = schedule.next.first().map_or_else(String::new, |next| {
                    format!(", next run at {}", second(*next))
                });
                print(&format!("{} is resumed{next}\n", plain(&schedule.name)))
            }
            Verb::Run { name } => {
                let Started { id } = server.ask(Method::POST, &format!("{}/run", path(&name)))?;
                print(&format!(
                    "run {id} is queued; to see it: promansible runs show {id}\n"
                ))
            }
        }
    }
}

impl Add {
    fn json(&self) -> Value {
        let vars: Map<String, Value> = self.vars.iter().cloned().collect();
        let mut body = json!({
            "name": self.name, "cron": self.cron, "roles": self.roles, "target": self.target, "vars": vars,
        });
        for (field, value) in [
            ("timezone", &self.timezone),
            ("missed", &self.missed),
            ("grace", &self.grace),
            ("jitter", &self.jitter),
            ("timeout", &self.timeout),
        ] {
            if let Some(value) = value {
                body[field] = value.as_str().into();
            }
        }
        if self.check {
            body["mode"] = "check".into();
        }
        body
    }
}

fn list(list: &List) -> Result<(), Failure> {
    let color = colored(&std::io::stdout());
    let head = [
        "NAME", "CRON", "TIMEZONE", "ROLES", "TARGET", "NEXT", "LAST", "SOURCE",
    ];
    let mut rows = vec![head.map(|title| Cell::inked(Ink::Dim, title))];
    rows.extend(list.schedules.iter().map(|schedule| {
        let next = match (&schedule.paused, schedule.enabled, schedule.next.first()) {
            (Some(paused), ..) => Cell::inked(Ink::Yellow, &format!("paused by {}", paused.by)),
            (None, false, _) => Cell::inked(Ink::Yellow, "disabled"),
            (None, true, next) => Cell::new(&next.copied().map_or_else(String::new, second)),
        };
        let latest = schedule.last.as_ref();
        [
            Cell::new(&schedule.name),
            Cell::new(&schedule.cron),
            Cell::new(&schedule.timezone),
            Cell::new(&schedule.roles.join(",")),
            Cell::new(&target_text(&schedule.target)),
            next,
            Cell::new(&latest.map_or_else(String::new, |last| {
                format!("{} (run {})", second(last.at), last.run)
            })),
            Cell::new(&schedule.source),
        ]
    }));
    print(&columns("", &rows, color))?;
    warn(&list.conflicts);
    Ok(())
}

fn zone(name: &str) -> Result<Zone, String> {
    name.parse().map_err(|why| {
        let names: Vec<&str> = Zone::names().collect();
        let meant =
            nearest(name, &names).map_or_else(String::new, |name| format!("did you mean {name}? "));
        format!("{why}; {meant}use an IANA time zone name, such as Asia/Shanghai")
    })
}

/// Prints the next times in the zone and in UTC.
fn times(cron: &Cron, zone: Zone, count: u16) -> Result<(), Failure> {
    let mut text = format!("{}\n", cron.describe());
    let mut next = cron.after(&zone, clock::now());
    for _ in 0..count {
        let Some(at) = next else { break };
        if zone == Zone::UTC {
            let _ = writeln!(text, "  {}", second(at));
        } else {
            let _ = writeln!(text, "  {}  ({})", second_in(at, zone), second(at));
        }
        next = cron.after(&zone, at);
    }
    print(&text)
}
