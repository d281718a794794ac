//! Enrolled hosts, as the real Ansible sees them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use promansible::metrics::Metrics;
use promansible::model::inventory::EnrolledHost;
use promansible::model::run::Outcome;
use promansible::store;
use prometheus::Registry;
use serde_json::{Map, Value, json};

use crate::harness::{Bench, Version, on_both};

on_both![
    what_is_said_of_a_host_stays_data,
    the_sources_win,
    a_script_prints_it_without_a_warning,
    names_of_any_script_run
];

fn host(name: &str, groups: &[&str], vars: Value) -> EnrolledHost {
    let Value::Object(vars) = vars else {
        panic!("variables are a map")
    };
    EnrolledHost {
        name: name.to_owned(),
        address: Some("192.0.2.7".to_owned()),
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        vars,
        enrolled_at: chrono::DateTime::UNIX_EPOCH,
    }
}

/// Local, for there is no other machine here: no enrolled host can say so itself, but a group's variables can.
fn is_local(bench: &Bench, group: &str) {
    let vars =
        "ansible_connection: local\nansible_python_interpreter: '{{ ansible_playbook_python }}'\n";
    bench.write(&format!("inventory/group_vars/{group}.yml"), vars);
}

async fn names_of_any_script_run(version: Version) {
    const ROLE: &str = "重启 服务 (a:b) = #1 + @х";
    let mut bench = Bench::new(version);
    is_local(&bench, "edge");
    bench.enrolled = vec![Arc::new(host("主机-é", &["edge"], json!({"one": "ünï"})))];
    bench.work.roles = vec![ROLE.to_owned(), "नमस्ते".to_owned()];
    for role in [ROLE, "नमस्ते"] {
        bench.role(
            role,
            "
- name: Write who runs where
  ansible.builtin.lineinfile:
    path: OUT/seen
    line: \"{{ role_name }} {{ inventory_hostname }} {{ one }}\"
    create: true
    mode: '0600'
",
        );
    }
    let told = bench.run(&["主机-é"]).await;
    let judged = told.judged(None);
    assert_eq!(judged.outcome, Outcome::Successful, "{}", told.text());
    assert_eq!(
        fs::read_to_string(bench.out("seen")).unwrap(),
        format!("{ROLE} 主机-é ünï\nनमस्ते 主机-é ünï\n")
    );
    let roles: Vec<_> = told.tasks().filter_map(|task| task.role.clone()).collect();
    assert_eq!(roles, [ROLE, "नमस्ते"]);
}

async fn what_is_said_of_a_host_stays_data(version: Version) {
    let mut bench = Bench::new(version);
    is_local(&bench, "edge");
    let trap = bench.out("TRAP");
    let call = format!("{{{{ lookup('pipe', 'touch {}') }}}}", trap.display());
    let vars = json!({"one": call, "many": [{"k": call}, 7], "ansible_user": "deploy"});
    bench.enrolled = vec![Arc::new(host("app1", &["edge"], vars))];
    bench.role(
        "handle",
        "
- name: Use it
  ansible.builtin.debug:
    msg: \"{{ one }} and {{ many[0].k }}\"
- name: Write what is there
  ansible.builtin.copy:
    content: \"{{ {'one': one, 'many': many, 'host': ansible_host, 'groups': group_names, 'of': hostvars['app1'].one} | to_json }}\"
    dest: OUT/seen
    mode: '0600'
",
    );
    let told = bench.run(&["app1"]).await;
    let judged = told.judged(None);
    assert_eq!(judged.outcome, Outcome::Successful, "{}", told.text());
    assert!(!trap.exists(), "a variable was executed:\n{}", told.text());
    let seen: Value = serde_json::from_slice(&fs::read(bench.out("seen")).unwrap()).unwrap();
    assert_eq!(
        seen,
        json!({"one": call, "many": [{"k": call}, 7], "host": "192.0.2.7", "groups": ["edge"], "of": call})
    );
}

