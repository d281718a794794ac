//! The portal's bindings and schedules: made, changed, paused and removed by forms.

use std::fs;

use serde_json::json;

use crate::page::Page;
use crate::portal_forms::{leads_to, send};
use crate::support::{Site, alert};

#[test]
fn a_role_is_bound_to_an_alert_type_and_runs() {
    let server = Site::new().no_bindings().start();
    server.deliver(&[alert("SiteDown", "web1")]);
    let now = Page::get(&server, "/");
    assert!(now.by_id("firing").text().contains("SiteDown firing"));
    assert!(
        now.by_id("firing")
            .text()
            .contains("No binding. Bind a role"),
        "{}",
        now.by_id("firing").text()
    );
    let types = Page::get(&server, "/alerts?unbound=on");
    assert!(
        types
            .by_id("types")
            .text()
            .contains("SiteDown firing 1 none"),
        "{}",
        types.text()
    );
    assert!(types.find("bindings-empty").is_some());
    let of = Page::get(&server, "/alerts/SiteDown");
    let form = Page::get(&server, &of.by_id("bind").attribute("href"));
    assert_eq!(form.by_id("name").attribute("value"), "site-down");
    assert_eq!(form.by_id("matchers").text(), "alertname = \"SiteDown\"");

    let matchers = "matchers=alertname+%3D+%22SiteDown%22";
    let wrong = send(
        &server,
        "/binding",
        &format!("name=site-down&{matchers}%0D%0Ax+y&role=ok&target=alerting_host&label=instance"),
    );
    assert_eq!(wrong.status, 400);
    let page = Page::read(&wrong);
    assert!(!page.by_id("matchers-error").text().is_empty());
    assert!(page.by_id("matchers").text().ends_with("x y"));
    let bind = format!(
        "name=site-down&{matchers}&role=ok&target=alerting_host&label=instance&vars=&timeout="
    );
    leads_to(&send(&server, "/binding", &bind), "/bindings/site-down");
    assert_eq!(
        send(&server, "/binding", &bind).status,
        409,
        "the name is taken"
    );

    server.deliver(&[alert("SiteDown", "web1").since(7)]);
    let run = server.wait_run(1, "finished");
    assert_eq!(
        (&run["binding"], &run["outcome"]),
        (&json!("site-down"), &json!("successful"))
    );
    let now = Page::get(&server, "/").by_id("firing").text();
    assert!(now.contains("site-down : successful run #1"), "{now}");

    let page = Page::get(&server, "/bindings/site-down");
    let revision = page
        .all("input")
        .iter()
        .find(|i| i.attribute("name") == "revision")
        .unwrap()
        .attribute("value");
    let change = format!(
        "revision={revision}&{matchers}&role=ok&role=flood&target=group&group=web&mode=check&timeout=90s"
    );
    leads_to(
        &send(&server, "/bindings/site-down", &change),
        "/bindings/site-down",
    );
    let binding = server.data("bindings/site-down");
    assert_eq!(binding["roles"], json!(["ok", "flood"]));
    assert_eq!(
        (&binding["mode"], &binding["timeout"], &binding["target"]),
        (&json!("check"), &json!("1m30s"), &json!({"group": "web"}))
    );
    // Whoever still has the old page overwrites nothing.
    let late = send(&server, "/bindings/site-down", &change);
    assert_eq!(late.status, 412);
    assert!(!Page::read(&late).by_id("form-error").text().is_empty());

    let question = Page::get(&server, "/bindings/site-down/remove");
    leads_to(
        &send(&server, &question.by_id("confirm").attribute("action"), ""),
        "/alerts",
    );
    assert_eq!(server.get("/bindings/site-down").status, 404);
}

#[test]
fn what_the_configuration_says_is_shown_and_stays() {
    let server = Site::new().start();
    let page = Page::get(&server, "/bindings/all");
    assert!(page.find("provisioned").is_some() && page.find("binding").is_none());
    assert_eq!(server.get("/bindings/all/remove").status, 404);
    let answer = send(
        &server,
        "/bindings/all",
        "matchers=a%3D%22b%22&role=ok&target=controller",
    );
    assert_eq!(answer.status, 404);
    Page::get(&server, "/alerts");
    assert_eq!(server.get("/alerts/Unknown").status, 404);
}

#[test]
fn a_schedule_is_made_changed_paused_and_run() {
    let site = Site::new();
    fs::create_dir_all(site.path("playbook/routine/roles/check_dns")).unwrap();
    let server = site.start();
    assert!(
        Page::get(&server, "/schedules")
            .find("schedules-empty")
            .is_some()
    );
    assert!(Page::get(&server, "/").find("next-empty").is_some());
    Page::get(&server, "/schedule");
    let form = "name=dns&cron=0+3+*+*+*&timezone=Asia%2FShanghai&missed=once&role=check_dns&target=group&group=web";

    let preview = send(&server, "/schedule", &format!("{form}&preview=1"));
    assert_eq!(preview.status, 200);
    let page = Page::read(&preview);
    assert_eq!(
        page.by_id("next").text().matches(" 19:00:00 UTC").count(),
        5,
        "{}",
        page.by_id("next").text()
    );
    assert_eq!(page.by_id("cron").attribute("value"), "0 3 * * *");
    assert_eq!(
        server.data("schedules")["schedules"],
        json!([]),
        "nothing was kept"
    );
    for (wrong, field) in [
        ("cron=61+*+*+*+*", "cron"),
        ("cron=%40daily&timezone=Mars", "timezone"),
        ("cron=%40daily&jitter=x", "jitter"),
    ] {
        let answer = send(
            &server,
            "/schedule",
            &format!("name=dns&{wrong}&role=check_dns&target=group&group=web"),
        );
        assert_eq!(answer.status, 400, "{wrong}");
        assert!(
            !Page::read(&answer)
                .by_id(&format!("{field}-error"))
                .text()
                .is_empty()
        );
    }

    leads_to(&send(&server, "/schedule", form), "/schedules#schedule-dns");
    let page = Page::get(&server, "/schedules");
    assert!(
        page.by_id("schedule-dns")
            .text()
            .contains("check_dns on the group web")
    );
    assert!(
        Page::get(&server, "/")
            .by_id("next")
            .text()
            .contains("dns check_dns")
    );
    leads_to(&send(&server, "/schedules/dns/run", ""), "/runs/1");
    assert_eq!(server.wait_run(1, "finished")["schedule"], "dns");
    leads_to(
        &send(&server, "/schedules/dns/pause", ""),
        "/schedules#schedule-dns",
    );
    let page = Page::get(&server, "/schedules");
    assert!(
        page.by_id("schedule-dns")
            .text()
            .contains("paused by the portal")
            && !page.by_id("schedule-dns").text().contains("Next:")
    );
    leads_to(
        &send(&server, "/schedules/dns/resume", ""),
        "/schedules#schedule-dns",
    );

    let page = Page::get(&server, "/schedules/dns");
    assert_eq!(page.by_id("timezone").attribute("value"), "Asia/Shanghai");
    leads_to(
        &send(
            &server,
            "/schedules/dns",
            "cron=%40hourly&missed=skip&role=check_dns&target=controller",
        ),
        "/schedules#schedule-dns",
    );
    assert_eq!(server.data("schedules/dns")["cron"], "@hourly");
    let question = Page::get(&server, "/schedules/dns/remove");
    leads_to(
        &send(&server, &question.by_id("confirm").attribute("action"), ""),
        "/schedules",
    );
    assert_eq!(server.get("/schedules/dns").status, 404);
    assert_eq!(send(&server, "/schedules/dns/run", "").status, 404);
}
