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

/// Reads a configuration file, and looks at the files and role folders that it names.
///
/// Relative paths, in it as well, start at the working directory.
///
/// *Errors*: every defect that was found, with its place; where the YAML itself is broken, that one alone. Nothing is
/// half done: on an error the caller keeps the configuration that it has.
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

/// Lists the roles of a configuration that is in force again.
///
/// *Errors*: the playbook folder is not there, or a role declares what is wrong. The caller keeps the roles that it has.
pub fn list_roles(ansible: &Ansible) -> Result<Roles, ConfigErrors> {
    let dir = ansible.playbook_dir.display().to_string();
    let mut report = Report::new(&dir, "");
    let roles = files::look_again(ansible, &mut report);
    if roles.is_none() {
        report.add(None, "this is not a folder", None);
    }
    report.finish(roles.unwrap_or_default())
}

/// Builds a configuration from its text alone: no file is looked at.
///
/// *Errors*: as [`load`].
pub fn build(file_name: &str, text: &str, roles: &Roles) -> Result<Config, ConfigErrors> {
    spanned::parse(file_name, text)
        .and_then(|typed| validate::check(typed, Some(roles), Report::new(file_name, text)))
        .map_err(|errors| errors.hiding_values(text))
}
