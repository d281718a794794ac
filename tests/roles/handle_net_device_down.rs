//! `handle_net_device_down`: a device that is down is brought up, and what is then missing is told.

use std::path::Path;

use serde_json::json;

use crate::fleet::Fleet;
use crate::stack::ansible::Release;
use crate::tests;

tests![
    a_device_is_brought_up_and_what_is_missing_is_told,
    it_does_so_on_ansible_core_2_16,
];

const ROLE: &str = "handle_net_device_down";
const BINDINGS: &str = r#"
  - name: net-device-down
    matchers: ['alertname = "net_device_down"']
    roles: [handle_net_device_down]
    target: {alerting_host: instance}
    vars: {handle_net_device_down_seconds: 1}
  - name: by-networkd
    matchers: ['alertname = "by_networkd"']
    roles: [handle_net_device_down]
    target: {alerting_host: instance}
    vars:
      handle_net_device_down_command: [networkctl, up]
      handle_net_device_down_address: 192.0.2.1
      handle_net_device_down_route: 192.0.2.0/24
  - name: by-ls
    matchers: ['alertname = "by_ls"']
    roles: [handle_net_device_down]
    target: {alerting_host: instance}
    vars: {handle_net_device_down_command: [ls]}
"#;

fn fleet(release: Release) -> Fleet {
    let fleet = Fleet::with(release, &["web1"], BINDINGS);
    fleet
        .host("web1")
        .sh("ip link add lan0 type veth peer name switch0
ip link set switch0 up
ip address add 192.0.2.1/24 dev lan0")
        .unwrap();
    fleet
}

fn alert(device: &str) -> [(&str, &str); 3] {
    named("net_device_down", device)
}

fn named<'a>(alertname: &'a str, device: &'a str) -> [(&'a str, &'a str); 3] {
    [
        ("alertname", alertname),
        ("instance", "web1:9100"),
        ("device", device),
    ]
}

const IS_UP: &str = "ip -brief link show up | grep -q ^lan0";

fn a_device_is_brought_up_and_what_is_missing_is_told() {
    let fleet = fleet(Release::V2_19);
    let host = fleet.host("web1");
    let run = |vars| fleet.run(ROLE, &["web1"], &vars);

    let by_hand = json!({"handle_net_device_down_device": "lan0"});
    fleet
        .check(ROLE, &["web1"], &by_hand)
        .successful()
        .changed(0);
    assert!(!host.is_so(IS_UP), "check mode changed it");

    let told = fleet.alert(&alert("lan0"));
    told.successful().changed(1);
    assert!(host.is_so(IS_UP));
    let findings = told.findings(ROLE, "web1");
    assert_eq!(findings["before"]["missing"], json!(["up", "carrier"]));
    assert_eq!(findings["after"]["missing"], json!([]));
    assert_eq!(findings["after"]["addresses"][0], "192.0.2.1");

    fleet.alert(&alert("lan0")).successful().changed(0);
    // As where the kernel has no IPv6.
    host.write(
        "/usr/local/bin/ip",
        "#!/bin/sh
case \"$*\" in *-6*) echo 'RTNETLINK answers: Operation not supported' >&2; exit 2;; esac
exec /usr/bin/ip \"$@\"
",
    )
    .unwrap();
    host.sh("chmod +x /usr/local/bin/ip; ln -sf /usr/local/bin/ip /usr/local/sbin/ip")
        .unwrap();
    let told = fleet.alert(&alert("lan0"));
    told.successful().changed(0);
    assert_eq!(
        told.findings(ROLE, "web1")["after"]["routes"],
        json!(["192.0.2.0/24"])
    );
    host.sh("rm /usr/local/bin/ip /usr/local/sbin/ip").unwrap();

    // The device that we came by is no other device.
    fleet.alert(&alert("eth0")).successful().changed(0);

    // By another command, and with all that can be asked for.
    host.sh("ip link set lan0 down").unwrap();
    fleet
        .alert(&named("by_networkd", "lan0"))
        .successful()
        .changed(1);
    run(json!({
        "handle_net_device_down_device": "lan0",
        "handle_net_device_down_route": "default",
        "handle_net_device_down_seconds": 1,
    }))
    .failed("lan0 of web1 does not have the route default; its routes are 192.0.2.0/24")
    .changed(0);
    run(json!({
        "handle_net_device_down_device": "lan0",
        "handle_net_device_down_address": "192.0.2.2",
        "handle_net_device_down_seconds": 1,
    }))
    .failed("lan0 of web1 does not have the address 192.0.2.2; its addresses are 192.0.2.1");

    host.sh("ip link set lan0 down").unwrap();
    fleet
        .alert(&named("by_ls", "lan0"))
        .failed("lan0 of web1 is still down. Output of ls lan0: ls: cannot access 'lan0'")
        .changed(0);
    // Who may start runs does not choose the program.
    let chosen =
        json!({"handle_net_device_down_device": "lan0", "handle_net_device_down_command": ["ls"]});
    let said = fleet.not_taken(ROLE, &["web1"], &chosen);
    assert!(said.contains("does not accept it over the API"), "{said}");

    no_carrier(&fleet);
    refusals(&fleet);
    run(json!({})).failed("the alert must have a label device");
}

fn it_does_so_on_ansible_core_2_16() {
    let fleet = fleet(Release::V2_16);
    fleet.alert(&alert("lan0")).successful().changed(1);
    fleet.alert(&alert("lan0")).successful().changed(0);
    no_carrier(&fleet);
    fleet
        .alert(&alert("lan"))
        .failed("web1 has no device lan; its devices are eth0, lan0, lo, switch0");
}

/// The other end is down, as a switch without power.
fn no_carrier(fleet: &Fleet) {
    let host = fleet.host("web1");
    host.sh("ip link set switch0 down; ip link set lan0 down")
        .unwrap();
    let told = fleet.alert(&alert("lan0"));
    told.failed("lan0 of web1 is up but has no carrier: check its cable")
        .changed(1);
    assert_eq!(
        told.findings(ROLE, "web1")["after"]["missing"],
        json!(["carrier"])
    );
    assert!(host.is_so(IS_UP));
}

fn refusals(fleet: &Fleet) {
    let host = fleet.host("web1");
    host.sh("ip link set lan0 down").unwrap();
    for hostile in [
        "lan",
        "lan0 ",
        "-rf",
        "../lan0",
        "; touch /tmp/role-was-fooled",
        "{{ lookup('pipe', 'touch /tmp/role-was-fooled') }}",
    ] {
        let sentence = format!("web1 has no device {}", hostile.trim());
        fleet.alert(&alert(hostile)).failed(&sentence).changed(0);
    }
    fleet
        .alert(&alert("lo"))
        .failed("lo is the loopback device of web1: the role does not touch it");
    assert!(!host.is_so(IS_UP));
    assert!(!host.is_so("test -e /tmp/role-was-fooled"));
    assert!(!Path::new("/tmp/role-was-fooled").exists());
}
