//! Small helpers that know nothing about promansible: time, units, text, tasks. No module here uses another layer.

pub(crate) mod blocking;
pub mod build;
pub mod clock;
pub mod names;
pub(crate) mod rlimit;
pub mod sanitize;
pub mod secret_file;
pub mod shutdown;
pub mod suggest;
pub mod supervisor;
pub(crate) mod test_faults;
pub mod throttled_log;
pub mod units;
pub mod zone;
