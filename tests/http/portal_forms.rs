//! The portal's forms: they work without scripts, and only from our own pages.

use serde_json::json;

use crate::page::{Element, Page};
use crate::support::{Answer, Server, Site};

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

/// Sends a form as a browser does from one of our pages.
pub(crate) fn send(server: &Server, path: &str, form: &str) -> Answer {
    let origin = format!("http://{}", server.address);
    let headers = [FORM, ("Origin", &origin), ("Sec-Fetch-Site", "same-origin")];
    server.request("POST", path, &headers, form.as_bytes())
}

#[track_caller]
pub(crate) fn leads_to(answer: &Answer, path: &str) {
    let to = answer.header("location");
    assert_eq!((answer.status, to), (303, Some(path)), "{}", answer.text());
}

#[test]
fn a_role_is_run_once_and_again() {
    let site = Site::new();
    let server = site.start();
    let answer = send(
        &server,
        "/run",
        "role=ok&role=flood&role=&target=group&hosts=&group=web&vars=zone%3A+blue%0D%0Acount%3A+1&check=on&timeout=90s",
    );
    leads_to(&answer, "/runs/1");
    let run = server.wait_run(1, "finished");
    assert_eq!(run["hosts"], json!(["web1", "web2"]));
    assert_eq!(run["work"]["roles"], json!(["ok", "flood"]));
    assert_eq!(
        (&run["work"]["check"], &run["work"]["timeout_seconds"]),
        (&json!(true), &json!(90.0))
    );
    let vars = std::fs::read_to_string(site.path("vars-1.json")).unwrap();
    assert!(vars.contains("blue"), "{vars}");

    let again = Page::get(&server, "/run?again=1");
    let chosen: Vec<String> = again
        .all("option")
        .iter()
        .filter(|o| o.has("selected"))
        .map(Element::text)
        .collect();
    assert_eq!(chosen, ["ok", "flood"]);
    assert_eq!(again.by_id("hosts-names").attribute("value"), "web1, web2");
    assert!(again.by_id("check").has("checked"));
    let vars = again.by_id("vars").text();
    assert!(vars.contains("# zone:") && !vars.contains("blue"), "{vars}");
}

#[test]
fn what_is_wrong_is_said_at_its_field_and_nothing_typed_is_lost() {
    let server = Site::new().start();
    for (form, field, why) in [
        (
            "role=ok&target=hosts&hosts=web1%2C+web9&vars=a%3A+1",
            "target",
            "no host of the inventory has the name or address \"web9\"",
        ),
        ("role=ok&target=hosts&hosts=web1&vars=a%3A+%5B", "vars", ""),
        (
            "role=ok&target=hosts&hosts=web1&vars=ansible_user%3A+x",
            "vars",
            "controls Ansible itself",
        ),
        (
            "role=ok&target=hosts&hosts=web1&timeout=long",
            "timeout",
            "is not a duration",
        ),
        ("role=nope&target=hosts&hosts=web1", "roles", "unknown role"),
        ("target=hosts&hosts=web1", "roles", "choose one"),
    ] {
        let answer = send(&server, "/run", form);
        assert_eq!(answer.status, 400, "{form}");
        let page = Page::read(&answer);
        assert!(
            page.by_id(&format!("{field}-error")).text().contains(why),
            "{form}: {}",
            page.text()
        );
        assert_eq!(page.by_id(field).attribute("aria-invalid"), "true");
        assert!(
            page.by_id("hosts-names")
                .attribute("value")
                .starts_with("web1")
        );
        assert!(page.by_id("form-error").attribute("role") == "alert");
    }
    assert_eq!(server.list(""), [0; 0]);
}

#[test]
fn a_run_is_canceled_after_one_question() {
    let site = Site::new();
    let server = site.start();
    leads_to(
        &send(&server, "/run", "role=wait&target=hosts&hosts=web1"),
        "/runs/1",
    );
    server.wait_run(1, "running");
    let page = Page::get(&server, "/runs/1");
    let ask = page.by_id("cancel").attribute("href");
    let question = Page::get(&server, &ask);
    assert!(question.all("h1")[0].text().contains("Cancel run 1?"));
    let form = question.by_id("confirm");
    assert_eq!(
        (
            form.attribute("method").as_str(),
            server.run(1)["state"].as_str()
        ),
        ("post", Some("running"))
    );
    leads_to(&send(&server, &form.attribute("action"), ""), "/runs/1");
    assert_eq!(server.wait_run(1, "finished")["outcome"], "canceled");
    let late = send(&server, "/runs/1/cancel", "");
    assert_eq!(late.status, 409);
    assert!(Page::read(&late).text().contains("run 1 has already ended"));
    assert_eq!(server.get("/runs/1/cancel").status, 409);
    site.go();
}

