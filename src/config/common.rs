//! The keys that bindings and schedules share: the name, roles, variables, switches.

use std::collections::{HashMap, HashSet};

use serde_saphyr::Spanned;

use crate::config::Ansible;
use crate::config::Roles;
use crate::config::error::{Place, Report, place};
use crate::config::reserved::never_meant;
use crate::config::spanned::{Pairs, Scalar};
use crate::config::values::is_identifier;
use crate::config::vars::VarValue;
use crate::config::yaml::{did_you_mean, nearest};
use crate::model::run::Vars;
use crate::util::names::{HELP, ROLE_HELP, defect, role_defect};

/// A binding or a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Binding,
    Schedule,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Binding => "binding",
            Self::Schedule => "schedule",
        }
    }

    /// Returns the folder of its roles, relative to the playbook folder.
    const fn roles(self) -> &'static str {
        match self {
            Self::Binding => "alert/roles",
            Self::Schedule => "routine/roles",
        }
    }

    const fn example_role(self) -> &'static str {
        match self {
            Self::Binding => "handle_disk_will_fill",
            Self::Schedule => "check_dns",
        }
    }
}

/// The names so far, each with its line.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<String, u64>);

impl Names {
    /// Adds a name, and reports a duplicate.
    pub(super) fn take(&mut self, kind: Kind, name: Option<&Scalar>, report: &mut Report<'_>) {
        let Some(name) = name else { return };
        let line = name.referenced.line();
        let Some(first) = self.0.get(&name.value) else {
            self.0.insert(name.value.clone(), line);
            return;
        };
        report.add(
            place(name.referenced),
            format!(
                "two {}s have the name {:?}: lines {first} and {line}",
                kind.as_str(),
                name.value
            ),
            Some("use unique names: the history and the metrics refer to them".to_owned()),
        );
    }
}

/// The existing roles, and the folder in which they are.
pub(super) struct Known<'a> {
    pub(super) roles: &'a Roles,
    pub(super) ansible: &'a Ansible,
}

pub(super) fn name(
    kind: Kind,
    typed: Option<Scalar>,
    whole: Option<Place>,
    report: &mut Report<'_>,
) -> String {
    let Some(name) = typed else {
        report.add(
            whole,
            format!("this {} has no name", kind.as_str()),
            Some("add a name that describes it: name: disk-will-fill".to_owned()),
        );
        return String::new();
    };
    if let Some(why) = defect(&name.value) {
        report.add(
            place(name.referenced),
            format!(
                "{:?} is not a valid {} name: it {why}",
                name.value,
                kind.as_str()
            ),
            Some(HELP.to_owned()),
        );
    }
    name.value
}

pub(super) fn role_names(
    kind: Kind,
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
            format!("this {} has no roles", kind.as_str()),
            Some(format!(
                "list at least one role from {}: roles: [{}]",
                kind.roles(),
                kind.example_role()
            )),
        );
    }
    let mut seen = HashSet::new();
    for role in &typed {
        if !seen.insert(&role.value) {
            report.add(
                place(role.referenced),
                format!("the role {:?} is listed twice", role.value),
                Some("Ansible would run it only once: remove one".to_owned()),
            );
        }
        if let Some(why) = role_defect(&role.value) {
            report.add(
                place(role.referenced),
                format!("{:?} is not a valid role name: it {why}", role.value),
                Some(ROLE_HELP.to_owned()),
            );
        } else if let Some(known) = known {
            known.check(kind, role, report);
        }
    }
    typed.into_iter().map(|role| role.value).collect()
}

impl Known<'_> {
    fn check(&self, kind: Kind, role: &Scalar, report: &mut Report<'_>) {
        let Roles {
            alert,
            routine,
            collection,
            ..
        } = self.roles;
        let (own, other) = match kind {
            Kind::Binding => (alert, routine),
            Kind::Schedule => (routine, alert),
        };
        if own.contains(&role.value) || collection.contains(&role.value) {
            return;
        }
        if role.value.matches('.').count() >= 2 {
            let message = format!("unknown role {:?}: it is not in any collection", role.value);
            let help = "collections are searched in playbook_dir/collections and where ansible-galaxy installs them";
            let help = did_you_mean_of(&role.value, collection).unwrap_or(help.to_owned());
            report.add(place(role.referenced), message, Some(help));
            return;
        }
        let dir = self.ansible.playbook_dir.join(kind.roles());
        let help = if other.contains(&role.value) {
            match kind {
                Kind::Binding => {
                    "it is a routine role (under routine/roles), which only a schedule can run; a binding needs a role from alert/roles"
                }
                Kind::Schedule => {
                    "it is an alert role (under alert/roles), which only a binding can run; a schedule needs a role from routine/roles"
                }
            }
            .to_owned()
        } else if own.is_empty() {
            format!("there are no roles under {}", dir.display())
        } else {
            let all = match kind {
                Kind::Binding => "the alert roles are",
                Kind::Schedule => "the routine roles are",
            };
            did_you_mean(&role.value, own, all)
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

fn did_you_mean_of(name: &str, known: &[String]) -> Option<String> {
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    Some(format!("did you mean {:?}?", nearest(name, &known)?))
}

pub(super) fn vars(typed: Pairs<VarValue>, report: &mut Report<'_>) -> Vars {
    typed
        .0
        .into_iter()
        .map(|(name, VarValue(value))| {
            if !is_identifier(&name.value) {
                report.add(
                    place(name.referenced),
                    format!("{:?} is not a valid variable name", name.value),
                    Some("use letters, digits and _, not starting with a digit".to_owned()),
                );
            } else if name.value.starts_with("promansible_") {
                report.add(
                    place(name.referenced),
                    format!("the variable {:?} is reserved for promansible", name.value),
                    Some("variables that begin with promansible_ are set by promansible: choose another name".to_owned()),
                );
            } else if let Some(why) = never_meant(&name.value) {
                report.add(
                    place(name.referenced),
                    format!("the variable {:?} {why}", name.value),
                    Some("as an extra variable it would override what Ansible knows about its hosts".to_owned()),
                );
            }
            (name.value, value)
        })
        .collect()
}

/// Whether the second of two words is set; the first is the default.
pub(super) fn is_second(
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
