//! Starting once more: by itself where no task began, and because a person asks for it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::page::Page;
use crate::portal_forms::{leads_to, send};
use crate::support::{Answer, Server, Site, alert, promansible, run};

const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

/// An ansible-playbook that fails as often as the file `hiccups` says, in the way that `way` says, before it does its work.
const HICCUPS: &str = r#"#!/bin/sh
here=$(dirname "$0")/..
left=$(cat "$here/hiccups" 2>/dev/null || echo 0)
echo start >>"$here/starts"
[ "$left" = 0 ] && exec "$here/bin/real-playbook" "$@"
echo $((left - 1)) >"$here/hiccups"
cat "$here/way"
exit 1
"#;

const NO_INVENTORY: &str = "[WARNING]:  * Failed to parse /srv/inv.sh with script plugin: cloud API: 503\nERROR! Completely failed to parse inventory source /srv/inv.sh\n";

fn with_hiccups(site: &Site, hiccups: u32, way: &str) {
    fs::rename(
        site.path("bin/ansible-playbook"),
        site.path("bin/real-playbook"),
    )
    .unwrap();
    site.write("bin/ansible-playbook", HICCUPS);
    fs::set_permissions(
        site.path("bin/ansible-playbook"),
        Permissions::from_mode(0o755),
    )
    .unwrap();
    site.write("hiccups", &hiccups.to_string());
    site.write("way", way);
}

fn patient() -> Site {
    Site::new()
        .runs("start_attempts", "3")
        .runs("start_pause", "0s")
}

fn starts(site: &Site) -> usize {
    fs::read_to_string(site.path("starts"))
        .unwrap_or_default()
        .lines()
        .count()
}

fn rerun(server: &Server, id: u64, body: &str) -> Answer {
    let headers = if body.is_empty() { &[][..] } else { &JSON[..] };
    server.request(
        "POST",
        &format!("/api/v1/runs/{id}/rerun"),
        headers,
        body.as_bytes(),
    )
}

#[track_caller]
fn reruns(server: &Server, id: u64) -> u64 {
    let answer = rerun(server, id, "");
    assert_eq!(answer.status, 202, "{}", answer.text());
    let envelope: Value = serde_json::from_slice(&answer.body).unwrap();
    envelope["data"]["id"].as_u64().unwrap()
}

#[track_caller]
fn refused(answer: &Answer) -> (u16, String) {
    let envelope: Value = serde_json::from_slice(&answer.body).unwrap();
    (
        answer.status,
        envelope["error"].as_str().unwrap().to_owned(),
    )
}

#[test]
fn a_run_of_which_no_task_began_is_tried_again_and_uses_up_nothing() {
    let site =
        patient()
            .no_bindings()
            .binding("a", "[ok]", "cooldown: 1h; attempts: {max: 1, per: 1h}");
    with_hiccups(&site, 2, NO_INVENTORY);
    let server = site.start();
    server.deliver(&[alert("A", "web1").label("for", "a")]);
    let run = server.wait_run(1, "finished");
    assert_eq!(run["outcome"], "successful", "{run}");
    assert_eq!(run["vain_starts"], 2);
    assert_eq!(run["message"], Value::Null);
    assert_eq!(starts(&site), 3);
    assert_eq!(server.list(""), [1]);
    // What the vain starts wrote is there, before the rest.
    let output = server.get("/api/v1/runs/1/output").text();
    assert_eq!(output.matches("cloud API: 503").count(), 2, "{output}");
    assert!(output.ends_with("changed: [web1] by ok\n"), "{output}");
    let started = &server.data("starts")["starts"];
    assert_eq!(
        started[0]["starts"].as_array().map(Vec::len),
        Some(1),
        "{started}"
    );
}

