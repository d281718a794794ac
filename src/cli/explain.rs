//! `promansible explain`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use nix::sys::signal::Signal;
use serde::Serialize;
use tempfile::TempDir;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

use super::terminal::{self, Ink, plain};
use super::words::{alert_name, count, firing, labels};
use super::{Failure, colored, print};
use crate::alert::{Alert, Limits, Notification};
use crate::ansible::{Ansible, ListError, Setup};
use crate::clock;
use crate::config::{self, Binding, Config};
use crate::guards::{Mode, State};
use crate::inventory::{Inventory, InventoryError};
use crate::plan::{self, Choice, Decision};
use crate::run::RUN;
use crate::store::{self, OpenError};

/// Show what would be done about a notification, and why. Nothing is run, and no server is needed.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The configuration.
    #[arg(
        long = "config.file",
        value_name = "FILE",
        default_value = "config/promansible.yml"
    )]
    config_file: PathBuf,
    /// Take the inventory from this file, as `ansible-inventory --list` prints it, instead of asking Ansible.
    #[arg(long = "inventory.json", value_name = "FILE")]
    inventory_json: Option<PathBuf>,
    /// How to print the decisions.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// A webhook body of Alertmanager; `-` reads standard input.
    #[arg(value_name = "FILE")]
    notification: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For a person.
    Text,
    /// For a program.
    Json,
}

impl Explain {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = config::load(&self.config_file)
            .map_err(|errors| Failure::new(errors.render(colored(&std::io::stderr()))))?;
        let limits = Limits {
            alerts: config.receiver.max_alerts,
        };
        let body = read(&self.notification)?;
        let notification = Notification::parse(&body, limits).map_err(|e| {
            let why = plain(&e.to_string());
            Failure::new(format!("{}: {why}", called(&self.notification)))
        })?;
        let inventory = self.inventory(&config)?;
        let state = State::default();
        let explained = plan::explain(&config, &inventory, &state, &notification, clock::now());
        print(&match self.format {
            Format::Text => as_text(&notification, &explained, colored(&std::io::stdout())),
            Format::Json => as_json(&notification, &explained)?,
        })
    }

    fn inventory(&self, config: &Config) -> Result<Inventory, Failure> {
        if let Some(file) = &self.inventory_json {
            return Inventory::parse(&read(file)?).map_err(|e| no_inventory(file, &e));
        }
        let inventory = list_inventory(config)?;
        let path = &config.storage.path;
        let peek = || Ok((store::peek(path)?.hosts, store::peek_aliases(path)?));
        match peek() {
            Ok((hosts, aliases)) => {
                let enrolled: Vec<_> = hosts.into_iter().map(Arc::new).collect();
                let aliases = aliases.iter();
                let aliases = aliases.map(|(host, aliases)| (host.as_str(), aliases));
                Ok(inventory.with_enrolled(&enrolled).with_aliases(aliases))
            }
            Err(e) => {
                let why = match e {
                    OpenError::InUse(path) => {
                        format!("a running promansible has {}", path.display())
                    }
                    other => other.to_string(),
                };
                let warning = Ink::Yellow.paint("warning:", colored(&std::io::stderr()));
                let _ = writeln!(
                    std::io::stderr(),
                    "{warning} enrolled hosts, and what facts tell of hosts, are not known here: {why}"
                );
                Ok(inventory)
            }
        }
    }
}

/// Asks Ansible for the inventory.
pub(super) fn list_inventory(config: &Config) -> Result<Inventory, Failure> {
    let (version, listed) = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?
        .block_on(list(config))?;
    let inventory = Inventory::parse(&listed);
    let inventory = inventory.map_err(|e| Failure::new(plain(&e.to_string())))?;
    Ok(inventory.read_by(version))
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let named = |e: std::io::Error| Failure::new(format!("{}: {e}", called(file)));
    if file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map_err(named)?;
        return Ok(bytes);
    }
    std::fs::read(file).map_err(named)
}

/// How a file is called that may be standard input.
fn called(file: &Path) -> String {
    if file.as_os_str() == "-" {
        return "standard input".to_owned();
    }
    file.display().to_string()
}

fn no_inventory(file: &Path, error: &InventoryError) -> Failure {
    let why = match error {
        InventoryError::Empty => "it is empty".to_owned(),
        InventoryError::Shape { path, message } => plain(&format!("at {path}: {message}")),
    };
    Failure::new(format!(
        "{} is no inventory: {why}; want what `ansible-inventory --list` prints",
        called(file)
    ))
}

/// How long the supervisor has to end a listing that a signal stops; its own limits are shorter.
const ENDING: Duration = Duration::from_secs(15);

/// Asks Ansible for its version and the inventory, as the server does. A signal ends the asking, and everything that was
/// started for it.
async fn list(config: &Config) -> Result<(Option<(u32, u32)>, Vec<u8>), Failure> {
    let mut signals = Ends::install()?;
    // Only ours and with a name that nobody can foresee: Ansible takes plugins from below it.
    let folder = tempfile::Builder::new()
        .prefix("promansible-explain-")
        .tempdir()?;
    let ansible = Ansible::new(Setup {
        settings: config.ansible.clone(),
        grace: config.runs.grace,
        store: format!("explain-{}", std::process::id()),
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect::<BTreeMap<_, _>>(),
        exe: std::env::current_exe()?,
        runs_dir: folder.path().to_owned(),
    })?;
    let caught = tokio::select! {
        listed = async { tokio::try_join!(ansible.version(), ansible.list()) } => {
            return listed.map_err(|e| not_listed(&e));
        }
        caught = signals.recv() => caught,
    };
    // The listing was dropped, so its supervisor ends it now, and removes the listing's own folder last.
    tokio::select! {
        () = emptied(&folder) => {}
        _ = signals.recv() => {}
        () = tokio::time::sleep(ENDING) => {}
    }
    Err(Failure::Signal(caught))
}

