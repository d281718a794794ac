//! The hosts for which the limits of a run count: its own, or on the controller those of its alerts.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::alert::EpisodeKey;
use crate::model::run::Run;
use crate::store::StoreError;
use crate::store::disk::tables::Tables;

/// Episode → host for which its limits count, if it is not a host of the run.
pub(crate) type GuardSubjects = BTreeMap<EpisodeKey, String>;

pub(crate) fn about_of<'a>(
    tables: &Tables<'_>,
    run: &Run,
    keys: impl Iterator<Item = &'a EpisodeKey>,
) -> Result<GuardSubjects, StoreError> {
    let mut about = GuardSubjects::new();
    let Some(binding) = run.binding.as_ref().filter(|_| run.work.controller) else {
        return Ok(about);
    };
    for key in keys {
        let episode = tables.episode(key)?;
        let decided = episode.and_then(|mut episode| episode.decisions.remove(binding));
        if let Some(name) = decided.and_then(|decided| decided.about) {
            about.insert(*key, name);
        }
    }
    Ok(about)
}

/// Returns the hosts for which a run counts.
pub(crate) fn counted<'a>(run: &'a Run, about: &'a GuardSubjects) -> BTreeSet<&'a String> {
    if about.is_empty() {
        return run.hosts.iter().collect();
    }
    about.values().collect()
}
