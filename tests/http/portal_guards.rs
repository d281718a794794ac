//! The portal's side of guards: what waits for a person is shown first, says why, and is let go by a form.

use serde_json::json;

use crate::page::Page;
use crate::portal_forms::{leads_to, send};
use crate::support::{Server, Site, alert};

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

fn asking(site: Site) -> Site {
    site.no_bindings().binding(
        "mend",
        "[ok]",
        "matchers: ['alertname=\"Down\"']; approval: {ttl: 1h}",
    )
}

/// Waits until a page says it.
#[track_caller]
fn wait_for(server: &Server, path: &str, id: &str, text: &str) -> Page {
    let mut page = Page::get(server, path);
    for _ in 0..200 {
        let found = page.find(id);
        if found.is_some_and(|element| element.text().contains(text)) {
            return page;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        page = Page::get(server, path);
    }
    panic!("no {text:?} in #{id} of {path}: {}", page.text());
}

#[test]
fn everything_is_paused_after_one_question_and_every_page_says_so() {
    let server = Site::new().start();
    let now = Page::get(&server, "/");
    assert!(now.find("paused").is_none());
    let ask = Page::get(&server, &now.by_id("pause").attribute("href"));
    assert!(ask.all("h1")[0].text().contains("Pause everything?"));
    let action = ask.by_id("confirm").attribute("action");
    let foreign = [FORM, ("Sec-Fetch-Site", "cross-site")];
    let refused = server.request("POST", &action, &foreign, b"why=x");
    assert_eq!(refused.status, 403);
    let long = send(&server, &action, &format!("why={}", "x".repeat(1001)));
    assert_eq!(long.status, 400);
    assert!(Page::read(&long).find("why-error").is_some());
    assert!(Page::get(&server, "/").find("paused").is_none());

    leads_to(
        &send(&server, &action, "why=The+%3Cnetwork%3E+is+mended"),
        "/",
    );
    for path in ["/", "/runs", "/alerts", "/hosts/web1", "/binding"] {
        let page = Page::get(&server, path);
        let said = page.by_id("paused").text();
        assert!(
            said.contains("Everything is paused by the portal ,")
                && said.contains("The <network> is mended"),
            "{path}: {said}"
        );
        assert!(page.find("pause").is_none(), "{path}");
    }
    assert!(Page::read(&server.get("/nothing")).find("paused").is_some());
    leads_to(
        &send(&server, "/run", "role=ok&target=hosts&hosts=web1"),
        "/runs/1",
    );
    let held = Page::get(&server, "/runs/1").by_id("held").text();
    assert!(held.contains("everything is paused"), "{held}");
    assert_eq!(server.run(1)["state"], "queued");
    leads_to(&send(&server, "/resume", ""), "/");
    server.wait_run(1, "finished");
    assert!(Page::get(&server, "/").find("paused").is_none());
    assert!(Page::get(&server, "/runs/1").find("held").is_none());
}

#[test]
fn a_run_that_asks_comes_first_and_is_approved_or_rejected() {
    let server = asking(Site::new()).start();
    assert!(Page::get(&server, "/").find("waiting").is_none());
    server.deliver(&[alert("Down", "web1")]);
    let now = wait_for(&server, "/", "waiting", "run #1");
    let row = now.by_id("approval-1").text();
    for part in ["ok on web1", "Down binding mend , requested", "expires"] {
        assert!(row.contains(part), "{part:?} in {row}");
    }
    assert!(now.by_id("open").text().contains("waits for approval"));
    let run = Page::get(&server, "/runs/1");
    assert!(run.by_id("held").text().contains("Waiting for approval."));
    assert!(run.by_id("status").text().contains("held"));
    leads_to(&send(&server, "/runs/1/approve", ""), "/runs/1");
    server.wait_run(1, "finished");
    let run = Page::get(&server, "/runs/1");
    let summary = run.by_id("summary").text();
    assert!(summary.contains("Approved by the portal ,"), "{summary}");
    assert!(Page::get(&server, "/").find("waiting").is_none());
    let late = send(&server, "/runs/1/approve", "");
    assert_eq!(late.status, 409);
    assert!(
        Page::read(&late)
            .text()
            .contains("does not wait for approval")
    );

    server.deliver(&[alert("Down", "web2")]);
    let run = wait_for(&server, "/runs/2", "held", "Waiting for approval.");
    let reject = run.by_id("reject").attribute("formaction");
    leads_to(&send(&server, &reject, ""), "/runs/2");
    assert_eq!(server.run(2)["outcome"], "canceled");
    let status = Page::get(&server, "/runs/2").by_id("status").text();
    assert!(status.contains("rejected by the portal"), "{status}");
}

#[test]
fn a_storm_is_shown_and_released() {
    let site = Site::new().sections("guards: {storm: {max_hosts: 1, within: 1h}}\n");
    let server = site.start();
    server.deliver(&[alert("Down", "web1")]);
    server.wait_run(1, "finished");
    server.deliver(&[alert("Down", "web2")]);
    let now = wait_for(&server, "/", "waiting", "all bindings are on hold");
    let waiting = now.by_id("waiting").text();
    assert!(
        waiting.contains("The storm guard counted 2 hosts (limit 1)")
            && waiting.contains("1 run is waiting; none is dropped"),
        "{waiting}"
    );
    let run = Page::get(&server, "/runs/2");
    assert!(run.by_id("held").text().contains("too many hosts"));
    leads_to(&send(&server, "/release", "binding="), "/");
    server.wait_run(2, "finished");
    assert!(Page::get(&server, "/").find("waiting").is_none());
}

#[test]
fn an_open_role_is_shown_and_run_again() {
    let site = Site::new()
        .no_bindings()
        .binding("all", "[fail]", "")
        .sections("guards: {circuit: {failures: 1, retry_after: 1h}}\n");
    let server = site.start();
    server.deliver(&[alert("Down", "web1")]);
    let now = wait_for(&server, "/", "alone", "Role fail");
    let alone = now.by_id("alone").text();
    assert!(
        alone.contains("Failed on 1 host (web1) in a row"),
        "{alone}"
    );
    server.deliver(&[alert("Down", "web2")]);
    wait_for(&server, "/", "firing", "circuit_open");
    leads_to(&send(&server, "/roles/fail/close", ""), "/roles/fail");
    server.wait_run(2, "finished");
}

#[test]
fn a_host_is_held_and_released() {
    let server = Site::new().start();
    let host = Page::get(&server, "/hosts/web1");
    let ask = host.by_id("hold").attribute("href");
    assert_eq!(
        Page::get(&server, &ask).by_id("for").attribute("value"),
        "2h"
    );
    let wrong = send(&server, &ask, "for=two&why=a+disk");
    assert_eq!(wrong.status, 400);
    let page = Page::read(&wrong);
    assert!(
        page.by_id("for-error")
            .text()
            .contains("expected a number before")
    );
    assert_eq!(page.by_id("for").attribute("value"), "two");
    assert_eq!(page.by_id("why").attribute("value"), "a disk");
    assert_eq!(send(&server, &ask, "for=2h&why=").status, 400);
    assert_eq!(server.get("/hosts/web9/hold").status, 404);
    assert_eq!(send(&server, "/hosts/web9/hold", "why=x").status, 404);

    leads_to(&send(&server, &ask, "for=2h&why=a+new+disk"), "/hosts/web1");
    let held = Page::get(&server, "/hosts/web1").by_id("held").text();
    assert!(
        held.contains("Held by the portal") && held.contains("a new disk"),
        "{held}"
    );
    let now = Page::get(&server, "/");
    assert!(now.by_id("alone").text().contains("Host web1"));
    server.deliver(&[alert("Down", "web1")]);
    let now = wait_for(&server, "/", "firing", "host_held");
    assert!(now.by_id("firing").text().contains("next decision"));
    assert_eq!(server.data("runs")["runs"], json!([]));
    leads_to(&send(&server, "/hosts/web1/release", ""), "/hosts/web1");
    server.wait_run(1, "finished");
    assert!(Page::get(&server, "/hosts/web1").find("held").is_none());
    leads_to(&send(&server, "/hosts/web1/release", ""), "/hosts/web1");
}

#[test]
fn a_binding_says_its_guards_and_whether_its_roles_help() {
    let site = Site::new()
        .no_bindings()
        .binding(
            "mend",
            "[ok]",
            "matchers: ['alertname=\"Down\"']; cooldown: 5m; attempts: {max: 3, per: 2h}; storm: {max_hosts: 4, max_percent: 10, within: 5m}; verify_within: 1s; mute_times: [nights]",
        )
        .binding("watch", "[ok]", "matchers: ['alertname=\"Slow\"']; mode: observe")
        .sections("time_intervals: [{name: nights, time_intervals: [{times: [{start_time: '00:00', end_time: '00:01'}], weekdays: [sunday], months: ['1'], years: ['2020']}]}]\n");
    let server = site.start();
    let page = Page::get(&server, "/bindings/mend");
    let guards = page.by_id("guards").text();
    for part in [
        "Mode run",
        "Approval not required",
        "Times not during nights",
        "Cooldown 5m on each host after a start",
        "Attempts 3 on each host within 2h, then stop",
        "Storm runs are held at more than 4 hosts or more than 10 % of the inventory within 5m; more than 20 hosts within 10m (all bindings)",
        "Circuit opens after a failure on 5 different hosts in a row; next retry, on one host, after 30m",
    ] {
        assert!(guards.contains(part), "{part:?} in {guards}");
    }
    assert!(page.find("helped-empty").is_some());
    assert_eq!(
        page.by_id("steps").text(),
        "ok; the alert must resolve within 1s."
    );
    let watch = Page::get(&server, "/bindings/watch").by_id("guards").text();
    assert!(watch.contains("Mode observe: no run starts"), "{watch}");
    assert!(
        Page::get(&server, "/alerts")
            .by_id("bindings")
            .text()
            .contains("observe mode")
    );

    server.deliver(&[alert("Down", "web1")]);
    server.wait_run(1, "finished");
    server.deliver(&[alert("Down", "web1").resolved()]);
    wait_for(&server, "/runs/1", "verdict", "helped");
    let helped = Page::get(&server, "/bindings/mend").by_id("helped").text();
    assert!(helped.contains("ok 1 of 1 0 0"), "{helped}");
    let helped = Page::get(&server, "/roles/ok").by_id("helped").text();
    assert!(helped.contains("mend 1 of 1 0 0"), "{helped}");
    assert!(
        Page::get(&server, "/roles")
            .by_id("roles")
            .text()
            .contains("1 of 1 1 of 1")
    );
    let episodes = Page::get(&server, "/alerts/Down").by_id("episodes").text();
    assert!(episodes.contains("run #1 helped"), "{episodes}");
}

#[test]
fn a_form_keeps_the_guards_that_it_does_not_show() {
    let server = Site::new().no_bindings().start();
    let body = json!({"name": "kept", "matchers": ["alertname=\"Down\""], "mode": "observe", "cooldown": "5m",
        "steps": [{"roles": ["ok"]}, {"roles": ["flood"]}]});
    let headers = [("Content-Type", "application/json")];
    let made = server.request(
        "POST",
        "/api/v1/bindings",
        &headers,
        body.to_string().as_bytes(),
    );
    assert_eq!(made.status, 201, "{}", made.text());
    let page = Page::get(&server, "/bindings/kept");
    assert!(
        page.by_id("steps-note")
            .text()
            .contains("This binding has 2 steps")
    );
    assert!(page.by_id("guards").text().contains("Cooldown 5m"));
    let chosen: Vec<String> = page
        .all("option")
        .iter()
        .filter(|option| option.has("selected"))
        .map(|option| option.attribute("value") + &option.text())
        .collect();
    assert!(
        chosen.iter().any(|text| text.starts_with("observe")),
        "{chosen:?}"
    );
    assert!(chosen.contains(&"ok".to_owned()), "{chosen:?}");
    leads_to(
        &send(
            &server,
            "/bindings/kept",
            "matchers=alertname%3D%22Down%22&role=fail&target=alerting_host&label=instance&mode=observe",
        ),
        "/bindings/kept",
    );
    let kept = &server.data("bindings/kept")["typed"];
    assert_eq!(
        (&kept["mode"], &kept["cooldown"], &kept["steps"]),
        (
            &json!("observe"),
            &json!("5m"),
            &json!([{"roles": ["fail"]}, {"roles": ["flood"]}])
        )
    );
}
