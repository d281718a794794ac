//! Explains why a program does not start. The error of the system names no file, and the cause is often another file: the
//! interpreter of a script, or a parent folder.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, Uid, access};

/// How much of the first line of a script Linux reads. *Units*: bytes.
const FIRST_LINE: u64 = 256;

/// The most links that are followed.
const LINKS: usize = 8;

/// Returns why the system did not start a program, as the end of a sentence: the error, and the file that caused it.
pub(super) fn why(program: &Path, error: &io::Error) -> String {
    let fault = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT | Errno::EACCES) => fault(program).or_else(|| {
            let interpreter = interpreter(program)?;
            let fault = fault(&interpreter)?;
            let named = interpreter.display();
            Some(format!(
                "its first line names the interpreter {named}, and {fault}"
            ))
        }),
        Some(Errno::ENOEXEC) => Some(
            "it is neither a program for this machine nor a script whose first line begins with #!"
                .to_owned(),
        ),
        _ => None,
    };
    match fault {
        Some(fault) => format!("{error}: {fault}"),
        None => error.to_string(),
    }
}

/// Returns what keeps this user from executing a file; `None` if no cause was found.
fn fault(path: &Path) -> Option<String> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        if let Some(folder) = closed_folder(&path) {
            return Some(format!(
                "the user {} may not enter the folder {}",
                Uid::effective(),
                folder.display()
            ));
        }
        let Ok(link) = fs::read_link(&path) else {
            break;
        };
        path = path.parent().unwrap_or(Path::new("/")).join(link);
    }
    let shown = path.display();
    let meta = match fs::metadata(&path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Some(format!("{shown} does not exist"));
        }
        Err(_) => return None,
    };
    if meta.is_dir() {
        return Some(format!("{shown} is a folder"));
    }
    access(&path, AccessFlags::X_OK).err()?;
    if statvfs(&path).is_ok_and(|of| of.flags().contains(FsFlags::ST_NOEXEC)) {
        return Some(format!(
            "{shown} is on a file system that is mounted noexec"
        ));
    }
    Some(format!(
        "the user {} may not execute {shown} (its mode is {:04o})",
        Uid::effective(),
        meta.permissions().mode() & 0o7777
    ))
}

/// Returns the first parent folder of a path that this user may not enter.
fn closed_folder(path: &Path) -> Option<&Path> {
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.retain(|folder| !folder.as_os_str().is_empty());
    let closed = |folder: &&&Path| access(**folder, AccessFlags::X_OK) == Err(Errno::EACCES);
    above.iter().rev().find(closed).copied()
}

/// Returns the interpreter in the first line of a script.
fn interpreter(script: &Path) -> Option<PathBuf> {
    let mut first = Vec::new();
    let file = fs::File::open(script).ok()?;
    file.take(FIRST_LINE).read_to_end(&mut first).ok()?;
    let line = first.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let line = line.trim_ascii();
    let end = line.iter().position(u8::is_ascii_whitespace);
    let name = &line[..end.unwrap_or(line.len())];
    (!name.is_empty()).then(|| PathBuf::from(std::ffi::OsStr::from_bytes(name)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn error(code: Errno) -> io::Error {
        io::Error::from_raw_os_error(code as i32)
    }

    fn file(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_file_at_fault_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let shown = |name: &str| at(name).display().to_string();
        file(&at("script"), "#!/nowhere/python3 -I\nimport x\n", 0o755);
        file(&at("plain"), "#!/bin/sh\n", 0o644);
        file(&at("text"), "hello\n", 0o755);
        fs::create_dir(at("folder")).unwrap();
        symlink("gone", at("link")).unwrap();
        file(
            &at("of-plain"),
            &format!("#! {} -x\n", shown("plain")),
            0o755,
        );
        let uid = Uid::effective();
        let missing = "No such file or directory (os error 2)";
        let denied = "Permission denied (os error 13)";
        let plain = format!(
            "the user {uid} may not execute {} (its mode is 0644)",
            shown("plain")
        );
        for (name, code, told) in [
            (
                "script",
                Errno::ENOENT,
                format!("{missing}: its first line names the interpreter /nowhere/python3, and /nowhere/python3 does not exist"),
            ),
            ("link", Errno::ENOENT, format!("{missing}: {} does not exist", shown("gone"))),
            ("none", Errno::ENOENT, format!("{missing}: {} does not exist", shown("none"))),
            ("folder", Errno::EACCES, format!("{denied}: {} is a folder", shown("folder"))),
            ("plain", Errno::EACCES, format!("{denied}: {plain}")),
            (
                "of-plain",
                Errno::EACCES,
                format!("{denied}: its first line names the interpreter {}, and {plain}", shown("plain")),
            ),
            // What is seen afterwards may have changed since.
            ("text", Errno::EACCES, denied.to_owned()),
            (
                "text",
                Errno::ENOEXEC,
                "Exec format error (os error 8): it is neither a program for this machine nor a script whose first line begins with #!".to_owned(),
            ),
            ("text", Errno::E2BIG, "Argument list too long (os error 7)".to_owned()),
        ] {
            assert_eq!(why(&at(name), &error(code)), told, "{name}");
        }
    }
}
