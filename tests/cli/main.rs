//! What a person types, through the real binary.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::format_push_string,
    clippy::float_cmp,
    clippy::duplicate_mod,
    reason = "the deny list is for the product: a test may panic, it starts the binary itself, the metrics that it compares are whole numbers, and both harnesses issue certificates"
)]

mod alerts;
mod check;
mod doctor;
mod doctor_real;
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
#[path = "../stack/mod.rs"]
mod stack;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
