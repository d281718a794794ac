//! `hosts` and `inventory`, against a server and without one.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::{Server, Site, golden, promansible, run};

fn command(verb: &str, url: &str, args: &[&str]) -> Command {
    let mut command = promansible();
    command.arg(verb).arg(format!("--server.url={url}"));
    command.args(args);
    command
}

fn url(server: &Server) -> String {
    format!("http://{}", server.address)
}

/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:9";

fn inventory(site: &Site, url: &str, args: &[&str]) -> Output {
    let config = format!("--config.file={}", site.config_file().display());
    run(command("inventory", url, args).arg(config))
}

#[track_caller]
fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn hosts_are_enrolled_shown_and_removed() {
    let site = Site::new();
    let server = site.start();
    let mut shown = String::new();
    for args in [
        &[
            "add",
            "web3",
            "--address=10.0.0.3",
            "--group=web",
            "--group=edge",
            "--var=ansible_port=2222",
            "--var=v={{ x }}",
        ][..],
        &["add", "db7"],
        &["list"],
        &["show", "web3"],
        &["show", "web1"],
        &["show", "web9"],
        &["add", "web3"],
        &["add", "web4", "--var=ansible_connection=local"],
        &["add", "a b"],
        &["remove", "web3"],
        &["remove", "web3"],
        &["remove", "web1"],
        &["add"],
    ] {
        let output = run(&mut command("hosts", &url(&server), args));
        shown.push_str(&format!(
            "$ promansible hosts {}\n{}{}[{}]\n\n",
            args.join(" "),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
            output.status.code().unwrap()
        ));
    }
    let time = regex::Regex::new(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC").unwrap();
    let shown = time.replace_all(&shown, "TIME");
    golden(
        "cli/hosts.txt",
        &shown.replace(&site.path("hosts").display().to_string(), "HOSTS"),
    );
}

#[test]
fn a_host_that_takes_no_part_is_told_of() {
    let site = Site::new();
    let server = site.start();
    let added = run(&mut command("hosts", &url(&server), &["add", "web3"]));
    assert!(added.status.success(), "{added:?}");
    site.write("hosts", &json!({"all": {"hosts": ["web3"]}}).to_string());
    server.wait("the conflict", || {
        let output = run(&mut command("hosts", &url(&server), &["list"]));
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        said == "warning: web3 is enrolled, but its name belongs to a host in the inventory's sources, which take precedence: \
                 remove it, or rename one of them\n"
    });
}

#[test]
fn the_inventory_is_printed_for_ansible_with_and_without_a_server() {
    let site = Site::new();
    let server = site.start();
    let added = run(&mut command(
        "hosts",
        &url(&server),
        &["add", "web3", "--group=web", "--var=v={{ x }}"],
    ));
    assert!(added.status.success(), "{added:?}");
    let listed = json_of(&inventory(&site, &url(&server), &["--list"]));
    assert_eq!(listed["web"]["hosts"], json!(["web1", "web2", "web3"]));
    let vars = json!({"v": {"__ansible_unsafe": "{{ x }}"}});
    assert_eq!(listed["_meta"]["hostvars"]["web3"], vars);
    let host = |name| inventory(&site, &url(&server), &["--host", name]);
    assert_eq!(json_of(&host("web3")), vars);
    assert_eq!(json_of(&host("web1")), json!({"ansible_host": "10.0.0.1"}));
    let said = refused(&host("web9"));
    assert_eq!(
        said,
        "promansible: no host of the inventory is named \"web9\"\n"
    );

    let status = json_of(&inventory(&site, &url(&server), &["--status"]));
    assert_eq!(
        (&status["readable"], &status["hosts"]),
        (&json!(true), &json!(5))
    );

    // Somebody has the store, and nobody answers where we ask.
    let said = refused(&inventory(&site, NOBODY, &["--list"]));
    assert!(
        said.starts_with("promansible: cannot reach promansible at http://127.0.0.1:9/, but "),
        "{said}"
    );
    assert!(
        said.contains(" is in use: set --server.url to the server"),
        "{said}"
    );

    // Without a server it is the same, from what was kept; and from Ansible once a source changed.
    server.stop();
    let before = std::fs::read(site.store()).unwrap();
    assert_eq!(json_of(&inventory(&site, NOBODY, &["--list"])), listed);
    assert_eq!(json_of(&inventory(&site, NOBODY, &["--host=web3"])), vars);
    site.write("hosts", &json!({"all": {"hosts": ["x1"]}}).to_string());
    let changed = json_of(&inventory(&site, NOBODY, &["--list"]));
    assert_eq!(changed["ungrouped"]["hosts"], json!(["x1"]));
    assert_eq!(changed["web"]["hosts"], json!(["web3"]));
    assert!(
        std::fs::read(site.store()).unwrap() == before,
        "it only reads"
    );
    site.write("hold", "");
    site.write("hosts", &json!({"all": {"hosts": ["x2"]}}).to_string());
    let said = refused(&inventory(&site, NOBODY, &["--list"]));
    assert!(said.contains("the inventory cannot be read"), "{said}");
}

#[test]
fn a_mistake_is_said_and_nothing_is_printed() {
    let site = Site::new();
    let said = refused(&run(&mut command(
        "inventory",
        NOBODY,
        &["--list", "--config.file=/nowhere.yml"],
    )));
    assert!(
        said.contains("cannot reach promansible at") && said.contains("/nowhere.yml"),
        "{said}"
    );
    for args in [&[][..], &["--list", "--host=web1"]] {
        let output = inventory(&site, NOBODY, args);
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty());
    }
    // As a source of promansible's own inventory it would ask itself.
    let mut asked = command("inventory", NOBODY, &["--list"]);
    let said = refused(&run(asked.env("PROMANSIBLE_RUN", "store@x:inventory-1-2")));
    assert!(
        said.starts_with("promansible: promansible called itself while reading its inventory"),
        "{said}"
    );
}
