//! promansible's parsers of what arrives from outside, without the rest of it: that would take minutes to build.

// The modules are found from this folder, although they are below `model`.
#[path = "."]
pub mod model {
    #[path = "../../../src/model/alert/mod.rs"]
    pub mod alert;
    #[path = "../../../src/model/findings.rs"]
    pub mod findings;
    #[path = "../../../src/model/run.rs"]
    pub mod run;
    #[path = "../../../src/model/skip.rs"]
    pub mod skip;
    #[path = "../../../src/model/task.rs"]
    pub mod task;
    #[path = "../../../src/model/verdict.rs"]
    pub mod verdict;
}

#[path = "../../../src/ansible/events.rs"]
pub mod events;
#[path = "../../../src/alert_types/rule.rs"]
pub mod rule;
#[path = "../../../src/alert_types/rule_file.rs"]
pub mod rule_file;
