//! `check_LAN_speed`: how fast it is between two hosts.

use serde_json::json;

use crate::fleet::Fleet;
use crate::stack::ansible::Release;
use crate::{stack, tests};

tests![a_fast_link_is_measured, a_slow_link_is_found];

const ROLE: &str = "check_LAN_speed";

/// Finds what listens for a transfer.
const SINKS: &str = "pgrep -f '[l]eaves a child process there'";

fn a_fast_link_is_measured() {
    let mut fleet = Fleet::start(&["web1", "web2"], "");
    // A machine that is busy with other tests must not fail this one.
    let quick =
        json!({"check_lan_speed_seconds": 1, "check_lan_speed_min_bits_per_second": 20_000_000});

    let told = fleet.check(ROLE, &["web1", "web2"], &quick);
    told.successful().changed(0);
    assert!(told.findings(ROLE, "web1")["lan_up"].is_null());

    // Each sends to the other.
    let told = fleet.run(ROLE, &["web1", "web2"], &quick);
    told.successful().changed(0);
    for (host, peer) in [("web1", "web2"), ("web2", "web1")] {
        let to = [("host", host), ("peer", peer)];
        assert_eq!(fleet.gauge("lan_up", &to), Some(1.0), "{}", told.text());
        let bytes = fleet.gauge("lan_bytes_per_second", &to).unwrap();
        assert!(bytes > 2_500_000.0, "{bytes}");
        // What the kernel says of a veth.
        let link = [("host", host), ("device", "eth0")];
        let speed = fleet.gauge("lan_link_bytes_per_second", &link);
        assert_eq!(speed, Some(1_250_000_000.0));
        assert!(!fleet.host(peer).is_so(SINKS), "a process was left");
    }

    // Nobody gets through: the process on the peer ends by itself.
    let elsewhere =
        json!({"check_lan_speed_peer": "web2", "check_lan_speed_peer_address": "127.0.0.1"});
    fleet
        .run(ROLE, &["web1"], &elsewhere)
        .failed("web1 to web2: the transfer to 127.0.0.1 port ");
    let to = [("host", "web1"), ("peer", "web2")];
    assert_eq!(fleet.gauge("lan_up", &to), Some(0.0));
    assert_eq!(fleet.gauge("lan_bytes_per_second", &to), None);
    assert!(fleet.host("web2").is_so(SINKS), "it waits for web1 still");

    for peer in ["web3", "servers", "web1", "web*", "{{ 7*7 }}"] {
        fleet
            .run(ROLE, &["web1"], &json!({"check_lan_speed_peer": peer}))
            .failed("must be another host of the inventory")
            .changed(0);
    }
    fleet
        .run(ROLE, &["web1"], &json!({}))
        .failed("there is no host to send to");

    stack::wait_until(
        std::time::Duration::from_secs(90),
        "the end of the process",
        || Ok((!fleet.host("web2").is_so(SINKS)).then_some(())),
    )
    .unwrap();

    // The peer is off: that is told of the peer, and web1 is not said to be unreachable.
    fleet.hosts[1].turn_off().unwrap();
    let told = fleet.run(ROLE, &["web1"], &json!({"check_lan_speed_peer": "web2"}));
    told.failed("web1 to web2: web2 could not start the listener: ");
    assert_eq!(told.findings(ROLE, "web1")["lan_up"][0]["value"], 0);
}

fn a_slow_link_is_found() {
    let fleet = Fleet::with(Release::V2_16, &["web1", "web2"], "");

    // From web1 alone to a peer that is not a target. What goes out there is now slow.
    fleet
        .host("web1")
        .sh("tc qdisc add dev eth0 root tbf rate 10mbit burst 32k latency 50ms")
        .unwrap();
    let told = fleet.run(
        ROLE,
        &["web1"],
        &json!({"check_lan_speed_peer": "web2", "check_lan_speed_seconds": 1,
                "check_lan_speed_min_bits_per_second": 20_000_000}),
    );
    told.failed("web1 to web2: measured ")
        .failed("Mbit/s, expected at least 20.0 Mbit/s");
    let to = [("host", "web1"), ("peer", "web2")];
    assert_eq!(fleet.gauge("lan_up", &to), Some(0.0));
    let bytes = fleet.gauge("lan_bytes_per_second", &to).unwrap();
    assert!(bytes > 0.0 && bytes < 1_400_000.0, "{bytes}");

    // Told to accept any speed, it measures only.
    let any = json!({"check_lan_speed_peer": "web2", "check_lan_speed_seconds": 1,
                     "check_lan_speed_min_bits_per_second": 0});
    fleet.run(ROLE, &["web1"], &any).successful().changed(0);
}
