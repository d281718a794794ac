//! The command line, with one file for each subcommand.

mod alerts;
mod audit;
mod bindings;
mod check;
mod client;
mod doctor;
mod explain;
mod facts;
mod follow;
mod format;
mod generate;
mod guard_format;
mod guards;
mod hosts;
mod init;
mod inventory;
mod local_ansible;
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

/// Runs the Ansible roles that are bound to an alert on the hosts that the alert is about.
#[derive(Debug, Parser)]
#[command(name = "promansible", version = crate::util::build::LONG, max_term_width = 100)]
#[command(disable_help_subcommand = true)]
#[command(after_help = "Start with: promansible init, then: promansible serve")]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write a first configuration, an inventory with this machine, and two example roles.
    Init(init::Init),
    /// Create the files of a new role.
    #[command(subcommand)]
    New(init::New),
    /// Receive notifications and run roles.
    Serve(serve::Serve),
    /// Check a configuration file, without a server.
    #[command(subcommand)]
    Check(check::Check),
    /// Check the installation: configuration, Ansible, hosts, Alertmanager, Prometheus, this machine.
    ///
    /// It works before the first start and beside a running server, and changes nothing. Run it as the user that runs
    /// promansible: keys, known hosts and permissions are that user's. The exit code is 1 if a check failed.
    Doctor(Box<doctor::Doctor>),
    /// Show what promansible would do about a notification, and why. Runs nothing, and needs no server.
    Explain(explain::Explain),
    /// Run roles manually on a running server, and follow their output.
    Run(run::Run),
    /// Show, gather or import the facts of hosts on a running server.
    Facts(facts::Facts),
    /// List, show, cancel, approve, reject or repeat runs on a running server.
    Runs(runs::Runs),
    /// Show who changed what on a running server, most recent first.
    Audit(audit::Audit),
    /// Show the pauses, holds and open circuits of a running server, and how to end them.
    Guards(guards::Guards),
    /// Pause a running server: it starts no new runs. Current runs continue.
    Pause(guards::Pause),
    /// Resume a paused server: it starts runs again.
    Resume(guards::Resume),
    /// Release the runs that a running server holds because they would affect too many hosts.
    Release(guards::Release),
    /// Show the firing alerts and the alert types of a running server.
    Alerts(alerts::Alerts),
    /// List, show, add or remove bindings on a running server.
    Bindings(bindings::Bindings),
    /// List, show, add, pause, resume, run or remove schedules on a running server.
    Schedules(schedules::Schedules),
    /// List or show the roles of a running server, or close the circuit of a role.
    Roles(roles::Roles),
    /// List, show, hold, enrol or remove hosts on a running server.
    Hosts(hosts::Hosts),
    /// Print the inventory in the format of Ansible inventory scripts, from a running server or without one.
    Inventory(inventory::Print),
    /// Test the notifiers.
    #[command(subcommand)]
    Notify(notify::Notify),
    /// Print shell completions.
    Completions(generate::Completions),
    /// Write the man pages to a folder, or print promansible(1).
    Man(generate::Man),
}

/// Supervise one run; promansible starts this itself. It is not a subcommand of [`Cli`], because completions and man
/// pages would show it even if it were hidden.
#[derive(Debug, Parser)]
#[command(name = SUPERVISE)]
struct Supervisor {
    /// How long the program may take to end after an interrupt, in milliseconds.
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

/// The configuration file, unless `--config.file` names another one.
const CONFIG_FILE: &str = "config/promansible.yml";

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
    /// A message, printed unchanged.
    Message(String),
    /// The output explains it.
    Shown,
    /// A signal. It needs no message, because the sender knows it.
    Signal(Signal),
}

impl Failure {
    fn new(why: impl Into<String>) -> Self {
        Self::Message(why.into())
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(e: E) -> Self {
        Self::Message(e.to_string())
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|verb| verb == SUPERVISE)
    {
        return Supervisor::parse_from(std::env::args_os().skip(1)).run();
    }
    let outcome = match Cli::parse().verb {
        Verb::Init(init) => init.run(),
        Verb::New(new) => new.run(),
        Verb::Serve(serve) => serve.run(),
        Verb::Check(check) => check.run(),
        Verb::Doctor(doctor) => doctor.run(),
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
        Err(Failure::Shown) => ExitCode::FAILURE,
        // As a shell reports it.
        Err(Failure::Signal(signal)) => ExitCode::from(128 + signal as u8),
        Err(Failure::Message(why)) => {
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

/// Prints a text. A closed pipe (`| head`) is not an error. Removes everything that controls a terminal, except
/// colours.
fn print(text: &str) -> Result<(), Failure> {
    let text = terminal::output(text, true);
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}

/// Whether output to a stream may be coloured.
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
