use std::collections::HashSet;
use std::fs;
use std::path::Path;

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn host(facts: &Map<String, Value>) -> HostFacts {
    HostFacts {
        host: "h".to_owned(),
        gathered_at: DateTime::<Utc>::from_timestamp(1_717_243_200, 0).unwrap(),
        live: true,
        facts: facts.clone(),
    }
}

fn read(name: &str) -> Map<String, Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/facts/{name}.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The metrics as lines of a page, without the label `host`.
fn lines(map: &Map<String, Value>) -> Vec<String> {
    let made = series(&host(map), HostOptions::LIMIT);
    assert_eq!(made.not_understood, 0, "{:?}", made.samples);
    let mut lines: Vec<String> = made.samples.iter().map(line).collect();
    lines.sort();
    lines
}

fn line(sample: &Sample) -> String {
    let family = FAMILIES[sample.family];
    assert_eq!(sample.labels.len(), family.labels.len());
    let labels = family.labels.iter().zip(&sample.labels);
    let labels: Vec<String> = labels
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    format!("{}{{{}}} {}", family.name, labels.join(","), sample.value)
}

macro_rules! of_systems {
    ($($test:ident: $file:literal),* $(,)?) => { $(
        #[test]
        fn $test() {
            insta::assert_snapshot!(lines(&read($file)).join("\n"));
        }
    )* };
}

of_systems! {
    ubuntu_14_04_of_ansible_2_3: "ubuntu-14.04",
    debian_12_of_core_2_19: "debian-12",
    debian_12_of_core_2_16: "debian-12-core-2.16",
    rhel_9: "rhel-9",
    alpine_without_extras: "alpine-3.20",
    freebsd_14: "freebsd-14",
    macos_14: "macos-14",
    windows_2022: "windows-2022",
    openbsd_7: "openbsd-7.5",
    aix_7: "aix-7.3",
    solaris_11: "solaris-11.4",
    debian_with_containers_and_guests: "debian-12-docker",
}

#[test]
fn one_host_has_no_more_series_of_a_family_than_the_limit() {
    let mounts: Vec<Value> = (0..51_000)
        .map(|n| json!({"mount": format!("/m{n}"), "device": "d", "fstype": "x", "size_total": 1, "size_available": 1}))
        .collect();
    let facts = json!({"ansible_mounts": mounts, "ansible_memtotal_mb": 1});
    let made = series(&host(facts.as_object().unwrap()), 100);
    let of = |name: &str| {
        FAMILIES
            .iter()
            .position(|family| family.name == name)
            .unwrap()
    };
    let (size, avail) = (of("filesystem_size_bytes"), of("filesystem_avail_bytes"));
    let shown = |family| made.samples.iter().filter(|s| s.family == family).count();
    assert_eq!((shown(size), shown(avail)), (100, 100));
    assert_eq!(shown(of("memory_total_bytes")), 1);
    let dropped: Vec<(usize, u64)> = made.dropped.into_iter().collect();
    assert_eq!(dropped, [(avail, 50_900), (size, 50_900)]);
    // A duplicate is one series, and is not counted.
    let again = json!({"ansible_mounts": [mounts[0], mounts[0], mounts[0]]});
    let made = series(&host(again.as_object().unwrap()), 1);
    assert!(made.dropped.is_empty(), "{:?}", made.dropped);
}

#[test]
fn what_cannot_be_what_it_should_is_left_out_and_counted() {
    for (name, value) in [
        ("ansible_memtotal_mb", json!("much")),
        ("ansible_memtotal_mb", json!(["2048"])),
        ("ansible_memtotal_mb", json!(-5)),
        ("ansible_memtotal_mb", json!(true)),
        ("ansible_mounts", json!("none")),
        ("ansible_mounts", json!([7])),
        ("ansible_devices", json!("sda")),
        ("ansible_distribution", json!({"name": "Debian"})),
        ("ansible_interfaces", json!([7])),
        ("ansible_dns", json!({"nameservers": "1.2.3.4"})),
        ("ansible_date_time", json!({"epoch": "noon"})),
    ] {
        let map = Map::from_iter([(name.to_owned(), value.clone())]);
        let made = series(&host(&map), HostOptions::LIMIT);
        assert_eq!(
            made.not_understood,
            1 + u64::from(name.ends_with("date_time")),
            "{name}: {value}"
        );
        let names: Vec<&str> = made
            .samples
            .iter()
            .map(|s| FAMILIES[s.family].name)
            .collect();
        assert_eq!(names, ["facts_timestamp_seconds"], "{name}: {value}");
    }
}

