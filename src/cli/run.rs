//! `promansible run`: starts a manual run, and follows it.

use std::io::Write;

use clap::Args;
use hyper::Method;
use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Failure;
use super::client::{Server, block_on};
use super::colored;
use super::follow::{RunEvent, RunFollower};
use super::print;
use super::terminal::{self, folded};
use crate::config::parse_vars;
use crate::model::run::{self, Outcome, RunId, Vars};

/// Run roles manually on a running server, and follow their output.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct Run {
    #[command(flatten)]
    server: Server,
    /// The roles, run in this order: alert roles, routine roles or both.
    #[arg(value_name = "ROLE", required = true)]
    roles: Vec<String>,
    /// Where to run: host:NAME[,NAME…], group:NAME or controller.
    #[arg(long, value_parser = target)]
    target: Value,
    /// A variable for the roles; the value is parsed as JSON if possible, otherwise used as a string. It is never a
    /// template.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = var)]
    vars: Vec<(String, Value)>,
    /// Variables from a YAML or JSON file; --var takes precedence.
    #[arg(long = "vars", value_name = "@FILE")]
    files: Vec<String>,
    /// Report what would change, without changing it (Ansible's --check --diff).
    #[arg(long)]
    check: bool,
    /// Run only on these hosts of the target (exact names).
    #[arg(long, value_name = "HOST[,HOST…]", value_delimiter = ',')]
    limit: Vec<String>,
    /// Run only tasks with one of these tags.
    #[arg(long, value_name = "TAG[,TAG…]", value_delimiter = ',')]
    tags: Vec<String>,
    /// Skip tasks with one of these tags.
    #[arg(long, value_name = "TAG[,TAG…]", value_delimiter = ',')]
    skip_tags: Vec<String>,
    /// Increase the verbosity of Ansible; up to four times (-vvvv).
    #[arg(long, short, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Do not follow the run; only print its number.
    #[arg(long)]
    no_follow: bool,
}

const AFTER: &str = "\
The exit code is 0 if the run was successful, else 1. Ctrl-C stops following, not the run.

For example:
  promansible run ping --target group:servers
  promansible run restart_pptp_vpn --target host:vpn1 --var restart_pptp_vpn_force=true --check";

#[derive(Deserialize)]
struct Started {
    id: RunId,
}

impl Run {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut body = json!({
            "roles": self.roles, "target": self.target, "vars": self.vars()?, "check": self.check,
        });
        for (name, list) in [
            ("limit", &self.limit),
            ("tags", &self.tags),
            ("skip_tags", &self.skip_tags),
        ] {
            if !list.is_empty() {
                body[name] = json!(list);
            }
        }
        if self.verbose > 0 {
            body["verbosity"] = self.verbose.into();
        }
        block_on(async {
            let server = &self.server;
            let ask = server.ask_async(Method::POST, "runs", Some(&body));
            let Started { id } = ask.await?;
            print(&format!("run {id} is queued\n"))?;
            if self.no_follow {
                return Ok(());
            }
            tokio::select! {
                ended = follow(server, id) => ended,
                caught = tokio::signal::ctrl_c() => {
                    caught?;
                    let hint = format!("run {id} continues; to cancel it: promansible runs cancel {id}");
                    let _ = writeln!(std::io::stderr(), "\n{hint}");
                    Err(Failure::Signal(Signal::SIGINT))
                }
            }
        })?
    }

    fn vars(&self) -> Result<Vars, Failure> {
        let mut vars = Map::new();
        for file in &self.files {
            let path = file
                .strip_prefix('@')
                .ok_or_else(|| Failure::new(format!("--vars {file}: expected @FILE")))?;
            let named = |why: &dyn std::fmt::Display| Failure::new(format!("{path}: {why}"));
            let text = std::fs::read_to_string(path).map_err(|e| named(&e))?;
            vars.extend(parse_vars(&text).map_err(|e| named(&folded(&e)))?);
        }
        vars.extend(self.vars.iter().cloned());
        Ok(vars)
    }
}

