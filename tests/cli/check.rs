//! `check config`, and what is the same for all subcommands.

use crate::bench::{Site, promansible, run};

#[test]
fn a_good_configuration_is_said_to_be_good() {
    let site = Site::new();
    let file = site.config_file();
    let checked = run(promansible().args(["check", "config"]).arg(&file));
    assert_eq!(checked.status.code(), Some(0));
    let said = String::from_utf8(checked.stdout).unwrap();
    assert_eq!(
        said,
        format!(
            "{}: good (1 bindings, 4 alert roles, 0 routine roles)\n",
            file.display()
        )
    );
    assert!(checked.stderr.is_empty());
}

#[test]
fn a_bad_one_is_shown_with_its_line_underlined() {
    let site = Site::new().binding("b", "[okey]", "tiemout: 5s");
    let file = site.config_file();
    let checked = run(promansible().args(["check", "config"]).arg(&file));
    assert_eq!(checked.status.code(), Some(1));
    assert!(checked.stdout.is_empty());
    let error = String::from_utf8(checked.stderr).unwrap();
    let wanted = format!("{}:12:5: ", file.display());
    assert!(error.starts_with(&wanted), "{error}");
    assert!(
        error.contains("\n 12 |     tiemout: 5s\n    |     ^~~~~~~\n"),
        "{error}"
    );
    assert!(error.contains("timeout"), "what would be right: {error}");
    assert!(!error.contains('\x1b'), "colours in a pipe");
}

#[test]
fn every_defect_of_meaning_is_told_at_once_and_serve_says_the_same() {
    let site = Site::new()
        .binding("b", "[okey]", "timeout: 5")
        .binding("all", "[ok]", "");
    let file = site.config_file();
    let checked = run(promansible().args(["check", "config"]).arg(&file));
    let error = String::from_utf8(checked.stderr).unwrap();
    for defect in ["unknown role \"okey\"", "timeout", "\"all\""] {
        assert!(error.contains(defect), "{defect} in {error}");
    }
    let (code, served) = site.refused();
    assert_eq!(code, 1);
    assert!(served.contains(error.trim_end()), "{served}");
    assert!(!site.store().exists());
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let checked = run(promansible().args(["check", "config", "/nowhere/promansible.yml"]));
    assert_eq!(checked.status.code(), Some(1));
    let error = String::from_utf8(checked.stderr).unwrap();
    assert!(
        error.contains("/nowhere/promansible.yml") && error.contains("No such file"),
        "{error}"
    );
}

#[test]
fn what_cannot_be_typed_is_code_two() {
    for args in [
        &["nonsense"][..],
        &["serve", "--web.listen-address=here"],
        &["runs", "show", "x"],
        &["serve", "--web.telemetry-path=/api/x"],
        &[],
    ] {
        assert_eq!(
            run(promansible().args(args)).status.code(),
            Some(2),
            "{args:?}"
        );
    }
}

#[test]
fn the_version_says_of_which_revision_it_is() {
    let said = String::from_utf8(run(promansible().arg("--version")).stdout).unwrap();
    let revision = said.split_once("revision ").map(|(_, rest)| rest);
    let revision = revision.unwrap_or_else(|| panic!("no revision in {said}"));
    let revision: String = revision
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    assert!(
        revision == "unknown"
            || revision.len() >= 7 && revision.chars().all(|c| c.is_ascii_hexdigit()),
        "{said}"
    );
    assert!(
        said.starts_with(concat!("promansible ", env!("CARGO_PKG_VERSION"))),
        "{said}"
    );
}
