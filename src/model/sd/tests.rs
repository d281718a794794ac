use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn inventory(listing: &Value, vars: &[&str]) -> Arc<Inventory> {
    let json = listing.to_string();
    let vars: Vec<String> = vars.iter().map(|&name| name.to_owned()).collect();
    let inventory = Inventory::parse(json.as_bytes()).unwrap();
    Arc::new(inventory.keeping_vars(json.as_bytes(), &vars, &[]).unwrap())
}

fn exposed(vars: &[&str], facts: &[&str]) -> Exposed {
    Exposed {
        vars: vars.iter().map(|&name| name.to_owned()).collect(),
        facts: facts.iter().map(|&path| path.to_owned()).collect(),
    }
}

fn fleet() -> View {
    let listing = json!({
        "_meta": {"hostvars": {
            "web1": {"ansible_host": "10.0.0.1", "dc": "fra", "rack": 7, "password": "hunter2"},
            "web2": {"ansible_host": "fd00::2", "dc": " ", "rack": [1]},
            "db1": {"ansible_host": "{{ somewhere }}"},
            "lone": {"ansible_host": "fe80::1%eth0"},
        }},
        "all": {"children": ["ungrouped", "site"], "hosts": ["lone"]},
        "site": {"children": ["web", "db"]},
        "web": {"hosts": ["web1", "web2"]},
        "db": {"hosts": ["db1"]},
        "empty": {"hosts": []},
    });
    let exposed = exposed(
        &["dc", "rack"],
        &["distribution", "ansible_local.site.rack-no", "mounts"],
    );
    let facts = json!({"ansible_distribution": "Debian \"12\"", "ansible_mounts": [1],
        "ansible_local": {"site": {"rack-no": 12.5}}});
    let facts = exposed.of_facts(crate::model::facts::Facts::new(facts.as_object().unwrap()));
    let facts = HashMap::from([
        ("web1".to_owned(), facts.clone()),
        ("gone".to_owned(), facts),
    ]);
    View::build(&exposed, inventory(&listing, &["dc", "rack"]), &facts)
}

fn filter(groups: &[&str], matchers: &str, view: &View) -> Filter {
    Filter {
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        matchers: match matchers {
            "" => crate::model::alert::Matchers::default(),
            text => super::matchers(text, view.exposed())
                .unwrap()
                .into_iter()
                .collect(),
        },
    }
}

fn read(targets: &Targets) -> Value {
    serde_json::from_slice(&targets.json).unwrap()
}

#[test]
fn every_host_is_a_target_with_what_is_known_of_it() {
    let endpoint = Endpoint {
        port: Some(9100),
        scheme: Some(Scheme::Https),
        metrics_path: Some("/probe".to_owned()),
        labels: vec![("job".to_owned(), "node".to_owned())],
    };
    let targets = fleet().targets(&Filter::default(), &endpoint);
    let same = |mut labels: Value| {
        let more = json!({"__scheme__": "https", "__metrics_path__": "/probe", "job": "node"});
        let map = labels.as_object_mut().unwrap();
        map.extend(more.as_object().unwrap().clone());
        labels
    };
    assert_eq!(targets.count, 4);
    assert_eq!(
        read(&targets),
        json!([
            {"targets": ["[fe80::1%eth0]:9100"], "labels": same(json!({
                "__meta_ansible_host": "lone", "__meta_ansible_groups": ",ungrouped,"}))},
            {"targets": ["10.0.0.1:9100"], "labels": same(json!({
                "__meta_ansible_host": "web1", "__meta_ansible_groups": ",site,web,",
                "__meta_ansible_var_dc": "fra", "__meta_ansible_var_rack": "7",
                "__meta_ansible_fact_distribution": "Debian \"12\"",
                "__meta_ansible_fact_local_site_rack_no": "12.5"}))},
            {"targets": ["[fd00::2]:9100"], "labels": same(json!({
                "__meta_ansible_host": "web2", "__meta_ansible_groups": ",site,web,"}))},
            // The value of its template is unknown; under its name the target is at least visibly down.
            {"targets": ["db1:9100"], "labels": same(json!({
                "__meta_ansible_host": "db1", "__meta_ansible_groups": ",db,site,"}))},
        ])
    );
    let text = String::from_utf8(targets.json).unwrap();
    assert_eq!(text.lines().count(), 6, "a line for each host: {text}");
    assert!(!text.contains("hunter2"));
}

