//! Suggestions for misspelled names.

use std::fmt::Write as _;

/// The maximum number of known names to list.
const SHOWN: usize = 30;

/// Returns the known names, after `did you mean "x"?` if one of them is similar.
pub fn did_you_mean<S: AsRef<str>>(typed: &str, known: &[S], intro: &str) -> String {
    let mut names = known
        .iter()
        .take(SHOWN)
        .map(AsRef::as_ref)
        .collect::<Vec<_>>()
        .join(", ");
    if known.len() > SHOWN {
        let _ = write!(names, " and {} more", known.len() - SHOWN);
    }
    match nearest(typed, known) {
        Some(name) => format!("did you mean {name:?}? {intro} {names}"),
        None => format!("{intro} {names}"),
    }
}

/// Returns the known name that was most likely meant, if one is similar.
pub fn nearest<'a, S: AsRef<str>>(typed: &str, known: &'a [S]) -> Option<&'a str> {
    known
        .iter()
        .map(AsRef::as_ref)
        .map(|name| {
            (
                strsim::damerau_levenshtein(&typed.to_lowercase(), &name.to_lowercase()),
                name,
            )
        })
        .filter(|(distance, name)| {
            *distance <= name.chars().count().min(typed.chars().count()).div_ceil(3)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The maximum number of names to compare. Thousands of alerts can arrive, each with an unknown name.
const SEARCHED: usize = 2_000;

/// Returns the known name that differs only in case, or else only by one changed, added, missing or swapped character.
/// Different digits are not a typing error: web1 and web2 are two hosts.
pub fn slip<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut near = None;
    for name in known.take(SEARCHED) {
        if name.eq_ignore_ascii_case(typed) {
            return Some(name);
        }
        if near.is_none() && is_one_slip(typed, name) {
            near = Some(name);
        }
    }
    near
}

fn is_one_slip(typed: &str, name: &str) -> bool {
    const SHORTEST: usize = 4;
    let lengths = typed.len().min(name.len())..=typed.len().max(name.len());
    if *lengths.start() < SHORTEST || lengths.end() - lengths.start() > 4 {
        return false;
    }
    let same = |(a, b): &(char, char)| a.eq_ignore_ascii_case(b);
    let both = || typed.chars().zip(name.chars());
    let begin = both().take_while(same).count();
    let (typed, name): (Vec<char>, Vec<char>) = (
        typed.chars().skip(begin).collect(),
        name.chars().skip(begin).collect(),
    );
    let backwards = typed.iter().rev().zip(name.iter().rev());
    let end = backwards
        .take_while(|(a, b)| a.eq_ignore_ascii_case(b))
        .count();
    let end = end.min(typed.len()).min(name.len());
    let (typed, name) = (&typed[..typed.len() - end], &name[..name.len() - end]);
    let digits = typed.iter().chain(name).any(char::is_ascii_digit);
    let one = match (typed, name) {
        ([_] | [], [_]) | ([_], []) => true,
        ([a, b], [c, d]) => a == d && b == c,
        _ => false,
    };
    one && !digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_near_name_is_suggested() {
        let known = ["runs", "ansible", "storage", "batch_window"];
        for (typed, meant) in [
            ("run", Some("runs")),
            ("Ansible", Some("ansible")),
            ("sotrage", Some("storage")),
            ("batch-window", Some("batch_window")),
            ("schedules", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, &known), meant, "{typed}");
        }
    }

    #[test]
    fn a_long_list_of_known_names_is_cut() {
        let known: Vec<String> = (0..100).map(|i| format!("role_number_{i}")).collect();
        let help = did_you_mean("something", &known, "the roles are");
        assert!(help.ends_with("role_number_29 and 70 more"), "{help}");
    }

    #[test]
    fn a_slip_is_found_and_another_number_is_none() {
        let hosts = ["web1", "web2", "db-primary", "mail.example.org"];
        for (typed, meant) in [
            ("WEB1", Some("web1")),
            ("Db-Primary", Some("db-primary")),
            ("db-pirmary", Some("db-primary")),
            ("db-primry", Some("db-primary")),
            ("db-primaryy", Some("db-primary")),
            ("mail.example.com", None),
            ("mail-example.org", Some("mail.example.org")),
            ("web3", None),
            ("web11", None),
            ("wbe1", Some("web1")),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(slip(typed, hosts.into_iter()), meant, "{typed}");
        }
    }
}
