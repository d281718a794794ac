//! `doctor` with real servers: sshd, Ansible, Alertmanager, Prometheus and promansible itself.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::doctor::tree;
use crate::stack::alertmanager::Alertmanager;
use crate::stack::ansible::Release;
use crate::stack::http;
use crate::stack::prometheus::Prometheus;
use crate::stack::sshd::Sshd;
use crate::stack::wait::wait_until;
use crate::support::{Server, Site, promansible, run};

/// A site with a real Ansible and five hosts: one login succeeds, the others fail.
fn site(sshd: &Sshd) -> Site {
    let site = Site::new()
        .ansible("become", "true")
        .ansible("user", &sshd.user);
    let bin = Release::V2_19.bin_dir().unwrap();
    for program in ["ansible-playbook", "ansible-inventory"] {
        let wrapper = format!("#!/bin/sh\nexec {}/{program} \"$@\"\n", bin.display());
        site.write(&format!("bin/{program}"), &wrapper);
    }
    let inventory = format!(
        "[web]\ngood ansible_host=127.0.0.1 ansible_port={port}\n\
         unknown ansible_host=127.0.0.2 ansible_port={port}\n\
         closed ansible_host=127.0.0.1 ansible_port=1\n\
         stranger ansible_host=127.0.0.1 ansible_port={port} ansible_user=nobody-of-this-name\n\
         nameless ansible_host=there-is-no-such-host.invalid\n\
         [all:vars]\nansible_ssh_private_key_file={key}\nansible_ssh_common_args='{options}'\n\
         ansible_python_interpreter=/usr/bin/python3\nansible_remote_tmp={remote}\n",
        port = sshd.port,
        key = sshd.key.display(),
        options = sshd.client_options(),
        remote = site.path("remote").display(),
    );
    site.write("hosts", &inventory);
    site
}

fn doctor(site: &Site, sections: &str, server: &Server) -> (Option<i32>, String) {
    let file = site.config_file();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}{sections}")).unwrap();
    let url = format!("--server.url=http://{}", server.address);
    let mut command: Command = promansible();
    command
        .args(["doctor", &url])
        .arg(format!("--config.file={}", file.display()));
    let output = run(&mut command);
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

#[test]
fn real_servers_are_checked_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let sshd = Sshd::start_on(&dir.path().join("sshd"), &["127.0.0.1", "127.0.0.2"]).unwrap();
    let known = fs::read_to_string(&sshd.known_hosts).unwrap();
    let known: Vec<&str> = known
        .lines()
        .filter(|line| line.starts_with("[127.0.0.1]"))
        .collect();
    fs::write(&sshd.known_hosts, known.join("\n") + "\n").unwrap();
    let site = site(&sshd);
    let server = site.start();
    let port = server.address.port();
    let alertmanager = Alertmanager::start_with(
        &dir.path().join("alertmanager"),
        &include_str!("../../config/alertmanager.yml").replace("10942", &port.to_string()),
    )
    .unwrap();
    let rules = "groups: [{name: g, rules: [{alert: PromansibleDown, expr: up == 0}]}]\n";
    let settings = format!(
        "global: {{scrape_interval: 1s}}\nrule_files: [rules.yml]\n\
         alerting: {{alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{}']}}]}}]}}\n\
         scrape_configs: [{{job_name: pm, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n",
        alertmanager.port
    );
    let prometheus =
        Prometheus::start_with(&dir.path().join("prometheus"), &settings, rules).unwrap();
    wait_until(Duration::from_secs(30), "a scrape", || {
        Ok((prometheus.value("up{job=\"pm\"}")? == Some(1.0)).then_some(()))
    })
    .unwrap();
    wait_until(Duration::from_secs(30), "an Alertmanager", || {
        let known = http::data(prometheus.port, "/api/v1/alertmanagers")?;
        Ok(known["activeAlertmanagers"][0].is_object().then_some(()))
    })
    .unwrap();

    let before = (
        tree(&site.path("playbook")),
        fs::read(&sshd.known_hosts).unwrap(),
    );
    let sections = format!(
        "alertmanager: {{url: 'http://127.0.0.1:{}'}}\nprometheus: {{url: 'http://127.0.0.1:{}'}}\n",
        alertmanager.port, prometheus.port
    );
    let (code, text) = doctor(&site, &sections, &server);
    assert_eq!(code, Some(1), "{text}");
    for wanted in [
        "✓ ansible-core: 2.19.".to_owned(),
        "✓ Python: 3.".to_owned(),
        "✓ hosts: 5 hosts in ".to_owned(),
        "✓ good: login, sudo and Python work\n".to_owned(),
        "✗ unknown: its host key is not in known_hosts\n".to_owned(),
        "✗ closed: nothing listens on its ssh port\n".to_owned(),
        "✗ stranger: it refuses the login\n".to_owned(),
        "nobody-of-this-name@127.0.0.1` as".to_owned(),
        "✗ nameless: its name does not resolve\n".to_owned(),
        format!("ssh-keyscan -p {} 127.0.0.2 | ssh-keygen -lf -", sshd.port),
        format!("✓ promansible: sends to http://localhost:{port}/api/v1/webhook\n"),
        "✓ promansible: a route leads to it\n".to_owned(),
        "✓ alerting: sends to 1 Alertmanager\n".to_owned(),
        format!("✓ scrape: scrapes http://127.0.0.1:{port}/metrics\n"),
        "✓ rules: 1 alert, including those about promansible\n".to_owned(),
        "✓ clock of Alertmanager: ".to_owned(),
        "✓ clock of Prometheus: ".to_owned(),
        "in use by a running promansible\n".to_owned(),
        ", 4 errors. Nothing was changed.\n".to_owned(),
    ] {
        assert!(text.contains(&wanted), "{wanted}\n{text}");
    }
    let after = (
        tree(&site.path("playbook")),
        fs::read(&sshd.known_hosts).unwrap(),
    );
    assert_eq!(before, after);
    assert!(!site.path("remote").exists());
}
