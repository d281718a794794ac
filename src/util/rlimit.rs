//! The limit on the open files and connections of the process.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Enough for the largest sensible `receiver.max_connections`. Not more, because runs inherit the limit, and some
/// programs close every file descriptor up to the limit before they start another program.
const ENOUGH: u64 = 65_536;

/// Raises the limit as far as it is useful, and possible without being root.
///
/// The usual limit of 1,024 exists for programs that call `select`. Connections alone could use all of it, and leave
/// nothing for the store and for starting runs.
pub(crate) fn raise_limit() -> std::io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = hard.min(ENOUGH);
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?;
    }
    Ok(())
}
