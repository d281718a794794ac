//! `check_vpn_dns`: names are asked of resolvers behind a tunnel.

use serde_json::{Value, json};

use crate::dnsmasq;
use crate::fleet::Fleet;
use crate::host::Host;
use crate::stack::ansible::Release;
use crate::tests;

tests![
    the_tunnel_and_its_answers_are_judged,
    a_poisoned_answer_is_found_on_2_16,
];

const ROLE: &str = "check_vpn_dns";
const LABELS: [(&str, &str); 2] = [("name", "free.test"), ("resolver", "198.51.100.1")];

/// The other end of `vpn0` is another network, where 198.51.100.1 resolves names. By its routes the host looks for it in
/// the LAN.
fn build_tunnel(host: &Host) {
    host.sh("ip netns add behind
        ip link add vpn0 type veth peer name far0 netns behind
        ip address add 10.8.0.2/24 dev vpn0
        ip link set vpn0 up
        ip -netns behind link set lo up
        ip -netns behind address add 10.8.0.1/24 dev far0
        ip -netns behind address add 198.51.100.1/32 dev lo
        ip -netns behind link set far0 up")
        .unwrap();
    dnsmasq::start(
        host,
        "behind",
        "198.51.100.1",
        "/usr/sbin/ip netns exec behind",
        "--address=/free.test/203.0.113.7 --address=/poisoned.test/10.66.6.6",
    );
}

fn vars(name: &str, device: &str) -> Value {
    json!({
        "check_vpn_dns_names": [name],
        "check_vpn_dns_resolvers": ["198.51.100.1"],
        "check_vpn_dns_device": device,
        "check_vpn_dns_forbidden_addresses": ["10.66.0.0/16"],
        "check_vpn_dns_timeout": 1,
        "check_vpn_dns_tries": 1,
    })
}

fn poisoned(fleet: &Fleet) {
    fleet
        .run(ROLE, &["gate"], &vars("poisoned.test", "vpn0"))
        .failed("on gate, through the VPN: poisoned.test from resolver 198.51.100.1: got 10.66.6.6, expected none of 10.66.0.0/16")
        .changed(0);
}

fn the_tunnel_and_its_answers_are_judged() {
    let fleet = Fleet::start(&["gate"], "");
    let host = fleet.host("gate");
    build_tunnel(host);

    let told = fleet.run(ROLE, &["gate"], &vars("free.test", "vpn0"));
    told.successful().changed(0);
    assert_eq!(told.findings(ROLE, "gate")["device_fault"], "");
    assert_eq!(fleet.gauge("vpn_dns_up", &LABELS), Some(1.0));
    assert!(fleet.gauge("vpn_dns_answer_seconds", &LABELS) > Some(0.0));
    fleet
        .check(ROLE, &["gate"], &vars("free.test", "vpn0"))
        .successful()
        .changed(0);

    // Without the device the question goes elsewhere: it was the device that led it into the tunnel.
    fleet
        .run(ROLE, &["gate"], &vars("free.test", ""))
        .failed("free.test from resolver 198.51.100.1: got no answer");

    poisoned(&fleet);
    let mut expecting = vars("free.test", "vpn0");
    expecting["check_vpn_dns_expected"] = json!({"free.test": ["192.0.2.0/24", "2001:db8::1"]});
    fleet
        .run(ROLE, &["gate"], &expecting)
        .failed("got 203.0.113.7, expected 192.0.2.0/24, 2001:db8::1");

    host.sh("ip -netns behind link set far0 down").unwrap();
    let told = fleet.run(ROLE, &["gate"], &vars("free.test", "vpn0"));
    told.failed("on gate the VPN is down: the device vpn0 has no carrier");
    assert_eq!(fleet.gauge("vpn_dns_up", &LABELS), Some(0.0));
    assert_eq!(fleet.gauge("vpn_dns_answer_seconds", &LABELS), None);
    host.sh("ip link set vpn0 down").unwrap();
    fleet
        .run(ROLE, &["gate"], &vars("free.test", "vpn0"))
        .failed("the VPN is down: the device vpn0 is not up");
    fleet
        .run(ROLE, &["gate"], &vars("free.test", "../../../etc"))
        .failed("the VPN is down: the device ../../../etc does not exist");
}

fn a_poisoned_answer_is_found_on_2_16() {
    let fleet = Fleet::with(Release::V2_16, &["gate"], "");
    build_tunnel(fleet.host("gate"));
    poisoned(&fleet);
}
