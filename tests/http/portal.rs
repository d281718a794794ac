//! The portal's pages, as somebody without scripts sees them.

use serde_json::json;

use crate::page::{Element, Page};
use crate::support::{Server, Site, alert};

const HOSTILE: &str = "<script>alert('x')</script>\" onload=\"x";

fn enroll(server: &Server, host: &serde_json::Value) {
    let headers = [("Content-Type", "application/json")];
    let answer = server.request(
        "POST",
        "/api/v1/hosts",
        &headers,
        host.to_string().as_bytes(),
    );
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[test]
fn an_empty_promansible_says_what_to_do_next() {
    let server = Site::new().start();
    let now = Page::get(&server, "/");
    assert!(
        now.by_id("open-empty")
            .text()
            .contains("run a role yourself")
    );
    assert!(now.find("ended-empty").is_some() && now.find("warnings").is_none());
    let runs = Page::get(&server, "/runs");
    assert!(runs.by_id("runs-empty").text().starts_with("No runs yet."));
    let runs = Page::get(&server, "/runs?state=failed");
    assert!(
        runs.by_id("runs-empty")
            .text()
            .starts_with("No run matches.")
    );
    let host = Page::get(&server, "/hosts/web1");
    assert!(host.find("facts-empty").is_some() && host.find("runs-empty").is_some());
    for path in ["/hosts", "/run", "/enrol"] {
        Page::get(&server, path);
    }
}

#[test]
fn a_run_is_shown_with_what_it_did_and_why() {
    let site = Site::new().no_bindings().binding("mend", "[ok, fail]", "");
    let server = site.start();
    let firing = alert("SiteDown", "web1")
        .label("for", "mend")
        .annotation("summary", "It is down.");
    server.deliver(&[firing]);
    server.wait_run(1, "finished");
    let page = Page::get(&server, "/runs/1");
    assert_eq!(page.all("h1")[0].text(), "#1 ok, fail");
    // The colours that a message brings are left out.
    assert_eq!(page.by_id("status").text(), "failed do it: said fail");
    assert!(
        page.by_id("summary")
            .text()
            .contains("Trigger binding mend")
    );
    assert!(
        page.by_id("hosts")
            .text()
            .contains("web1 failed 1 ok, 1 changed, 1 failed"),
        "{}",
        page.by_id("hosts").text()
    );
    let tasks = page.by_id("tasks").text();
    assert!(
        tasks.contains("ok · do it command changed web1")
            && tasks.contains("fail · do it command failed web1"),
        "{tasks}"
    );
    assert!(
        page.by_id("output")
            .text()
            .contains("changed: [web1] by ok")
    );
    let text = page.text();
    for part in ["SiteDown firing", "It is down.", "mend : run"] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert!(page.find("cancel").is_none());
    assert_eq!(page.by_id("again").attribute("href"), "/run?again=1");

    let now = Page::get(&server, "/");
    assert!(
        now.by_id("ended")
            .text()
            .contains("#1 failed ok, fail web1 binding mend")
    );
    for (query, there) in [
        ("state=failed", true),
        ("state=successful", false),
        ("host=web1&role=ok", true),
        ("binding=none", false),
    ] {
        let runs = Page::get(&server, &format!("/runs?{query}"));
        assert_eq!(runs.find("runs").is_some(), there, "{query}");
    }
    assert!(
        Page::get(&server, "/hosts/web1")
            .by_id("host-runs")
            .text()
            .contains("#1")
    );
}

#[test]
fn hostile_names_stay_text() {
    let site = Site::new();
    let server = site.start();
    enroll(&server, &json!({"name": "web3", "vars": {"v": HOSTILE}}));
    let firing = alert("A", "web1")
        .label("zone", HOSTILE)
        .annotation("summary", HOSTILE);
    server.deliver(&[firing]);
    server.wait_run(1, "finished");
    let facts = json!({"facts": {"web1": {"ansible_fqdn": HOSTILE, "ansible_hostname": HOSTILE}}});
    let headers = [("Content-Type", "application/json")];
    let answer = server.request(
        "POST",
        "/api/v1/facts",
        &headers,
        facts.to_string().as_bytes(),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    let encoded = "%3Cscript%3Ealert('x')%3C/script%3E%22%20onload=%22x";
    for path in ["/runs/1", "/hosts/web3", "/hosts/web1"] {
        let page = Page::get(&server, path);
        assert!(
            page.text().contains("<script>alert('x')</script>"),
            "{path}: {}",
            page.text()
        );
        assert_eq!(page.all("script").len(), 1, "{path}");
    }
    for query in [
        "/runs?role=",
        "/runs?state=",
        "/hosts?q=",
        "/hosts?group=",
        "/run?host=",
        "/run?role=",
    ] {
        let page = Page::read(&server.get(&format!("{query}{encoded}")));
        assert_eq!(page.all("script").len(), 1, "{query}");
    }
    let nowhere = server.get(&format!("/{encoded}"));
    assert_eq!(nowhere.status, 404);
    assert_eq!(Page::read(&nowhere).all("script").len(), 1);
}

#[test]
fn what_is_not_there_is_a_page_too() {
    let server = Site::new().start();
    for (path, status) in [
        ("/nothing", 404),
        ("/runs/7", 404),
        ("/runs/x", 400),
        ("/runs/7/cancel", 404),
        ("/hosts/web9", 404),
        ("/hosts/web1/remove", 404),
        ("/run?again=9", 404),
        ("/runs?cursor=x", 400),
        ("/runs?colour=red", 400),
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, status, "{path}");
        Page::read(&answer);
    }
    assert_eq!(server.request("PUT", "/runs", &[], b"").status, 405);
}

#[test]
fn warnings_say_what_is_wrong() {
    let site = Site::new();
    site.write("hold", "");
    let server = site.start_only();
    server.wait_for_log("the inventory is held");
    let now = Page::get(&server, "/");
    assert!(now.by_id("warnings").text().contains("No inventory."));
    assert!(
        Page::get(&server, "/hosts")
            .by_id("unavailable")
            .text()
            .contains("the inventory is held")
    );
}

#[test]
fn assets_may_be_kept() {
    let server = Site::new().start();
    let page = Page::get(&server, "/");
    let sheet = page
        .all("link")
        .iter()
        .find(|l| l.attribute("rel") == "stylesheet")
        .unwrap()
        .attribute("href");
    let answer = server.get(&sheet);
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("text/css; charset=utf-8"))
    );
    assert!(
        answer
            .header("cache-control")
            .unwrap()
            .contains("immutable")
    );
    let tag = answer.header("etag").unwrap().to_owned();
    let again = server.request("GET", &sheet, &[("If-None-Match", &tag)], b"");
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(
        server.get(&page.all("script")[0].attribute("src")).status,
        200
    );
    assert_eq!(server.get("/assets/../src").status, 404);
}