#[test]
fn a_filter_takes_groups_and_labels() {
    let view = fleet();
    let hosts = |groups: &[&str], matchers: &str| -> Vec<String> {
        let targets = view.targets(&filter(groups, matchers, &view), &Endpoint::default());
        let groups = read(&targets);
        let hosts: Vec<String> = groups
            .as_array()
            .unwrap()
            .iter()
            .map(|group| {
                group["labels"]["__meta_ansible_host"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        assert_eq!(hosts.len(), targets.count);
        hosts
    };
    assert_eq!(hosts(&["all"], ""), ["lone", "web1", "web2", "db1"]);
    assert_eq!(hosts(&["web"], ""), ["web1", "web2"]);
    assert_eq!(hosts(&["site"], ""), ["web1", "web2", "db1"]);
    assert_eq!(hosts(&["db", "ungrouped"], ""), ["lone", "db1"]);
    assert_eq!(hosts(&["empty", "none"], ""), [""; 0]);
    assert_eq!(
        hosts(&[], r#"__meta_ansible_host=~"web.""#),
        ["web1", "web2"]
    );
    assert_eq!(hosts(&[], r#"__meta_ansible_groups=~".*,db,.*""#), ["db1"]);
    assert_eq!(hosts(&["web"], r#"__meta_ansible_var_dc="""#), ["web2"]);
    let both = r#"__meta_ansible_fact_distribution=~"Debian.*", __meta_ansible_var_rack!="8""#;
    assert_eq!(hosts(&[], both), ["web1"]);
    assert_eq!(
        view.unknown_group(&filter(&["web", "none"], "", &view)),
        Some("none")
    );
    assert_eq!(
        view.unknown_group(&filter(&["web", "all"], "", &view)),
        None
    );
    let none = view.targets(&filter(&["empty"], "", &view), &Endpoint::default());
    assert_eq!((none.json.as_slice(), none.count), (&b"[]\n"[..], 0));
}

#[test]
fn a_label_that_no_host_can_have_is_refused() {
    let exposed = Exposed::default();
    let refused = super::matchers(r#"__meta_ansible_var_dc="fra""#, &exposed).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "no host has a label \"__meta_ansible_var_dc\"; the labels are __meta_ansible_host, __meta_ansible_groups, \
         __meta_ansible_fact_distribution, __meta_ansible_fact_distribution_version, __meta_ansible_fact_os_family, \
         __meta_ansible_fact_architecture"
    );
}

#[test]
fn labels_that_have_a_meaning_cannot_be_set() {
    for name in [
        "",
        "1a",
        "a-b",
        "ü",
        "__address__",
        "__scheme__",
        "__metrics_path__",
        "__name__",
        "__meta_ansible_host",
        "__meta_ansible_x",
    ] {
        assert!(label_defect(name).is_some(), "{name}");
    }
    for name in [
        "job",
        "env",
        "_a",
        "__param_module",
        "__scrape_interval__",
        "A1",
    ] {
        assert_eq!(label_defect(name), None, "{name}");
    }
}

#[test]
fn a_value_that_is_long_is_no_label() {
    assert_eq!(
        scalar(&"x".repeat(1000).into()).map(|text| text.len()),
        Some(1000)
    );
    assert_eq!(scalar(&"x".repeat(1001).into()), None);
    assert_eq!(scalar(&Value::Null), None);
    assert_eq!(scalar(&false.into()).as_deref(), Some("false"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Prometheus accepts any names of hosts, variables and facts. It rejects everything for one additional key, one
    /// value that is not a string, or one invalid label name.
    #[test]
    fn any_host_makes_what_prometheus_takes(
        hosts in prop::collection::btree_map("\\PC{1,12}", ("\\PC{0,12}", any::<f64>()), 0..8),
        var in "[a-zA-Z_][a-zA-Z0-9_]{0,8}",
        fact in "\\PC{1,8}",
        port in prop::option::of(1..=u16::MAX),
    ) {
        let hostvars: serde_json::Map<String, Value> = hosts
            .iter()
            .map(|(host, (text, number))| (host.clone(), json!({"ansible_host": text, var.as_str(): number})))
            .collect();
        let names: Vec<&String> = hosts.keys().collect();
        let listing = json!({"_meta": {"hostvars": hostvars}, "all": {"hosts": names}});
        let exposed = exposed(&[&var], &[&fact]);
        let facts: HashMap<String, FactValues> = hosts
            .iter()
            .map(|(host, (text, _))| {
                let facts = json!({fact.as_str(): text});
                (host.clone(), exposed.of_facts(crate::model::facts::Facts::new(facts.as_object().unwrap())))
            })
            .collect();
        let view = View::build(&exposed, inventory(&listing, &[&var]), &facts);
        let targets = view.targets(&Filter::default(), &Endpoint { port, ..Endpoint::default() });
        let read = read(&targets);
        let groups = read.as_array().unwrap();
        prop_assert_eq!(groups.len(), targets.count);
        prop_assert_eq!(targets.count, names.len());
        for (group, host) in groups.iter().zip(view.inventory.hosts()) {
            let keys: Vec<&String> = group.as_object().unwrap().keys().collect();
            prop_assert_eq!(keys, ["targets", "labels"]);
            let target = group["targets"][0].as_str().unwrap();
            if let Some(port) = port {
                let end = format!(":{port}");
                prop_assert!(target.ends_with(&end));
            }
            for (name, value) in group["labels"].as_object().unwrap() {
                let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
                prop_assert!(name.chars().all(good), "{}", name);
                prop_assert!(value.as_str().is_some_and(|value| !value.is_empty()));
            }
            prop_assert_eq!(group["labels"]["__meta_ansible_host"].as_str(), Some(host.name()));
        }
        let named = |host: &Host| {
            let value = host.name();
            let matcher = crate::model::alert::Matcher::new("__meta_ansible_host", crate::model::alert::matcher::Op::Equal, value);
            let filter = Filter { groups: Vec::new(), matchers: matcher.into_iter().collect() };
            view.targets(&filter, &Endpoint::default()).count
        };
        for host in view.inventory.hosts() {
            prop_assert_eq!(named(host), 1);
        }
    }
}
