//! The bindings as typed → [`Binding`]s.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use serde_saphyr::Spanned;

use crate::alert::matcher::ParseError;
use crate::alert::{Matcher, Matchers};
use crate::run::Vars;

use super::error::{Place, Report, place};
use super::target::target;
use super::text::{BindingText, Pairs, Scalar, exact_place};
use super::values::{BATCH_WINDOW, TIMEOUT, duration, is_identifier};
use super::vars::VarValue;
use super::yaml::{did_you_mean, nearest};
use super::{Ansible, Binding, Roles, Runs, Target};

const EVERY_ALERT: &str = r#"for every alert, say so: matchers: ['alertname=~".+"']"#;

/// Checks every binding, and that no name stands twice.
pub(super) fn check(
    typed: Vec<Spanned<BindingText>>,
    ansible: &Ansible,
    runs: &Runs,
    roles: Option<&Roles>,
    report: &mut Report<'_>,
) -> Vec<Arc<Binding>> {
    let mut lines: HashMap<String, u64> = HashMap::new();
    let mut bindings = Vec::with_capacity(typed.len());
    for Spanned {
        value, referenced, ..
    } in typed
    {
        let whole = place(referenced);
        if let Some(name) = &value.name {
            let line = name.referenced.line();
            if let Some(first) = lines.get(&name.value) {
                report.add(
                    place(name.referenced),
                    format!(
                        "two bindings have the name {:?}: lines {first} and {line}",
                        name.value
                    ),
                    Some(
                        "give each its own: the name is what the history and the metrics call it"
                            .to_owned(),
                    ),
                );
            } else {
                lines.insert(name.value.clone(), line);
            }
        }
        let known = roles.map(|roles| Known { roles, ansible });
        bindings.push(Arc::new(binding(
            value,
            whole,
            ansible,
            runs,
            known.as_ref(),
            report,
        )));
    }
    bindings
}

/// The roles that exist, and where they were looked for.
struct Known<'a> {
    roles: &'a Roles,
    ansible: &'a Ansible,
}

