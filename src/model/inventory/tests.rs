//! Real listings of ansible-core 2.16 and 2.19 (their sources are in `tests/data/inventory/source`), odd ones, and
//! properties.

use proptest::prelude::*;

use super::resolve::is_exact;
use super::*;
use crate::model::run::Skip;

macro_rules! listings {
    ($name:literal) => {
        [
            include_bytes!(concat!(
                "../../../tests/data/inventory/",
                $name,
                ".2.16.json"
            ))
            .as_slice(),
            include_bytes!(concat!(
                "../../../tests/data/inventory/",
                $name,
                ".2.19.json"
            ))
            .as_slice(),
        ]
    };
}

fn read(json: &str) -> Inventory {
    Inventory::parse(json.as_bytes()).unwrap()
}

/// The listings of both versions, which must give the same inventory.
fn real(listings: [&[u8]; 2]) -> Inventory {
    let [old, new] = listings.map(|json| Inventory::parse(json).unwrap());
    assert_eq!(old, new);
    new
}

fn names(inventory: &Inventory) -> Vec<&str> {
    inventory.hosts().map(Host::name).collect()
}

fn label(inventory: &Inventory, text: &str) -> Result<String, Skip> {
    resolve_label(inventory, text)
        .map(str::to_owned)
        .map_err(|unresolved| unresolved.reason)
}

#[test]
fn hosts_are_known_by_their_facts_and_two_of_one_address_are_too_many() {
    let inventory = read(
        r#"{"_meta": {"hostvars": {"web1": {"ansible_host": "10.0.0.1"}}}, "all": {"children": ["web"]},
            "web": {"hosts": ["web1", "web2", "db1"]}}"#,
    );
    let of = |names: &[&str]| {
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<BTreeSet<_>>()
    };
    let aliases = [
        (
            "web1",
            of(&["web1.example.com", "192.0.2.1", "2001:db8::1", "172.17.0.1"]),
        ),
        ("web2", of(&["172.17.0.1", "web1", "10.0.0.1", "web"])),
        ("gone", of(&["192.0.2.9"])),
    ];
    let inventory = inventory.with_aliases(aliases.iter().map(|(host, names)| (*host, names)));
    for text in ["web1.example.com:9100", "192.0.2.1", "[2001:DB8:0::1]:9100"] {
        assert_eq!(label(&inventory, text), Ok("web1".to_owned()), "{text}");
    }
    // An inventory name belongs to its host, regardless of aliases of other hosts; and a group stays a group.
    assert_eq!(label(&inventory, "web1:9100"), Ok("web1".to_owned()));
    assert_eq!(label(&inventory, "web"), Err(Skip::GroupName));
    assert_eq!(
        label(&inventory, "172.17.0.1:9100"),
        Err(Skip::AmbiguousHost)
    );
    // The same applies to an address in the inventory.
    assert_eq!(label(&inventory, "10.0.0.1"), Ok("web1".to_owned()));
    assert_eq!(label(&inventory, "192.0.2.9"), Err(Skip::UnknownHost));
    let later = inventory.with_aliases(aliases[..1].iter().map(|(host, names)| (*host, names)));
    assert_eq!(label(&later, "10.0.0.1"), Ok("web1".to_owned()));
}

