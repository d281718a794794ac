//! By what else than its inventory name a host is known.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::Facts;

/// More names of one host than this mean nothing.
const LIMIT: usize = 200;

/// The names and addresses that a host gives itself: its FQDN, its node name, and every address by which others can
/// reach it.
pub fn aliases(facts: Facts<'_>) -> BTreeSet<String> {
    let text = |name: &str| facts.get(name).and_then(Value::as_str);
    let names = ["fqdn", "nodename"].into_iter().filter_map(text);
    let names = names.map(str::trim).filter(|name| is_own_name(name));
    let lists = ["all_ipv4_addresses", "all_ipv6_addresses", "ip_addresses"];
    let addresses = lists
        .into_iter()
        .filter_map(|name| facts.get(name)?.as_array())
        .flatten();
    let addresses = addresses.filter_map(|address| reachable(address.as_str()?));
    names
        .map(str::to_owned)
        .chain(addresses)
        .take(LIMIT)
        .collect()
}

/// Every host calls itself so.
fn is_own_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with("localhost") && name.parse::<IpAddr>().is_err()
}

fn reachable(address: &str) -> Option<String> {
    let address: IpAddr = address.split('%').next()?.trim().parse().ok()?;
    let local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let nobody = address.is_loopback() || address.is_unspecified() || address.is_multicast();
    (!local && !nobody).then(|| address.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_host_is_known_by_what_others_can_call_it() {
        let facts = json!({
            "ansible_fqdn": "web1.example.com", "ansible_nodename": "web1",
            "ansible_all_ipv4_addresses": ["192.0.2.1", "127.0.0.1", "169.254.0.9", 7, "no address"],
            "ansible_all_ipv6_addresses": ["fe80::1%eth0", "2001:DB8::1", "::1"],
        });
        let found = aliases(Facts::new(facts.as_object().unwrap()));
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(
            found,
            ["192.0.2.1", "2001:db8::1", "web1", "web1.example.com"]
        );
        let bare = json!({"ansible_fqdn": "localhost.localdomain", "ansible_nodename": "", "ansible_all_ipv4_addresses": "x"});
        assert!(aliases(Facts::new(bare.as_object().unwrap())).is_empty());
    }
}