#[test]
fn what_is_missing_or_nothing_is_no_news() {
    for value in [Value::Null, json!(""), json!("NA"), json!("n/a")] {
        let names = [
            "memtotal_mb",
            "mounts",
            "devices",
            "distribution",
            "interfaces",
            "dns",
            "date_time",
            "loadavg",
        ];
        let map = names
            .map(|name| (format!("ansible_{name}"), value.clone()))
            .into_iter()
            .collect();
        let made = series(&host(&map), HostOptions::LIMIT);
        assert_eq!((made.not_understood, made.samples.len()), (0, 1), "{value}");
    }
}

#[test]
fn a_path_leads_into_objects_and_lists() {
    let map = json!({"ansible_local": {"backup": {"runs": [{"ok": 3}]}}, "bare": 5, "ansible_none": null});
    let map = map.as_object().unwrap();
    let facts = Facts::new(map);
    assert_eq!(
        facts.path("ansible_local.backup.runs.0.ok"),
        Some(&json!(3))
    );
    assert_eq!(facts.path("local.backup.runs.0.ok"), Some(&json!(3)));
    assert_eq!(facts.path("bare"), Some(&json!(5)));
    for nowhere in [
        "none",
        "bare.x",
        "local.backup.runs.1",
        "local.backup.runs.x",
        "",
        "local..runs",
    ] {
        assert_eq!(facts.path(nowhere), None, "{nowhere}");
    }
    assert_eq!(extra(facts, "local.backup.runs.0.ok"), Ok(Some(3.0)));
    assert_eq!(extra(facts, "none"), Ok(None));
    assert_eq!(extra(facts, "local"), Err(NoNumber));
}

#[test]
fn a_number_that_no_machine_has_is_not_understood() {
    let facts = json!({"ansible_memtotal_mb": 9.5e302, "ansible_memfree_mb": 1});
    let made = series(&host(facts.as_object().unwrap()), HostOptions::LIMIT);
    assert_eq!((made.samples.len(), made.not_understood), (2, 1));
}

fn junk() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!("-1")),
        Just(json!("192.0.2.1")),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(key(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    const KNOWN: &[&str] = &[
        "ansible_mounts",
        "ansible_devices",
        "ansible_interfaces",
        "ansible_eth0",
        "device",
        "mount",
        "size_total",
        "ipv4",
        "ipv6",
        "address",
        "ansible_date_time",
        "epoch",
        "ansible_memtotal_mb",
        "sectors",
        "active",
        "type",
        "ansible_default_ipv4",
        "ansible_dns",
        "nameservers",
        "ansible_loadavg",
        "1m",
        "ansible_selinux",
        "ansible_facts",
        "iso8601_micro",
    ];
    prop_oneof![4 => prop::sample::select(KNOWN).prop_map(str::to_owned), 1 => "\\PC{0,8}"]
}

proptest! {
    #[test]
    fn junk_breaks_nothing_and_no_label_set_comes_twice(
        map in prop::collection::btree_map(key(), junk(), 0..12)
    ) {
        let map: Map<String, Value> = map.into_iter().collect();
        let made = series(&host(&map), HostOptions::LIMIT);
        let mut keys = HashSet::new();
        for sample in &made.samples {
            prop_assert!(sample.value.is_finite());
            prop_assert_eq!(sample.labels.len(), FAMILIES[sample.family].labels.len());
            prop_assert!(keys.insert((sample.family, sample.labels.clone())));
        }
    }
}
