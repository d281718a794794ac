//! Values that Ansible's own validator judged, and what we say of them: never a refusal of what it takes.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use promansible::config::{self, Roles};
use promansible::model::run::Vars;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::Version;

#[derive(Deserialize)]
struct Table {
    specs: Vec<String>,
    values: Vec<Value>,
    taken: Vec<Vec<bool>>,
}

/// What Ansible says.
fn table(version: Version) -> Table {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/argument_specs.py");
    let python = version.bin_dir().join("python");
    #[allow(clippy::disallowed_methods)] // it ends by itself
    let printed = Command::new(python).arg(script).output().unwrap();
    assert!(printed.status.success(), "{printed:?}");
    serde_json::from_slice(&printed.stdout).unwrap()
}

/// A role for each spec, read from files as promansible does.
fn roles(specs: &[String]) -> Roles {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    for (n, spec) in specs.iter().enumerate() {
        let meta = path(&format!("routine/roles/r{n}/meta"));
        fs::create_dir_all(&meta).unwrap();
        let text = format!("argument_specs: {{main: {{options: {{v: {spec}}}}}}}\n");
        fs::write(meta.join("argument_specs.yml"), text).unwrap();
    }
    fs::create_dir_all(path("plugins/callback")).unwrap();
    for file in ["run.yml", "plugins/callback/promansible.py", "hosts"] {
        fs::write(path(file), "").unwrap();
    }
    let text = format!(
        "ansible: {{playbook_dir: '{}', inventory: ['{}']}}\n",
        dir.path().display(),
        path("hosts").display()
    );
    fs::write(path("promansible.yml"), text).unwrap();
    config::load(&path("promansible.yml")).unwrap().roles
}

/// Each pair on which the two differ, as a line: those that Ansible takes, and those that it does not.
fn differences(table: &Table) -> (Vec<String>, Vec<String>) {
    let roles = roles(&table.specs);
    let (mut refused, mut left) = (Vec::new(), Vec::new());
    for (n, spec) in table.specs.iter().enumerate() {
        for (value, taken) in table.values.iter().zip(&table.taken[n]) {
            let vars: Vars = [("v".to_owned(), value.clone())].into_iter().collect();
            let ours = roles.check_vars(&[format!("r{n}")], &vars, &|_| false);
            match (taken, ours) {
                (true, Err(why)) => refused.push(format!("{spec} {value}: {why}\n")),
                (false, Ok(())) => left.push(format!("{spec} {value}\n")),
                _ => {}
            }
        }
    }
    (refused, left)
}

#[test]
fn nothing_is_refused_that_ansible_takes() {
    for version in [Version::New, Version::Old] {
        let table = table(version);
        let pairs: usize = table.taken.iter().map(Vec::len).sum();
        assert!(pairs > 5000, "{pairs}");
        let (refused, _) = differences(&table);
        assert!(refused.is_empty(), "{version:?}: {}", refused.concat());
    }
}

/// How many of the values that Ansible refuses are left to it, and which, where they are few.
#[test]
fn what_is_left_to_ansible_is_known() {
    let table = table(Version::New);
    let (_, left) = differences(&table);
    let mut report = String::new();
    for (spec, taken) in table.specs.iter().zip(&table.taken) {
        let of_spec = |line: &&String| line.starts_with(&format!("{spec} "));
        let left: Vec<&String> = left.iter().filter(of_spec).collect();
        let refused = taken.iter().filter(|taken| !**taken).count();
        if left.is_empty() {
            continue;
        }
        let _ = writeln!(report, "{spec}: {} of {refused}", left.len());
        let values = left.iter().map(|line| &line[spec.len()..]);
        report.extend(values.take_while(|_| left.len() < 20));
    }
    insta::assert_snapshot!(report);
}
