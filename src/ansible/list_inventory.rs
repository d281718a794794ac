//! Reads the inventory with Ansible itself, and detects changes of its sources.

mod reason;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{fs, io};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use crate::config::{self, format_duration};
use crate::util::blocking::in_place;

use crate::ansible::Ansible;
use crate::ansible::BuildError;
use crate::ansible::CommandLine;
use crate::ansible::Folder;
use crate::ansible::Paths;
use crate::ansible::StartError;
use crate::ansible::command;
use crate::ansible::environment;
use crate::ansible::process::{Supervisor, supervisor};

/// The time limit for `ansible-inventory --version`.
pub(super) const VERSION_TIMEOUT: Duration = Duration::from_mins(1);
/// How long `ansible-inventory` may take to end after it was interrupted.
const GRACE: Duration = Duration::from_secs(1);
const MAX_LIST_BYTES: u64 = 64 << 20;
const MAX_STDERR_BYTES: u64 = 1 << 20;
/// The most files that a fingerprint covers.
const MAX_FILES: usize = 10_000;

/// Numbers the folders of concurrent calls.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// Why the inventory could not be read. The previous inventory is still the best available.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// `ansible-inventory` could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The settings cannot be put into a command line.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// It did not end in time.
    #[error("ansible-inventory did not end within {} (ansible.inventory_timeout): an inventory script may be waiting for something{}", format_duration(*.limit), so_far(.stderr))]
    Timeout {
        /// The time limit.
        limit: Duration,
        /// Its standard error so far.
        stderr: String,
    },
    /// It printed more than the limit of 64 MiB.
    #[error("ansible-inventory printed more than {} MiB", MAX_LIST_BYTES >> 20)]
    TooLarge,
    /// It failed: a source cannot be read.
    #[error("ansible-inventory ended with {code}: {stderr}")]
    Failed {
        /// Its exit code.
        code: i32,
        /// Its standard error: the last error, and the warnings before it, which give the reasons.
        stderr: String,
    },
    /// Its pipes broke.
    #[error("cannot read the output of ansible-inventory: {0}")]
    Io(#[from] io::Error),
}

/// The inventory as printed.
#[derive(Debug, Default)]
pub struct Listed {
    /// The inventory. *Shape*: JSON, as inventory scripts print it: groups, and `_meta.hostvars`.
    pub json: Vec<u8>,
    /// Ansible's warnings, for people.
    pub warnings: String,
}

