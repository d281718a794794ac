use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::*;
use crate::config::RoleKind;
use crate::config::role_metadata::about;

const DATA: &str = "tests/data/config/bad_checks";

/// `NAME.yml` is a role's file with one defect, and `NAME.txt` is its message. `UPDATE_GOLDEN=1` writes the
/// latter.
#[test]
fn every_bad_file_of_a_role_is_refused_in_these_words() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1");
    let mut differences = String::new();
    let mut names: Vec<_> = fs::read_dir(DATA)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    let bad = names
        .iter()
        .filter(|path| path.extension().unwrap() == "yml");
    let mut count = 0;
    for path in bad {
        count += 1;
        let nobody = about(RoleKind::Alert, "nobody", "/nonexistent".into());
        let said = match Reader::default().read(path, &nobody) {
            Ok(_) => "(nothing: it was accepted)\n".to_owned(),
            Err(errors) => {
                assert_eq!(errors.errors.len(), 1, "{errors}");
                format!("{errors}\n")
            }
        };
        let golden = path.with_extension("txt");
        if update {
            fs::write(&golden, &said).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if said != expected {
            let _ = writeln!(
                differences,
                "{}\nsaid:\n{said}expected:\n{expected}",
                path.display()
            );
        }
    }
    let golden = fs::read_dir(DATA).unwrap().count() - count;
    assert_eq!(golden, count, "a golden file without its input");
    assert!(count >= 20, "only {count} bad files");
    assert!(differences.is_empty(), "{differences}");
}

fn build(texts: &[&str]) -> Result<Vec<Checks>, ConfigErrors> {
    let mut reader = Reader::default();
    let built = (1..).zip(texts);
    let nobody = about(RoleKind::Alert, "nobody", "/nonexistent".into());
    built
        .map(|(n, text)| Ok(reader.build(&format!("{n}.yml"), text, &nobody)?.checks))
        .collect()
}

#[test]
fn a_good_file_becomes_checks() {
    let text = r#"checks:
  dns_answer_seconds: {help: "How long it took.", labels: [name, resolver]}
  up: {help: Whether it is up.}
"#;
    let built = build(&[text]).unwrap().remove(0);
    assert_eq!(built.len(), 2);
    assert_eq!(
        built["dns_answer_seconds"],
        Check {
            help: "How long it took.".to_owned(),
            labels: vec!["name".to_owned(), "resolver".to_owned()],
        }
    );
    assert!(built["up"].labels.is_empty());
    for empty in ["", "# nothing yet\n", "checks:\n", "checks: {}\n"] {
        assert!(build(&[empty]).unwrap()[0].is_empty(), "{empty:?}");
    }
}

#[test]
fn what_two_roles_share_must_be_the_same_in_both() {
    let up =
        |help: &str, labels: &str| format!("checks: {{up: {{help: {help}, labels: {labels}}}}}");
    let one = up("It is up.", "[a, b]");
    assert!(build(&[&one, &up("It is up.", "[b, a]")]).is_ok());
    for (other, differs) in [
        (up("It works.", "[a, b]"), "a different help in"),
        (up("It is up.", "[a]"), "different labels in"),
        (
            up("It works.", "[]"),
            "a different help and different labels in",
        ),
    ] {
        let error = build(&[&one, &other]).unwrap_err().to_string();
        assert!(error.starts_with("2.yml:1:"), "{error}");
        assert!(error.contains(&format!("{differs} 1.yml")), "{error}");
    }
}

#[test]
fn the_limits_themselves_are_within_them() {
    let name = "n".repeat(MAX_NAME_CHARS);
    let text = format!("checks: {{{name}: {{help: A., labels: [a, b, c, d, e]}}}}");
    assert!(build(&[&text]).is_ok());
    let many = |n| {
        let checks = (0..n).map(|n| format!("  c{n}: {{help: A.}}\n"));
        format!("checks:\n{}", checks.collect::<String>())
    };
    assert!(build(&[&many(MAX_CHECKS)]).is_ok());
    let error = build(&[&many(MAX_CHECKS + 1)]).unwrap_err();
    assert_eq!(error.errors[0].place.unwrap().line, MAX_CHECKS + 2);
}

#[test]
fn the_file_is_looked_for_in_the_folder_of_each_role() {
    let dir = tempfile::tempdir().unwrap();
    let role = |name: &str, text: Option<&str>| {
        let folder = dir.path().join(name);
        fs::create_dir_all(folder.join("meta")).unwrap();
        if let Some(text) = text {
            fs::write(folder.join(FILE), text).unwrap();
        }
        about(RoleKind::Alert, name, folder)
    };
    let none = role("none", None);
    let one = role("one", Some("checks: {up: {help: It is up.}}"));
    let bad = role("bad", Some("checks: {up_total: {help: It is up.}}\nx: 1\n"));
    let mut report = Report::new("promansible.yml", "");
    let declared = look(&[none, one.clone()], &mut report);
    assert_eq!(declared.checks.keys().collect::<Vec<_>>(), ["one"]);
    assert!(report.finish(()).is_ok());

    let mut report = Report::new("promansible.yml", "");
    report.add(None, "its own", None);
    look(&[one, bad.clone()], &mut report);
    let errors = report.fail();
    assert_eq!(errors.errors.len(), 2, "{errors}");
    assert_eq!(errors.errors[0].message, "its own");
    let file = bad.folder.join(FILE).display().to_string();
    assert_eq!(errors.errors[1].file.as_deref(), Some(file.as_str()));
    assert!(errors.to_string().contains(&format!("\n\n{file}:2:1: ")));

    fs::remove_file(bad.folder.join(FILE)).unwrap();
    fs::create_dir(bad.folder.join(FILE)).unwrap();
    let mut report = Report::new("promansible.yml", "");
    look(&[bad], &mut report);
    assert!(report.fail().to_string().starts_with(&file));
    assert!(!Path::new(&file).is_file());
}

#[test]
fn a_role_says_which_of_its_options_are_nothing_for_the_api() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        "start/meta/argument_specs.yml",
        "argument_specs: {main: {options: {start_command: {}}}}",
    );
    write("start/defaults/main.yml", "start_with: sh");
    write(
        "start/meta/promansible.yml",
        "not_over_api: [start_command, start_with]\ninjected_facts: false\n",
    );
    let start = about(RoleKind::Alert, "start", dir.path().join("start"));
    let mut report = Report::new("promansible.yml", "");
    let declared = look(&[start], &mut report);
    assert!(report.finish(()).is_ok());
    let marks: Vec<_> = declared.not_over_api.into_iter().collect();
    let by = |name: &str| (name.to_owned(), "start".to_owned());
    assert_eq!(marks, [by("start_command"), by("start_with")]);
}
