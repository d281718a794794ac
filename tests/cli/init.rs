//! `init`: its files are valid and run, and it writes all of them or none.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::unistd::geteuid;
use tempfile::TempDir;

use crate::support::{Server, WEBHOOK, alert, notification, promansible, run};

/// The user `nobody`, which owns no files.
const NOBODY: u32 = 65534;

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns a folder of programs that tests/setup.sh installs.
pub(crate) fn programs(name: &str) -> PathBuf {
    let dir = project().join(".venv").join(name).join("bin");
    assert!(
        dir.is_dir(),
        "there is no {}; `tests/setup.sh test` installs it",
        dir.display()
    );
    dir
}

/// Puts these programs first in `PATH`.
pub(crate) fn with_path(command: &mut Command, name: &str) {
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", programs(name).display()));
}

fn init(dir: &Path, args: &[&str]) -> Output {
    let mut command = promansible();
    with_path(&mut command, "ansible-2.19");
    run(command.arg("init").arg(dir).args(args))
}

/// Runs `init` in a new folder, and returns it.
pub(crate) fn made() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let output = init(dir.path(), &[]);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    dir
}

/// Runs promansible in that folder.
pub(crate) fn there(dir: &Path, args: &[&str]) -> Output {
    let mut command = promansible();
    with_path(&mut command, "ansible-2.19");
    run(command.current_dir(dir).args(args))
}

fn read(dir: &Path, path: &str) -> String {
    fs::read_to_string(dir.join(path)).unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Returns the name of this machine in the inventory.
fn host(dir: &Path) -> String {
    let inventory = read(dir, "config/inventory");
    let line = inventory
        .lines()
        .find(|line| line.contains("ansible_connection=local"));
    line.unwrap().split(' ').next().unwrap().to_owned()
}

/// Returns every file below a folder, with everything that writing it again would change.
pub(crate) fn everything(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, u64, i64, i64)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(everything(&path));
            continue;
        }
        let about = path.symlink_metadata().unwrap();
        let text = fs::read(&path).unwrap_or_default();
        found.insert(path, (text, about.ino(), about.mtime(), about.mtime_nsec()));
    }
    found
}

#[test]
fn the_written_files_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("new/server");
    let output = init(&dir, &[]);
    assert!(output.status.success(), "{output:?}");
    let said = stdout(&output);
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(host(&dir), name.trim());
    let next = said.split("\nNext:\n").nth(1).unwrap();
    let next: Vec<&str> = next.lines().map(str::trim).collect();
    assert_eq!(next.len(), 3, "{said}");
    assert!(next[0].starts_with(&format!("cd {} && ", dir.display())));
    assert!(next[0].ends_with("promansible check config config/promansible.yml"));
    assert!(next[1].ends_with("promansible serve"));
    assert!(next[2].contains(&format!(
        " run check_disk_use --target host:{} ",
        name.trim()
    )));

    let checked = there(&dir, &["check", "config", "config/promansible.yml"]);
    assert_eq!(
        stdout(&checked),
        "config/promansible.yml: good (1 binding, 1 alert role, 3 routine roles)\n"
    );
    assert!(checked.stderr.is_empty(), "{checked:?}");
    let checked = there(&dir, &["check", "web-config", "config/web.yml"]);
    assert_eq!(stdout(&checked), "config/web.yml: good\n");
    for (program, args) in [
        (
            "promtool",
            ["check", "config", "config/prometheus.yml"].as_slice(),
        ),
        ("amtool", &["check-config", "config/alertmanager.yml"]),
    ] {
        let checked = run(Command::new(program).args(args).current_dir(&dir));
        assert!(checked.status.success(), "{checked:?}");
    }
}

#[test]
fn the_snippets_and_the_unit_name_this_server() {
    let folder = made();
    let dir = folder.path();
    let alertmanager = read(dir, "config/alertmanager.yml");
    assert!(alertmanager.contains("- url: http://127.0.0.1:10942/api/v1/webhook\n"));
    assert!(alertmanager.contains("send_resolved: true"));
    let prometheus = read(dir, "config/prometheus.yml");
    assert!(prometheus.contains(&format!("- targets: ['{}:9100']", host(dir))));
    assert!(prometheus.contains("- targets: ['127.0.0.1:10942']"));
    let unit = read(dir, "config/systemd/promansible.service");
    let place = dir.display();
    assert!(unit.contains(&format!("WorkingDirectory={place}\n")));
    assert!(unit.contains(&format!("--config.file={place}/config/promansible.yml")));
    let binary = env!("CARGO_BIN_EXE_promansible");
    assert!(
        unit.contains(&format!("ExecStart={binary} serve ")),
        "{unit}"
    );
    // The PATH of a service differs from that of the shell that found Ansible.
    let bin_dir = format!("bin_dir: \"{}\"", programs("ansible-2.19").display());
    assert!(read(dir, "config/promansible.yml").contains(&bin_dir));
    let mode = |path: &str| dir.join(path).metadata().unwrap().mode() & 0o777;
    assert_eq!(mode("config/web.yml"), 0o600);
    assert_eq!(mode("config/promansible.yml") & 0o600, 0o600);
}

#[test]
fn a_second_time_nothing_is_written() {
    let folder = made();
    let before = everything(folder.path());
    for args in [&[][..], &["--dry-run"]] {
        let output = init(folder.path(), args);
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty(), "{output:?}");
        let said = stderr(&output);
        let number = before.len();
        let wanted = format!(
            "promansible: nothing was written: {number} of {number} files exist in {}:\n  config/README.md\n",
            folder.path().display()
        );
        assert!(said.starts_with(&wanted), "{said}");
        assert!(
            said.contains("\n  and 30 more\nuse another folder"),
            "{said}"
        );
        assert_eq!(everything(folder.path()), before);
    }
}

