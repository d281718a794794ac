//! The dashboards as the tests see them.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::stack::ansible::project;

/// A dashboard's file.
pub struct Dashboard {
    /// The name of its file, without the extension.
    pub name: String,
    /// All of it.
    pub json: Value,
}

/// What an expression is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A panel's query over the time shown.
    Range,
    /// A panel's query of the time shown's end.
    Instant,
    /// Marks on the panels.
    Annotation,
    /// The values of a variable.
    Variable,
}

/// An expression and where it stands. A variable's is what its query is about.
#[derive(Debug, Clone)]
pub struct Expression {
    /// For messages.
    pub place: String,
    /// The name of the variable, or of the panel.
    pub owner: String,
    /// As it stands in the file.
    pub text: String,
    /// What it is for.
    pub used: Use,
    /// What a series is called.
    pub legend: String,
}

/// The folder of the dashboards.
pub fn folder() -> PathBuf {
    project().join("dashboards")
}

/// Every dashboard, by name.
pub fn all() -> Vec<Dashboard> {
    let mut found: Vec<Dashboard> = fs::read_dir(folder())
        .expect("dashboards/ can be read")
        .map(|entry| entry.expect("dashboards/ can be read").path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a dashboard can be read");
            let json = serde_json::from_str(&text)
                .unwrap_or_else(|e| panic!("{} is no JSON: {e}", path.display()));
            let name = path.file_stem().expect("a name").to_string_lossy().into();
            Dashboard { name, json }
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

impl Dashboard {
    /// Everything in the grid, rows too, in the order of the file.
    pub fn grid(&self) -> &[Value] {
        list(&self.json["panels"])
    }

    /// The panels, without rows.
    pub fn panels(&self) -> impl Iterator<Item = &Value> {
        self.grid().iter().filter(|p| p["type"] != "row")
    }

    /// The variables, in the order of the file.
    pub fn variables(&self) -> &[Value] {
        list(&self.json["templating"]["list"])
    }

    /// The variables that are asked of Prometheus.
    pub fn query_variables(&self) -> impl Iterator<Item = &Value> {
        self.variables().iter().filter(|v| v["type"] == "query")
    }

    /// The annotations, without Grafana's own.
    pub fn annotations(&self) -> impl Iterator<Item = &Value> {
        let annotations = list(&self.json["annotations"]["list"]);
        annotations.iter().filter(|a| a["builtIn"] != 1)
    }

    /// Where a panel stands, for messages.
    pub fn place(&self, panel: &Value) -> String {
        format!("{}.json, {}", self.name, text(&panel["title"]))
    }

    /// Every expression.
    pub fn expressions(&self) -> Vec<Expression> {
        let panels = self.panels().flat_map(|panel| {
            list(&panel["targets"]).iter().map(|target| Expression {
                place: format!("{}, {}", self.place(panel), text(&target["refId"])),
                owner: text(&panel["title"]),
                text: text(&target["expr"]),
                used: if target["instant"] == true {
                    Use::Instant
                } else {
                    Use::Range
                },
                legend: text(&target["legendFormat"]),
            })
        });
        let annotations = self.annotations().map(|annotation| Expression {
            place: format!("{}.json, annotation {}", self.name, annotation["name"]),
            owner: text(&annotation["name"]),
            text: text(&annotation["expr"]),
            used: Use::Annotation,
            legend: text(&annotation["titleFormat"]) + &text(&annotation["textFormat"]),
        });
        let variables = self.query_variables().map(|variable| Expression {
            place: format!("{}.json, variable {}", self.name, variable["name"]),
            owner: text(&variable["name"]),
            text: asked_for(variable).0,
            used: Use::Variable,
            legend: String::new(),
        });
        panels.chain(annotations).chain(variables).collect()
    }
}

/// What a variable's query is about: the selector and the label of `label_values(selector, label)`, or the expression of
/// `query_result(expression)`.
pub fn asked_for(variable: &Value) -> (String, Option<String>) {
    let query = text(&variable["query"]["query"]);
    let within = |function: &str| {
        let rest = query.strip_prefix(function)?;
        rest.strip_prefix('(')?.strip_suffix(')')
    };
    if let Some((selector, label)) = within("label_values").and_then(|both| both.rsplit_once(',')) {
        (selector.trim().to_owned(), Some(label.trim().to_owned()))
    } else if let Some(expression) = within("query_result") {
        (expression.to_owned(), None)
    } else {
        panic!("{query} is no label_values(selector, label) and no query_result(expression)")
    }
}

/// A string of the file; empty where there is none.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A list of the file; empty where there is none.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
