//! The aliases of a host besides its inventory name.
//!
//! A name or an address counts only if it can be unique to this host. Many machines have the same bridge for containers
//! and the same network for guests; an alert from such an address could be about any of them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use super::Facts;
use super::network::{Interface, addresses, interfaces};
use super::reader::Reader;

/// The maximum number of aliases of one host. More of them are useless.
const LIMIT: usize = 200;

/// Default names of machines, and placeholders for no name.
const NO_NAMES: [&str; 10] = [
    "unknown",
    "na",
    "n/a",
    "none",
    "(none)",
    "null",
    "undefined",
    "amnesiac",
    "localdomain",
    "broadcasthost",
];

/// The prefixes of names that `/etc/hosts` has on every machine.
const NAMES_OF_ALL: [&str; 2] = ["localhost", "ip6-"];

/// Networks and addresses that are the same on many machines by design. Facts cannot assign them to one host; the
/// inventory can.
///
/// *Source*: the defaults of Docker (172.17.0.0/24, and the first address of each further network), libvirt
/// (192.168.122.0/24, 192.168.124.1), `VirtualBox` (10.0.2.15, 192.168.56.1), QEMU and slirp (10.0.2.2, .3, .15, .100), LXC
/// (10.0.3.1), Podman (10.88.0.0/24), Docker Desktop (192.168.65.0/24), minikube (192.168.49.0/24), docker-machine
/// (192.168.99.1), macOS's vmnet (192.168.64.1), Windows's shared connection (192.168.137.1), the first node's bridge of
/// K3s and flannel (10.42.0.1, 10.244.0.1), and RFC 7335 (192.0.0.0/29).
const SHARED: [([u8; 4], u32); 17] = [
    ([10, 0, 2, 2], 31),
    ([10, 0, 2, 15], 32),
    ([10, 0, 2, 100], 32),
    ([10, 0, 3, 1], 32),
    ([10, 88, 0, 0], 24),
    ([172, 17, 0, 0], 24),
    ([192, 0, 0, 0], 29),
    ([192, 168, 49, 0], 24),
    ([192, 168, 56, 1], 32),
    ([192, 168, 64, 1], 32),
    ([192, 168, 65, 0], 24),
    ([192, 168, 99, 1], 32),
    ([192, 168, 122, 0], 24),
    ([192, 168, 124, 1], 32),
    ([192, 168, 137, 1], 32),
    ([10, 42, 0, 1], 32),
    ([10, 244, 0, 1], 32),
];

/// Name prefixes of the interfaces of containers, guests, tunnels and the kernel's own devices, and of interfaces with
/// an address that several routers share.
const VIRTUAL: &[&str] = &[
    "anpi",
    "awdl",
    "azv",
    "br-",
    "bridge",
    "cali",
    "carp",
    "cbr",
    "cilium",
    "cni",
    "docker",
    "dummy",
    "eni",
    "epair",
    "erspan",
    "flannel",
    "fwbr",
    "fwln",
    "fwpr",
    "genev",
    "gif",
    "gre",
    "ifb",
    "ip6",
    "ip_vti",
    "ipip",
    "isatap",
    "kube",
    "llw",
    "loopback",
    "lxc",
    "lxd",
    "nerdctl",
    "nodelocaldns",
    "npcap",
    "ovs-",
    "podman",
    "qbr",
    "qvb",
    "qvo",
    "sit",
    "stf",
    "tap",
    "teredo",
    "tun",
    "utun",
    "vbox",
    "vethernet",
    "veth",
    "virbr",
    "virtualbox",
    "vmnet",
    "vmware network adapter",
    "vnet",
    "vrrp",
    "vxlan",
    "weave",
];

/// Returns the names and addresses that identify this host alone: its FQDN, its node name, its default source address,
/// and the addresses of its real interfaces.
///
/// Addresses that no interface in the facts has are omitted.
pub fn aliases(facts: Facts<'_>) -> BTreeSet<String> {
    let text = |name: &str| facts.get(name).and_then(Value::as_str);
    let names = ["fqdn", "nodename"].into_iter().filter_map(text);
    let names = names.map(str::trim).filter(|name| is_own_name(name));
    let reader = Reader::default();
    let interfaces = interfaces(facts, &reader);
    let addresses = interfaces.iter().flat_map(|interface| {
        let real = is_real(interface);
        let held = addresses(facts, interface, &reader).into_iter();
        held.filter(move |held| real || held.default)
    });
    let addresses = addresses
        .map(|held| held.address)
        .filter(|address| is_own(*address))
        .map(|address| address.to_string());
    names
        .map(str::to_owned)
        .chain(addresses)
        .take(LIMIT)
        .collect()
}

fn is_own_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let of_all = NAMES_OF_ALL.iter().any(|begin| name.starts_with(begin));
    let none = name.is_empty() || NO_NAMES.contains(&name.as_str());
    !of_all && !none && name.parse::<IpAddr>().is_err()
}

/// Returns whether an interface is connected to the network itself. A bridge is if one of its ports is.
fn is_real(interface: &Interface<'_>) -> bool {
    let of = interface.of;
    let kind = of.get("type").and_then(Value::as_str).unwrap_or_default();
    let ports = of.get("interfaces").and_then(Value::as_array);
    let described = of.get("interface_name").and_then(Value::as_str);
    let names = [Some(interface.device.as_str()), described];
    let is_bridge = kind == "bridge" || (ports.is_some() && begins_with(&interface.device, "br"));
    if is_bridge {
        // Bridges of Docker, Podman and the like have the same name everywhere, whatever their ports are.
        let by_design = is_virtual(&interface.device) && !begins_with(&interface.device, "br");
        let mut ports = ports.into_iter().flatten().filter_map(Value::as_str);
        return !by_design && ports.any(|port| !is_virtual(port));
    }
    kind != "tunnel" && !names.into_iter().flatten().any(is_virtual)
}

fn is_virtual(name: &str) -> bool {
    VIRTUAL.iter().any(|begin| begins_with(name, begin))
}

fn begins_with(name: &str, begin: &str) -> bool {
    name.get(..begin.len())
        .is_some_and(|name| name.eq_ignore_ascii_case(begin))
}

/// Returns whether an address can be unique to one host.
fn is_own(address: IpAddr) -> bool {
    let special = address.is_loopback() || address.is_unspecified() || address.is_multicast();
    let shared = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast() || is_shared(v4),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || is_shared_v6(v6),
    };
    !special && !shared
}

fn is_shared(address: Ipv4Addr) -> bool {
    let within = |(network, bits): &([u8; 4], u32)| {
        let mask = u32::MAX << (32 - bits);
        u32::from(address) & mask == u32::from_be_bytes(*network) & mask
    };
    // Docker assigns these networks in order, and uses the first address of each itself.
    let docker = matches!(address.octets(), [172, 18..=31, 0, 1]);
    docker || SHARED.iter().any(within)
}

/// Returns whether an address is site-local, as QEMU assigns to its guests, or from the network of `VirtualBox`'s NAT.
fn is_shared_v6(address: Ipv6Addr) -> bool {
    let [first, second, third, ..] = address.segments();
    first & 0xffc0 == 0xfec0 || [first, second, third] == [0xfd17, 0x625c, 0xf037]
}

#[cfg(test)]
mod tests;
