//! promansible receives alerts, and runs the Ansible roles that are bound to them on the hosts that they are about.
//!
//! Each folder is a layer, which uses only the layers below it. From the top: [`cli`], [`app`], [`http`], [`services`],
//! [`store`], [`ansible`], [`alert_types`], [`plan`], [`auth`], [`clients`], [`config`], [`metrics`], [`model`],
//! [`util`]. ARCHITECTURE.md describes them; `tests/layers.rs` enforces the order.

pub mod alert_types;
pub mod ansible;
pub mod app;
pub mod auth;
pub mod cli;
pub mod clients;
pub mod config;
pub mod http;
pub mod metrics;
pub mod model;
pub mod plan;
pub mod services;
pub mod store;
pub mod util;
