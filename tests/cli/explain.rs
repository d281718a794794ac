//! `explain`: the decisions about a notification, without a server.

use std::collections::BTreeMap;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::{Alert, Site, alert, body, golden, notification, promansible, run, run_with};

fn site() -> Site {
    Site::new()
        .no_bindings()
        .binding("disk", "[ok, fail]", "")
        .binding("fleet", "[ok]", "target: {group: web}; stop: true")
        .binding("never", "[ok]", "")
}

fn alerts() -> Vec<Alert> {
    let on = |name: &str, instance: &str, which: &str| alert(name, instance).label("for", which);
    vec![
        on("DiskFull", "web1:9100", "disk,fleet,never").annotation("summary", "It is full"),
        on("DiskFull", "web1:9100", "disk,fleet,never"),
        on("DiskFull", "10.0.0.9:9100", "disk"),
        on("DiskFull", "edge", "disk"),
        on("DiskFull", "x", "disk").without("instance"),
        on("DiskFull", "web2", "disk").label("__x", "reserved"),
        on("Gone", "web2", "disk").resolved(),
        on("Gone", "web2", "disk"),
        alert("Nobody", "web1").since(9),
        alert("Unnamed", "web1").without("alertname"),
    ]
}

fn explain(site: &Site, args: &[&str], input: &[u8]) -> Output {
    site.write("inventory.json", &crate::support::inventory().to_string());
    let mut command = promansible();
    command
        .arg("explain")
        .arg(format!("--config.file={}", site.config_file().display()))
        .arg(format!(
            "--inventory.json={}",
            site.path("inventory.json").display()
        ))
        .args(args)
        .arg("-");
    run_with(&mut command, input)
}

/// The fingerprints of these tests depend on the standard library's hasher.
fn without_fingerprints(text: &str) -> String {
    regex::Regex::new("[0-9a-f]{16}")
        .unwrap()
        .replace_all(text, "FINGERPRINT")
        .into_owned()
}

#[test]
fn a_person_reads_what_would_run_where_and_why_not() {
    let mut sent = body(&alerts());
    sent["truncatedAlerts"] = json!(3);
    let shown = explain(&site(), &[], sent.to_string().as_bytes());
    assert!(shown.status.success(), "{shown:?}");
    golden(
        "cli/explain.txt",
        &without_fingerprints(&String::from_utf8(shown.stdout).unwrap()),
    );
}

#[test]
fn a_program_reads_the_same_as_json() {
    let shown = explain(&site(), &["--format=json"], &notification(&alerts()));
    assert!(shown.status.success(), "{shown:?}");
    let text = String::from_utf8(shown.stdout).unwrap();
    serde_json::from_str::<Value>(&text).unwrap();
    golden("cli/explain.json", &without_fingerprints(&text));
}

