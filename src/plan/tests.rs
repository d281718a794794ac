use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::config::{self, Roles};
use crate::model::alert::{Fingerprint, LabelSet};

const CONFIG: &str = r#"
ansible: {playbook_dir: p, inventory: [i]}
bindings:
  - {name: first, matchers: ['sev="a"'], roles: [r1]}
  - {name: named, matchers: ['sev=~"a|b"'], roles: [r2], target: {hosts: [db1, web1]}}
  - {name: group, matchers: ['sev="b"'], roles: [r2], target: {group: web}, stop: true}
  - {name: after-stop, matchers: ['sev="b"'], roles: [r1]}
  - {name: missing-host, matchers: ['sev="d"'], roles: [r1], target: {hosts: [web1, gone]}}
  - {name: missing-group, matchers: ['sev="d"'], roles: [r1], target: {group: nowhere}}
  - {name: empty-group, matchers: ['sev="d"'], roles: [r1], target: {group: empty}}
  - {name: here, matchers: ['sev="c"'], roles: [r1, r2], target: controller}
"#;

const INVENTORY: &str = r#"{
  "_meta": {"hostvars": {
    "web1": {"ansible_host": "10.0.0.1"}, "web2": {"ansible_host": "::2"},
    "twin1": {"ansible_host": "10.0.0.9"}, "twin2": {"ansible_host": "10.0.0.9"}}},
  "all": {"children": ["web", "empty", "ungrouped"]},
  "web": {"hosts": ["web1", "web2"]},
  "empty": {"hosts": []},
  "ungrouped": {"hosts": ["db1", "twin1", "twin2"]}}"#;

fn config() -> Config {
    let roles = Roles {
        alert: vec!["r1".into(), "r2".into()],
        routine: Vec::new(),
        ..Roles::default()
    };
    config::build("test.yml", CONFIG, &roles).unwrap()
}

fn inventory() -> Inventory {
    Inventory::parse(INVENTORY.as_bytes()).unwrap()
}

fn alert(labels: &[(&str, &str)]) -> Alert {
    let labels: LabelSet = labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Alert {
        status: Status::Firing,
        labels,
        annotations: LabelSet::new(),
        starts_at: chrono::DateTime::from_timestamp_nanos(1)
            .try_into()
            .unwrap(),
        ends_at: None,
        generator_url: String::new(),
        fingerprint: Fingerprint(1),
    }
}

fn at(minutes: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap() + TimeDelta::minutes(minutes)
}

/// One line `binding: decision hosts` for each decision.
fn decided(alert: &Alert, past: &EpisodeHistory) -> Vec<String> {
    decide(
        &config(),
        &inventory(),
        &State::default(),
        alert,
        past,
        at(0),
    )
    .iter()
    .map(|decision| {
        let hosts = match &decision.choice {
            Choice::Run { hosts, .. } => format!(" {}", hosts.join(",")),
            Choice::Skip { .. } => String::new(),
        };
        format!(
            "{}: {}{hosts}",
            decision.binding_name(),
            decision.choice.as_str()
        )
    })
    .collect()
}

fn fresh(labels: &[(&str, &str)]) -> Vec<String> {
    decided(&alert(labels), &EpisodeHistory::default())
}

#[test]
fn every_binding_that_matches_decides_until_one_says_stop() {
    assert_eq!(
        fresh(&[("sev", "a"), ("instance", "web1:9100")]),
        ["first: run web1", "named: run db1,web1"]
    );
    assert_eq!(
        fresh(&[("sev", "b"), ("instance", "web1:9100")]),
        ["named: run db1,web1", "group: run web1,web2"]
    );
    assert_eq!(fresh(&[("sev", "c")]), ["here: run localhost"]);
    assert_eq!(fresh(&[("sev", "z")]), [": no_binding"]);
}

