//! What a person types, through the real binary.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::format_push_string,
    clippy::float_cmp,
    reason = "the deny list is for the product: a test may panic, it starts the binary itself, and the metrics that it compares are whole numbers"
)]

mod alerts;
mod check;
mod examples;
mod explain;
mod generate;
mod guards;
mod hosts;
mod init;
mod new_role;
mod notify;
mod objects;
mod roles;
mod run;
mod runs;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
