//! As much of Prometheus's language as is needed to see what an expression selects. Whether it is right is promtool's to say.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// A selector: `name{label="value", …}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// Empty where only matchers say what is selected.
    pub name: String,
    /// Label, operator and value.
    pub matchers: Vec<(String, String, String)>,
}

impl Selector {
    /// Whether it has this matcher.
    pub fn has(&self, label: &str, op: &str, value: &str) -> bool {
        self.matchers
            .iter()
            .any(|(l, o, v)| (l.as_str(), o.as_str(), v.as_str()) == (label, op, value))
    }

    /// Whether a matcher's value names this variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.matchers
            .iter()
            .any(|(_, _, value)| variables(value).iter().any(|v| v == variable))
    }
}

static VARIABLE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\$(?:\{([A-Za-z_]\w*)(?::\w+)?\}|([A-Za-z_]\w*))").expect("a pattern")
});
static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?x) (?<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*') | (?<window>\[[^\]]*\])
        | (?<word>[A-Za-z_:][\w:]*) | (?<number>[0-9.][\w.]*) | (?<sign>=~|!~|!=|[^\s])"#,
    )
    .expect("a pattern")
});

/// Grafana's variables in a text. `$1` of `label_replace` is none.
pub fn variables(text: &str) -> Vec<String> {
    VARIABLE
        .captures_iter(text)
        .map(|c| name_of(&c).to_owned())
        .collect()
}

fn name_of<'a>(captures: &Captures<'a>) -> &'a str {
    let name = captures.get(1).or(captures.get(2));
    name.expect("one of both forms").as_str()
}

/// Puts values in the place of variables.
///
/// *Errors*: the first variable that has none.
pub fn fill(text: &str, values: &BTreeMap<String, String>) -> Result<String, String> {
    let missing = variables(text)
        .into_iter()
        .find(|name| !values.contains_key(name));
    if let Some(name) = missing {
        return Err(format!("${name} is no variable of this dashboard"));
    }
    let value = |c: &Captures<'_>| values[name_of(c)].clone();
    Ok(VARIABLE.replace_all(text, value).into_owned())
}

/// What stands in brackets: `$__rate_interval` of `rate(x[$__rate_interval])`.
pub fn windows(expression: &str) -> Vec<String> {
    TOKEN
        .captures_iter(expression)
        .filter_map(|c| c.name("window"))
        .map(|w| w.as_str().trim_matches(['[', ']']).to_owned())
        .collect()
}

/// The selectors of an expression that is right.
///
/// *Errors*: a metric that stands without braces. Every selector has matchers here, so it is not one of ours.
pub fn selectors(expression: &str) -> Result<Vec<Selector>, String> {
    let tokens: Vec<(&str, &str)> = TOKEN
        .captures_iter(expression)
        .map(|c| {
            let kind = ["text", "window", "word", "number", "sign"];
            let kind = kind
                .into_iter()
                .find(|k| c.name(k).is_some())
                .expect("a token has a kind");
            (kind, c.get(0).expect("the whole match").as_str())
        })
        .collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let (kind, token) = tokens[at];
        let next = tokens.get(at + 1).map_or("", |t| t.1);
        at += 1;
        match (kind, token, next) {
            ("word", "by" | "without" | "on" | "ignoring" | "group_left" | "group_right", "(") => {
                at += tokens[at..].iter().take_while(|t| t.1 != ")").count();
            }
            ("word", "and" | "or" | "unless" | "bool" | "offset", _)
            | ("word", _, "(" | "by" | "without") => {}
            ("word", name, "{") => {
                let (matchers, length) = matchers(&tokens[at + 1..])?;
                let name = name.to_owned();
                found.push(Selector { name, matchers });
                at += 1 + length;
            }
            ("word", name, _) => return Err(format!("{name} is selected without matchers")),
            ("sign", "{", _) => {
                let (matchers, length) = matchers(&tokens[at..])?;
                let name = String::new();
                found.push(Selector { name, matchers });
                at += length;
            }
            _ => {}
        }
    }
    Ok(found)
}

/// The matchers up to the closing brace, and how many tokens that took.
#[allow(clippy::type_complexity)]
fn matchers(tokens: &[(&str, &str)]) -> Result<(Vec<(String, String, String)>, usize), String> {
    let end = tokens
        .iter()
        .position(|t| t.1 == "}")
        .ok_or("a brace is not closed")?;
    let parts = tokens[..end].split(|t| t.1 == ",");
    let read = parts
        .filter(|part| !part.is_empty())
        .map(|part| match part {
            [("word", label), ("sign", op), ("text", value)] => {
                let value = value[1..value.len() - 1].to_owned();
                Ok(((*label).to_owned(), (*op).to_owned(), value))
            }
            other => Err(format!("{other:?} is no matcher")),
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok((read, end + 1))
}

#[test]
fn selectors_are_found_among_functions_words_and_texts() {
    let found = selectors(
        r#"label_replace(1 - sum by (le, host) (rate(a_total{x="}{", y=~"$y(:[0-9]+)?"}[5m])) / on (job) group_left (z)
           (b{} > bool 0.5), "h", "$1", "i", "(.+)") or {__name__=~"c.+"} and topk(3, d:e{}) offset 5m"#,
    )
    .unwrap();
    let names: Vec<&str> = found.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["a_total", "b", "", "d:e"]);
    assert!(found[0].has("x", "=", "}{"));
    assert!(found[0].uses("y") && !found[0].uses("x"));
    assert!(found[2].has("__name__", "=~", "c.+"));
    let bare = selectors("sum(up) / 2").unwrap_err();
    assert_eq!(bare, "up is selected without matchers");
}

#[test]
fn variables_are_filled_and_unknown_ones_refused() {
    let values = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
    assert_eq!(fill("$a ${a} ${a:regex} $1", &values).unwrap(), "1 1 1 $1");
    assert!(fill("$ab", &values).unwrap_err().contains("$ab"));
    assert_eq!(windows("rate(x[$a]) + y[5m]"), ["$a", "5m"]);
}
