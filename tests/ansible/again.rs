//! What a run is told of before and beside its tasks: why nothing began, and what it is narrowed to.

#![allow(
    clippy::disallowed_methods,
    reason = "who encrypts and copies here is no promansible"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use promansible::ansible::{Event, ListError, error_excerpt};
use promansible::config::VaultIdentity;
use promansible::model::run::{Outcome, TaskStatus};

use crate::harness::{Bench, Version, on_both};

on_both!(
    an_inventory_that_cannot_be_read_says_why_and_no_task_began,
    a_module_that_could_not_run_says_why,
    a_run_is_narrowed_by_tags_and_its_checks_are_not,
    several_vaults_are_opened,
    roles_of_collections_and_shared_roles_are_found,
    a_run_goes_on_in_the_tree_in_which_it_began,
    no_role_runs_unheard,
);

const SAYS: &str = "- name: First
  ansible.builtin.debug: {msg: first}
  tags: [one]
- name: Second
  ansible.builtin.debug: {msg: second}
  tags: [two]
- name: Third
  ansible.builtin.debug: {msg: third}
";

fn script(bench: &Bench, name: &str, text: &str) {
    bench.write(name, text);
    fs::set_permissions(bench.path(name), Permissions::from_mode(0o755)).unwrap();
}

async fn an_inventory_that_cannot_be_read_says_why_and_no_task_began(version: Version) {
    let mut bench = Bench::new(version);
    bench.role("handle", SAYS);
    script(
        &bench,
        "inv.sh",
        "#!/bin/sh\necho 'cloud API: 503' >&2\nexit 1\n",
    );
    bench.settings.inventory = vec![bench.path("inv.sh")];
    let told = bench.run(&["web1"]).await;
    let words = error_excerpt(&told.output);
    assert!(words.contains("cloud API: 503"), "{words}");
    assert!(!told.text().contains("TASK ["), "{}", told.text());
    assert_eq!((told.ending.code, &told.ending.stats), (Some(1), &None));
    assert!(
        !told
            .events
            .iter()
            .any(|event| matches!(event, Event::Begin { .. } | Event::Task(_)))
    );
}

async fn a_module_that_could_not_run_says_why(version: Version) {
    let mut bench = Bench::new(version);
    bench.work.gather_facts = true;
    script(
        &bench,
        "py",
        "#!/bin/sh\necho 'python3: error while loading shared libraries: libz.so.1' >&2\necho 'Shared connection to web1 closed.' >&2\nexit 127\n",
    );
    let interpreter = bench.path("py").display().to_string();
    bench
        .work
        .vars
        .insert("ansible_python_interpreter".into(), interpreter.into());
    bench.role("handle", "- ansible.builtin.command: id\n");
    let message = "python3: error while loading shared libraries: libz.so.1";
    let said = |task: &str| format!("{task}: {message}");
    let told = bench.run(&["web1"]).await;
    let judged = told.judged(None);
    assert_eq!(
        judged.message.as_deref(),
        Some(said("Gather facts").as_str()),
        "{}",
        told.text()
    );

    bench.work.gather_facts = false;
    let loops = "- name: Look\n  ansible.builtin.command: \"{{ item }}\"\n  loop: [id, pwd]\n";
    for tasks in ["- name: Look\n  ansible.builtin.command: id\n", loops] {
        bench.role("handle", tasks);
        let told = bench.run(&["web1"]).await;
        let judged = told.judged(None);
        assert_eq!(
            judged.message.as_deref(),
            Some(said("Look").as_str()),
            "{}",
            told.text()
        );
    }
}

