//! Checks the files and folders that a configuration names.

use std::fs;
use std::path::Path;

use super::About;
use super::Ansible;
use super::RoleKind;
use super::Roles;
use super::collections;
use super::error::{Place, Report, place};
use super::http_client;
use super::raw::{AnsibleText, FileText};
use super::role_checks::{self, OfRoles};
use super::role_metadata::about;
use super::spanned::Scalar;
use super::values::is_usable;
use crate::util::names::role_defect;
use crate::util::secret_file::{self, SecretFileError};

/// Reports missing and unsuitable files, and lists the roles; `None` if there is no playbook folder.
pub(super) fn look(typed: &FileText, report: &mut Report<'_>) -> Option<Roles> {
    if let Some(storage) = &typed.storage
        && let Some(path) = &storage.path
        && Path::new(&path.value).is_dir()
    {
        let help = format!(
            "name a file in it: {}/promansible.redb",
            path.value.trim_end_matches('/')
        );
        report_defect(report, path, "storage.path is a folder", Some(help));
    }
    let sd = typed.service_discovery.iter().flat_map(|sd| &sd.files);
    for path in sd.flatten().filter_map(|file| file.value.path.as_ref()) {
        if Path::new(&path.value).is_dir() {
            let message = format!("{:?} is a folder", path.value);
            report_defect(report, path, &message, Some("name a file in it".to_owned()));
        }
    }
    let prometheus = typed.prometheus.iter().flat_map(|of| {
        let tls = of.tls_config.as_ref();
        http_client::files(of.basic_auth.as_ref(), of.authorization.as_ref(), tls)
            .map(|(key, file)| (format!("prometheus.{key}"), file))
    });
    let alertmanager = typed.alertmanager.iter().flat_map(|of| {
        let tls = of.tls_config.as_ref();
        http_client::files(of.basic_auth.as_ref(), of.authorization.as_ref(), tls)
            .map(|(key, file)| (format!("alertmanager.{key}"), file))
    });
    for (key, file) in prometheus.chain(alertmanager) {
        if let Some(file) = file {
            check_file(report, &key, file);
        }
    }
    for notifier in typed.notifiers.iter().flatten() {
        for (key, file) in notifier.value.files() {
            check_file(report, &format!("notifiers: {key}"), file);
        }
    }
    let tokens = typed.web.iter().flat_map(|web| &web.tokens).flatten();
    for file in tokens.filter_map(|token| token.value.file.as_ref()) {
        check_file(report, "web.tokens", file);
    }
    let ansible = typed.ansible.as_ref()?;
    check_ansible(ansible, report);
    let dir = ansible.playbook_dir.as_ref().filter(|dir| is_usable(dir))?;
    has_parts(report, dir)?;
    let environment = ansible.environment.iter().flat_map(|pairs| &pairs.0);
    let mut named = environment.filter(|(name, _)| collections::VARIABLES.contains(&&*name.value));
    let named = named.next().map(|(_, value)| value.value.as_str());
    Some(roles(
        Path::new(&dir.value),
        named,
        place(dir.referenced),
        report,
    ))
}

/// Reports defects of the programs, the inventory sources and the secret files for Ansible.
fn check_ansible(ansible: &AnsibleText, report: &mut Report<'_>) {
    if let Some(dir) = ansible.bin_dir.as_ref().filter(|dir| is_usable(dir)) {
        for program in ["ansible-playbook", "ansible-inventory"] {
            if !Path::new(&dir.value).join(program).is_file() {
                report_defect(
                    report,
                    dir,
                    &format!("ansible.bin_dir does not contain {program}"),
                    Some("set the folder that contains Ansible's programs, or remove bin_dir to search PATH".to_owned()),
                );
            }
        }
    }
    for source in ansible.inventory.iter().flat_map(|list| &list.value) {
        exists(report, "ansible.inventory", source);
    }
    let identities = ansible.vault_identities.iter().flat_map(|list| &list.value);
    let identities = identities.map(|of| ("ansible.vault_identities", &of.value.password_file));
    for (key, file) in [
        ("ansible.private_key_file", &ansible.private_key_file),
        ("ansible.vault_password_file", &ansible.vault_password_file),
        (
            "ansible.become_password_file",
            &ansible.become_password_file,
        ),
        (
            "ansible.connection_password_file",
            &ansible.connection_password_file,
        ),
    ]
    .into_iter()
    .chain(identities)
    {
        let Some(file) = file.as_ref().filter(|file| exists(report, key, file)) else {
            continue;
        };
        if Path::new(&file.value).is_dir() {
            report_defect(
                report,
                file,
                &format!("{key} is a folder"),
                Some("name a file".to_owned()),
            );
        } else if key == "ansible.private_key_file" {
            secret(report, file, secret_file::check);
        } else {
            secret(report, file, secret_file::check_unless_program);
        }
    }
}

/// Lists the roles again, like [`look`]; `None` if there is no playbook folder.
pub(super) fn look_again(ansible: &Ansible, report: &mut Report<'_>) -> Option<Roles> {
    if !ansible.playbook_dir.is_dir() {
        return None;
    }
    let mut named = collections::VARIABLES.iter();
    let named = named.find_map(|name| ansible.environment.get(*name));
    Some(roles(
        &ansible.playbook_dir,
        named.map(String::as_str),
        None,
        report,
    ))
}