#[test]
fn one_file_that_exists_is_enough() {
    for (path, is_link) in [("config/inventory", false), ("config/web.yml", true)] {
        let folder = tempfile::tempdir().unwrap();
        let mine = folder.path().join(path);
        fs::create_dir(mine.parent().unwrap()).unwrap();
        if is_link {
            // Writing to a broken symbolic link would create its target.
            symlink(folder.path().join("elsewhere"), &mine).unwrap();
        } else {
            fs::write(&mine, "mine").unwrap();
        }
        let before = everything(folder.path());
        let output = init(folder.path(), &[]);
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(
            said.contains(&format!(
                "nothing was written: 1 of 40 files exist in {}:\n  {path}\nuse another folder",
                folder.path().display()
            )),
            "{said}"
        );
        assert_eq!(everything(folder.path()), before);
    }
    // Other files do not matter.
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("playbook/alert/roles/mine")).unwrap();
    fs::write(folder.path().join("README.md"), "mine").unwrap();
    assert!(init(folder.path(), &[]).status.success());
    assert_eq!(read(folder.path(), "README.md"), "mine");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let output = init(&file.join("below"), &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(
        said.starts_with(&format!(
            "promansible: cannot write {}/below/",
            file.display()
        )),
        "{said}"
    );
    assert!(said.ends_with("Not a directory (os error 20)\n"), "{said}");
    // `config` can be created, but `playbook` is not a folder.
    let half = folder.path().join("half");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("playbook"), "").unwrap();
    assert_eq!(init(&half, &[]).status.code(), Some(1));
    assert_eq!(everything(&half).len(), 1);

    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&closed, Permissions::from_mode(0o555)).unwrap();
    let mut command = promansible();
    command.arg("init").arg(&closed).current_dir("/");
    if geteuid().is_root() {
        // Root may write anywhere.
        command.uid(NOBODY);
    }
    let output = run(&mut command);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        format!(
            "promansible: cannot create the folder {}/config: Permission denied (os error 13)\n",
            closed.display()
        )
    );
    assert_eq!(fs::read_dir(&closed).unwrap().count(), 0);
}

#[test]
fn a_dry_run_lists_what_would_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let output = init(&folder.path().join("x"), &["--dry-run"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let said = stdout(&output);
    assert!(said.contains("\n  0600  config/web.yml\n"), "{said}");
    let dir = made();
    let mut listed: Vec<PathBuf> = said
        .lines()
        .skip(1)
        .map(|line| dir.path().join(line.split_whitespace().nth(1).unwrap()))
        .collect();
    listed.sort();
    let written: Vec<PathBuf> = everything(dir.path()).into_keys().collect();
    assert_eq!(listed, written);
}

#[test]
fn the_written_roles_run_for_an_alert_manually_and_in_check_mode() {
    let folder = made();
    let dir = folder.path();
    let mut command = promansible();
    command
        .current_dir(dir)
        .args(["serve", "--web.listen-address=127.0.0.1:0"]);
    let server = Server::start(command);
    server.wait("ready", || server.get("/-/ready").status == 200);
    let host = host(dir);
    let firing = alert("HighLoad", &format!("{host}:9100")).label("severity", "warning");
    let body = notification(&[firing.annotation("summary", "it is {{ busy }}")]);
    let headers = [("Content-Type", "application/json")];
    assert_eq!(server.request("POST", WEBHOOK, &headers, &body).status, 200);
    let ended = server.wait_run(1, "finished");
    assert_eq!(ended["outcome"], "successful", "{ended}");
    let url = format!("--server.url=http://{}", server.address);
    let shown = stdout(&there(dir, &["runs", "show", "1", &url]));
    for finding in [
        "    load = \"",
        "    file_systems = [\"",
        "    processes = [\"",
    ] {
        assert!(shown.contains(finding), "{finding} in {shown}");
    }
    let output = server.get("/api/v1/runs/1/output").text();
    assert!(output.contains("msg: it is {{ busy }}"), "{output}");

    let target = format!("--target=host:{host}");
    let ran = there(dir, &["run", "check_disk_use", &target, &url]);
    assert!(ran.status.success(), "{ran:?}");
    let series =
        format!("promansible_check_disk_use_ok{{host=\"{host}\",role=\"check_disk_use\"}}");
    assert!((server.metric(&series) - 1.0).abs() < f64::EPSILON);
    // With a very low limit it fails, and gives the reason.
    let ran = there(
        dir,
        &[
            "run",
            "check_disk_use",
            &target,
            &url,
            "--var=check_disk_use_limit=0.000001",
        ],
    );
    assert_eq!(ran.status.code(), Some(1), "{ran:?}");
    assert!(stdout(&ran).contains(" % is used of /"), "{ran:?}");
    for role in [&["mend"][..], &["watch", "--routine"]] {
        assert!(
            there(dir, &[&["new", "role"], role].concat())
                .status
                .success()
        );
        // The server finds a new role without a reload.
        for mode in [&["--check"][..], &[]] {
            let args = [&["run", role[0], &target, &url], mode].concat();
            let ran = there(dir, &args);
            assert!(ran.status.success(), "{args:?}: {ran:?}");
        }
    }
    assert!(server.stop().success());
}
