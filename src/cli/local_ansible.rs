//! Runs Ansible from the command line itself, without a server.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

use super::Failure;
use crate::ansible::{Ansible, Setup};
use crate::config::Config;

/// The time limit for ending everything after a signal; the supervisor's own limits are shorter.
const ENDING: Duration = Duration::from_secs(15);

/// Ansible, and its working folder, which is removed when this is dropped.
pub(super) struct LocalAnsible {
    pub(super) ansible: Ansible,
    folder: TempDir,
}

impl LocalAnsible {
    /// Creates the folder; `purpose` is part of its name.
    pub(super) fn new(config: &Config, purpose: &str) -> std::io::Result<Self> {
        // Only we can write to it, and its name is unpredictable, because Ansible loads plugins from it.
        let folder = tempfile::Builder::new()
            .prefix(&format!("promansible-{purpose}-"))
            .tempdir()?;
        let mut settings = config.ansible.clone();
        // Python would write compiled files beside the plugins, but these commands must not change anything.
        let quiet = settings
            .environment
            .entry("PYTHONDONTWRITEBYTECODE".to_owned());
        quiet.or_insert_with(|| "1".to_owned());
        let ansible = Ansible::new(Setup {
            settings,
            grace: config.runs.grace,
            store: format!("{purpose}-{}", std::process::id()),
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
                .collect::<BTreeMap<_, _>>(),
            exe: std::env::current_exe()?,
            runs_dir: folder.path().to_owned(),
        })?;
        Ok(Self { ansible, folder })
    }

    /// Runs work that starts Ansible. A signal ends it and all its processes.
    pub(super) async fn until_signal<T>(
        &self,
        work: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let mut signals = EndSignals::install()?;
        let caught = tokio::select! {
            done = work => return Ok(done),
            caught = signals.recv() => caught,
        };
        // The work was dropped, so its supervisor now ends the processes and removes their folder.
        tokio::select! {
            () = self.emptied() => {}
            _ = signals.recv() => {}
            () = tokio::time::sleep(ENDING) => {}
        }
        Err(Failure::Signal(caught))
    }

    async fn emptied(&self) {
        let is_empty = || {
            let entries = std::fs::read_dir(self.folder.path());
            !entries.is_ok_and(|mut entries| entries.next().is_some())
        };
        while !is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The signals that end this process.
struct EndSignals([(Signal, Signals); 3]);

impl EndSignals {
    fn install() -> std::io::Result<Self> {
        Ok(Self([
            (Signal::SIGINT, signal(SignalKind::interrupt())?),
            (Signal::SIGTERM, signal(SignalKind::terminate())?),
            (Signal::SIGHUP, signal(SignalKind::hangup())?),
        ]))
    }

    async fn recv(&mut self) -> Signal {
        let [(int, ints), (term, terms), (hup, hups)] = &mut self.0;
        tokio::select! {
            _ = ints.recv() => *int,
            _ = terms.recv() => *term,
            _ = hups.recv() => *hup,
        }
    }
}
