//! The writer thread, opening and reopening the file, and its maintenance.

pub(crate) mod change_feed;
pub(crate) mod maintenance;
pub(crate) mod offline;
pub(crate) mod open;
pub(crate) mod reopen;
pub(crate) mod writer;
