//! What pauses, holds and releases, and what is shown of it, against a server.

use serde_json::Value;

use crate::support::{Server, Site, alert, golden, notification, promansible, run, run_with};

fn typed(server: &Server, args: &[&str]) -> std::process::Output {
    let url = format!("--server.url=http://{}", server.address);
    run(promansible().args(args).arg(url))
}

/// What these commands print, one after the other.
fn session(server: &Server, shown: &mut String, commands: &[&[&str]]) {
    for args in commands {
        let output = typed(server, args);
        shown.push_str(&format!(
            "$ promansible {}\n{}{}[{}]\n\n",
            args.join(" "),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
            output.status.code().unwrap()
        ));
    }
}

fn without_times(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, instead) in [
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?( UTC)?", "TIME"),
        (r"\b\d\d:\d\d:\d\d\.\d+", "TIME"),
        (r"\b[0-9a-f]{16}\b", "FINGERPRINT"),
        (r"\b\d+\.\ds", "N.Ns"),
    ] {
        let pattern = regex::Regex::new(pattern).unwrap();
        text = pattern.replace_all(&text, instead).into_owned();
    }
    text
}

#[test]
fn what_is_paused_and_held_is_shown_with_what_to_type() {
    let site = Site::new()
        .no_bindings()
        .binding("disk", "[ok]", "storm: {max_hosts: 1}")
        .binding("bad", "[fail]", "")
        .binding("asks", "[ok]", "approval: {ttl: 2h}; cooldown: 1h")
        .sections("guards: {circuit: {failures: 1, retry_after: 1h}}\n");
    let server = site.start();
    let mut shown = String::new();
    session(&server, &mut shown, &[&["guards"]]);
    let on = |host: &str, which: &str| alert("A", host).label("for", which);
    server.deliver(&[on("web1", "bad")]);
    server.wait_run(1, "finished");
    server.deliver(&[on("web1", "disk"), on("web2", "disk")]);
    server.deliver(&[on("web1", "asks")]);
    server.deliver(&[on("web2", "asks")]);
    session(
        &server,
        &mut shown,
        &[
            &[
                "hosts",
                "hold",
                "twin1",
                "--for=2h",
                "--why=it gets a new disk",
            ],
            &["hosts", "hold", "localhost", "--why=no more"],
            &["hosts", "hold", "twni1", "--why=x"],
            &["hosts", "hold", "twin1", "--for=2 hours", "--why=x"],
            &["hosts", "hold", "twin1"],
            &["runs", "list"],
            &["runs", "show", "2"],
            &["runs", "show", "3"],
            &["pause", "--why=a new network"],
            &["pause"],
            &["guards"],
            &["runs", "show", "2"],
        ],
    );
    let told = typed(&server, &["guards", "--format=json"]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told, server.data("guards"));
    session(
        &server,
        &mut shown,
        &[
            &["resume"],
            &["hosts", "release", "twin1"],
            &["hosts", "release", "twin1"],
            &["release", "disc"],
            &["release", "disk"],
            &["release"],
            &["roles", "close", "fail"],
            &["roles", "close", "fail"],
            &["roles", "close", "fial"],
            &["runs", "approve", "3"],
            &["runs", "reject", "4"],
            &["runs", "reject", "4"],
        ],
    );
    for id in [2, 3] {
        server.wait_run(id, "finished");
    }
    server.deliver(&[on("web1", "disk").resolved()]);
    session(
        &server,
        &mut shown,
        &[
            &["guards"],
            &["runs", "list"],
            &["runs", "show", "2"],
            &["runs", "show", "3"],
            &["roles", "list"],
            &["roles", "show", "ok"],
            &["bindings", "show", "disk"],
            &[
                "bindings",
                "add",
                "steps",
                "--match=team=\"db\"",
                "--step=ok",
                "--step=ok,fail",
                "--cooldown=30m",
                "--attempts=3/1d",
                "--mode=observe",
                "--verify-within=5m",
                "--approval",
            ],
            &["bindings", "show", "steps"],
        ],
    );
    golden("cli/guards.txt", &without_times(&shown));
}

