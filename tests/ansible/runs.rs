//! Plays that go their way, and the hosts that do not.

use std::fs;
use std::net::TcpListener;

use promansible::ansible::{Event, ListError, StartError, fingerprint};
use promansible::model::run::{Outcome, TaskStatus};

use crate::harness::{Bench, Version, on_both};

on_both!(
    a_role_runs_with_its_alert,
    a_failed_host_fails_alone,
    an_unreachable_host_is_told_apart,
    roles_run_for_each_alert_of_a_host,
    hosts_run_in_parallel,
    a_handler_knows_its_alert,
    the_controller_runs_with_our_own_python,
    what_the_controller_delegates_goes_where_it_should,
    the_controller_is_nothing_else_whatever_host_vars_say,
    what_modules_leave_on_the_controller_goes_with_the_run,
    facts_are_gathered_on_demand,
    a_failure_that_is_ignored_or_rescued_is_none,
    the_inventory_is_listed,
    however_talkative_ansible_is_the_inventory_is_listed,
    why_an_inventory_cannot_be_read_is_said,
    a_run_without_alerts_runs_its_roles_once,
);

async fn a_role_runs_with_its_alert(version: Version) {
    let mut bench = Bench::new(version);
    bench.role(
        "handle",
        "- name: Write it down
  ansible.builtin.copy:
    content: \"{{ inventory_hostname }} {{ promansible_alert.labels.mountpoint }} {{ promansible_run.binding }} {{ depth }}\"
    dest: OUT/told
    mode: '0600'
",
    );
    bench
        .work
        .vars
        .insert("depth".into(), "{{ 20 + 1 }}".into());
    bench.alert("web2", &[("mountpoint", "/var")]);
    let told = bench.run(&["web2"]).await;

    assert_eq!(
        told.judged(None).outcome,
        Outcome::Successful,
        "{}",
        told.text()
    );
    assert_eq!(
        fs::read_to_string(bench.out("told")).unwrap(),
        "web2 /var a binding 21"
    );
    told.assert_quiet();
    assert!(matches!(&told.events[0], Event::Hello { ansible } if ansible.starts_with("2.1")));
    let tasks: Vec<_> = told.tasks().collect();
    assert_eq!(tasks.len(), 1, "{tasks:?}");
    assert_eq!(tasks[0].role.as_deref(), Some("handle"));
    assert_eq!(tasks[0].task, "Write it down");
    assert_eq!(tasks[0].action, "ansible.builtin.copy");
    assert_eq!(tasks[0].status, TaskStatus::Changed);
    assert!(tasks[0].duration_seconds > 0.0);
    assert_eq!(told.ending.code, Some(0));
    assert_eq!(told.judged(None).results["web2"].changed, 1);
}

async fn a_failed_host_fails_alone(version: Version) {
    let bench = Bench::new(version);
    bench.role(
        "handle",
        "- name: Fail on one
  ansible.builtin.command: sh -c 'echo no space left >&2; exit {{ (inventory_hostname == \"web1\") | ternary(3, 0) }}'
  changed_when: false
",
    );
    let told = bench.run(&["web1", "web2"]).await;
    let judged = told.judged(None);
    assert_eq!(judged.results["web1"].outcome, Outcome::Failed);
    assert_eq!(
        judged.results["web1"].message.as_deref(),
        Some("Fail on one: no space left")
    );
    assert_eq!(judged.results["web2"].outcome, Outcome::Successful);
    assert_eq!(judged.outcome, Outcome::Failed);
    assert_eq!(told.ending.code, Some(2));
    told.assert_quiet();
}

async fn an_unreachable_host_is_told_apart(version: Version) {
    let bench = Bench::new(version);
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    bench.write(
        "inventory/gone",
        &format!("gone ansible_host=127.0.0.1 ansible_port={free}\n"),
    );
    bench.role("handle", "- ansible.builtin.ping:\n");
    let told = bench.run(&["gone", "web1"]).await;
    let judged = told.judged(None);
    assert_eq!(
        judged.results["gone"].outcome,
        Outcome::Unreachable,
        "{}",
        told.text()
    );
    assert!(
        judged.results["gone"]
            .message
            .as_deref()
            .unwrap()
            .contains("Connection refused")
    );
    assert_eq!(judged.results["web1"].outcome, Outcome::Successful);
    assert_eq!(judged.outcome, Outcome::Unreachable);
    assert!(
        told.tasks()
            .any(|task| task.status == TaskStatus::Unreachable)
    );
}

