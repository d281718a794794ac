//! `promansible run`: starts a run by hand, and follows it.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use hyper::Method;
use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::{Server, block_on};
use super::terminal::{self, folded};
use super::{Failure, colored, print};
use crate::config::parse_vars;
use crate::run::{self, Outcome, RunId, State, Vars};

/// How often a run is looked at.
const EVERY: Duration = Duration::from_millis(300);

/// Run roles by hand, on a running server, and follow what they do.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct Run {
    #[command(flatten)]
    server: Server,
    /// The roles, run in this order: alert roles, routine roles or both.
    #[arg(value_name = "ROLE", required = true)]
    roles: Vec<String>,
    /// Where: host:NAME[,NAME…], group:NAME or controller.
    #[arg(long, value_parser = target)]
    target: Value,
    /// A variable for the roles; the value is taken as JSON if it is, else as a text. It is never a template.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = var)]
    vars: Vec<(String, Value)>,
    /// Variables from a file, YAML or JSON; --var goes before them.
    #[arg(long = "vars", value_name = "@FILE")]
    files: Vec<String>,
    /// Only say what would change (Ansible's --check --diff).
    #[arg(long)]
    check: bool,
    /// Only on these of the target's hosts, by their exact names.
    #[arg(long, value_name = "HOST[,HOST…]", value_delimiter = ',')]
    limit: Vec<String>,
    /// Only tasks with one of these tags.
    #[arg(long, value_name = "TAG[,TAG…]", value_delimiter = ',')]
    tags: Vec<String>,
    /// No task with one of these tags.
    #[arg(long, value_name = "TAG[,TAG…]", value_delimiter = ',')]
    skip_tags: Vec<String>,
    /// Have Ansible say more; up to four times (-vvvv).
    #[arg(long, short, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Do not wait for its end: print its number.
    #[arg(long)]
    no_follow: bool,
}

const AFTER: &str = "\
It ends with 0 if the run was successful, else with 1. Ctrl-C ends the following, not the run.

For example:
  promansible run ping --target group:servers
  promansible run restart_pptp_vpn --target host:vpn1 --var restart_pptp_vpn_force=true --check";

#[derive(Deserialize)]
struct Started {
    id: RunId,
}

#[derive(Deserialize)]
struct List {
    runs: Vec<run::Run>,
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
                    let hint = format!("run {id} goes on; to end it: promansible runs cancel {id}");
                    let _ = writeln!(std::io::stderr(), "\n{hint}");
                    Err(Failure::Signal(Signal::SIGINT))
                }
            }
        })?
    }

    fn vars(&self) -> Result<Vars, Failure> {
        let mut vars = Map::new();
        for file in &self.files {
            let path = file.strip_prefix('@').ok_or_else(|| {
                Failure::new(format!("--vars {file}: want a file's name behind an @"))
            })?;
            let named = |why: &dyn std::fmt::Display| Failure::new(format!("{path}: {why}"));
            let text = std::fs::read_to_string(path).map_err(|e| named(&e))?;
            vars.extend(parse_vars(&text).map_err(|e| named(&folded(&e)))?);
        }
        vars.extend(self.vars.iter().cloned());
        Ok(vars)
    }
}

/// Where, as it is typed and as the API takes it.
pub(super) fn target(text: &str) -> Result<Value, String> {
    match text.split_once(':') {
        None if text == "controller" => Ok("controller".into()),
        Some(("host" | "hosts", names)) => {
            Ok(json!({"hosts": names.split(',').collect::<Vec<_>>()}))
        }
        Some(("group", name)) => Ok(json!({ "group": name })),
        _ => Err("want host:NAME[,NAME…], group:NAME or controller".to_owned()),
    }
}

pub(super) fn var(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("want NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), value))
}

/// Prints what the run writes, until it has ended.
async fn follow(server: &Server, id: RunId) -> Result<(), Failure> {
    let color = colored(&std::io::stdout());
    let mut shown = Vec::new();
    loop {
        let looked = look(server, id, &mut shown, color).await;
        let run = looked.map_err(|failure| match failure {
            Failure::Said(why) => Failure::Said(format!(
                "{why}; run {id} may go on, see promansible runs show {id}"
            )),
            signal @ Failure::Signal(_) => signal,
        })?;
        if let Some(outcome) = run.outcome {
            return ended(&run, outcome);
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Looks at the run once, and prints what is new of its output: whole lines, or all of it when the run has ended.
async fn look(
    server: &Server,
    id: RunId,
    shown: &mut Vec<u8>,
    color: bool,
) -> Result<run::Run, Failure> {
    // A list leaves the events out, of which there may be very many.
    let path = format!("runs?cursor={}&limit=1", id.0 + 1);
    let list: List = server.ask_async(Method::GET, &path, None).await?;
    let run = list.runs.into_iter().find(|run| run.id == id);
    let run = run.ok_or_else(|| Failure::new(format!("there is no run {id} any more")))?;
    if run.state == State::Queued {
        return Ok(run);
    }
    let output = server.text_async(&format!("runs/{id}/output")).await?;
    let end = match run.state {
        State::Finished => output.len(),
        _ => output
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |n| n + 1),
    };
    let output = &output[..end];
    let new = String::from_utf8_lossy(news(shown, output));
    print(&terminal::output(&new, color))?;
    *shown = output.to_vec();
    Ok(run)
}

/// What is new in an output. Of a long one the server leaves the middle out, and so the end moves forward.
fn news<'a>(shown: &[u8], output: &'a [u8]) -> &'a [u8] {
    const MARK: usize = 1024;
    if let Some(new) = output.strip_prefix(shown) {
        return new;
    }
    let mark = &shown[shown.len().saturating_sub(MARK)..];
    let found = output.windows(mark.len()).rposition(|part| part == mark);
    let same = shown.iter().zip(output).take_while(|(a, b)| a == b).count();
    &output[found.map_or(same, |at| at + mark.len())..]
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
    fn every_line_is_shown_once_also_where_the_middle_was_left_out() {
        let long = |range: std::ops::Range<u32>| -> Vec<u8> {
            range
                .flat_map(|n| format!("line {n}\n").into_bytes())
                .collect()
        };
        let (before, head) = (long(0..400), long(0..100));
        assert_eq!(news(b"", &head), head);
        assert_eq!(news(&head, &before), long(100..400));
        assert_eq!(news(&before, &before), b"");
        let cut = [&head[..], b"\n[left out]\n", &long(250..420)].concat();
        assert_eq!(news(&before, &cut), long(400..420));
        let far = [&head[..], b"\n[left out]\n", &long(900..950)].concat();
        assert_eq!(news(&before, &far), &far[head.len()..]);
    }
}
