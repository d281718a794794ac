//! Facts that a run gathers come out of it, whole, and nobody else's.

use promansible::ansible::Event;
use promansible::model::facts::{Facts, HostFacts, HostOptions, series};
use serde_json::{Map, Value};

use crate::harness::{Bench, Told, Version, on_both};

on_both![
    what_a_run_gathers_comes_out,
    what_is_secret_or_anothers_does_not
];

fn facts(told: &Told) -> Vec<(&str, &Map<String, Value>)> {
    let events = told.events.iter();
    events
        .filter_map(|event| match event {
            Event::Facts { host, facts } => Some((host.as_str(), facts)),
            _ => None,
        })
        .collect()
}

async fn what_a_run_gathers_comes_out(version: Version) {
    let mut bench = Bench::new(version);
    bench.work.gather_facts = true;
    bench.role(
        "handle",
        "- ansible.builtin.setup: {gather_subset: ['!all', '!min', 'distribution']}\n",
    );
    let told = bench.run(&["web1", "web2"]).await;
    told.assert_quiet();
    let found = facts(&told);
    let mut hosts: Vec<&str> = found.iter().map(|(host, _)| *host).collect();
    hosts.sort_unstable();
    assert_eq!(hosts, ["web1", "web1", "web2", "web2"]);
    let whole = found
        .iter()
        .find(|(_, facts)| Facts::new(facts).get("memtotal_mb").is_some());
    let (host, whole) = whole.expect("gather_facts asks for all");
    let of_host = HostFacts {
        host: (*host).to_owned(),
        gathered_at: chrono::DateTime::UNIX_EPOCH,
        live: true,
        facts: (*whole).clone(),
    };
    let made = series(&of_host, HostOptions::LIMIT);
    assert_eq!(made.not_understood, 0);
    assert!(made.samples.len() > 10, "{:?}", made.samples);
    let part = found
        .iter()
        .find(|(_, facts)| Facts::new(facts).get("memtotal_mb").is_none());
    assert!(Facts::new(part.unwrap().1).get("distribution").is_some());
}

async fn what_is_secret_or_anothers_does_not(version: Version) {
    let bench = Bench::new(version);
    bench.role(
        "handle",
        "- ansible.builtin.setup: {gather_subset: ['!all', 'distribution']}
  no_log: true
- ansible.builtin.setup: {gather_subset: ['!all', 'distribution']}
  delegate_to: web2
- ansible.builtin.set_fact: {ansible_memtotal_mb: 5}
- ansible.builtin.command: echo
  changed_when: false
",
    );
    let told = bench.run(&["web1"]).await;
    told.assert_quiet();
    assert!(facts(&told).is_empty(), "{:?}", told.events);
}
