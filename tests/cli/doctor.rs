//! `doctor`, with an Ansible that only pretends, and servers that say what they are told to.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::{Site, alert, promansible, run};

/// Logs in on the hosts of the inventory as the file `failures` says; without it, all is well.
const PLAYBOOK: &str = r#"#!/bin/sh
here=$(dirname "$0")/..
exec 3>"$PROMANSIBLE_EVENTS"
echo '{"event":"hello","protocol":1,"ansible":"2.19.0"}' >&3
[ -e "$here/failures" ] && cat "$here/failures" >&3
echo '{"event":"stats","hosts":{"web1":{},"web2":{},"twin1":{},"twin2":{}}}' >&3
"#;

/// As Alertmanager prints its configuration.
const ROUTED: &str = "route: {receiver: people, routes: [{receiver: promansible, continue: true}]}\n\
    receivers: [{name: people}, {name: promansible, webhook_configs: [{url: 'http://localhost:2/api/v1/webhook', send_resolved: true}]}]\n";

/// A server that answers each path with a text, and says this `Date`.
struct Fake(u16);

impl Fake {
    fn start(answers: &[(&str, String)], date: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers: HashMap<String, String> = answers
            .iter()
            .map(|(path, body)| ((*path).to_owned(), body.clone()))
            .collect();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                answer(stream, &answers, date);
            }
        });
        Self(port)
    }

    fn alertmanager(config: &str) -> Self {
        let status = json!({"config": {"original": config}, "versionInfo": {"version": "0.25.0"}});
        Self::start(&[("/api/v2/status", status.to_string())], None)
    }

    fn prometheus(targets: &Value, rules: &[&str], alertmanagers: usize) -> Self {
        let rule = |name: &&str| json!({"type": "alerting", "name": name, "query": "x"});
        let rules: Vec<Value> = rules.iter().map(rule).collect();
        let known = vec![json!({"url": "http://a"}); alertmanagers];
        let data = |data: Value| json!({"status": "success", "data": data}).to_string();
        Self::start(
            &[
                ("/api/v1/targets", data(json!({"activeTargets": targets}))),
                (
                    "/api/v1/rules",
                    data(json!({"groups": [{"name": "g", "rules": rules}]})),
                ),
                (
                    "/api/v1/alertmanagers",
                    data(json!({"activeAlertmanagers": known})),
                ),
            ],
            None,
        )
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.0)
    }
}

fn answer(mut stream: TcpStream, answers: &HashMap<String, String>, date: Option<&str>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    let _ = reader.read_line(&mut first);
    let mut line = String::from("-");
    while !line.trim().is_empty() {
        line.clear();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            break;
        }
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let (status, body) = match answers.get(path) {
        Some(body) => ("200 OK", body.as_str()),
        None => ("404 Not Found", ""),
    };
    let date = date.map_or_else(String::new, |date| format!("Date: {date}\r\n"));
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\n{date}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
}

fn scraped() -> Value {
    json!([{"labels": {"job": "x"}, "scrapeUrl": "http://localhost:2/metrics", "health": "up"}])
}

fn site() -> Site {
    let site = Site::new();
    site.write("bin/ansible-playbook", PLAYBOOK);
    site
}

/// A site whose Alertmanager and Prometheus are these.
fn connected(alertmanager: &Fake, prometheus: &Fake) -> Site {
    site().sections(&format!(
        "alertmanager: {{url: '{}'}}\nprometheus: {{url: '{}'}}\n",
        alertmanager.url(),
        prometheus.url()
    ))
}

/// Nothing answers there, or at most by chance.
const NOBODY: &str = "--server.url=http://127.0.0.1:1";
const OURS: &str = "--server.url=http://127.0.0.1:2";

fn command(site: &Site) -> Command {
    let mut command = promansible();
    command
        .arg("doctor")
        .arg(format!("--config.file={}", site.config_file().display()));
    command
}

/// What was found, and the exit code.
struct Looked {
    code: i32,
    findings: Vec<Value>,
}

