//! What a person may have meant who typed a name that is not known.

use std::fmt::Write as _;

/// How many known names are listed.
const SHOWN: usize = 30;

/// `did you mean "x"?`, if one of the known names is near, and in any case the known names.
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

/// The known name that a person most likely meant, if any is near.
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
}