#[test]
fn an_ini_file() {
    let inventory = real(listings!("ini"));
    assert_eq!(
        names(&inventory),
        ["loner", "web1", "web2", "web3", "web4", "db1"]
    );
    let groups: Vec<_> = inventory.groups().collect();
    assert_eq!(groups, ["all", "db", "empty", "prod", "ungrouped", "web"]);
    assert_eq!(
        inventory.group_hosts("prod").unwrap(),
        ["web1", "web2", "web3", "web4", "db1"]
    );
    assert_eq!(inventory.group_hosts("ungrouped").unwrap(), ["loner"]);
    assert_eq!(inventory.group_hosts("all").unwrap(), names(&inventory));
    assert!(inventory.group_hosts("empty").unwrap().is_empty());
    assert_eq!(inventory.group_hosts("nowhere"), None);

    let host = |name| inventory.host(name).unwrap();
    assert_eq!(host("web1").groups().collect::<Vec<_>>(), ["prod", "web"]);
    assert_eq!(host("loner").groups().collect::<Vec<_>>(), ["ungrouped"]);
    assert_eq!(host("web2").address(), Some("fd00::5"));
    assert_eq!(host("web3").address(), None);
    // A template.
    assert_eq!(host("db1").address(), None);

    assert_eq!(label(&inventory, "10.0.0.5:9100"), Ok("web1".into()));
    assert_eq!(label(&inventory, "[fd00:0::5]:9100"), Ok("web2".into()));
    assert_eq!(label(&inventory, "db1:9100"), Ok("db1".into()));
    assert_eq!(label(&inventory, "empty:1"), Err(Skip::GroupName));
}

#[test]
fn a_yaml_file() {
    let inventory = real(listings!("yaml"));
    let hosts = [
        "solo",
        "2001:db8::7",
        "literal",
        "zero",
        "Ünï.example",
        "app1",
        "app2",
    ];
    assert_eq!(names(&inventory), hosts);
    let host = |name| inventory.host(name).unwrap();
    assert_eq!(host("literal").address(), Some("192.0.2.8"));
    assert_eq!(host("zero").address(), None);
    assert_eq!(host("app2").groups().collect::<Vec<_>>(), ["app", "canary"]);
    assert!(inventory.group_hosts("bare").unwrap().is_empty());

    let six = "[2001:DB8:0::7]:9100";
    assert_eq!(label(&inventory, six), Ok("2001:db8::7".into()));
    assert_eq!(label(&inventory, "Ünï.example:1"), Ok("Ünï.example".into()));
}

#[test]
fn a_folder_with_variables_beside_it() {
    let inventory = real(listings!("dir"));
    assert_eq!(inventory.len(), 13);
    assert_eq!(
        inventory.host("web3").unwrap().address(),
        Some("198.51.100.3")
    );
    assert_eq!(label(&inventory, "198.51.100.3:9100"), Ok("web3".into()));
    assert_eq!(label(&inventory, "192.0.2.1"), Ok("app1".into()));
}

#[test]
fn a_script() {
    let inventory = real(listings!("script"));
    // `onlymeta` was only in the script's `_meta`: Ansible has no such host.
    assert_eq!(names(&inventory), ["s4", "s1", "s2", "s3"]);
    assert_eq!(inventory.group_hosts("listy").unwrap(), ["s3"]);
}