/// The output of a program.
#[derive(Default)]
pub(super) struct Output {
    pub(super) stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Ansible {
    /// Runs `ansible-inventory --list` over the configured sources.
    ///
    /// *Cancel safety*: dropping the future ends the process and its tree.
    pub async fn list(&self) -> Result<Listed, ListError> {
        let limit = self.settings.inventory_timeout;
        let mut output = self.ask(command::build_list, limit).await?;
        output.stdout = reason::document(output.stdout);
        Ok(Listed {
            json: output.stdout,
            warnings: reason::of(&output.stderr),
        })
    }

    /// Returns the version of ansible-core; `None` if its format is unknown.
    ///
    /// *Cancel safety*: as for [`Self::list`].
    pub async fn version(&self) -> Result<Option<(u32, u32)>, ListError> {
        let output = self.ask(command::build_version, VERSION_TIMEOUT).await?;
        let printed = String::from_utf8_lossy(&output.stdout);
        Ok(parse_version(&printed).map(|(_, numbers)| numbers))
    }

    /// Returns a number that changes if another Ansible is installed.
    pub fn program_stamp(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let search = self.environment.get("PATH").cloned().unwrap_or_default();
        let folders: Vec<PathBuf> = match &self.settings.bin_dir {
            Some(dir) => vec![dir.clone()],
            None => std::env::split_paths(&search).collect(),
        };
        for folder in folders {
            hash_path(&folder.join(command::INVENTORY), &mut hasher, &mut 1);
        }
        hasher.finish()
    }

    /// Runs the `ansible-inventory` command that `build` returns, and returns its output.
    ///
    /// *Cancel safety*: as for [`Self::list`].
    pub(super) async fn ask(
        &self,
        build: fn(&config::Ansible, &Paths<'_>, &str) -> Result<CommandLine, BuildError>,
        limit: Duration,
    ) -> Result<Output, ListError> {
        let name = folder_name();
        let settings = self.settings_now();
        let paths = self.paths(&settings, &name);
        let line = build(&settings, &paths, &name)?;
        let folder = in_place(|| Folder::prepare(paths.dir, line))?;
        let mut command = supervisor(&folder, &self.exe, GRACE);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match Supervisor::spawn(&mut command) {
            Ok(child) => child,
            Err(source) => {
                folder.remove();
                return Err(StartError::Spawn {
                    exe: self.exe.clone(),
                    source,
                }
                .into());
            }
        };
        let pipes = &mut child.child;
        let (stdout, stderr) = (pipes.stdout.take(), pipes.stderr.take());
        // Dropped with this future or at the time limit: then the supervisor ends the process tree.
        let control = pipes.stdin.take();
        let mut output = Output::default();
        let read = timeout(limit, async {
            tokio::try_join!(
                read(stdout, &mut output.stdout, MAX_LIST_BYTES),
                read(stderr, &mut output.stderr, MAX_STDERR_BYTES)
            )
        })
        .await;
        drop(control);
        let status = child.wait().await?;
        if status.code().is_none() {
            Supervisor::sweep(environment::marker(&self.store, &name)).await;
            folder.remove();
        }
        let Ok(read) = read else {
            let stderr = reason::of(&output.stderr);
            return Err(ListError::Timeout { limit, stderr });
        };
        read?;
        if output.stdout.len() as u64 > MAX_LIST_BYTES {
            return Err(ListError::TooLarge);
        }
        match status.code() {
            Some(0) => Ok(output),
            code => Err(ListError::Failed {
                code: code.unwrap_or(-1),
                stderr: reason::of(&output.stderr),
            }),
        }
    }
}

/// A name for the folder of a process that is no run.
pub(super) fn folder_name() -> String {
    format!(
        "{}{}-{}",
        environment::LISTING,
        std::process::id(),
        CALLS.fetch_add(1, Ordering::Relaxed)
    )
}

/// Returns the version of ansible-core as printed, such as `2.19.4`, and its first two numbers.
pub(super) fn parse_version(printed: &str) -> Option<(&str, (u32, u32))> {
    let (core, _) = printed.split_once("[core ")?.1.split_once(']')?;
    let mut parts = core.split('.');
    let numbers = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((core, numbers))
}

/// Reads up to one byte more than the limit, so that the caller can detect an excess. If the future is dropped, `into`
/// keeps what was read.
async fn read(
    from: Option<impl AsyncRead + Unpin>,
    into: &mut Vec<u8>,
    limit: u64,
) -> io::Result<()> {
    if let Some(from) = from {
        from.take(limit + 1).read_to_end(into).await?;
    }
    Ok(())
}

fn so_far(stderr: &str) -> String {
    if stderr.is_empty() {
        return String::new();
    }
    format!("; output so far: {stderr}")
}

/// Returns a number that changes when a file of the inventory does. Covers names, sizes, times and inodes of the sources,
/// of folders with all their files, and of `group_vars` and `host_vars` next to the sources and in `playbook_dir`.
///
/// This is cheap and reads no file. The output of a script can change without a change of this number. Of more than ten
/// thousand files, only the first ten thousand are covered.
pub fn fingerprint(settings: &config::Ansible) -> u64 {
    let mut roots: Vec<PathBuf> = settings.inventory.clone();
    let beside = settings
        .inventory
        .iter()
        .filter_map(|source| source.parent());
    for folder in beside.chain([settings.playbook_dir.as_path()]) {
        roots.extend(["group_vars", "host_vars"].map(|name| folder.join(name)));
    }
    let mut hasher = DefaultHasher::new();
    let mut remaining = MAX_FILES;
    for root in roots {
        hash_path(&root, &mut hasher, &mut remaining);
    }
    hasher.finish()
}

/// Returns a number that changes when a role is changed, added or removed; otherwise as [`fingerprint`].
pub fn roles_fingerprint(settings: &config::Ansible) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut remaining = MAX_FILES;
    for root in settings.role_folders() {
        hash_path(&root, &mut hasher, &mut remaining);
    }
    hasher.finish()
}

fn hash_path(path: &Path, hasher: &mut DefaultHasher, remaining: &mut usize) {
    if *remaining == 0 {
        return;
    }
    *remaining -= 1;
    path.hash(hasher);
    // Links are followed, so that switching a source by a link is detected; so is a missing file.
    let Ok(meta) = fs::metadata(path) else { return };
    (
        meta.dev(),
        meta.ino(),
        meta.mode(),
        meta.mtime(),
        meta.mtime_nsec(),
    )
        .hash(hasher);
    if !meta.is_dir() {
        meta.size().hash(hasher);
        return;
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    entries.sort();
    for entry in entries {
        // A link to a parent folder would cause endless recursion: links to folders are followed at the top level only.
        if !entry.is_symlink() || !entry.is_dir() {
            hash_path(&entry, hasher, remaining);
        }
    }
}

#[cfg(test)]
mod tests;
