//! Writes the scrape targets to the files that Prometheus watches (`service_discovery.files`).
//!
//! A file is replaced atomically, by renaming a temporary file, and only if its content changed. A write that fails is
//! tried again; until then, and while the hosts are unknown, the file keeps its content.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::{Config, TargetsFile};
use crate::metrics::Metrics;
use crate::model::sd::View;
use crate::services::target_index::{self, Dependencies, TargetIndex};
use crate::util::shutdown::Shutdown;
use crate::util::supervisor::Tasks;

/// The pause before a failed write is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// The mode of a new file: Prometheus runs as another user.
const MODE: u32 = 0o644;

/// Starts the target index and the writer of the files. Both run in `tasks` until shutdown.
pub fn start(hosts: Dependencies, metrics: &Metrics, tasks: &mut Tasks) -> TargetIndex {
    let (config, shutdown) = (hosts.config.clone(), hosts.shutdown.clone());
    let (discovery, keeper) = target_index::keep(hosts);
    tasks.spawn("scrape targets", keeper);
    let files = Files {
        config,
        discovery: discovery.clone(),
        metrics: metrics.clone(),
        shutdown,
    };
    tasks.spawn("scrape target files", files.run());
    discovery
}

struct Files {
    config: watch::Receiver<Arc<Config>>,
    discovery: TargetIndex,
    metrics: Metrics,
    shutdown: Shutdown,
}

impl Files {
    /// Keeps the files current until shutdown, and leaves them in place then.
    async fn run(mut self) {
        let mut shutdown = self.shutdown.clone();
        let mut logged = Logged::default();
        loop {
            let config = Arc::clone(&self.config.borrow_and_update());
            let view = self.discovery.latest();
            let files = &config.service_discovery.files;
            self.metrics
                .sd_files()
                .preregister(files.iter().map(|file| &*file.path));
            logged.keep(files);
            let mut failed = false;
            // A view from before a reload may lack labels that the filters use.
            let exposed = &config.service_discovery.exposed;
            if let Some(view) = view.filter(|view| view.exposed() == exposed) {
                for file in files {
                    failed |= !self.write(&view, file, &mut logged).await;
                }
            }
            tokio::select! {
                () = shutdown.requested() => return,
                () = self.discovery.changed() => {}
                Ok(()) = self.config.changed() => {}
                () = tokio::time::sleep(RETRY), if failed => {}
            }
        }
    }

    /// Writes one file. Returns whether it is up to date.
    async fn write(&self, view: &Arc<View>, file: &Arc<TargetsFile>, logged: &mut Logged) -> bool {
        logged.unknown_group(file, view.unknown_group(&file.filter));
        let (view, of) = (Arc::clone(view), Arc::clone(file));
        let written = tokio::task::spawn_blocking(move || {
            let targets = view.targets(&of.filter, &of.endpoint);
            replace(&of.path, &targets.json).map(|new| (new, targets.count))
        });
        let written = written.await.unwrap_or_else(|e| Err(io::Error::other(e)));
        let targets = written.as_ref().ok().map(|(_, targets)| *targets);
        self.metrics.sd_files().written(&file.path, targets);
        logged.written(file, &written);
        written.is_ok()
    }
}

/// The messages that were logged for each file, so that each is logged once.
#[derive(Default)]
struct Logged {
    errors: HashMap<PathBuf, String>,
    unknown_groups: HashMap<PathBuf, String>,
    paths: HashSet<PathBuf>,
}

impl Logged {
    /// Forgets files that are no longer configured.
    fn keep(&mut self, files: &[Arc<TargetsFile>]) {
        let paths: HashSet<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
        for removed in self.paths.difference(&paths) {
            tracing::info!(path = %removed.display(), "scrape targets are no longer written to this file; its content is kept");
        }
        self.errors.retain(|path, _| paths.contains(path));
        self.unknown_groups.retain(|path, _| paths.contains(path));
        self.paths = paths;
    }

    fn unknown_group(&mut self, file: &TargetsFile, group: Option<&str>) {
        let Some(group) = group else {
            self.unknown_groups.remove(&file.path);
            return;
        };
        let before = self
            .unknown_groups
            .insert(file.path.clone(), group.to_owned());
        if before.as_deref() != Some(group) {
            tracing::warn!(path = %file.path.display(), group, "the inventory has no such group: it adds no scrape targets to the file");
        }
    }

    fn written(&mut self, file: &TargetsFile, written: &io::Result<(bool, usize)>) {
        let path = file.path.display();
        match written {
            Ok((new, targets)) => {
                let recovered = self.errors.remove(&file.path).is_some();
                if *new || recovered {
                    tracing::info!(%path, targets, "scrape targets written");
                }
            }
            Err(e) => {
                let error = e.to_string();
                if self.errors.get(&file.path) != Some(&error) {
                    tracing::error!(%path, error, "scrape targets cannot be written; the file keeps its content; trying again");
                    self.errors.insert(file.path.clone(), error);
                }
            }
        }
    }
}

/// Replaces the content of a file, so that a reader sees either the old or the new content. Returns whether the content
/// changed.
///
/// *Durability*: `Ok(true)` is on disk.
fn replace(path: &Path, content: &[u8]) -> io::Result<bool> {
    let old = fs::metadata(path).ok().filter(fs::Metadata::is_file);
    if old.is_some() && fs::read(path).is_ok_and(|old| old == content) {
        return Ok(false);
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Prometheus watches *.json, *.yml and *.yaml only.
    let temporary = folder.join(format!(".{name}.tmp"));
    let mode = old.map_or(MODE, |old| old.permissions().mode());
    let replaced = write_new(&temporary, content, mode)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| File::open(folder)?.sync_all());
    if replaced.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    replaced.map(|()| true)
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    match fs::remove_file(path) {
        // A temporary file that a crash left behind.
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    // Regardless of the umask.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_only_by_another_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("targets.json");
        fs::write(dir.path().join(".targets.json.tmp"), "left behind").unwrap();
        assert!(replace(&path, b"[]\n").unwrap());
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o644);
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(!replace(&path, b"[]\n").unwrap());
        assert!(replace(&path, b"[1]\n").unwrap());
        assert_eq!(mode(), 0o640);
        assert_eq!(fs::read(&path).unwrap(), b"[1]\n");
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().collect();
        assert_eq!(names.len(), 1, "{names:?}");

        let nowhere = replace(&dir.path().join("none/targets.json"), b"[]");
        assert_eq!(nowhere.unwrap_err().kind(), io::ErrorKind::NotFound);
        let folder = dir.path().join("folder.json");
        fs::create_dir(&folder).unwrap();
        assert!(replace(&folder, b"[]").is_err());
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }

    #[test]
    fn who_reads_while_it_is_replaced_sees_no_half() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("targets.json");
        // Each of a letter and a length of its own, over many pages.
        let content = |i: u8| vec![b'a' + i % 26; 200_000 + usize::from(i) * 1000];
        replace(&path, &content(0)).unwrap();
        let done = AtomicBool::new(false);
        let read = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = HashSet::new();
                while !done.load(Ordering::Relaxed) {
                    let read = fs::read(&path).unwrap();
                    let i = u8::try_from((read.len() - 200_000) / 1000).unwrap();
                    assert!(read == content(i), "{} bytes of {}", read.len(), read[0]);
                    seen.insert(i);
                }
                seen
            });
            for i in 0..200 {
                replace(&path, &content(i)).unwrap();
            }
            done.store(true, Ordering::Relaxed);
            reader.join().unwrap()
        });
        assert!(read.len() > 1, "it read {read:?}");
    }
}
