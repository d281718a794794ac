//! The names of bindings, schedules and roles, which people choose. A bad name is rejected where it is entered.

/// The maximum length of the name of a binding or schedule, in characters.
pub const MAX_CHARS: usize = 64;

/// The maximum length of a folder's name, in bytes.
const MAX_ROLE_BYTES: usize = 255;

/// The allowed characters other than letters and digits.
const PUNCTUATION: &str = "_.:-+@#=() ";

/// The help for a bad name of a binding or schedule.
pub const HELP: &str = "use 1 to 64 letters, digits and _ . : - + @ # = ( ), with single spaces between words, and do not begin with . or - (the name is used in metric labels and URLs)";

/// The help for a bad name of a role.
pub const ROLE_HELP: &str = "name its folder with letters, digits and _ . : - + @ # = ( ), and do not begin with . or - (other characters have a special meaning in Ansible)";

/// Returns why a text is not a valid name of a binding or schedule, as the rest of a sentence.
pub fn defect(name: &str) -> Option<String> {
    if name.chars().count() > MAX_CHARS {
        let count = name.chars().count();
        return Some(format!(
            "has {count} characters; at most {MAX_CHARS} are allowed"
        ));
    }
    wrong_character(name)
}

/// Returns why a text is not a valid name of a role, as the rest of a sentence.
///
/// Ansible interprets such a name: commas split it, `~` and `$` lead to other folders, braces make it a template.
pub fn role_defect(name: &str) -> Option<String> {
    if name.len() > MAX_ROLE_BYTES {
        let length = name.len();
        return Some(format!(
            "has {length} bytes; a folder name has at most {MAX_ROLE_BYTES}"
        ));
    }
    wrong_character(name)
}

/// Allows letters and digits of any script.
fn wrong_character(name: &str) -> Option<String> {
    let Some(first) = name.chars().next() else {
        return Some("is empty".to_owned());
    };
    let good = |c: char| {
        c.is_ascii_alphanumeric() || PUNCTUATION.contains(c) || (!c.is_ascii() && is_visible(c))
    };
    if let Some(bad) = name.chars().find(|c| !good(*c)) {
        let is_shown = bad.is_ascii_graphic();
        return Some(if is_shown {
            format!("contains the character {bad}")
        } else {
            format!(
                "contains U+{:04X}, which is invisible or a control character",
                u32::from(bad)
            )
        });
    }
    if matches!(first, '.' | '-') {
        return Some(format!("begins with {first}"));
    }
    if name.starts_with(' ') || name.ends_with(' ') || name.contains("  ") {
        return Some("begins or ends with a space, or has two spaces in a row".to_owned());
    }
    None
}

/// Whether a non-ASCII character is visible on its own. Control characters, white space, and marks that reverse text,
/// join it or select its form are not.
fn is_visible(c: char) -> bool {
    let invisible = matches!(
        u32::from(c),
        0xad | 0x34f
            | 0x600..=0x605
            | 0x61c
            | 0x6dd
            | 0x70f
            | 0x890..=0x891
            | 0x8e2
            | 0x115f..=0x1160
            | 0x17b4..=0x17b5
            | 0x180b..=0x180f
            | 0x200b..=0x200f
            | 0x2028..=0x202e
            | 0x2060..=0x206f
            | 0x2800
            | 0x3164
            | 0xe000..=0xf8ff
            | 0xfe00..=0xfe0f
            | 0xfeff
            | 0xffa0
            | 0xfff0..=0xffff
            | 0x1_10bd
            | 0x1_10cd
            | 0x1_3430..=0x1_343f
            | 0x1_bca0..=0x1_bca3
            | 0x1_d173..=0x1_d17a
            | 0xe_0000..=0x10_ffff
    );
    let noncharacter = u32::from(c) & 0xfffe == 0xfffe || (0xfdd0..=0xfdef).contains(&u32::from(c));
    !invisible && !noncharacter && !c.is_control() && !c.is_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_script_are_taken() {
        for name in [
            "disk-will-fill",
            "重启服务",
            "мой-роль",
            "cafe\u{301}",
            "नमस्ते",
            "1st_role.v2",
            "a+b@c",
        ] {
            assert_eq!(role_defect(name), None, "{name}");
            assert_eq!(defect(name), None, "{name}");
        }
        for name in [
            "disk will fill (prod)",
            "a:b",
            "#1",
            "a=b",
            &"磁".repeat(64),
        ] {
            assert_eq!(defect(name), None, "{name}");
            assert_eq!(role_defect(name), None, "{name}");
        }
    }

    #[test]
    fn what_would_mean_something_to_a_reader_is_refused_with_the_reason() {
        for (name, why) in [
            ("", "is empty"),
            (
                " a",
                "begins or ends with a space, or has two spaces in a row",
            ),
            (
                "a ",
                "begins or ends with a space, or has two spaces in a row",
            ),
            (
                "a  b",
                "begins or ends with a space, or has two spaces in a row",
            ),
            ("-a", "begins with -"),
            (".a", "begins with ."),
            ("a/b", "contains the character /"),
            ("a\\b", "contains the character \\"),
            ("{{ a }}", "contains the character {"),
            ("a,b", "contains the character ,"),
            ("a$HOME", "contains the character $"),
            ("~root", "contains the character ~"),
            ("a\"b", "contains the character \""),
            ("a<b", "contains the character <"),
            (
                "a\nb",
                "contains U+000A, which is invisible or a control character",
            ),
            (
                "a\0",
                "contains U+0000, which is invisible or a control character",
            ),
            (
                "a\u{9b}b",
                "contains U+009B, which is invisible or a control character",
            ),
            (
                "a\u{202e}b",
                "contains U+202E, which is invisible or a control character",
            ),
            (
                "a\u{200b}b",
                "contains U+200B, which is invisible or a control character",
            ),
            (
                "a\u{a0}b",
                "contains U+00A0, which is invisible or a control character",
            ),
            (
                "a\u{fffd}b",
                "contains U+FFFD, which is invisible or a control character",
            ),
            (
                "a\u{e0041}b",
                "contains U+E0041, which is invisible or a control character",
            ),
        ] {
            assert_eq!(defect(name).as_deref(), Some(why), "{name:?}");
            assert_eq!(role_defect(name).as_deref(), Some(why), "{name:?}");
        }
        assert!(role_defect(&"磁".repeat(86)).is_some());
        assert_eq!(
            defect(&"a".repeat(65)).as_deref(),
            Some("has 65 characters; at most 64 are allowed")
        );
    }
}
