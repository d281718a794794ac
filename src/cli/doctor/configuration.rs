//! Checks the configuration, and the files with secrets in it.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::finding::{Area, Finding};
use crate::auth::Auth;
use crate::cli::check;
use crate::cli::format::count;
use crate::config::{self, Config, Web};

/// Checks both files, and returns the configuration if it is valid.
pub(super) fn check(file: &Path, web: Option<PathBuf>) -> (Option<Config>, Vec<Finding>) {
    let mut findings = Vec::new();
    let name = file.display().to_string();
    let config = match config::load(file) {
        Ok(config) => {
            findings.push(good(&name, &config));
            let warnings = check::warnings(&config, file).into_iter();
            findings.extend(warnings.map(|why| Area::Configuration.warning(&name, why, "")));
            findings.extend(secrets(&config));
            Some(config)
        }
        Err(errors) => {
            let said = errors.render(false);
            // The other lines of a defect quote the file.
            let defects: Vec<&str> = said.split("\n\n").collect();
            findings.extend(defects.iter().map(|defect| {
                let first = defect.lines().next().unwrap_or_default();
                // The subject names the file already.
                let first = first.strip_prefix(&format!("{name}: ")).unwrap_or(first);
                Area::Configuration.error(
                    &name,
                    first.trim(),
                    format!("correct it; `promansible check config {name}` shows the line and its correction"),
                )
            }));
            None
        }
    };
    if let Some(web) = web {
        let name = web.display().to_string();
        let section = config.as_ref().map_or_else(Web::default, |c| c.web.clone());
        findings.push(match Auth::open(Some(web), &section, false) {
            Ok(_) => Area::Configuration.ok(&name, "valid, including its certificates"),
            Err(e) => Area::Configuration.error(
                &name,
                e.to_string(),
                "correct it; see docs/authentication.md",
            ),
        });
    }
    (config, findings)
}

fn good(name: &str, config: &Config) -> Finding {
    let bindings = config.bindings.len() as u64;
    let schedules = config.schedules.len() as u64;
    let valid = format!(
        "valid ({}, {})",
        count(bindings, "binding"),
        count(schedules, "schedule")
    );
    if bindings + schedules == 0 {
        return Area::Configuration.warning(
            name,
            format!("{valid}: no alert and no schedule runs anything"),
            "bind a role to an alert: add it to `bindings` in this file, or with `promansible bindings add` on a running server",
        );
    }
    Area::Configuration.ok(name, valid)
}

/// Checks that we can read the files with secrets. Loading the configuration already rejects files that all users can read.
fn secrets(config: &Config) -> Vec<Finding> {
    let ansible = &config.ansible;
    let of_ansible = [
        &ansible.private_key_file,
        &ansible.vault_password_file,
        &ansible.become_password_file,
        &ansible.connection_password_file,
    ];
    let files: Vec<&PathBuf> = of_ansible
        .into_iter()
        .flatten()
        .chain(ansible.vault_identities.iter().map(|of| &of.password_file))
        .chain(config.web.tokens.iter().map(|token| &token.file))
        .collect();
    let unreadable = files.iter().filter_map(|file| {
        let error = File::open(file).err()?;
        let user = nix::unistd::Uid::effective();
        Some(Area::Configuration.error(
            &file.display().to_string(),
            format!("contains a secret, but the user {user} cannot read it: {error}"),
            "make it readable only for the user that runs promansible: chown, and chmod 0600",
        ))
    });
    let mut findings: Vec<Finding> = unreadable.collect();
    if findings.is_empty() && !files.is_empty() {
        let number = count(files.len() as u64, "file");
        findings.push(Area::Configuration.ok(
            "secrets",
            format!("{number}, readable for this user and not for all users"),
        ));
    }
    findings
}
