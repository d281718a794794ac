use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::ansible::AlertData;
use crate::model::alert::{LabelSet, Status};
use crate::model::inventory::EnrolledHost;
use crate::model::run::{RunId, Trigger, Work};

use super::*;

fn settings() -> config::Ansible {
    config::Ansible {
        bin_dir: Some("/opt/ansible/bin".into()),
        playbook_dir: "/srv/playbook".into(),
        inventory: vec!["/srv/inventory".into(), "/srv/hosts.py".into()],
        inventory_refresh: Duration::from_mins(5),
        inventory_timeout: Duration::from_mins(1),
        inventory_max_age: Duration::from_mins(15),
        inventory_shrink: config::InventoryShrink {
            max_percent: 50,
            believe_after: Duration::from_mins(10),
        },
        user: None,
        private_key_file: None,
        r#become: true,
        forks: 20,
        gather_facts: false,
        vault_password_file: None,
        become_password_file: None,
        vault_identities: Vec::new(),
        connection_password_file: None,
        environment: BTreeMap::new(),
    }
}

fn work() -> Work {
    Work {
        roles: vec!["handle_disk".into(), "report".into()],
        controller: false,
        vars: json!({"reclaim_paths": ["/var/cache"], "greeting": "{{ inventory_hostname }}"})
            .as_object()
            .unwrap()
            .clone(),
        r#become: true,
        gather_facts: false,
        check: false,
        timeout: Duration::from_mins(10),
        allow_overlap: false,
        rerun_on_interrupt: false,
        narrowing: crate::model::run::Narrowing::default(),
        inert_vars: false,
    }
}

fn alert(labels: &[(&str, &str)]) -> AlertData {
    AlertData {
        status: Status::Firing,
        labels: labels
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        annotations: LabelSet::from([("summary".to_owned(), "{{ 7 * 7 }}".to_owned())]),
        starts_at: "2026-01-02T03:04:05Z".into(),
        fingerprint: "00112233445566aa".into(),
        generator_url: "http://prometheus/graph".into(),
    }
}

struct RunEnding {
    trigger: Trigger,
    settings: config::Ansible,
    work: Work,
    hosts: Vec<String>,
    enrolled: Vec<Arc<EnrolledHost>>,
    alerts: BTreeMap<String, Vec<AlertData>>,
    base: BTreeMap<String, OsString>,
    dir: PathBuf,
}

impl RunEnding {
    fn new() -> Self {
        let base = [
            ("PATH", "/usr/bin:/bin"),
            ("HOME", "/home/deploy"),
            ("LD_PRELOAD", "x.so"),
            ("LC_ALL", "POSIX"),
        ];
        Self {
            trigger: Trigger::Alert,
            settings: settings(),
            work: work(),
            hosts: vec!["web1".into(), "web2".into()],
            enrolled: Vec::new(),
            alerts: BTreeMap::from([
                (
                    "web1".to_owned(),
                    vec![
                        alert(&[("mountpoint", "/var")]),
                        alert(&[("mountpoint", "/srv")]),
                    ],
                ),
                ("web2".to_owned(), vec![alert(&[("mountpoint", "/")])]),
            ]),
            base: base
                .map(|(name, value)| (name.to_owned(), value.into()))
                .into(),
            dir: "/run/promansible/42".into(),
        }
    }

    fn build(&self) -> Result<CommandLine, BuildError> {
        let spec = Spec {
            run: RunId(42),
            trigger: self.trigger,
            binding: Some("disk-will-fill"),
            work: &self.work,
            kind: RoleKind::Alert,
            hosts: &self.hosts,
            enrolled: &self.enrolled,
            alerts: &self.alerts,
        };
        let paths = Paths {
            dir: self.dir.clone(),
            store: "5f1c",
            base: &self.base,
            has_config: true,
        };
        build(&self.settings, &spec, &paths)
    }

    fn vars(&self) -> Value {
        serde_json::from_slice(&self.build().unwrap().files[0].1).unwrap()
    }
}

