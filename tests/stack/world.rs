//! Everything together: hosts, sshd, Prometheus, Alertmanagers, promansible.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::alertmanager::{Alertmanager, Timing};
use super::ansible::Release;
use super::inventory;
use super::leftovers::{self, Leftover};
use super::process::Process;
use super::promansible::{Promansible, Settings};
use super::prometheus::Prometheus;
use super::site::Site;
use super::sshd::Sshd;
use super::wait::{Failure, wait_until};

/// Runs `start_service` on the host that reports `SiteDown`.
pub const REPAIR: &str = r#"
  - name: site-down
    matchers: ['alertname = "SiteDown"', 'severity = "critical"']
    roles: [start_service]
    target: {alerting_host: instance}
    vars: {start_service_seconds: 5}
"#;

/// What differs from world to world.
pub struct Plan {
    /// The binary under test.
    pub binary: PathBuf,
    /// The Ansible that it starts.
    pub ansible: Release,
    /// Whether two Alertmanagers deliver everything.
    pub pair: bool,
    /// How the Alertmanagers send.
    pub timing: Timing,
    /// What the alert's summary ends with.
    pub note: &'static str,
}

/// Hosts that are all one sshd, each with a web site, and the servers that watch and repair them.
///
/// What was started last is dropped first, so the fields stand in that order.
pub struct World {
    /// Sees what is down.
    pub prometheus: Prometheus,
    /// Tell promansible.
    pub alertmanagers: Vec<Alertmanager>,
    /// Repairs.
    pub promansible: Promansible,
    /// Lets Ansible in.
    pub sshd: Sshd,
    /// The sites of web01 and web02.
    pub sites: Vec<Site>,
    folder: Folder,
}

impl World {
    /// Starts everything.
    ///
    /// `tell` hears of each server that is ready.
    pub fn start(plan: &Plan, mut tell: impl FnMut(&str, u16)) -> Result<Self, Failure> {
        let bin_dir = plan.ansible.bin_dir()?;
        let folder = Folder::new()?;
        let dir = folder.path();
        let mut sites = Vec::new();
        for host in ["web01", "web02"] {
            let site = Site::start(host, &dir.join(host))?;
            tell(host, site.port);
            sites.push(site);
        }
        let sshd = Sshd::start(&dir.join("sshd"))?;
        tell("sshd", sshd.port);

        let inventory = dir.join("inventory");
        let text = inventory::render(&sshd, &sites, &["db01"], dir);
        fs::write(&inventory, text).map_err(|e| Failure::new(format!("the inventory: {e}")))?;
        let settings = Settings {
            bin_dir,
            inventory,
            bindings: REPAIR.to_owned(),
            runs: "{timeout: 2m, grace: 10s, batch_window: 200ms}".to_owned(),
        };
        let promansible = Promansible::start(&plan.binary, &dir.join("promansible"), &settings)?;
        tell("promansible", promansible.port);

        let alertmanager = dir.join("alertmanager");
        let alertmanagers = if plan.pair {
            Alertmanager::start_pair(&alertmanager, plan.timing, promansible.port)?.into()
        } else {
            vec![Alertmanager::start(
                &alertmanager,
                plan.timing,
                promansible.port,
            )?]
        };
        for one in &alertmanagers {
            tell("Alertmanager", one.port);
        }
        let ports: Vec<u16> = alertmanagers.iter().map(|one| one.port).collect();
        let prometheus = Prometheus::start(
            &dir.join("prometheus"),
            &sites,
            promansible.port,
            &ports,
            plan.note,
        )?;
        tell("Prometheus", prometheus.port);

        let world = Self {
            prometheus,
            alertmanagers,
            promansible,
            sshd,
            sites,
            folder,
        };
        // A site that was never seen up would fire before anything broke.
        world.wait(
            Duration::from_secs(30),
            "Prometheus to see both sites up",
            || Ok((world.prometheus.value("sum(up{job=\"site\"})")? == Some(2.0)).then_some(())),
        )?;
        Ok(world)
    }

    /// Waits like [`wait_until`]; a failure shows the ends of all logs.
    pub fn wait<T>(
        &self,
        limit: Duration,
        what: &str,
        look: impl FnMut() -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        wait_until(limit, what, look).map_err(|failure| failure.with_logs(self.processes()))
    }

    /// The servers.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        let alertmanagers = self.alertmanagers.iter().map(|one| &one.process);
        [&self.prometheus.process]
            .into_iter()
            .chain(alertmanagers)
            .chain(&self.promansible.process)
            .chain([&self.sshd.process])
    }

    /// The folder that everything lies in.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Every port that something listens on.
    pub fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self.sites.iter().map(|site| site.port).collect();
        ports.extend(self.alertmanagers.iter().map(|one| one.port));
        ports.extend([self.sshd.port, self.promansible.port, self.prometheus.port]);
        ports
    }

    /// Stops everything gently and returns the processes that are left then, which should be none.
    pub fn stop(self) -> Vec<Leftover> {
        let Self {
            prometheus,
            alertmanagers,
            promansible,
            sshd,
            sites,
            folder,
        } = self;
        drop(prometheus);
        drop(alertmanagers);
        drop(promansible);
        drop(sshd);
        drop(sites);
        // A process that has just been told to end may take a moment.
        let none = wait_until(Duration::from_secs(20), "everything to end", || {
            Ok(leftovers::of_folder(folder.path()).is_empty().then_some(()))
        });
        match none {
            Ok(()) => Vec::new(),
            Err(_) => leftovers::of_folder(folder.path()),
        }
    }
}

/// A temporary folder that ends what still works in it before it goes.
pub struct Folder(TempDir);

impl Folder {
    /// A new one, with a short name: the path of a socket in it has room for little more than a hundred bytes.
    pub fn new() -> Result<Self, Failure> {
        tempfile::Builder::new()
            .prefix("promansible-")
            .tempdir()
            .map(Self)
            .map_err(|e| Failure::new(format!("no temporary folder: {e}")))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        leftovers::end(self.0.path());
    }
}