#[test]
fn in_the_end_it_has_failed_and_says_why() {
    let site = patient();
    with_hiccups(&site, 9, NO_INVENTORY);
    let server = site.start();
    server.deliver(&[alert("A", "web1")]);
    let run = server.wait_run(1, "finished");
    assert_eq!(run["outcome"], "failed");
    let message = run["message"].as_str().unwrap();
    assert!(
        message.starts_with(
            "no task began in 3 starts: Ansible reported nothing for this host (exit code 1)"
        ) && message.contains("cloud API: 503"),
        "{message}"
    );
    assert_eq!(starts(&site), 3);
    server.deliver(&[alert("A", "web1")]);
    assert_eq!(server.list(""), [1]);
}

#[test]
fn what_began_does_not_run_twice() {
    let site = patient();
    with_hiccups(
        &site,
        9,
        "PLAY [Run roles] ***\n\nTASK [ok : do it] ***\nERROR! killed\n",
    );
    let server = site.start();
    server.deliver(&[alert("A", "web1")]);
    let run = server.wait_run(1, "finished");
    assert_eq!(run["outcome"], "failed");
    assert_eq!((starts(&site), &run["vain_starts"]), (1, &Value::Null));
}

#[test]
fn how_often_it_was_started_outlives_a_kill_and_what_resolves_meanwhile_needs_no_start() {
    let site = Site::new()
        .runs("start_attempts", "2")
        .runs("start_pause", "1h");
    with_hiccups(&site, 9, NO_INVENTORY);
    let server = site.start();
    server.deliver(&[alert("A", "web1")]);
    server.deliver(&[alert("B", "web2")]);
    let waits = |server: &Server| {
        server.wait("two runs wait for their second start", || {
            [1, 2].iter().all(|id| {
                let run = server.run(*id);
                run["state"] == "queued" && run["vain_starts"] == 1
            })
        });
    };
    waits(&server);
    let message = server.run(1)["message"].as_str().unwrap().to_owned();
    assert!(
        message.starts_with("start 1 of 2 failed before any task and will be retried: ")
            && message.contains("cloud API: 503"),
        "{message}"
    );
    server.kill();
    let server = site.start();
    waits(&server);
    server.deliver(&[alert("A", "web1").resolved()]);
    let ended = server.wait_run(1, "finished");
    assert_eq!((&ended["outcome"], starts(&site)), (&json!("canceled"), 2));
    assert_eq!(server.cancel(2).status, 200);
    assert_eq!(server.wait_run(2, "finished")["outcome"], "canceled");
}

