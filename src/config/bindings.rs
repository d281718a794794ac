//! The bindings as typed → [`Binding`]s.

use std::ops::Range;
use std::sync::Arc;

use serde_saphyr::Spanned;

use crate::alert::matcher::ParseError;
use crate::alert::{Matcher, Matchers};

use super::entry::{Kind, Known, Names, is_second, name, role_names, vars};
use super::error::{Place, Report, place};
use super::target::target;
use super::text::{BindingText, Scalar, exact_place};
use super::values::{BATCH_WINDOW, TIMEOUT, duration};
use super::{Ansible, Binding, Origin, Roles, Runs, Target};

const EVERY_ALERT: &str = r#"for every alert, say so: matchers: ['alertname=~".+"']"#;

/// Checks every binding, and that no name stands twice.
pub(super) fn check(
    typed: Vec<Spanned<BindingText>>,
    ansible: &Ansible,
    runs: &Runs,
    roles: Option<&Roles>,
    report: &mut Report<'_>,
) -> Vec<Arc<Binding>> {
    let mut names = Names::default();
    let known = roles.map(|roles| Known { roles, ansible });
    let mut bindings = Vec::with_capacity(typed.len());
    for Spanned {
        value, referenced, ..
    } in typed
    {
        names.take(Kind::Binding, value.name.as_ref(), report);
        let whole = place(referenced);
        let known = known.as_ref();
        let binding = binding(value, whole, ansible, runs, known, report);
        bindings.push(Arc::new(binding));
    }
    bindings
}

pub(super) fn binding(
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
        name: name(Kind::Binding, typed.name, whole, report),
        matchers: matchers(typed.matchers, whole, report),
        roles: role_names(Kind::Binding, typed.roles, whole, known, report),
        target,
        vars: vars(typed.vars.unwrap_or_default(), report),
        inert_vars: false,
        origin: Origin::File,
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
