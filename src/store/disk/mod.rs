//! The redb file: tables, rows, records and the integrity check.

pub(crate) mod file;
pub(crate) mod file_growth;
pub(crate) mod index;
pub(crate) mod integrity;
pub(crate) mod names;
pub(crate) mod overlay;
pub(crate) mod records;
pub(crate) mod rows;
pub(crate) mod snapshot;
pub(crate) mod tables;
pub(crate) mod unreadable;
