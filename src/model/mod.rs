//! The domain types and the pure logic on them. Nothing here does I/O.

pub mod alert;
pub mod argument_spec;
pub mod certificate;
pub mod facts;
pub mod findings;
pub mod guards;
pub mod identity;
pub mod inventory;
pub mod message;
pub mod proxies;
pub mod run;
pub mod schedule;
pub mod sd;
pub mod skip;
pub mod task;
pub mod time_interval;
pub mod verdict;
