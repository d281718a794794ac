//! promansible's parsers of what arrives from outside, without the rest of it: that would take minutes to build.

#[path = "../../../src/alert/mod.rs"]
pub mod alert;
#[path = "../../../src/ansible/events.rs"]
pub mod events;
#[path = "../../../src/run.rs"]
pub mod run;
