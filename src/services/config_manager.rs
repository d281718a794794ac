//! Keeps the configuration that is in force: what the file says, and beside it what was made over the API.
//!
//! One change at a time. A change is on disk before it is in force, and in force before it is answered.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};

use crate::ansible::roles_fingerprint;
use crate::config::{
    self, Config, ManagedConflict, ManagedError, ManagedKind, ManagedObjects, Roles,
};
use crate::metrics::Metrics;
use crate::store::{Expect, Store, StoreError};
use crate::util::clock;
use crate::util::shutdown::Shutdown;

/// How often the roles' folders are looked at; a change over the API and a run by hand look at once.
const FOLLOW: Duration = Duration::from_secs(5);

/// Why a change did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// What was typed is no such object.
    #[error(transparent)]
    Typed(#[from] ManagedError),
    /// It stands in the configuration file.
    #[error("the {0} {1:?} stands in the configuration file: change it there")]
    Provisioned(ManagedKind, String),
    /// The name in the path and the one in the body differ.
    #[error("name: it is {0:?} and cannot become {1:?}: make a new one, and remove this")]
    Renamed(String, String),
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the file says, with the roles as they were last listed.
struct InFile {
    config: Arc<Config>,
    /// The fingerprint of the roles' folders then; `None` before they were listed again for the first time.
    roles: Option<u64>,
}

/// The configuration that is in force. Cheap to clone.
#[derive(Clone)]
pub struct ConfigManager {
    /// What the file says; held while a change is made.
    file: Arc<Mutex<InFile>>,
    in_force: Arc<watch::Sender<Arc<Config>>>,
    store: Store,
    metrics: Metrics,
}

impl ConfigManager {
    /// Puts what is kept beside what the file says.
    pub async fn new(file: Config, store: Store, metrics: Metrics) -> Result<Self, StoreError> {
        let file = Arc::new(file);
        let in_force = with_kept(&file, &store).await?;
        let keeper = Self {
            file: Arc::new(Mutex::new(InFile {
                config: Arc::clone(&file),
                roles: None,
            })),
            in_force: Arc::new(watch::channel(file).0),
            store,
            metrics,
        };
        keeper.put_in_force(in_force);
        Ok(keeper)
    }

    /// What is in force, and when that changes.
    pub fn watch(&self) -> watch::Receiver<Arc<Config>> {
        self.in_force.subscribe()
    }

    /// Puts another file's in force. `before` is done once nothing more can go wrong, and before anybody sees it.
    ///
    /// *Errors*: the store's; the old one stays.
    pub async fn replace_file(
        &self,
        file: Config,
        before: impl FnOnce(),
    ) -> Result<(), StoreError> {
        let mut held = self.file.lock().await;
        let file = Arc::new(file);
        let in_force = with_kept(&file, &self.store).await?;
        before();
        *held = InFile {
            config: file,
            roles: None,
        };
        self.put_in_force(in_force);
        Ok(())
    }

    /// Follows the roles' folders until shutdown.
    pub async fn follow(self, mut shutdown: Shutdown) {
        while !shutdown.is_asked() {
            self.follow_roles().await;
            tokio::select! {
                () = tokio::time::sleep(FOLLOW) => {}
                () = shutdown.asked() => {}
            }
        }
    }

    /// Lists the roles again if something changed in their folders, so that one that was just put there can be used. The
    /// configuration file is not read.
    pub async fn follow_roles(&self) {
        self.list_roles(&mut *self.file.lock().await).await;
    }

    async fn list_roles(&self, file: &mut InFile) {
        let config = Arc::clone(&file.config);
        let before = file.roles;
        let listed = tokio::task::spawn_blocking(move || {
            let stamp = roles_fingerprint(&config.ansible);
            (before != Some(stamp)).then(|| (stamp, config::list_roles(&config.ansible)))
        });
        let Ok(Some((stamp, listed))) = listed.await else {
            return;
        };
        file.roles = Some(stamp);
        let mut roles = match listed {
            Ok(roles) => roles,
            Err(e) => {
                tracing::warn!(error = %e.without_lines(), "the roles cannot be listed again; those that were known stay");
                return;
            }
        };
        keep_used(&mut roles, &self.in_force.borrow());
        if roles == file.config.roles {
            return;
        }
        let new = Arc::new(Config {
            roles,
            ..Config::clone(&file.config)
        });
        match with_kept(&new, &self.store).await {
            Ok(in_force) => {
                file.config = new;
                self.put_in_force(in_force);
                tracing::info!("the roles have changed, and are listed again");
            }
            Err(e) => {
                file.roles = None;
                tracing::error!(error = %e, "the roles have changed, and cannot be put in force yet");
            }
        }
    }

    /// What was made over the API, whether it takes part or not.
    pub async fn kept(
        &self,
        kind: ManagedKind,
        name: &str,
    ) -> Result<Option<ManagedObjects>, StoreError> {
        let mut kept = self.store.objects().await?.into_iter();
        Ok(kept.find(|kept| kept.kind == kind && kept.name == name))
    }

    /// Makes a binding or schedule, or (`name`) changes the one of this name.
    ///
    /// *Errors*: what is in force is as it was before. After one of the store's the change may be on disk all the same, where
    /// what is kept could not be read again: it is then in force after the next change, reload or start.
    pub async fn put(
        &self,
        kind: ManagedKind,
        name: Option<&str>,
        json: &[u8],
        expect: Expect,
    ) -> Result<ManagedObjects, ChangeError> {
        let mut held = self.file.lock().await;
        self.list_roles(&mut held).await;
        let file = Arc::clone(&held.config);
        let (object, json) = file.read_kept(kind, json)?;
        let new = object.name().to_owned();
        if let Some(name) = name
            && name != new
        {
            return Err(ChangeError::Renamed(name.to_owned(), new));
        }
        not_provisioned(&file, kind, &new)?;
        object.check_vars(&file.roles)?;
        let now = clock::now();
        let kept = self.store.put_object(kind, new, json, expect, now).await?;
        self.read_again(&file).await?;
        Ok(kept)
    }

    /// Takes one away.
    ///
    /// *Errors*: as [`put`](Self::put).
    pub async fn remove(
        &self,
        kind: ManagedKind,
        name: &str,
        expect: Expect,
    ) -> Result<(), ChangeError> {
        let held = self.file.lock().await;
        let file = Arc::clone(&held.config);
        let removed = self
            .store
            .remove_object(kind, name.to_owned(), expect)
            .await;
        if let Err(StoreError::NoSuchObject(..)) = removed {
            not_provisioned(&file, kind, name)?;
        }
        removed?;
        self.read_again(&file).await?;
        Ok(())
    }

    async fn read_again(&self, file: &Arc<Config>) -> Result<(), StoreError> {
        let in_force = with_kept(file, &self.store).await?;
        self.put_in_force(in_force);
        Ok(())
    }

    fn put_in_force(&self, config: Config) {
        let known = &self.in_force.borrow().conflicts.clone();
        let new = |conflict: &&ManagedConflict| !known.contains(conflict);
        for conflict in config.conflicts.iter().filter(new) {
            tracing::error!(
                kind = conflict.kind.as_str(),
                name = conflict.name,
                why = conflict.why,
                "made over the API, and takes no part"
            );
        }
        // Every label value that the configuration brings is there before anything can count by it.
        let bindings = config.bindings.iter().map(|binding| binding.name.as_str());
        let own = config.roles.alert.iter().chain(&config.roles.routine);
        let used = used(&config).filter(|role| config.roles.collection.contains(role));
        let roles = own.chain(used).map(String::as_str);
        self.metrics.preregister(bindings, roles);
        self.metrics.declare(&config.roles.checks);
        let schedules = config
            .schedules
            .iter()
            .map(|schedule| schedule.name.as_str());
        self.metrics.schedules().preregister(schedules);
        self.metrics.objects_in_conflict(config.conflicts.len());
        self.in_force.send_replace(Arc::new(config));
    }
}

/// The roles that bindings and schedules name.
fn used(config: &Config) -> impl Iterator<Item = &String> {
    let bindings = config.bindings.iter().flat_map(|binding| {
        let steps = binding.steps.iter().flat_map(|step| &step.roles);
        steps.chain(&binding.on_resolved)
    });
    let schedules = config.schedules.iter();
    bindings.chain(schedules.flat_map(|schedule| &schedule.work.roles))
}

/// Keeps what is known of roles that are used and not there: a tree that is just being changed must not take a binding out
/// of force. If they stay away, their runs say so.
fn keep_used(roles: &mut Roles, in_force: &Config) {
    for name in used(in_force) {
        if roles.about(name).next().is_some() {
            continue;
        }
        let old = &in_force.roles;
        for about in old.about(name) {
            tracing::warn!(role = name, folder = %about.folder.display(), "a role that is used is not there any more");
        }
        roles.about.extend(old.about(name).cloned());
        for (names, old) in [
            (&mut roles.alert, &old.alert),
            (&mut roles.routine, &old.routine),
            (&mut roles.collection, &old.collection),
        ] {
            names.extend(old.iter().filter(|of| *of == name).cloned());
        }
    }
}

/// What a file says, and beside it what is kept, which may be much to read.
async fn with_kept(file: &Arc<Config>, store: &Store) -> Result<Config, StoreError> {
    let kept = store.objects().await?;
    let file = Arc::clone(file);
    let read = tokio::task::spawn_blocking(move || file.with_kept(&kept));
    read.await.map_err(|_| StoreError::Closed)
}

fn not_provisioned(file: &Config, kind: ManagedKind, name: &str) -> Result<(), ChangeError> {
    let provisioned = match kind {
        ManagedKind::Binding => file.bindings.iter().any(|binding| binding.name == name),
        ManagedKind::Schedule => file.schedules.iter().any(|schedule| schedule.name == name),
    };
    if provisioned {
        return Err(ChangeError::Provisioned(kind, name.to_owned()));
    }
    Ok(())
}
