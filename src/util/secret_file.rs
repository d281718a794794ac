//! Reads files that hold secrets, and rejects those that every user of the machine can read or write.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The maximum size of a secret file, in bytes: larger than any key or list of users.
const LARGEST: u64 = 1 << 20;

const OTHERS_READ: u32 = 0o004;

const OTHERS_WRITE: u32 = 0o002;

const ANYONE_RUNS: u32 = 0o111;

/// Why a file that holds a secret is rejected.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// It does not exist, or cannot be read.
    #[error("{0} cannot be read: {1}")]
    Unreadable(String, std::io::Error),
    /// Every user of the machine can read it.
    #[error("{0} holds a secret, and everyone on this machine can read it: chmod o= {0}")]
    WorldReadable(String),
    /// Every user of the machine can replace the content.
    #[error("{0}: everyone on this machine can write it: chmod o= {0}")]
    WorldWritable(String),
    /// It is larger than the maximum.
    #[error("{0} is larger than {LARGEST} bytes, too large for a secret")]
    TooLarge(String),
    /// It is not UTF-8.
    #[error("{0} is not UTF-8 text")]
    NoText(String),
}

/// Rejects a file that every user of the machine can read or write.
pub fn check(path: &Path) -> Result<(), SecretFileError> {
    let unreadable = |e| SecretFileError::Unreadable(path.display().to_string(), e);
    check_mode(path, &std::fs::metadata(path).map_err(unreadable)?)
}

/// Like [`check`], for a file that may be a program that prints the secret, as Ansible's password files may. The
/// program itself is not a secret.
pub fn check_unless_program(path: &Path) -> Result<(), SecretFileError> {
    let unreadable = |e| SecretFileError::Unreadable(path.display().to_string(), e);
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if metadata.permissions().mode() & ANYONE_RUNS != 0 {
        return check_writers(path, &metadata);
    }
    check_mode(path, &metadata)
}

/// Reads a file that holds a secret. Before reading, rejects a file that every user of the machine can read or write.
pub fn read(path: &Path) -> Result<Vec<u8>, SecretFileError> {
    let (file, metadata) = open(path)?;
    check_mode(path, &metadata)?;
    read_all(path, file)
}

/// Reads a file that holds a secret, as text without leading and trailing white space.
pub fn read_text(path: &Path) -> Result<String, SecretFileError> {
    let text = String::from_utf8(read(path)?);
    let text = text.map_err(|_| SecretFileError::NoText(path.display().to_string()))?;
    Ok(text.trim().to_owned())
}

/// Reads a file that may hold a secret. Also returns the error with which it would be rejected if it did. A file that
/// everyone can write is always rejected, because its content decides who gets access.
pub fn read_open(path: &Path) -> Result<(Vec<u8>, Option<SecretFileError>), SecretFileError> {
    let (file, metadata) = open(path)?;
    check_writers(path, &metadata)?;
    Ok((read_all(path, file)?, check_mode(path, &metadata).err()))
}

fn open(path: &Path) -> Result<(File, Metadata), SecretFileError> {
    let unreadable = |e| SecretFileError::Unreadable(path.display().to_string(), e);
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    Ok((file, metadata))
}

fn read_all(path: &Path, file: File) -> Result<Vec<u8>, SecretFileError> {
    let mut bytes = Vec::new();
    let read = file.take(LARGEST + 1).read_to_end(&mut bytes);
    read.map_err(|e| SecretFileError::Unreadable(path.display().to_string(), e))?;
    if bytes.len() as u64 > LARGEST {
        return Err(SecretFileError::TooLarge(path.display().to_string()));
    }
    Ok(bytes)
}

fn check_writers(path: &Path, metadata: &Metadata) -> Result<(), SecretFileError> {
    if metadata.is_file() && metadata.permissions().mode() & OTHERS_WRITE != 0 {
        return Err(SecretFileError::WorldWritable(path.display().to_string()));
    }
    Ok(())
}

fn check_mode(path: &Path, metadata: &Metadata) -> Result<(), SecretFileError> {
    check_writers(path, metadata)?;
    if metadata.is_file() && metadata.permissions().mode() & OTHERS_READ != 0 {
        return Err(SecretFileError::WorldReadable(path.display().to_string()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    #[test]
    fn a_secret_that_everyone_can_read_or_write_is_refused_with_what_would_be_right() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs::write(&file, "x").unwrap();
        let set = |mode| fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        for (mode, is_taken) in [
            (0o600, true),
            (0o640, true),
            (0o644, false),
            (0o604, false),
            (0o602, false),
            (0o622, false),
        ] {
            set(mode);
            assert_eq!(read(&file).is_ok(), is_taken, "{mode:o}");
            assert_eq!(check(&file).is_ok(), is_taken, "{mode:o}");
            assert_eq!(check_unless_program(&file).is_ok(), is_taken, "{mode:o}");
        }
        let said = read(&file).unwrap_err().to_string();
        let name = file.display();
        assert!(said.ends_with(&format!("chmod o= {name}")), "{said}");
        set(0o755);
        assert!(check_unless_program(&file).is_ok());
        assert!(check(&file).is_err());
        assert!(read_open(&file).unwrap().1.is_some());
        set(0o757);
        assert!(check_unless_program(&file).is_err());
        set(0o602);
        let said = read_open(&file).unwrap_err().to_string();
        let right = format!("{name}: everyone on this machine can write it: chmod o= {name}");
        assert_eq!(said, right);
    }
}