#[test]
fn what_is_tolerated() {
    let inventory =
        read(r#"{"b":["y","x","y"],"a":{"hosts":["z","x"],"vars":{"hosts":1}},"c":{}}"#);
    assert_eq!(names(&inventory), ["y", "x", "z"]);
    assert_eq!(inventory.group_hosts("a").unwrap(), ["x", "z"]);
    assert_eq!(inventory.group_hosts("all").unwrap(), ["y", "x", "z"]);

    let meta = r#"{"_meta":{"hostvars":{"ghost":{"ansible_host":"10.0.0.1"}}}}"#;
    assert!(read(meta).is_empty());
    assert_eq!(label(&read(meta), "10.0.0.1"), Err(Skip::UnknownHost));
    assert_eq!(
        read("{}").groups().collect::<Vec<_>>(),
        ["all", "ungrouped"]
    );
}

#[test]
fn groups_in_a_circle_end() {
    let inventory = read(
        r#"{"a":{"hosts":["x"],"children":["b"]},"b":{"hosts":["y"],"children":["a","b"]},"all":{"children":["a"]}}"#,
    );
    assert_eq!(inventory.group_hosts("a").unwrap(), ["x", "y"]);
    assert_eq!(inventory.group_hosts("b").unwrap(), ["x", "y"]);
    assert_eq!(inventory.group_hosts("all").unwrap(), ["x", "y"]);
}

#[test]
fn a_fault_is_named_by_its_place() {
    let error = |text: &str| Inventory::parse(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(
        error(" \n"),
        "ansible-inventory printed nothing; want the JSON of `ansible-inventory --list`"
    );
    let starts = |text, start: &str| assert!(error(text).contains(start), "{}", error(text));
    starts(
        "[]",
        "at .: invalid type: sequence, expected a map of groups",
    );
    starts("{", "EOF while parsing an object");
    starts("{} x", "at the end: trailing characters");
    starts(
        r#"{"web":{"hosts":["a",7]}}"#,
        "at web.hosts[1]: invalid type: integer `7`",
    );
    starts(
        r#"{"web":7}"#,
        "at web: invalid type: integer `7`, expected a group",
    );
    starts(
        r#"{"_meta":{"hostvars":[]}}"#,
        "at _meta.hostvars: invalid type: sequence",
    );
}

const ODD: &str = r#"{
  "_meta": {"hostvars": {
    "one": {"ansible_host": "10.0.0.1"}, "two": {"ansible_host": "10.0.0.1"},
    "six": {"ansible_host": "0:0:0:0:0:0:0:1"}, "zone": {"ansible_host": "fe80::1%eth0"},
    "named": {"ansible_host": "web.example"}, "grp": {"ansible_host": "10.0.0.7"},
    "a:b": {"ansible_host": "10.0.0.8"}, "blank": {"ansible_host": ""}, "tpl": {"ansible_host": "{{ x }}"}
  }},
  "g": {"hosts": ["one", "two", "six", "zone", "named", "grp", "a:b", "blank", "tpl", "10.0.0.9", "web:9100", "web",
    "__x", "-x", "~x", "!x", "x y", "{{ x }}", "*", "x[0]", "fe80::2%eth0", "1:2:3:4:5:6:10.0.0.1"]},
  "good": {"hosts": ["one", "six"], "children": ["more"]}, "more": {"hosts": ["two"]},
  "clash": {"hosts": ["one", "grp"]}, "bad": {"hosts": ["one", "a:b"]},
  "grp": {"hosts": ["one"]}
}"#;

#[test]
fn labels_resolve_to_one_host_or_to_a_reason() {
    let inventory = read(ODD);
    let table = [
        ("one", Ok("one")),
        ("one:9100", Ok("one")),
        ("http://one:8080/x", Ok("one")),
        ("10.0.0.1:9100", Err(Skip::AmbiguousHost)),
        ("[::1]:9100", Ok("six")),
        ("::1", Ok("six")),
        ("[fe80::1%eth0]:9100", Ok("zone")),
        ("[fe80::1%eth1]:9100", Err(Skip::UnknownHost)),
        ("[fe80::1]:9100", Err(Skip::UnknownHost)),
        ("web.example:443", Ok("named")),
        ("10.0.0.9:9100", Ok("10.0.0.9")),
        // The whole label is tried first, and this one is a host name that Ansible would split.
        ("web:9100", Err(Skip::UnsafeHostName)),
        ("web:9200", Ok("web")),
        ("10.0.0.8", Err(Skip::UnsafeHostName)),
        // A group of the same name: by name, and by an address of that host.
        ("grp:9100", Err(Skip::GroupName)),
        ("10.0.0.7:9100", Err(Skip::GroupName)),
        ("all", Err(Skip::GroupName)),
        ("ungrouped:9100", Err(Skip::GroupName)),
        ("http://good/", Err(Skip::GroupName)),
        ("", Err(Skip::UnknownHost)),
        (":9100", Err(Skip::UnknownHost)),
        ("[::1", Err(Skip::UnknownHost)),
        ("{{ x }}", Err(Skip::UnsafeHostName)),
        ("one,two", Err(Skip::UnknownHost)),
        ("on*", Err(Skip::UnknownHost)),
        ("one ", Err(Skip::UnknownHost)),
        ("One", Err(Skip::UnknownHost)),
        ("../one", Err(Skip::UnknownHost)),
        ("localhost", Err(Skip::UnknownHost)),
        ("127.0.0.1:9100", Err(Skip::UnknownHost)),
    ];
    for (text, expected) in table {
        assert_eq!(
            label(&inventory, text),
            expected.map(str::to_owned),
            "{text:?}"
        );
    }
}

#[test]
fn a_name_that_is_another_hosts_address_is_ambiguous() {
    let inventory = read(
        r#"{"_meta": {"hostvars": {
            "10.0.0.5": {"ansible_host": "10.9.9.9"}, "db1": {"ansible_host": "10.0.0.5"},
            "web1": {"ansible_host": "web2"}, "web3": {"ansible_host": "web3"},
            "10.0.0.6": {"ansible_host": "10.0.0.6"}, "tpl": {"ansible_host": "{{ x }}"}
        }},
        "g": {"hosts": ["10.0.0.5", "db1", "web1", "web2", "web3", "10.0.0.6", "tpl", "::1", "0::1", "fd00::1"]}}"#,
    );
    for (text, expected) in [
        ("10.0.0.5:9100", Err(Skip::AmbiguousHost)),
        ("10.0.0.5", Err(Skip::AmbiguousHost)),
        ("http://10.0.0.5/x", Err(Skip::AmbiguousHost)),
        ("10.9.9.9:9100", Ok("10.0.0.5")),
        ("db1:9100", Ok("db1")),
        // Two names, and two spellings of one address.
        ("web2:9100", Err(Skip::AmbiguousHost)),
        ("web1:9100", Ok("web1")),
        ("[::1]:9100", Err(Skip::AmbiguousHost)),
        // The same host in both ways.
        ("web3:9100", Ok("web3")),
        ("10.0.0.6:9100", Ok("10.0.0.6")),
        ("[fd00::1]:9100", Ok("fd00::1")),
        ("tpl:9100", Ok("tpl")),
    ] {
        let expected = expected.map(str::to_owned);
        assert_eq!(label(&inventory, text), expected, "{text:?}");
    }
    assert_eq!(
        resolve_label(&inventory, "10.0.0.5:9100").unwrap_err().why,
        r#""10.0.0.5" is the name of one host of the inventory and the address of another, "db1""#
    );
    // A target names hosts, never addresses.
    assert_eq!(resolve_name(&inventory, "10.0.0.5"), Ok("10.0.0.5"));
}