async fn the_sources_win(version: Version) {
    let mut bench = Bench::new(version);
    // A source got the name after promansible last looked.
    let vars = json!({"who": "enrolled"});
    bench.enrolled = vec![
        Arc::new(host("web1", &["edge"], vars.clone())),
        Arc::new(host("app1", &["web-servers"], vars)),
    ];
    bench.write(
        "inventory/host_vars/web1.yml",
        "who: file\nansible_host: 127.0.0.1\n",
    );
    is_local(&bench, "web-servers");
    bench.role(
        "handle",
        "- ansible.builtin.assert: {that: \"who == ('enrolled' if inventory_hostname == 'app1' else 'file')\"}
- ansible.builtin.assert: {that: \"groups['web-servers'] | length == 7\"}\n",
    );
    let told = bench.run(&["web1", "app1"]).await;
    let judged = told.judged(None);
    assert_eq!(judged.outcome, Outcome::Successful, "{}", told.text());
}

/// `config/geninventory` beside a configuration and a store that no server has.
#[allow(clippy::disallowed_methods, reason = "who asks here is no promansible")]
async fn a_script_prints_it_without_a_warning(version: Version) {
    let bench = Bench::new(version);
    let bin_dir = bench.settings.bin_dir.clone().unwrap();
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    bench.write(
        "inventory/hosts",
        "[web]\nweb1 ansible_host=192.0.2.1 secret=x\n",
    );
    bench.write(
        "config/promansible.yml",
        &format!(
            "ansible: {{playbook_dir: playbook, inventory: [inventory], bin_dir: {}}}\nstorage: {{path: data/p.redb}}\n",
            bin_dir.display()
        ),
    );
    fs::create_dir_all(bench.path("playbook/alert/roles/handle")).unwrap();
    fs::copy(
        project.join("config/geninventory"),
        bench.path("config/geninventory"),
    )
    .unwrap();
    fs::create_dir(bench.path("bin")).unwrap();
    symlink(
        env!("CARGO_BIN_EXE_promansible"),
        bench.path("bin/promansible"),
    )
    .unwrap();

    let metrics = Metrics::new(Registry::new()).unwrap();
    let path = bench.path("data/p.redb");
    let store = store::open(&path, &metrics, chrono::DateTime::UNIX_EPOCH)
        .unwrap()
        .store;
    let vars = json!({"note": "{{ lookup('pipe', 'false') }}", "ansible_port": 2222});
    store
        .enroll_host(host("app1", &["web", "edge"], vars))
        .await
        .unwrap();
    store.close().await;

    let path = std::env::join_paths([
        bench.path("bin").as_path(),
        &bin_dir,
        Path::new("/usr/bin"),
        Path::new("/bin"),
    ]);
    let ask = |args: &[&str]| {
        let mut command = Command::new(bin_dir.join("ansible-inventory"));
        let output = command
            .args(["-i", bench.path("config/geninventory").to_str().unwrap()])
            .args(args)
            .env("PATH", path.as_ref().unwrap())
            .env("PROMANSIBLE_SERVER_URL", "http://127.0.0.1:9")
            .env("ANSIBLE_HOME", bench.path("home"))
            .env("LC_ALL", "C.UTF-8")
            .current_dir("/")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{said}");
        serde_json::from_slice::<Map<String, Value>>(&output.stdout).unwrap()
    };
    let listed = ask(&["--list"]);
    assert_eq!(listed["web"]["hosts"], json!(["web1", "app1"]));
    assert_eq!(listed["edge"]["hosts"], json!(["app1"]));
    let hostvars = &listed["_meta"]["hostvars"];
    // What the sources say of a host beyond its address is not known to promansible, and may be secret.
    assert_eq!(hostvars["web1"], json!({"ansible_host": "192.0.2.1"}));
    let note = json!({"__ansible_unsafe": "{{ lookup('pipe', 'false') }}"});
    assert_eq!(hostvars["app1"]["note"], note);
    assert_eq!(hostvars["app1"]["ansible_port"], 2222);
    let one = ask(&["--host", "app1"]);
    assert_eq!(one["ansible_host"], "192.0.2.7");
}
