//! promansible's parsers of what arrives from outside, without the rest of it: that would take minutes to build.

#[path = "../../../src/alert/mod.rs"]
pub mod alert;
#[path = "../../../src/check.rs"]
pub mod check;
#[path = "../../../src/ansible/events.rs"]
pub mod events;
#[path = "../../../src/run.rs"]
pub mod run;
#[path = "../../../src/task.rs"]
pub mod task;