/// Parses a target, and returns it as the API accepts it.
pub(super) fn target(text: &str) -> Result<Value, String> {
    match text.split_once(':') {
        None if text == "controller" => Ok("controller".into()),
        Some(("host" | "hosts", names)) => {
            Ok(json!({"hosts": names.split(',').collect::<Vec<_>>()}))
        }
        Some(("group", name)) => Ok(json!({ "group": name })),
        _ => Err("expected host:NAME[,NAME…], group:NAME or controller".to_owned()),
    }
}

pub(super) fn var(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), value))
}

/// Prints the output of a run until it has ended.
async fn follow(server: &Server, id: RunId) -> Result<(), Failure> {
    let mut shown = PrintedOutput {
        color: colored(&std::io::stdout()),
        ..PrintedOutput::default()
    };
    let mut following = RunFollower::new(server, id);
    loop {
        match following.next().await? {
            RunEvent::Output { offset, text } => print(&shown.take(offset, &text))?,
            RunEvent::Run(run) => {
                if let Some(outcome) = run.outcome {
                    print(&shown.rest())?;
                    return ended(&run, outcome);
                }
            }
            RunEvent::Task(_) => {}
        }
    }
}

/// How much of the output is printed: whole lines, because a control sequence may be cut anywhere.
#[derive(Default)]
struct PrintedOutput {
    color: bool,
    /// The number of bytes so far, including omitted ones.
    came: u64,
    /// The beginning of an incomplete line.
    begun: String,
}

impl PrintedOutput {
    /// Adds output, and returns the text to print now.
    fn take(&mut self, offset: u64, text: &str) -> String {
        if offset > self.came {
            let cut = offset - self.came;
            let mark = format!("\n[… {cut} bytes of output left out: runs.output_limit …]\n");
            self.begun.push_str(&mark);
        }
        self.came = offset + text.len() as u64;
        self.begun.push_str(text);
        let end = self.begun.rfind('\n').map_or(0, |at| at + 1);
        let rest = self.begun.split_off(end);
        let whole = std::mem::replace(&mut self.begun, rest);
        terminal::output(&whole, self.color)
    }

    /// Returns the last line, if it is incomplete.
    fn rest(&mut self) -> String {
        terminal::output(&std::mem::take(&mut self.begun), self.color)
    }
}

fn ended(run: &run::Run, outcome: Outcome) -> Result<(), Failure> {
    let id = run.id;
    if outcome == Outcome::Successful {
        return print(&format!("run {id} ended: {outcome}\n"));
    }
    let because = run.message.as_deref().map_or_else(String::new, |message| {
        format!(", because: {}", folded(message))
    });
    Err(Failure::new(format!("run {id} ended: {outcome}{because}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_hosts_a_group_or_the_controller() {
        for (text, value) in [
            ("controller", json!("controller")),
            ("group:web", json!({"group": "web"})),
            ("host:web1,web2", json!({"hosts": ["web1", "web2"]})),
            ("host:fe80::1", json!({"hosts": ["fe80::1"]})),
        ] {
            assert_eq!(target(text), Ok(value));
        }
        for text in ["", "web1", "controller:", "all:web"] {
            assert!(target(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_is_json_if_it_can_be() {
        for (text, value) in [
            ("a=1", json!(1)),
            ("a=[1,\"b\"]", json!([1, "b"])),
            ("a=true", json!(true)),
            ("a=\"1\"", json!("1")),
            ("a=b=c", json!("b=c")),
            ("a=/var/cache", json!("/var/cache")),
            ("a=", json!("")),
        ] {
            assert_eq!(var(text), Ok(("a".to_owned(), value)));
        }
        assert!(var("a").is_err());
    }

    #[test]
    fn whole_lines_are_shown_once_and_what_is_left_out_is_said() {
        let mut shown = PrintedOutput::default();
        assert_eq!(shown.take(0, "a\nb \u{1b}"), "a\n");
        assert_eq!(shown.take(5, "[31mc\n"), "b c\n");
        assert_eq!(
            shown.take(111, "d\ne"),
            "\n[… 100 bytes of output left out: runs.output_limit …]\nd\n"
        );
        assert_eq!(shown.rest(), "e");
        assert_eq!(shown.rest(), "");
    }
}
