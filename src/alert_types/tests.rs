//! Rules as people write them and as Prometheus tells them; which bindings are for them.

use proptest::prelude::*;

use super::*;
use crate::config::{Roles, build};
use crate::model::alert::LabelSet;

fn set(pairs: &[(&str, &str)]) -> LabelSet {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(own).collect()
}

#[test]
fn a_rule_file_yields_its_alerting_rules_with_where_they_stand() {
    let text = "\
# rules
groups:
  - name: hosts
    interval: 1m
    labels: {team: ops, severity: none}
    rules:
      - record: x
        expr: up
      - alert: Down
        expr: |
          up
            == 0
        for: 5m
        keep_firing_for: 1h
        labels: {severity: critical, level: 3, empty: }
        annotations:
          summary: '{{ $labels.instance }} is down'
  - name: nothing
  - {name: more, rules: [{alert: 'B', expr: up > 1, unknown: [1]}, {alert: , expr: x}]}
";
    let rules = parse_rule_file("r.yml", text).unwrap();
    let [down, b] = rules.as_slice() else {
        panic!("{rules:?}")
    };
    assert_eq!(
        (down.name.as_str(), down.group.as_str(), down.line),
        ("Down", "hosts", Some(9))
    );
    assert_eq!(
        (down.expr.as_str(), down.hold.as_deref()),
        ("up\n  == 0", Some("5m"))
    );
    assert_eq!(
        down.labels,
        set(&[
            ("team", "ops"),
            ("severity", "critical"),
            ("level", "3"),
            ("empty", "")
        ])
    );
    assert_eq!(
        down.annotations["summary"],
        "{{ $labels.instance }} is down"
    );
    assert_eq!(
        (b.name.as_str(), b.line, b.file.as_str()),
        ("B", Some(19), "r.yml")
    );
    for nothing in ["", "# nothing\n", "groups:\n", "groups: []\n", "{}"] {
        assert_eq!(
            parse_rule_file("r.yml", nothing),
            Ok(Vec::new()),
            "{nothing:?}"
        );
    }
}

#[test]
fn every_rule_file_that_is_shipped_is_read() {
    let mut alerts = 0;
    for file in std::fs::read_dir("rules").unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yml") {
            let text = std::fs::read_to_string(&path).unwrap();
            let written = text
                .lines()
                .filter(|l| l.trim().starts_with("- alert: "))
                .count();
            let read = parse_rule_file("f", &text).unwrap();
            assert_eq!(read.len(), written, "{}", path.display());
            for rule in read {
                let line = text
                    .lines()
                    .nth(usize::try_from(rule.line.unwrap()).unwrap() - 1);
                assert!(line.unwrap().ends_with(&format!("- alert: {}", rule.name)));
            }
            alerts += written;
        }
    }
    assert!(alerts > 5);
}

