//! Plays that end on a host before its roles do: only what came to the end, or left by itself, is well.

use promansible::model::run::Outcome;

use crate::harness::{Bench, Told, Version, on_both};

on_both!(
    one_host_s_failure_that_ends_the_play_is_everybody_s,
    a_role_that_ends_the_play_has_handled_nobody,
    a_role_may_be_done_with_a_host_early_but_not_with_alerts_that_are_left,
    a_role_that_is_not_there_says_so,
    a_syntax_error_says_so,
    what_failed_last_is_the_reason,
    an_ignored_host_that_does_not_answer_is_no_failure,
);

const HOSTS: [&str; 3] = ["web1", "web2", "web3"];

fn outcomes(told: &Told) -> Vec<Outcome> {
    let judged = told.judged(None);
    judged.results.values().map(|r| r.outcome).collect()
}

use Outcome::{Failed, Successful};

async fn one_host_s_failure_that_ends_the_play_is_everybody_s(version: Version) {
    for how in ["run_once: true", "any_errors_fatal: true"] {
        let bench = Bench::new(version);
        bench.role(
            "handle",
            &format!(
                "- ansible.builtin.command: test {{{{ inventory_hostname }}}} != web1\n  changed_when: false\n  {how}\n\
                 - ansible.builtin.file: {{path: OUT/repaired, state: touch, mode: '0600'}}\n"
            ),
        );
        let told = bench.run(&HOSTS).await;
        assert!(!bench.out("repaired").exists());
        assert_eq!(outcomes(&told), [Failed; 3], "{how}: {}", told.text());
        let web2 = told.judged(None).results["web2"].message.clone().unwrap();
        assert!(
            web2.contains("before this host finished its roles"),
            "{web2}"
        );
        assert!(web2.contains("non-zero return code"), "{web2}");
    }
}

async fn a_role_that_ends_the_play_has_handled_nobody(version: Version) {
    let bench = Bench::new(version);
    bench.role(
        "handle",
        "- ansible.builtin.meta: end_play\n  when: inventory_hostname == 'web1'\n- ansible.builtin.debug: {msg: repaired}\n",
    );
    let told = bench.run(&HOSTS).await;
    assert_eq!(told.ending.code, Some(0));
    assert_eq!(outcomes(&told), [Failed; 3], "{}", told.text());
    // Where the condition does not hold, nothing has happened.
    let told = bench.run(&["web2", "web3"]).await;
    assert_eq!(outcomes(&told), [Successful; 2], "{}", told.text());
    told.assert_quiet();
}

async fn a_role_may_be_done_with_a_host_early_but_not_with_alerts_that_are_left(version: Version) {
    let mut bench = Bench::new(version);
    bench.role(
        "handle",
        "- ansible.builtin.meta: end_host\n  when: inventory_hostname != 'web1'\n- ansible.builtin.debug: {msg: repaired}\n",
    );
    let told = bench.run(&HOSTS).await;
    assert_eq!(outcomes(&told), [Successful; 3], "{}", told.text());
    // All of them leave, so that nothing comes after it.
    let told = bench.run(&["web2", "web3"]).await;
    assert_eq!(outcomes(&told), [Successful; 2], "{}", told.text());
    for mountpoint in ["/var", "/srv"] {
        for host in ["web1", "web2"] {
            bench.alert(host, &[("mountpoint", mountpoint)]);
        }
    }
    let told = bench.run(&["web1", "web2"]).await;
    assert_eq!(outcomes(&told), [Successful, Failed], "{}", told.text());
}

async fn a_role_that_is_not_there_says_so(version: Version) {
    let mut bench = Bench::new(version);
    bench.role("needy", "- ansible.builtin.debug: {msg: repaired}\n");
    bench.write(
        "playbook/alert/roles/needy/meta/main.yml",
        "dependencies: [gone]\n",
    );
    for role in ["gone", "needy"] {
        bench.work.roles = vec![role.to_owned()];
        let told = bench.run(&HOSTS).await;
        assert_eq!(outcomes(&told), [Failed; 3], "{role}: {}", told.text());
        for result in told.judged(None).results.values() {
            let why = result.message.as_deref().unwrap_or_default();
            assert!(why.contains("'gone' was not found"), "{role}: {why}");
        }
    }
}

async fn a_syntax_error_says_so(version: Version) {
    let bench = Bench::new(version);
    bench.role("handle", "- name: [\n");
    let told = bench.run(&["web1"]).await;
    assert_eq!(outcomes(&told), [Failed]);
    let why = told.judged(None).message.unwrap();
    assert!(why.contains("main.yml") || why.contains("YAML"), "{why}");
}

async fn what_failed_last_is_the_reason(version: Version) {
    let bench = Bench::new(version);
    bench.role(
        "handle",
        r"- name: Try
  block:
    - name: Harmless
      ansible.builtin.fail: {msg: harmless}
  rescue:
    - name: Rescue
      ansible.builtin.debug: {msg: rescued}
- name: Break
  ansible.builtin.fail: {msg: the real reason}
",
    );
    let told = bench.run(&["web1"]).await;
    let why = told.judged(None).message;
    assert_eq!(why.as_deref(), Some("Break: the real reason"));
    assert_eq!(told.judged(None).results["web1"].failed, 1);

    bench.role("handle", "- ansible.builtin.include_tasks: gone.yml\n");
    let why = bench.run(&["web1"]).await.judged(None).message.unwrap();
    assert!(why.contains("Could not find or access"), "{why}");
}

async fn an_ignored_host_that_does_not_answer_is_no_failure(version: Version) {
    let bench = Bench::new(version);
    bench.role(
        "handle",
        r"- name: Look
  ansible.builtin.ping:
  ignore_unreachable: true
  vars: {ansible_connection: ssh, ansible_host: 127.0.0.1, ansible_port: 1}
- name: Go on
  ansible.builtin.debug: {msg: well}
",
    );
    let told = bench.run(&["web1"]).await;
    assert_eq!(outcomes(&told), [Successful], "{}", told.text());
    let look = told.tasks().next().unwrap();
    assert_eq!(look.status.as_str(), "ignored");
}
