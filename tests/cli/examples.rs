//! The schedules that the documentation shows: whoever copies one has one that runs.

use std::fs;
use std::path::{Path, PathBuf};

use promansible::config;

use crate::support::{promansible, run};

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What stands under `schedules:` in the YAML of a page, or in the comments of the example configuration.
fn shown(page: &Path) -> Option<String> {
    let text = fs::read_to_string(page).unwrap();
    if page.extension().is_some_and(|extension| extension == "yml") {
        let lines = text.lines().filter_map(|line| line.strip_prefix("# "));
        let lines: Vec<&str> = lines.skip_while(|line| *line != "schedules:").collect();
        return (!lines.is_empty()).then(|| lines.join("\n"));
    }
    let blocks = text.split("```yaml\n").skip(1);
    blocks
        .filter_map(|block| block.split("```").next())
        .find(|block| block.starts_with("schedules:\n"))
        .map(str::to_owned)
}

fn routine_roles() -> Vec<PathBuf> {
    let folder = project().join("playbook/routine/roles");
    let mut roles: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    roles.sort();
    roles
}

#[test]
fn every_routine_role_shows_a_schedule_and_what_is_shown_runs() {
    let dir = tempfile::tempdir().unwrap();
    let mut pages = vec![
        (project().join("config/promansible.yml"), None),
        (project().join("playbook/README.md"), None),
    ];
    for role in routine_roles() {
        let name = role.file_name().unwrap().to_str().unwrap().to_owned();
        pages.push((role.join("README.md"), Some(name)));
    }
    assert!(pages.len() > 10, "{pages:?}");
    for (page, role) in pages {
        let place = page.display();
        let schedules = shown(&page).unwrap_or_else(|| panic!("{place} shows no schedule"));
        let file = dir.path().join("promansible.yml");
        let text = format!(
            "ansible: {{playbook_dir: {}, inventory: [/dev/null]}}\nstorage: {{path: {}}}\nbindings: []\n{schedules}\n",
            project().join("playbook").display(),
            dir.path().join("store.redb").display(),
        );
        fs::write(&file, text).unwrap();
        let checked = run(promansible().args(["check", "config"]).arg(&file));
        let said = String::from_utf8_lossy(&checked.stderr);
        assert_eq!(checked.status.code(), Some(0), "{place}: {said}");

        let config = config::load(&file).unwrap();
        for schedule in &config.schedules {
            let work = &schedule.work;
            if let Some(role) = &role {
                assert_eq!(work.roles, std::slice::from_ref(role), "{place}");
            }
            // What is required must be there, for the inventory that goes with it is not known.
            let taken = config.roles.check_vars(&work.roles, &work.vars, &|_| false);
            taken.unwrap_or_else(|e| panic!("{place}: {e}"));
        }
        assert!(!config.schedules.is_empty(), "{place}");
    }
}
