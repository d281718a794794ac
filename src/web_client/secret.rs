//! Secrets in files.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// No password or token is larger.
const MAX_BYTES: u64 = 64 << 10;

/// Anyone on the machine.
const OTHERS_READ: u32 = 0o004;

/// Why a secret cannot be had. It says the file, never what is in it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("{} cannot be read: {}", .0.display(), .1)]
    Read(PathBuf, io::Error),
    /// Everyone can read it.
    #[error("{} holds a secret, and everyone on this machine can read it: chmod o= {}", .0.display(), .0.display())]
    Open(PathBuf),
    /// It is no text, or too large.
    #[error("{} does not hold one secret: want a text of at most {} KiB", .0.display(), MAX_BYTES >> 10)]
    Odd(PathBuf),
}

/// The text of a secret's file without the white space around it.
///
/// *Errors*: each is for the operator. A file that everyone can read is refused before it is read.
pub fn read_secret(path: &Path) -> Result<String, SecretError> {
    let failed = |e| SecretError::Read(path.to_owned(), e);
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if about.is_file() && about.permissions().mode() & OTHERS_READ != 0 {
        return Err(SecretError::Open(path.to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    let text = String::from_utf8(bytes).ok();
    text.filter(|text| text.len() as u64 <= MAX_BYTES)
        .map(|text| text.trim().to_owned())
        .ok_or_else(|| SecretError::Odd(path.to_owned()))
}

/// The same, off the async threads.
pub(crate) async fn read_secret_async(path: &Path) -> Result<String, SecretError> {
    let path = path.to_owned();
    let fallback = path.clone();
    tokio::task::spawn_blocking(move || read_secret(&path))
        .await
        .unwrap_or_else(|e| Err(SecretError::Read(fallback, io::Error::other(e))))
}