#[test]
fn what_is_unclear_is_skipped_by_name_and_never_widened() {
    let first = |instance: &str| fresh(&[("sev", "a"), ("instance", instance)])[0].clone();
    for (instance, decision) in [
        ("10.0.0.1:9100", "run web1"),
        ("[::2]:9100", "run web2"),
        ("[0:0:0:0:0:0:0:2]:9100", "run web2"),
        ("10.0.0.9", "ambiguous_host"),
        ("web", "group_name"),
        ("all:9100", "group_name"),
        ("web*", "unknown_host"),
        ("web1,web2", "unknown_host"),
        ("~web.*", "unknown_host"),
        ("web1:!web2", "unknown_host"),
        ("localhost", "unknown_host"),
        ("127.0.0.1:9100", "unknown_host"),
        ("@/etc/hosts", "unknown_host"),
        ("", "missing_label"),
    ] {
        assert_eq!(
            first(instance),
            format!("first: {decision}"),
            "{instance:?}"
        );
    }
    assert_eq!(fresh(&[("sev", "a")])[0], "first: missing_label");
    assert_eq!(
        fresh(&[("sev", "d")]),
        [
            "missing-host: unknown_host",
            "missing-group: unknown_group",
            "empty-group: empty_target"
        ]
    );
}

#[test]
fn names_that_ansible_keeps_for_itself_stop_the_alert() {
    for name in ["__ansible_unsafe", "__ansible_vault", "__x"] {
        assert_eq!(
            fresh(&[("sev", "c"), (name, "1")]),
            ["here: reserved_label"]
        );
        let mut annotated = alert(&[("sev", "c")]);
        annotated
            .annotations
            .insert(name.to_owned(), "1".to_owned());
        assert_eq!(
            decided(&annotated, &EpisodeHistory::default()),
            ["here: reserved_label"]
        );
    }
}

#[test]
fn text_that_an_old_ansible_could_take_for_a_template_stops_the_alert() {
    let good = [("sev", "c"), ("summary", "{ 1 } %} # {")];
    let decide = |alert: &Alert, version| {
        let inventory = inventory().read_by(version);
        let decisions = super::decide(
            &config(),
            &inventory,
            &State::default(),
            alert,
            &EpisodeHistory::default(),
            at(0),
        );
        decisions[0].choice.as_str()
    };
    assert_eq!(decide(&alert(&good), Some((2, 18))), "run");
    for text in ["x {{ 1 }}", "{% if 1 %}", "{# c #}", "#jinja2: a: b"] {
        let mut bad = vec![alert(&[("sev", "c"), ("summary", text)])];
        bad.push(alert(&[("sev", "c"), (text, "x")]));
        bad.push(alert(&[("sev", "c")]));
        bad[2].annotations.insert("a".into(), text.into());
        bad.push(alert(&[("sev", "c")]));
        bad[3].generator_url = text.into();
        for bad in bad {
            assert_eq!(decide(&bad, Some((2, 19))), "run", "{bad:?}");
            for version in [Some((2, 18)), Some((2, 16)), None] {
                assert_eq!(decide(&bad, version), "template_text", "{bad:?}");
            }
        }
    }
}

#[test]
fn the_past_decides_first() {
    let mut one = alert(&[("sev", "a"), ("instance", "nowhere")]);
    let under = |binding: &str| {
        let state = StepState::Open;
        BTreeMap::from([(binding.to_owned(), StepProgress { step: 1, state })])
    };
    let ran = EpisodeHistory {
        progress: under("first"),
        ..EpisodeHistory::default()
    };
    assert_eq!(
        decided(&one, &ran),
        ["first: duplicate", "named: run db1,web1"]
    );
    let over = |minutes_ago: i64| EpisodeHistory {
        resolved_at: Some(at(-minutes_ago)),
        progress: under("named"),
    };
    // A clock that was set back does not make an episode fire again.
    for late in [-90, 0, 59] {
        let decided = decided(&one, &over(late));
        assert_eq!(decided, ["first: resolved", "named: resolved"], "{late}");
    }
    one.labels.insert("instance".into(), "web1".into());
    assert_eq!(
        decided(&one, &over(60)),
        ["first: run web1", "named: duplicate"],
        "it fires after all, and what ran stays run"
    );
    one.status = Status::Resolved;
    assert_eq!(
        decided(&one, &EpisodeHistory::default()),
        ["first: resolved", "named: resolved"]
    );
}

