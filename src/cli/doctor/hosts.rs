//! Checks the access to the hosts: one `ansible-playbook` logs in to all of them, like a run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::finding::{Area, Finding};
use super::inventory;
use super::ssh::{self, Way};
use crate::ansible::{
    Ending, Event, LAST_BYTES, Progress, Reach, StartError, Started, TaskReport, error_excerpt,
};
use crate::cli::local_ansible::LocalAnsible;
use crate::config::Config;
use crate::model::inventory::{EnrolledHost, Inventory};

/// The time limit of the login for each 20 hosts.
const PATIENCE: Duration = Duration::from_secs(90);
const AT_ONCE: usize = 20;

/// The result of the login.
#[derive(Default)]
struct Outcome {
    /// The failed tasks of each host.
    failed: BTreeMap<String, Vec<TaskReport>>,
    /// The end of Ansible's output.
    output: Vec<u8>,
    ending: Ending,
    is_late: bool,
}

pub(super) async fn check(
    config: &Config,
    local: &LocalAnsible,
    inventory: &Inventory,
    limit: &[String],
    enrolled: &[Arc<EnrolledHost>],
) -> Vec<Finding> {
    let (hosts, mut findings) = inventory::choose(inventory, limit);
    if hosts.is_empty() {
        return findings;
    }
    let wants_root = wants_root(config);
    let started = local.ansible.reach(&Reach {
        hosts: &hosts,
        r#become: wants_root,
        enrolled,
    });
    match started {
        Ok(started) => {
            let outcome = wait_for_end(started, hosts.len()).await;
            findings.extend(judge(config, inventory, &hosts, &outcome, wants_root));
        }
        Err(e) => findings.push(not_started(&e)),
    }
    findings
}

/// Whether any run becomes root on its hosts.
fn wants_root(config: &Config) -> bool {
    let bindings = config.bindings.iter().any(|binding| binding.r#become);
    let schedules = config.schedules.iter().any(|of| of.work.r#become);
    config.ansible.r#become || bindings || schedules
}

fn not_started(error: &StartError) -> Finding {
    Area::Hosts.error(
        "login",
        error.to_string(),
        "correct this first: until then, no host can be checked",
    )
}

async fn wait_for_end(mut started: Started, hosts: usize) -> Outcome {
    let rounds = u32::try_from(hosts.div_ceil(AT_ONCE)).unwrap_or(u32::MAX);
    let until = tokio::time::Instant::now() + PATIENCE.saturating_mul(rounds);
    let mut outcome = Outcome::default();
    loop {
        let next = tokio::select! {
            next = started.progress.recv() => next,
            () = tokio::time::sleep_until(until), if !outcome.is_late => {
                outcome.is_late = true;
                started.stop.now();
                continue;
            }
        };
        match next {
            Some(Progress::Event(Event::Task(report))) => {
                outcome
                    .failed
                    .entry(report.host.clone())
                    .or_default()
                    .push(report);
            }
            Some(Progress::Event(_)) => {}
            Some(Progress::Output(bytes)) => {
                outcome.output.extend_from_slice(&bytes);
                let extra = outcome.output.len().saturating_sub(LAST_BYTES);
                outcome.output.drain(..extra);
            }
            Some(Progress::Ended(ending)) => outcome.ending = ending,
            None => return outcome,
        }
    }
}

fn judge(
    config: &Config,
    inventory: &Inventory,
    hosts: &[String],
    outcome: &Outcome,
    wants_root: bool,
) -> Vec<Finding> {
    if outcome.failed.is_empty() && outcome.ending.stats.is_none() && !outcome.is_late {
        let said = error_excerpt(&outcome.output);
        return vec![Area::Hosts.error(
            "login",
            format!("ansible-playbook did not log in to any host: {said}"),
            "try `ansible-playbook -i SOURCE playbook/ping.yml` as the user that runs promansible",
        )];
    }
    let user = config.ansible.user.as_deref();
    let mut findings = Vec::new();
    for name in hosts {
        let host = inventory.host(name);
        let way = Way {
            name,
            address: host.and_then(|host| host.address()).unwrap_or(name),
            port: host.and_then(|host| host.port()).unwrap_or("22"),
            user,
        };
        let failed = outcome.failed.get(name).map_or(&[][..], Vec::as_slice);
        if !failed.is_empty() {
            findings.extend(failed.iter().map(|report| ssh::explain(&way, report)));
        } else if outcome.is_late {
            findings.push(Area::Hosts.error(
                name,
                "no result within the time limit",
                format!("try {}", way.login()),
            ));
        } else if outcome
            .ending
            .stats
            .as_ref()
            .is_some_and(|stats| stats.contains_key(name))
        {
            let works = if wants_root {
                "login, sudo and Python work"
            } else {
                "login and Python work"
            };
            findings.push(Area::Hosts.ok(name, works));
        } else {
            let said = error_excerpt(&outcome.output);
            findings.push(Area::Hosts.error(
                name,
                format!("no result from Ansible: {said}"),
                format!("try {}", way.login()),
            ));
        }
    }
    findings
}
