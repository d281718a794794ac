//! `new role`, and the lint of the roles that it and `init` write, with the settings of the shipped playbook.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::init::{everything, made, programs, stderr, stdout, there, with_path};
use crate::support::{promansible, run};

#[test]
fn a_role_that_cannot_be_created_is_rejected_with_the_reason() {
    let folder = made();
    let dir = folder.path();
    let before = everything(dir);
    for (args, wanted) in [
        (
            &["a/b"][..],
            "\"a/b\" is not a valid role name, because it contains the character /: name its folder with",
        ),
        (
            &[""],
            "\"\" is not a valid role name, because it is empty: ",
        ),
        (
            &["..", "--routine"],
            "\"..\" is not a valid role name, because it begins with .: ",
        ),
        (
            &["first_look"],
            "playbook/alert/roles/first_look already exists, and nothing was written: use another name",
        ),
        (
            &["ping", "--routine"],
            "playbook/routine/roles/ping already exists, and nothing was written: ",
        ),
        (
            &["x", "--dir=config"],
            "config contains no run.yml: expected a playbook folder, as `promansible init` creates it",
        ),
        (
            &["x", "--config.file=none.yml"],
            "cannot read none.yml: No such file or directory (os error 2); use --dir PLAYBOOK or --config.file FILE",
        ),
        (
            &["x", "--config.file=config/web.yml"],
            "cannot find ansible.playbook_dir in config/web.yml; use --dir",
        ),
    ] {
        let output = there(dir, &[&["new", "role"], args].concat());
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let said = stderr(&output);
        assert!(
            said.starts_with(&format!("promansible: {wanted}")),
            "{said}"
        );
        assert_eq!(everything(dir), before);
    }
}

#[test]
fn a_role_can_be_created_after_the_binding_that_names_it() {
    let folder = made();
    let dir = folder.path();
    let file = dir.join("config/promansible.yml");
    let text = fs::read_to_string(&file).unwrap();
    let text = text.replace("roles: [first_look]", "roles: [first_look, later]");
    fs::write(&file, text).unwrap();
    let check = || there(dir, &["check", "config", "config/promansible.yml"]);
    assert_eq!(check().status.code(), Some(1));
    let output = there(dir, &["new", "role", "later"]);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    assert!(
        stdout(&output)
            .starts_with("Created the alert role later in playbook/alert/roles/later.\n")
    );
    assert_eq!(check().status.code(), Some(0));
    // A name that promansible and Ansible accept, but ansible-lint does not.
    let playbook = format!("--dir={}", dir.join("playbook").display());
    let output = run(promansible().args(["new", "role", "重启服务", "--routine", &playbook]));
    assert!(output.status.success(), "{output:?}");
    assert!(stderr(&output).contains("the role's variables begin with role_"));
    assert_eq!(
        stdout(&check()),
        "config/promansible.yml: good (1 binding, 2 alert roles, 4 routine roles)\n"
    );
}

#[test]
fn the_roles_pass_the_lint_and_the_syntax_check() {
    let folder = made();
    let dir = folder.path();
    for args in [&["mend_my_role_2"][..], &["look_after", "--routine"]] {
        let output = there(dir, &[&["new", "role"], args].concat());
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
    }
    let playbook = dir.join("playbook");
    let roles = ["alert/roles", "routine/roles"].map(|below| playbook.join(below));
    let names = roles.iter().flat_map(|below| fs::read_dir(below).unwrap());
    let names: Vec<PathBuf> = names.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names.len(), 6);
    let environment = |command: &mut Command| {
        command
            .current_dir(&playbook)
            .env_remove("ANSIBLE_CONFIG")
            .env("LC_ALL", "C.UTF-8")
            .env("ANSIBLE_HOME", dir.join("ansible"))
            .env("XDG_CACHE_HOME", dir.join("cache"))
            .env(
                "ANSIBLE_ROLES_PATH",
                format!("{}:{}", roles[0].display(), roles[1].display()),
            );
    };
    let mut every = "- hosts: localhost\n  roles:\n".to_owned();
    for name in &names {
        every.push_str(&format!("    - {}\n", name.file_name().unwrap().display()));
    }
    for release in ["ansible-2.16", "ansible-2.19"] {
        let play = dir.join("every-role.yml");
        fs::write(&play, &every).unwrap();
        for play in [&play, &playbook.join("run.yml"), &playbook.join("ping.yml")] {
            let mut command = Command::new(programs(release).join("ansible-playbook"));
            environment(&mut command);
            command.args(["--syntax-check", "-i", "localhost,", "-e"]);
            command.arg(r#"{"promansible_hosts": ["localhost"], "promansible_become": false}"#);
            let checked = run(command.arg(play));
            assert!(checked.status.success(), "{checked:?}");
        }
    }
    let mut lint = Command::new("ansible-lint");
    environment(&mut lint);
    with_path(&mut lint, "ansible-lint");
    let linted = run(lint
        .args(["-q", "--nocolor", "run.yml", "round.yml", "ping.yml"])
        .args(&names));
    assert!(linted.status.success(), "{linted:?}");
    // An additional check of tests/playbook.sh.
    for program in everything(&playbook)
        .into_keys()
        .filter(|path| path.ends_with("disk_use.py"))
    {
        assert!(fs::read(program).unwrap().is_ascii());
    }
}
