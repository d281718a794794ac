//! Manages the configuration that is in force: the file, merged with the objects that were created over the API.
//!
//! Changes are made one at a time. A change is on disk before it is in force, and in force before the request is answered.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};

use crate::ansible::roles_fingerprint;
use crate::config::{
    self, Config, ManagedConflict, ManagedError, ManagedKind, Roles, StoredObject,
};
use crate::metrics::Metrics;
use crate::store::{Expect, Store, StoreError};
use crate::util::clock;
use crate::util::shutdown::Shutdown;

/// How often the roles' folders are checked; a change over the API and an ad-hoc run check them at once.
const ROLES_INTERVAL: Duration = Duration::from_secs(5);

/// Why a change was rejected.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The request body is not a valid object.
    #[error(transparent)]
    Typed(#[from] ManagedError),
    /// The object is defined in the configuration file.
    #[error("the {0} {1:?} is defined in the configuration file: change it there")]
    Provisioned(ManagedKind, String),
    /// The name in the path differs from the name in the body.
    #[error("name: {0:?} cannot be renamed to {1:?}: create a new object, and remove this one")]
    Renamed(String, String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The configuration file, with the roles as last listed.
struct InFile {
    config: Arc<Config>,
    /// The fingerprint of the roles' folders at that time; `None` if they were listed only when the file was read.
    roles: Option<u64>,
}

/// A handle to the configuration that is in force. Cheap to clone.
#[derive(Clone)]
pub struct ConfigManager {
    /// The file; locked while a change is made.
    file: Arc<Mutex<InFile>>,
    in_force: Arc<watch::Sender<Arc<Config>>>,
    store: Store,
    metrics: Metrics,
}

impl ConfigManager {
    /// Merges the stored objects into the file configuration, and puts the result in force.
    pub async fn new(file: Config, store: Store, metrics: Metrics) -> Result<Self, StoreError> {
        let file = Arc::new(file);
        let in_force = with_stored_objects(&file, &store).await?;
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

    /// Subscribes to the configuration in force.
    pub fn watch(&self) -> watch::Receiver<Arc<Config>> {
        self.in_force.subscribe()
    }

    /// Puts another file configuration in force. Calls `before` once nothing can fail any more, and before the new
    /// configuration is visible.
    ///
    /// *Errors*: the store failed; the old configuration stays in force.
    pub async fn replace_file(
        &self,
        file: Config,
        before: impl FnOnce(),
    ) -> Result<(), StoreError> {
        let mut locked = self.file.lock().await;
        let file = Arc::new(file);
        let in_force = with_stored_objects(&file, &self.store).await?;
        before();
        *locked = InFile {
            config: file,
            roles: None,
        };
        self.put_in_force(in_force);
        Ok(())
    }

    /// Keeps the list of roles current until shutdown.
    pub async fn follow(self, mut shutdown: Shutdown) {
        while !shutdown.is_requested() {
            self.follow_roles().await;
            tokio::select! {
                () = tokio::time::sleep(ROLES_INTERVAL) => {}
                () = shutdown.requested() => {}
            }
        }
    }

    /// Lists the roles again if their folders changed, so that a role that was just added can be used. Does not read the
    /// configuration file.
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
                tracing::warn!(error = %e.without_lines(), "the roles cannot be listed; the previous list stays in force");
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
        match with_stored_objects(&new, &self.store).await {
            Ok(in_force) => {
                file.config = new;
                self.put_in_force(in_force);
                tracing::info!("the roles have changed: the new list is in force");
            }
            Err(e) => {
                file.roles = None;
                tracing::error!(error = %e, "the roles have changed, but the new list cannot be put in force yet");
            }
        }
    }

    /// Returns an object that was created over the API, also if it is ignored because of a conflict.
    pub async fn kept(
        &self,
        kind: ManagedKind,
        name: &str,
    ) -> Result<Option<StoredObject>, StoreError> {
        let mut objects = self.store.objects().await?.into_iter();
        Ok(objects.find(|object| object.kind == kind && object.name == name))
    }

    /// Creates a binding or schedule, or changes the one named `name`.
    ///
    /// *Errors*: the configuration in force is unchanged. After an error of the store the change may be on disk
    /// nevertheless, if the stored objects could not be read again: it is then in force after the next change, reload or
    /// start.
    pub async fn put(
        &self,
        kind: ManagedKind,
        name: Option<&str>,
        json: &[u8],
        expect: Expect,
    ) -> Result<StoredObject, ChangeError> {
        let mut locked = self.file.lock().await;
        self.list_roles(&mut locked).await;
        let file = Arc::clone(&locked.config);
        let (object, json) = file.parse_managed(kind, json)?;
        let new = object.name().to_owned();
        if let Some(name) = name
            && name != new
        {
            return Err(ChangeError::Renamed(name.to_owned(), new));
        }
        not_provisioned(&file, kind, &new)?;
        object.check_vars(&file.roles)?;
        let now = clock::now();
        let stored = self.store.put_object(kind, new, json, expect, now).await?;
        self.read_again(&file).await?;
        Ok(stored)
    }

    /// Removes a binding or schedule.
    ///
    /// *Errors*: as [`put`](Self::put).
    pub async fn remove(
        &self,
        kind: ManagedKind,
        name: &str,
        expect: Expect,
    ) -> Result<(), ChangeError> {
        let locked = self.file.lock().await;
        let file = Arc::clone(&locked.config);
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
        let in_force = with_stored_objects(file, &self.store).await?;
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
                "an object made over the API is ignored"
            );
        }
        // All label values of the configuration are registered before a counter can use them.
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

/// Returns the roles that bindings and schedules name.
fn used(config: &Config) -> impl Iterator<Item = &String> {
    let bindings = config.bindings.iter().flat_map(|binding| {
        let steps = binding.steps.iter().flat_map(|step| &step.roles);
        steps.chain(&binding.on_resolved)
    });
    let schedules = config.schedules.iter();
    bindings.chain(schedules.flat_map(|schedule| &schedule.work.roles))
}

/// Keeps the previous data of roles that are used but missing: a folder that is being updated must not put a binding out of
/// force. If the roles stay missing, their runs fail with that error.
fn keep_used(roles: &mut Roles, in_force: &Config) {
    for name in used(in_force) {
        if roles.about(name).next().is_some() {
            continue;
        }
        let old = &in_force.roles;
        for about in old.about(name) {
            tracing::warn!(role = name, folder = %about.folder.display(), "a role that a binding or schedule uses no longer exists");
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

/// Merges the stored objects into a file configuration. Runs on a blocking thread, because there may be many objects.
async fn with_stored_objects(file: &Arc<Config>, store: &Store) -> Result<Config, StoreError> {
    let objects = store.objects().await?;
    let file = Arc::clone(file);
    let read = tokio::task::spawn_blocking(move || file.with_managed(&objects));
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
