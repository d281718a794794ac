//! A disk that is full, for real.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::support::{Server, Site, alert, notification, run};

/// Limits how large a file the server may write, or lifts the limit. To the store that is a full disk.
fn limit_files(server: &Server, bytes: Option<u64>) {
    let limit = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
    let pid = server.pid().to_string();
    let limited =
        run(Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={limit}:unlimited")]));
    assert!(limited.status.success(), "{limited:?}");
}

/// Which alert has which runs, over all of the history.
fn runs_by_alert(server: &Server) -> BTreeMap<String, Vec<u64>> {
    let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for id in server.list("limit=1000") {
        for episode in server.data(&format!("runs/{id}"))["episodes"]
            .as_array()
            .unwrap()
        {
            let name = episode["alertname"].as_str().unwrap().to_owned();
            found.entry(name).or_default().push(id);
        }
    }
    found
}

#[test]
fn a_full_disk_refuses_and_what_was_taken_stays_taken() {
    let site = Site::new().no_bindings().binding("a", "[wait]", "");
    // As the shell ignores the signal, so does what it becomes: writing too much is an error, as on a full disk.
    let inner = site.command();
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(inner.get_program())
        .args(inner.get_args());
    let server = Server::start(command);
    server.wait("ready", || server.get("/-/ready").status == 200);

    let filler = "x".repeat(40_000);
    let send = |n: usize| {
        let alert = alert(&format!("A{n}"), "web1")
            .label("for", "a")
            .annotation("filler", &filler);
        server.post(&notification(&[alert]))
    };
    assert_eq!(send(0).status, 200);
    server.wait_run(1, "running");
    limit_files(&server, Some(fs::metadata(site.store()).unwrap().len()));
    let mut taken = vec![0];
    let mut refused = Vec::new();
    for n in 1..200 {
        let answer = send(n);
        match answer.status {
            200 => taken.push(n),
            503 => refused.push(n),
            status => panic!("{status}: {}", answer.text()),
        }
        if refused.len() == 5 {
            break;
        }
    }
    assert_eq!(refused.len(), 5, "the disk never was full");
    assert!(
        send(refused[0]).text().contains("store"),
        "the reason is said"
    );
    assert_eq!(server.get("/-/healthy").status, 200);

    limit_files(&server, None);
    server.wait("taken again", || send(refused[0]).status == 200);
    taken.push(refused.remove(0));
    taken.push(500);
    assert_eq!(send(500).status, 200);
    let complete = |server: &Server| {
        let runs = runs_by_alert(server);
        for n in &taken {
            let of = runs.get(&format!("A{n}")).cloned().unwrap_or_default();
            assert_eq!(of.len(), 1, "A{n} has the runs {of:?}");
        }
        for n in &refused {
            assert!(
                !runs.contains_key(&format!("A{n}")),
                "A{n} was refused and kept"
            );
        }
    };
    complete(&server);
    // The run that was under way all the time goes on, and its end is kept.
    assert_eq!(server.run(1)["state"], "running");
    assert_eq!(server.cancel(1).status, 200);
    assert_eq!(server.wait_run(1, "finished")["outcome"], "canceled");
    server.kill();
    site.assert_nothing_left();
    complete(&site.start());
}
