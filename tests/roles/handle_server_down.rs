//! `handle_server_down`: a server that does not answer is woken and awaited, and what does not answer is told.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::stack::ansible::Release;
use crate::stack::{notification, wait, wait_until};
use crate::tests;

tests![
    a_server_is_woken_and_awaited_and_its_silence_told,
    it_does_so_on_ansible_core_2_16,
];

const ROLE: &str = "handle_server_down";
const BINDINGS: &str = r#"
  - name: server-down
    matchers: ['alertname = "server_down"']
    roles: [handle_server_down]
    target: controller
    vars: {handle_server_down_seconds: 100}
"#;

fn alert(instance: &str) -> [(&str, &str); 2] {
    [("alertname", "server_down"), ("instance", instance)]
}

fn by_hand(instance: &str) -> Value {
    json!({"handle_server_down_instance": instance, "handle_server_down_seconds": 2})
}

/// Writes the MAC address of its card into the inventory, as an administrator does.
fn make_known(fleet: &Fleet, name: &str) {
    let mac = fleet.host(name).mac().unwrap();
    let broadcast = fleet.lan.broadcast();
    let text =
        format!("handle_server_down_mac: '{mac}'\nhandle_server_down_broadcast: {broadcast}\n");
    let dir = fleet.dir().join("host_vars");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(format!("{name}.yml")), text).unwrap();
}

fn a_server_is_woken_and_awaited_and_its_silence_told() {
    let mut fleet = Fleet::start(&["web1", "web2"], BINDINGS);

    // By name, and by address.
    let address = fleet.host("web1").address.clone();
    let told = fleet.alert(&alert("web1:9100"));
    told.successful().changed(0);
    let findings = told.findings(ROLE, "localhost");
    assert_eq!(findings["server"], "web1");
    assert_eq!(findings["woken"], false);
    assert_eq!(
        findings["after"],
        json!({"ping": true, "ssh_port": true, "login": true})
    );
    let told = fleet.alert(&alert(&format!("{address}:9100")));
    told.successful().changed(0);
    assert_eq!(told.findings(ROLE, "localhost")["server"], "web1");

    refusals(&fleet);
    by_address(&fleet);

    // It is up, but nobody can come in.
    let web1 = fleet.host("web1");
    web1.sh(
        "echo 'DenyUsers root' >>/etc/ssh/host/sshd_config; systemctl restart sshd-of-host.service",
    )
    .unwrap();
    fleet
        .run(ROLE, &["localhost"], &by_hand("web1"))
        .failed(&format!(
            "web1 ({address}) responds on its ssh port 22, but the login fails"
        ))
        .changed(0);
    web1.sh("systemctl stop sshd-of-host.service").unwrap();
    fleet
        .run(ROLE, &["localhost"], &by_hand("web1"))
        .failed(&format!(
            "web1 ({address}) responds to pings, but its ssh port 22 was closed for 2 s"
        ))
        .changed(0);

    // It is off, and nobody knows how to wake it.
    fleet.hosts[0].turn_off().unwrap();
    let told = fleet.run(ROLE, &["localhost"], &by_hand("web1"));
    told.failed("responds neither to pings nor on its ssh port 22, 2 s after the first check; without handle_server_down_mac")
        .changed(0);
    assert_eq!(
        told.findings(ROLE, "localhost")["after"],
        json!({"ping": false, "ssh_port": false, "login": false})
    );

    // Check mode sends nothing. In vain is in vain.
    make_known(&fleet, "web1");
    let mut card = fleet.host("web1").network_card().unwrap();
    fleet
        .check(ROLE, &["localhost"], &by_hand("web1"))
        .successful()
        .changed(0);
    assert!(card.exited().is_none(), "check mode sent a magic packet");
    fleet
        .run(ROLE, &["localhost"], &by_hand("web1"))
        .failed("2 s after the magic packet for")
        .changed(1);
    assert!(card.exited().is_some(), "no magic packet came");

    wake(&mut fleet);
    two_at_once(&fleet);
}

/// A failure of the first alert does not spare the second its server.
fn two_at_once(fleet: &Fleet) {
    let alerts = [(91, "nobody"), (92, "web1:9100")].map(|(fingerprint, instance)| {
        notification::alert(fingerprint, wait::now(), &alert(instance))
    });
    let answer = fleet
        .promansible
        .notify(&notification::notification(&alerts))
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let run = fleet.promansible.runs().unwrap()[0]["id"].as_u64().unwrap();
    let told = fleet.told(run);
    told.failed("nobody matches no host of the inventory")
        .changed(0);
    assert_eq!(told.findings(ROLE, "localhost")["server"], "web1");
}

fn it_does_so_on_ansible_core_2_16() {
    let mut fleet = Fleet::with(Release::V2_16, &["web1"], BINDINGS);
    fleet.alert(&alert("web1")).successful().changed(0);
    fleet
        .alert(&alert("web:9100"))
        .failed("web:9100 matches no host of the inventory");
    fleet.hosts[0].turn_off().unwrap();
    fleet
        .run(ROLE, &["localhost"], &by_hand("web1"))
        .failed("responds neither to pings nor on its ssh port 22");
    make_known(&fleet, "web1");
    wake(&mut fleet);
}

/// The alert makes the magic packet, the packet boots the server, and the role sees it come.
fn wake(fleet: &mut Fleet) {
    let mut card = fleet.host("web1").network_card().unwrap();
    let runs = fleet.deliver(&alert("web1:9100"));
    wait_until(Duration::from_mins(1), "the magic packet", || {
        Ok(card.exited().map(|_| ()))
    })
    .unwrap();
    fleet.hosts[0].turn_on().unwrap();
    let told = fleet.told(runs[0]);
    told.successful().changed(1);
    let findings = told.findings(ROLE, "localhost");
    assert_eq!(findings["woken"], true);
    assert_eq!(
        findings["before"],
        json!({"ping": false, "ssh_port": false})
    );
    assert_eq!(findings["after"]["login"], true);
}

/// One address of two hosts is nobody's, and the port is cut from an IPv6 address too.
fn by_address(fleet: &Fleet) {
    let address = &fleet.host("web2").address;
    let inventory = fleet.dir().join("inventory");
    let text = fs::read_to_string(&inventory).unwrap();
    let more = format!("[servers]\ntwin ansible_host={address}\nsix ansible_host=fd00::6\n");
    fs::write(&inventory, text.replacen("[servers]\n", &more, 1)).unwrap();
    fleet
        .alert(&alert(&format!("{address}:9100")))
        .failed("matches more than one host (twin, web2) of the inventory");
    fleet
        .run(ROLE, &["localhost"], &by_hand("[fd00::6]:9100"))
        .failed("six (fd00::6) responds neither to pings nor on its ssh port 22");
}

fn refusals(fleet: &Fleet) {
    for hostile in [
        "web",
        "localhost:9090",
        "-rf",
        "web1; touch /tmp/role-was-fooled",
        "{{ lookup('pipe', 'touch /tmp/role-was-fooled') }}",
    ] {
        let sentence = format!("{hostile} matches no host of the inventory");
        fleet.alert(&alert(hostile)).failed(&sentence).changed(0);
    }
    fleet
        .run(ROLE, &["localhost"], &json!({}))
        .failed("the alert must have a label instance");
    fleet
        .run(ROLE, &["web1"], &by_hand("web1"))
        .failed("handle_server_down runs on the controller: set target: controller");
    assert!(!Path::new("/tmp/role-was-fooled").exists());
}
