//! The portal in a real browser: Debian's Chromium, led by playwright-core, and looked at by axe-core.
//!
//! What the browser does and must see stands in the scripts beside this file; here are the servers that it visits.
//! `PORTAL_PICTURES=DIR` makes it take a picture of every page, in light, dark and on a phone.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::format_push_string,
    clippy::float_cmp,
    reason = "the deny list is for the product: a test may panic, and it starts the binary and the browser itself"
)]

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::{Server, Site, alert};

/// Runs a script of this folder against a server; what it says is shown if it fails.
#[track_caller]
fn visit(script: &str, scripts: &str, site: &Site, server: &Server) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    let there = folder.join("node_modules/playwright-core").is_dir();
    assert!(
        there,
        "`tests/setup.sh test` installs what the browser needs"
    );
    let output = Command::new("node")
        .arg(folder.join(script))
        .env("PORTAL", format!("http://{}", server.address))
        .env("SITE", site.path(""))
        .env("SCRIPTS", scripts)
        .output()
        .unwrap_or_else(|e| panic!("node: {e}; `tests/setup.sh test` installs it"));
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}:\n{said}\n{errors}");
    // A script without a story would succeed, too.
    assert!(said.contains("pass "), "{said}");
    assert!(!said.contains("pass 0"), "{said}");
}

/// Roles for alerts and routine ones, and an Ansible that writes in colours.
fn site() -> Site {
    let site = Site::new().no_bindings();
    let pretended = fs::read_to_string(site.path("bin/ansible-playbook")).unwrap();
    program(&site, "bin/pretend", &pretended);
    let coloured = "#!/bin/sh\nprintf 'PLAY [all]\\n\\033[0;33mchanged: in colours\\033[0m\\n'\nexec \"$(dirname \"$0\")/pretend\" \"$@\"\n";
    program(&site, "bin/ansible-playbook", coloured);
    for role in ["check_dns", "tidy"] {
        fs::create_dir_all(site.path(&format!("playbook/routine/roles/{role}"))).unwrap();
    }
    site
}

fn program(site: &Site, name: &str, text: &str) {
    site.write(name, text);
    fs::set_permissions(site.path(name), fs::Permissions::from_mode(0o755)).unwrap();
}

#[track_caller]
fn send(server: &Server, path: &str, body: &Value) {
    let headers = [("Content-Type", "application/json")];
    let text = body.to_string();
    let answer = server.request(
        "POST",
        &format!("/api/v1/{path}"),
        &headers,
        text.as_bytes(),
    );
    assert!(answer.status < 300, "{path}: {}", answer.text());
}

#[test]
fn stories_with_scripts() {
    let site = site();
    visit("stories.mjs", "on", &site, &site.start());
}

#[test]
fn stories_without_scripts() {
    let site = site();
    visit("stories.mjs", "off", &site, &site.start());
}

#[test]
fn guards_with_scripts() {
    let site = site();
    visit("guards.mjs", "on", &site, &site.start());
}

#[test]
fn guards_without_scripts() {
    let site = site();
    visit("guards.mjs", "off", &site, &site.start());
}

#[test]
fn a_schedule_starts_by_itself() {
    let site = site();
    visit("schedule.mjs", "on", &site, &site.start());
}

/// One user, alice, whose password is hunter2.
fn asking() -> (Site, Server) {
    let site = site();
    let hash = bcrypt::hash("hunter2", 4).unwrap();
    site.secret(
        "web.yml",
        &format!("basic_auth_users: {{alice: '{hash}'}}\n"),
    );
    let file = format!("--web.config.file={}", site.path("web.yml").display());
    let site = site.arg(&file);
    let server = site.start_only();
    server.wait_for_log("inventory read");
    (site, server)
}

#[test]
fn a_user_signs_in_with_scripts() {
    let (site, server) = asking();
    visit("door.mjs", "on", &site, &server);
}

#[test]
fn a_user_signs_in_without_scripts() {
    let (site, server) = asking();
    visit("door.mjs", "off", &site, &server);
}

/// The real Ansible, on this machine.
#[test]
fn a_real_ansible_is_watched() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let site = Site::new().no_bindings();
    for name in ["ansible-playbook", "ansible-inventory"] {
        let real = project.join(format!(".venv/ansible-2.19/bin/{name}"));
        program(
            &site,
            &format!("bin/{name}"),
            &format!("#!/bin/sh\nexec '{}' \"$@\"\n", real.display()),
        );
    }
    for file in ["round.yml", "ansible.cfg"] {
        let shipped = project.join("playbook").join(file);
        fs::copy(shipped, site.path(&format!("playbook/{file}"))).unwrap();
    }
    site.write(
        "hosts",
        "[web]\nweb1 ansible_connection=local\n[all:vars]\nansible_python_interpreter='{{ ansible_playbook_python }}'\n",
    );
    let tasks = "- name: Greet\n  ansible.builtin.debug:\n    msg: \"{{ greet_word }}\"\n- name: Wait for the word to go on\n  ansible.builtin.wait_for:\n    path: GO\n    sleep: 1\n  delegate_to: localhost\n- name: Change something\n  ansible.builtin.command: echo changed\n  changed_when: true\n";
    let go = site.path("go").display().to_string();
    site.write(
        "playbook/routine/roles/greet/tasks/main.yml",
        &tasks.replace("GO", &go),
    );
    let spec = "argument_specs:\n  main:\n    options:\n      greet_word: {type: str, required: true, description: What it says.}\n";
    site.write("playbook/routine/roles/greet/meta/argument_specs.yml", spec);
    visit("real.mjs", "on", &site, &site.start());
}

