//! How many files and connections the process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// As many as the largest sensible `receiver.max_connections` takes. Not more: there are programs that close every number
/// up to the limit before they start another, and runs inherit it.
const ENOUGH: u64 = 65_536;

/// Raises the limit as far as is allowed without being root, and is useful.
///
/// The usual one of 1,024 is there for the sake of programs that call `select`. Connections alone would take all of it, and
/// nothing would be left for the store, and for starting runs.
pub(crate) fn raise_limit() -> std::io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = hard.min(ENOUGH);
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?;
    }
    Ok(())
}
