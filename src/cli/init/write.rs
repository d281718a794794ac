//! Writing new files: all of them or none, and never over another.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::cli::Failure;

/// A file to write.
#[derive(Debug)]
pub(super) struct NewFile {
    /// Where, below the folder that everything is written to.
    pub(super) path: PathBuf,
    /// Who may do what with it; the umask takes from that.
    pub(super) mode: u32,
    /// What is in it.
    pub(super) text: String,
}

impl NewFile {
    /// A file that everybody may read.
    pub(super) fn new(path: impl Into<PathBuf>, text: String) -> Self {
        Self {
            path: path.into(),
            mode: 0o644,
            text,
        }
    }
}

/// Those that exist already.
pub(super) fn taken<'a>(dir: &Path, files: &'a [NewFile]) -> Result<Vec<&'a Path>, Failure> {
    let mut taken = Vec::new();
    for file in files {
        let path = dir.join(&file.path);
        // A link that leads nowhere is there as well.
        match fs::symlink_metadata(&path) {
            Ok(_) => taken.push(file.path.as_path()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(cannot("write", &path, &e)),
        }
    }
    Ok(taken)
}

/// Writes the files. On an error, what was made is removed again.
pub(super) fn all(dir: &Path, files: &[NewFile]) -> Result<(), Failure> {
    let mut made = Made::default();
    // Dropped before the folders that they are in.
    let mut written = Vec::new();
    for file in files {
        let path = dir.join(&file.path);
        let folder = path.parent().unwrap_or(dir);
        made.folder(folder)
            .map_err(|e| cannot("make the folder", folder, &e))?;
        let temporary = write(folder, file).map_err(|e| cannot("write", &path, &e))?;
        written.push((temporary, path));
    }
    // Nothing but names is left to do: where the disk is full, it was found out before.
    for (temporary, path) in written {
        let named = temporary.persist_noclobber(&path);
        named.map_err(|e| cannot("write", &path, &e.error))?;
        made.files.push(path);
    }
    made.is_whole = true;
    Ok(())
}

/// Writes a file under another name, in the folder where it will be.
fn write(folder: &Path, file: &NewFile) -> io::Result<NamedTempFile> {
    let mut temporary = tempfile::Builder::new()
        .prefix(".promansible-")
        .permissions(Permissions::from_mode(file.mode))
        .tempfile_in(folder)?;
    temporary.write_all(file.text.as_bytes())?;
    temporary.as_file().sync_all()?;
    Ok(temporary)
}

/// What was made so far. Dropping it removes that, unless it is whole.
#[derive(Default)]
struct Made {
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
    is_whole: bool,
}

impl Made {
    /// Makes a folder, and those above it.
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

impl Drop for Made {
    fn drop(&mut self) {
        if self.is_whole {
            return;
        }
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        // One that holds something by now stays.
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
    fn what_cannot_be_finished_leaves_nothing() {
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
        // A file that came in between is not overwritten, and those before it go.
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
