use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::*;

fn of(facts: &Value) -> Vec<String> {
    let found = aliases(Facts::new(facts.as_object().unwrap()));
    found.into_iter().collect()
}

fn sample(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/facts/{name}.json"));
    of(&serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
}

/// The aliases of a host with only this address.
fn alone(text: &str, own: bool) -> Vec<String> {
    own.then(|| text.to_owned()).into_iter().collect()
}

/// A host with one interface that has these addresses.
fn with(interface: &Value, addresses: &[&str]) -> Value {
    let device = interface["device"].as_str().unwrap();
    let key: String = device.replace(['-', ':'], "_");
    let mut interface = interface.clone();
    interface["ipv4"] = addresses.iter().map(|a| json!({"address": a})).collect();
    json!({
        "ansible_interfaces": ["lo", device],
        "ansible_lo": {"device": "lo", "type": "loopback", "ipv4": {"address": "127.0.0.1"}},
        format!("ansible_{key}"): interface,
    })
}

#[test]
fn a_host_is_known_by_what_is_its_own() {
    for (name, wanted) in [
        (
            "debian-12-docker",
            &[
                "192.0.2.90",
                "192.0.2.91",
                "198.51.100.77",
                "198.51.100.9",
                "2001:db8::90",
                "203.0.113.9",
                "app",
            ][..],
        ),
        ("openbsd-7.5", &["192.0.2.61", "fw1.example.com"]),
        ("aix-7.3", &["192.0.2.71", "db9", "db9.example.com"]),
        ("solaris-11.4", &["192.0.2.81", "app7", "app7.example.com"]),
        ("windows-2022", &["192.0.2.40"]),
    ] {
        let found = sample(name);
        assert_eq!(found, wanted, "{name}");
    }
}

#[test]
fn which_interfaces_stand_on_the_network_by_themselves() {
    let bridge =
        |ports: &Value, name: &str| json!({"device": name, "type": "bridge", "interfaces": ports});
    let plain = |name: &str| json!({"device": name, "type": "ether"});
    for (interface, real) in [
        (plain("eth0"), true),
        (plain("ens3.100"), true),
        (plain("wlp2s0"), true),
        (
            json!({"device": "bond0", "type": "bonding", "slaves": ["eth0"]}),
            true,
        ),
        (plain("wg0"), true),
        (bridge(&json!(["eno1"]), "br0"), true),
        (bridge(&json!(["bond0", "vnet3"]), "vmbr0"), true),
        (bridge(&json!(["eno1"]), "br-ex"), true),
        (bridge(&json!([]), "br0"), false),
        (bridge(&json!(["veth1", "tap0", "vnet1"]), "br0"), false),
        (bridge(&json!(["vethab"]), "br-0123456789ab"), false),
        (bridge(&json!(["eth0"]), "docker0"), false),
        (bridge(&json!(["eth0"]), "virbr1"), false),
        (plain("br-int"), false),
        (plain("bridge100"), false),
        (plain("docker_gwbridge"), false),
        (plain("veth0"), false),
        (plain("carp0"), false),
        (plain("tun0"), false),
        (plain("tap1"), false),
        (plain("vmnet1"), false),
        (plain("vboxnet0"), false),
        (plain("dummy0"), false),
        (plain("cni-podman0"), false),
        (plain("cilium_host"), false),
        (plain("flannel.1"), false),
        (plain("cali12"), false),
        (plain("lxdbr0"), false),
        (plain("podman1"), false),
        (plain("kube-ipvs0"), false),
        (plain("vEthernet (WSL)"), false),
        (plain("lo1"), true),
        (json!({"device": "gif7", "type": "tunnel"}), false),
        (
            json!({"device": "loop", "flags": ["UP", "LOOPBACK"]}),
            false,
        ),
    ] {
        let found = of(&with(&interface, &["192.0.2.7"]));
        assert_eq!(found, alone("192.0.2.7", real), "{interface}");
    }
}

#[test]
fn an_address_that_many_machines_have_is_none_of_one_host() {
    let eth0 = json!({"device": "eth0", "type": "ether"});
    for (address, own) in [
        ("192.0.2.1", true),
        ("10.0.2.16", true),
        ("10.0.2.1", true),
        ("172.17.1.1", true),
        ("172.18.0.2", true),
        ("172.16.0.1", true),
        ("192.168.1.1", true),
        ("10.0.2.15", false),
        ("10.0.2.2", false),
        ("10.0.2.3", false),
        ("10.0.3.1", false),
        ("10.88.0.1", false),
        ("172.17.0.1", false),
        ("172.17.0.2", false),
        ("172.18.0.1", false),
        ("172.31.0.1", false),
        ("192.168.122.1", false),
        ("192.168.122.77", false),
        ("192.168.56.1", false),
        ("192.168.65.3", false),
        ("192.0.0.4", false),
        ("127.0.0.1", false),
        ("127.1.2.3", false),
        ("169.254.169.254", false),
        ("0.0.0.0", false),
        ("224.0.0.1", false),
        ("255.255.255.255", false),
        ("2001:db8::7", true),
        ("fd00::7", true),
        ("::1", false),
        ("::", false),
        ("fe80::1", false),
        ("fe80::1%eth0", false),
        ("fec0::15", false),
        ("fd17:625c:f037:2::15", false),
        ("ff02::1", false),
    ] {
        let mut facts = with(&eth0, &[address]);
        assert_eq!(of(&facts), alone(address, own), "{address}");
        // Being the default source address does not make it unique.
        facts["ansible_default_ipv4"] = json!({"interface": "eth0", "address": address});
        assert_eq!(of(&facts), alone(address, own), "{address}");
    }
}

#[test]
fn an_address_that_no_interface_holds_is_none() {
    let mut facts = with(&json!({"device": "eth0", "type": "ether"}), &["192.0.2.7"]);
    facts["ansible_all_ipv4_addresses"] = json!(["192.0.2.7", "192.0.2.8"]);
    facts["ansible_all_ipv6_addresses"] = json!(["2001:db8::8"]);
    facts["ansible_ip_addresses"] = json!(["192.0.2.9"]);
    facts["ansible_default_ipv4"] = json!({"interface": "eth0", "address": "192.0.2.10"});
    assert_eq!(of(&facts), ["192.0.2.7"]);
    let bare = json!({"ansible_all_ipv4_addresses": ["192.0.2.8"], "ansible_default_ipv4": {"address": "192.0.2.8"}});
    assert!(of(&bare).is_empty());
}

#[test]
fn the_default_address_counts_on_any_interface() {
    let mut facts = with(
        &json!({"device": "tun0", "type": "unknown"}),
        &["192.0.2.7", "192.0.2.8"],
    );
    facts["ansible_default_ipv4"] = json!({"interface": "tun0", "address": "192.0.2.7"});
    assert_eq!(of(&facts), ["192.0.2.7"]);
}

#[test]
fn a_name_that_is_every_machines_is_none() {
    for (name, own) in [
        ("web1", true),
        ("web1.example.com", true),
        ("unknown", false),
        ("Unknown", false),
        ("localhost", false),
        ("localhost.localdomain", false),
        ("localhost4.localdomain4", false),
        ("ip6-localhost", false),
        ("ip6-loopback", false),
        ("NA", false),
        ("none", false),
        ("(none)", false),
        ("Amnesiac", false),
        ("192.0.2.1", false),
        ("", false),
        ("  ", false),
    ] {
        for fact in ["ansible_fqdn", "ansible_nodename"] {
            let found = of(&json!({fact: name}));
            assert_eq!(found, alone(name, own), "{name:?}");
        }
    }
}