async fn a_run_is_narrowed_by_tags_and_its_checks_are_not(version: Version) {
    let mut bench = Bench::new(version);
    bench.role("handle", SAYS);
    for (tags, skipped, ran) in [
        (vec!["one"], vec![], vec!["First"]),
        (vec![], vec!["two"], vec!["First", "Third"]),
        (vec!["one", "two"], vec!["one"], vec!["Second"]),
        (vec!["untagged"], vec![], vec!["Third"]),
        (vec!["nothing"], vec![], vec![]),
    ] {
        bench.work.narrowing.tags = tags.iter().map(ToString::to_string).collect();
        bench.work.narrowing.skip_tags = skipped.iter().map(ToString::to_string).collect();
        let told = bench.run(&["web1", "web2"]).await;
        let on_web1 = told.tasks().filter(|task| task.host == "web1");
        let on_web1: Vec<&str> = on_web1.map(|task| task.task.as_str()).collect();
        assert_eq!(on_web1, ran, "{tags:?} {skipped:?}: {}", told.text());
        assert_eq!(
            told.judged(None).outcome,
            Outcome::Successful,
            "{}",
            told.text()
        );
        assert!(
            told.text()
                .contains("Check that the play's hosts are exactly the requested hosts")
        );
    }
    bench.work.narrowing = promansible::model::run::Narrowing {
        verbosity: 3,
        ..promansible::model::run::Narrowing::default()
    };
    let told = bench.run(&["web1"]).await;
    assert!(told.text().contains("task path: "), "{}", told.text());
    // The list of the inventory stays what it is.
    assert!(bench.ansible().list().await.is_ok());
}

async fn several_vaults_are_opened(version: Version) {
    let mut bench = Bench::new(version);
    bench.role(
        "handle",
        "- ansible.builtin.assert:\n    that: prod_secret == 'p' and test_secret == 't'\n",
    );
    let mut secrets = String::new();
    for (id, secret) in [("prod", "p"), ("test", "t")] {
        bench.write(id, &format!("password of {id}\n"));
        let encrypted = std::process::Command::new(version.bin_dir().join("ansible-vault"))
            .args(["encrypt_string", secret, "--name", &format!("{id}_secret")])
            .arg(format!("--vault-id={id}@{}", bench.path(id).display()))
            .arg(format!("--encrypt-vault-id={id}"))
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        assert!(
            encrypted.status.success(),
            "{}",
            String::from_utf8_lossy(&encrypted.stderr)
        );
        secrets.push_str(&String::from_utf8(encrypted.stdout).unwrap());
        secrets.push('\n');
        bench.settings.vault_identities.push(VaultIdentity {
            id: id.to_owned(),
            password_file: bench.path(id),
        });
    }
    bench.write("playbook/alert/roles/handle/vars/main.yml", &secrets);
    let told = bench.run(&["web1"]).await;
    assert_eq!(
        told.judged(None).outcome,
        Outcome::Successful,
        "{}",
        told.text()
    );
}

async fn roles_of_collections_and_shared_roles_are_found(version: Version) {
    let mut bench = Bench::new(version);
    let collection = "playbook/collections/ansible_collections/acme/web";
    bench.write(
        &format!("{collection}/galaxy.yml"),
        "namespace: acme\nname: web\nversion: 1.0.0\nreadme: README.md\nauthors: [a]\n",
    );
    bench.write(
        &format!("{collection}/roles/restart/tasks/main.yml"),
        "- name: Of a collection\n  ansible.builtin.debug: {msg: x}\n",
    );
    bench.write(
        "playbook/roles/shared/tasks/main.yml",
        "- name: Of a shared role\n  ansible.builtin.debug: {msg: x}\n",
    );
    bench.role("handle", "- name: Own\n  ansible.builtin.debug: {msg: x}\n");
    bench.write(
        "playbook/alert/roles/handle/meta/main.yml",
        "dependencies: [shared, acme.web.restart]\n",
    );
    bench.work.roles = vec!["handle".into(), "acme.web.restart".into()];
    let told = bench.run(&["web1"]).await;
    let ran: Vec<(Option<&str>, &str)> = told
        .tasks()
        .map(|t| (t.role.as_deref(), t.task.as_str()))
        .collect();
    assert_eq!(
        ran[..3],
        [
            (Some("shared"), "Of a shared role"),
            (Some("acme.web.restart"), "Of a collection"),
            (Some("handle"), "Own"),
        ],
        "{}",
        told.text()
    );
    assert!(told.tasks().all(|task| task.status == TaskStatus::Ok));
    assert_eq!(
        told.judged(None).outcome,
        Outcome::Successful,
        "{}",
        told.text()
    );
    let roles = promansible::config::list_roles(&bench.settings).unwrap();
    assert_eq!(roles.collection, ["acme.web.restart"]);
}

