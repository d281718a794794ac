//! The metrics of the files with scrape targets.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{IntGaugeVec, Opts, Registry};

use super::register::{name, register};
use super::whole;

/// The state of each file. Cheap to clone.
#[derive(Clone)]
pub struct SdFiles {
    targets: IntGaugeVec,
    successful: IntGaugeVec,
    known: Arc<Mutex<BTreeSet<String>>>,
}

impl SdFiles {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauges = |n: &str, help: &str| {
            register(
                registry,
                IntGaugeVec::new(Opts::new(name(n), help), &["path"]),
            )
        };
        Ok(Self {
            targets: gauges(
                "sd_file_targets",
                "Scrape targets in a file of service_discovery.files, as last written.",
            )?,
            successful: gauges(
                "sd_file_last_write_successful",
                "Whether the last attempt to update a file of service_discovery.files succeeded.",
            )?,
            known: Arc::default(),
        })
    }

    /// Exposes exactly these files, with 0 where nothing was recorded yet.
    pub fn preregister<'a>(&self, paths: impl IntoIterator<Item = &'a Path>) {
        let paths = paths.into_iter();
        let paths: BTreeSet<String> = paths.map(|path| path.display().to_string()).collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for removed in known.difference(&paths) {
            let _ = self.targets.remove_label_values(&[removed]);
            let _ = self.successful.remove_label_values(&[removed]);
        }
        for path in &paths {
            self.targets.with_label_values(&[path]);
            self.successful.with_label_values(&[path]);
        }
        *known = paths;
    }

    /// Records an attempt to write a file: the number of its targets, or `None` if the attempt failed.
    pub fn written(&self, path: &Path, targets: Option<usize>) {
        let path = path.display().to_string();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(&path) {
            return;
        }
        let successful = i64::from(targets.is_some());
        self.successful.with_label_values(&[&path]).set(successful);
        if let Some(targets) = targets {
            self.targets.with_label_values(&[&path]).set(whole(targets));
        }
    }
}
