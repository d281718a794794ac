//! `doctor`, with a fake Ansible and fake servers.

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

/// Simulates logins to the hosts of the inventory: it reports the events in the file `failures`, if there is one.
const PLAYBOOK: &str = r#"#!/bin/sh
here=$(dirname "$0")/..
exec 3>"$PROMANSIBLE_EVENTS"
echo '{"event":"hello","protocol":1,"ansible":"2.19.0"}' >&3
[ -e "$here/failures" ] && cat "$here/failures" >&3
echo '{"event":"stats","hosts":{"web1":{},"web2":{},"twin1":{},"twin2":{}}}' >&3
"#;

/// A configuration, as Alertmanager's API returns it.
const ROUTED: &str = "route: {receiver: people, routes: [{receiver: promansible, continue: true}]}\n\
    receivers: [{name: people}, {name: promansible, webhook_configs: [{url: 'http://localhost:2/api/v1/webhook', send_resolved: true}]}]\n";

/// A server that returns a fixed body for each path, with a `Date` header if one is given.
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

/// A site with this Alertmanager and Prometheus.
fn connected(alertmanager: &Fake, prometheus: &Fake) -> Site {
    site().sections(&format!(
        "alertmanager: {{url: '{}'}}\nprometheus: {{url: '{}'}}\n",
        alertmanager.url(),
        prometheus.url()
    ))
}

/// An address where nothing listens.
const UNUSED: &str = "--server.url=http://127.0.0.1:1";
const OURS: &str = "--server.url=http://127.0.0.1:2";

fn command(site: &Site) -> Command {
    let mut command = promansible();
    command
        .arg("doctor")
        .arg(format!("--config.file={}", site.config_file().display()));
    command
}

/// The exit code and the findings.
struct Report {
    code: i32,
    findings: Vec<Value>,
}

impl Report {
    fn of(output: &Output) -> Self {
        let json: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
        let report = Self {
            code: output.status.code().unwrap(),
            findings: json["findings"].as_array().unwrap().clone(),
        };
        let is_bad = report.findings.iter().any(|f| f["level"] == "error");
        assert_eq!(report.code, i32::from(is_bad), "{json:#}");
        assert_eq!(json["level"] == "error", is_bad);
        for finding in &report.findings {
            let is_ok = finding["level"] == "ok";
            assert!(is_ok || finding["message"] != "", "{finding}");
            assert!(
                finding["level"] != "error" || finding.get("remedy").is_some(),
                "{finding}"
            );
        }
        report
    }