#[test]
fn roles_are_shown_with_what_they_say_and_who_uses_them() {
    let site = Site::new();
    let readme = "# ok\n\nMends `things`. [Web](https://example.org) <script>x</script>\n";
    site.write("playbook/alert/roles/ok/README.md", readme);
    let spec = "argument_specs:\n  main:\n    short_description: Mends <b>it</b>\n    options:\n      ok_zone: {type: str, required: true, choices: [blue, red]}\n      ok_map: {type: dict, options: {inner: {type: int, default: 3}}}\n";
    site.write("playbook/alert/roles/ok/meta/argument_specs.yml", spec);
    let server = site.start();
    let roles = Page::get(&server, "/roles").by_id("roles").text();
    assert!(
        roles.contains("ok alert Mends <b>it</b> all never ran"),
        "{roles}"
    );
    let role = Page::get(&server, "/roles/ok");
    let options = role.by_id("options").text();
    assert!(
        options.contains("ok_zone required str") && options.contains("One of blue, red."),
        "{options}"
    );
    assert!(options.contains("ok_map.inner int 3"), "{options}");
    assert!(
        role.by_id("readme")
            .text()
            .contains("Mends things . Web <script>x</script>"),
        "{}",
        role.by_id("readme").text()
    );
    assert!(role.find("runs-empty").is_some());
    let form = Page::get(&server, &role.by_id("run-role").attribute("href"));
    let chosen: Vec<String> = form
        .all("option")
        .iter()
        .filter(|o| o.has("selected"))
        .map(Element::text)
        .collect();
    assert_eq!(chosen, ["ok"]);
    assert!(
        Page::get(&server, "/roles/fail")
            .find("options-empty")
            .is_some()
    );
    assert_eq!(server.get("/roles/none").status, 404);
}
