//! The only module that starts processes. It starts a run, and returns its output, its events and its ending.
//!
//! promansible → supervisor ([`supervise`], promansible's own binary) → `ansible-playbook` → the processes of the roles.
//! The supervisor ends the whole process tree on request, or when promansible dies. Two pipes lead back to promansible: one
//! for the output, and a FIFO in the folder of the run to which the callback plugin writes events.
//!
//! - [`command`], `environment`, `vars`: build what is started; pure, with golden tests.
//! - `process`, `progress`: start the supervisor, and pass on output and events; [`Started`], [`Progress`], [`Ending`].
//! - [`events`]: decodes the callback's bytes to [`Event`]s. [`evaluation`]: turns an ending into outcomes.
//! - `supervisor`, `process_tree`: start Ansible, and end every process, in all cases.
//! - `list_inventory`: reads the inventory with Ansible, and detects changes of its sources.
//! - `probe`: detects the Ansible installation, and checks whether it reaches hosts; it changes nothing.

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
mod probe;
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
pub use probe::{Description, Reach};
pub use process::{Ending, Progress, Started, Stop, adopt_orphans};
pub use process_tree::{Swept, sweep};
pub use spec::{AlertData, BuildError, RoleKind, Spec};
pub use supervisor::{Supervise, supervise};

/// The parameters of [`Ansible::new`].
#[derive(Debug, Clone)]
pub struct Setup {
    /// The settings for Ansible. Relative paths start at the current folder.
    pub settings: config::Ansible,
    /// How long a run may take to end after it was interrupted.
    pub grace: Duration,
    /// The id of the store. It marks the processes, so that two promansibles on one machine can distinguish theirs.
    pub store: String,
    /// The environment of promansible, from which a run inherits a few variables.
    pub environment: BTreeMap<String, OsString>,
    /// The binary of promansible; `/proc/self/exe` stays valid if the file is replaced.
    pub exe: PathBuf,
    /// The folder for the folders of runs. It is used by nothing else, and its path must be short enough for ssh's sockets.
    pub runs_dir: PathBuf,
}

/// Starts runs and lists the inventory. Cheap to create again when the configuration changes.
#[derive(Debug, Clone)]
pub struct Ansible {
    settings: config::Ansible,
    grace: Duration,
    store: String,
    environment: BTreeMap<String, OsString>,
    exe: PathBuf,
    runs_dir: PathBuf,
}

/// Why a run did not start. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The run must not be started.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Ansible was not found.
    #[error("there is no {name} in {}{why}: install it there, or set `ansible.bin_dir` to its folder", .searched.display())]
    NoProgram {
        /// The name of the program.
        name: String,
        /// `bin_dir`, or the value of `PATH`.
        searched: PathBuf,
        /// Why it cannot be accessed there, in brackets, if known.
        why: String,
    },
    /// The playbook was not found.
    #[error("there is no {}: set `ansible.playbook_dir` to the folder that contains run.yml", .0.display())]
    NoPlaybook(PathBuf),
    /// The folder of the run cannot be created or filled.
    #[error("cannot prepare the run's folder {}: {source}", .dir.display())]
    Folder { dir: PathBuf, source: io::Error },
    /// The supervisor cannot be started.
    #[error("cannot start {}: {source}", .exe.display())]
    Spawn {
        /// The binary of promansible.
        exe: PathBuf,
        source: io::Error,
    },
}

impl Ansible {
    /// Makes all paths absolute. Starts and writes nothing.
    ///
    /// *Errors*: the current folder, at which relative paths start, cannot be determined.
    pub fn new(setup: Setup) -> io::Result<Self> {
        let mut settings = setup.settings;
        settings.playbook_dir = std::path::absolute(&settings.playbook_dir)?;
        // Ansible starts in playbook_dir, so paths that are relative to the current folder must be absolute.
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

    /// Starts a run; its output and events are received from [`Started::progress`].
    ///
    /// Must be called on a tokio runtime. Writes a few small files, and so may block for as long as the disk takes.
    /// Dropping the returned value stops the run; its process tree is ended in the background.
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

    /// Returns the settings for one process, with links in `playbook_dir` and in paths below it resolved. If a link is
    /// switched to another folder meanwhile, the process continues in the folder in which it began.
    fn settings_now(&self) -> config::Ansible {
        let mut settings = self.settings.clone();
        let Ok(real) = fs::canonicalize(&settings.playbook_dir) else {
            return settings;
        };
        let linked = std::mem::replace(&mut settings.playbook_dir, real.clone());
        let resolved = |path: &Path| {
            let rest = path.strip_prefix(&linked).ok()?;
            Some(real.join(rest).components().collect::<PathBuf>())
        };
        for path in files(&mut settings) {
            if let Some(resolved) = resolved(path) {
                *path = resolved;
            }
        }
        for value in settings.environment.values_mut() {
            let parts = value
                .split(':')
                .map(|part| match resolved(Path::new(part)) {
                    Some(resolved) => resolved.to_string_lossy().into_owned(),
                    None => part.to_owned(),
                });
            *value = parts.collect::<Vec<_>>().join(":");
        }
        settings
    }
}

/// Returns every path in the settings but `playbook_dir`.
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

/// The folder of a run, with the command line that runs in it.
#[derive(Debug)]
struct Folder {
    dir: PathBuf,
    line: CommandLine,
}

impl Folder {
    /// Finds the program, then creates and fills the folder.
    fn prepare(dir: PathBuf, mut line: CommandLine) -> Result<Self, StartError> {
        line.program = find_program(&line)?;
        let folder = Self { dir, line };
        if let Err(source) = folder.fill() {
            // A folder that existed before belongs to another run.
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
        // The supervisor removes it too, so it may not exist any more.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Finds the program before anything is started, so that the error says where it was searched.
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
