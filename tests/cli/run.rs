//! `run`, against a server.

use std::io::{BufRead, BufReader, Read};
use std::process::{Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Server, Site, golden, promansible, run};

fn command(server: &Server, args: &[&str]) -> std::process::Command {
    let mut command = promansible();
    command
        .arg("run")
        .arg(format!("--server.url=http://{}", server.address))
        .args(args);
    command
}

fn ran(server: &Server, args: &[&str]) -> Output {
    run(&mut command(server, args))
}

#[test]
fn a_run_is_followed_to_its_end() {
    let site = Site::new();
    let server = site.start();
    let mut shown = String::new();
    for args in [
        &["ok", "--target", "host:web1,web2"][..],
        &["ok", "fail", "--target", "group:web", "--check"],
        &["ok", "--target=controller", "--no-follow"],
        &["okey", "--target=controller"],
        &["ok", "--target=host:web9"],
        &["ok", "--target=web1"],
        &["ok", "--target=controller", "--var", "x"],
        &["ok", "--target=controller", "--vars", "x.yml"],
        &["ok"],
        &["--target=controller"],
    ] {
        let output = ran(&server, args);
        shown.push_str(&format!(
            "$ promansible run {}\n{}{}[{}]\n\n",
            args.join(" "),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
            output.status.code().unwrap()
        ));
    }
    golden("cli/run.txt", &shown);
    assert_eq!(server.run(2)["work"]["check"], true);
}

#[test]
fn the_whole_of_a_long_output_is_shown_that_the_server_keeps() {
    let site = Site::new().runs("output_limit", "8KiB");
    let server = site.start();
    let output = ran(&server, &["flood", "--target=host:web1"]);
    assert!(output.status.success(), "{output:?}");
    let kept = server.get("/api/v1/runs/1/output").text();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.starts_with("run 1 is queued\nFIRST\nxxx"));
    assert!(shown.ends_with("LAST\nchanged: [web1] by flood\nrun 1 ended: successful\n"));
    assert!(kept.contains("left out") && shown.contains("left out"));
}

#[test]
fn variables_come_from_files_and_from_the_command_line_which_goes_first() {
    let site = Site::new();
    let server = site.start();
    site.write("vars.yml", "a: 1\nb: [x, {k: no}]\n");
    site.write("vars.json", r#"{"a": 2, "c": "{{ d }}"}"#);
    let file = |name: &str| format!("--vars=@{}", site.path(name).display());
    let (yaml, json) = (file("vars.yml"), file("vars.json"));
    let args = [
        "wait",
        "--target=host:web1",
        "--no-follow",
        &yaml,
        &json,
        "--var=a=3",
        "--var",
        "t=a text",
    ];
    let output = ran(&server, &args);
    assert!(output.status.success(), "{output:?}");
    server.wait_run(1, "running");
    server.wait("begun", || !site.journal().is_empty());
    let vars = site.vars_of(1);
    assert_eq!(vars["a"], 3);
    assert_eq!(vars["b"][1]["k"], false);
    assert_eq!(vars["c"]["__ansible_unsafe"], "{{ d }}");
    assert_eq!(vars["t"]["__ansible_unsafe"], "a text");
    site.go();
    server.wait_run(1, "finished");
    site.write("vars.yml", "- a\n");
    let output = ran(&server, &["ok", "--target=host:web1", &yaml]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.ends_with("vars.yml: expected variables, as NAME: VALUE\n"),
        "{said}"
    );
}

#[test]
fn an_interrupt_ends_the_following_and_not_the_run() {
    let site = Site::new();
    let server = site.start();
    let mut child = command(&server, &["ok", "wait", "--target=host:web1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = || lines.next().unwrap().unwrap();
    assert_eq!(line(), "run 1 is queued");
    // It comes while the run is under way.
    assert_eq!(line(), "changed: [web1] by ok");
    assert_eq!(server.run(1)["state"], "running");
    kill(
        Pid::from_raw(i32::try_from(child.id()).unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(
        said,
        "\nrun 1 continues; to cancel it: promansible runs cancel 1\n"
    );
    site.go();
    assert_eq!(server.wait_run(1, "finished")["outcome"], "successful");
}
