//! What a role reports by `set_stats`, as it comes out of the pipe.

use promansible::model::run::{Outcome, TaskStatus};
use serde_json::{Value, json};

use crate::harness::{Bench, Told, Version, on_both};

on_both!(
    what_a_role_reports_comes_with_its_own_task,
    what_is_hidden_stays_hidden,
    what_no_reader_would_take_is_left_out_and_that_is_said,
    check_mode_reports_as_well,
);

/// A role of one task: it reports this.
fn reporting(version: Version, findings: &str, more: &str) -> Bench {
    let bench = Bench::new(version);
    bench.role(
        "handle",
        &format!(
            "- name: Report
  ansible.builtin.set_stats:
    per_host: true
    data:
      promansible_findings: {findings}
{more}"
        ),
    );
    bench
}

/// What each task found, or said.
fn found(told: &Told) -> Vec<(Option<Value>, Option<String>)> {
    assert_eq!(
        told.judged(None).outcome,
        Outcome::Successful,
        "{}",
        told.text()
    );
    told.assert_quiet();
    let tasks = told.tasks();
    tasks
        .map(|task| {
            assert_eq!(task.status, TaskStatus::Ok);
            (
                task.findings.clone().map(Value::Object),
                task.message.clone(),
            )
        })
        .collect()
}

async fn what_a_role_reports_comes_with_its_own_task(version: Version) {
    let bench = Bench::new(version);
    bench.role(
        "handle",
        "- name: Probe
  ansible.builtin.set_fact:
    handle_probe: {elapsed: 0.25, right: true}
- name: Report
  ansible.builtin.set_stats:
    per_host: true
    data:
      promansible_findings:
        up: true
        answers: \"{{ [{'value': handle_probe.elapsed, 'name': inventory_hostname}] }}\"
        right: \"{{ handle_probe.right }}\"
        day: 2026-11-22
        text: ünï
- name: Report once more
  ansible.builtin.set_stats:
    per_host: true
    data: {promansible_findings: \"{{ {'number_' ~ item: item} }}\"}
  loop: [1, 2]
- name: Report nothing of ours
  ansible.builtin.set_stats:
    per_host: true
    data: {others: {up: false}}
- name: Report for all hosts
  ansible.builtin.set_stats:
    data: {promansible_findings: {up: false}}
",
    );
    let found = found(&bench.run(&["web1"]).await);
    let findings: Vec<_> = found.into_iter().map(|(findings, _)| findings).collect();
    let first = json!({
        "up": true, "answers": [{"value": 0.25, "name": "web1"}], "right": true, "day": "2026-11-22", "text": "ünï",
    });
    let second = json!({"number_1": 1, "number_2": 2});
    assert_eq!(findings, [None, Some(first), Some(second), None, None]);
}

async fn what_is_hidden_stays_hidden(version: Version) {
    let bench = reporting(version, "{secret: hunter2}", "  no_log: true\n");
    let told = bench.run(&["web1"]).await;
    assert_eq!(found(&told), [(None, Some("(hidden: no_log)".to_owned()))]);
    assert!(!told.text().contains("hunter2"));
}

async fn what_no_reader_would_take_is_left_out_and_that_is_said(version: Version) {
    let deep = format!("{}{}", "[".repeat(30), "]".repeat(30));
    let deep = format!("{{deep: {deep}}}");
    for (findings, why) in [
        (
            "{long: \"{{ 'x' * 17000 }}\"}",
            "17011 bytes as JSON exceed the limit of 16384",
        ),
        ("{number: .nan}", "a number is not finite"),
        ("\"{{ {'number': 10 ** 400} }}\"", "a number is not finite"),
        (
            "[1]",
            "promansible_findings is not a map of names to values",
        ),
        (deep.as_str(), "nested more than 20 levels deep"),
    ] {
        let bench = reporting(version, findings, "");
        let said = format!("findings rejected: {why}");
        assert_eq!(
            found(&bench.run(&["web1"]).await),
            [(None, Some(said))],
            "{findings}"
        );
    }
    // Just within.
    let bench = reporting(version, "{long: \"{{ 'ü' * 8186 }}\"}", "");
    assert!(found(&bench.run(&["web1"]).await)[0].0.is_some());
}

async fn check_mode_reports_as_well(version: Version) {
    let mut bench = reporting(version, "{up: true}", "");
    bench.work.check = true;
    let found = found(&bench.run(&["web1", "web2"]).await);
    assert_eq!(found, vec![(Some(json!({"up": true})), None); 2]);
}
