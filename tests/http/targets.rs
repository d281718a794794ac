//! Which hosts a run touches, and every reason to touch none.

use serde_json::json;

use crate::support::{Site, alert};

#[test]
fn groups_named_hosts_and_the_controller_are_targets() {
    let site = Site::new()
        .no_bindings()
        .binding("group", "[ok]", "target: {group: web}")
        .binding("named", "[ok]", "target: {hosts: [twin2, web1]}")
        .binding("here", "[ok]", "target: controller")
        .binding("nobody", "[ok]", "target: {group: empty}")
        .binding("gone", "[ok]", "target: {group: gone}");
    let server = site.start();
    server.deliver(&[alert("A", "").label("for", "group,named,here,nobody,gone")]);
    for (id, hosts) in [
        (1, json!(["web1", "web2"])),
        (2, json!(["twin2", "web1"])),
        (3, json!(["localhost"])),
    ] {
        let run = server.wait_run(id, "finished");
        assert_eq!(
            (&run["hosts"], &run["outcome"]),
            (&hosts, &json!("successful")),
            "run {id}"
        );
    }
    assert_eq!(server.decided("nobody", "empty_target"), 1.0);
    assert_eq!(server.decided("gone", "unknown_group"), 1.0);
    assert_eq!(server.list(""), [3, 2, 1]);
}

#[test]
fn what_is_not_exactly_one_host_is_none() {
    let site =
        Site::new()
            .no_bindings()
            .binding("one", "[ok]", "target: {alerting_host: instance}");
    let server = site.start();
    let one = |instance: &str| alert("A", instance).label("for", "one");
    for (alert, reason) in [
        (one("x").without("instance"), "missing_label"),
        (one(""), "missing_label"),
        (one("db7:9100"), "unknown_host"),
        (one("10.0.0.9:9100"), "ambiguous_host"),
        (one("edge"), "group_name"),
        (one("all"), "group_name"),
        (one("web:9100"), "group_name"),
        (one("web1,web2"), "unknown_host"),
        (one("web*"), "unknown_host"),
        (one("~.*"), "unknown_host"),
        (one("!web1"), "unknown_host"),
        (one("web[1:2]"), "unknown_host"),
        (one("@/etc/hosts"), "unknown_host"),
        (one("localhost"), "unknown_host"),
        (one("web1").label("__ansible_unsafe", "x"), "reserved_label"),
        (
            one("web1").annotation("__ansible_vault", "x"),
            "reserved_label",
        ),
    ] {
        let before = server.decided("one", reason);
        server.deliver(std::slice::from_ref(&alert));
        assert_eq!(
            server.decided("one", reason),
            before + 1.0,
            "{reason}: {alert:?}"
        );
    }
    assert_eq!(server.list(""), [0; 0]);
    for instance in ["web1", "web1:9100", "10.0.0.2:80", "http://10.0.0.2/x"] {
        server.deliver(&[one(instance)]);
    }
    assert_eq!(server.decided("one", "run"), 4.0);
}

#[test]
fn the_label_that_names_the_host_is_a_matter_of_the_binding() {
    let site = Site::new()
        .no_bindings()
        .binding("node", "[ok]", "target: {alerting_host: node}");
    let server = site.start();
    server.deliver(&[alert("A", "web1")
        .label("for", "node")
        .label("node", "web2")]);
    assert_eq!(server.wait_run(1, "finished")["hosts"], json!(["web2"]));
}
