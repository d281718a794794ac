//! promansible's parsers of what arrives from outside, without the rest of it: that would take minutes to build.

#[path = "../../../src/alert/mod.rs"]
pub mod alert;
#[path = "../../../src/check.rs"]
pub mod check;
#[path = "../../../src/ansible/events.rs"]
pub mod events;
#[path = "../../../src/alert_types/rule.rs"]
pub mod rule;
#[path = "../../../src/alert_types/rule_file.rs"]
pub mod rule_file;
#[path = "../../../src/run.rs"]
pub mod run;
#[path = "../../../src/skip.rs"]
pub mod skip;
#[path = "../../../src/task.rs"]
pub mod task;
#[path = "../../../src/verdict.rs"]
pub mod verdict;