const APPEND: &str = "- name: Append
  ansible.builtin.shell: echo \"$TOLD\" >> OUT/{{ inventory_hostname }}
  environment:
    TOLD: \"{{ role_name }} {{ promansible_alert.labels.mountpoint | default('none') }}\"
  changed_when: true
";

async fn roles_run_for_each_alert_of_a_host(version: Version) {
    let mut bench = Bench::new(version);
    bench.role("handle", APPEND);
    bench.role("report", APPEND);
    bench.work.roles.push("report".into());
    bench.alert("web1", &[("mountpoint", "/var")]);
    bench.alert("web1", &[("mountpoint", "/srv")]);
    bench.alert("web2", &[("mountpoint", "/home")]);
    let told = bench.run(&["web1", "web2", "web3"]).await;
    assert_eq!(
        told.judged(None).results["web1"].outcome,
        Outcome::Successful,
        "{}",
        told.text()
    );
    let text = |host| fs::read_to_string(bench.out(host)).unwrap();
    assert_eq!(
        text("web1"),
        "handle /var\nreport /var\nhandle /srv\nreport /srv\n"
    );
    assert_eq!(text("web2"), "handle /home\nreport /home\n");
    assert!(
        !bench.out("web3").exists(),
        "a host without an alert has nothing to handle"
    );
    assert_eq!(
        told.judged(None).results["web3"].outcome,
        Outcome::Successful
    );
    told.assert_quiet();
}

async fn a_run_without_alerts_runs_its_roles_once(version: Version) {
    let bench = Bench::new(version);
    bench.role("handle", APPEND);
    let told = bench.run(&["web1", "web2"]).await;
    assert_eq!(
        told.judged(None).outcome,
        Outcome::Successful,
        "{}",
        told.text()
    );
    for host in ["web1", "web2"] {
        assert_eq!(
            fs::read_to_string(bench.out(host)).unwrap(),
            "handle none\n"
        );
    }
}

async fn a_handler_knows_its_alert(version: Version) {
    let mut bench = Bench::new(version);
    bench.role(
        "handle",
        "- ansible.builtin.command: 'true'\n  notify: Tell\n",
    );
    let handler = APPEND
        .replace("- name: Append", "- name: Tell")
        .replace("OUT", bench.path("out").to_str().unwrap());
    bench.write("playbook/alert/roles/handle/handlers/main.yml", &handler);
    bench.alert("web1", &[("mountpoint", "/var")]);
    bench.alert("web1", &[("mountpoint", "/srv")]);
    let told = bench.run(&["web1"]).await;
    assert_eq!(
        told.judged(None).outcome,
        Outcome::Successful,
        "{}",
        told.text()
    );
    assert_eq!(
        fs::read_to_string(bench.out("web1")).unwrap(),
        "handle /var\nhandle /srv\n",
        "{}",
        told.text()
    );
}

/// Each host waits for all of them to have begun.
async fn hosts_run_in_parallel(version: Version) {
    let mut bench = Bench::new(version);
    bench.role(
        "handle",
        r#"- ansible.builtin.shell: touch OUT/begun-{{ inventory_hostname }}; until [ "$(ls OUT | wc -l)" -ge 6 ]; do sleep 0.1; done
  timeout: 60
  changed_when: false
"#,
    );
    let hosts = ["web1", "web2", "web3", "web4", "web5", "web6"];
    for host in hosts {
        bench.alert(host, &[("instance", host)]);
    }
    let told = bench.run(&hosts).await;
    assert_eq!(
        told.judged(None).outcome,
        Outcome::Successful,
        "{}",
        told.text()
    );
    assert_eq!(told.tasks().count(), 6);
}

async fn the_controller_runs_with_our_own_python(version: Version) {
    let mut bench = Bench::new(version);
    bench.work.controller = true;
    bench.role(
        "handle",
        "- ansible.builtin.copy:
    content: \"{{ ansible_python_interpreter }} {{ ansible_playbook_python }}\"
    dest: OUT/told
    mode: '0600'
",
    );
    let told = bench.run(&["localhost"]).await;
    assert_eq!(
        told.judged(None).outcome,
        Outcome::Successful,
        "{}",
        told.text()
    );
    let text = fs::read_to_string(bench.out("told")).unwrap();
    let (used, own) = text.split_once(' ').unwrap();
    assert_eq!(used, own);
    told.assert_quiet();
}