#[test]
fn names_that_ansible_could_read_otherwise_are_refused() {
    let inventory = read(ODD);
    for name in [
        "a:b",
        "__x",
        "-x",
        "~x",
        "!x",
        "x y",
        "{{ x }}",
        "*",
        "x[0]",
        "fe80::2%eth0",
        "1:2:3:4:5:6:10.0.0.1",
    ] {
        let reason = resolve_name(&inventory, name).unwrap_err().reason;
        assert_eq!(reason, Skip::UnsafeHostName, "{name:?}");
    }
    for name in [
        "", "@x", "x@y", "x/y", "x?", "x]", "x&y", "x\n", "x\u{7f}", "..", ".x", "{%x%}", "x,y",
        "$x",
    ] {
        assert!(!is_exact(name), "{name:?}");
    }
    for name in [
        "web1",
        "_x",
        "web-1.example.org",
        "ünï",
        "10.0.0.5",
        "::1",
        "FE80::A",
        "123",
    ] {
        assert!(is_exact(name), "{name:?}");
    }
}

#[test]
fn names_and_groups_of_a_target() {
    let inventory = read(ODD);
    let name = |text| resolve_name(&inventory, text).map_err(|u| u.reason);
    assert_eq!(name("one"), Ok("one"));
    assert_eq!(name("one:9100"), Err(Skip::UnknownHost));
    assert_eq!(name("web.example"), Err(Skip::UnknownHost));
    assert_eq!(name("good"), Err(Skip::GroupName));

    let group = |text| resolve_group(&inventory, text).map_err(|u| u.reason);
    assert_eq!(group("good"), Ok(vec!["one", "two", "six"]));
    assert_eq!(group("nowhere"), Err(Skip::UnknownGroup));
    assert_eq!(group("one"), Err(Skip::UnknownGroup));
    assert_eq!(group("ungrouped"), Err(Skip::EmptyTarget));
    assert_eq!(group("clash"), Err(Skip::GroupName));
    assert_eq!(group("bad"), Err(Skip::UnsafeHostName));
}

