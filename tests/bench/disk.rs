//! What the disk itself can do.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Failure;

/// Where every store and every measured file lies: on the disk that the project is built on, never in memory.
pub(crate) const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

/// How many times a second 4 KiB can be appended to a file and fsynced, one after the other.
pub(crate) fn fsyncs_per_second(folder: &Path, during: Duration) -> Result<f64, Failure> {
    let path = folder.join("fsync");
    let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
    let block = [b'x'; 4096];
    let start = Instant::now();
    let mut count = 0_u32;
    while start.elapsed() < during {
        file.write_all(&block)?;
        file.sync_all()?;
        count += 1;
    }
    let rate = f64::from(count) / start.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}
