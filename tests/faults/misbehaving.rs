//! Programs that stand in the place of `ansible-playbook` and do what it never should. Each run has its right end in its
//! time, nothing of it is left behind, and the server is well afterwards.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Server, Site, alert};

/// Runs a program as the playbook of one alert for web1, and yields the run's end and the server.
fn run_of(program: &str) -> (Site, Server, Value) {
    let site = Site::new().runs("timeout", "20s");
    site.write("bin/ansible-playbook", program);
    let server = site.start();
    server.deliver(&[alert("A", "web1")]);
    let run = server.wait_run(1, "finished");
    site.assert_nothing_left();
    (site, server, run)
}

/// The server runs the next alert's roles as if nothing had been.
#[track_caller]
fn assert_well(site: &Site, server: &Server) {
    site.write(
        "bin/ansible-playbook",
        "#!/bin/sh\necho '{\"event\":\"stats\",\"hosts\":{\"web1\":{\"ok\":1,\"end\":\"reached\"}}}' >\"$PROMANSIBLE_EVENTS\"\n",
    );
    server.deliver(&[alert("B", "web1")]);
    assert_eq!(server.wait_run(2, "finished")["outcome"], "successful");
    assert_eq!(server.get("/-/healthy").status, 200);
    assert_eq!(server.get("/-/ready").status, 200);
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
}

fn resident_kib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse().unwrap()
}

#[test]
fn one_that_is_missing_fails_the_run_and_says_where_it_was_looked_for() {
    let site = Site::new();
    let server = site.start();
    site.remove("bin/ansible-playbook");
    server.deliver(&[alert("A", "web1")]);
    let run = server.wait_run(1, "finished");
    assert_eq!(run["outcome"], "failed");
    let why = run["message"].as_str().unwrap();
    assert!(
        why.contains("there is no ansible-playbook in") && why.contains("bin_dir"),
        "{why}"
    );
    site.write("bin/ansible-playbook", "");
    std::process::Command::new("chmod")
        .arg("755")
        .arg(site.path("bin/ansible-playbook"))
        .status()
        .unwrap();
    assert_well(&site, &server);
}

#[test]
fn one_that_hangs_and_has_daemons_that_ignore_signals_is_ended() {
    let site = Site::new().runs("timeout", "2s");
    let daemon = "trap '' INT TERM HUP QUIT; echo $$ >>\"$0\"; while :; do sleep 0.2; done";
    site.write(
        "bin/ansible-playbook",
        &r#"#!/bin/sh
DAEMON='TEXT'
trap '' INT TERM HUP QUIT
here=$(dirname "$0")/..
(setsid sh -c '(setsid sh -c "$1" "$0" &) ' "$here/daemons" "$DAEMON" &)
(setsid env -i PATH="$PATH" sh -c "$DAEMON" "$here/daemons" &)
while :; do sleep 0.2; done
"#
        .replace("TEXT", &daemon.replace('\'', r"'\''")),
    );
    let server = site.start();
    server.deliver(&[alert("A", "web1")]);
    server.wait("two daemons", || {
        fs::read_to_string(site.path("daemons")).is_ok_and(|pids| pids.lines().count() == 2)
    });
    let run = server.wait_run(1, "finished");
    assert_eq!(run["outcome"], "timeout", "{run:#}");
    site.assert_nothing_left();
    for pid in fs::read_to_string(site.path("daemons")).unwrap().lines() {
        assert!(fs::metadata(format!("/proc/{pid}")).is_err(), "{pid} lives");
    }
    assert_well(&site, &server);
}

#[test]
fn one_that_floods_its_output_is_kept_within_the_limit_and_costs_no_memory() {
    let site = Site::new()
        .runs("timeout", "10m")
        .runs("output_limit", "64KiB");
    site.write(
        "bin/ansible-playbook",
        "#!/bin/sh\necho FIRST\nhead -c 1G /dev/zero | tr '\\0' x\necho; echo LAST\n",
    );
    let server = site.start();
    let before = resident_kib(&server);
    server.deliver(&[alert("A", "web1")]);
    let run = server.wait_run(1, "finished");
    assert_eq!(run["outcome"], "failed", "it told no statistics");
    assert_eq!(run["output_bytes"], (1_u64 << 30) + 12);
    let output = server.get("/api/v1/runs/1/output").text();
    assert!(output.len() < 70_000, "{}", output.len());
    assert!(output.starts_with("FIRST\n") && output.ends_with("LAST\n"));
    let grown = resident_kib(&server).saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB more");
    site.assert_nothing_left();
    assert_well(&site, &server);
}

#[test]
fn junk_events_change_nothing_and_cost_no_memory() {
    let program = r#"#!/bin/sh
exec 3>"$PROMANSIBLE_EVENTS"
head -c 1000000 /dev/urandom >&3; echo >&3
for line in '[]' '1' 'null' '"x"' '{}' '{"event":1}' '{"event":"task"}' '{"event":"stats","hosts":[]}' '{"event":"stats","hosts":{"web1":7}}' '{"event":"stats","hosts":{"web1":{"ok":-1}}}' '{"event":"facts","host":"web1","text":"[","last":true}' '{"event":"task","host":["web1"],"task":{},"action":0,"status":"great"}'; do echo "$line" >&3; done
head -c 50000000 /dev/zero | tr '\0' '{' >&3
echo >&3
echo '{"event":"stats","hosts":{"web1":{"ok":1,"end":"reached"},"web2":{"failures":1}}}' >&3
head -c 5000000 /dev/zero | tr '\0' x >&3
"#;
    let (site, server, run) = run_of(program);
    assert_eq!(run["outcome"], "successful", "{run:#}");
    let hosts: Vec<_> = run["results"].as_object().unwrap().keys().collect();
    assert_eq!(hosts, ["web1"], "only its own host");
    assert!(server.metric("promansible_run_events_rejected_total") >= 12.0);
    assert!(resident_kib(&server) < 300 << 10);
    assert_well(&site, &server);
}

#[test]
fn one_that_tells_no_statistics_or_those_of_others_has_failed() {
    let tells = |line: &str| {
        format!("#!/bin/sh\nexec 3>\"$PROMANSIBLE_EVENTS\"\necho '{line}' >&3\nexec 3>&-\nexit 0\n")
    };
    for program in [
        "#!/bin/sh\nexit 0\n".to_owned(),
        tells(r#"{"event":"hello","ansible":"2.19.0"}"#),
        tells(
            r#"{"event":"stats","hosts":{"web2":{"ok":1,"end":"reached"},"all":{"ok":1,"end":"reached"}}}"#,
        ),
        // It closes the pipe, works on, and then says that all is well by its exit code alone.
        "#!/bin/sh\nexec 3>\"$PROMANSIBLE_EVENTS\"; exec 3>&-; sleep 0.3; exit 0\n".to_owned(),
    ] {
        let (site, server, run) = run_of(&program);
        assert_eq!(run["outcome"], "failed", "{program}: {run:#}");
        let results = run["results"].as_object().unwrap();
        assert_eq!(results.keys().collect::<Vec<_>>(), ["web1"]);
        assert_eq!(results["web1"]["outcome"], json!("failed"));
        assert_well(&site, &server);
    }
}
