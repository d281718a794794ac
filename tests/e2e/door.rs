//! The real Prometheus and Alertmanager come in through TLS: by password, by token, and by client certificate.

// Configuration files are put together here, once each.
#![allow(clippy::format_push_string)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use crate::plan;
use crate::stack::alertmanager::Alertmanager;
use crate::stack::metrics::Metrics;
use crate::stack::pki::Pki;
use crate::stack::process::{Process, command, find, run};
use crate::stack::prometheus::Prometheus;
use crate::stack::wait::on_free_port;
use crate::stack::world::Folder;
use crate::stack::{Failure, http, wait_until};

const LIMIT: Duration = Duration::from_mins(1);

const TOKEN: &str = "0123456789abcdef-metrics-and-receive";

/// What each way in is called, and (Prometheus 2.42 says no type of its own in `http_sd_configs`) what a client of Prometheus's family is told of it. The last knows a wrong password.
fn ways(dir: &Path) -> [(&'static str, String); 5] {
    let dir = dir.display();
    let tls = format!("ca_file: {dir}/pki/ca.pem");
    let basic = |password: &str| {
        format!("basic_auth: {{username: monitoring, password: {password}}}, tls_config: {{{tls}}}")
    };
    [
        ("basic", basic("hunter2")),
        (
            "bearer",
            format!(
                "authorization: {{type: Bearer, credentials_file: {dir}/token}}, tls_config: {{{tls}}}"
            ),
        ),
        (
            "mtls",
            format!(
                "tls_config: {{{tls}, cert_file: {dir}/pki/monitoring.pem, key_file: {dir}/pki/monitoring.key}}"
            ),
        ),
        (
            "self",
            format!(
                "tls_config: {{{tls}, cert_file: {dir}/pki/self.pem, key_file: {dir}/pki/self.key}}"
            ),
        ),
        ("wrong", basic("hunter3")),
    ]
}

/// What people make by `openssl req -x509`: a certificate that says that it is an authority's, and its key.
fn self_signed(dir: &Path, name: &str, san: &str) -> Result<(), Failure> {
    let file = |extension: &str| dir.join(format!("{name}.{extension}"));
    let mut openssl = command("openssl");
    openssl
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args(["-subj", &format!("/CN={name}")])
        .args(["-addext", &format!("subjectAltName={san}")])
        .arg("-keyout")
        .arg(file("key"))
        .arg("-out")
        .arg(file("pem"));
    run(&mut openssl)?;
    fs::set_permissions(file("key"), Permissions::from_mode(0o600))
        .map_err(|e| Failure::new(e.to_string()))
}

fn secret(file: &Path, text: &str) -> std::io::Result<()> {
    fs::write(file, "")?;
    fs::set_permissions(file, Permissions::from_mode(0o600))?;
    fs::write(file, text)
}

/// A promansible behind TLS that lets monitoring in by all three ways, for metrics and notifications only.
fn promansible(dir: &Path) -> Result<(Process, u16), Failure> {
    let io = |e: std::io::Error| Failure::new(format!("promansible in {}: {e}", dir.display()));
    let plan = plan();
    fs::create_dir_all(dir.join("data")).map_err(io)?;
    fs::write(
        dir.join("inventory"),
        "[web]\nweb01 ansible_host=127.0.0.1\n",
    )
    .map_err(io)?;
    secret(&dir.join("token"), &format!("{TOKEN}\n")).map_err(io)?;
    let pki = Pki::new(&dir.join("pki"), "authority");
    pki.issue("server", &["127.0.0.1"]);
    pki.issue("monitoring", &["monitoring.example"]);
    self_signed(&dir.join("pki"), "self", "DNS:monitoring.example")?;
    let both = ["ca.pem", "self.pem"].map(|file| fs::read_to_string(pki.path(file)));
    let [ca, own] = both;
    fs::write(pki.path("clients.pem"), ca.map_err(io)? + &own.map_err(io)?).map_err(io)?;
    let hash = bcrypt::hash("hunter2", 10).map_err(|e| Failure::new(e.to_string()))?;
    let web = format!(
        "tls_server_config: {{cert_file: pki/server.pem, key_file: pki/server.key, client_auth_type: VerifyClientCertIfGiven, client_ca_file: pki/clients.pem, client_allowed_sans: [monitoring.example]}}\nbasic_auth_users: {{monitoring: '{hash}'}}\n"
    );
    secret(&dir.join("web.yml"), &web).map_err(io)?;
    let config = format!(
        "ansible: {{bin_dir: {}, playbook_dir: {}, inventory: [{dir}/inventory]}}
storage: {{path: {dir}/data/store.redb}}
web:
  tokens: [{{name: by-token, file: {dir}/token, scopes: [metrics, receive]}}]
  users: {{monitoring: [metrics, receive]}}
  certificates: {{monitoring.example: [metrics, receive]}}
bindings: []
",
        plan.ansible.bin_dir()?.display(),
        crate::stack::ansible::project().join("playbook").display(),
        dir = dir.display(),
    );
    fs::write(dir.join("promansible.yml"), config).map_err(io)?;
    let ready = |port: u16| status(dir, port, "/-/ready", &["-u", "monitoring:hunter2"]) == "200";
    on_free_port(
        "promansible",
        LIMIT,
        |port| {
            let arguments = [
                "serve".to_owned(),
                format!("--config.file={}/promansible.yml", dir.display()),
                format!("--web.config.file={}/web.yml", dir.display()),
                format!("--web.listen-address=127.0.0.1:{port}"),
            ];
            let log = dir.join("log");
            Process::start("promansible", &plan.binary, &arguments, &[], &log)
        },
        ready,
    )
}

/// What curl is answered.
fn status(dir: &Path, port: u16, path: &str, options: &[&str]) -> String {
    let output = command("curl")
        .args(["-sS", "-o", "/dev/null", "-w", "%{http_code}"])
        .args(["--max-time", "20", "--noproxy", "*", "--cacert"])
        .arg(dir.join("pki/ca.pem"))
        .args(options)
        .arg(format!("https://127.0.0.1:{port}{path}"))
        .output();
    output.map_or_else(
        |e| e.to_string(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

#[test]
fn prometheus_scrapes_and_finds_its_targets_by_every_way_in() -> Result<(), Failure> {
    let folder = Folder::new()?;
    let dir = folder.path().join("promansible");
    let (process, port) = promansible(&dir)?;
    let mut settings =
        String::from("global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n");
    for (way, client) in ways(&dir) {
        settings.push_str(&format!(
            "  - {{job_name: {way}, scheme: https, static_configs: [{{targets: ['127.0.0.1:{port}']}}], {client}}}\n"
        ));
        settings.push_str(&format!(
            "  - {{job_name: sd-{way}, http_sd_configs: [{{url: 'https://127.0.0.1:{port}/api/v1/sd', refresh_interval: 1s, {client}}}]}}\n"
        ));
    }
    let prometheus = Prometheus::start_with(&folder.path().join("prometheus"), &settings, "")
        .map_err(|failure| failure.with_logs([&process]))?;
    let targets = || -> Result<Vec<(String, String)>, Failure> {
        let data = http::data(prometheus.port, "/api/v1/targets?state=active")?;
        let targets = data["activeTargets"].as_array().cloned();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let mut found: Vec<_> = targets
            .unwrap_or_default()
            .iter()
            .map(|target| (text(&target["labels"]["job"]), text(&target["health"])))
            .filter(|(job, health)| health != "unknown" || job.starts_with("sd-"))
            .map(|(job, health)| {
                if job.starts_with("sd-") {
                    (job, "found".to_owned())
                } else {
                    (job, health)
                }
            })
            .collect();
        found.sort();
        Ok(found)
    };
    let wanted = [
        ("basic", "up"),
        ("bearer", "up"),
        ("mtls", "up"),
        ("sd-basic", "found"),
        ("sd-bearer", "found"),
        ("sd-mtls", "found"),
        ("sd-self", "found"),
        ("self", "up"),
        ("wrong", "down"),
    ]
    .map(|(job, health)| (job.to_owned(), health.to_owned()));
    let seen = wait_until(LIMIT, "every way in but the wrong one", || {
        let found = targets()?;
        Ok((found == wanted).then_some(()))
    });
    seen.map_err(|failure| {
        let found = targets()
            .map(|found| format!("{found:?}"))
            .unwrap_or_default();
        Failure::new(format!("{failure}: {found}")).with_logs([&process, &prometheus.process])
    })
}

#[test]
fn alertmanager_delivers_by_every_way_in() -> Result<(), Failure> {
    let folder = Folder::new()?;
    let dir = folder.path().join("promansible");
    let (process, port) = promansible(&dir)?;
    let mut receivers = String::new();
    let mut routes = String::new();
    for (way, client) in ways(&dir) {
        routes.push_str(&format!("    - {{receiver: {way}, continue: true}}\n"));
        receivers.push_str(&format!(
            "  - {{name: {way}, webhook_configs: [{{url: 'https://127.0.0.1:{port}/api/v1/webhook', http_config: {{{client}}}}}]}}\n"
        ));
    }
    let settings = format!(
        "route:\n  receiver: basic\n  group_wait: 100ms\n  routes:\n{routes}receivers:\n{receivers}"
    );
    let alertmanager = Alertmanager::start_with(&folder.path().join("alertmanager"), &settings)?;
    let alert = r#"[{"labels": {"alertname": "A", "instance": "web01:9100"}}]"#;
    let posted = http::post(alertmanager.port, "/api/v2/alerts", alert)?;
    assert_eq!(posted.status, 200, "{}", posted.body);
    let count = |name: &str| -> Result<f64, Failure> {
        let metrics = Metrics::of(alertmanager.port)?;
        let webhook = [("integration", "webhook")];
        Ok(metrics.sum(name, &webhook).unwrap_or(0.0))
    };
    let logs = [&process, &alertmanager.process];
    let page = || {
        let page = command("curl")
            .args(["-sS", "-u", "monitoring:hunter2", "--cacert"])
            .arg(dir.join("pki/ca.pem"))
            .arg(format!("https://127.0.0.1:{port}/metrics"))
            .output();
        let page = page.map_err(|e| Failure::new(e.to_string()))?;
        Ok::<_, Failure>(String::from_utf8_lossy(&page.stdout).into_owned())
    };
    // A password that is wrong is not tried again.
    wait_until(LIMIT, "five notifications", || {
        let failed = count("alertmanager_notifications_failed_total")?;
        let page = page()?;
        let answered = |code: u16, times: u8| {
            page.contains(&format!(
                "promansible_notifications_total{{code=\"{code}\"}} {times}\n"
            ))
        };
        let is_so = failed >= 1.0 && answered(200, 4) && answered(401, 1);
        Ok(is_so.then_some(()))
    })
    .map_err(|failure| failure.with_logs(logs))
}

/// A server of Prometheus's family behind TLS, with a certificate that stands for itself.
fn behind_tls(dir: &Path, programs: &[&str], settings: &str) -> Result<(Process, u16), Failure> {
    let io = |e: std::io::Error| Failure::new(format!("{}: {e}", dir.display()));
    fs::create_dir_all(dir).map_err(io)?;
    self_signed(dir, "server", "IP:127.0.0.1")?;
    let web = "tls_server_config: {cert_file: server.pem, key_file: server.key}\n";
    fs::write(dir.join("web.yml"), web).map_err(io)?;
    fs::write(dir.join("settings.yml"), settings).map_err(io)?;
    let program = find(programs)?;
    let storage = if settings.contains("receivers") {
        "storage.path"
    } else {
        "storage.tsdb.path"
    };
    on_free_port(
        programs[0],
        LIMIT,
        |port| {
            let mut arguments = vec![
                format!("--config.file={}/settings.yml", dir.display()),
                format!("--web.config.file={}/web.yml", dir.display()),
                format!("--web.listen-address=127.0.0.1:{port}"),
                format!("--{storage}={}/data", dir.display()),
            ];
            if storage == "storage.path" {
                arguments.push("--cluster.listen-address=".to_owned());
            }
            Process::start(programs[0], &program, &arguments, &[], &dir.join("log"))
        },
        |port| curl_says(dir, port, "/-/ready").is_some(),
    )
}

/// What curl is answered, which trusts the certificate as itself.
fn curl_says(dir: &Path, port: u16, path: &str) -> Option<String> {
    let output = command("curl")
        .args(["-sSf", "--max-time", "20", "--noproxy", "*", "--cacert"])
        .arg(dir.join("server.pem"))
        .arg(format!("https://127.0.0.1:{port}{path}"))
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(said)
}

#[test]
fn prometheus_and_alertmanager_are_asked_by_certificates_of_openssl() -> Result<(), Failure> {
    let (plan, folder) = (plan(), Folder::new()?);
    let (am, prom) = (folder.path().join("am"), folder.path().join("prom"));
    let settings = "route: {receiver: x}\nreceivers: [{name: x}]\n";
    let programs = ["prometheus-alertmanager", "alertmanager"];
    let (alertmanager, am_port) = behind_tls(&am, &programs, settings)?;
    let rules = "groups: [{name: g, rules: [{alert: FromPrometheus, expr: vector(1) < 0}]}]\n";
    fs::create_dir_all(&prom).map_err(|e| Failure::new(e.to_string()))?;
    fs::write(prom.join("rules.yml"), rules).map_err(|e| Failure::new(e.to_string()))?;
    let (prometheus, prom_port) = behind_tls(&prom, &["prometheus"], "rule_files: [rules.yml]\n")?;
    let config = format!(
        "ansible: {{bin_dir: {}, playbook_dir: {}, inventory: [{dir}/inventory]}}
storage: {{path: {dir}/store.redb}}
prometheus: {{url: 'https://127.0.0.1:{prom_port}', tls_config: {{ca_file: {dir}/prom/server.pem}}}}
alertmanager: {{url: 'https://127.0.0.1:{am_port}', tls_config: {{ca_file: {dir}/am/server.pem}}}}
notifiers: [{{name: alerts, alertmanager: {{}}}}]
bindings: []
",
        plan.ansible.bin_dir()?.display(),
        crate::stack::ansible::project().join("playbook").display(),
        dir = folder.path().display(),
    );
    let file = folder.path().join("promansible.yml");
    let io = |e: std::io::Error| Failure::new(e.to_string());
    fs::write(folder.path().join("inventory"), "localhost\n").map_err(io)?;
    fs::write(&file, config).map_err(io)?;
    let told = |arguments: &[&str]| {
        let mut promansible = command(&plan.binary);
        promansible.args(arguments);
        run(promansible.arg(format!("--config.file={}", file.display())))
            .map_err(|failure| failure.with_logs([&alertmanager, &prometheus]))
    };
    told(&["notify", "test", "alerts"])?;
    let alerts = curl_says(&am, am_port, "/api/v2/alerts").unwrap_or_default();
    assert!(alerts.contains("Promansible"), "{alerts}");
    let (process, port) = on_free_port(
        "promansible",
        LIMIT,
        |port| {
            let arguments = [
                "serve".to_owned(),
                format!("--config.file={}", file.display()),
                format!("--web.listen-address=127.0.0.1:{port}"),
            ];
            let log = folder.path().join("log");
            Process::start("promansible", &plan.binary, &arguments, &[], &log)
        },
        |port| http::is_ok(port, "/-/ready"),
    )?;
    wait_until(LIMIT, "the rules of Prometheus", || {
        let types = http::data(port, "/api/v1/alert-types")?;
        let is_known = types["prometheus"]["available"] == true;
        Ok((is_known && types.to_string().contains("FromPrometheus")).then_some(()))
    })
    .map_err(|failure| failure.with_logs([&process, &prometheus]))
}
