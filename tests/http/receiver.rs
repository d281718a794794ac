//! What the receiver takes, and what it refuses and how.

use std::io::{BufReader, Write};

use serde_json::json;

use crate::support::{Answer, Site, WEBHOOK, alert, body, notification};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

#[test]
fn a_notification_becomes_a_run_and_its_history() {
    let site = Site::new();
    let server = site.start();
    let said = server.deliver(&[alert("DiskFull", "web1:9100").annotation("summary", "s")]);
    assert_eq!(said, "accepted: 1 alert: 1 run\n");
    let run = server.wait_run(1, "finished");
    assert_eq!(run["outcome"], "successful");
    assert_eq!(run["hosts"], json!(["web1"]));
    assert_eq!(run["binding"], "all");
    assert_eq!(run["results"]["web1"]["changed"], 1);
    let detail = server.data("runs/1");
    assert_eq!(detail["episodes"][0]["alertname"], "DiskFull");
    assert_eq!(detail["episodes"][0]["episode"]["receiver"], "promansible");
    assert_eq!(detail["events"][0]["task"], "do it");
    assert_eq!(server.answered(200), 1.0);
    assert_eq!(server.decided("all", "run"), 1.0);
    let ran = "promansible_runs_total{outcome=\"successful\",role=\"ok\",trigger=\"alert\"}";
    assert_eq!(server.metric(ran), 1.0);
    assert_eq!(site.journal(), ["begin 1 ok @ web1", "end 1"]);
}

#[test]
fn each_alert_of_a_mixed_group_is_decided_for_itself() {
    let server = Site::new().start();
    let said = server.deliver(&[
        alert("A", "web1"),
        alert("A", "web2").resolved(),
        alert("A", "nowhere"),
        alert("A", "web2").without("alertname"),
    ]);
    assert_eq!(
        said,
        "accepted: 4 alerts: 1 run, 1 no_binding, 1 resolved, 1 unknown_host\n"
    );
    // What leaves an alert without help is seen without looking for it.
    let line = |decision: &str| {
        let log = server.log();
        let word = format!("decision={decision} ");
        log.lines()
            .find(|line| line.contains(&word))
            .map(str::to_owned)
    };
    for (decision, level) in [
        ("run", "level=info"),
        ("no_binding", "level=debug"),
        ("resolved", "level=debug"),
        ("unknown_host", "level=warn"),
    ] {
        server.wait(decision, || line(decision).is_some());
        let line = line(decision).unwrap();
        assert!(line.contains(level), "{line}");
    }
    for (binding, decision) in [
        ("all", "run"),
        ("all", "resolved"),
        ("all", "unknown_host"),
        ("", "no_binding"),
    ] {
        assert_eq!(server.decided(binding, decision), 1.0, "{decision}");
    }
    assert_eq!(
        server.metric("promansible_alerts_received_total{status=\"firing\"}"),
        3.0
    );
    assert_eq!(
        server.metric("promansible_alerts_received_total{status=\"resolved\"}"),
        1.0
    );
    assert_eq!(server.run(1)["hosts"], json!(["web1"]));
}

#[test]
fn packed_bodies_are_unpacked_within_the_limit() {
    let server = Site::new().receiver("max_body_size", "64KiB").start();
    let send = |encoding: &str, body: &[u8]| {
        server.request("POST", WEBHOOK, &[("Content-Encoding", encoding)], body)
    };
    let good = gzip(&notification(&[alert("A", "web1")]));
    assert_eq!(send("gzip", &good).status, 200);
    assert_eq!(send("GZIP", &good).status, 200);
    assert_eq!(send("identity", &notification(&[])).status, 200);

    let bomb = gzip(&vec![b' '; 50 << 20]);
    assert!(bomb.len() < 64 << 10, "it has to get past the outer limit");
    let refused = send("gzip", &bomb);
    assert_eq!(refused.status, 413);
    assert_eq!(
        refused.text(),
        "the body is larger than 65536 bytes (receiver.max_body_size)\n"
    );

    for (encoding, sent, said) in [
        (
            "gzip",
            &good[..good.len() - 4],
            "the gzip body is cut off or damaged\n",
        ),
        (
            "gzip",
            b"{}",
            "the body is not gzip, although its Content-Encoding says so\n",
        ),
        (
            "identity",
            &good,
            "the body is gzip, but its Content-Encoding does not say so: want Content-Encoding: gzip\n",
        ),
    ] {
        let refused = send(encoding, sent);
        assert_eq!((refused.status, refused.text().as_str()), (400, said));
    }
    for encoding in ["br", "zstd", "gzip, gzip"] {
        let refused = send(encoding, &good);
        assert_eq!(refused.status, 415, "{encoding}");
        assert!(refused.text().contains(encoding), "{}", refused.text());
    }
    assert_eq!(server.answered(415), 3.0);
    assert_eq!(server.answered(413), 1.0);
    assert_eq!(server.list(""), [1], "only the good one, once");
}