#[test]
fn what_is_no_rule_file_is_refused_with_the_place() {
    for (text, said) in [
        ("groups:\n  - name: [a\n", "line "),
        ("groups: 3\n", "line 1, column 9: "),
        (
            "groups:\n  - rules: [{alert: [A]}]\n",
            "line 2, column 21: ",
        ),
        (
            "groups:\n  - rules: [{alert: A, labels: {a: {}}}]\n",
            "line 2, ",
        ),
        ("groups: []\ngroups: []\n", "line 2, "),
    ] {
        let error = parse_rule_file("r.yml", text).unwrap_err().to_string();
        assert!(error.starts_with(said), "{text:?}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
    for deep in [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
    ] {
        assert!(parse_rule_file("r.yml", &deep).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_soup_of_yaml_is_taken_or_refused(text in "(groups|rules|alert|labels|expr|[a-z]{1,4}|: |- |\n|  |\\[|\\]|\\{|\\}|'|\"|&a |\\*a |!!x |\\| |# |, |\t|---\n){0,60}") {
        if let Err(e) = parse_rule_file("f", &text) {
            prop_assert!(!e.message.is_empty());
        }
    }

    #[test]
    fn any_answer_is_taken_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_rules_answer(&body);
    }
}

#[test]
fn what_prometheus_tells_becomes_the_same_rules() {
    // As Prometheus 2.42 wrote it, but for what is cut.
    let body = r#"{"status":"success","data":{"groups":[{"name":"sites","file":"/etc/r.yml","rules":[
        {"state":"firing","name":"SiteDown","query":"up == 0","duration":330,"keepFiringFor":0,
         "labels":{"severity":"critical"},"annotations":{"summary":"s"},
         "alerts":[{"labels":{"alertname":"SiteDown"},"state":"firing","value":"0e+00"}],
         "health":"ok","evaluationTime":0.0002,"lastEvaluation":"2026-11-22T10:00:00Z","type":"alerting"},
        {"state":"inactive","name":"Broken","query":"a/b","duration":0,"labels":{},"annotations":{},"alerts":[],
         "health":"err","lastError":"found duplicate series","type":"alerting"},
        {"name":"x","query":"up","health":"ok","type":"recording"}],"interval":60,"limit":0}]}}"#;
    let rules = parse_rules_answer(body.as_bytes()).unwrap();
    let [site, broken] = rules.as_slice() else {
        panic!("{rules:?}")
    };
    assert_eq!(site.kind, SourceKind::Prometheus);
    assert_eq!(
        (site.state.as_deref(), site.hold.as_deref()),
        (Some("firing"), Some("5m30s"))
    );
    assert_eq!(
        (site.file.as_str(), site.last_error.as_deref()),
        ("/etc/r.yml", None)
    );
    assert_eq!(site.labels, set(&[("severity", "critical")]));
    assert_eq!(
        (broken.hold.as_deref(), broken.health.as_deref()),
        (None, Some("err"))
    );
    let source = Source::from(broken);
    assert_eq!(source.place.as_deref(), Some("/etc/r.yml, group sites"));
    assert_eq!(source.error.as_deref(), Some("found duplicate series"));

    let refused = br#"{"status":"error","errorType":"bad_data","error":"invalid type"}"#;
    assert_eq!(
        parse_rules_answer(refused).unwrap_err(),
        "it reported: invalid type"
    );
    assert_eq!(
        parse_rules_answer(b"{}").unwrap_err(),
        "its answer contains no data"
    );
    let odd = parse_rules_answer(b"<html>").unwrap_err();
    assert!(odd.starts_with("its answer is not that of"), "{odd}");
}

/// Bindings by their names and matchers; one whose name ends with `!` stops the search.
fn bindings(typed: &[(&str, &str)]) -> Vec<Arc<Binding>> {
    let one = |(name, matchers): &(&str, &str)| {
        let (name, stop) = match name.strip_suffix('!') {
            Some(name) => (name, true),
            None => (*name, false),
        };
        format!("  - {{name: {name}, roles: [r], stop: {stop}, matchers: ['{matchers}']}}\n")
    };
    let all: String = typed.iter().map(one).collect();
    let roles = Roles {
        alert: vec!["r".to_owned()],
        ..Roles::default()
    };
    let text = format!("ansible: {{playbook_dir: p, inventory: [i]}}\nbindings:\n{all}");
    build("f.yml", &text, &roles).unwrap().bindings
}

