//! `schedules` and `bindings`, against a server.

use std::fs;
use std::process::Command;

use crate::bench::{Site, golden, promansible, run};

fn command(url: &str, args: &[&str]) -> Command {
    let mut command = promansible();
    command.arg(args[0]).arg(format!("--server.url={url}"));
    command.args(&args[1..]);
    command
}

#[test]
fn schedules_and_bindings_are_made_shown_and_removed() {
    let site = Site::new()
        .sections("schedules: [{name: filed, cron: '0 4 1 1 *', roles: [check_dns], target: controller, enabled: false}]");
    fs::create_dir_all(site.path("playbook/routine/roles/check_dns")).unwrap();
    let server = site.start();
    let url = format!("http://{}", server.address);
    let mut shown = String::new();
    for args in [
        &["schedules", "next", "30 2 * * *", "--timezone=Mars"][..],
        &[
            "schedules",
            "add",
            "dns",
            "--cron=0 0 29 2 *",
            "--timezone=Asia/Shanghai",
            "--role=check_dns",
            "--target=group:web",
            "--var=n=1",
            "--missed=once",
            "--jitter=30s",
        ],
        &[
            "schedules",
            "add",
            "dns",
            "--cron=@daily",
            "--role=check_dns",
            "--target=controller",
        ],
        &[
            "schedules",
            "add",
            "x",
            "--cron=@daily",
            "--role=check_dnss",
            "--target=controller",
        ],
        &["schedules", "list"],
        &["schedules", "pause", "dns"],
        &["schedules", "show", "dns"],
        &["schedules", "run", "dns"],
        &["schedules", "resume", "dns"],
        &["schedules", "remove", "filed"],
        &["schedules", "remove", "dns"],
        &["schedules", "remove", "dns"],
        &[
            "bindings",
            "add",
            "disk",
            "--match=alertname=\"Disk\"",
            "--role=ok",
            "--var=v={{ x }}",
            "--check",
        ],
        &["bindings", "list"],
        &["bindings", "show", "disk"],
        &["bindings", "show", "all"],
        &["bindings", "remove", "disk"],
        &["bindings", "show", "disk"],
    ] {
        let output = run(&mut command(&url, args));
        let line: Vec<String> = args.iter().map(|arg| format!("{arg:?}")).collect();
        shown.push_str(&format!("$ promansible {}\n", line.join(" ")));
        shown.push_str(&String::from_utf8_lossy(&output.stdout));
        shown.push_str(&String::from_utf8_lossy(&output.stderr));
        shown.push_str(&format!("({})\n\n", output.status.code().unwrap()));
    }
    let playbook = site.path("playbook").display().to_string();
    let shown = shown.replace(&playbook, "PLAYBOOK");
    golden("cli/objects.txt", &without_times(&shown));
}

/// Which times there are depends on today.
fn without_times(text: &str) -> String {
    let time = regex::Regex::new(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( UTC|Z)").unwrap();
    time.replace_all(text, "TIME").into_owned()
}