#[test]
fn alerts_that_alertmanager_left_out_are_counted() {
    let server = Site::new().start();
    let mut short = body(&[alert("A", "web1")]);
    short["truncatedAlerts"] = json!(7);
    assert_eq!(server.post(short.to_string().as_bytes()).status, 200);
    assert_eq!(server.metric("promansible_alerts_truncated_total"), 7.0);
    server.wait_for_log("truncated=7");
}

#[test]
fn what_is_wrong_is_named_by_its_field() {
    let server = Site::new().start();
    let with = |pointer: &str, value: serde_json::Value| {
        let mut whole = body(&[alert("A", "web1"), alert("B", "web1")]);
        *whole.pointer_mut(pointer).unwrap() = value;
        whole.to_string()
    };
    let cases = [
        (String::new(), "EOF"),
        ("{".to_owned(), "EOF"),
        ("[]".to_owned(), "want a JSON object, found a list"),
        ("not json".to_owned(), "not a notification"),
        ("{\"alerts\":[]}".to_owned(), "version"),
        (
            with("/version", json!("2")),
            "version: want \"4\" (Alertmanager from 0.6 on)",
        ),
        (with("/version", json!(4)), "version: "),
        (with("/alerts", json!({})), "alerts: "),
        (with("/alerts/1/labels", json!([])), "alerts[1].labels: "),
        (
            with("/alerts/1/labels/instance", json!(9)),
            "alerts[1].labels.instance: ",
        ),
        (
            with("/alerts/0/status", json!("burning")),
            "alerts[0].status: ",
        ),
        (
            with("/alerts/0/startsAt", json!("yesterday")),
            "alerts[0].startsAt: want a time in RFC 3339 such as 2026-11-22T10:00:00Z, found \"yesterday\"",
        ),
        (
            with("/alerts/0/fingerprint", json!("xyz")),
            "alerts[0].fingerprint: ",
        ),
        (
            with("/truncatedAlerts", json!(-1)),
            "truncatedAlerts: want a number of alerts, found -1",
        ),
        (format!("{} x", body(&[])), "after the notification: "),
    ];
    for (sent, named) in &cases {
        let answer = server.post(sent.as_bytes());
        assert_eq!(answer.status, 400, "{sent}");
        assert!(answer.text().contains(named), "{sent}\n{}", answer.text());
    }
    // Whatever is quoted, the answer and the log line stay short.
    let long = "x".repeat(100_000);
    let mut whole = body(&[alert("A", "web1")]);
    whole["alerts"][0]["labels"][&long] = json!([long]);
    let answer = server.post(whole.to_string().as_bytes());
    assert_eq!(answer.status, 400);
    assert!(answer.body.len() < 2000, "{}", answer.body.len());
    let answer = server.post(with("/alerts/0/status", json!(long)).as_bytes());
    assert_eq!(answer.status, 400);
    assert!(answer.text().starts_with("alerts[0].status: ") && answer.body.len() < 1000);
    #[allow(clippy::cast_precision_loss, reason = "a handful")]
    let refused = (cases.len() + 2) as f64;
    assert_eq!(server.answered(400), refused);
    assert_eq!(server.list(""), [0; 0]);
}

#[test]
fn too_much_is_refused_before_it_is_held() {
    let server = Site::new()
        .receiver("max_body_size", "64KiB")
        .receiver("max_alerts", "2")
        .start();
    let post =
        |headers: &[(&str, &str)], body: &[u8]| server.request("POST", WEBHOOK, headers, body);
    // Announced: refused before it is sent.
    assert_eq!(post(&[("Content-Length", "1000000000")], b"{").status, 413);
    // Not announced.
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    let chunked = chunk.repeat(3) + "0\r\n\r\n";
    assert_eq!(
        post(&[("Transfer-Encoding", "chunked")], chunked.as_bytes()).status,
        413
    );

    let alerts = ["a", "b", "c"].map(|name| alert(name, "web1"));
    let answer = server.post(&notification(&alerts));
    assert_eq!(answer.status, 413);
    assert!(
        answer
            .text()
            .starts_with("alerts: 3 alerts are more than the limit of 2"),
        "{}",
        answer.text()
    );
    assert_eq!(server.answered(413), 3.0);
    server.deliver(&alerts[..2]);

    // Within the limit, chunks are as good as a length.
    let whole = notification(&[alert("d", "web1")]);
    let (one, two) = whole.split_at(100);
    let mut chunked = Vec::new();
    for part in [one, two, b""] {
        chunked.extend(format!("{:x}\r\n", part.len()).bytes());
        chunked.extend(part);
        chunked.extend(b"\r\n");
    }
    assert_eq!(
        post(&[("Transfer-Encoding", "chunked")], &chunked).status,
        200
    );
}