#[test]
fn the_server_decides_what_explain_says() {
    let site = site();
    let shown = explain(&site, &["--format=json"], &notification(&alerts()));
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let mut said: BTreeMap<(String, String), f64> = BTreeMap::new();
    let mut hosts: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for decision in shown["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|a| a["decisions"].as_array().unwrap())
    {
        let binding = decision["binding"].as_str().unwrap_or("").to_owned();
        if decision["decision"] == "run" {
            hosts
                .entry(binding.clone())
                .or_default()
                .extend(decision["hosts"].as_array().unwrap().clone());
        }
        *said
            .entry((binding, decision["decision"].as_str().unwrap().to_owned()))
            .or_default() += 1.0;
    }
    assert!(said.len() >= 8, "{said:?}");

    let server = site.start();
    server.deliver(&alerts());
    let total: f64 = said.values().sum();
    for ((binding, decision), times) in &said {
        assert_eq!(
            server.decided(binding, decision),
            *times,
            "{binding} {decision}"
        );
    }
    let metrics = server.get("/metrics").text();
    let counted: f64 = metrics
        .lines()
        .filter_map(|line| {
            line.strip_prefix("promansible_decisions_total{")?
                .split(' ')
                .nth(1)?
                .parse::<f64>()
                .ok()
        })
        .sum();
    assert_eq!(counted, total, "and nothing else");
    for (binding, hosts) in hosts {
        let list = server.data(&format!("runs?binding={binding}"));
        assert_eq!(list["runs"].as_array().unwrap().len(), 1);
        assert_eq!(list["runs"][0]["hosts"], Value::Array(hosts), "{binding}");
    }
}

#[test]
fn without_a_listing_ansible_is_asked() {
    let site = site();
    let file = site.path("notification.json");
    std::fs::write(&file, notification(&alerts()[..1])).unwrap();
    let mut command = promansible();
    command
        .arg("explain")
        .arg(format!("--config.file={}", site.config_file().display()))
        .arg(&file);
    let shown = crate::support::run(&mut command);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(text.contains("ok, fail on web1"), "{text}");
    assert!(
        site.journal().is_empty() && !site.store().exists(),
        "nothing was run or kept"
    );
    site.write("hold", "");
    let shown = crate::support::run(&mut command);
    assert_eq!(shown.status.code(), Some(1));
    let error = String::from_utf8(shown.stderr).unwrap();
    assert!(error.contains("the inventory is held"), "{error}");
}

#[test]
fn a_signal_ends_the_listing_and_leaves_nothing_behind() {
    let site = site();
    let file = site.path("notification.json");
    std::fs::write(&file, notification(&alerts()[..1])).unwrap();
    site.write(
        "bin/ansible-inventory",
        "#!/bin/sh\n[ \"$1\" = --version ] && exit\ntrap '' INT\n: >\"$TMPDIR/scratch\"\n: >\"$(dirname \"$0\")/../asked\"\nsleep 60 & wait\n",
    );
    std::fs::create_dir(site.path("tmp")).unwrap();
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let mut child = promansible()
            .arg("explain")
            .arg(format!("--config.file={}", site.config_file().display()))
            .arg(&file)
            .env("TMPDIR", site.path("tmp"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let begin = Instant::now();
        while !site.path("asked").exists() {
            assert!(begin.elapsed() < crate::support::PATIENCE, "not asked");
            assert_eq!(child.try_wait().unwrap(), None);
            std::thread::sleep(Duration::from_millis(5));
        }
        site.remove("asked");
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(code), "{ended:?}");
        assert!(
            ended.stdout.is_empty() && ended.stderr.is_empty(),
            "{ended:?}"
        );
        let left: Vec<_> = std::fs::read_dir(site.path("tmp")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(site.processes(), [""; 0], "at once, not soon");
    }
}

#[test]
fn what_is_no_inventory_is_named_with_where_it_came_from() {
    let site = site();
    let sent = notification(&alerts()[..1]);
    let file = site.path("other.json");
    let named = file.display();
    for (text, why) in [
        ("", "it is empty"),
        (
            "{\"web\": 3}",
            "at web: invalid type: integer `3`, expected a group: a map with `hosts` and `children`, or a list of hosts at line 1 column 9",
        ),
    ] {
        site.write("other.json", text);
        let mut command = promansible();
        command
            .arg("explain")
            .arg(format!("--config.file={}", site.config_file().display()))
            .arg(format!("--inventory.json={named}"))
            .arg("-");
        let shown = run_with(&mut command, &sent);
        assert_eq!(shown.status.code(), Some(1));
        assert_eq!(
            String::from_utf8(shown.stderr).unwrap(),
            format!(
                "promansible: {named} is not an inventory: {why}; expected the output of `ansible-inventory --list`\n"
            )
        );
    }
    // Ansible's own answer, in its colours.
    site.write(
        "bin/ansible-inventory",
        "#!/bin/sh\nprintf 'first\\n\\033[31mno\\033[2Jsuch plugin\\033[0m\\n' >&2; exit 4\n",
    );
    let mut command = promansible();
    command
        .arg("explain")
        .arg(format!("--config.file={}", site.config_file().display()))
        .arg("-");
    let shown = run_with(&mut command, &sent);
    assert_eq!(
        String::from_utf8(shown.stderr).unwrap(),
        "the inventory cannot be read: ansible-inventory ended with 4: first\nnosuch plugin\n"
    );
}

#[test]
fn one_is_not_many_and_a_long_name_is_cut_in_every_line() {
    let long = "n".repeat(300);
    let sent = alert(&long, "web1").label("for", "disk");
    let mut sent = body(&[sent]);
    sent["truncatedAlerts"] = json!(1);
    let shown = explain(&site(), &[], sent.to_string().as_bytes());
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(
        text.starts_with("Not decided: 1 alert that Alertmanager omitted"),
        "{text}"
    );
    assert!(text.contains("\n1 alert, 1 decision to run. "), "{text}");
    assert_eq!(text.matches(&format!("{}…", "n".repeat(80))).count(), 2);
    assert!(!text.contains(&"n".repeat(81)), "{text}");
}

#[test]
fn hostile_text_drives_no_terminal() {
    let hostile = "x\x1b[2J\x1b]0;title\x07\r\u{9b}31m\u{202e}\nzz\0";
    let sent = alert(hostile, hostile)
        .label("for", "disk")
        .label("lang", hostile)
        .annotation("a", hostile);
    let named = alert("A", hostile)
        .label("for", "disk")
        .label(hostile, hostile);
    let shown = explain(&site(), &[], &notification(&[sent, named]));
    assert!(shown.status.success());
    let text = String::from_utf8(shown.stdout).unwrap();
    let bad: Vec<char> = text
        .chars()
        .filter(|c| *c != '\n' && c.is_control() || *c == '\u{202e}')
        .collect();
    assert!(bad.is_empty(), "{text:?}: {bad:?}");
    assert_eq!(
        text.lines().count(),
        2 * 4 + 1,
        "no line more than ours:\n{text}"
    );
}

#[test]
fn what_is_no_notification_is_said_with_its_field() {
    let mut wrong = body(&alerts()[..1]);
    wrong["alerts"][0]["fingerprint"] = json!(7);
    let shown = explain(&site(), &[], wrong.to_string().as_bytes());
    assert_eq!(shown.status.code(), Some(1));
    let error = String::from_utf8(shown.stderr).unwrap();
    assert!(
        error.starts_with("promansible: standard input: alerts[0].fingerprint: "),
        "{error}"
    );
}

#[test]
fn the_readme_shows_what_the_examples_give() {
    let project = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(project.join("README.md")).unwrap();
    let shown = readme.split("$ promansible explain config/notification.json\n");
    let shown = shown
        .clone()
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let ansible = project.join(".venv/ansible-2.19/bin");
    let path = format!("{}:{}", ansible.display(), std::env::var("PATH").unwrap());
    let mut command = promansible();
    command
        .args(["explain", "config/notification.json"])
        .current_dir(project)
        .env("PATH", path);
    let told = crate::support::run(&mut command);
    let error = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "{error}");
    assert_eq!(Some(&*String::from_utf8(told.stdout).unwrap()), shown);
}

#[test]
fn a_check_is_said_to_be_one() {
    let site = Site::new()
        .no_bindings()
        .binding("try", "[ok]", "mode: check")
        .binding("all", "[ok]", "");
    let body = notification(&[alert("DiskFull", "web1").label("for", "try")]);
    site.write("body.json", &String::from_utf8(body).unwrap());
    let explain = |format: &str| {
        let explained = run(promansible()
            .arg("explain")
            .arg(format!("--config.file={}", site.config_file().display()))
            .arg(format!("--format={format}"))
            .arg(site.path("body.json")));
        assert_eq!(explained.status.code(), Some(0), "{explained:?}");
        String::from_utf8(explained.stdout).unwrap()
    };
    let text = explain("text");
    assert!(
        text.contains("    try  run              ok on web1 (check mode)\n    all  run              ok on web1\n"),
        "{text}"
    );
    let json: serde_json::Value = serde_json::from_str(&explain("json")).unwrap();
    let decisions = &json["alerts"][0]["decisions"];
    assert_eq!(decisions[0]["check"], true);
    assert_eq!(decisions[1]["check"], serde_json::Value::Null);
}

#[test]
fn hosts_are_found_by_what_their_facts_tell_as_the_server_finds_them() {
    let site = Site::new();
    let server = site.start();
    let facts = json!({"facts": {"web2": {"ansible_fqdn": "two.example.com"}}}).to_string();
    let headers = [("Content-Type", "application/json")];
    let kept = server.request("POST", "/api/v1/facts", &headers, facts.as_bytes());
    assert_eq!(kept.status, 200, "{}", kept.text());
    let body = notification(&[alert("A", "two.example.com:9100")]);
    let ask = || {
        let mut command = promansible();
        let config = format!("--config.file={}", site.config_file().display());
        command.args(["explain", &config, "--format=json", "-"]);
        let output = run_with(&mut command, &body);
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        let explained: Value = serde_json::from_slice(&output.stdout).unwrap();
        (explained.to_string(), said)
    };
    // While a server has the store, it is said what is not known.
    let (explained, said) = ask();
    assert!(explained.contains("unknown_host"), "{explained}");
    assert!(said.contains("facts of hosts are not included"), "{said}");
    server.stop();
    let before = std::fs::read(site.store()).unwrap();
    let (explained, said) = ask();
    assert!(
        !explained.contains("unknown_host") && explained.contains("web2"),
        "{explained}"
    );
    assert_eq!(said, "");
    assert!(
        std::fs::read(site.store()).unwrap() == before,
        "it only reads"
    );
}
