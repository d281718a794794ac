//! The dashboards: their conventions, their expressions, the metrics that they name, and, end to end, their data.
//!
//! `tests/setup.sh test` installs what is needed (promtool, Prometheus, `node_exporter`); without it these tests fail and
//! say so.

#![allow(unreachable_pub)] // a program has no outside
#![allow(clippy::format_push_string)] // configuration is put together here

mod conventions;
mod guarded;
mod layout;
mod links;
mod live;
mod model;
mod names;
mod page;
mod promql;
mod provisioning;
#[path = "../stack/mod.rs"]
mod stack;
mod words;