fn any_alert() -> impl Strategy<Value = Alert> {
    let severity = prop::sample::select(vec!["a", "b", "c", "d", "z"]);
    let instance = prop_oneof![
        prop::sample::select(vec![
            "web1",
            "web2:9100",
            "db1",
            "web",
            "all",
            "10.0.0.1:1",
            "10.0.0.9",
            "*",
            "a,b",
            "!web1",
        ])
        .prop_map(str::to_owned),
        ".{0,20}",
    ];
    let parts = (
        severity,
        instance,
        0..4_u64,
        0..2_i64,
        any::<bool>(),
        "[_a-z]{1,4}",
    );
    parts.prop_map(
        |(severity, instance, fingerprint, since, resolved, extra)| {
            let mut alert = alert(&[("sev", severity), ("instance", &instance)]);
            alert.labels.insert(extra, "{{ 1 }}".to_owned());
            alert.fingerprint = Fingerprint(fingerprint);
            alert.starts_at = chrono::DateTime::from_timestamp_nanos(since)
                .try_into()
                .unwrap();
            if resolved {
                alert.status = Status::Resolved;
            }
            alert
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn only_hosts_of_the_inventory_are_ever_named(alert in any_alert()) {
        let inventory = inventory();
        for decision in decide(&config(), &inventory, &State::default(), &alert, &EpisodeHistory::default(), at(0)) {
            let binding = decision.binding.as_ref();
            if let Choice::Run { hosts, .. } = &decision.choice {
                prop_assert!(!hosts.is_empty());
                let controller = binding.is_some_and(|b| b.target == Target::Controller);
                for host in hosts {
                    prop_assert!(controller || inventory.host(host).is_some(), "{host}");
                    prop_assert!(crate::model::inventory::is_exact(host), "{host}");
                }
                if matches!(binding.map(|b| &b.target), Some(Target::AlertingHost { .. })) {
                    prop_assert_eq!(hosts.len(), 1);
                }
                prop_assert!(alert.labels.keys().all(|name| !name.starts_with("__")));
            }
        }
    }

    #[test]
    fn in_whatever_order_alerts_come_an_episode_runs_once_a_binding(
        alerts in prop::collection::vec(any_alert(), 1..30),
    ) {
        let notification = Notification {
            receiver: String::new(),
            group_key: String::new(),
            group_labels: std::collections::BTreeMap::new(),
            truncated_alerts: 0,
            external_url: String::new(),
            alerts,
        };
        let (config, inventory) = (config(), inventory());
        let explained = explain(&config, &inventory, &State::default(), &notification, at(0));
        let mut runs: BTreeMap<_, usize> = BTreeMap::new();
        let mut over = BTreeSet::new();
        for (alert, decisions) in &explained {
            prop_assert!(!decisions.is_empty());
            for decision in decisions {
                if let Choice::Run { .. } = decision.choice {
                    prop_assert!(!over.contains(&alert.episode()), "it ran after it resolved");
                    *runs.entry((alert.episode(), decision.binding_name().to_owned())).or_default() += 1;
                }
            }
            if alert.status == Status::Resolved {
                over.insert(alert.episode());
            }
        }
        prop_assert!(runs.values().all(|n| *n == 1), "{runs:?}");
        // A repetition gives the same result: only the input decides.
        prop_assert_eq!(explained, explain(&config, &inventory, &State::default(), &notification, at(0)));
    }
}