#[test]
fn a_binding_is_for_a_type_whose_alerts_it_could_match() {
    let critical = set(&[("severity", "critical")]);
    let warning = set(&[("severity", "warning")]);
    let template = set(&[("severity", "{{ $labels.severity }}")]);
    for (matchers, rules, fits) in [
        (r#"alertname="A""#, &[][..], true),
        (r#"alertname="B""#, &[], false),
        (r#"alertname=~"A|B""#, &[], true),
        // The whole name, as for alerts.
        (r#"alertname=~"B""#, &[], false),
        (r#"alertname!="A""#, &[], false),
        (r#"alertname=~".+",alertname!="A""#, &[], false),
        (r#"severity="critical""#, &[], true),
        (r#"alertname="A",severity="critical""#, &[&critical], true),
        (r#"alertname="A",severity="critical""#, &[&warning], false),
        (r#"alertname="A",severity!="critical""#, &[&critical], false),
        (r#"alertname="A",severity="critical""#, &[&template], true),
        // One of its rules is enough.
        (
            r#"alertname="A",severity="critical""#,
            &[&warning, &critical],
            true,
        ),
        // What a rule does not say, its expression may.
        (r#"alertname="A",team="db""#, &[&critical], true),
        (
            r#"alertname="A",team="db",severity="info""#,
            &[&critical],
            false,
        ),
    ] {
        let bindings = bindings(&[("one", matchers)]);
        let found = bindings_for(&bindings, "A", rules);
        assert_eq!(!found.is_empty(), fits, "{matchers} {rules:?}");
    }
}

#[test]
fn a_binding_that_always_stops_the_search_leaves_none_after_it() {
    let bindings = bindings(&[
        ("maybe!", r#"alertname="A",team="db""#),
        ("always!", r#"alertname=~"A|B""#),
        ("never", r#"alertname="A""#),
        ("other", r#"alertname="C""#),
    ]);
    let names = |name| -> Vec<String> {
        let found = bindings_for(&bindings, name, &[]).into_iter();
        found.map(|binding| binding.name.clone()).collect()
    };
    assert_eq!(names("A"), ["maybe", "always"]);
    assert_eq!(names("C"), ["other"]);
}

#[test]
fn the_catalogue_puts_together_what_is_known_from_everywhere() {
    let file = "groups: [{name: g, rules: [
        {alert: A, expr: x, labels: {severity: warning}, annotations: {summary: '{{ $value }}', runbook_url: 'http://r/{{ $x }}'}},
        {alert: A, expr: y, labels: {severity: critical}, annotations: {runbook_url: 'http://r/a'}},
        {alert: T, expr: z, labels: {severity: '{{ $x }}'}}]}]";
    let rules: Vec<_> = parse_rule_file("r.yml", file)
        .unwrap()
        .into_iter()
        .map(Arc::new)
        .collect();
    let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    let seen = |name: &str, severity: Option<&str>| SeenType {
        name: name.to_owned(),
        first_seen: at,
        last_seen: at,
        episodes: 7,
        severity: severity.map(str::to_owned),
    };
    let seen = vec![seen("A", Some("page")), seen("S", Some("info"))];
    let firing = BTreeMap::from([("A".to_owned(), 2), ("F".to_owned(), 1), (String::new(), 4)]);
    let bindings = bindings(&[("a", r#"alertname="A""#)]);
    let all = catalogue(&rules, seen, &firing, &bindings);
    let short: Vec<_> = all
        .iter()
        .map(|of| {
            let kinds: Vec<_> = of.sources.iter().map(|s| s.kind.as_str()).collect();
            (
                of.name.as_str(),
                kinds.join(" "),
                of.severities.join(" "),
                of.firing,
                of.episodes,
            )
        })
        .collect();
    assert_eq!(
        short,
        [
            (
                "A",
                "rule_file rule_file seen".to_owned(),
                "critical warning".to_owned(),
                2,
                7
            ),
            ("F", "seen".to_owned(), String::new(), 1, 0),
            ("S", "seen".to_owned(), "info".to_owned(), 0, 7),
            ("T", "rule_file".to_owned(), String::new(), 0, 0),
        ]
    );
    let a = &all[0];
    assert_eq!(a.summary.as_deref(), Some("{{ $value }}"));
    // A link that is a template leads nowhere.
    assert_eq!(a.runbook_url.as_deref(), Some("http://r/a"));
    assert_eq!(
        (a.bindings.as_slice(), a.last_seen),
        (&["a".to_owned()][..], Some(at))
    );
    assert_eq!(a.sources[0].place.as_deref(), Some("r.yml:2"));
    assert!(all[1..].iter().all(|of| of.bindings.is_empty()));
}
