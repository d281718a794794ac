//! `schedules` and `bindings`, against a server.

use std::fs;
use std::process::Command;

use crate::support::{Site, golden, promansible, run};

fn command(url: &str, args: &[&str]) -> Command {
    let mut command = promansible();
    command.arg(args[0]).arg(format!("--server.url={url}"));
    command.args(&args[1..]);
    command
}

#[test]
fn the_next_times_need_no_server_and_are_those_of_the_zone() {
    let next = |args: &[&str]| {
        let nowhere = ["schedules", "--server.url=http://127.0.0.1:9", "next"];
        run(promansible().args(nowhere).args(args))
    };
    let good = next(&["0 2 29 2 *", "--timezone=Asia/Kolkata", "--count=2"]);
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    let said = String::from_utf8(good.stdout).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "At 02:00, on day 29, in February");
    assert_eq!(lines.len(), 3, "{said}");
    for line in &lines[1..] {
        assert!(
            line.contains("-02-29 02:00:00 +05:30 Asia/Kolkata  ("),
            "{line}"
        );
        assert!(line.ends_with("-02-28 20:30:00 UTC)"), "{line}");
    }
    let utc = String::from_utf8(next(&["@yearly", "--count=1"]).stdout).unwrap();
    assert!(utc.ends_with("-01-01 00:00:00 UTC\n"), "{utc}");
    for (args, why) in [
        (
            &["0 25 * * *"][..],
            r#"hour: "25" is out of range; write a number from 0 to 23"#,
        ),
        (
            &["0 0 * MON *"],
            r#"month: "MON" belongs in the field day of the week"#,
        ),
        (&["@reboot"], r#""@reboot" is not supported"#),
        (
            &["@daily", "--timezone=Europe/Berln"],
            "did you mean Europe/Berlin?",
        ),
        (&["@daily", "--count=0"], "1..=1000"),
    ] {
        let bad = next(args);
        let said = String::from_utf8(bad.stderr).unwrap();
        assert_eq!(bad.status.code(), Some(2), "{said}");
        assert!(said.contains(why), "{said}");
    }
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
        ][..],
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
