//! Names that are not ASCII go all ways: file, API, addresses, store, runs, metrics, pages.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Server, Site, alert};

const BINDING: &str = "磁盘 满 (prod) #1";
const SCHEDULE: &str = "ночь + день";
const ROLE: &str = "重启服务";
const HOST: &str = "主机";

fn encoded(name: &str) -> String {
    let bytes: Vec<_> = name.bytes().map(|b| format!("%{b:02X}")).collect();
    bytes.concat()
}

fn send(server: &Server, method: &str, path: &str, body: &Value) -> (u16, Value, Option<String>) {
    let header = [("Content-Type", "application/json")];
    let text = body.to_string();
    let (headers, body): (&[(&str, &str)], &[u8]) = if body.is_null() {
        (&[], b"")
    } else {
        (&header, text.as_bytes())
    };
    let answer = server.request(method, &format!("/api/v1/{path}"), headers, body);
    let etag = answer.header("etag").map(str::to_owned);
    let envelope = serde_json::from_str(&answer.text()).unwrap();
    (answer.status, envelope, etag)
}

#[test]
fn names_of_any_script_go_all_ways() {
    let site = Site::new().no_bindings().binding(
        &format!("'{BINDING}'"),
        &format!("[{ROLE}]"),
        "matchers: ['alertname=\"A\"']",
    );
    for role in [
        "playbook/alert/roles/重启服务/tasks",
        "playbook/routine/roles/проверка/tasks",
    ] {
        fs::create_dir_all(site.path(role)).unwrap();
    }
    let server = site.start();
    server.deliver(&[alert("A", "web1")]);
    let run = server.wait_run(1, "finished");
    assert_eq!(run["work"]["roles"], json!([ROLE]), "{run}");
    assert_eq!(run["outcome"], "successful", "{run}");
    assert_eq!(server.decided(BINDING, "run"), 1.0);
    assert_eq!(
        server.data(&format!("bindings/{}", encoded(BINDING)))["name"],
        BINDING
    );
    assert_eq!(
        server.data(&format!("roles/{}", encoded(ROLE)))["name"],
        ROLE
    );
    for query in [
        format!("binding={}", encoded(BINDING)),
        format!("role={}", encoded(ROLE)),
    ] {
        assert_eq!(server.list(&query), [1], "{query}");
    }

    let schedule = json!({"name": SCHEDULE, "cron": "@yearly", "roles": ["проверка"], "target": {"hosts": ["web1"]}});
    let path = format!("schedules/{}", encoded(SCHEDULE));
    assert_eq!(send(&server, "POST", "schedules", &schedule).0, 201);
    let (status, shown, etag) = send(&server, "GET", &path, &Value::Null);
    assert_eq!(
        (status, &shown["data"]["name"], etag.is_some()),
        (200, &json!(SCHEDULE), true)
    );
    let (status, said, _) = send(&server, "POST", &format!("{path}/run"), &Value::Null);
    assert_eq!(status, 202, "{said}");
    assert_eq!(server.wait_run(2, "finished")["outcome"], "successful");

    let host = json!({"name": HOST, "address": "10.1.2.3"});
    let (status, said, _) = send(&server, "POST", "hosts", &host);
    assert_eq!(status, 201, "{said}");
    assert_eq!(
        server.data(&format!("hosts/{}", encoded(HOST)))["name"],
        HOST
    );

    let pages = [
        (
            "/schedules".to_owned(),
            format!("id=\"schedule-{}\"", form(SCHEDULE)),
        ),
        (
            format!("/schedules/{}", encoded(SCHEDULE)),
            SCHEDULE.to_owned(),
        ),
        (
            format!("/bindings/{}", encoded(BINDING)),
            BINDING.to_owned(),
        ),
        (format!("/roles/{}", encoded(ROLE)), ROLE.to_owned()),
        (format!("/hosts/{}", encoded(HOST)), HOST.to_owned()),
        ("/metrics".to_owned(), format!("schedule=\"{SCHEDULE}\"")),
        ("/metrics".to_owned(), format!("binding=\"{BINDING}\"")),
        ("/metrics".to_owned(), format!("role=\"{ROLE}\"")),
    ];
    for (path, text) in pages {
        let answer = server.get(&path);
        assert_eq!(answer.status, 200, "{path}");
        let found = answer.text().replace("&#43;", "+").replace("&#35;", "#");
        assert!(found.contains(&text), "{path}: {text}");
    }
    drop(server);
    // From the disk.
    let server = site.start();
    assert_eq!(server.data(&path)["name"], SCHEDULE);
    assert_eq!(
        server.data(&format!("hosts/{}", encoded(HOST)))["name"],
        HOST
    );
    assert_eq!(send(&server, "DELETE", &path, &Value::Null).0, 200);
    assert_eq!(
        send(
            &server,
            "DELETE",
            &format!("hosts/{}", encoded(HOST)),
            &Value::Null
        )
        .0,
        200
    );
}

/// As a form writes it, and an `id`.
fn form(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"*-._".contains(&b);
    let each = name.bytes().map(|b| {
        if plain(b) {
            char::from(b).to_string()
        } else {
            format!("%{b:02X}")
        }
    });
    each.collect()
}

#[test]
fn a_name_that_would_mean_something_else_is_refused_where_it_is_typed() {
    let server = Site::new().start();
    for name in [
        "a/b",
        "{{ x }}",
        "-x",
        ".x",
        " x",
        "x ",
        "a\u{202e}b",
        "a\u{200b}b",
        "a\nb",
        "a,b",
    ] {
        let body = json!({"name": name, "matchers": ["a=b"], "roles": ["ok"]});
        let (status, said, _) = send(&server, "POST", "bindings", &body);
        assert_eq!(status, 400, "{name:?}: {said}");
        let why = said["error"].as_str().unwrap();
        assert!(
            why.starts_with("name: ") && why.contains("is not a valid binding name: it "),
            "{why}"
        );
    }
    let (status, said, _) = send(
        &server,
        "POST",
        "runs",
        &json!({"roles": ["../x"], "target": {"hosts": ["web1"]}}),
    );
    assert_eq!(status, 400, "{said}");
    assert!(
        said["error"].as_str().unwrap().starts_with("roles: "),
        "{said}"
    );
    for name in ["LOCALHOST", "0.0.0.0", "127.1", "ip6-localhost"] {
        let (status, said, _) = send(&server, "POST", "hosts", &json!({"name": name}));
        assert_eq!(status, 400, "{said}");
        assert!(
            said["error"]
                .as_str()
                .unwrap()
                .contains("refers to this machine"),
            "{said}"
        );
    }
}
