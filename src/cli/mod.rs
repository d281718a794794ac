//! What a person types. One file for each subcommand.

mod alerts;
mod audit;
mod bindings;
mod check;
mod client;
mod explain;
mod facts;
mod follow;
mod format;
mod generate;
mod guard_format;
mod guards;
mod hosts;
mod inventory;
mod logfmt;
mod logging;
mod notify;
mod objects;
mod roles;
mod run;
mod runs;
mod schedules;
mod serve;
mod table;
mod terminal;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use nix::sys::signal::Signal;

use crate::ansible::{Supervise, supervise};

/// Runs the Ansible roles that are bound to an alert on the hosts that report it.
#[derive(Debug, Parser)]
#[command(name = "promansible", version = crate::util::build::LONG, max_term_width = 100)]
#[command(disable_help_subcommand = true)]
#[command(after_help = "Start with: promansible serve --config.file=config/promansible.yml")]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Receive notifications and run roles.
    Serve(serve::Serve),
    /// Check a file without a server.
    #[command(subcommand)]
    Check(check::Check),
    /// Show what would be done about a notification, and why. Nothing is run, and no server is needed.
    Explain(explain::Explain),
    /// Run roles by hand, on a running server, and follow what they do.
    Run(run::Run),
    /// Look at what is known of hosts, and have it gathered, on a running server.
    Facts(facts::Facts),
    /// Look at runs, cancel, approve or reject one, on a running server.
    Runs(runs::Runs),
    /// Look at who changed what, on a running server.
    Audit(audit::Audit),
    /// Show what is paused, held and open on a running server, and how to let it go.
    Guards(guards::Guards),
    /// Have a running server start nothing more. What is under way goes on.
    Pause(guards::Pause),
    /// Have a running server start runs again.
    Resume(guards::Resume),
    /// Let go the runs that a running server holds because they would touch too many hosts.
    Release(guards::Release),
    /// Look at what fires, and at the alert types, on a running server.
    Alerts(alerts::Alerts),
    /// Look at the bindings of a running server, make or remove one.
    Bindings(bindings::Bindings),
    /// Look at the schedules of a running server, make, pause, resume, run or remove one.
    Schedules(schedules::Schedules),
    /// Look at the roles that a running server knows, or run one again that failed too often.
    Roles(roles::Roles),
    /// Look at the hosts of a running server, hold, enrol or remove one.
    Hosts(hosts::Hosts),
    /// Print the inventory for Ansible, as its inventory scripts do: from a running server, or without one.
    Inventory(inventory::Print),
    /// Tell people.
    #[command(subcommand)]
    Notify(notify::Notify),
    /// Print a shell's completions.
    Completions(generate::Completions),
    /// Write the man pages into a folder, or print the first one.
    Man(generate::Man),
}

/// Supervise one run; promansible starts this itself. It is no subcommand of [`Cli`], because completions and man pages
/// would show it to people even if it was hidden.
#[derive(Debug, Parser)]
#[command(name = SUPERVISE)]
struct Supervisor {
    /// How long the program has to end after it was interrupted, in milliseconds.
    #[arg(long)]
    grace: u64,
    /// The run's folder, removed at the end.
    #[arg(long)]
    dir: PathBuf,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

const SUPERVISE: &str = "supervise";

impl Supervisor {
    fn run(mut self) -> ExitCode {
        let args = self.program.split_off(1);
        supervise(&Supervise {
            grace: Duration::from_millis(self.grace),
            dir: self.dir,
            program: self.program.pop().unwrap_or_default(),
            args,
        })
    }
}

/// Why a subcommand failed.
#[derive(Debug)]
enum Failure {
    /// A text that is printed as it is.
    Said(String),
    /// A signal, which whoever sent it knows of.
    Signal(Signal),
}

impl Failure {
    fn new(why: impl Into<String>) -> Self {
        Self::Said(why.into())
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(e: E) -> Self {
        Self::Said(e.to_string())
    }
}

/// The program.
pub fn main() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|verb| verb == SUPERVISE)
    {
        return Supervisor::parse_from(std::env::args_os().skip(1)).run();
    }
    let outcome = match Cli::parse().verb {
        Verb::Serve(serve) => serve.run(),
        Verb::Check(check) => check.run(),
        Verb::Explain(explain) => explain.run(),
        Verb::Run(run) => run.run(),
        Verb::Facts(facts) => facts.run(),
        Verb::Runs(runs) => runs.run(),
        Verb::Audit(audit) => audit.run(),
        Verb::Guards(guards) => guards.run(),
        Verb::Pause(pause) => pause.run(),
        Verb::Resume(resume) => resume.run(),
        Verb::Release(release) => release.run(),
        Verb::Alerts(alerts) => alerts.run(),
        Verb::Bindings(bindings) => bindings.run(),
        Verb::Schedules(schedules) => schedules.run(),
        Verb::Roles(roles) => roles.run(),
        Verb::Hosts(hosts) => hosts.run(),
        Verb::Inventory(inventory) => inventory.run(),
        Verb::Notify(notify) => notify.run(),
        Verb::Completions(completions) => completions.run(),
        Verb::Man(man) => man.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // As a shell tells it.
        Err(Failure::Signal(signal)) => ExitCode::from(128 + signal as u8),
        Err(Failure::Said(why)) => {
            let mut line = format!("promansible: {why}");
            // A rendered configuration error already names its file.
            if why.contains('\n') {
                line = why;
            }
            let line = terminal::output(line.trim_end(), true);
            let _ = writeln!(std::io::stderr(), "{line}");
            ExitCode::FAILURE
        }
    }
}

/// Prints. A reader that went away (`| head`) is no error. Whatever a text holds, it drives no terminal but by colours.
fn print(text: &str) -> Result<(), Failure> {
    let text = terminal::output(text, true);
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}

/// Whether what is printed there may be coloured.
fn colored(stream: &impl std::io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
