//! The roles of collections, named `NAMESPACE.COLLECTION.ROLE`, and the folders to search for them.

use std::fs;
use std::path::{Path, PathBuf};

use super::Ansible;
use super::RoleKind;

/// The maximum number of roles to list.
const MAX_ROLES: usize = 2_000;

/// The variables in `ansible.environment` from which Ansible reads the folders of collections.
pub(super) const VARIABLES: [&str; 2] = ["ANSIBLE_COLLECTIONS_PATH", "ANSIBLE_COLLECTIONS_PATHS"];

/// Returns the folders that may contain `ansible_collections`, in the search order of a run: the playbook's own, and
/// those from `ansible.environment`, or else where `ansible-galaxy` installs. Collections inside Ansible's own package
/// are not searched.
pub(super) fn folders(playbook_dir: &Path, named: Option<&str>) -> Vec<PathBuf> {
    let mut folders = vec![playbook_dir.join("collections")];
    if let Some(paths) = named {
        folders.extend(paths.split(':').map(PathBuf::from));
        return folders;
    }
    let home = std::env::var_os("HOME").map(PathBuf::from);
    folders.extend(home.map(|home| home.join(".ansible/collections")));
    folders.push("/usr/share/ansible/collections".into());
    folders
}

impl Ansible {
    /// Returns the folders that directly contain role folders.
    pub fn role_folders(&self) -> Vec<PathBuf> {
        let kinds = [RoleKind::Alert, RoleKind::Routine];
        let own = kinds.map(|kind| self.playbook_dir.join(kind.as_str()).join("roles"));
        let mut named = VARIABLES
            .iter()
            .filter_map(|name| self.environment.get(*name));
        let collections = folders(&self.playbook_dir, named.next().map(String::as_str));
        let mut all = own.to_vec();
        for folder in collections {
            for (_, namespace) in subfolders(&folder.join("ansible_collections")) {
                all.extend(
                    subfolders(&namespace)
                        .into_iter()
                        .map(|(_, of)| of.join("roles")),
                );
            }
        }
        all
    }
}

/// Returns the name and folder of every role of the collections in these folders, sorted by name. If two folders
/// contain the same name, the first folder wins.
pub(super) fn roles(folders: &[PathBuf]) -> Vec<(String, PathBuf)> {
    let mut roles: Vec<(String, PathBuf)> = Vec::new();
    for folder in folders {
        for (namespace, inside) in subfolders(&folder.join("ansible_collections")) {
            for (collection, inside) in subfolders(&inside) {
                let of = subfolders(&inside.join("roles")).into_iter();
                let named = of.map(|(role, at)| (format!("{namespace}.{collection}.{role}"), at));
                roles.extend(named.take(MAX_ROLES.saturating_sub(roles.len())));
            }
        }
    }
    // The sort is stable: the role of the first folder stays first.
    roles.sort_by(|(a, _), (b, _)| a.cmp(b));
    roles.dedup_by(|(a, _), (b, _)| a == b);
    roles
}

/// Returns the subfolders whose names Ansible accepts as part of a collection's name; none if the folder cannot be
/// listed.
fn subfolders(dir: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let named =
        entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())));
    named
        .filter(|(name, path)| is_part(name) && path.is_dir())
        .collect()
}

/// Whether a name can be part of a collection's name: a Python identifier in ASCII.
fn is_part(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_found_as_ansible_finds_them() {
        let dir = tempfile::tempdir().unwrap();
        let (own, other) = (dir.path().join("own"), dir.path().join("other"));
        for path in [
            own.join("ansible_collections/acme/web/roles/restart/tasks"),
            own.join("ansible_collections/acme/web/roles/no-name/tasks"),
            own.join("ansible_collections/acme/web/playbooks/x"),
            own.join("ansible_collections/acme.web-1.0.info/a/roles/b"),
            other.join("ansible_collections/acme/web/roles/restart"),
            other.join("ansible_collections/acme/db/roles/vacuum"),
        ] {
            fs::create_dir_all(path).unwrap();
        }
        let found = roles(&[own.clone(), dir.path().join("gone"), other.clone()]);
        let names: Vec<(&str, &Path)> = found
            .iter()
            .map(|(n, p)| (n.as_str(), p.as_path()))
            .collect();
        assert_eq!(
            names,
            [
                (
                    "acme.db.vacuum",
                    &*other.join("ansible_collections/acme/db/roles/vacuum")
                ),
                (
                    "acme.web.restart",
                    &*own.join("ansible_collections/acme/web/roles/restart")
                ),
            ]
        );
    }
}
