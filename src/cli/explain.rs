//! `promansible explain`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::terminal::plain;
use super::{Failure, colored, print};
use crate::alert::{Alert, LabelSet, Limits, Notification};
use crate::ansible::{Ansible, Setup};
use crate::clock;
use crate::config::{self, Config};
use crate::inventory::Inventory;
use crate::plan::{self, Choice, Decision};
use crate::run::RUN;

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
            .map_err(|errors| Failure(errors.render(colored(&std::io::stderr()))))?;
        let limits = Limits {
            alerts: config.receiver.max_alerts,
        };
        let body = read(&self.notification)?;
        let notification = Notification::parse(&body, limits).map_err(|e| {
            let why = plain(&e.to_string());
            Failure(format!("{}: {why}", self.notification.display()))
        })?;
        let inventory = match &self.inventory_json {
            Some(file) => Inventory::parse(&read(file)?)?,
            None => list(&config)?,
        };
        let explained = plan::explain(&config, &inventory, &notification, clock::now());
        print(&match self.format {
            Format::Text => as_text(&notification, &explained, colored(&std::io::stdout())),
            Format::Json => as_json(&notification, &explained)?,
        })
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let named = |e: std::io::Error| Failure(format!("{}: {e}", file.display()));
    if file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map_err(named)?;
        return Ok(bytes);
    }
    std::fs::read(file).map_err(named)
}

/// Asks Ansible, as the server does.
fn list(config: &Config) -> Result<Inventory, Failure> {
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
    let asked = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?
        .block_on(async { tokio::try_join!(ansible.version(), ansible.list()) });
    let (version, json) = asked?;
    Ok(Inventory::parse(&json)?.read_by(version))
}

type Explained<'a> = (&'a Alert, Vec<Decision>);

fn as_text(notification: &Notification, explained: &[Explained<'_>], color: bool) -> String {
    let mut text = String::new();
    if notification.truncated_alerts > 0 {
        let _ = writeln!(
            text,
            "Alertmanager left out {} alerts because of its max_alerts: nothing is decided about them.\n",
            notification.truncated_alerts
        );
    }
    let width = explained
        .iter()
        .flat_map(|(_, decisions)| decisions)
        .map(|decision| decision.binding_name().len())
        .max()
        .unwrap_or(0);
    for (alert, decisions) in explained {
        let name = if alert.name().is_empty() {
            "(no alertname)"
        } else {
            alert.name()
        };
        let since = alert.starts_at.format("%Y-%m-%d %H:%M:%S UTC");
        let (bold, normal) = if color {
            ("\x1b[1m", "\x1b[0m")
        } else {
            ("", "")
        };
        let _ = writeln!(
            text,
            "{bold}{}{normal}  {} since {since}  {}",
            plain(name),
            alert.status.as_str(),
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
        "{} alerts, {runs} decisions to run. Nothing was run; what a server remembers (duplicates) is not known here.",
        explained.len()
    );
    text
}

fn line(decision: &Decision, width: usize, color: bool) -> String {
    let binding = match decision.binding_name() {
        "" => "-",
        name => name,
    };
    let reason = decision.choice.as_str();
    let (paint, normal) = match (&decision.choice, color) {
        (_, false) => ("", ""),
        (Choice::Run { .. }, true) => ("\x1b[32m", "\x1b[0m"),
        (Choice::Skip { .. }, true) => ("\x1b[33m", "\x1b[0m"),
    };
    let why = match (&decision.choice, &decision.binding) {
        (Choice::Run { hosts }, Some(binding)) => {
            format!("{} on {}", binding.roles.join(", "), hosts.join(", "))
        }
        (Choice::Skip { why, .. }, _) => plain(why),
        (Choice::Run { .. }, None) => String::new(),
    };
    format!("    {binding:<width$}  {paint}{reason:<16}{normal} {why}")
}

fn labels(labels: &LabelSet) -> String {
    labels
        .iter()
        .map(|(name, value)| format!("{}={}", plain(name), quoted(value)))
        .collect::<Vec<_>>()
        .join(" ")
}

fn quoted(value: &str) -> String {
    const MOST: usize = 80;
    let mut cut: String = value.chars().take(MOST).collect();
    if cut.len() < value.len() {
        cut.push('…');
    }
    format!("{cut:?}")
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
        Choice::Run { hosts } => (None, hosts),
        Choice::Skip { why, .. } => (Some(why.as_str()), &[]),
    };
    let runs = decision.choice.as_str() == RUN;
    DecisionDocument {
        binding: decision.binding.as_ref().map(|b| b.name.as_str()),
        decision: decision.choice.as_str(),
        why,
        roles: match &decision.binding {
            Some(binding) if runs => &binding.roles,
            _ => &[],
        },
        hosts,
    }
}
