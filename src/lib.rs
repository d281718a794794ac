//! promansible: an alert comes in, the Ansible roles that are bound to it run on the hosts that report it.
//!
//! Each folder is a layer, and uses only the layers below its own. From the top: [`cli`], [`app`], [`http`], [`services`],
//! [`store`], [`ansible`], [`alert_types`], [`plan`], [`auth`], [`clients`], [`config`], [`metrics`], [`model`], [`util`].
//! ARCHITECTURE.md is the map; `tests/layers.rs` holds the order.

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
