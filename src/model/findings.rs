//! Findings that roles report in addition to their outcome, and the declared values in them that become metrics.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// A role's report on a host: names with any JSON values.
pub type Findings = Map<String, Value>;

/// The maximum size of the findings of one role on one host, as JSON. The callback plugin enforces it too. *Units*:
/// bytes.
pub const MAX_FINDINGS_BYTES: usize = 16 * 1024;

/// The maximum number of series from one report of one role on one host.
pub const MAX_SERIES: usize = 100;

/// The maximum number of characters in a label value.
pub const MAX_LABEL_CHARS: usize = 200;

/// The declaration of a numeric finding in the role's `meta/promansible.yml`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Check {
    /// The HELP text, a sentence.
    pub help: String,
    /// The labels besides `role` and `host`.
    pub labels: Vec<String>,
}

/// The checks of one role, by name.
pub type Checks = BTreeMap<String, Check>;

/// Role → its checks. Roles without checks are omitted.
pub type Declared = BTreeMap<String, Checks>;

/// One series of a check, without its role and host.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The check's name.
    pub check: String,
    /// The values of the declared labels, in the same order.
    pub labels: Vec<String>,
    /// A finite number.
    pub value: f64,
}

/// The declared values in findings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// At most [`MAX_SERIES`] samples, no two of them with the same check and labels.
    pub samples: Vec<Sample>,
    /// The number of values that were not as declared, duplicates, or too many.
    pub rejected: u64,
}

/// Returns whether findings are too large to be stored.
pub fn is_too_large(findings: &Findings) -> bool {
    serde_json::to_vec(findings).is_ok_and(|json| json.len() > MAX_FINDINGS_BYTES)
}

/// Extracts the declared values from a role's findings. Undeclared findings are ignored and not counted as rejected.
pub fn figures(checks: &Checks, findings: &Findings) -> Figures {
    let mut figures = Figures::default();
    for (name, check) in checks {
        match findings.get(name) {
            None => {}
            Some(value) if check.labels.is_empty() => {
                figures.take(name, number(value).map(|value| (Vec::new(), value)));
            }
            Some(Value::Array(list)) => {
                let mut seen = BTreeSet::new();
                for item in list {
                    let series = labelled(check, item);
                    let series = series.filter(|(labels, _)| seen.insert(labels.clone()));
                    figures.take(name, series);
                }
            }
            Some(_) => figures.take(name, None),
        }
    }
    figures
}

impl Figures {
    fn take(&mut self, check: &str, series: Option<(Vec<String>, f64)>) {
        match series {
            Some((labels, value)) if self.samples.len() < MAX_SERIES => {
                let check = check.to_owned();
                self.samples.push(Sample {
                    check,
                    labels,
                    value,
                });
            }
            _ => self.rejected += 1,
        }
    }
}