#[test]
fn a_run_is_repeated_for_its_alert_with_what_the_alert_said() {
    let site = Site::new().no_bindings().binding(
        "a",
        "[fail]",
        "cooldown: 1h; attempts: {max: 1, per: 1h}",
    );
    let server = site.start();
    let fires = || {
        alert("A", "web1")
            .label("for", "a")
            .label("mountpoint", "/var")
    };
    server.deliver(&[fires()]);
    assert_eq!(server.wait_run(1, "finished")["outcome"], "failed");
    server.deliver(&[fires()]);
    assert_eq!(server.list(""), [1], "told again, it has had its run");

    assert_eq!(reruns(&server, 1), 2);
    let again = server.wait_run(2, "finished");
    assert_eq!(
        (&again["rerun_of"], &again["trigger"], &again["binding"]),
        (&json!(1), &json!("alert"), &json!("a"))
    );
    let alerts = &site.vars_of(2)["promansible_alerts_by_host"]["web1"];
    assert_eq!(
        alerts,
        &site.vars_of(1)["promansible_alerts_by_host"]["web1"]
    );
    assert!(alerts[0]["labels"].to_string().contains("/var"), "{alerts}");
    // The episode is the new run's now.
    let page = server.data("alerts");
    assert_eq!(page["alerts"][0]["decisions"][0]["run"], 2, "{page}");
    assert_eq!(
        server.data("audit")["entries"][0]["path"],
        "/api/v1/runs/1/rerun"
    );

    // On the page of the run, and beside the alert that fires.
    let page = Page::get(&server, "/runs/2");
    assert_eq!(page.by_id("rerun").text(), "Repeat for its alerts");
    assert!(Page::get(&server, "/").text().contains("Repeat"));
    leads_to(&send(&server, "/runs/2/rerun", ""), "/runs/3");
    server.wait_run(3, "finished");
    assert!(
        Page::get(&server, "/runs/3")
            .by_id("summary")
            .text()
            .contains("repeats #2")
    );

    let said = run(promansible()
        .args(["runs", "rerun", "3"])
        .arg(format!("--server.url=http://{}", server.address)));
    assert_eq!(
        String::from_utf8_lossy(&said.stdout),
        "run 4 is queued, and repeats run 3\n",
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
    server.wait_run(4, "finished");
}

#[test]
fn what_stands_in_the_way_of_a_repetition_is_named() {
    let site = Site::new()
        .no_bindings()
        .binding("a", "[wait]", "")
        .binding("b", "[ok]", "approval: {ttl: 1h}");
    let server = site.start();
    server.deliver(&[alert("A", "web1").label("for", "a")]);
    server.wait_run(1, "running");
    let still = "run 1 has not ended yet: wait for its end, or cancel it first";
    assert_eq!(refused(&rerun(&server, 1, "")), (409, still.to_owned()));
    site.go();
    server.wait_run(1, "finished");
    let vars = refused(&rerun(&server, 1, r#"{"vars": {"x": 1}}"#));
    assert_eq!(vars.0, 409);
    assert!(
        vars.1.starts_with("vars: this run belongs to a binding"),
        "{}",
        vars.1
    );
    assert_eq!(rerun(&server, 99, "").status, 404);
    assert_eq!(rerun(&server, 1, "[]").status, 400);
    assert_eq!(server.get("/api/v1/runs/1/rerun").status, 405);

    let hold = br#"{"why": "new disk"}"#;
    assert_eq!(
        server
            .request("POST", "/api/v1/hosts/web1/hold", &JSON, hold)
            .status,
        200
    );
    let (status, why) = refused(&rerun(&server, 1, ""));
    assert_eq!(status, 409);
    assert!(why.contains("web1 is held"), "{why}");
    server.request("DELETE", "/api/v1/hosts/web1/hold", &[], b"");

    server.deliver(&[alert("B", "web2").label("for", "b")]);
    server.wait("asked", || server.run(2)["held"] == "approval");
    server.request("POST", "/api/v1/runs/2/approve", &[], b"");
    server.wait_run(2, "finished");
    // Consent was given to that run, not to this.
    let id = reruns(&server, 2);
    assert_eq!(server.run(id)["held"], "approval");
    let twice = refused(&rerun(&server, 2, ""));
    assert_eq!(
        twice,
        (
            409,
            format!("run {id} has not ended yet: wait for its end, or cancel it first")
        )
    );
    server.request("POST", &format!("/api/v1/runs/{id}/reject"), &[], b"");
    server.wait_run(id, "finished");
    assert!(server.stop().success());

    let server = site.no_bindings().start();
    let (status, why) = refused(&rerun(&server, 1, ""));
    assert_eq!(status, 409);
    assert!(
        why.starts_with("the binding \"a\" of this run is no longer active"),
        "{why}"
    );
}

#[test]
fn a_run_by_hand_is_repeated_with_its_variables_but_secrets_are_given_again() {
    let site = Site::new();
    site.write(
        "playbook/routine/roles/sign/meta/argument_specs.yml",
        "argument_specs: {main: {options: {sign_pin: {no_log: true}, sign_file: {}}}}",
    );
    let server = site.start();
    let asked = |vars: &Value| {
        json!({"roles": ["sign"], "target": {"hosts": ["web2"]}, "vars": vars}).to_string()
    };
    let open = server.started_run(&asked(&json!({"sign_file": "a"})));
    server.wait_run(open, "finished");
    let again = reruns(&server, open);
    server.wait_run(again, "finished");
    assert_eq!(
        site.vars_of(again)["sign_file"],
        site.vars_of(open)["sign_file"]
    );
    assert_eq!(server.run(again)["hosts"], json!(["web2"]));

    let secret = server.started_run(&asked(&json!({"sign_file": "a", "sign_pin": "1234"})));
    server.wait_run(secret, "finished");
    let (status, why) = refused(&rerun(&server, secret, ""));
    assert_eq!(
        (status, why.as_str()),
        (400, "vars.sign_pin: it is a secret, so give it again")
    );
    let wrong = refused(&rerun(
        &server,
        secret,
        r#"{"vars": {"sign_pin": "1", "sing": 2}}"#,
    ));
    assert!(wrong.1.contains("sing"), "{}", wrong.1);
    let answer = rerun(&server, secret, r#"{"vars": {"sign_pin": "5678"}}"#);
    assert_eq!(answer.status, 202, "{}", answer.text());
    server.wait_run(secret + 1, "finished");
    let vars = site.vars_of(secret + 1).to_string();
    assert!(vars.contains("5678") && !vars.contains("1234"), "{vars}");
}

#[test]
fn a_role_and_a_collection_that_come_later_can_be_used_at_once() {
    let server_of = |site: &Site| site.start();
    let site = Site::new();
    let server = server_of(&site);
    let bind = |name: &str, role: &str| {
        let vars = if role.starts_with("acme") {
            json!({"restart_unti": 1})
        } else {
            json!({})
        };
        let body =
            json!({"name": name, "matchers": ["alertname=\"X\""], "roles": [role], "vars": vars});
        let answer = server.request(
            "POST",
            "/api/v1/bindings",
            &JSON,
            body.to_string().as_bytes(),
        );
        (answer.status, answer.text())
    };
    assert_eq!(bind("b", "fresh").0, 400);
    site.write("playbook/alert/roles/fresh/tasks/main.yml", "[]");
    let (status, text) = bind("b", "fresh");
    assert_eq!(status, 201, "{text}");
    let (status, text) = bind("c", "acme.web.restart");
    assert_eq!(status, 400);
    assert!(text.contains("it is not in any collection"), "{text}");
    let of = "playbook/collections/ansible_collections/acme/web/roles/restart";
    site.write(
        &format!("{of}/meta/argument_specs.yml"),
        "argument_specs: {main: {options: {restart_unit: {required: true}}}}",
    );
    let (status, text) = bind("c", "acme.web.restart");
    assert!(status == 400 && text.contains("restart_unit"), "{text}");
    let by_hand = |vars: &Value| {
        json!({"roles": ["acme.web.restart"], "target": {"hosts": ["web1"]}, "vars": vars})
            .to_string()
    };
    // Whether the inventory gives a required variable is known when it is read next. What no spec names is known at once.
    let misspelt = by_hand(&json!({"restart_unti": "nginx"}));
    assert_eq!(server.start_run(&misspelt).status, 400);
    let id = server.started_run(&by_hand(&json!({"restart_unit": "nginx"})));
    assert_eq!(server.wait_run(id, "finished")["outcome"], "successful");
    let schedule = json!({
        "name": "s", "cron": "@daily", "roles": ["acme.web.restart"], "target": {"hosts": ["web1"]},
        "vars": {"restart_unit": "nginx"},
    });
    let made = server.request(
        "POST",
        "/api/v1/schedules",
        &JSON,
        schedule.to_string().as_bytes(),
    );
    assert_eq!(made.status, 201, "{}", made.text());
    let role = server.data("roles/acme.web.restart");
    assert_eq!(
        (&role["kind"], &role["schedules"]),
        (&json!("collection"), &json!(["s"]))
    );
    // What is used stays known while a tree is changed.
    fs::remove_dir_all(site.path("playbook/alert/roles/fresh")).unwrap();
    site.write("playbook/alert/roles/other/tasks/main.yml", "[]");
    assert_eq!(bind("d", "other").0, 201);
    assert_eq!(server.data("bindings")["conflicts"], json!([]));
}

#[test]
fn when_an_alert_resolves_that_had_its_run_the_binding_runs_once_more() {
    let site = Site::new()
        .no_bindings()
        .binding("a", "[ok]", "on_resolved: [wait]; tags: [x]")
        .binding("b", "[wait]", "on_resolved: [ok]; mode: observe");
    let server = site.start();
    let fires = |host: &str| alert("A", host).label("for", "a,b");
    server.deliver(&[fires("web1"), fires("web2")]);
    assert_eq!(
        server.wait_run(1, "finished")["hosts"],
        json!(["web1", "web2"])
    );
    // What never fired here had no run, and what is held is not run.
    server.deliver(&[fires("web1").since(5).resolved()]);
    let hold = br#"{"why": "new disk"}"#;
    server.request("POST", "/api/v1/hosts/web2/hold", &JSON, hold);
    server.deliver(&[fires("web1").resolved(), fires("web2").resolved()]);
    let ids = server.list("");
    let of: Vec<Value> = ids
        .iter()
        .map(|id| server.run(*id))
        .filter(|run| run["on_resolved"] == true)
        .collect();
    assert_eq!(of.len(), 1, "{ids:?}");
    let id = of[0]["id"].as_u64().unwrap();
    let shown = server.wait_run(id, "running");
    assert_eq!(
        (
            &shown["trigger"],
            &shown["binding"],
            &shown["hosts"],
            &shown["work"]["tags"]
        ),
        (
            &json!("alert"),
            &json!("a"),
            &json!(["web1"]),
            &json!(["x"])
        )
    );
    assert_eq!(shown["spared"][0]["reason"], "host_held", "{shown}");
    let told = &site.vars_of(id)["promansible_alerts_by_host"]["web1"][0];
    assert!(told["status"].to_string().contains("resolved"), "{told}");
    // Told again, also after a kill, it is no news.
    server.deliver(&[fires("web1").resolved()]);
    site.go();
    server.wait_run(id, "finished");
    server.kill();
    let server = site.start();
    server.deliver(&[fires("web1").resolved(), fires("web2").resolved()]);
    assert_eq!(server.list(""), ids);
    assert_eq!(server.data("bindings/a")["on_resolved"], json!(["wait"]));
    assert!(
        Page::get(&server, &format!("/runs/{id}"))
            .text()
            .contains("binding a, alert resolved")
    );
    let episode = server.data("runs/1")["episodes"][0]["episode"].clone();
    assert_eq!(episode["decisions"]["a"]["on_resolved"], id);
}

#[test]
fn a_run_is_narrowed_to_hosts_tags_and_words() {
    let site = Site::new()
        .no_bindings()
        .binding("a", "[ok]", "limit: [web2]; verbosity: 2");
    let real = site.path("bin/real-playbook");
    fs::rename(site.path("bin/ansible-playbook"), &real).unwrap();
    let script = "#!/bin/sh\nhere=$(dirname \"$0\")/..\necho \"$@\" >>\"$here/args\"\nexec \"$here/bin/real-playbook\" \"$@\"\n";
    site.write("bin/ansible-playbook", script);
    fs::set_permissions(
        site.path("bin/ansible-playbook"),
        Permissions::from_mode(0o755),
    )
    .unwrap();
    let server = site.start();
    server.deliver(&[alert("A", "web1").label("for", "a")]);
    assert_eq!(server.decided("a", "outside_limit"), 1.0);
    server.deliver(&[alert("A", "web2").label("for", "a")]);
    assert_eq!(server.wait_run(1, "finished")["hosts"], json!(["web2"]));
    let args = || fs::read_to_string(site.path("args")).unwrap();
    assert!(args().contains(" -vv"), "{}", args());

    let said = run(promansible()
        .args([
            "run",
            "ok",
            "--target=group:web",
            "--limit=web1",
            "--tags=a,b",
            "--skip-tags=c",
            "-vvv",
        ])
        .arg(format!("--server.url=http://{}", server.address)));
    assert!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
    let run = server.run(2);
    assert_eq!(run["hosts"], json!(["web1"]));
    let last = args().lines().last().unwrap().to_owned();
    assert!(last.contains(" --tags=a,b --skip-tags=c -vvv"), "{last}");
    let strange =
        server.start_run(r#"{"roles":["ok"],"target":{"group":"web"},"limit":["twin1"]}"#);
    let (status, why) = refused(&strange);
    assert_eq!(status, 400);
    assert!(
        why.starts_with("limit: \"twin1\" is not a host of the target"),
        "{why}"
    );
}