#[test]
fn a_full_queue_says_come_again_and_keeps_nothing() {
    let site = Site::new()
        .no_bindings()
        .binding("a", "[wait]", "")
        .binding("b", "[wait]", "")
        .runs("queue_limit", "2")
        .runs("max_concurrent", "1");
    let server = site.start();
    let on = |name: &str, which: &str| [alert(name, "web1").label("for", which)];
    server.deliver(&on("A", "a"));
    server.wait_run(1, "running");
    server.deliver(&on("B", "a"));
    // Two runs are wanted and one place is left: neither is kept.
    let refused = server.post(&notification(&on("C", "a,b")));
    assert_eq!(refused.status, 503);
    assert_eq!(
        refused.text(),
        "the queue is full: 1 runs are queued, 2 more are wanted and runs.queue_limit is 2\n"
    );
    assert_eq!(server.list(""), [2, 1]);
    assert_eq!(server.decided("a", "queue_full"), 1.0);
    assert_eq!(server.decided("b", "queue_full"), 1.0);
    assert_eq!(server.decided("a", "run"), 2.0);
    // What needs no new run is taken even so.
    assert_eq!(
        server.deliver(&on("B", "a")),
        "accepted: 1 alert: 1 duplicate\n"
    );

    site.go();
    server.wait_run(2, "finished");
    server.deliver(&on("C", "a,b"));
    assert_eq!(server.wait_run(4, "finished")["outcome"], "successful");
    assert_eq!(server.list(""), [4, 3, 2, 1]);
}

#[test]
fn a_page_of_another_site_cannot_post() {
    let server = Site::new().start();
    let good = notification(&[alert("A", "web1")]);
    for header in [
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
    ] {
        let answer = server.request("POST", WEBHOOK, &[header], &good);
        assert_eq!(answer.status, 403, "{header:?}");
        let cancel = server.request("POST", "/api/v1/runs/1/cancel", &[header], b"");
        assert_eq!(cancel.status, 403, "{header:?}");
    }
    assert_eq!(server.answered(403), 3.0);
    // A page whose own name was made to lead here.
    let rebound = server.address.port();
    let mut stream = server.connect();
    let request = format!(
        "POST /api/v1/runs/1/cancel HTTP/1.1\r\nHost: evil.example:{rebound}\r\nOrigin: http://evil.example:{rebound}\r\n\
         Sec-Fetch-Site: same-origin\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let answer = Answer::read(&mut BufReader::new(stream), "POST").unwrap();
    assert_eq!(answer.status, 403);
    assert!(
        answer.text().contains("IP address or as localhost"),
        "{}",
        answer.text()
    );
    let own = format!("http://{}", server.address);
    let answer = server.request("POST", WEBHOOK, &[("Origin", &own)], &good);
    assert_eq!(answer.status, 200);
}

#[test]
fn what_is_elsewhere_or_otherwise_is_said() {
    let server = Site::new().start();
    for (method, path, status, allow) in [
        ("GET", "/api/v1/nothing", 404, None),
        ("GET", "/api/v1/runs/1", 404, None),
        ("GET", "/api/v1/runs/one", 400, None),
        ("GET", "/api/v1/runs?sort=id", 400, None),
        ("GET", WEBHOOK, 405, Some("POST")),
        ("PUT", WEBHOOK, 405, Some("POST")),
        ("POST", "/metrics", 405, Some("GET, HEAD")),
        ("POST", "/-/healthy", 405, Some("GET, HEAD")),
        ("GET", "/-/reload", 405, Some("POST, PUT")),
        ("DELETE", "/api/v1/runs", 405, Some("GET, HEAD, POST")),
        ("GET", "/api/v1/runs/1/cancel", 405, Some("POST")),
        ("POST", "/", 405, Some("GET, HEAD")),
    ] {
        let answer = server.request(method, path, &[], b"");
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
        let error: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(error["status"], "error", "{method} {path}");
    }
    for path in ["/", "/metrics", "/-/healthy", "/-/ready", "/api/v1/runs"] {
        let head = server.request("HEAD", path, &[], b"");
        assert_eq!(head.status, 200, "{path}");
        if path != "/metrics" {
            let get = server.get(path);
            assert_eq!(
                head.header("content-length"),
                get.header("content-length"),
                "{path}"
            );
        }
    }
}