impl Looked {
    fn of(output: &Output) -> Self {
        let report: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
        let looked = Self {
            code: output.status.code().unwrap(),
            findings: report["findings"].as_array().unwrap().clone(),
        };
        let is_bad = looked.findings.iter().any(|f| f["level"] == "error");
        assert_eq!(looked.code, i32::from(is_bad), "{report:#}");
        assert_eq!(report["level"] == "error", is_bad);
        for finding in &looked.findings {
            let is_ok = finding["level"] == "ok";
            assert!(is_ok || finding["message"] != "", "{finding}");
            assert!(
                finding["level"] != "error" || finding.get("remedy").is_some(),
                "{finding}"
            );
        }
        looked
    }

    /// The messages of this area and level, with their subjects and remedies.
    fn told(&self, area: &str, level: &str) -> Vec<String> {
        let of = |f: &&Value| f["area"] == area && f["level"] == level;
        let text = |f: &Value| {
            let text = |key: &str| f[key].as_str().unwrap_or_default().to_owned();
            format!(
                "{}: {} → {}",
                text("subject"),
                text("message"),
                text("remedy")
            )
        };
        self.findings.iter().filter(of).map(text).collect()
    }

    #[track_caller]
    fn assert_told(&self, area: &str, level: &str, wanted: &str) {
        let told = self.told(area, level);
        let is_told = told.iter().any(|line| line.contains(wanted));
        assert!(
            is_told,
            "want {wanted:?} in {told:#?}\nof {:#?}",
            self.findings
        );
    }
}

#[track_caller]
fn look(command: &mut Command) -> Looked {
    Looked::of(&run(command.args(["-o", "json"])))
}

#[track_caller]
fn look_at(site: &Site) -> Looked {
    look(command(site).arg(NOBODY))
}

/// Every file below a folder: its mode, its time and what is in it.
pub(crate) fn tree(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        let meta = path.symlink_metadata().unwrap();
        let mut content = String::new();
        if meta.is_dir() {
            let entries = fs::read_dir(&path).unwrap();
            waiting.extend(entries.map(|entry| entry.unwrap().path()));
        } else if meta.is_file() {
            let mut hasher = DefaultHasher::new();
            fs::read(&path).unwrap().hash(&mut hasher);
            content = hasher.finish().to_string();
        }
        let state = format!(
            "{:o} {}.{} {content}",
            meta.mode(),
            meta.mtime(),
            meta.mtime_nsec()
        );
        found.insert(path, state);
    }
    found
}