async fn what_the_controller_delegates_goes_where_it_should(version: Version) {
    let mut bench = Bench::new(version);
    bench.write(
        "inventory/hosts",
        "localhost ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1
far ansible_host=127.0.0.1 ansible_port=1
",
    );
    bench.work.controller = true;
    bench.role(
        "handle",
        "- ansible.builtin.copy:
    content: here
    dest: OUT/here
    mode: '0600'
- ansible.builtin.command: touch OUT/far
  delegate_to: far
",
    );
    let told = bench.run(&["localhost"]).await;
    let text = told.text();
    assert!(bench.out("here").exists(), "it is the controller: {text}");
    assert!(!bench.out("far").exists(), "nothing listens there: {text}");
    assert_eq!(told.judged(None).outcome, Outcome::Unreachable, "{text}");
}

/// Such variables beat the inventory's, so the play looks before it does anything.
async fn the_controller_is_nothing_else_whatever_host_vars_say(version: Version) {
    for beside in ["inventory", "playbook"] {
        let mut bench = Bench::new(version);
        bench.write(
            &format!("{beside}/host_vars/localhost.yml"),
            "{ansible_connection: ssh, ansible_host: 127.0.0.1, ansible_port: 1}\n",
        );
        bench.work.controller = true;
        bench.role("handle", "- ansible.builtin.command: touch OUT/done\n");
        let told = bench.run(&["localhost"]).await;
        let judged = told.judged(None);
        assert_eq!(judged.outcome, Outcome::Failed, "{}", told.text());
        let why = judged.message.unwrap();
        assert!(why.contains("use a local connection"), "{beside}: {why}");
    }
}

async fn what_modules_leave_on_the_controller_goes_with_the_run(version: Version) {
    let mut bench = Bench::new(version);
    bench.work.controller = true;
    bench.role(
        "handle",
        "- ansible.builtin.shell: echo $0 $PWD > OUT/where; ls -d {{ ansible_remote_tmp }}/ansible-tmp-*; touch OUT/started; sleep 300
- ansible.builtin.debug:
",
    );
    let started = bench.start(&["localhost"]);
    bench.wait_for("started").await;
    started.stop.now();
    let told = bench.finish(started, &["localhost"]).await;
    // That nothing is left of the run's folder is looked at by `finish`; that it is used, here.
    assert!(bench.out("where").exists(), "{}", told.text());
    let tmp = bench.runs_dir().join("7/tmp");
    let vars = bench.out("tmp");
    bench.role(
        "handle",
        "- ansible.builtin.copy: {content: '{{ ansible_remote_tmp }}', dest: OUT/tmp, mode: '0600'}\n",
    );
    bench.run(&["localhost"]).await;
    assert_eq!(fs::read_to_string(vars).unwrap(), tmp.display().to_string());
}

async fn facts_are_gathered_on_demand(version: Version) {
    let mut bench = Bench::new(version);
    bench.role("handle", "- ansible.builtin.assert:\n    that: ansible_facts['kernel'] is defined\n    quiet: true\n");
    assert_eq!(
        bench.run(&["web1"]).await.judged(None).outcome,
        Outcome::Failed
    );
    bench.work.gather_facts = true;
    let told = bench.run(&["web1"]).await;
    assert_eq!(
        told.judged(None).outcome,
        Outcome::Successful,
        "{}",
        told.text()
    );
    told.assert_quiet();
}

async fn the_inventory_is_listed(version: Version) {
    let bench = Bench::new(version);
    let listed = bench.ansible().list().await.unwrap();
    let listed: serde_json::Value = serde_json::from_slice(&listed.json).unwrap();
    assert_eq!(listed["web-servers"]["hosts"][0], "web1");
    assert_eq!(
        listed["_meta"]["hostvars"]["web6"]["ansible_connection"],
        "local"
    );
    bench.assert_nothing_left();

    let before = fingerprint(&bench.settings);
    assert_eq!(fingerprint(&bench.settings), before);
    bench.write("inventory/group_vars/web_servers.yml", "a: 1\n");
    assert_ne!(fingerprint(&bench.settings), before);

    bench.write("inventory/broken.yml", "all: {hosts: [\n");
    let error = bench.ansible().list().await.unwrap_err();
    assert!(
        matches!(&error, ListError::Failed { code: 1 | 4, stderr } if stderr.contains("broken.yml")),
        "{error}"
    );
    bench.assert_nothing_left();
}

