//! Which bindings are for an alert type.

use std::sync::Arc;

use super::rule::is_template;
use crate::config::Binding;
use crate::model::alert::{ALERTNAME, LabelSet, Matchers};

/// The bindings that are for an alert type: those whose matchers on `alertname` match its name, and whose other matchers
/// could match an alert of one of its rules.
///
/// `rules` has the labels that each rule sets. What they do not say, or say by a template, could be anything; so could
/// all of it where no rule is known. A binding that stops the search for every alert of this name ends the list.
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

/// Whether an alert of this name can match, as far as the labels tell that its rule sets.
fn could_match(matchers: &Matchers, name: &str, labels: &LabelSet) -> bool {
    matchers.iter().all(|matcher| {
        if matcher.name() == ALERTNAME {
            return matcher.matches(name);
        }
        let said = labels.get(matcher.name());
        said.is_none_or(|value| is_template(value) || matcher.matches(value))
    })
}