#[test]
fn where_all_is_good_it_says_so_and_changes_nothing() {
    let alertmanager = Fake::alertmanager(ROUTED);
    let prometheus = Fake::prometheus(&scraped(), &["PromansibleDown"], 1);
    let site = connected(&alertmanager, &prometheus);
    site.config_file();
    let before = tree(&site.path("."));
    let mut looking = promansible();
    looking.args(["doctor", OURS]).arg(format!(
        "--config.file={}",
        site.path("promansible.yml").display()
    ));
    let looked = look(&mut looking);
    assert_eq!(looked.code, 0);
    for (area, wanted) in [
        ("configuration", "valid (1 binding, 0 schedules)"),
        ("ansible", "ansible-core: 2.19.0"),
        ("inventory", "hosts: 4 hosts in 5 groups"),
        ("hosts", "web1: login and Python work"),
        (
            "alertmanager",
            "promansible: sends to http://localhost:2/api/v1/webhook",
        ),
        ("alertmanager", "promansible: tells when alerts resolve"),
        ("alertmanager", "promansible: a route leads to it"),
        ("prometheus", "scrape: scrapes http://localhost:2/metrics"),
        ("prometheus", "rules: 1 alert, with those about promansible"),
        ("prometheus", "alerting: sends to 1 Alertmanager"),
        ("machine", "no history yet"),
        ("machine", "open files: "),
        ("machine", "time zone: "),
        ("machine", "disk of the store: "),
    ] {
        looked.assert_told(area, "ok", wanted);
    }
    looked.assert_told("server", "warning", "no promansible answers there");
    looked.assert_told("roles", "warning", "argument specs: none in ok");
    assert_eq!(tree(&site.path(".")), before);

    // For a person the same, a line each.
    let output = run(command(&site).arg(OURS));
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = |sign: &str| {
        text.lines()
            .filter(|l| l.starts_with(&format!("  {sign} ")))
            .count()
    };
    let count = |level: &str| {
        looked
            .findings
            .iter()
            .filter(|f| f["level"] == level)
            .count()
    };
    assert_eq!(
        (lines("✓"), lines("!"), lines("✗")),
        (count("ok"), count("warning"), 0),
        "{text}"
    );
    assert!(
        text.contains("\nHosts\n  ✓ web1: login and Python work\n"),
        "{text}"
    );
    assert!(text.ends_with("0 errors. Nothing was changed.\n"), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
}

#[test]
fn a_bad_configuration_is_told_and_the_rest_is_looked_at() {
    let site = site().binding("b", "[okey]", "timeout: 5");
    let looked = look_at(&site);
    assert_eq!(looked.code, 1);
    looked.assert_told("configuration", "error", "unknown role \"okey\"");
    looked.assert_told("configuration", "error", "timeout");
    looked.assert_told("configuration", "error", "promansible check config");
    looked.assert_told("server", "warning", "no promansible answers");
    let missing = look(promansible().args(["doctor", NOBODY, "--config.file=/nowhere/p.yml"]));
    missing.assert_told("configuration", "error", "/nowhere/p.yml");
}

#[test]
fn a_missing_ansible_is_told_with_where_it_may_be() {
    let site = site();
    let file = site.config_file();
    let bin_dir = format!("bin_dir: {}, ", site.path("bin").display());
    let text = fs::read_to_string(&file).unwrap().replace(&bin_dir, "");
    fs::write(&file, text).unwrap();
    let looked = look(
        promansible()
            .args(["doctor", NOBODY])
            .arg(format!("--config.file={}", file.display()))
            .env("PATH", site.path("nowhere")),
    );
    looked.assert_told(
        "ansible",
        "error",
        "ansible-playbook: is not in PATH → install ansible-core",
    );
    looked.assert_told("ansible", "error", "ansible-inventory: is not in PATH");
    assert!(looked.told("hosts", "error").is_empty());
}

#[test]
fn an_old_ansible_and_an_empty_inventory_are_told() {
    let site = site();
    let inventory = site.path("bin/ansible-inventory");
    let text = fs::read_to_string(&inventory).unwrap();
    fs::write(&inventory, text.replace("core 2.19.0", "core 2.15.9")).unwrap();
    site.write("hosts", "{\"all\": {\"children\": []}}");
    let looked = look_at(&site);
    looked.assert_told("ansible", "error", "2.15.9 is too old");
    looked.assert_told("inventory", "error", "the inventory is empty");
    fs::write(&inventory, text.replace("core 2.19.0", "core 2.16.0")).unwrap();
    site.write("hold", "");
    let looked = look_at(&site);
    looked.assert_told("ansible", "warning", "2.16.0 works");
    looked.assert_told("inventory", "error", "the inventory is held");
}

#[test]
fn a_collection_that_a_role_needs_and_nobody_installed_is_told() {
    let site = site();
    site.write(
        "playbook/alert/roles/ok/tasks/main.yml",
        "- community.general.ufw: {state: enabled}\n- acme.web.reload:\n",
    );
    fs::create_dir_all(site.path("playbook/collections/ansible_collections/acme/web")).unwrap();
    let looked = look_at(&site);
    looked.assert_told("roles", "error", "community.general is not installed, and ");
    looked.assert_told(
        "roles",
        "error",
        "ansible-galaxy collection install community.general",
    );
    looked.assert_told("roles", "ok", "collections: acme.web");
}

#[test]
fn each_host_says_what_keeps_ansible_from_it() {
    let site = site().ansible("become", "true").ansible("user", "deploy");
    let event = |host: &str, task: &str, status: &str, message: &str| {
        let event = json!({"event": "task", "host": host, "task": task, "action": "raw", "status": status, "message": message});
        format!("{event}\n")
    };
    let failures = [
        event(
            "web1",
            "login",
            "unreachable",
            "Failed to connect to the host via ssh: Host key verification failed.",
        ),
        event(
            "web2",
            "python",
            "ignored",
            "/bin/sh: 1: /usr/bin/python3: not found",
        ),
        event("web2", "sudo", "failed", "sudo: a password is required"),
        event("twin1", "login", "unreachable", "odd \x1b[2J\u{202e}words"),
    ];
    site.write("failures", &failures.concat());
    let looked = look_at(&site);
    for wanted in [
        "web1: its host key is not in known_hosts → see its keys with `ssh-keyscan -p 22 10.0.0.1",
        "web2: there is no Python",
        "web2: sudo wants a password → let the remote user (deploy, unless the inventory names another) run sudo",
        "twin1: login fails: odd ",
    ] {
        looked.assert_told("hosts", "error", wanted);
    }
    looked.assert_told("hosts", "ok", "twin2: login, sudo and Python work");
    let text = run(command(&site).arg(NOBODY));
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(!text.contains(['\x1b', '\u{202e}']), "{text}");

    let only = look(command(&site).args([NOBODY, "--limit", "edge,gone"]));
    only.assert_told("hosts", "error", "gone: neither a host nor a group");
    assert!(!format!("{:?}", only.findings).contains("web1"));
}

#[test]
fn alertmanager_must_send_to_us_and_tell_when_alerts_resolve() {
    let prometheus = Fake::prometheus(&scraped(), &[], 0);
    let with = |config: &str| {
        let alertmanager = Fake::alertmanager(config);
        look_at(&connected(&alertmanager, &prometheus))
    };
    let none = with("route: {receiver: x}\nreceivers: [{name: x}]\n");
    none.assert_told(
        "alertmanager",
        "error",
        "receivers: none sends to http://127.0.0.1:1/api/v1/webhook",
    );
    let ours = |site: &Site| look(command(site).arg(OURS));
    let with = |config: &str| ours(&connected(&Fake::alertmanager(config), &prometheus));
    with(&ROUTED.replace("send_resolved: true", "send_resolved: false")).assert_told(
        "alertmanager",
        "error",
        "promansible: send_resolved is false",
    );
    with(&ROUTED.replace("api/v1/webhook", "webhook")).assert_told(
        "alertmanager",
        "error",
        "sends to http://localhost:2/webhook, where no notification is taken",
    );
    with(&ROUTED.replace(
        "[{receiver: promansible",
        "[{receiver: people}, {receiver: promansible",
    ))
    .assert_told("alertmanager", "error", "no route leads to it");
    with(&ROUTED.replace("http://localhost:2/api/v1/webhook", "<secret>")).assert_told(
        "alertmanager",
        "warning",
        "hides the addresses",
    );
    let away = site().sections("alertmanager: {url: 'http://127.0.0.1:1'}\n");
    look_at(&away).assert_told("alertmanager", "error", "nothing answers there");
    look_at(&site()).assert_told("alertmanager", "warning", "alertmanager.url: not set");
}

#[test]
fn prometheus_must_scrape_us_and_know_an_alertmanager() {
    let alertmanager = Fake::alertmanager(ROUTED);
    let with = |targets: &Value, rules: &[&str], alertmanagers| {
        let prometheus = Fake::prometheus(targets, rules, alertmanagers);
        let site = connected(&alertmanager, &prometheus);
        let site = site.binding("typo", "[ok]", "matchers: ['alertname=Dwon']");
        look(command(&site).arg(OURS))
    };
    let looked = with(&json!([]), &["Down"], 0);
    looked.assert_told("prometheus", "error", "scrape: no target on port 2");
    looked.assert_told("prometheus", "error", "alerting: it knows no Alertmanager");
    looked.assert_told("prometheus", "warning", "none about promansible itself");
    looked.assert_told(
        "prometheus",
        "warning",
        "binding typo: no rule of this Prometheus is called Dwon",
    );
    let mut targets = scraped();
    targets[0]["health"] = "down".into();
    targets[0]["lastError"] = "server returned HTTP status 401".into();
    with(&targets, &["PromansibleDown"], 1).assert_told(
        "prometheus",
        "error",
        "http://localhost:2/metrics is down: server returned HTTP status 401",
    );
    let away = site().sections("prometheus: {url: 'http://127.0.0.1:1'}\n");
    look_at(&away).assert_told("prometheus", "error", "nothing answers there");
}

#[test]
fn a_clock_that_is_off_is_told() {
    let status = json!({"config": {"original": ROUTED}, "versionInfo": {}}).to_string();
    let date = "Mon, 02 Jan 2023 10:00:00 GMT";
    let alertmanager = Fake::start(&[("/api/v2/status", status)], Some(date));
    let site = site().sections(&format!(
        "alertmanager: {{url: '{}'}}\n",
        alertmanager.url()
    ));
    look_at(&site).assert_told("machine", "error", "clock of Alertmanager: ");
}

#[test]
fn a_store_that_cannot_be_is_told_and_not_touched() {
    let site = site();
    site.write("file", "");
    let at = |path: &Path| {
        let path = format!("--storage.path={}", path.display());
        look(command(&site).args([NOBODY, &path]))
    };
    at(&site.path("file/store.redb")).assert_told("machine", "error", "file is no folder");
    assert_eq!(fs::read(site.path("file")).unwrap(), b"");
    site.write(
        "data/store.redb",
        "this is no store, but a text that somebody put there\n",
    );
    let before = tree(&site.path("data"));
    at(&site.store()).assert_told("machine", "error", "is damaged or not a promansible store");
    assert_eq!(tree(&site.path("data")), before);
    at(&site.path("deep/er/store.redb")).assert_told(
        "machine",
        "ok",
        "the first start makes it in",
    );
    assert!(!site.path("deep").exists());
    if !nix::unistd::geteuid().is_root() {
        fs::create_dir(site.path("shut")).unwrap();
        fs::set_permissions(site.path("shut"), fs::Permissions::from_mode(0o555)).unwrap();
        at(&site.path("shut/store.redb")).assert_told("machine", "error", "cannot write in");
    }
}

#[test]
fn a_low_limit_of_open_files_is_told() {
    let site = site();
    let looked = look(
        Command::new("sh")
            .args(["-c", "ulimit -n 256 && exec \"$@\"", "sh"])
            .arg(env!("CARGO_BIN_EXE_promansible"))
            .args(["doctor", NOBODY])
            .arg(format!("--config.file={}", site.config_file().display())),
    );
    looked.assert_told(
        "machine",
        "error",
        "open files: this shell may open 256, and promansible may need 1152",
    );
}

#[test]
fn beside_a_running_server_it_looks_at_that_too() {
    let site = site();
    let server = site.start();
    let url = format!("--server.url=http://{}", server.address);
    let looked = look(command(&site).arg(&url));
    assert_eq!(looked.code, 0);
    looked.assert_told("machine", "ok", "a running promansible has it");
    looked.assert_told("server", "ok", "ready");
    looked.assert_told("server", "warning", "notifications: none has arrived yet");
    server.deliver(&[alert("Down", "web1")]);
    let looked = look(command(&site).arg(&url));
    looked.assert_told("server", "ok", "notifications: the last was about ");
    site.write("hold", "");
    server.kill();
}

#[test]
fn it_may_be_ended_at_any_time_and_leaves_nothing() {
    let site = site();
    site.write("stuck", "");
    let folder = site.path("tmp");
    fs::create_dir(&folder).unwrap();
    let mut child = command(&site)
        .arg(NOBODY)
        .env("TMPDIR", &folder)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let begin = std::time::Instant::now();
    while fs::read_dir(&folder).unwrap().next().is_none() {
        assert!(begin.elapsed() < crate::support::PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}