#[test]
fn a_host_is_added_and_removed() {
    let server = Site::new().start();
    let wrong = send(
        &server,
        "/enrol",
        "name=web3&address=not+one&groups=web&vars=ansible_port%3A+2222",
    );
    assert_eq!(wrong.status, 400);
    let page = Page::read(&wrong);
    assert!(
        page.by_id("address-error")
            .text()
            .contains("neither an IP address nor a DNS name")
    );
    assert_eq!(page.by_id("name").attribute("value"), "web3");
    assert_eq!(page.by_id("vars").text(), "ansible_port: 2222");
    let taken = send(&server, "/enrol", "name=web1");
    assert_eq!(taken.status, 409);
    assert!(
        Page::read(&taken)
            .by_id("form-error")
            .text()
            .contains("web1 is already in the inventory's sources")
    );

    let answer = send(
        &server,
        "/enrol",
        "name=web3&address=10.0.0.3&groups=web%2C+edge&vars=ansible_port%3A+2222",
    );
    leads_to(&answer, "/hosts/web3");
    assert!(
        Page::get(&server, "/hosts?group=web")
            .by_id("hosts")
            .text()
            .contains("web3 10.0.0.3 edge, web enrolled")
    );
    let host = Page::get(&server, "/hosts/web3");
    assert!(host.by_id("summary").text().contains("ansible_port 2222"));
    let question = Page::get(&server, &host.by_id("remove").attribute("href"));
    leads_to(
        &send(&server, &question.by_id("confirm").attribute("action"), ""),
        "/hosts",
    );
    assert_eq!(server.get("/hosts/web3").status, 404);
    assert!(Page::get(&server, "/hosts/web1").find("remove").is_none());
}

#[test]
fn a_form_must_come_from_our_own_page() {
    type Headers<'a> = &'a [(&'a str, &'a str)];
    let server = Site::new().start();
    let (ours, run) = (
        format!("http://{}", server.address),
        "role=ok&target=controller",
    );
    let port = server.address.port();
    let named = format!("evil.example:{port}");
    let named_origin = format!("http://{named}");
    let cases: [Headers<'_>; 7] = [
        &[],
        &[("Sec-Fetch-Site", "none")],
        &[
            ("Sec-Fetch-Site", "cross-site"),
            ("Origin", "http://evil.example"),
        ],
        &[("Sec-Fetch-Site", "same-site"), ("Origin", &ours)],
        &[("Origin", "null")],
        &[("Origin", "http://evil.example")],
        &[("Referer", &ours)],
    ];
    for headers in cases {
        let headers = [&[FORM], headers].concat();
        let answer = server.request("POST", "/run", &headers, run.as_bytes());
        assert_eq!(answer.status, 403, "{headers:?}");
    }
    // A name that was made to lead here. The second Host is what this one says.
    let mut bytes = format!(
        "POST /run HTTP/1.1\r\nHost: {named}\r\nOrigin: {named_origin}\r\nSec-Fetch-Site: same-origin\r\n"
    );
    bytes.push_str(&format!(
        "Content-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{run}",
        FORM.1,
        run.len()
    ));
    assert_eq!(server.raw(bytes.as_bytes()).status, 403);

    let json = [
        ("Content-Type", "application/json"),
        ("Origin", ours.as_str()),
    ];
    assert_eq!(
        server.request("POST", "/run", &json, run.as_bytes()).status,
        415
    );
    let long = format!("{run}&vars={}", "x".repeat(300_000));
    assert_eq!(send(&server, "/run", &long).status, 413);
    assert_eq!(server.list(""), [0; 0]);
    // Either of the two says enough.
    for header in [("Origin", ours.as_str()), ("Sec-Fetch-Site", "same-origin")] {
        let answer = server.request("POST", "/run", &[FORM, header], run.as_bytes());
        assert_eq!(answer.status, 303, "{header:?}");
    }
}
