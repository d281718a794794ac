//! Roles of collections: where they are looked for, and how they are named (`NAMESPACE.COLLECTION.ROLE`).

use std::fs;
use std::path::{Path, PathBuf};

use super::Ansible;
use super::RoleKind;

/// More roles than a person chooses from.
const MAX_ROLES: usize = 2_000;

/// The variables by which the configuration's `environment` may name the folders of collections, as Ansible reads them.
pub(super) const VARIABLES: [&str; 2] = ["ANSIBLE_COLLECTIONS_PATH", "ANSIBLE_COLLECTIONS_PATHS"];

/// The folders that hold an `ansible_collections`, in the order in which a run looks through them: the playbook's own, and
/// those that the configuration's `environment` names, or where `ansible-galaxy` installs. What comes inside of Ansible's
/// own package is not looked at.
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
    /// The folders in which roles are looked for, at their first level.
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

/// Every role of the collections in these folders: its name, and where it is. Sorted; of a name that stands in two folders
/// the first counts.
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
    // A stable sort: the first folder's stays first.
    roles.sort_by(|(a, _), (b, _)| a.cmp(b));
    roles.dedup_by(|(a, _), (b, _)| a == b);
    roles
}

/// The folders in a folder whose names Ansible takes for a part of a collection's name; none where it cannot be listed.
fn subfolders(dir: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let named =
        entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())));
    named
        .filter(|(name, path)| is_part(name) && path.is_dir())
        .collect()
}

/// Whether it can be a part of such a name: a Python identifier of ASCII letters.
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