#[test]
fn explain_shows_what_the_guards_would_say_with_and_without_a_server() {
    let site = Site::new()
        .no_bindings()
        .binding("fleet", "[ok]", "target: {group: web}; approval: {}")
        .binding("bad", "[fail]", "")
        .binding("cool", "[ok]", "cooldown: 1h")
        .sections("guards: {circuit: {failures: 1, retry_after: 1h}}\n");
    let server = site.start();
    server.deliver(&[alert("A", "web1").label("for", "bad")]);
    server.wait_run(1, "finished");
    server.deliver(&[alert("C", "web2").label("for", "cool")]);
    server.wait_run(2, "finished");
    for args in [
        &["hosts", "hold", "web1", "--why=it gets a new disk"][..],
        &["pause", "--why=x"],
    ] {
        let output = typed(&server, args);
        assert!(output.status.success(), "{output:?}");
    }
    let body = notification(&[alert("B", "web2").label("for", "fleet,bad,cool")]);
    let explain = |url: &str, format: &str| {
        let mut command = promansible();
        let config = format!("--config.file={}", site.config_file().display());
        let url = format!("--server.url={url}");
        let format = format!("--format={format}");
        command.args(["explain", &config, &url, &format, "-"]);
        let output = run_with(&mut command, &body);
        assert!(output.status.success(), "{output:?}");
        (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let url = format!("http://{}", server.address);
    let (asked, said) = explain(&url, "text");
    let line = "    fleet  run              ok on web2; without web1: web1 is held by the API: it gets a new disk; would wait: paused, approval\n";
    assert!(asked.contains(line), "{asked}");
    let line = "    bad    circuit_open     the role fail failed on 1 different hosts in a row and is suspended\n";
    assert!(asked.contains(line), "{asked}");
    let line = "    cool   cooldown         web2: run 2 started there ";
    assert!(asked.contains(line), "{asked}");
    assert!(!said.contains("pauses and holds"), "{said}");
    let (json, _) = explain(&url, "json");
    let json: Value = serde_json::from_str(&json).unwrap();
    let decision = &json["alerts"][0]["decisions"][0];
    assert_eq!(decision["waits"], serde_json::json!(["paused", "approval"]));
    assert_eq!(decision["spared"][0]["reason"], "host_held");

    // Where the server that has the store cannot be asked, that is said.
    let nobody = "http://127.0.0.1:9";
    let (unasked, said) = explain(nobody, "text");
    assert!(
        unasked.contains("ok on web1, web2; would wait: approval\n"),
        "{unasked}"
    );
    let warning = "warning: pauses and holds are not included: cannot reach promansible at";
    assert!(said.contains(warning), "{said}");
    server.stop();
    let (peeked, said) = explain(nobody, "text");
    // How long ago that was is another time now.
    let lines = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .map(|line| line.split(" ago, and").next().unwrap_or(line));
        lines
            .map(|line| line.trim_end_matches(char::is_alphanumeric).to_owned())
            .collect()
    };
    assert_eq!((lines(&peeked), said.as_str()), (lines(&asked), ""));
}

#[test]
fn explain_names_the_step_where_there_are_several() {
    let site = Site::new().no_bindings();
    let site = site.sections(
        "  - {name: steps, matchers: ['a=\"b\"'], steps: [{roles: [ok]}, {roles: [fail]}]}\n",
    );
    let config = std::fs::read_to_string(site.config_file()).unwrap();
    site.write(
        "steps.yml",
        &config.replace("bindings:\n  []\n", "bindings:\n"),
    );
    let body = notification(&[alert("B", "web2").label("a", "b")]);
    let mut command = promansible();
    let config = format!("--config.file={}", site.path("steps.yml").display());
    let output = run_with(command.args(["explain", &config, "-"]), &body);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("step 1 of 2: ok on web2\n"), "{text}");
}
