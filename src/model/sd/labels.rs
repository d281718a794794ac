//! What of a host becomes a label, and what the label is called.

use serde_json::Value;

use crate::model::facts::Facts;

/// The host's name in the inventory.
pub(super) const HOST: &str = "__meta_ansible_host";
/// Its groups, each with a comma before and after it.
pub(super) const GROUPS: &str = "__meta_ansible_groups";
const META: &str = "__meta_ansible_";
const VAR: &str = "__meta_ansible_var_";
const FACT: &str = "__meta_ansible_fact_";

/// A longer value is none that somebody compares with.
const MAX_VALUE_BYTES: usize = 1000;

/// Which variables and facts of hosts become labels, beside names and groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// Host variables, by name. None unless they are named: variables may be secrets.
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
    /// Every label that a host can have.
    pub fn labels(&self) -> Vec<String> {
        let mut labels = vec![HOST.to_owned(), GROUPS.to_owned()];
        labels.extend(self.vars.iter().map(|name| var_label(name)));
        labels.extend(self.facts.iter().map(|path| fact_label(path)));
        labels
    }

    /// What of these facts becomes labels.
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

/// The label of a host variable.
pub fn var_label(name: &str) -> String {
    format!("{VAR}{}", valid(name))
}

/// The label of a fact: its path without `ansible_`, dots as `_`.
pub fn fact_label(path: &str) -> String {
    let path = path.strip_prefix("ansible_").unwrap_or(path);
    format!("{FACT}{}", valid(path))
}

/// The name with `_` for what no label's name can hold.
fn valid(name: &str) -> String {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars()
        .map(|c| if good(c) { c } else { '_' })
        .collect()
}

/// A value as a label's. What is empty, long, a list or a map is none.
pub(super) fn scalar(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Bool(yes) => yes.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    (1..=MAX_VALUE_BYTES).contains(&text.len()).then_some(text)
}

/// Why a label cannot be one that the configuration adds to targets.
pub fn label_defect(name: &str) -> Option<&'static str> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match name {
        "" => Some("it is empty"),
        "__address__" => Some("it is the target: set port"),
        "__scheme__" => Some("set scheme"),
        "__metrics_path__" => Some("set metrics_path"),
        "__name__" => Some("it names metrics"),
        _ if name.starts_with(META) => Some("such labels say what promansible knows of the host"),
        _ if name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(good) => {
            Some("use letters, digits and _, and no digit first")
        }
        _ => None,
    }
}
