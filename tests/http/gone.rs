//! What leaves the configuration leaves the metrics.

use nix::sys::signal::Signal;

use crate::support::{Server, Site, alert};

/// The series that have one of these names as a label's value.
fn series(server: &Server, names: &[&str]) -> Vec<String> {
    let text = server.get("/metrics").text();
    let of = |line: &&str| {
        names
            .iter()
            .any(|name| line.contains(&format!("=\"{name}\"")))
    };
    text.lines().filter(of).map(str::to_owned).collect()
}

fn reload(server: &Server) {
    let times = server.log().matches("configuration file reloaded").count();
    server.signal(Signal::SIGHUP);
    server.wait("read again", || {
        server.log().matches("configuration file reloaded").count() > times
    });
}

const SECTIONS: &str = "schedules:
  - {name: nightly, cron: '0 3 * * *', roles: [watch], target: controller}
notifiers:
  - {name: hook, webhook: {url: 'http://127.0.0.1:1/'}}
service_discovery: {files: [{path: SITE/targets.json, port: 9100}]}
";

const CHECKS: &str = "checks: {dns_up: {help: It is up.}}\n";

#[test]
fn what_is_gone_has_no_series_and_a_late_end_brings_none_back() {
    let names = ["old", "fail", "look", "nightly", "hook"];
    let site = |old: bool| {
        let site = Site::new().no_bindings().binding("late", "[wait]", "");
        if old {
            site.binding("old", "[fail]", "").sections(SECTIONS)
        } else {
            site
        }
    };
    let with = site(true).looking(CHECKS);
    with.write("playbook/routine/roles/watch/tasks/main.yml", "");
    let server = with.start();
    server.deliver(&[alert("A", "web1").label("for", "old")]);
    assert_eq!(server.wait_run(1, "finished")["outcome"], "failed");
    server.started_run(r#"{"roles": ["look"], "target": {"hosts": ["web1"]}}"#);
    assert_eq!(server.wait_run(2, "finished")["outcome"], "successful");
    server.deliver(&[alert("B", "web1").label("for", "late")]);
    server.wait_run(3, "running");
    for name in names {
        assert!(!series(&server, &[name]).is_empty(), "{name} has no series");
    }
    let of_look = series(&server, &["look"]);

    // All of it goes, also the binding and the role of a run that is under way.
    let config = std::fs::read_to_string(with.path("promansible.yml")).unwrap();
    let (before, _) = config.split_once("bindings:").unwrap();
    let text = format!("{before}bindings: []\n");
    with.write("promansible.yml", &text);
    for role in [
        "alert/roles/fail",
        "alert/roles/look",
        "alert/roles/wait",
        "routine/roles/watch",
    ] {
        std::fs::rename(
            with.path(&format!("playbook/{role}")),
            with.path(&role.replace('/', "-")),
        )
        .unwrap();
    }
    reload(&server);
    let gone = [&names[..], &["late", "wait", "watch"]].concat();
    server.wait("gone", || series(&server, &gone).is_empty());
    with.go();
    assert_eq!(server.wait_run(3, "finished")["outcome"], "successful");
    assert_eq!(series(&server, &gone), Vec::<String>::new());

    // What comes back begins at 0, but when it last ended well is still known.
    std::fs::rename(
        with.path("alert-roles-look"),
        with.path("playbook/alert/roles/look"),
    )
    .unwrap();
    reload(&server);
    let last = "promansible_role_last_success_timestamp_seconds{host=\"web1\",role=\"look\"}";
    let of = |lines: &[String]| lines.iter().find(|line| line.starts_with(last)).cloned();
    let back = series(&server, &["look"]);
    assert_eq!(of(&back), of(&of_look));
    assert!(of(&back).is_some(), "{back:?}");
    let runs = "promansible_runs_total{outcome=\"successful\",role=\"look\",trigger=\"manual\"}";
    assert_eq!(server.metric(runs), 0.0);
}

#[test]
fn what_was_made_over_the_api_takes_its_series_with_it() {
    let site = Site::new();
    site.write("playbook/routine/roles/watch/tasks/main.yml", "");
    let server = site.start();
    let json = [("Content-Type", "application/json")];
    for (path, body) in [
        (
            "bindings",
            r#"{"name": "made", "matchers": ["alertname=\"X\""], "roles": ["ok"]}"#,
        ),
        (
            "schedules",
            r#"{"name": "made", "cron": "0 3 * * *", "roles": ["watch"], "target": "controller"}"#,
        ),
    ] {
        let answer = server.request("POST", &format!("/api/v1/{path}"), &json, body.as_bytes());
        assert_eq!(answer.status, 201, "{}", answer.text());
        server.wait("shown", || !series(&server, &["made"]).is_empty());
        let answer = server.request("DELETE", &format!("/api/v1/{path}/made"), &[], b"");
        assert!(answer.status < 300, "{}", answer.text());
        assert_eq!(series(&server, &["made"]), Vec::<String>::new(), "{path}");
    }
}
