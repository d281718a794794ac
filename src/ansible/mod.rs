//! The one room that starts processes: a run goes in, its events and its ending come out.
//!
//! promansible → supervisor ([`supervise`], our own binary again) → `ansible-playbook` → whatever the roles start. The
//! supervisor ends the whole tree when it is told to, or when promansible dies. Two pipes come back: the output as it is,
//! and a FIFO in the run's folder that our callback plugin writes events to.
//!
//! - [`command`], `environment`, `vars`: what is started, pure and golden-tested.
//! - `process`: starting it and pumping what it says; [`Started`], [`Progress`], [`Ending`].
//! - [`events`]: from the callback's bytes to [`Event`]s. [`verdict`]: from an ending to outcomes.
//! - `supervisor`, `tree`: the end of every process, whatever happened.
//! - `list`: the inventory as Ansible sees it, and when to read it again.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config;
use crate::util::blocking::in_place;

pub mod command;
mod environment;
mod error_excerpt;
pub mod evaluation;
pub mod events;
mod ineffective_keys;
mod list_inventory;
mod process;
mod process_tree;
mod progress;
mod spec;
mod start_error;
mod supervisor;
mod vars;

pub use command::CommandLine;
pub use environment::{MARKER, Paths, is_listing};
pub use error_excerpt::{LAST_BYTES, error_excerpt};
pub use evaluation::{Cause, Evaluation, RunEnding, TaskTally, evaluate};
pub use events::{Event, HostStats, PlayEnd, Stats, TaskReport};
pub use ineffective_keys::{Ineffective, config_file, ineffective};
pub use list_inventory::{ListError, Listed, fingerprint, roles_fingerprint};
pub use process::{Ending, Progress, Started, Stop, adopt_orphans};
pub use process_tree::{Swept, sweep};
pub use spec::{AlertData, BuildError, RoleKind, Spec};
pub use supervisor::{Supervise, supervise};

/// What [`Ansible`] is made of.
#[derive(Debug, Clone)]
pub struct Setup {
    /// How Ansible is started. Relative paths start at the current folder.
    pub settings: config::Ansible,
    /// How long a run may take to end after it was interrupted.
    pub grace: Duration,
    /// The store's id: it marks the processes, so that two promansibles on one machine tell theirs apart.
    pub store: String,
    /// Our own environment, of which a run inherits a few names.
    pub environment: BTreeMap<String, OsString>,
    /// Our own binary; `/proc/self/exe` stays right when the file is replaced under us.
    pub exe: PathBuf,
    /// Where runs have their folders; only ours, and short enough for ssh's sockets.
    pub runs_dir: PathBuf,
}

/// Starts runs. Cheap to make anew when the configuration changes.
#[derive(Debug, Clone)]
pub struct Ansible {
    settings: config::Ansible,
    grace: Duration,
    store: String,
    environment: BTreeMap<String, OsString>,
    exe: PathBuf,
    runs_dir: PathBuf,
}