    /// Returns the messages of this area and level, with their subjects and remedies.
    fn lines(&self, area: &str, level: &str) -> Vec<String> {
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
    fn assert_line(&self, area: &str, level: &str, wanted: &str) {
        let found = self.lines(area, level);
        let is_found = found.iter().any(|line| line.contains(wanted));
        assert!(
            is_found,
            "expected {wanted:?} in {found:#?}\nof {:#?}",
            self.findings
        );
    }
}

#[track_caller]
fn examine(command: &mut Command) -> Report {
    Report::of(&run(command.args(["-o", "json"])))
}

#[track_caller]
fn examine_site(site: &Site) -> Report {
    examine(command(site).arg(UNUSED))
}

/// Returns every file below a folder with its mode, time and a hash of its content.
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
fn a_good_installation_passes_and_nothing_is_changed() {
    let alertmanager = Fake::alertmanager(ROUTED);
    let prometheus = Fake::prometheus(&scraped(), &["PromansibleDown"], 1);
    let site = connected(&alertmanager, &prometheus);
    site.config_file();
    let before = tree(&site.path("."));
    let mut doctor = promansible();
    doctor.args(["doctor", OURS]).arg(format!(
        "--config.file={}",
        site.path("promansible.yml").display()
    ));
    let report = examine(&mut doctor);
    assert_eq!(report.code, 0);
    for (area, wanted) in [
        ("configuration", "valid (1 binding, 0 schedules)"),
        ("ansible", "ansible-core: 2.19.0"),
        ("inventory", "hosts: 4 hosts in 5 groups"),
        ("hosts", "web1: login and Python work"),
        (
            "alertmanager",
            "promansible: sends to http://localhost:2/api/v1/webhook",
        ),
        ("alertmanager", "promansible: sends resolved alerts"),
        ("alertmanager", "promansible: a route leads to it"),
        ("prometheus", "scrape: scrapes http://localhost:2/metrics"),
        (
            "prometheus",
            "rules: 1 alert, including those about promansible",
        ),
        ("prometheus", "alerting: sends to 1 Alertmanager"),
        ("machine", "does not exist yet"),
        ("machine", "open files: "),
        ("machine", "time zone: "),
        ("machine", "disk of the store: "),
    ] {
        report.assert_line(area, "ok", wanted);
    }
    report.assert_line("server", "warning", "no server listens there");
    report.assert_line("roles", "warning", "argument specs: none in ok");
    assert_eq!(tree(&site.path(".")), before);

    // The text report has the same findings, one line each.
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
        report
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
fn a_bad_configuration_is_reported_and_the_rest_is_checked() {
    let site = site().binding("b", "[okey]", "timeout: 5");
    let report = examine_site(&site);
    assert_eq!(report.code, 1);
    report.assert_line("configuration", "error", "unknown role \"okey\"");
    report.assert_line("configuration", "error", "timeout");
    report.assert_line("configuration", "error", "promansible check config");
    report.assert_line("server", "warning", "no server listens there");
    let missing = examine(promansible().args(["doctor", UNUSED, "--config.file=/nowhere/p.yml"]));
    missing.assert_line("configuration", "error", "/nowhere/p.yml");
}

#[test]
fn a_missing_ansible_is_reported_with_the_remedy() {
    let site = site();
    let file = site.config_file();
    let bin_dir = format!("bin_dir: {}, ", site.path("bin").display());
    let text = fs::read_to_string(&file).unwrap().replace(&bin_dir, "");
    fs::write(&file, text).unwrap();
    let report = examine(
        promansible()
            .args(["doctor", UNUSED])
            .arg(format!("--config.file={}", file.display()))
            .env("PATH", site.path("nowhere")),
    );
    report.assert_line(
        "ansible",
        "error",
        "ansible-playbook: not found in PATH → install ansible-core",
    );
    report.assert_line("ansible", "error", "ansible-inventory: not found in PATH");
    assert!(report.lines("hosts", "error").is_empty());
}

#[test]
fn an_old_ansible_and_an_empty_inventory_are_reported() {
    let site = site();
    let inventory = site.path("bin/ansible-inventory");
    let text = fs::read_to_string(&inventory).unwrap();
    fs::write(&inventory, text.replace("core 2.19.0", "core 2.15.9")).unwrap();
    site.write("hosts", "{\"all\": {\"children\": []}}");
    let report = examine_site(&site);
    report.assert_line("ansible", "error", "2.15.9 is too old");
    report.assert_line("inventory", "error", "the inventory is empty");
    fs::write(&inventory, text.replace("core 2.19.0", "core 2.16.0")).unwrap();
    site.write("hold", "");
    let report = examine_site(&site);
    report.assert_line("ansible", "warning", "2.16.0 works");
    report.assert_line("inventory", "error", "the inventory is held");
}

#[test]
fn a_missing_collection_of_a_role_is_reported() {
    let site = site();
    site.write(
        "playbook/alert/roles/ok/tasks/main.yml",
        "- community.general.ufw: {state: enabled}\n- acme.web.reload:\n",
    );
    fs::create_dir_all(site.path("playbook/collections/ansible_collections/acme/web")).unwrap();
    let report = examine_site(&site);
    report.assert_line("roles", "error", "community.general is not installed, but ");
    report.assert_line(
        "roles",
        "error",
        "ansible-galaxy collection install community.general",
    );
    report.assert_line("roles", "ok", "collections: acme.web");
}

#[test]
fn each_host_has_the_cause_of_its_failure() {
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
    let report = examine_site(&site);
    for wanted in [
        "web1: its host key is not in known_hosts → list its keys with `ssh-keyscan -p 22 10.0.0.1",
        "web2: Python was not found",
        "web2: sudo requires a password → let the remote user (deploy, unless the inventory sets another) run sudo",
        "twin1: login fails: odd ",
    ] {
        report.assert_line("hosts", "error", wanted);
    }
    report.assert_line("hosts", "ok", "twin2: login, sudo and Python work");
    let text = run(command(&site).arg(UNUSED));
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(!text.contains(['\x1b', '\u{202e}']), "{text}");

    let only = examine(command(&site).args([UNUSED, "--limit", "edge,gone"]));
    only.assert_line("hosts", "error", "gone: neither a host nor a group");
    assert!(!format!("{:?}", only.findings).contains("web1"));
}

#[test]
fn alertmanager_must_send_to_us_including_resolved_alerts() {
    let prometheus = Fake::prometheus(&scraped(), &[], 0);
    let with = |config: &str| {
        let alertmanager = Fake::alertmanager(config);
        examine_site(&connected(&alertmanager, &prometheus))
    };
    let none = with("route: {receiver: x}\nreceivers: [{name: x}]\n");
    none.assert_line(
        "alertmanager",
        "error",
        "receivers: none sends to http://127.0.0.1:1/api/v1/webhook",
    );
    let ours = |site: &Site| examine(command(site).arg(OURS));
    let with = |config: &str| ours(&connected(&Fake::alertmanager(config), &prometheus));
    with(&ROUTED.replace("send_resolved: true", "send_resolved: false")).assert_line(
        "alertmanager",
        "error",
        "promansible: send_resolved is false",
    );
    with(&ROUTED.replace("api/v1/webhook", "webhook")).assert_line(
        "alertmanager",
        "error",
        "sends to http://localhost:2/webhook, which accepts no notifications",
    );
    with(&ROUTED.replace(
        "[{receiver: promansible",
        "[{receiver: people}, {receiver: promansible",
    ))
    .assert_line("alertmanager", "error", "no route leads to it");
    with(&ROUTED.replace("http://localhost:2/api/v1/webhook", "<secret>")).assert_line(
        "alertmanager",
        "warning",
        "hides the URLs",
    );
    let away = site().sections("alertmanager: {url: 'http://127.0.0.1:1'}\n");
    examine_site(&away).assert_line("alertmanager", "error", "nothing answers there");
    examine_site(&site()).assert_line("alertmanager", "warning", "alertmanager.url: not set");
}

#[test]
fn prometheus_must_scrape_us_and_have_an_alertmanager() {
    let alertmanager = Fake::alertmanager(ROUTED);
    let with = |targets: &Value, rules: &[&str], alertmanagers| {
        let prometheus = Fake::prometheus(targets, rules, alertmanagers);
        let site = connected(&alertmanager, &prometheus);
        let site = site.binding("typo", "[ok]", "matchers: ['alertname=Dwon']");
        examine(command(&site).arg(OURS))
    };
    let report = with(&json!([]), &["Down"], 0);
    report.assert_line("prometheus", "error", "scrape: no target on port 2");
    report.assert_line("prometheus", "error", "alerting: it has no Alertmanager");
    report.assert_line("prometheus", "warning", "none about promansible itself");
    report.assert_line(
        "prometheus",
        "warning",
        "binding typo: this Prometheus has no alerting rule Dwon",
    );
    let mut targets = scraped();
    targets[0]["health"] = "down".into();
    targets[0]["lastError"] = "server returned HTTP status 401".into();
    with(&targets, &["PromansibleDown"], 1).assert_line(
        "prometheus",
        "error",
        "http://localhost:2/metrics is down: server returned HTTP status 401",
    );
    let away = site().sections("prometheus: {url: 'http://127.0.0.1:1'}\n");
    examine_site(&away).assert_line("prometheus", "error", "nothing answers there");
}

#[test]
fn a_clock_that_is_off_is_reported() {
    let status = json!({"config": {"original": ROUTED}, "versionInfo": {}}).to_string();
    let date = "Mon, 02 Jan 2023 10:00:00 GMT";
    let alertmanager = Fake::start(&[("/api/v2/status", status)], Some(date));
    let site = site().sections(&format!(
        "alertmanager: {{url: '{}'}}\n",
        alertmanager.url()
    ));
    examine_site(&site).assert_line("machine", "error", "clock of Alertmanager: ");
}

#[test]
fn an_unusable_store_is_reported_and_not_changed() {
    let site = site();
    site.write("file", "");
    let at = |path: &Path| {
        let path = format!("--storage.path={}", path.display());
        examine(command(&site).args([UNUSED, &path]))
    };
    at(&site.path("file/store.redb")).assert_line("machine", "error", "file is not a folder");
    assert_eq!(fs::read(site.path("file")).unwrap(), b"");
    site.write("data/store.redb", "this is a text, not a store\n");
    let before = tree(&site.path("data"));
    at(&site.store()).assert_line("machine", "error", "is damaged or not a promansible store");
    assert_eq!(tree(&site.path("data")), before);
    at(&site.path("deep/er/store.redb")).assert_line(
        "machine",
        "ok",
        "the first start creates it in",
    );
    assert!(!site.path("deep").exists());
    if !nix::unistd::geteuid().is_root() {
        fs::create_dir(site.path("shut")).unwrap();
        fs::set_permissions(site.path("shut"), fs::Permissions::from_mode(0o555)).unwrap();
        at(&site.path("shut/store.redb")).assert_line("machine", "error", "cannot write to");
    }
}

#[test]
fn a_low_limit_of_open_files_is_reported() {
    let site = site();
    let report = examine(
        Command::new("sh")
            .args(["-c", "ulimit -n 256 && exec \"$@\"", "sh"])
            .arg(env!("CARGO_BIN_EXE_promansible"))
            .args(["doctor", UNUSED])
            .arg(format!("--config.file={}", site.config_file().display())),
    );
    report.assert_line(
        "machine",
        "error",
        "open files: the limit of this shell is 256, but promansible may need 1152",
    );
}

#[test]
fn a_running_server_is_checked_as_well() {
    let site = site();
    let server = site.start();
    let url = format!("--server.url=http://{}", server.address);
    let report = examine(command(&site).arg(&url));
    assert_eq!(report.code, 0);
    report.assert_line("machine", "ok", "in use by a running promansible");
    report.assert_line("server", "ok", "ready");
    report.assert_line("server", "warning", "notifications: none received yet");
    server.deliver(&[alert("Down", "web1")]);
    let report = examine(command(&site).arg(&url));
    report.assert_line("server", "ok", "notifications: the last one was about ");
    site.write("hold", "");
    server.kill();
}

#[test]
fn a_signal_ends_it_and_nothing_is_left() {
    let site = site();
    site.write("stuck", "");
    let folder = site.path("tmp");
    fs::create_dir(&folder).unwrap();
    let mut child = command(&site)
        .arg(UNUSED)
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

#[test]
fn what_cannot_be_read_or_asked_is_named_once_with_a_remedy() {
    let site = Site::new();
    let missing = site.path("missing.yml");
    let report = examine(
        promansible()
            .args(["doctor", "--server.url=ftp://x"])
            .arg(format!("--config.file={}", missing.display())),
    );
    let file = missing.display();
    report.assert_line(
        "configuration",
        "error",
        &format!("{file}: the configuration cannot be read: "),
    );
    assert!(!report.lines("configuration", "error")[0].contains(&format!("{file}: {file}")));
    report.assert_line("server", "error", "→ correct --server.url");
}
