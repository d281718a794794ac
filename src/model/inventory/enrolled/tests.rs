use super::*;
use crate::model::inventory::{resolve_group, resolve_label, resolve_name};

fn files() -> Inventory {
    let listing = br#"{"_meta":{"hostvars":{
        "web1":{"ansible_host":"10.0.0.1"}, "odd":{"ansible_host":"{{ x }}"},
        "plain":{"ansible_host":{"__ansible_unsafe":"{{ y }}"}}}},
      "all":{"children":["ungrouped","prod"]},
      "prod":{"children":["web"],"hosts":["odd","plain"]},
      "web":{"hosts":["web1"]}}"#;
    Inventory::parse(listing).unwrap()
}

fn host(name: &str, address: Option<&str>, groups: &[&str]) -> Arc<EnrolledHost> {
    Arc::new(EnrolledHost {
        name: name.to_owned(),
        address: address.map(str::to_owned),
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        vars: Map::from_iter([("v".to_owned(), json!([{"k": "{{ x }}"}, 1]))]),
        enrolled_at: DateTime::UNIX_EPOCH,
    })
}

#[test]
fn enrolled_hosts_are_hosts_like_the_others() {
    let enrolled = [
        host("web2", Some("10.0.0.2"), &["web", "edge"]),
        host("web3", None, &[]),
        host("twin", Some("10.0.0.1"), &["edge"]),
    ];
    let inventory = files().with_enrolled(&enrolled);
    assert_eq!(inventory.len(), 6);
    assert_eq!(resolve_name(&inventory, "web2"), Ok("web2"));
    assert_eq!(resolve_label(&inventory, "10.0.0.2:9100"), Ok("web2"));
    assert_eq!(resolve_label(&inventory, "web3:9100"), Ok("web3"));
    // An address that a host of the sources has too is ambiguous.
    let twin = resolve_label(&inventory, "10.0.0.1:9100").unwrap_err();
    assert!(twin.why.contains("web1") && twin.why.contains("twin"));
    // The parents of a group contain its hosts.
    assert_eq!(resolve_group(&inventory, "web").unwrap(), ["web1", "web2"]);
    assert_eq!(
        inventory.group_hosts("prod").unwrap(),
        ["odd", "plain", "web1", "web2"]
    );
    assert_eq!(inventory.group_hosts("edge").unwrap(), ["web2", "twin"]);
    assert_eq!(inventory.group_hosts("ungrouped").unwrap(), ["web3"]);
    assert_eq!(inventory.group_hosts(ALL).unwrap().len(), 6);
    let groups: Vec<&str> = inventory.host("web2").unwrap().groups().collect();
    assert_eq!(groups, ["edge", "prod", "web"]);
    assert!(inventory.conflicts().is_empty());
    assert_eq!(inventory.enrolled().count(), 3);
}

#[test]
fn the_sources_win_and_the_conflict_is_told() {
    let enrolled = [
        host("a", None, &["b"]),
        host("b", None, &[]),
        host("c", None, &["web1"]),
        host("web1", Some("10.9.9.9"), &["prod"]),
        host("web", None, &[]),
    ];
    let inventory = files().with_enrolled(&enrolled);
    let conflicts: Vec<String> = inventory
        .conflicts()
        .iter()
        .map(Conflict::to_string)
        .collect();
    assert_eq!(
        conflicts,
        [
            "b is enrolled, but its name belongs to a group",
            r#"c is enrolled, but its group "web1" has the name of a host"#,
            "web1 is enrolled, but its name belongs to a host in the inventory's sources, which take precedence",
            "web is enrolled, but its name belongs to a group",
        ]
    );
    assert_eq!(inventory.host("web1").unwrap().address(), Some("10.0.0.1"));
    assert!(resolve_label(&inventory, "10.9.9.9").is_err());
    assert_eq!(inventory.enrolled().count(), 1);
}

#[test]
fn without_enrolled_hosts_nothing_changes_and_groups_below_groups_are_kept() {
    assert_eq!(files().with_enrolled(&[]), files());
    let kept = Inventory::parse(&files().to_json()).unwrap();
    let enrolled = [host("web2", None, &["web"])];
    let inventory = kept.with_enrolled(&enrolled);
    assert!(inventory.group_hosts("prod").unwrap().contains(&"web2"));
    // Only the hosts of the sources are stored for the next start.
    assert_eq!(inventory.len(), 4);
}

#[test]
fn every_text_of_a_variable_is_wrapped() {
    let enrolled = [
        host("web2", Some("10.0.0.2"), &["web"]),
        host("web3", None, &[]),
    ];
    let vars = json!([{"k": {"__ansible_unsafe": "{{ x }}"}}, 1]);
    assert_eq!(
        as_source(&enrolled),
        json!({"all": {
            "hosts": {"web2": {"v": vars, "ansible_host": "10.0.0.2"}, "web3": {"v": vars}},
            "children": {"web": {"hosts": {"web2": null}}},
        }})
    );
    let script = Value::Object(files().with_enrolled(&enrolled).to_script());
    let hostvars = &script["_meta"]["hostvars"];
    assert_eq!(
        hostvars["web2"],
        json!({"v": vars, "ansible_host": "10.0.0.2"})
    );
    assert_eq!(hostvars["web1"], json!({"ansible_host": "10.0.0.1"}));
    assert_eq!(
        hostvars["plain"],
        json!({"ansible_host": {"__ansible_unsafe": "{{ y }}"}})
    );
    // Its address is unknown, so it is unreachable.
    assert!(
        hostvars["odd"]["ansible_host"]
            .as_str()
            .unwrap()
            .ends_with(".invalid")
    );
    assert_eq!(script["prod"]["children"], json!(["web"]));
    assert_eq!(script["web"]["hosts"], json!(["web1", "web2"]));
    assert_eq!(
        script["all"],
        json!({"children": ["prod", "ungrouped", "web"]})
    );
    // The output is an inventory with the same hosts in the same groups.
    let read = Inventory::parse(&serde_json::to_vec(&script).unwrap()).unwrap();
    for group in ["all", "prod", "web", "ungrouped"] {
        let sorted = |mut hosts: Vec<String>| {
            hosts.sort();
            hosts
        };
        let of = |inventory: &Inventory| {
            let hosts = inventory.group_hosts(group).unwrap();
            sorted(hosts.into_iter().map(str::to_owned).collect())
        };
        assert_eq!(of(&read), of(&files().with_enrolled(&enrolled)), "{group}");
    }
}