/// Why a run did not start. Nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It must not be started.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Ansible is not there.
    #[error("there is no {name} in {}{why}: want it there, or `ansible.bin_dir` to name its folder", .searched.display())]
    NoProgram {
        /// The program.
        name: String,
        /// `bin_dir`, or `PATH` as it is.
        searched: PathBuf,
        /// Why it cannot be seen there, in brackets, where that is known.
        why: String,
    },
    /// The template play is not there.
    #[error("there is no {}: want `ansible.playbook_dir` to name the folder that holds run.yml", .0.display())]
    NoPlaybook(PathBuf),
    /// The run's folder cannot be made or filled.
    #[error("cannot prepare the run's folder {}: {source}", .dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The supervisor cannot be started.
    #[error("cannot start {}: {source}", .exe.display())]
    Spawn {
        /// Our own binary.
        exe: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Ansible {
    /// Gets ready; nothing is started or written yet.
    ///
    /// *Errors*: the current folder, from which relative paths start, is not known.
    pub fn new(setup: Setup) -> io::Result<Self> {
        let mut settings = setup.settings;
        settings.playbook_dir = std::path::absolute(&settings.playbook_dir)?;
        // Ansible starts in playbook_dir, so that what was relative to us has to be said in full.
        for path in files(&mut settings) {
            *path = std::path::absolute(&*path)?;
        }
        Ok(Self {
            settings,
            grace: setup.grace,
            store: setup.store,
            environment: setup.environment,
            exe: setup.exe,
            runs_dir: std::path::absolute(setup.runs_dir)?,
        })
    }

    /// Starts a run; everything it says comes through [`Started::progress`].
    ///
    /// Call it on a tokio runtime. It writes a few small files, which may take as long as the disk wants. Dropping what it returns stops the run
    /// (its tree is ended in the background).
    pub fn start(&self, spec: &Spec<'_>) -> Result<Started, StartError> {
        in_place(|| self.start_blocking(spec))
    }

    fn start_blocking(&self, spec: &Spec<'_>) -> Result<Started, StartError> {
        let run = spec.run.to_string();
        let settings = self.settings_now();
        let paths = self.paths(&settings, &run);
        let line = command::build(&settings, spec, &paths)?;
        let playbook = settings.playbook_dir.join("run.yml");
        if !playbook.is_file() {
            return Err(StartError::NoPlaybook(playbook));
        }
        let marker = environment::marker(&self.store, &run);
        let folder = Folder::prepare(paths.dir, line)?;
        process::start(folder, &self.exe, self.grace, marker, spec.hosts)
    }

    fn paths(&self, settings: &config::Ansible, run: &str) -> Paths<'_> {
        Paths {
            dir: self.runs_dir.join(run),
            store: &self.store,
            base: &self.environment,
            has_config: settings.playbook_dir.join("ansible.cfg").is_file(),
        }
    }

    /// The settings for one process: `playbook_dir`, and what lies in it, without links. Where a link is switched to another
    /// tree meanwhile, the process goes on in the one in which it began.
    fn settings_now(&self) -> config::Ansible {
        let mut settings = self.settings.clone();
        let Ok(real) = fs::canonicalize(&settings.playbook_dir) else {
            return settings;
        };
        let linked = std::mem::replace(&mut settings.playbook_dir, real.clone());
        let there = |path: &Path| {
            let rest = path.strip_prefix(&linked).ok()?;
            Some(real.join(rest).components().collect::<PathBuf>())
        };
        for path in files(&mut settings) {
            if let Some(there) = there(path) {
                *path = there;
            }
        }
        for value in settings.environment.values_mut() {
            let parts = value.split(':').map(|part| match there(Path::new(part)) {
                Some(there) => there.to_string_lossy().into_owned(),
                None => part.to_owned(),
            });
            *value = parts.collect::<Vec<_>>().join(":");
        }
        settings
    }
}

/// Every path in the settings but `playbook_dir`.
fn files(settings: &mut config::Ansible) -> impl Iterator<Item = &mut PathBuf> {
    let one = [
        &mut settings.bin_dir,
        &mut settings.private_key_file,
        &mut settings.vault_password_file,
        &mut settings.become_password_file,
        &mut settings.connection_password_file,
    ];
    let identities = settings.vault_identities.iter_mut();
    one.into_iter()
        .flatten()
        .chain(identities.map(|of| &mut of.password_file))
        .chain(&mut settings.inventory)
}

/// A run's folder, and what is to run in it.
#[derive(Debug)]
struct Folder {
    dir: PathBuf,
    line: CommandLine,
}

impl Folder {
    /// Looks the program up, then makes and fills the folder.
    fn prepare(dir: PathBuf, mut line: CommandLine) -> Result<Self, StartError> {
        line.program = find_program(&line)?;
        let folder = Self { dir, line };
        if let Err(source) = folder.fill() {
            // A folder that was there before us is another run's.
            if source.kind() != io::ErrorKind::AlreadyExists {
                folder.remove();
            }
            return Err(StartError::Folder {
                dir: folder.dir,
                source,
            });
        }
        Ok(folder)
    }

    fn fill(&self) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        if let Some(parent) = self.dir.parent() {
            builder.recursive(true).create(parent)?;
        }
        builder.recursive(false).create(&self.dir)?;
        for dir in &self.line.dirs {
            builder.create(dir)?;
        }
        for (path, content) in &self.line.files {
            let mut options = OpenOptions::new();
            options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)?
                .write_all(content)?;
        }
        Ok(())
    }

    fn remove(&self) {
        // The supervisor removes it as well, so that it may be gone already.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Finds the program before anything is started, for an error that says where it was looked for.
fn find_program(line: &CommandLine) -> Result<PathBuf, StartError> {
    let missing = |searched: PathBuf, why: String| StartError::NoProgram {
        name: line
            .program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        searched,
        why,
    };
    if line.program.is_absolute() {
        let dir = line.program.parent().unwrap_or(Path::new("/")).to_owned();
        return match fs::metadata(&line.program) {
            Ok(meta) if meta.is_file() => Ok(line.program.clone()),
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                let why = format!(" ({})", start_error::why(&line.program, &e));
                Err(missing(dir, why))
            }
            _ => Err(missing(dir, String::new())),
        };
    }
    let search = line.env.get("PATH").cloned().unwrap_or_default();
    std::env::split_paths(&search)
        .map(|dir| dir.join(&line.program))
        .find(|program| program.is_file())
        .ok_or_else(|| missing(search.into(), String::new()))
}
