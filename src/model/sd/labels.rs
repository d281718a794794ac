//! The labels of targets: their names and values.

use serde_json::Value;

use crate::model::facts::Facts;

/// The label with the host's inventory name.
pub(super) const HOST: &str = "__meta_ansible_host";
/// The label with the host's groups, each with a comma before and after it.
pub(super) const GROUPS: &str = "__meta_ansible_groups";
const META: &str = "__meta_ansible_";
const VAR: &str = "__meta_ansible_var_";
const FACT: &str = "__meta_ansible_fact_";

/// The maximum length of a label value. Longer values are useless for matching.
const MAX_VALUE_BYTES: usize = 1000;

/// The variables and facts of hosts that become labels, besides names and groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// Host variables, by name. None by default: variables may be secrets.
    pub vars: Vec<String>,
    /// Facts, by path.
    pub facts: Vec<String>,
}

impl Default for Exposed {
    fn default() -> Self {
        let facts = [
            "distribution",
            "distribution_version",
            "os_family",
            "architecture",
        ];
        Self {
            vars: Vec::new(),
            facts: facts.map(str::to_owned).into(),
        }
    }
}

impl Exposed {
    /// Returns every label that a host can have.
    pub fn labels(&self) -> Vec<String> {
        let mut labels = vec![HOST.to_owned(), GROUPS.to_owned()];
        labels.extend(self.vars.iter().map(|name| var_label(name)));
        labels.extend(self.facts.iter().map(|path| fact_label(path)));
        labels
    }

    /// Extracts the exposed values from facts.
    pub fn of_facts(&self, facts: Facts<'_>) -> FactValues {
        let paths = self.facts.iter();
        FactValues(
            paths
                .map(|path| facts.path(path).and_then(scalar).map(Box::from))
                .collect(),
        )
    }
}

/// The values of the exposed facts of one host, in the order of [`Exposed::facts`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactValues(Box<[Option<Box<str>>]>);

impl FactValues {
    pub(super) fn iter(&self) -> impl Iterator<Item = Option<&str>> {
        self.0.iter().map(Option::as_deref)
    }
}

/// Returns the label of a host variable.
pub fn var_label(name: &str) -> String {
    format!("{VAR}{}", valid(name))
}

/// Returns the label of a fact: its path without `ansible_`, with `_` for dots.
pub fn fact_label(path: &str) -> String {
    let path = path.strip_prefix("ansible_").unwrap_or(path);
    format!("{FACT}{}", valid(path))
}

/// Replaces characters that are invalid in label names with `_`.
fn valid(name: &str) -> String {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars()
        .map(|c| if good(c) { c } else { '_' })
        .collect()
}

/// Converts a value to a label value. Empty and long values, lists and maps give `None`.
pub(super) fn scalar(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Bool(yes) => yes.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    (1..=MAX_VALUE_BYTES).contains(&text.len()).then_some(text)
}

/// Returns why the configuration cannot add a label with this name to targets.
pub fn label_defect(name: &str) -> Option<&'static str> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match name {
        "" => Some("it is empty"),
        "__address__" => Some("it is the target: set port"),
        "__scheme__" => Some("set scheme"),
        "__metrics_path__" => Some("set metrics_path"),
        "__name__" => Some("it is reserved for names of metrics"),
        _ if name.starts_with(META) => {
            Some("labels with this prefix describe the host and are set by promansible")
        }
        _ if name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(good) => {
            Some("use letters, digits and _, and no digit first")
        }
        _ => None,
    }
}
