//! Finds the bindings for an alert type.

use std::sync::Arc;

use super::rule::is_template;
use crate::config::Binding;
use crate::model::alert::{ALERTNAME, LabelSet, Matchers};

/// Returns the bindings for an alert type: those whose matchers on `alertname` match its name, and whose other matchers
/// could match an alert of one of its rules.
///
/// `rules` has the labels that each rule sets. A label that is not set, or set with a template, could have any value; if no
/// rule is known, all labels could. A binding that stops the search for every alert of this name ends the list.
pub fn bindings_for<'b>(
    bindings: &'b [Arc<Binding>],
    name: &str,
    rules: &[&LabelSet],
) -> Vec<&'b Binding> {
    let mut found = Vec::new();
    for binding in bindings {
        let matchers = &binding.matchers;
        let nothing = LabelSet::new();
        let fits = match rules {
            [] => could_match(matchers, name, &nothing),
            rules => rules.iter().any(|set| could_match(matchers, name, set)),
        };
        if !fits {
            continue;
        }
        found.push(&**binding);
        if binding.stop && matchers.iter().all(|m| m.name() == ALERTNAME) {
            break;
        }
    }
    found
}

/// Returns whether an alert of this name can match, given the labels that its rule sets.
fn could_match(matchers: &Matchers, name: &str, labels: &LabelSet) -> bool {
    matchers.iter().all(|matcher| {
        if matcher.name() == ALERTNAME {
            return matcher.matches(name);
        }
        let set = labels.get(matcher.name());
        set.is_none_or(|value| is_template(value) || matcher.matches(value))
    })
}
