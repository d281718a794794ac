//! The store through its interface alone: against a model, across restarts and kills, and at its edges.

// A test may panic, and may read the clock.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub
)]

mod again;
mod alerts;
mod audit;
mod edges;
mod findings;
mod fixture;
mod fleet;
mod follow;
mod guards;
mod hosts;
mod limits;
mod listing;
mod model;
mod retention;
mod schedules;