async fn however_talkative_ansible_is_the_inventory_is_listed(version: Version) {
    let mut bench = Bench::new(version);
    bench.write(
        "playbook/ansible.cfg",
        "[defaults]\nverbosity = 2\n[inventory]\nexport = true\n",
    );
    bench.write("inventory/group_vars/all.yml", "ansible_port: 2222\n");
    for (name, value) in [
        ("ANSIBLE_VERBOSITY", "3"),
        ("ANSIBLE_INVENTORY_EXPORT", "1"),
    ] {
        bench.settings.environment.insert(name.into(), value.into());
    }
    let listed = bench.ansible().list().await.unwrap();
    let listed: serde_json::Value = serde_json::from_slice(&listed.json).unwrap();
    assert_eq!(listed["_meta"]["hostvars"]["web6"]["ansible_port"], 2222);
    assert!(bench.ansible().version().await.unwrap().is_some());
}

async fn why_an_inventory_cannot_be_read_is_said(version: Version) {
    let mut bench = Bench::new(version);
    let file = bench.settings.inventory[0].join("one.yml");
    bench.settings.inventory = vec![file];
    for (text, mode, parts) in [
        (
            "all:\n  hosts:\n    db[1]: {}\n",
            0o644,
            &["Completely failed to parse", "host range must be begin:end"][..],
        ),
        ("all: {hosts: [\n", 0o644, &["one.yml", "yaml"]),
        (
            "#!/bin/sh\necho the token is expired >&2\nexit 3\n",
            0o755,
            &["script", "the token is expired"],
        ),
        (
            "#!/bin/sh\necho no json\n",
            0o755,
            &["script", "Expecting value", "one.yml"],
        ),
    ] {
        bench.write("inventory/one.yml", text);
        let path = &bench.settings.inventory[0];
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let error = bench.ansible().list().await.unwrap_err();
        let said = error.to_string();
        assert!(said.starts_with("ansible-inventory ended with "), "{said}");
        for part in parts {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains(char::from(27)), "{said}");
    }
}

async fn a_failure_that_is_ignored_or_rescued_is_none(version: Version) {
    let bench = Bench::new(version);
    bench.role(
        "handle",
        "- ansible.builtin.command: 'false'
  ignore_errors: true
- block:
    - ansible.builtin.command: 'false'
  rescue:
    - ansible.builtin.debug: {msg: rescued}
- name: Several
  ansible.builtin.command: 'test {{ item }} != 2'
  loop: [1, 2, 3]
  failed_when: false
",
    );
    let told = bench.run(&["web1"]).await;
    let judged = told.judged(None);
    assert_eq!(judged.outcome, Outcome::Successful, "{}", told.text());
    assert_eq!(judged.message, None);
    let statuses: Vec<_> = told.tasks().map(|task| task.status).collect();
    // A loop is one event.
    assert_eq!(
        statuses,
        [
            TaskStatus::Ignored,
            TaskStatus::Failed,
            TaskStatus::Ok,
            TaskStatus::Changed
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statistics_of_many_hosts_arrive() {
    let mut bench = Bench::new(Version::New);
    let hosts: Vec<String> = (0..105)
        .map(|number| format!("{}{number}", "h".repeat(200)))
        .collect();
    bench.write(
        "inventory/many",
        &format!(
            "{} ansible_connection=local\n",
            hosts.join(" ansible_connection=local\n")
        ),
    );
    bench.settings.forks = 8;
    bench.role("handle", "- ansible.builtin.meta: noop\n");
    let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let told = bench.run(&names).await;
    assert_eq!(
        told.judged(None).outcome,
        Outcome::Successful,
        "{:?}",
        told.judged(None).message
    );
    assert_eq!(told.ending.stats.as_ref().unwrap().len(), 105);
    assert_eq!(told.ending.junk_lines, 0);
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let mut bench = Bench::with_script("exit 0");
    bench.settings.bin_dir = Some("/nowhere".into());
    let hosts = ["web1".to_owned()];
    let spec = promansible::ansible::Spec {
        run: promansible::model::run::RunId(1),
        trigger: promansible::model::run::Trigger::Manual,
        binding: None,
        work: &bench.work,
        kind: promansible::ansible::RoleKind::Alert,
        hosts: &hosts,
        enrolled: &[],
        alerts: &bench.alerts,
    };
    let error = bench.ansible().start(&spec).unwrap_err();
    assert!(matches!(error, StartError::NoProgram { .. }));
    assert_eq!(
        error.to_string(),
        "there is no ansible-playbook in /nowhere: install it there, or set `ansible.bin_dir` to its folder"
    );
    assert!(!bench.runs_dir().exists());
    fs::remove_file(bench.path("playbook/run.yml")).unwrap();
    let error = bench.ansible().start(&spec).unwrap_err();
    assert!(matches!(error, StartError::NoPlaybook(_)), "{error}");
}
