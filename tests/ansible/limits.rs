//! What a play must not do: touch another host, go on with wrong arguments, change in check mode, tell a secret.

use promansible::model::run::{Outcome, TaskStatus};

use crate::harness::{Bench, Version, on_both};

on_both!(
    a_name_that_is_no_host_runs_nothing,
    a_group_s_name_runs_nothing,
    argument_specs_are_checked,
    check_mode_changes_nothing,
    no_log_is_honoured,
    a_message_in_no_encoding_is_text,
    becoming_another_user_is_a_parameter,
);

async fn a_name_that_is_no_host_runs_nothing(version: Version) {
    let bench = Bench::new(version);
    bench.role("handle", "- ansible.builtin.command: touch OUT/touched\n");
    // `localhost` is not in the inventory, but Ansible would make it up.
    for name in ["web9", "localhost"] {
        let told = bench.run(&[name]).await;
        assert_eq!(
            told.judged(None).outcome,
            Outcome::Failed,
            "{}",
            told.text()
        );
        assert!(!bench.out("touched").exists());
    }
}

async fn a_group_s_name_runs_nothing(version: Version) {
    let bench = Bench::new(version);
    bench.role("handle", "- ansible.builtin.command: touch OUT/touched\n");
    for name in ["web-servers", "all"] {
        let told = bench.run(&[name]).await;
        assert_eq!(
            told.judged(None).outcome,
            Outcome::Failed,
            "{}",
            told.text()
        );
        assert!(!bench.out("touched").exists(), "{name} was widened");
        assert!(
            told.text().contains("The play would run on web1, web2"),
            "{}",
            told.text()
        );
    }
}

async fn argument_specs_are_checked(version: Version) {
    let mut bench = Bench::new(version);
    bench.role("handle", "- ansible.builtin.command: touch OUT/touched\n");
    bench.write(
        "playbook/alert/roles/handle/meta/argument_specs.yml",
        "argument_specs: {main: {options: {depth: {type: int, required: true}}}}\n",
    );
    let told = bench.run(&["web1"]).await;
    assert_eq!(told.judged(None).outcome, Outcome::Failed);
    assert!(
        told.judged(None).message.unwrap().contains("depth"),
        "{}",
        told.text()
    );
    assert!(!bench.out("touched").exists());
    bench.work.vars.insert("depth".into(), 3.into());
    let told = bench.run(&["web1"]).await;
    assert_eq!(
        told.judged(None).outcome,
        Outcome::Successful,
        "{}",
        told.text()
    );
}

async fn check_mode_changes_nothing(version: Version) {
    let mut bench = Bench::new(version);
    bench.work.check = true;
    bench.role(
        "handle",
        "- ansible.builtin.copy: {content: x, dest: OUT/touched, mode: '0600'}\n",
    );
    let told = bench.run(&["web1"]).await;
    assert_eq!(
        told.judged(None).outcome,
        Outcome::Successful,
        "{}",
        told.text()
    );
    assert_eq!(told.tasks().next().unwrap().status, TaskStatus::Changed);
    assert!(!bench.out("touched").exists());
}

async fn no_log_is_honoured(version: Version) {
    let mut bench = Bench::new(version);
    bench.role(
        "handle",
        "- ansible.builtin.command: sh -c 'echo {{ secret }}; exit 1'\n  no_log: true\n
- ansible.builtin.debug: {msg: not reached}\n",
    );
    // A variable, because 2.19 shows the task's source where it failed.
    bench.work.vars.insert("secret".into(), "hunter2".into());
    let told = bench.run(&["web1"]).await;
    assert_eq!(told.judged(None).outcome, Outcome::Failed);
    let said = format!("{:?}{}", told.events, told.text());
    assert!(!said.contains("hunter2"), "{said}");
    assert!(
        told.tasks()
            .next()
            .unwrap()
            .message
            .as_deref()
            .unwrap()
            .contains("no_log")
    );
}

async fn a_message_in_no_encoding_is_text(version: Version) {
    let bench = Bench::new(version);
    bench.role(
        "handle",
        "- ansible.builtin.command: bash -c 'printf \"bad \\\\xff byte\" >&2; exit 1'\n",
    );
    let told = bench.run(&["web1"]).await;
    assert_eq!(told.ending.junk_lines, 0);
    let message = told.judged(None).message.unwrap();
    // 2.19 refuses such an answer itself, and says so.
    match version {
        Version::Old => assert_eq!(message, "ansible.builtin.command: bad ? byte"),
        Version::New => assert!(message.contains("invalid UTF8"), "{message:?}"),
    }
}

async fn becoming_another_user_is_a_parameter(version: Version) {
    let mut bench = Bench::new(version);
    bench.write(
        "inventory/hosts",
        "web1 ansible_connection=local ansible_become_method=no_such_method\n",
    );
    bench.role("handle", "- ansible.builtin.raw: 'true'\n");
    assert_eq!(
        bench.run(&["web1"]).await.judged(None).outcome,
        Outcome::Successful
    );
    bench.work.r#become = true;
    let told = bench.run(&["web1"]).await;
    assert_eq!(told.judged(None).outcome, Outcome::Failed);
    assert!(told.text().contains("no_such_method"), "{}", told.text());
}