fn shown(line: &CommandLine) -> Value {
    let text = |text: &OsString| text.to_str().unwrap().to_owned();
    json!({
        "program": line.program,
        "args": line.args.iter().map(text).collect::<Vec<_>>(),
        "cwd": line.cwd,
        "dirs": line.dirs,
        "env": line.env.iter().map(|(name, value)| (name.clone(), text(value))).collect::<BTreeMap<_, _>>(),
        "files": line.files.iter().map(|(path, bytes)| {
            (path.to_str().unwrap().to_owned(), serde_json::from_slice::<Value>(bytes).unwrap())
        }).collect::<BTreeMap<_, _>>(),
    })
}

#[test]
fn a_plain_run() {
    insta::assert_json_snapshot!(shown(&RunEnding::new().build().unwrap()));
}

#[test]
fn a_run_with_every_setting() {
    let mut case = RunEnding::new();
    case.settings.user = Some("deploy".into());
    case.settings.private_key_file = Some("/etc/promansible/id_ed25519".into());
    case.settings.vault_password_file = Some("/etc/promansible/vault-pass".into());
    case.settings.become_password_file = Some("/etc/promansible/become-pass".into());
    case.settings.connection_password_file = Some("/etc/promansible/ssh-pass".into());
    case.settings.environment = [
        ("ANSIBLE_TIMEOUT", "5"),
        ("ANSIBLE_CALLBACKS_ENABLED", "timer,profile_tasks"),
        ("ANSIBLE_CALLBACK_PLUGINS", "/srv/callbacks"),
        ("ANSIBLE_INJECT_FACT_VARS", "True"),
        ("PROMANSIBLE_RUN", "stolen"),
        ("LANG", "en_US.UTF-8"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    case.settings.bin_dir = None;
    case.work.check = true;
    case.work.gather_facts = true;
    let line = shown(&case.build().unwrap());
    insta::assert_json_snapshot!(
        json!({"program": line["program"], "args": line["args"], "env": line["env"]})
    );
}

/// What `check config` says of keys in an `ansible.cfg` is true.
#[test]
fn what_is_said_to_override_the_users_ansible_cfg_is_there() {
    let mut case = RunEnding::new();
    case.settings.user = Some("deploy".into());
    let file = || Some("/etc/promansible/secret".into());
    case.settings.private_key_file = file();
    case.settings.vault_password_file = file();
    case.settings.become_password_file = file();
    case.settings.connection_password_file = file();
    let line = case.build().unwrap();
    let (variables, arguments) = crate::ansible::ineffective_keys::tests::said();
    for name in variables {
        assert!(line.env.contains_key(name), "{name}");
    }
    let args: Vec<&str> = line.args.iter().filter_map(|arg| arg.to_str()).collect();
    for start in arguments {
        assert!(args.iter().any(|arg| arg.starts_with(start)), "{start}");
    }
    let play = std::fs::read_to_string("playbook/run.yml").unwrap();
    assert!(play.contains("\n  become: ") && play.contains("\n  gather_facts: false\n"));
}

#[test]
fn a_run_on_the_controller_without_alerts() {
    let mut case = RunEnding::new();
    case.work.controller = true;
    case.hosts = vec![CONTROLLER.into()];
    case.alerts.clear();
    insta::assert_json_snapshot!(case.vars());
    case.hosts.push("web1".into());
    assert!(matches!(case.build(), Err(BuildError::Controller(_))));
}

#[test]
fn what_a_person_gives_as_variables_is_no_template() {
    let mut case = RunEnding::new();
    assert_eq!(case.vars()["greeting"], "{{ inventory_hostname }}");
    case.trigger = Trigger::Manual;
    let deep = json!([1, {"key": ["{{ 7 * 7 }}"]}, true, null]);
    case.work.vars.insert("deep".into(), deep);
    let vars = case.vars();
    assert_eq!(
        (&vars["greeting"], &vars["deep"]),
        (
            &json!({"__ansible_unsafe": "{{ inventory_hostname }}"}),
            &json!([1, {"key": [{"__ansible_unsafe": "{{ 7 * 7 }}"}]}, true, null])
        )
    );
}

#[test]
fn the_inventory_s_command_line() {
    let case = RunEnding::new();
    let paths = Paths {
        dir: case.dir.clone(),
        store: "5f1c",
        base: &case.base,
        has_config: false,
    };
    let line = build_list(&case.settings, &paths, "inventory-1-0").unwrap();
    assert_eq!(
        line.program,
        Path::new("/opt/ansible/bin/ansible-inventory")
    );
    assert_eq!(
        line.args,
        [
            "--list",
            "--inventory=/srv/inventory",
            "--inventory=/srv/hosts.py",
            "--playbook-dir=/srv/playbook"
        ]
    );
    assert_eq!(line.env["PROMANSIBLE_RUN"], "5f1c:inventory-1-0");
    assert!(!line.env.contains_key("ANSIBLE_CONFIG"));
    assert!(!line.env.contains_key("ANSIBLE_FORCE_COLOR"));
}

#[test]
fn a_folder_too_deep_for_sockets_goes_without_shared_connections() {
    let mut case = RunEnding::new();
    assert!(!case.build().unwrap().env.contains_key("ANSIBLE_SSH_ARGS"));
    // With "/cp", the socket's name and ssh's suffix: exactly 107 bytes.
    case.dir = format!("/{}", "d".repeat(107 - 1 - 3 - 11 - 17)).into();
    assert!(!case.build().unwrap().env.contains_key("ANSIBLE_SSH_ARGS"));
    case.dir = format!("{}d", case.dir.display()).into();
    assert_eq!(
        case.build().unwrap().env["ANSIBLE_SSH_ARGS"],
        "-C -o ControlMaster=no -o ControlPath=none"
    );
}

#[test]
fn every_string_of_an_alert_is_wrapped() {
    fn strings(value: &Value, wrapped: bool) -> usize {
        match value {
            Value::String(text) => {
                assert!(wrapped, "{text:?} could be a template");
                1
            }
            Value::Array(list) => list.iter().map(|value| strings(value, false)).sum(),
            Value::Object(map) => map
                .iter()
                .map(|(name, value)| strings(value, name == "__ansible_unsafe"))
                .sum(),
            _ => 0,
        }
    }
    let vars = RunEnding::new().vars();
    assert_eq!(strings(&vars["promansible_alerts_by_host"], false), 3 * 6);
}

#[test]
fn hosts_are_exact_names() {
    for name in [
        "web1",
        "web-1.example.org",
        "10.0.0.1",
        "fe80::1",
        "::1",
        "größe",
        "_x",
    ] {
        assert!(crate::model::inventory::is_exact(name), "{name:?}");
    }
    for name in [
        "", "*", "web*", "~web", "!web", "&web", "a,b", "a:b", "a:22", "web[1:3]", "web?",
        "@hosts", "{{ x }}", "a b", "-i", "__x", "../x", "a/b", "a\nb", "[::1]", "a%b",
    ] {
        assert!(!crate::model::inventory::is_exact(name), "{name:?}");
        let mut case = RunEnding::new();
        case.alerts.clear();
        case.hosts.push(name.into());
        assert_eq!(case.build(), Err(BuildError::HostName(name.into())));
    }
}

#[test]
fn what_must_not_get_here_is_refused() {
    let refused = |change: fn(&mut RunEnding)| {
        let mut case = RunEnding::new();
        change(&mut case);
        case.build().unwrap_err().to_string()
    };
    let errors = [
        refused(|case| {
            case.hosts.clear();
            case.alerts.clear();
        }),
        refused(|case| case.work.roles.clear()),
        refused(|case| case.work.roles.push("../../etc".into())),
        refused(|case| case.work.roles.push("{{ x }}".into())),
        refused(|case| case.hosts.truncate(1)),
        refused(|case| {
            case.alerts.get_mut("web2").unwrap()[0]
                .labels
                .insert("__ansible_vault".into(), "x".into());
        }),
        refused(|case| {
            case.alerts.get_mut("web1").unwrap()[1]
                .annotations
                .insert("__ansible_unsafe".into(), "x".into());
        }),
        refused(|case| {
            case.work
                .vars
                .insert("promansible_hosts".into(), "all".into());
        }),
        refused(|case| {
            case.work.vars.insert("a-b".into(), 1.into());
        }),
        refused(|case| case.settings.inventory.push("/srv/a,b".into())),
    ];
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn a_host_that_is_named_twice_runs_once() {
    let mut case = RunEnding::new();
    case.hosts.push("web1".into());
    assert_eq!(case.vars()["promansible_hosts"], json!(["web1", "web2"]));
}
