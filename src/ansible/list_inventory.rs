//! The inventory, as Ansible itself reads it, and when it is worth reading again.

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

/// How long `ansible-inventory` may take to say its version.
const VERSION_TIMEOUT: Duration = Duration::from_mins(1);
/// How long `ansible-inventory` has to end after it was interrupted.
const GRACE: Duration = Duration::from_secs(1);
const MAX_LIST_BYTES: u64 = 64 << 20;
const MAX_STDERR_BYTES: u64 = 1 << 20;
/// How many files a fingerprint looks at.
const MAX_FILES: usize = 10_000;

/// Numbers the folders of concurrent calls.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// Why the inventory could not be read. The one that was read before is still the best there is.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// `ansible-inventory` could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The settings cannot be put into a command line.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// It did not come to an end.
    #[error("ansible-inventory did not end within {}: is a script of the inventory waiting for something? ansible.inventory_timeout says how long it may take{}", format_duration(*.limit), so_far(.stderr))]
    Timeout {
        /// How long it could take.
        limit: Duration,
        /// What it had written to standard error.
        stderr: String,
    },
    /// It printed more than we hold.
    #[error("ansible-inventory printed more than {} MiB", MAX_LIST_BYTES >> 20)]
    TooLarge,
    /// It failed: a source cannot be read.
    #[error("ansible-inventory ended with {code}: {stderr}")]
    Failed {
        /// Its exit code.
        code: i32,
        /// What it wrote to standard error: its last error, and the warnings before it, which give the reasons.
        stderr: String,
    },
    /// Its pipes broke.
    #[error("cannot read what ansible-inventory prints: {0}")]
    Io(#[from] io::Error),
}

/// What the sources say.
#[derive(Debug, Default)]
pub struct Listed {
    /// *Shape*: JSON, as inventory scripts print it: groups, and `_meta.hostvars`.
    pub json: Vec<u8>,
    /// What Ansible warned of, for a person.
    pub warnings: String,
}

/// What a program wrote.
#[derive(Default)]
struct Said {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Ansible {
    /// Runs `ansible-inventory --list` over the configured sources.
    ///
    /// *Cancel safety*: dropping the future ends the process and its tree.
    pub async fn list(&self) -> Result<Listed, ListError> {
        let limit = self.settings.inventory_timeout;
        let mut said = self.ask(command::build_list, limit).await?;
        said.stdout = reason::document(said.stdout);
        Ok(Listed {
            json: said.stdout,
            warnings: reason::of(&said.stderr),
        })
    }

    /// Asks ansible-core for its version; `None` if it does not say it as we know it.
    ///
    /// *Cancel safety*: as for [`Self::list`].
    pub async fn version(&self) -> Result<Option<(u32, u32)>, ListError> {
        let said = self.ask(command::build_version, VERSION_TIMEOUT).await?;
        Ok(parse_version(&said.stdout))
    }

    /// Changes when another Ansible is installed in the place of this one.
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

    /// Starts `ansible-inventory` as `build` says, and returns what it prints.
    async fn ask(
        &self,
        build: fn(&config::Ansible, &Paths<'_>, &str) -> Result<CommandLine, BuildError>,
        limit: Duration,
    ) -> Result<Said, ListError> {
        let name = format!(
            "{}{}-{}",
            environment::LISTING,
            std::process::id(),
            CALLS.fetch_add(1, Ordering::Relaxed)
        );
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
        // Dropped when this future is, or at the time-out: then the supervisor ends the tree.
        let control = pipes.stdin.take();
        let mut said = Said::default();
        let read = timeout(limit, async {
            tokio::try_join!(
                read(stdout, &mut said.stdout, MAX_LIST_BYTES),
                read(stderr, &mut said.stderr, MAX_STDERR_BYTES)
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
            let stderr = reason::of(&said.stderr);
            return Err(ListError::Timeout { limit, stderr });
        };
        read?;
        if said.stdout.len() as u64 > MAX_LIST_BYTES {
            return Err(ListError::TooLarge);
        }
        match status.code() {
            Some(0) => Ok(said),
            code => Err(ListError::Failed {
                code: code.unwrap_or(-1),
                stderr: reason::of(&said.stderr),
            }),
        }
    }
}

fn parse_version(printed: &[u8]) -> Option<(u32, u32)> {
    let text = std::str::from_utf8(printed).ok()?;
    let (version, _) = text.split_once("[core ")?.1.split_once(']')?;
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Reads one byte more than the limit, so that too much shows. What was read stays if it is not waited for to the end.
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
    format!("; so far it said: {stderr}")
}

/// A number that changes when a file of the inventory does: names, sizes, times and inodes of the sources, folders with
/// all that is in them, and of the `group_vars` and `host_vars` beside them and in `playbook_dir`.
///
/// It is cheap and reads no file; a script's answer can change without it, and of more than ten thousand files it looks
/// at the first ten thousand.
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
    let mut left = MAX_FILES;
    for root in roots {
        hash_path(&root, &mut hasher, &mut left);
    }
    hasher.finish()
}

/// A number that changes when a role does, or one comes or goes; as [`fingerprint`].
pub fn roles_fingerprint(settings: &config::Ansible) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut left = MAX_FILES;
    for root in settings.role_folders() {
        hash_path(&root, &mut hasher, &mut left);
    }
    hasher.finish()
}

fn hash_path(path: &Path, hasher: &mut DefaultHasher, left: &mut usize) {
    if *left == 0 {
        return;
    }
    *left -= 1;
    path.hash(hasher);
    // What a link points to counts, so that a source can be switched by a link; that a file is missing counts as well.
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
        // A link to a folder above would lead round and round: links to folders are followed at the top only.
        if !entry.is_symlink() || !entry.is_dir() {
            hash_path(&entry, hasher, left);
        }
    }
}

#[cfg(test)]
mod tests;