/// Reports missing parts of a playbook folder; `None` if it is not a folder.
fn has_parts(report: &mut Report<'_>, dir: &Scalar) -> Option<()> {
    let path = Path::new(&dir.value);
    if !path.is_dir() {
        let message = format!("ansible.playbook_dir is not a folder: {:?}", dir.value);
        report_defect(report, dir, &message, Some(missing_path_help(&dir.value)));
        return None;
    }
    for part in ["run.yml", "plugins/callback/promansible.py"] {
        if !path.join(part).is_file() {
            report_defect(
                report,
                dir,
                &format!("ansible.playbook_dir does not contain {part}"),
                Some(
                    "use the playbook folder shipped with promansible, or a copy of it".to_owned(),
                ),
            );
        }
    }
    Some(())
}

/// Lists the roles under a playbook folder, and those of the collections that its runs find. `named` contains the
/// folders of collections, if the configuration sets them.
fn roles(dir: &Path, named: Option<&str>, at: Option<Place>, report: &mut Report<'_>) -> Roles {
    let mut list = |kind: RoleKind| {
        let folder = dir.join(kind.as_str()).join("roles");
        let listed = roles_in(&folder).unwrap_or_else(|error| {
            let kind = kind.as_str();
            let message = format!("the folder {kind}/roles cannot be listed: {error}");
            report.add(at, message, None);
            Vec::new()
        });
        let found = listed.into_iter();
        let found = found.map(|name| (kind, folder.join(&name), name));
        found.collect::<Vec<_>>()
    };
    let mut found = list(RoleKind::Alert);
    found.extend(list(RoleKind::Routine));
    let of_collections = collections::roles(&collections::folders(dir, named)).into_iter();
    found.extend(of_collections.map(|(name, folder)| (RoleKind::Collection, folder, name)));
    let about: Vec<About> = found
        .into_iter()
        .map(|(kind, folder, name)| about(kind, &name, folder))
        .collect();
    let OfRoles {
        checks,
        not_over_api,
    } = role_checks::look(&about, report);
    let of_kind = |kind: RoleKind| {
        let of_kind = about.iter().filter(|about| about.kind == kind);
        of_kind.map(|about| about.name.clone()).collect()
    };
    Roles {
        alert: of_kind(RoleKind::Alert),
        routine: of_kind(RoleKind::Routine),
        collection: of_kind(RoleKind::Collection),
        checks,
        not_over_api,
        about,
    }
}

/// Returns the names of the role folders in a folder, sorted; none if the folder does not exist.
fn roles_in(dir: &Path) -> std::io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        // A role may be a symbolic link. A name that is not UTF-8, or that Ansible would interpret, is not a role.
        if let Ok(name) = entry.file_name().into_string()
            && role_defect(&name).is_none()
            && entry.path().is_dir()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Whether a path exists; reports it otherwise.
fn exists(report: &mut Report<'_>, key: &str, file: &Scalar) -> bool {
    if !is_usable(file) {
        return false; // the check that follows reports it
    }
    let problem = match Path::new(&file.value).try_exists() {
        Ok(true) => return true,
        Ok(false) => "does not exist".to_owned(),
        Err(error) => format!("cannot be accessed ({error})"),
    };
    report_defect(
        report,
        file,
        &format!("{key}: {:?} {problem}", file.value),
        Some(missing_path_help(&file.value)),
    );
    false
}

/// Returns the help for a path that does not exist.
fn missing_path_help(path: &str) -> String {
    if path.contains(',') {
        return "a comma-separated host list is not supported here: use an inventory file"
            .to_owned();
    }
    if path.starts_with('~') {
        return "write the full path: ~ is not expanded".to_owned();
    }
    if Path::new(path).is_absolute() {
        return "check the path and the permissions of its parent folders".to_owned();
    }
    "relative paths are resolved from the working directory, not from this file".to_owned()
}

/// Reports a secret file that other users can read or write.
fn secret(report: &mut Report<'_>, file: &Scalar, check: fn(&Path) -> Result<(), SecretFileError>) {
    match check(Path::new(&file.value)) {
        Err(SecretFileError::WorldReadable(path)) => {
            let message =
                format!("{path:?} holds a secret, and everyone on this machine can read it");
            report_defect(report, file, &message, Some(format!("chmod o= {path}")));
        }
        Err(SecretFileError::WorldWritable(path)) => {
            let message =
                format!("{path:?} holds a secret, and everyone on this machine can write it");
            report_defect(report, file, &message, Some(format!("chmod o= {path}")));
        }
        Err(e) => report_defect(report, file, &e.to_string(), None),
        Ok(()) => {}
    }
}

/// Checks the file of a key. It is a secret file unless it contains certificates.
fn check_file(report: &mut Report<'_>, key: &str, file: &Scalar) {
    let is_public = key.ends_with("ca_file") || key.ends_with("cert_file");
    if exists(report, key, file) && !is_public {
        secret(report, file, secret_file::check);
    }
}

fn report_defect(report: &mut Report<'_>, value: &Scalar, message: &str, help: Option<String>) {
    report.add(place(value.referenced), message, help);
}