const GUARDS: &str = "prometheus: {rule_files: [SITE/rules/*.yml]}
guards: {verify_within: 1s, circuit: {failures: 2, retry_after: 1h}, storm: {max_hosts: 0}}
";

/// Something on every page, long words among it.
#[test]
fn every_page_can_be_read_by_everybody() {
    let site = site()
        .binding("mend", "[ok, fail]", "matchers: ['alertname=\"SiteDown\"']")
        .binding(
            "break",
            "[fail]",
            "matchers: ['alertname=\"SiteBroken\"']",
        )
        .binding(
            "ask-somebody",
            "[ok, flood]",
            "matchers: ['alertname=\"SiteAsks\"']; approval: {ttl: 2h}; cooldown: 1m; storm: {max_hosts: 5}",
        )
        .sections(GUARDS);
    let rules = "groups:\n  - name: sites\n    rules:\n      - alert: SiteDown\n        expr: probe_success{job=\"blackbox\", instance=~\".+\"} == 0 and on (instance) up == 1\n        for: 2m\n        labels: {severity: critical}\n        annotations: {summary: A site does not answer., runbook_url: https://example.org/runbooks/site-down}\n      - alert: Unbound\n        expr: vector(1)\n";
    site.write("rules/sites.yml", rules);
    let readme = "# ok\n\nMends `things`, see [the web](https://example.org).\n\n- one\n- two\n\n```yaml\n- hosts: all\n  a_very_long_word_that_stands_in_a_block_of_code_and_must_not_widen_the_page_of_a_phone: true\n```\n";
    site.write("playbook/alert/roles/ok/README.md", readme);
    let spec = "argument_specs:\n  main:\n    short_description: Mends it\n    options:\n      ok_zone: {type: str, required: true, choices: [blue, red], description: Where it is.}\n      ok_map: {type: dict, options: {inner: {type: int, default: 3}}}\n";
    site.write("playbook/alert/roles/ok/meta/argument_specs.yml", spec);
    let server = site.start();
    let facts = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/facts/debian-12.json"),
    );
    let facts: Value = serde_json::from_str(&facts.unwrap()).unwrap();
    send(
        &server,
        "facts",
        &json!({"facts": {"web1": facts["ansible_facts"]}}),
    );
    let long = "a-host-with-a-name-that-is-longer-than-a-telephone-is-wide.example.org";
    send(
        &server,
        "hosts",
        &json!({"name": long, "groups": ["web"], "vars": {"ansible_port": 2222}}),
    );
    send(
        &server,
        "schedules",
        &json!({"name": "nightly", "cron": "0 3 * * *", "timezone": "Asia/Shanghai", "roles": ["check_dns"], "target": {"group": "web"}}),
    );
    send(
        &server,
        "bindings",
        &json!({"name": "by-hand", "matchers": ["alertname = \"SiteSlow\""], "roles": ["ok"], "target": {"alerting_host": "instance"}, "vars": {"ok_zone": "blue"}}),
    );
    server.deliver(&[
        alert("SiteDown", "web1").annotation("summary", "It is down."),
        alert("Unbound", "web2").label("a_label_with_a_long_value", &"x".repeat(80)),
    ]);
    server.wait_run(1, "finished");
    server.deliver(&[alert("SiteDown", "web1").resolved()]);
    server.deliver(&[alert("SiteSlow", long)]);
    server.wait_run(2, "finished");
    send(
        &server,
        "runs",
        &json!({"roles": ["tidy"], "target": {"group": "web"}, "check": true}),
    );
    server.wait_run(3, "finished");
    send(
        &server,
        "runs",
        &json!({"roles": ["wait"], "target": {"hosts": ["web1"]}}),
    );
    server.wait_run(4, "running");
    send(
        &server,
        "runs",
        &json!({"roles": ["wait"], "target": {"hosts": ["web1"]}}),
    );
    // Something waits for a person, something is left alone, and something did not help.
    server.deliver(&[alert("SiteBroken", "web2")]);
    server.wait_run(6, "finished");
    server.deliver(&[alert("SiteAsks", "web1"), alert("SiteAsks", long)]);
    server.wait_run(7, "queued");
    let origin = format!("http://{}", server.address);
    let headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Origin", &origin),
        ("Sec-Fetch-Site", "same-origin"),
    ];
    let form = b"for=2h&why=It+gets+a+new+disk%2C+see+the+ticket";
    let held = server.request("POST", "/hosts/web2/hold", &headers, form);
    assert_eq!(held.status, 303, "{}", held.text());
    visit("pages.mjs", "on", &site, &server);
}
