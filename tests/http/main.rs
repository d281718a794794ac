//! promansible over HTTP, as Alertmanager, Prometheus, a person and the ill-mannered see it.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::format_push_string,
    clippy::float_cmp,
    reason = "the deny list is for the product: a test may panic, it starts the binary itself, and the metrics that it compares are whole numbers"
)]

mod again;
mod alerts;
mod audit;
mod breaking;
mod by_hand;
mod connections;
mod door;
mod door_tls;
mod episodes;
mod events;
mod facts;
mod findings;
mod gone;
mod guards;
mod hosts;
mod inventory;
mod login;
mod messages;
mod names;
mod operations;
mod page;
mod portal;
mod portal_forms;
mod portal_guards;
mod portal_kept;
mod proxied;
mod receiver;
mod recovery;
mod roles;
mod runs_api;
mod schedules;
mod sd;
mod secrets;
mod senders;
mod supervision;
#[path = "../support/mod.rs"]
mod support;
mod targets;
