//! Checks Ansible, the collections and argument specs of the roles, and then the inventory and its hosts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::finding::{Area, Finding};
use super::{hosts, inventory};
use crate::ansible::Description;
use crate::cli::check::missing_programs;
use crate::cli::local_ansible::LocalAnsible;
use crate::config::{Config, needed_collections};
use crate::model::inventory::EnrolledHost;

/// The oldest release that the tests run with, and the first that never evaluates text from outside as a template.
const OLDEST: (u32, u32) = (2, 16);
const PREFERRED: (u32, u32) = (2, 19);

pub(super) async fn check(
    config: &Config,
    local: &LocalAnsible,
    limit: &[String],
    enrolled: &[Arc<EnrolledHost>],
) -> Vec<Finding> {
    let mut findings = programs(config);
    let described = match local.ansible.describe().await {
        Ok(described) => described,
        Err(e) => {
            // A missing program has been reported already.
            if findings.is_empty() {
                findings.push(Area::Ansible.error(
                    "ansible-core",
                    e.to_string(),
                    "try `ansible-inventory --version` as the user that runs promansible",
                ));
            }
            findings.extend(roles(config));
            return findings;
        }
    };
    findings.extend(version(described.as_ref()));
    findings.extend(roles(config));
    findings.extend(collections(config, described.as_ref()));
    let (inventory, of_inventory) = inventory::check(local, described.as_ref(), enrolled).await;
    findings.extend(of_inventory);
    if let Some(inventory) = inventory {
        findings.extend(hosts::check(config, local, &inventory, limit, enrolled).await);
    }
    findings
}

fn programs(config: &Config) -> Vec<Finding> {
    let path = std::env::var_os("PATH");
    let missing = missing_programs(&config.ansible, path.clone()).into_iter();
    let mut findings: Vec<Finding> = missing
        .map(|program| {
            Area::Ansible.error(
                program,
                "not found in PATH",
                "install ansible-core (apt install ansible-core, or in a virtual environment), or set ansible.bin_dir to \
                 the folder that contains its programs",
            )
        })
        .collect();
    let own_path = config.ansible.environment.get("PATH").map(Into::into);
    let path = own_path.or(path).unwrap_or_default();
    let exists = |name: &str| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    if !exists("ssh") {
        findings.push(Area::Ansible.warning(
            "ssh",
            "not found in PATH: no host can be reached over SSH",
            "apt install openssh-client",
        ));
    }
    if config.ansible.connection_password_file.is_some() && !exists("sshpass") {
        findings.push(Area::Ansible.error(
            "sshpass",
            "not found in PATH, but ansible.connection_password_file needs it",
            "apt install sshpass, or log in with a key",
        ));
    }
    findings
}

fn version(described: Option<&Description>) -> Vec<Finding> {
    let area = Area::Ansible;
    let Some(described) = described else {
        return vec![area.warning(
            "ansible-core",
            "the output of `ansible-inventory --version` contains no version",
            "install ansible-core 2.16 or newer",
        )];
    };
    let core = &described.core;
    let mut findings = vec![if described.version < OLDEST {
        area.error(
            "ansible-core",
            format!("{core} is too old"),
            "install ansible-core 2.16 or newer, better 2.19 or newer",
        )
    } else if described.version < PREFERRED {
        area.warning(
            "ansible-core",
            format!("{core} works, but with less protection from text that looks like a template"),
            "prefer 2.19 or newer, see docs/operations.md, ansible-core before 2.19",
        )
    } else {
        area.ok("ansible-core", core.clone())
    }];
    if !described.python.is_empty() {
        findings.push(area.ok("Python", described.python.clone()));
    }
    findings
}

/// Checks the roles of bindings and schedules.
fn roles(config: &Config) -> Vec<Finding> {
    let of_bindings = config.bindings.iter().flat_map(|binding| {
        let steps = binding.steps.iter().flat_map(|step| &step.roles);
        steps.chain(&binding.on_resolved)
    });
    let of_schedules = config.schedules.iter().flat_map(|of| &of.work.roles);
    let used: BTreeSet<&String> = of_bindings.chain(of_schedules).collect();
    let mut findings = Vec::new();
    let mut without = Vec::new();
    for name in &used {
        let mut has_spec = false;
        for about in config.roles.about(name) {
            has_spec |= about.spec.is_some();
            let warnings = about.warnings.iter().map(|why| {
                Area::Roles.warning(
                    name,
                    why.clone(),
                    "correct the role: files that cannot be read are not checked",
                )
            });
            findings.extend(warnings);
        }
        if !has_spec {
            without.push(name.as_str());
        }
    }
    if !without.is_empty() {
        findings.push(Area::Roles.warning(
            "argument specs",
            format!(
                "none in {}: wrong variables are only found in a run",
                without.join(", ")
            ),
            "describe the variables in meta/argument_specs.yml of the role",
        ));
    } else if !used.is_empty() {
        let message = format!("all {} roles in use have one", used.len());
        findings.push(Area::Roles.ok("argument specs", message));
    }
    findings
}

/// Compares the collections that the roles need with the installed ones.
fn collections(config: &Config, described: Option<&Description>) -> Vec<Finding> {
    let needed = needed_collections(config);
    let Some(described) = described.filter(|_| !needed.is_empty()) else {
        return Vec::new();
    };
    let mut folders = vec![config.ansible.playbook_dir.join("collections")];
    folders.extend(described.collections.iter().cloned());
    let exists = |name: &str| {
        folders
            .iter()
            .any(|folder| contains_collection(folder, name))
    };
    let (installed, missing): (Vec<_>, Vec<_>) = needed.iter().partition(|(name, _)| exists(name));
    let mut findings: Vec<Finding> = missing
        .into_iter()
        .map(|of| not_installed(of, &folders))
        .collect();
    if !installed.is_empty() {
        let names: Vec<&str> = installed.iter().map(|(name, _)| name.as_str()).collect();
        findings.push(Area::Roles.ok("collections", names.join(", ")));
    }
    findings
}

fn not_installed((name, file): (&String, &PathBuf), folders: &[PathBuf]) -> Finding {
    let searched: Vec<String> = folders.iter().map(|f| f.display().to_string()).collect();
    Area::Roles.error(
        "collections",
        format!("{name} is not installed, but {} needs it", file.display()),
        format!(
            "ansible-galaxy collection install {name}, as the user that runs promansible (searched: {})",
            searched.join(", ")
        ),
    )
}

fn contains_collection(folder: &Path, name: &str) -> bool {
    let Some((namespace, collection)) = name.split_once('.') else {
        return false;
    };
    // A path may include the folder `ansible_collections` itself.
    let is_included = folder
        .file_name()
        .is_some_and(|name| name == "ansible_collections");
    let root = if is_included {
        folder.to_owned()
    } else {
        folder.join("ansible_collections")
    };
    root.join(namespace).join(collection).is_dir()
}
