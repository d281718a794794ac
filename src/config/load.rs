//! From a path to a [`Config`].

use std::path::Path;

use super::Ansible;
use super::Config;
use super::Roles;
use super::error::{ConfigErrors, Report};
use super::files;
use super::read::read;
use super::spanned;
use super::validate;

/// Reads a configuration file, and checks the files and role folders that it names.
///
/// Relative paths, also in the file, start at the working directory.
///
/// *Errors*: all defects with their places; if the YAML is invalid, only that. After an error, the caller keeps its
/// current configuration.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let file = path.display().to_string();
    let text = read(path, &file)?;
    let read = || {
        let typed = spanned::parse(&file, &text)?;
        let mut report = Report::new(&file, &text);
        let roles = files::look(&typed, &mut report);
        validate::check(typed, roles.as_ref(), report)
    };
    read().map_err(|errors: ConfigErrors| errors.hiding_values(&text))
}

/// Lists the roles of the current configuration again.
///
/// *Errors*: the playbook folder is missing, or the declaration of a role is wrong. The caller keeps its current roles.
pub fn list_roles(ansible: &Ansible) -> Result<Roles, ConfigErrors> {
    let dir = ansible.playbook_dir.display().to_string();
    let mut report = Report::new(&dir, "");
    let roles = files::look_again(ansible, &mut report);
    if roles.is_none() {
        report.add(None, "this is not a folder", None);
    }
    report.finish(roles.unwrap_or_default())
}

/// Builds a configuration from its text, without access to files.
///
/// *Errors*: as [`load`].
pub fn build(file_name: &str, text: &str, roles: &Roles) -> Result<Config, ConfigErrors> {
    spanned::parse(file_name, text)
        .and_then(|typed| validate::check(typed, Some(roles), Report::new(file_name, text)))
        .map_err(|errors| errors.hiding_values(text))
}
