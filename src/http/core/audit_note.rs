//! The summary of a request's actions for the audit list, written by its handler.

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::http::Context;
use crate::model::run::{Run, RunId, Work};
use crate::store::AuditAction;

/// The longest summary. *Units*: characters.
const SUMMARY: usize = 1000;

/// The longest JSON of an object. *Units*: characters.
const TYPED: usize = 4000;

/// The maximum number of names in a list.
const NAMES: usize = 20;

/// Collects the actions of a request. Cheap to clone; all clones share their content.
#[derive(Debug, Clone, Default)]
pub struct Note(Arc<Mutex<AuditAction>>);

impl Note {
    /// Sets the summary.
    pub(crate) fn did(&self, what: impl Display) {
        self.change(|deed| deed.summary = Some(cut(&what.to_string(), SUMMARY)));
    }

    /// Sets the JSON of an object before and after the change. The values of variables are hidden: they may be secrets.
    pub(crate) fn changed(&self, before: Option<&str>, after: Option<&str>) {
        let [before, after] = [before, after].map(|json| json.map(parsed));
        let shown = |json: &Option<Value>, other: &Option<Value>| {
            let mut json = json.clone()?;
            hide(&mut json, other.as_ref());
            Some(cut(&json.to_string(), TYPED))
        };
        let (old, new) = (shown(&before, &None), shown(&after, &before));
        self.change(|deed| (deed.before, deed.after) = (old, new));
    }

    /// Returns the collected actions.
    pub(crate) fn deed(&self) -> AuditAction {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn change(&self, change: impl FnOnce(&mut AuditAction)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Notes an action on a run, with a description of the run.
pub(crate) async fn of_run(context: &Context, what: &str, id: RunId) {
    match context.store.run(id).await {
        Ok(run) => context
            .note
            .did(format_args!("{what} run {id}: {}", about(&run))),
        Err(_) => context.note.did(format_args!("{what} run {id}")),
    }
}

fn about(run: &Run) -> String {
    work(&run.work, &run.hosts)
}

/// Describes the roles, the hosts and the mode. Contains only the names of variables: their values may be secrets.
pub(crate) fn work(work: &Work, hosts: &[String]) -> String {
    let mut text = format!("{} on {}", names(&work.roles), names(hosts));
    if work.check {
        text.push_str(", in check mode");
    }
    if !work.vars.is_empty() {
        let vars: Vec<String> = work.vars.keys().cloned().collect();
        text.push_str(", with the variables ");
        text.push_str(&names(&vars));
    }
    text
}

/// Formats a list of names; a long one is cut.
pub(crate) fn names(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMES);
    let shown = names[..names.len() - more].join(", ");
    if more == 0 {
        shown
    } else {
        format!("{shown} and {more} more")
    }
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or(Value::Null)
}

/// Hides the values of all variables, and marks those that differ from `before`.
fn hide(json: &mut Value, before: Option<&Value>) {
    match json {
        Value::Object(fields) => {
            for (name, value) in fields {
                let old = before.and_then(|before| before.get(name));
                match value {
                    Value::Object(vars) if name == "vars" => {
                        for (name, value) in vars {
                            let old = old.and_then(|old| old.get(name));
                            let changed = old.is_some_and(|old| old != value);
                            let word = if changed {
                                "(hidden, changed)"
                            } else {
                                "(hidden)"
                            };
                            *value = word.into();
                        }
                    }
                    value => hide(value, old),
                }
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter_mut().enumerate() {
                hide(item, before.and_then(|before| before.get(n)));
            }
        }
        _ => {}
    }
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}… (cut)", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_variables_are_hidden_wherever_they_stand() {
        let note = Note::default();
        let old = r#"{"name":"a","vars":{"same":"S1","other":"S2"},"steps":[{"roles":["x"],"vars":{"deep":"S3"}}]}"#;
        let new = r#"{"name":"a","vars":{"same":"S1","other":"S4","new":{"x":"S5"}},"steps":[{"roles":["y"],"vars":{"deep":"S6"}}]}"#;
        note.changed(Some(old), Some(new));
        let deed = note.deed();
        assert_eq!(
            deed.before.as_deref(),
            Some(
                r#"{"name":"a","vars":{"same":"(hidden)","other":"(hidden)"},"steps":[{"roles":["x"],"vars":{"deep":"(hidden)"}}]}"#
            )
        );
        assert_eq!(
            deed.after.as_deref(),
            Some(
                r#"{"name":"a","vars":{"same":"(hidden)","other":"(hidden, changed)","new":"(hidden)"},"steps":[{"roles":["y"],"vars":{"deep":"(hidden, changed)"}}]}"#
            )
        );
        note.changed(Some(old), None);
        assert_eq!(note.deed().after, None);
    }

    #[test]
    fn long_texts_are_cut() {
        let note = Note::default();
        note.did("ä".repeat(SUMMARY + 1));
        let summary = note.deed().summary.unwrap();
        assert_eq!(summary.chars().count(), SUMMARY + "… (cut)".chars().count());
        let hosts: Vec<String> = (0..25).map(|n| n.to_string()).collect();
        assert!(names(&hosts).ends_with("18, 19 and 5 more"));
    }
}
