//! Whole files: the result for a good one, and the complete messages for a bad one.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::Roles;
use super::Target;
use super::build;
use super::load;

const DATA: &str = "tests/data/config";

fn roles() -> Roles {
    Roles {
        alert: vec!["handle_disk_will_fill".to_owned(), "notify".to_owned()],
        routine: vec!["check_dns".to_owned()],
        ..Roles::default()
    }
}

fn good(name: &str) -> String {
    fs::read_to_string(Path::new(DATA).join("good").join(name)).expect("a good file")
}

fn files(dir: &str, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(Path::new(DATA).join(dir))
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

/// `bad/NAME.yml` has one defect, and `bad/NAME.txt` is the message. `UPDATE_GOLDEN=1` writes the latter.
#[test]
fn every_bad_file_is_refused_in_these_words() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1");
    let mut differences = String::new();
    let bad = files("bad", "yml");
    for path in &bad {
        let expected_path = path.with_extension("txt");
        let said = match load(path) {
            Ok(_) => "(nothing: it was accepted)\n".to_owned(),
            Err(errors) => {
                if errors.errors.len() != 1 {
                    let _ = writeln!(
                        differences,
                        "{}: {} defects",
                        path.display(),
                        errors.errors.len()
                    );
                }
                format!("{errors}\n")
            }
        };
        if update {
            fs::write(&expected_path, &said).expect("the golden file is written");
        }
        let expected = fs::read_to_string(&expected_path).unwrap_or_default();
        if said != expected {
            let _ = writeln!(
                differences,
                "{}\nsaid:\n{said}expected:\n{expected}",
                path.display()
            );
        }
    }
    assert!(bad.len() >= 30, "only {} bad files", bad.len());
    assert_eq!(
        files("bad", "txt").len(),
        bad.len(),
        "a golden file without its input"
    );
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn good_files_become_these_objects() {
    insta::with_settings!({snapshot_path => "../../tests/data/config/good", prepend_module_to_snapshot => false}, {
        let minimal = load(&Path::new(DATA).join("good/minimal.yml")).expect("a good file");
        insta::assert_debug_snapshot!("minimal", minimal);
        let full = build("full.yml", &good("full.yml"), &roles()).expect("a good file");
        insta::assert_debug_snapshot!("full", full);
    });
}

#[test]
fn all_defects_of_meaning_are_told_at_once_and_in_order() {
    let text = "runs: {timeout: 0}\nansible:\n  playbook_dir: p\n  inventory: [i]\n  forks: x\nbindings:\n\
                - {name: a, matchers: ['a', '=b'], roles: [x, check_dns]}\n- {name: a, matchers: [], roles: []}\n";
    let errors = build("f.yml", text, &roles()).expect_err("nine defects");
    let lines: Vec<usize> = errors
        .errors
        .iter()
        .map(|error| error.place.map_or(0, |place| place.line))
        .collect();
    assert_eq!(lines, [1, 5, 7, 7, 7, 7, 8, 8, 8], "{errors}");
}

#[test]
fn the_controller_becomes_nobody_else_unless_its_binding_says_so() {
    let built = |binding: &str| {
        let text = format!(
            "ansible: {{playbook_dir: p, inventory: [i], become: true}}\n\
             bindings: [{{name: a, matchers: ['a=b'], roles: [notify]{binding}}}]"
        );
        build("f.yml", &text, &roles())
            .expect("a good text")
            .bindings[0]
            .clone()
    };
    assert!(built("").r#become);
    assert!(!built(", become: false").r#become);
    assert!(!built(", target: controller").r#become);
    assert!(built(", target: controller, become: true").r#become);
    assert_eq!(
        built("").target,
        Target::AlertingHost {
            label: "instance".to_owned()
        }
    );
}

/// As for Alertmanager.
#[test]
fn the_location_local_is_this_machines_zone() {
    let text = "ansible: {playbook_dir: p, inventory: [i]}\n\
                time_intervals: [{name: a, time_intervals: [{weekdays: [monday], location: Local}]}]\n";
    let built = build("f.yml", text, &roles()).expect("a good text");
    assert_eq!(
        Ok(built.time_intervals[0].spans[0].location),
        crate::util::zone::Zone::local()
    );
}

#[test]
fn a_section_whose_keys_are_all_commented_out_has_the_defaults() {
    let required = "ansible: {playbook_dir: p, inventory: [i]}\n";
    let bare = build("f.yml", required, &roles()).expect("a good text");
    let blank = "runs:\n  # timeout: 5m\nstorage:\nreceiver: ~\nbindings:\n";
    let built = build("f.yml", &format!("{required}{blank}"), &roles()).expect("a good text");
    assert_eq!(format!("{built:?}"), format!("{bare:?}"));
}

#[test]
fn a_file_that_cannot_be_read_is_told_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("promansible.yml");
    let said = |path: &Path| load(path).expect_err("no good file").errors.remove(0);
    assert!(said(&path).message.contains("cannot be read"));

    fs::write(&path, b"ansible:\n  user: \xc3\xbc\xff\n").expect("written");
    let error = said(&path);
    let place = error.place.expect("a place");
    assert_eq!(
        (place.line, place.column, error.message.as_str()),
        (2, 10, "this is not UTF-8")
    );

    fs::write(&path, vec![b'#'; (16 << 20) + 1]).expect("written");
    assert!(said(&path).message.contains("larger than 16 MiB"));
}

#[test]
fn a_byte_order_mark_and_windows_lines_move_nothing() {
    let text =
        "\u{feff}ansible: {playbook_dir: p, inventory: [i], forks: 0}\r\nruns: {timeout: 0}\r\n";
    let errors = build("f.yml", text, &roles()).expect_err("two defects");
    let places: Vec<_> = errors
        .errors
        .iter()
        .filter_map(|error| error.place)
        .map(|place| (place.line, place.column))
        .collect();
    assert_eq!(places, [(1, 51), (2, 17)], "{errors}");
    assert!(!errors.to_string().contains('\r'));
}

#[test]
fn nothing_in_a_file_makes_it_huge_or_deep() {
    for text in [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        format!(
            "bindings: [{{vars: {{a: {}{}}}}}]",
            "[".repeat(5000),
            "]".repeat(5000)
        ),
        // Each line is ten times the one before it.
        (1..12).fold("x: [&a0 [x]".to_owned(), |text, i| {
            format!(
                "{text}, &a{i} [{}]",
                vec![format!("*a{}", i - 1); 10].join(",")
            )
        }) + "]",
    ] {
        assert!(build("f.yml", &text, &roles()).is_err());
    }
}

/// A good text with a piece replaced by something else.
fn mutated() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        ".{0,8}",
        "[\\[\\]{}:,'\"&*!|>%@#\\- \n\t~\\\\]{1,6}",
        Just("\u{0}".to_owned()),
        Just("99999999999999999999".to_owned()),
    ];
    (any::<prop::sample::Index>(), 0..12_usize, piece).prop_map(|(at, length, piece)| {
        let chars: Vec<char> = good("full.yml").chars().collect();
        let at = at.index(chars.len());
        let after = (at + length).min(chars.len());
        chars[..at]
            .iter()
            .copied()
            .chain(piece.chars())
            .chain(chars[after..].iter().copied())
            .collect()
    })
}

/// A text is taken or refused in words with places in it; it never ends the program.
fn holds(text: &str) -> Result<(), TestCaseError> {
    let Err(errors) = build("f.yml", text, &roles()) else {
        return Ok(());
    };
    prop_assert!(!errors.errors.is_empty());
    let rendered = errors.render(true);
    prop_assert!(rendered.contains("f.yml"));
    for error in &errors.errors {
        prop_assert!(!error.message.is_empty());
        if let Some(place) = error.place {
            prop_assert!(
                place.line >= 1 && place.column >= 1 && place.length >= 1,
                "{:?}",
                place
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_taken_or_refused(text in "\\PC{0,200}") {
        holds(&text)?;
    }

    #[test]
    fn any_soup_of_yaml_is_taken_or_refused(text in "([a-z]{1,4}|bindings|ansible|: |- |\n|  |\\[|\\]|\\{|\\}|'|\"|&a |\\*a |!!x |\\| |> |# |, |\t|---\n){0,60}") {
        holds(&text)?;
    }

    #[test]
    fn a_good_text_with_a_bad_piece_is_taken_or_refused(text in mutated()) {
        holds(&text)?;
    }

    #[test]
    fn any_matcher_text_is_placed(text in "\\PC{0,40}", quote in prop_oneof![Just('\''), Just('"')]) {
        let inner = if quote == '\'' { text.replace('\'', "''") } else { text.replace('\\', "\\\\").replace('"', "\\\"") };
        let line = format!("bindings: [{{name: a, roles: [notify], matchers: [{quote}{inner}{quote}]}}]");
        let before = line.find("matchers").expect("the key") + 1;
        let end = line.chars().count();
        let all = format!("ansible: {{playbook_dir: p, inventory: [i]}}\n{line}");
        holds(&all)?;
        if let Err(errors) = build("f.yml", &all, &roles()) {
            let place = errors.errors[0].place.expect("a place");
            prop_assert_eq!(place.line, 2, "{}", errors);
            prop_assert!(place.column > before && place.column + place.length <= end + 1, "{}", errors);
        }
    }
}
