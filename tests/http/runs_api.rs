//! The history as the API gives it, and ending runs.

use serde_json::json;

use crate::support::{PATIENCE, Site, alert, ids};

#[test]
fn a_long_history_is_read_page_by_page() {
    let site = Site::new().no_bindings().binding("a", "[wait]", "");
    let server = site.start();
    for n in 0..120 {
        server.deliver(&[alert(&format!("A{n}"), "web1").label("for", "a")]);
    }
    let mut found = Vec::new();
    let mut query = String::new();
    let mut pages = 0;
    loop {
        let page = server.data(&format!("runs?{query}"));
        found.extend(ids(&page));
        pages += 1;
        match page["next"].as_u64() {
            Some(next) => query = format!("cursor={next}"),
            None => break,
        }
    }
    assert_eq!(pages, 3, "fifty a page");
    assert_eq!(found, (1..=120).rev().collect::<Vec<u64>>());
    let page = server.data("runs?limit=40&cursor=81&state=queued");
    assert_eq!(ids(&page), (41..=80).rev().collect::<Vec<u64>>());
    assert_eq!(page["next"], 41);
    assert_eq!(server.data("runs?limit=1000")["next"], json!(null));
    assert_eq!(server.list("cursor=1"), [0; 0]);
    for query in [
        "limit=0",
        "limit=1001",
        "cursor=x",
        "before=1",
        "cursor=-1",
        "since=yesterday",
        "text=",
        "role=",
        "trigger=cron",
        "host=a&host=a",
        "state=done",
        "outcome=",
        "sort=id",
        "limit",
    ] {
        let answer = server.get(&format!("/api/v1/runs?{query}"));
        assert_eq!(answer.status, 400, "{query}");
        let field = query.split('=').next().unwrap();
        let error: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(error["errorType"], "bad_data");
        assert!(
            error["error"].as_str().unwrap().starts_with(field),
            "{error}"
        );
    }
}

#[test]
fn runs_are_found_by_what_they_are() {
    let site = Site::new()
        .no_bindings()
        .binding("good", "[ok]", "")
        .binding("bad", "[ok, fail]", "")
        .binding("long", "[wait]", "");
    let server = site.start();
    let on = |host: &str, which: &str| alert("A", host).label("for", which);
    server.deliver(&[on("web1", "good"), on("web2", "good")]);
    server.wait_run(1, "finished");
    server.deliver(&[on("web2", "bad")]);
    server.wait_run(2, "finished");
    server.deliver(&[on("web2", "long")]);
    server.wait_run(3, "running");
    server.deliver(&[alert("B", "web2").label("for", "long")]);
    for (query, found) in [
        ("", vec![4, 3, 2, 1]),
        ("state=queued", vec![4]),
        ("state=running", vec![3]),
        ("state=finished", vec![2, 1]),
        ("outcome=failed", vec![2]),
        ("outcome=timeout", vec![]),
        ("binding=good", vec![1]),
        ("role=ok", vec![2, 1]),
        ("role=fail&state=finished", vec![2]),
        ("host=web1", vec![1]),
        ("host=web2&role=ok&limit=1", vec![2]),
        ("host=web", vec![]),
        ("binding=%67ood", vec![1]),
        ("trigger=alert&sort=oldest", vec![1, 2, 3, 4]),
        ("trigger=manual", vec![]),
        ("schedule=nightly", vec![]),
        ("alertname=A", vec![3, 2, 1]),
        ("alertname=B&host=web2", vec![4]),
        ("since=2000000000", vec![]),
        ("until=2000000000", vec![4, 3, 2, 1]),
        ("since=2020-01-01T00:00:00Z&sort=oldest&limit=2", vec![1, 2]),
        ("sort=oldest&cursor=2", vec![3, 4]),
        ("text=by+FAIL", vec![2]),
        ("text=.", vec![]),
    ] {
        assert_eq!(server.list(query), found, "{query}");
    }
}