fn binding(
    typed: BindingText,
    whole: Option<Place>,
    ansible: &Ansible,
    runs: &Runs,
    known: Option<&Known<'_>>,
    report: &mut Report<'_>,
) -> Binding {
    let target = target(typed.target, report);
    let r#become = typed
        .r#become
        .unwrap_or(ansible.r#become && target != Target::Controller);
    Binding {
        name: name(typed.name, whole, report),
        matchers: matchers(typed.matchers, whole, report),
        roles: role_names(typed.roles, whole, known, report),
        target,
        vars: vars(typed.vars.unwrap_or_default(), report),
        inert_vars: false,
        stop: typed.stop.unwrap_or(false),
        check: is_second(
            "mode",
            typed.mode.as_ref(),
            ["run", "check"],
            "write run or check (only say what would change)",
            report,
        ),
        timeout: duration(
            "timeout",
            typed.timeout.as_ref(),
            runs.timeout,
            TIMEOUT,
            report,
        ),
        batch_window: duration(
            "batch_window",
            typed.batch_window.as_ref(),
            runs.batch_window,
            BATCH_WINDOW,
            report,
        ),
        allow_overlap: typed.allow_overlap.unwrap_or(false),
        rerun_on_interrupt: is_second(
            "on_interrupt",
            typed.on_interrupt.as_ref(),
            ["leave", "rerun"],
            "write rerun (queue it again) or leave (a person looks first)",
            report,
        ),
        r#become,
        gather_facts: typed.gather_facts.unwrap_or(ansible.gather_facts),
    }
}

fn name(typed: Option<Scalar>, whole: Option<Place>, report: &mut Report<'_>) -> String {
    let Some(name) = typed else {
        report.add(
            whole,
            "this binding has no name",
            Some("add one that says what it does: name: disk-will-fill".to_owned()),
        );
        return String::new();
    };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.:-".contains(&b);
    if !(1..=64).contains(&name.value.len()) || !name.value.bytes().all(allowed) {
        report.add(
            place(name.referenced),
            format!("{:?} cannot be a binding's name", name.value),
            Some(
                "use 1 to 64 letters, digits and _ . : - (it becomes a label of metrics)"
                    .to_owned(),
            ),
        );
    }
    name.value
}

fn matchers(
    typed: Option<Spanned<Vec<Scalar>>>,
    whole: Option<Place>,
    report: &mut Report<'_>,
) -> Matchers {
    let Some(typed) = typed else {
        report.add(
            whole,
            "this binding has no matchers",
            Some(format!(
                r#"say which alerts it is for: matchers: ['alertname="DiskWillFill"']; {EVERY_ALERT}"#
            )),
        );
        return Matchers::default();
    };
    let list = place(typed.referenced);
    let mut all: Vec<Matcher> = Vec::new();
    let mut good = true;
    for text in &typed.value {
        match Matchers::parse(&text.value) {
            Ok(parsed) => all.extend(parsed),
            Err(error) => {
                good = false;
                no_matcher(text, error, MATCHERS, report);
            }
        }
    }
    if all.is_empty() && good {
        report.add(
            list,
            "matchers is empty, so this binding would be for every alert",
            Some(EVERY_ALERT.to_owned()),
        );
    }
    all.into_iter().collect()
}

/// What is said of a matcher with `==`, and of any other that is none.
const MATCHERS: [&str; 2] = [
    r#"`==` is no operator: `=` compares, as in alertname="DiskWillFill""#,
    r#"write it as for Alertmanager: alertname="DiskWillFill", severity=~"warning|critical", team!="db""#,
];

/// Notes a text that is no matcher; `help` is for one with `==`, and for any other.
pub(super) fn no_matcher(
    text: &Scalar,
    error: ParseError,
    help: [&str; 2],
    report: &mut Report<'_>,
) {
    let (part, message, help) = match double_equals(&text.value) {
        Some(part) => (
            part,
            "want an operator: `=`, `!=`, `=~` or `!~`, found `==`".to_owned(),
            help[0],
        ),
        None => (error.position..error.end, error.message, help[1]),
    };
    let column = text.value[..part.start].chars().count();
    let (at, message) = match exact_place(report.text, text, part) {
        Some(at) => (Some(at), message),
        None => (
            place(text.referenced),
            format!("at character {column}: {message}"),
        ),
    };
    report.add(
        at,
        format!("this is not a matcher: {message}"),
        Some(help.to_owned()),
    );
}

/// The first `==` outside of quotes.
fn double_equals(matcher: &str) -> Option<Range<usize>> {
    let mut begin = 0;
    for (i, part) in matcher.split('"').enumerate() {
        if let Some(at) = part.find("==").filter(|_| i % 2 == 0) {
            return Some(begin + at..begin + at + 2);
        }
        begin += part.len() + 1;
    }
    None
}

fn role_names(
    typed: Option<Spanned<Vec<Scalar>>>,
    whole: Option<Place>,
    known: Option<&Known<'_>>,
    report: &mut Report<'_>,
) -> Vec<String> {
    let list = typed
        .as_ref()
        .map_or(whole, |typed| place(typed.referenced));
    let typed = typed.map(|typed| typed.value).unwrap_or_default();
    if typed.is_empty() {
        report.add(
            list,
            "this binding has no roles",
            Some(
                "name at least one of the roles under alert/roles: roles: [handle_disk_will_fill]"
                    .to_owned(),
            ),
        );
    }
    let mut seen = HashSet::new();
    for role in &typed {
        if !seen.insert(&role.value) {
            report.add(
                place(role.referenced),
                format!("the role {:?} stands twice", role.value),
                Some("Ansible would run it once: remove one".to_owned()),
            );
        }
        if let Some(known) = known {
            known.check(role, report);
        }
    }
    typed.into_iter().map(|role| role.value).collect()
}

impl Known<'_> {
    fn check(&self, role: &Scalar, report: &mut Report<'_>) {
        let Roles { alert, routine, .. } = self.roles;
        if alert.contains(&role.value) {
            return;
        }
        let dir = self.ansible.playbook_dir.join("alert/roles");
        let help = if routine.contains(&role.value) {
            "it is a routine role (under routine/roles), which only a schedule can run; a binding wants one from alert/roles"
                .to_owned()
        } else if alert.is_empty() {
            format!("there are no roles under {}", dir.display())
        } else {
            did_you_mean(&role.value, alert, "the alert roles are")
        };
        report.add(
            place(role.referenced),
            format!(
                "unknown role {:?}: it is not under {}",
                role.value,
                dir.display()
            ),
            Some(help),
        );
    }
}

fn vars(typed: Pairs<VarValue>, report: &mut Report<'_>) -> Vars {
    typed
        .0
        .into_iter()
        .map(|(name, VarValue(value))| {
            if !is_identifier(&name.value) {
                report.add(
                    place(name.referenced),
                    format!("{:?} cannot be a variable's name", name.value),
                    Some("use letters, digits and _, and no digit first".to_owned()),
                );
            } else if name.value.starts_with("promansible_") {
                report.add(
                    place(name.referenced),
                    format!("the variable {:?} is promansible's own", name.value),
                    Some("names that begin with promansible_ are kept for what a run is told: take another".to_owned()),
                );
            }
            (name.value, value)
        })
        .collect()
}

/// Whether the second of two words is typed; the first is the default.
fn is_second(
    key: &str,
    typed: Option<&Scalar>,
    words: [&str; 2],
    help: &str,
    report: &mut Report<'_>,
) -> bool {
    let Some(typed) = typed else { return false };
    if !words.contains(&typed.value.as_str()) {
        let meant = nearest(&typed.value, &words);
        let meant = meant.map_or_else(String::new, |word| format!("did you mean {word:?}? "));
        report.add(
            place(typed.referenced),
            format!("{key} is {:?}", typed.value),
            Some(meant + help),
        );
    }
    typed.value == words[1]
}