#[test]
fn the_sentence_is_for_a_person() {
    let inventory = read(ODD);
    let why = |text: &str| resolve_label(&inventory, text).unwrap_err().to_string();
    assert_eq!(
        why("10.0.0.1:9100"),
        r#""10.0.0.1" is the address of 2 hosts of the inventory, among them "one" and "two""#
    );
    assert_eq!(
        why("grp:1"),
        r#""grp" is the name of an inventory group, not of a host"#
    );
    assert_eq!(why(""), "the text that should name a host is empty");
    assert_eq!(
        why("\x1b[31m\"x\"\n"),
        r#"no host of the inventory has the name or address "\u{1b}[31m\"x\"\n""#
    );
    let long = why(&"é".repeat(70_000));
    assert_eq!(long.chars().count(), 50 + 80 + 2, "{long}");
    assert!(long.ends_with("é…\""));
}

/// Names that often collide and are often unusual.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab]{1,2}",
        "(10\\.0\\.0\\.[12]|::1|0::1|fe80::1%[ab])",
        "[ab:,!&~*@\\[\\]{}%. _/-]{0,5}",
        any::<String>(),
    ]
}

prop_compose! {
    fn inventory()(
        hosts in prop::collection::vec((name(), prop::option::of(name())), 0..8),
        groups in prop::collection::vec((name(), prop::collection::vec(0..8_usize, 0..4), prop::collection::vec(name(), 0..2)), 0..4),
    ) -> (Inventory, Vec<String>) {
        let vars: serde_json::Map<_, _> = hosts
            .iter()
            .filter_map(|(host, address)| Some((host.clone(), serde_json::json!({"ansible_host": address.as_ref()?}))))
            .collect();
        let names: Vec<String> = hosts.into_iter().map(|(host, _)| host).collect();
        let mut listing = serde_json::json!({"_meta": {"hostvars": vars}, "rest": names.clone()});
        for (group, members, children) in groups {
            let members: Vec<_> = members.iter().filter_map(|&i| names.get(i)).collect();
            if group != "_meta" && group != "rest" {
                listing[group] = serde_json::json!({"hosts": members, "children": children});
            }
        }
        (Inventory::parse(listing.to_string().as_bytes()).unwrap(), names)
    }
}

proptest! {
    #[test]
    fn what_resolves_is_one_safe_host_of_the_inventory(
        (inventory, names) in inventory(),
        text in name(),
        port in prop::option::of(0..70_000_u32),
    ) {
        let ported = port.map_or(text.clone(), |port| format!("{text}:{port}"));
        let mut found = Vec::new();
        found.extend(resolve_label(&inventory, &ported));
        found.extend(resolve_name(&inventory, &text));
        found.extend(resolve_group(&inventory, &text).unwrap_or_default());
        for name in found {
            prop_assert!(names.iter().any(|host| host == name));
            prop_assert!(is_exact(name) && !inventory.is_group(name));
            let odd = name.contains(",!&~*?[]@/{}% \n".chars().collect::<Vec<_>>().as_slice());
            prop_assert!(!odd, "a sign of a pattern");
        }
    }

    #[test]
    fn a_host_that_is_safe_resolves_to_itself((inventory, names) in inventory()) {
        for name in &names {
            if is_exact(name) && !inventory.is_group(name) {
                if inventory.at_address(name).all(|host| host.name() == name) {
                    prop_assert_eq!(resolve_label(&inventory, name), Ok(name.as_str()));
                } else {
                    prop_assert_eq!(label(&inventory, name), Err(Skip::AmbiguousHost));
                }
                prop_assert_eq!(resolve_name(&inventory, name), Ok(name.as_str()));
            }
        }
    }

    #[test]
    fn no_bytes_make_parse_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Inventory::parse(&bytes);
    }
}
