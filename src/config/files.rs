//! The files and folders that a configuration names.

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

/// Notes what is missing on the disk, and lists the roles; `None` if there is no folder to list them from.
pub(super) fn look(typed: &FileText, report: &mut Report<'_>) -> Option<Roles> {
    if let Some(storage) = &typed.storage
        && let Some(path) = &storage.path
        && Path::new(&path.value).is_dir()
    {
        let help = format!(
            "name a file in it: {}/promansible.redb",
            path.value.trim_end_matches('/')
        );
        wrong(report, path, "storage.path is a folder", Some(help));
    }
    let sd = typed.service_discovery.iter().flat_map(|sd| &sd.files);
    for path in sd.flatten().filter_map(|file| file.value.path.as_ref()) {
        if Path::new(&path.value).is_dir() {
            let message = format!("{:?} is a folder", path.value);
            wrong(report, path, &message, Some("name a file in it".to_owned()));
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
            look_at(report, &key, file);
        }
    }
    for notifier in typed.notifiers.iter().flatten() {
        for (key, file) in notifier.value.files() {
            look_at(report, &format!("notifiers: {key}"), file);
        }
    }
    let tokens = typed.web.iter().flat_map(|web| &web.tokens).flatten();
    for file in tokens.filter_map(|token| token.value.file.as_ref()) {
        look_at(report, "web.tokens", file);
    }
    let ansible = typed.ansible.as_ref()?;
    of_ansible(ansible, report);
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

/// Notes what is wrong with the programs, the sources and the files with secrets that Ansible is given.
fn of_ansible(ansible: &AnsibleText, report: &mut Report<'_>) {
    if let Some(dir) = ansible.bin_dir.as_ref().filter(|dir| is_usable(dir)) {
        for program in ["ansible-playbook", "ansible-inventory"] {
            if !Path::new(&dir.value).join(program).is_file() {
                wrong(
                    report,
                    dir,
                    &format!("ansible.bin_dir holds no {program}"),
                    Some("name the folder that Ansible's programs are in, or leave bin_dir out to search PATH".to_owned()),
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
            wrong(
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

/// Lists the roles again, as [`look`] does; `None` if there is no playbook folder.
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

/// Notes what a playbook folder lacks; `None` if it is no folder.
fn has_parts(report: &mut Report<'_>, dir: &Scalar) -> Option<()> {
    let path = Path::new(&dir.value);
    if !path.is_dir() {
        let message = format!("ansible.playbook_dir is not a folder: {:?}", dir.value);
        wrong(report, dir, &message, Some(from_where(&dir.value)));
        return None;
    }
    for part in ["run.yml", "plugins/callback/promansible.py"] {
        if !path.join(part).is_file() {
            wrong(
                report,
                dir,
                &format!("ansible.playbook_dir holds no {part}"),
                Some(
                    "name the playbook folder that comes with promansible, or a copy of it"
                        .to_owned(),
                ),
            );
        }
    }
    Some(())
}

/// The roles under a playbook folder, and those of the collections that its runs find. `named` says where those are, if the
/// configuration does.
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

/// The names of the role folders in a folder, sorted; none if there is no such folder.
fn roles_in(dir: &Path) -> std::io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        // A role may be a link to one; a name that is no UTF-8, or that Ansible would take for something else, is no role's.
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

/// Whether a path leads anywhere; noted if not.
fn exists(report: &mut Report<'_>, key: &str, file: &Scalar) -> bool {
    if !is_usable(file) {
        return false; // the check that follows says so
    }
    let problem = match Path::new(&file.value).try_exists() {
        Ok(true) => return true,
        Ok(false) => "does not exist".to_owned(),
        Err(error) => format!("cannot be looked at ({error})"),
    };
    wrong(
        report,
        file,
        &format!("{key}: {:?} {problem}", file.value),
        Some(from_where(&file.value)),
    );
    false
}

/// Where a path that leads nowhere was searched.
fn from_where(path: &str) -> String {
    if path.contains(',') {
        return "hosts with commas between them are not taken here: write them into an inventory file".to_owned();
    }
    if path.starts_with('~') {
        return "write the home folder out: ~ is not expanded here".to_owned();
    }
    if Path::new(path).is_absolute() {
        return "check the path and the rights on the folders above it".to_owned();
    }
    "a relative path starts at the working directory, not at this file".to_owned()
}

/// Notes what is wrong with a file that holds a secret.
fn secret(report: &mut Report<'_>, file: &Scalar, check: fn(&Path) -> Result<(), SecretFileError>) {
    match check(Path::new(&file.value)) {
        Err(SecretFileError::WorldReadable(path)) => {
            let message =
                format!("{path:?} holds a secret, and everyone on this machine can read it");
            wrong(report, file, &message, Some(format!("chmod o= {path}")));
        }
        Err(SecretFileError::WorldWritable(path)) => {
            let message =
                format!("{path:?} holds a secret, and everyone on this machine can write it");
            wrong(report, file, &message, Some(format!("chmod o= {path}")));
        }
        Err(e) => wrong(report, file, &e.to_string(), None),
        Ok(()) => {}
    }
}

/// Looks at a file of this key, which holds a secret unless it is one of certificates.
fn look_at(report: &mut Report<'_>, key: &str, file: &Scalar) {
    let is_public = key.ends_with("ca_file") || key.ends_with("cert_file");
    if exists(report, key, file) && !is_public {
        secret(report, file, secret_file::check);
    }
}

fn wrong(report: &mut Report<'_>, value: &Scalar, message: &str, help: Option<String>) {
    report.add(place(value.referenced), message, help);
}
