//! Reads secrets from files, off the async threads.

use std::io;
use std::path::Path;

use crate::util::secret_file::{self, SecretFileError};

/// Reads a secret: see [`secret_file::read_text`].
pub(super) async fn read_secret(path: &Path) -> Result<String, SecretFileError> {
    let path = path.to_owned();
    let name = path.display().to_string();
    tokio::task::spawn_blocking(move || secret_file::read_text(&path))
        .await
        .unwrap_or_else(|e| Err(SecretFileError::Unreadable(name, io::Error::other(e))))
}