#[test]
fn a_long_output_keeps_its_head_and_its_tail() {
    const LIMIT: usize = 8 << 10;
    let site = Site::new()
        .no_bindings()
        .binding("a", "[flood]", "")
        .runs("output_limit", "8KiB");
    let server = site.start();
    server.deliver(&[alert("A", "web1").label("for", "a")]);
    let run = server.wait_run(1, "finished");
    let answer = server.get("/api/v1/runs/1/output");
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    let output = answer.text();
    let total = run["output_bytes"].as_u64().unwrap();
    assert!(total > 300_000, "{total}");
    assert!(output.starts_with("FIRST\nxxx"));
    assert!(output.ends_with("LAST\nchanged: [web1] by flood\n"));
    let (head, rest) = output.split_once("\n[… ").unwrap();
    let (cut, tail) = rest
        .split_once(" bytes of output left out: runs.output_limit …]\n")
        .unwrap();
    assert!(
        head.len() + tail.len() <= LIMIT,
        "{} + {}",
        head.len(),
        tail.len()
    );
    assert_eq!(head.len(), LIMIT / 2);
    let cut: u64 = cut.parse().unwrap();
    assert_eq!(
        head.len() as u64 + cut + tail.len() as u64,
        total,
        "every byte is kept or counted"
    );
}

#[test]
fn a_run_can_be_canceled_until_it_has_ended() {
    let site = Site::new().no_bindings().binding("a", "[wait]", "");
    let server = site.start();
    let on = |name: &str| alert(name, "web1").label("for", "a");
    server.deliver(&[on("A")]);
    server.wait_run(1, "running");
    site_journal_has(&site, "begin 1");
    server.deliver(&[on("B")]);

    let queued = server.cancel(2);
    assert_eq!(
        (queued.status, queued.text().as_str()),
        (200, r#"{"status":"success","data":{"state":"ended"}}"#)
    );
    server.wait("its end in the log", || {
        let log = server.log();
        log.lines().any(|line| {
            ["run=2", "outcome=canceled", "\"run ended\""]
                .iter()
                .all(|part| line.contains(part))
        })
    });
    let run = server.run(2);
    assert_eq!(
        (&run["outcome"], &run["message"]),
        (
            &json!("canceled"),
            &json!("canceled by the API before it started")
        )
    );
    assert_eq!(run["started_at"], json!(null));

    let running = server.cancel(1);
    assert_eq!(
        (running.status, running.text().as_str()),
        (200, r#"{"status":"success","data":{"state":"ending"}}"#)
    );
    let run = server.wait_run(1, "finished");
    assert_eq!(
        (&run["outcome"], &run["message"]),
        (&json!("canceled"), &json!("canceled by the API"))
    );
    assert_eq!(run["results"]["web1"]["outcome"], "canceled");
    site.assert_nothing_left();

    for id in [1, 2] {
        assert_eq!(server.cancel(id).status, 409);
    }
    assert_eq!(server.cancel(3).status, 404);
    for id in ["x", "-1", "1.0", "99999999999999999999", "1%20"] {
        let answer = server.request("POST", &format!("/api/v1/runs/{id}/cancel"), &[], b"");
        assert_eq!(answer.status, 400, "{id}");
    }
    assert_eq!(server.get("/api/v1/runs/3/output").status, 404);
    // The episodes had their run: they are not run again.
    server.deliver(&[on("A"), on("B")]);
    assert_eq!(server.decided("a", "duplicate"), 2.0);
}

fn site_journal_has(site: &Site, line: &str) {
    let begin = std::time::Instant::now();
    while !site.journal().iter().any(|l| l.starts_with(line)) {
        assert!(begin.elapsed() < PATIENCE, "no {line} in the journal");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn a_run_that_takes_too_long_is_ended() {
    let site = Site::new()
        .no_bindings()
        .binding("a", "[wait]", "timeout: 1s");
    let server = site.start();
    server.deliver(&[alert("A", "web1").label("for", "a")]);
    let run = server.wait_run(1, "finished");
    assert_eq!(
        (&run["outcome"], &run["message"]),
        (&json!("timeout"), &json!("it took longer than 1s"))
    );
    site.assert_nothing_left();
}
