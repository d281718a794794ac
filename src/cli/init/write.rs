//! Writes new files: all of them or none, and never overwrites a file.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::cli::Failure;

/// A file to write.
#[derive(Debug)]
pub(super) struct NewFile {
    /// The path below the destination folder.
    pub(super) path: PathBuf,
    /// The mode, reduced by the umask.
    pub(super) mode: u32,
    pub(super) text: String,
}

impl NewFile {
    /// A world-readable file.
    pub(super) fn new(path: impl Into<PathBuf>, text: String) -> Self {
        Self {
            path: path.into(),
            mode: 0o644,
            text,
        }
    }
}

/// Returns the files that already exist.
pub(super) fn taken<'a>(dir: &Path, files: &'a [NewFile]) -> Result<Vec<&'a Path>, Failure> {
    let mut taken = Vec::new();
    for file in files {
        let path = dir.join(&file.path);
        // A broken symbolic link exists as well.
        match fs::symlink_metadata(&path) {
            Ok(_) => taken.push(file.path.as_path()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(cannot("write", &path, &e)),
        }
    }
    Ok(taken)
}

/// Writes the files. On an error, everything written is removed again.
pub(super) fn all(dir: &Path, files: &[NewFile]) -> Result<(), Failure> {
    let mut created = Created::default();
    // Dropped before the folders that they are in.
    let mut written = Vec::new();
    for file in files {
        let path = dir.join(&file.path);
        let folder = path.parent().unwrap_or(dir);
        created
            .folder(folder)
            .map_err(|e| cannot("create the folder", folder, &e))?;
        let temporary = write(folder, file).map_err(|e| cannot("write", &path, &e))?;
        written.push((temporary, path));
    }
    // Only renames are left: a full disk has failed before.
    for (temporary, path) in written {
        let named = temporary.persist_noclobber(&path);
        named.map_err(|e| cannot("write", &path, &e.error))?;
        created.files.push(path);
    }
    created.is_complete = true;
    Ok(())
}

/// Writes a file under a temporary name in its folder.
fn write(folder: &Path, file: &NewFile) -> io::Result<NamedTempFile> {
    let mut temporary = tempfile::Builder::new()
        .prefix(".promansible-")
        .permissions(Permissions::from_mode(file.mode))
        .tempfile_in(folder)?;
    temporary.write_all(file.text.as_bytes())?;
    temporary.as_file().sync_all()?;
    Ok(temporary)
}

/// The files and folders created so far. Dropping this removes them, unless all are complete.
#[derive(Default)]
struct Created {
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
    is_complete: bool,
}

impl Created {
    /// Creates a folder and its parents.
    fn folder(&mut self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        if let Some(above) = folder.parent() {
            self.folder(above)?;
        }
        fs::create_dir(folder)?;
        self.folders.push(folder.to_owned());
        Ok(())
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        if self.is_complete {
            return;
        }
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        // A folder that is no longer empty stays.
        for folder in self.folders.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

fn cannot(what: &str, path: &Path, e: &io::Error) -> Failure {
    Failure::new(format!("cannot {what} {}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_write_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        // The second needs a folder where the first is a file.
        let files = ["new/deep/a", "new/deep/a/b"].map(|path| NewFile::new(path, "x".to_owned()));
        fs::write(dir.path().join("mine"), "mine").unwrap();
        fs::create_dir(dir.path().join("old")).unwrap();
        let blocked = [
            NewFile::new("new/deep/a", "x".to_owned()),
            NewFile::new("mine/b", "x".to_owned()),
        ];
        assert!(all(dir.path(), &blocked).is_err());
        assert!(!dir.path().join("new").exists());
        // A file that exists by now is not overwritten, and the files before it are removed.
        let late = [
            NewFile::new("old/a", "x".to_owned()),
            NewFile::new("mine", "x".to_owned()),
        ];
        assert!(all(dir.path(), &late).is_err());
        assert!(!dir.path().join("old/a").exists() && dir.path().join("old").is_dir());
        assert_eq!(fs::read_to_string(dir.path().join("mine")).unwrap(), "mine");
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 2);
        assert!(all(dir.path(), &files[..1]).is_ok());
    }
}
