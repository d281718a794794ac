//! A host that is enrolled is reached like any other, over the real sshd; and Ansible finds it through the script.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::stack::Failure;
use crate::stack::ansible::{Release, project};
use crate::stack::http;
use crate::stack::inventory;
use crate::stack::process;
use crate::stack::promansible::{Promansible, Settings};
use crate::stack::site::Site;
use crate::stack::sshd::Sshd;
use crate::stack::world::Folder;

const BINDING: &str = r#"
  - name: reach
    matchers: ['alertname = "Lost"']
    roles: [start_service]
    target: {alerting_host: instance}
"#;

#[test]
fn an_enrolled_host_is_reached_and_its_variables_are_data() -> Result<(), Failure> {
    let folder = Folder::new()?;
    let dir = folder.path();
    let site = Site::start("app01", &dir.join("app01"))?;
    let sshd = Sshd::start(&dir.join("sshd"))?;
    let bin_dir = Release::V2_19.bin_dir()?;
    let io = |e: std::io::Error| Failure::new(format!("{}: {e}", dir.display()));
    // How hosts are reached is the same for all of them; no host but this one is there yet.
    let sources = dir.join("inventory");
    let rendered = inventory::render(&sshd, &[], &["db01"], dir);
    // A program is nothing for the API: the sources say it for the group.
    let command = json!([site.start_script()]);
    let of_group = format!("\n[app]\n\n[app:vars]\nstart_service_command={command}\n");
    fs::write(&sources, rendered + &of_group).map_err(io)?;
    let settings = Settings {
        bin_dir: bin_dir.clone(),
        inventory: sources.clone(),
        bindings: BINDING.to_owned(),
        runs: "{timeout: 2m, grace: 10s, batch_window: 0s}".to_owned(),
    };
    let binary = Path::new(env!("CARGO_BIN_EXE_promansible"));
    let promansible = Promansible::start(binary, &dir.join("promansible"), &settings)?;
    let trap = dir.join("TRAP");
    let call = format!("{{{{ lookup('pipe', 'touch {}') }}}}", trap.display());
    let host = json!({
        "name": "app01", "address": "127.0.0.1", "groups": ["app"],
        "vars": {
            "note": call, "ansible_user": sshd.user, "ansible_port": sshd.port, "start_service_url": site.url(),
            "start_service_seconds": 20,
        },
    });
    let mut armed = host.clone();
    armed["vars"]["start_service_command"] = command;
    let answer = http::post(promansible.port, "/api/v1/hosts", &armed.to_string())?;
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(
        answer
            .body
            .contains("over the API (not_over_api in its meta/promansible.yml)"),
        "{}",
        answer.body
    );
    let answer = http::post(promansible.port, "/api/v1/hosts", &host.to_string())?;
    assert_eq!(answer.status, 201, "{}", answer.body);

    site.break_down()?;
    let limit = Duration::from_mins(2);
    let alert = json!({
        "version": "4", "groupKey": "g", "receiver": "r", "status": "firing", "truncatedAlerts": 0,
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "",
        "alerts": [{
            "status": "firing", "labels": {"alertname": "Lost", "instance": site.instance()}, "annotations": {},
            "startsAt": "2026-01-01T00:00:00Z", "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "",
            "fingerprint": "0000000000000001",
        }],
    });
    assert_eq!(promansible.notify(&alert)?.status, 200);
    let run = promansible.finished(1, limit)?;
    assert_eq!(run["hosts"], json!(["app01"]), "{run:#}");
    assert_eq!(
        run["outcome"],
        "successful",
        "{run:#}\n{}",
        promansible.output(1)?
    );
    assert!(site.answers(), "its site was started again");

    // The same way through Ansible alone, with the script in the place of an inventory; what the sources say comes after it.
    let bin = dir.join("bin");
    fs::create_dir(&bin).map_err(io)?;
    symlink(binary, bin.join("promansible")).map_err(io)?;
    let search = std::env::join_paths([&bin, &bin_dir, &"/usr/bin".into(), &"/bin".into()]);
    let search = search.map_err(|e| Failure::new(e.to_string()))?;
    let output = process::command(bin_dir.join("ansible-playbook"))
        .arg("-i")
        .arg(project().join("config/geninventory"))
        .arg("-i")
        .arg(&sources)
        .args(["-e", "target=app", "playbook/ping.yml"])
        .env("PATH", search)
        .env(
            "PROMANSIBLE_SERVER_URL",
            format!("http://127.0.0.1:{}", promansible.port),
        )
        .env("ANSIBLE_HOME", dir.join("home"))
        .env(
            "ANSIBLE_ROLES_PATH",
            project().join("playbook/routine/roles"),
        )
        .env("LC_ALL", "C.UTF-8")
        .current_dir(project())
        .output()
        .map_err(io)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let warned = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && said.contains("app01 "),
        "{said}\n{warned}"
    );
    assert!(
        !said.contains("db01") && warned.is_empty(),
        "{said}\n{warned}"
    );
    assert!(!trap.exists(), "a variable was executed");
    Ok(())
}
