//! The keys of bindings, schedules and manual runs that restrict tasks and hosts (tags, limit), and the verbosity of
//! Ansible.

use std::collections::HashSet;

use serde_saphyr::Spanned;

use super::Target;
use super::error::{Report, place};
use super::spanned::Scalar;
use super::target::exact_name;
use super::values::count;
use crate::model::run::Narrowing;

/// The highest verbosity that is useful; `-vvvvv` prints no more.
pub(super) const MAX_VERBOSITY: u8 = 4;

/// The maximum number of tags. A longer list is a mistake.
const MAX_TAGS: usize = 100;

/// The tags of the play's own tasks, and those that select all tasks. A run needs these tasks to be checked, and to
/// end.
const NEVER_SKIPPED: [&str; 3] = ["always", "all", "tagged"];

const OWN_TAGS: &str = "promansible_";

/// The three keys as typed.
pub(super) struct NarrowingText {
    pub(super) tags: Option<Spanned<Vec<Scalar>>>,
    pub(super) skip_tags: Option<Spanned<Vec<Scalar>>>,
    pub(super) verbosity: Option<Scalar>,
}

pub(super) fn narrowing(typed: NarrowingText, report: &mut Report<'_>) -> Narrowing {
    Narrowing {
        tags: tags("tags", typed.tags, report),
        skip_tags: tags("skip_tags", typed.skip_tags, report),
        verbosity: count(
            "verbosity",
            typed.verbosity.as_ref(),
            0,
            0..=MAX_VERBOSITY,
            report,
        ),
    }
}

fn tags(key: &str, typed: Option<Spanned<Vec<Scalar>>>, report: &mut Report<'_>) -> Vec<String> {
    let Some(typed) = typed else {
        return Vec::new();
    };
    if let Some(why) = defect_of_count(typed.value.len()) {
        let help = Some(format!("write {key}: [config], or leave the key out"));
        report.add(place(typed.referenced), format!("{key} {why}"), help);
    }
    let mut seen = HashSet::new();
    for tag in &typed.value {
        if let Some(why) = defect_of_tag(&tag.value, key == "skip_tags") {
            report.add(
                place(tag.referenced),
                format!("{key}: {:?} {why}", tag.value),
                Some("write tags as in the roles' tasks: letters, digits and _ . : / -".to_owned()),
            );
        } else if !seen.insert(&tag.value) {
            report.add(
                place(tag.referenced),
                format!("{key}: the tag {:?} is listed twice", tag.value),
                Some("remove one".to_owned()),
            );
        }
    }
    typed.value.into_iter().map(|tag| tag.value).collect()
}

/// Returns why this number of tags is not allowed, if so.
pub(super) fn defect_of_count(tags: usize) -> Option<String> {
    match tags {
        0 => Some("is empty".to_owned()),
        n if n > MAX_TAGS => Some(format!("has {n} tags; at most {MAX_TAGS} are allowed")),
        _ => None,
    }
}

/// Returns why a tag cannot be selected, or skipped, if so.
pub(super) fn defect_of_tag(tag: &str, skipped: bool) -> Option<&'static str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.:/-".contains(&b);
    if !(1..=64).contains(&tag.len()) || tag.starts_with('-') || !tag.bytes().all(allowed) {
        Some("is not a valid tag")
    } else if tag.starts_with(OWN_TAGS) {
        Some("is a tag reserved for promansible")
    } else if skipped && NEVER_SKIPPED.contains(&tag) {
        Some("cannot be skipped: the checks before the first role of a run use it")
    } else {
        None
    }
}

/// Reads the subset of a target's hosts; empty means all of them.
pub(super) fn limit(
    typed: Option<Spanned<Vec<Scalar>>>,
    target: &Target,
    report: &mut Report<'_>,
) -> Vec<String> {
    let Some(typed) = typed else {
        return Vec::new();
    };
    let list = place(typed.referenced);
    if *target == Target::Controller {
        let help = "remove limit: the controller is a single host".to_owned();
        report.add(list, "limit applies only to inventory hosts", Some(help));
    }
    if typed.value.is_empty() {
        let help = "list at least one inventory host: limit: [web1]; or remove the key";
        report.add(
            list,
            "limit is empty, so nothing would ever run",
            Some(help.to_owned()),
        );
    }
    let mut seen = HashSet::new();
    for host in &typed.value {
        exact_name(host, "host", report);
        if !seen.insert(&host.value) {
            report.add(
                place(host.referenced),
                format!("limit: the host {:?} is listed twice", host.value),
                Some("remove one".to_owned()),
            );
        }
    }
    typed.value.into_iter().map(|host| host.value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_one_word_that_leaves_the_checks_in() {
        for (tag, skipped, good) in [
            ("config", false, true),
            ("a.b:c/d-e_1", true, true),
            ("always", false, true),
            ("never", true, true),
            ("untagged", true, true),
            ("always", true, false),
            ("all", true, false),
            ("tagged", true, false),
            ("promansible_end", true, false),
            ("promansible_facts", false, false),
            ("", false, false),
            ("-x", false, false),
            ("a,b", false, false),
            ("a b", true, false),
            ("{{ x }}", false, false),
        ] {
            assert_eq!(
                defect_of_tag(tag, skipped).is_none(),
                good,
                "{tag} {skipped}"
            );
        }
    }
}
