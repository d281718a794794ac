//! Names that people give: of bindings, schedules and roles. What is refused is refused where it is typed.

/// How many characters the name of a binding or a schedule may have.
pub const MAX_CHARS: usize = 64;

/// How many bytes the name of a folder may have.
const MAX_ROLE_BYTES: usize = 255;

/// Beside letters and digits.
const PUNCTUATION: &str = "_.:-+@#=() ";

/// What would be right.
pub const HELP: &str = "use 1 to 64 letters, digits and _ . : - + @ # = ( ), with single spaces between words, and begin with neither . nor - (it becomes a label of metrics and a part of addresses)";

/// What would be right for a role.
pub const ROLE_HELP: &str = "name its folder with letters, digits and _ . : - + @ # = ( ), and begin with neither . nor - (other characters mean something else to Ansible)";

/// Why a text cannot be the name of a binding or a schedule, as the rest of a sentence.
pub fn defect(name: &str) -> Option<String> {
    if name.chars().count() > MAX_CHARS {
        let count = name.chars().count();
        return Some(format!(
            "has {count} characters, and {MAX_CHARS} is the most"
        ));
    }
    wrong_character(name)
}

/// Why a text cannot be the name of a role, as the rest of a sentence.
///
/// Ansible takes such a name as it is: commas part it, `~` and `$` lead to other folders, braces make it a template.
pub fn role_defect(name: &str) -> Option<String> {
    if name.len() > MAX_ROLE_BYTES {
        let length = name.len();
        return Some(format!(
            "has {length} bytes, and a folder's name has {MAX_ROLE_BYTES} at most"
        ));
    }
    wrong_character(name)
}

/// Letters and digits of any script are good.
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
            format!("holds the character {bad}")
        } else {
            format!(
                "holds U+{:04X}, which is not seen or steers what shows it",
                u32::from(bad)
            )
        });
    }
    if matches!(first, '.' | '-') {
        return Some(format!("begins with {first}"));
    }
    if name.starts_with(' ') || name.ends_with(' ') || name.contains("  ") {
        return Some("begins or ends with a space, or has two in a row".to_owned());
    }
    None
}

/// Whether a character beyond ASCII is seen, and by itself: neither control characters, white space, nor marks that turn
/// text around, join it or choose its form.
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
            (" a", "begins or ends with a space, or has two in a row"),
            ("a ", "begins or ends with a space, or has two in a row"),
            ("a  b", "begins or ends with a space, or has two in a row"),
            ("-a", "begins with -"),
            (".a", "begins with ."),
            ("a/b", "holds the character /"),
            ("a\\b", "holds the character \\"),
            ("{{ a }}", "holds the character {"),
            ("a,b", "holds the character ,"),
            ("a$HOME", "holds the character $"),
            ("~root", "holds the character ~"),
            ("a\"b", "holds the character \""),
            ("a<b", "holds the character <"),
            (
                "a\nb",
                "holds U+000A, which is not seen or steers what shows it",
            ),
            (
                "a\0",
                "holds U+0000, which is not seen or steers what shows it",
            ),
            (
                "a\u{9b}b",
                "holds U+009B, which is not seen or steers what shows it",
            ),
            (
                "a\u{202e}b",
                "holds U+202E, which is not seen or steers what shows it",
            ),
            (
                "a\u{200b}b",
                "holds U+200B, which is not seen or steers what shows it",
            ),
            (
                "a\u{a0}b",
                "holds U+00A0, which is not seen or steers what shows it",
            ),
            (
                "a\u{fffd}b",
                "holds U+FFFD, which is not seen or steers what shows it",
            ),
            (
                "a\u{e0041}b",
                "holds U+E0041, which is not seen or steers what shows it",
            ),
        ] {
            assert_eq!(defect(name).as_deref(), Some(why), "{name:?}");
            assert_eq!(role_defect(name).as_deref(), Some(why), "{name:?}");
        }
        assert!(role_defect(&"磁".repeat(86)).is_some());
        assert_eq!(
            defect(&"a".repeat(65)).as_deref(),
            Some("has 65 characters, and 64 is the most")
        );
    }
}