async fn a_run_goes_on_in_the_tree_in_which_it_began(version: Version) {
    let mut bench = Bench::new(version);
    let tree = |n: u8| format!("releases/{n}/playbook");
    fs::create_dir_all(bench.path("out")).unwrap();
    let out = bench.path("out").display().to_string();
    for n in [1, 2] {
        fs::create_dir_all(bench.path(&format!("releases/{n}"))).unwrap();
        let copied = std::process::Command::new("cp")
            .args(["-r"])
            .arg(bench.path("playbook"))
            .arg(bench.path(&tree(n)))
            .status();
        assert!(copied.unwrap().success());
        let role = format!("{}/alert/roles/handle/tasks", tree(n));
        bench.write(
            &format!("{role}/main.yml"),
            &format!(
                "- ansible.builtin.command: touch {out}/begun\n- ansible.builtin.wait_for: {{path: {out}/go}}\n- ansible.builtin.include_tasks: second.yml\n"
            ),
        );
        bench.write(
            &format!("{role}/second.yml"),
            &format!("- name: Second half of version {n}\n  ansible.builtin.debug: {{msg: x}}\n"),
        );
    }
    let link = bench.path("current");
    symlink("releases/1", &link).unwrap();
    bench.settings.playbook_dir = link.join("playbook");
    bench.settings.environment.insert(
        "ANSIBLE_LIBRARY".to_owned(),
        format!("{}/library:/opt/library", link.join("playbook").display()),
    );
    let started = bench.start(&["web1"]);
    bench.wait_for("begun").await;
    let environment = bench.processes().into_iter().find_map(|pid| {
        let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
        Some(String::from_utf8_lossy(&environ).into_owned())
    });
    let environment = environment.unwrap();
    assert!(!environment.contains("/current/playbook"), "{environment}");
    symlink("releases/2", bench.path("next")).unwrap();
    fs::rename(bench.path("next"), &link).unwrap();
    bench.write("out/go", "");
    let told = bench.finish(started, &["web1"]).await;
    let last = told.tasks().last().unwrap().task.clone();
    assert_eq!(last, "Second half of version 1", "{}", told.text());
    assert_eq!(told.judged(None).outcome, Outcome::Successful);
}

async fn no_role_runs_unheard(version: Version) {
    let bench = Bench::new(version);
    bench.role("handle", SAYS);
    let callback = bench.path("playbook/plugins/callback/promansible.py");
    fs::remove_file(callback).unwrap();
    let told = bench.run(&["web1"]).await;
    assert!(!told.text().contains("TASK [handle"), "{}", told.text());
    assert!(
        told.text()
            .contains("did not load plugins/callback/promansible.py"),
        "{}",
        told.text()
    );
    assert_eq!(told.judged(None).outcome, Outcome::Failed);
}

/// What cannot be executed is named by the program that lists the inventory too.
#[tokio::test]
async fn a_program_that_cannot_be_executed_is_named() {
    let bench = Bench::with_script("exit 0");
    for name in ["ansible-playbook", "ansible-inventory"] {
        script(&bench, &format!("bin/{name}"), "#!/nowhere/python3\n");
    }
    let ListError::Failed { code, stderr } = bench.ansible().list().await.unwrap_err() else {
        panic!("it did not fail as it should");
    };
    assert_eq!(code, 127);
    assert!(
        stderr.contains("bin/ansible-inventory: No such file or directory")
            && stderr.contains("its first line names the interpreter /nowhere/python3"),
        "{stderr}"
    );
    let told = bench.run(&["web1"]).await;
    let message = told.judged(None).message.unwrap();
    assert!(
        message.contains("the interpreter /nowhere/python3"),
        "{message}"
    );
}