fn not_listed(error: &ListError) -> Failure {
    let why = terminal::output(&error.to_string(), colored(&std::io::stderr()));
    Failure::new(format!("the inventory cannot be read: {why}"))
}

async fn emptied(folder: &TempDir) {
    while std::fs::read_dir(folder.path()).is_ok_and(|mut entries| entries.next().is_some()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The signals that end us.
struct Ends([(Signal, Signals); 3]);

impl Ends {
    fn install() -> std::io::Result<Self> {
        Ok(Self([
            (Signal::SIGINT, signal(SignalKind::interrupt())?),
            (Signal::SIGTERM, signal(SignalKind::terminate())?),
            (Signal::SIGHUP, signal(SignalKind::hangup())?),
        ]))
    }

    async fn recv(&mut self) -> Signal {
        let [(int, ints), (term, terms), (hup, hups)] = &mut self.0;
        tokio::select! {
            _ = ints.recv() => *int,
            _ = terms.recv() => *term,
            _ = hups.recv() => *hup,
        }
    }
}

type Explained<'a> = (&'a Alert, Vec<Decision>);

fn as_text(notification: &Notification, explained: &[Explained<'_>], color: bool) -> String {
    let mut text = String::new();
    if notification.truncated_alerts > 0 {
        let _ = writeln!(
            text,
            "Not decided: {} that Alertmanager left out because of its max_alerts.\n",
            count(notification.truncated_alerts, "alert")
        );
    }
    let width = explained
        .iter()
        .flat_map(|(_, decisions)| decisions)
        .map(|decision| decision.binding_name().len())
        .max()
        .unwrap_or(0);
    for (alert, decisions) in explained {
        let _ = writeln!(
            text,
            "{}  {}  {}",
            Ink::Bold.paint(&alert_name(alert.name()), color),
            firing(alert.status, alert.starts_at, alert.ends_at),
            alert.fingerprint
        );
        let _ = writeln!(text, "  {}", labels(&alert.labels));
        for decision in decisions {
            let _ = writeln!(text, "{}", line(decision, width, color));
        }
        text.push('\n');
    }
    let runs = explained
        .iter()
        .flat_map(|(_, decisions)| decisions)
        .filter(|decision| matches!(decision.choice, Choice::Run { .. }))
        .count();
    let _ = writeln!(
        text,
        "{}, {} to run. Nothing was run; what a server remembers (duplicates) is not known here.",
        count(explained.len() as u64, "alert"),
        count(runs as u64, "decision")
    );
    text
}

fn line(decision: &Decision, width: usize, color: bool) -> String {
    let binding = match decision.binding_name() {
        "" => "-",
        name => name,
    };
    let reason = decision.choice.as_str();
    let ink = match &decision.choice {
        Choice::Run { .. } => Ink::Green,
        Choice::Skip { reason, .. } if reason.is_routine() => Ink::Dim,
        Choice::Skip { .. } => Ink::Yellow,
    };
    let reason = ink.paint(&format!("{reason:<16}"), color);
    let why = match (&decision.choice, &decision.binding) {
        (Choice::Run { hosts, step, .. }, Some(binding)) => {
            let check = if binding.mode == Mode::Check {
                " (check mode)"
            } else {
                ""
            };
            let waits = if binding.approval.is_some() {
                ", once somebody approves"
            } else {
                ""
            };
            format!(
                "{} on {}{check}{waits}",
                roles_of(binding, *step).join(", "),
                hosts.join(", ")
            )
        }
        (Choice::Skip { why, .. }, _) => plain(why),
        (Choice::Run { .. }, None) => String::new(),
    };
    format!("    {binding:<width$}  {reason} {why}")
}

fn roles_of(binding: &Binding, step: u32) -> &[String] {
    plan::step_of(binding, step).map_or(&[], |step| &step.roles)
}

#[derive(Serialize)]
struct Document<'a> {
    truncated_alerts: u64,
    alerts: Vec<AlertDocument<'a>>,
}

#[derive(Serialize)]
struct AlertDocument<'a> {
    #[serde(flatten)]
    alert: &'a Alert,
    decisions: Vec<DecisionDocument<'a>>,
}

#[derive(Serialize)]
struct DecisionDocument<'a> {
    binding: Option<&'a str>,
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    roles: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    hosts: &'a [String],
    /// Whether the run would only say what it would change.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    check: bool,
}

fn as_json(notification: &Notification, explained: &[Explained<'_>]) -> Result<String, Failure> {
    let document = Document {
        truncated_alerts: notification.truncated_alerts,
        alerts: explained
            .iter()
            .map(|(alert, decisions)| AlertDocument {
                alert,
                decisions: decisions.iter().map(decision_document).collect(),
            })
            .collect(),
    };
    Ok(format!("{}\n", serde_json::to_string_pretty(&document)?))
}

fn decision_document(decision: &Decision) -> DecisionDocument<'_> {
    let (why, hosts): (_, &[String]) = match &decision.choice {
        Choice::Run { hosts, .. } => (None, hosts),
        Choice::Skip { why, .. } => (Some(why.as_str()), &[]),
    };
    let runs = decision.choice.as_str() == RUN;
    DecisionDocument {
        binding: decision.binding.as_ref().map(|b| b.name.as_str()),
        decision: decision.choice.as_str(),
        why,
        roles: match (&decision.binding, &decision.choice) {
            (Some(binding), Choice::Run { step, .. }) => roles_of(binding, *step),
            _ => &[],
        },
        hosts,
        check: runs
            && decision
                .binding
                .as_ref()
                .is_some_and(|b| b.mode == Mode::Check),
    }
}
