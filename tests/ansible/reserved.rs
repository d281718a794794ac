//! What Ansible sets itself, or reads as its own, is no variable that comes over the API.

use std::fs;

use promansible::config::defect_of_name;

use crate::harness::{Bench, Version, on_both};
use crate::stack::process;

on_both!(
    no_name_that_ansible_keeps_is_taken,
    no_variable_of_a_play_is_taken,
);

/// Prints the names that this Ansible itself knows to be its own.
const NAMES: &str = "
from ansible import constants
from ansible.vars.reserved import get_reserved_names
names = set(get_reserved_names()) | set(constants.INTERNAL_STATIC_VARS) | set(constants.COMMON_CONNECTION_VARS)
for aliases in constants.MAGIC_VARIABLE_MAPPING.values():
    names.update(aliases)
print('\\n'.join(sorted(names)))
";

fn taken<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    names
        .filter(|name| defect_of_name(name).is_none())
        .collect()
}

async fn no_name_that_ansible_keeps_is_taken(version: Version) {
    let mut python = process::command(version.bin_dir().join("python"));
    let said = tokio::task::block_in_place(|| process::run(python.args(["-c", NAMES]))).unwrap();
    assert!(said.lines().count() > 100, "{said}");
    assert_eq!(taken(said.lines()), [""; 0]);
}

async fn no_variable_of_a_play_is_taken(version: Version) {
    let bench = Bench::new(version);
    bench.role(
        "handle",
        "- ansible.builtin.copy:
    content: \"{{ vars.keys() | sort | join(' ') }}\"
    dest: OUT/names
    mode: '0600'
  loop: [1]
",
    );
    let told = bench.run(&["web1"]).await;
    let names = fs::read_to_string(bench.out("names"));
    let names = names.unwrap_or_else(|e| panic!("{e}: {}", told.text()));
    assert!(names.contains(" inventory_hostname "), "{names}");
    assert_eq!(taken(names.split(' ')), [""; 0]);
}
