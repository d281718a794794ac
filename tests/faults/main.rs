//! What must hold when the machine does not: disks that are full, read-only or lie, an Ansible that misbehaves, crowds of
//! slow clients, and an end in the middle of it all.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::format_push_string,
    clippy::float_cmp,
    clippy::print_stderr,
    unreachable_pub,
    dead_code,
    reason = "the deny list is for the product: a test may panic, and it starts the binary itself, shares the fixtures of other tests, compares metrics that are whole numbers, and says what it leaves out"
)]

mod crowd;
mod damage;
mod disk;
mod door;
#[path = "../store/fixture.rs"]
mod fixture;
mod flat;
mod flood;
mod full_disk;
mod history;
mod misbehaving;
mod sigterm;
mod small_disk;
mod soak;
#[path = "../support/mod.rs"]
mod support;