fn labelled(check: &Check, item: &Value) -> Option<(Vec<String>, f64)> {
    let item = item.as_object()?;
    let label = |name: &String| Some(cut(item.get(name)?.as_str()?));
    let labels = check.labels.iter().map(label).collect::<Option<_>>()?;
    Some((labels, number(item.get("value")?)?))
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(yes) => Some(f64::from(u8::from(*yes))),
        Value::Number(number) => number.as_f64().filter(|number| number.is_finite()),
        // Up to ansible-core 2.18, a number that comes from a template is a string.
        Value::String(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_LABEL_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn checks() -> Checks {
        let check = |labels: &[&str]| Check {
            help: "A figure.".to_owned(),
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
        };
        [
            ("answer_seconds", check(&["name", "resolver"])),
            ("banner_seconds", check(&[])),
            ("up", check(&[])),
        ]
        .map(|(name, check)| (name.to_owned(), check))
        .into()
    }

    fn of(findings: &Value) -> (Vec<(String, String, f64)>, u64) {
        let figures = figures(&checks(), findings.as_object().unwrap());
        let shown = figures.samples.into_iter();
        let shown = shown.map(|s| (s.check, s.labels.join(","), s.value));
        (shown.collect(), figures.rejected)
    }

    fn series(check: &str, labels: &str, value: f64) -> (String, String, f64) {
        (check.to_owned(), labels.to_owned(), value)
    }

    #[test]
    fn numbers_and_booleans_are_figures() {
        let findings = json!({
            "up": true, "banner_seconds": 2, "undeclared": "x",
            "answer_seconds": [
                {"value": 0.25, "resolver": "r", "name": "n", "answer": "10.0.0.1"},
                {"value": false, "resolver": "s", "name": "n"},
                {"value": "1.5e-3", "resolver": "t", "name": "n"},
            ],
        });
        let shown = vec![
            series("answer_seconds", "n,r", 0.25),
            series("answer_seconds", "n,s", 0.0),
            series("answer_seconds", "n,t", 0.0015),
            series("banner_seconds", "", 2.0),
            series("up", "", 1.0),
        ];
        assert_eq!(of(&findings), (shown, 0));
        assert_eq!(of(&json!({})), (Vec::new(), 0));
    }

    #[test]
    fn everything_else_is_counted_and_not_shown() {
        for value in [
            json!("1 s"),
            json!("inf"),
            json!(""),
            json!(null),
            json!([1]),
            json!({"value": 1}),
            json!([]),
        ] {
            assert_eq!(of(&json!({ "up": value })), (Vec::new(), 1), "{value}");
        }
        let good = json!({"value": 1, "name": "n", "resolver": "r"});
        for item in [
            json!(1),
            json!([good]),
            json!({"value": 1, "name": "n"}),
            json!({"value": 1, "name": "n", "resolver": 8}),
            json!({"value": "x", "name": "n", "resolver": "r"}),
            json!({"name": "n", "resolver": "r"}),
        ] {
            assert_eq!(
                of(&json!({ "answer_seconds": [item, good] })),
                (vec![series("answer_seconds", "n,r", 1.0)], 1),
                "{item}"
            );
        }
        assert_eq!(of(&json!({ "answer_seconds": good })), (Vec::new(), 1));
    }

    #[test]
    fn no_series_comes_twice_not_even_by_cutting() {
        let item = |name: &str, value| json!({"value": value, "name": name, "resolver": "r"});
        let long = "ü".repeat(MAX_LABEL_CHARS);
        let findings = json!({"answer_seconds": [item(&long, 1), item(&format!("{long}x"), 2)]});
        let shown = vec![series("answer_seconds", &format!("{long},r"), 1.0)];
        assert_eq!(of(&findings), (shown, 1));
    }

    #[test]
    fn what_is_too_many_is_counted() {
        let many: Vec<Value> = (0..150)
            .map(|n| json!({"value": n, "name": n.to_string(), "resolver": "r"}))
            .collect();
        let (shown, rejected) = of(&json!({"answer_seconds": many, "up": 1}));
        assert_eq!((shown.len(), rejected), (MAX_SERIES, 51));
    }

    fn junk() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,250}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 200, 120, |inner| {
            let keys = prop_oneof![
                "value|name|resolver|up|answer_seconds|banner_seconds",
                "[a-z]{1,3}"
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..120).prop_map(Value::from),
                prop::collection::vec((keys, inner), 0..6)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn junk_stays_within_the_limits(
            answers in prop::collection::vec(prop_oneof![
                junk(),
                ("[a-z]{1,2}", any::<i32>()).prop_map(|(name, n)| json!({"value": n, "name": name, "resolver": ""})),
            ], 0..150),
            up in junk(),
            banner in junk(),
        ) {
            let findings = json!({"answer_seconds": answers, "up": up, "banner_seconds": banner});
            let checks = checks();
            let figures = figures(&checks, findings.as_object().unwrap());
            prop_assert!(figures.samples.len() <= MAX_SERIES);
            prop_assert_eq!(figures.samples.len() as u64 + figures.rejected, answers.len() as u64 + 2);
            let mut seen = BTreeSet::new();
            for sample in &figures.samples {
                prop_assert!(sample.value.is_finite());
                prop_assert_eq!(sample.labels.len(), checks[&sample.check].labels.len());
                prop_assert!(sample.labels.iter().all(|l| l.chars().count() <= MAX_LABEL_CHARS));
                prop_assert!(seen.insert((&sample.check, &sample.labels)), "{:?} twice", sample);
            }
        }
    }
}
