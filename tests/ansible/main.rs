//! The ansible room with real processes: both ends of the range of ansible-core that we support, and programs that behave
//! worse than Ansible ever would.

#![allow(unreachable_pub)] // nothing reaches a test from outside
#![allow(clippy::unwrap_used)] // a test's helpers are tests as well

mod again;
mod argument_specs;
mod early;
mod endings;
mod enrolled;
mod facts;
mod findings;
mod harness;
mod injection;
mod limits;
mod lying;
mod programs;
mod reserved;
mod runs;
#[path = "../stack/mod.rs"]
mod stack;
