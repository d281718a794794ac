//! Checks that the next start can open the store. Does not open it for writing, and does not create it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{AccessFlags, Uid, access};

use super::finding::{Area, Finding};
use crate::model::inventory::EnrolledHost;
use crate::store::{self, OpenError};

/// Returns the enrolled hosts, if no server uses the file, and the findings.
pub(super) fn check(path: &Path) -> (Vec<Arc<EnrolledHost>>, Vec<Finding>) {
    let name = path.display().to_string();
    let mut findings = vec![writable(path)];
    if !path.exists() {
        findings.push(Area::Machine.ok(&name, "does not exist yet; the first start creates it"));
        return (Vec::new(), findings);
    }
    findings.extend(other_users(path));
    let enrolled = match store::peek(path) {
        Ok(view) => {
            findings.push(Area::Machine.ok(&name, "intact, and not in use"));
            view.hosts.into_iter().map(Arc::new).collect()
        }
        Err(OpenError::InUse(_)) => {
            findings.push(Area::Machine.ok(&name, "in use by a running promansible"));
            Vec::new()
        }
        Err(e) => {
            findings.push(Area::Machine.error(
                &name,
                e.to_string(),
                "see docs/operations.md, The store",
            ));
            Vec::new()
        }
    };
    (enrolled, findings)
}

fn other_users(path: &Path) -> Option<Finding> {
    let mode = path.metadata().ok()?.permissions().mode();
    let name = path.display();
    (mode & 0o007 != 0).then(|| {
        Area::Machine.warning(
            &name.to_string(),
            format!(
                "all users of this machine may open it (its mode is {:04o})",
                mode & 0o7777
            ),
            format!("chmod o= {name}; the next start does the same"),
        )
    })
}

/// Checks that the file and its folder can be written.
fn writable(path: &Path) -> Finding {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let subject = folder.display().to_string();
    let user = Uid::effective();
    let wrong = |message: String| {
        Area::Machine.error(
            &subject,
            message,
            format!(
                "the user that runs promansible must be able to write there: chown it, or set storage.path (now {})",
                path.display()
            ),
        )
    };
    let above = nearest(folder);
    if !above.is_dir() {
        return wrong(format!("{} is not a folder", above.display()));
    }
    let rights = AccessFlags::W_OK | AccessFlags::X_OK;
    if let Err(e) = access(&above, rights) {
        return wrong(format!(
            "the user {user} cannot write to {}: {}",
            above.display(),
            e.desc()
        ));
    }
    if path.exists()
        && let Err(e) = access(path, AccessFlags::W_OK | AccessFlags::R_OK)
    {
        return wrong(format!(
            "the user {user} cannot write the store: {}",
            e.desc()
        ));
    }
    if above == folder {
        Area::Machine.ok(&subject, "writable")
    } else {
        Area::Machine.ok(
            &subject,
            format!("the first start creates it in {}", above.display()),
        )
    }
}

/// Returns the folder, or its nearest ancestor that exists.
pub(super) fn nearest(folder: &Path) -> PathBuf {
    let existing = folder.ancestors().find(|above| above.exists());
    match existing {
        Some(above) if !above.as_os_str().is_empty() => above.to_owned(),
        _ => PathBuf::from("."),
    }
}
