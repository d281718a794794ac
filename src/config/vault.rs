//! The key `ansible.vault_identities`, from YAML to [`VaultIdentity`]s.

use std::collections::HashSet;
use std::path::PathBuf;

use serde_saphyr::Spanned;

use super::error::{Report, place};
use super::raw::VaultIdentityText;
use super::values::{path, text};

/// The name of a vault, and the file with its password; Ansible runs the file if it is executable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultIdentity {
    /// Its name, as in `ansible-vault encrypt --vault-id NAME@…`.
    pub id: String,
    pub password_file: PathBuf,
}

const HELP: &str =
    "write them as in vault_identities: [{id: prod, password_file: /etc/promansible/vault-prod}]";

/// Checks each identity, and that the names are unique.
pub(super) fn identities(
    typed: Option<Spanned<Vec<Spanned<VaultIdentityText>>>>,
    report: &mut Report<'_>,
) -> Vec<VaultIdentity> {
    let mut seen = HashSet::new();
    let mut identities = Vec::new();
    for Spanned {
        value, referenced, ..
    } in typed.into_iter().flat_map(|list| list.value)
    {
        for (key, is_there) in [
            ("id", value.id.is_some()),
            ("password_file", value.password_file.is_some()),
        ] {
            if !is_there {
                report.add(
                    place(referenced),
                    format!("ansible.vault_identities: this entry has no {key}"),
                    Some(HELP.to_owned()),
                );
            }
        }
        if let Some(id) = &value.id {
            // Ansible treats the text after an @ as the file.
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
            let place = place(id.referenced);
            if !(1..=64).contains(&id.value.len()) || !id.value.bytes().all(allowed) {
                report.add(
                    place,
                    format!(
                        "ansible.vault_identities: {:?} is not a valid vault id",
                        id.value
                    ),
                    Some("use 1 to 64 letters, digits and _ . -".to_owned()),
                );
            } else if !seen.insert(id.value.clone()) {
                report.add(
                    place,
                    format!(
                        "ansible.vault_identities: the id {:?} is used twice",
                        id.value
                    ),
                    Some("use a unique id for each".to_owned()),
                );
            }
        }
        let id = text("ansible.vault_identities: id", value.id, report);
        let key = "ansible.vault_identities: password_file";
        let file = path(key, value.password_file, report);
        if let (Some(id), Some(password_file)) = (id, file) {
            identities.push(VaultIdentity { id, password_file });
        }
    }
    identities
}
