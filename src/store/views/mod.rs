//! Queries, each on one snapshot of the file.

pub(crate) mod alerts;
pub(crate) mod episodes;
pub(crate) mod listing;
pub(crate) mod query;
pub(crate) mod search;
pub(crate) mod tail;
