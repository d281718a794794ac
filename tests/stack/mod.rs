//! The real servers around promansible, on loopback and free ports: sshd, Prometheus, Alertmanager, and things that break.
//!
//! The end-to-end tests, the demo and the benches share this module. Every server is a [`Process`] that is ended when
//! its owner is dropped, also by a panic; every file lies in one temporary folder.

// Each program that shares this module uses another part of it.
#![allow(dead_code, unused_imports, unreachable_pub)]
// Configuration files are put together here, once each.
#![allow(clippy::format_push_string)]

pub mod alertmanager;
pub mod ansible;
pub mod http;
pub mod inventory;
pub mod leftovers;
pub mod metrics;
pub mod node_exporter;
pub mod notification;
pub mod pki;
pub mod process;
pub mod promansible;
pub mod prometheus;
pub mod site;
pub mod sshd;
pub mod wait;
pub mod world;

pub use process::Process;
pub use wait::{Failure, wait_until};
pub use world::World;
