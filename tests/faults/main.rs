//! What must hold when the machine does not: disks that are full, read-only or lie, an Ansible that misbehaves, crowds of
//! slow clients, and an end in the middle of it all.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::format_push_string,
    clippy::float_cmp,
    unreachable_pub,
    dead_code,
    reason = "the deny list is for the product: a test may panic, and it starts the binary itself, shares the fixtures of other tests, and compares metrics that are whole numbers"
)]

#[path = "../http/bench/mod.rs"]
mod bench;
mod damage;
mod disk;
#[path = "../store/fixture.rs"]
mod fixture;
mod history;
mod misbehaving;
