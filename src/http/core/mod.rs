//! The parts of the server that every request passes: connections, limits, bodies, the audit list, responses.

pub(crate) mod audit;
pub(crate) mod audit_note;
pub(crate) mod body;
pub(crate) mod delivery;
pub(crate) mod error;
pub(crate) mod excerpt;
pub(crate) mod forwarded;
pub(crate) mod gunzip;
pub(crate) mod handshakes;
pub(crate) mod host_header;
pub(crate) mod json;
pub(crate) mod memory_budget;
pub(crate) mod origin;
pub(crate) mod path;
pub(crate) mod query;
pub(crate) mod reject_log;
pub(crate) mod reply;
pub(crate) mod slots;
pub(crate) mod write_timeout;
