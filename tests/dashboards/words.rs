//! Words of promansible have a colour each, the same in every panel, and are written so that a person reads them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use promansible::model::guards::Hold;
use promansible::model::run::{Outcome, RUN, Skip};
use promansible::model::verdict::Verdict;

use crate::model::{self, list, text};

/// How a word is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    colour: String,
    text: String,
}

#[test]
fn an_outcome_has_the_same_colour_everywhere() {
    let wanted = Outcome::ALL.map(Outcome::as_str);
    alike("outcome", &wanted, 3);
}

#[test]
fn a_verdict_has_the_same_colour_everywhere() {
    alike("verdict", &Verdict::ALL.map(Verdict::as_str), 2);
}

#[test]
fn a_hold_has_its_colour() {
    alike("reason", &Hold::ALL.map(Hold::as_str), 1);
}

#[test]
fn a_decision_has_the_same_colour_and_a_readable_name_everywhere() {
    let mut wanted = vec![RUN];
    wanted.extend(Skip::ALL.map(Skip::as_str));
    for (word, shown) in alike("decision", &wanted, 2) {
        assert_eq!(shown.text, word.replace('_', " "));
    }
}

#[test]
fn what_guards_skip_is_all_that_they_can_skip() {
    // Their reasons come last.
    let guards: BTreeSet<&str> = Skip::ALL
        .into_iter()
        .filter(|skip| *skip > Skip::QueueFull)
        .map(Skip::as_str)
        .collect();
    let dashboards = model::all();
    let expressions = dashboards.iter().flat_map(model::Dashboard::expressions);
    let [panel] = &expressions
        .filter(|e| e.owner == "Skipped by guards")
        .collect::<Vec<_>>()[..]
    else {
        panic!("one panel counts what guards skip");
    };
    let listed = panel.text.split("decision=~\"").nth(1);
    let listed = listed.and_then(|rest| rest.split('"').next());
    let listed: BTreeSet<&str> = listed.expect("a pattern").split('|').collect();
    assert_eq!(listed, guards);
}

/// In so many panels or more that tell these words of a label apart, each word has its colour, and always the same.
fn alike(label: &str, wanted: &[&str], least: usize) -> BTreeMap<String, Shown> {
    let wanted: BTreeSet<&str> = wanted.iter().copied().collect();
    let mut first: Option<BTreeMap<String, Shown>> = None;
    let mut panels = 0;
    for dashboard in model::all() {
        for panel in dashboard.panels().filter(|p| tells_apart(p, label)) {
            panels += 1;
            let place = dashboard.place(panel);
            let own = shown(panel);
            let names: BTreeSet<&str> = own.keys().map(String::as_str).collect();
            assert_eq!(names, wanted, "{place}");
            let colours: BTreeSet<&str> = own.values().map(|s| s.colour.as_str()).collect();
            assert_eq!(colours.len(), own.len(), "{place}: two have one colour");
            let first = &*first.get_or_insert_with(|| own.clone());
            assert_eq!(&own, first, "{place}");
        }
    }
    assert!(panels >= least, "only {panels} panels show each {label}");
    first.unwrap_or_default()
}

/// Whether a panel shows a series or a row for each value of this label, which is the last that it sums by.
fn tells_apart(panel: &Value, label: &str) -> bool {
    list(&panel["targets"]).iter().any(|target| {
        let expr = text(&target["expr"]);
        let by = expr.split("by (").nth(1).and_then(|r| r.split(')').next());
        by.is_some_and(|labels| labels.split(", ").last() == Some(label))
    })
}

/// How the words are shown: the series of a graph, or the words in a table.
fn shown(panel: &Value) -> BTreeMap<String, Shown> {
    let mut found = BTreeMap::new();
    for one in list(&panel["fieldConfig"]["overrides"]) {
        let series = text(&one["matcher"]["options"]);
        // The last word of "binding, word" is a pattern.
        let word = series
            .strip_prefix("/, ")
            .and_then(|s| s.strip_suffix("$/"));
        let word = word.unwrap_or(&series).to_owned();
        for property in list(&one["properties"]) {
            if property["id"] == "color" {
                let colour = text(&property["value"]["fixedColor"]);
                let text = word.clone();
                found.insert(word.clone(), Shown { colour, text });
            } else if property["id"] == "displayName" {
                let shown = found.get_mut(&word).expect("its colour comes first");
                shown.text = text(&property["value"]);
            } else if property["id"] == "mappings" {
                let options = property["value"][0]["options"].as_object();
                for (word, option) in options.into_iter().flatten() {
                    let colour = text(&option["color"]);
                    let text = option["text"].as_str().unwrap_or(word).to_owned();
                    found.insert(word.clone(), Shown { colour, text });
                }
            }
        }
    }
    found
}
