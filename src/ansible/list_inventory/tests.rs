use std::collections::BTreeMap;

use super::*;

fn settings(root: &Path) -> config::Ansible {
    config::Ansible {
        bin_dir: None,
        playbook_dir: root.join("playbook"),
        inventory: vec![root.join("inventory/hosts"), root.join("more")],
        inventory_refresh: Duration::from_mins(5),
        inventory_timeout: Duration::from_mins(1),
        inventory_max_age: Duration::from_mins(15),
        inventory_shrink: config::InventoryShrink {
            max_percent: 50,
            believe_after: Duration::from_mins(10),
        },
        user: None,
        private_key_file: None,
        r#become: false,
        forks: 1,
        gather_facts: false,
        vault_password_file: None,
        vault_identities: Vec::new(),
        become_password_file: None,
        connection_password_file: None,
        environment: BTreeMap::new(),
    }
}

#[test]
fn every_file_that_matters_changes_the_fingerprint_and_no_other() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    for folder in [
        "inventory/group_vars",
        "more/deep",
        "playbook/host_vars",
        "playbook/alert",
    ] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let settings = settings(root);
    let mut last = fingerprint(&settings);
    for file in [
        "inventory/hosts",
        "inventory/group_vars/all.yml",
        "more/deep/hosts.yml",
        "playbook/host_vars/web1.yml",
    ] {
        for text in ["a", "longer"] {
            fs::write(root.join(file), text).unwrap();
            let now = fingerprint(&settings);
            assert_ne!(now, last, "{file} {text}");
            assert_eq!(fingerprint(&settings), now);
            last = now;
        }
    }
    fs::write(root.join("playbook/alert/main.yml"), "x").unwrap();
    fs::write(root.join("inventory/other"), "x").unwrap();
    assert_eq!(fingerprint(&settings), last);
    fs::remove_file(root.join("more/deep/hosts.yml")).unwrap();
    assert_ne!(fingerprint(&settings), last);
}

#[test]
fn links_that_lead_round_end() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    fs::create_dir_all(root.join("real")).unwrap();
    std::os::unix::fs::symlink(root.join("real"), root.join("more")).unwrap();
    std::os::unix::fs::symlink(root, root.join("real/up")).unwrap();
    let before = fingerprint(&settings(root));
    fs::write(root.join("real/hosts"), "x").unwrap();
    assert_ne!(
        fingerprint(&settings(root)),
        before,
        "a source may be a link to a folder"
    );
}

#[test]
fn the_version_is_read_from_what_ansible_prints() {
    let told = |text: &str| parse_version(text).map(|(_, numbers)| numbers);
    let new = "ansible-inventory [core 2.19.14]\n  config file = None\n";
    assert_eq!(told(new), Some((2, 19)));
    assert_eq!(told("ansible-inventory [core 2.16.19] \n"), Some((2, 16)));
    assert_eq!(told("ansible-inventory [core 2.20.0b1]"), Some((2, 20)));
    for other in [
        "",
        "ansible 2.9.27",
        "[core two]",
        "[core 2]",
        "[core 2.x.1]",
    ] {
        assert_eq!(told(other), None, "{other:?}");
    }
}
