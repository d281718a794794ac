//! `handle_cpu_threshold_exceeded`: what uses the CPUs is named, and what is allowed is restarted or reniced.
//!
//! The CPUs are shared with whatever else this machine does. A host's use is that of its own cgroup, and the limits are
//! so low that a process that wants a core passes them on a crowded machine too, and an idle host nowhere.

use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::host::Host;
use crate::stack::ansible::Release;
use crate::tests;

tests![
    only_an_allowed_unit_that_burns_is_restarted_or_reniced,
    on_the_older_release_too
];

const ROLE: &str = "handle_cpu_threshold_exceeded";

const BINDINGS: &str = r#"
  - name: cpu
    matchers: ['alertname = "cpu_threshold_exceeded"']
    roles: [handle_cpu_threshold_exceeded]
    target: {alerting_host: instance}
    vars:
      handle_cpu_threshold_exceeded_ratio: 0.015
      handle_cpu_threshold_exceeded_share: 0.02
      handle_cpu_threshold_exceeded_seconds: 3
      handle_cpu_threshold_exceeded_settle_seconds: 1
      handle_cpu_threshold_exceeded_restart_units: [burner.service]
"#;
const ALERT: [(&str, &str); 2] = [
    ("alertname", "cpu_threshold_exceeded"),
    ("instance", "web1:9100"),
];

/// Burns until it is restarted.
const BURNER: &str = "[Service]
Nice=-5
ExecStart=/bin/sh -c 'if mkdir /run/burner; then while :; do :; done; else exec sleep infinity; fi'
";
/// Burns whatever one does, as a user, and calls itself by a template.
const HOG: &str = r#"[Service]
Nice=-5
User=nobody
ExecStart=/usr/bin/python3 -c "while True: open('/proc/self/comm', 'w').write('{{ 7*7 }}')"
"#;

fn vars(more: &Value) -> Value {
    let mut vars = json!({
        "handle_cpu_threshold_exceeded_ratio": 0.015,
        "handle_cpu_threshold_exceeded_share": 0.02,
        "handle_cpu_threshold_exceeded_seconds": 3,
        "handle_cpu_threshold_exceeded_settle_seconds": 1,
    });
    let more = more.as_object().unwrap().clone();
    vars.as_object_mut().unwrap().extend(
        more.into_iter()
            .map(|(name, value)| (format!("{ROLE}_{name}"), value)),
    );
    vars
}

fn pid(host: &Host, unit: &str) -> String {
    let pid = host
        .sh(&format!("systemctl show -P MainPID {unit}"))
        .unwrap();
    pid.trim().to_owned()
}

fn niceness(host: &Host, pid: &str) -> String {
    let nice = host.sh(&format!("ps -o ni= -p {pid}")).unwrap();
    nice.trim().to_owned()
}

fn only_an_allowed_unit_that_burns_is_restarted_or_reniced() {
    let fleet = Fleet::start(&["web1"], BINDINGS);
    let host = fleet.host("web1");

    // Nothing burns.
    let told = fleet.alert(&ALERT);
    told.successful().changed(0);
    let findings = told.findings(ROLE, "web1");
    assert!(findings["cpu_use_ratio"].is_number(), "{findings}");

    // It would be restarted.
    host.start_unit("burner.service", BURNER).unwrap();
    let first = pid(host, "burner.service");
    let allowed = vars(&json!({"restart_units": ["burner.service"]}));
    let told = fleet.check(ROLE, &["web1"], &allowed);
    told.successful();
    let said = told.said("Show what would be done").join("");
    assert!(said.contains("burner.service"), "{said}");
    assert_eq!(pid(host, "burner.service"), first);

    // It is restarted, and that helps.
    let told = fleet.alert(&ALERT);
    told.successful().changed(1);
    assert_ne!(pid(host, "burner.service"), first);
    let findings = told.findings(ROLE, "web1");
    assert_eq!(findings["done"]["restarted"], json!(["burner.service"]));
    let top = &findings["processes"][0];
    assert_eq!(top["unit"], "burner.service", "{findings}");
    assert_eq!(top["user"], "root", "{findings}");
    assert_eq!(top["pid"].to_string(), first, "{findings}");

    // What is not allowed is named and left alone; so is what is allowed and does not burn.
    host.start_unit("hog.service", HOG).unwrap();
    let (burner, hog) = (pid(host, "burner.service"), pid(host, "hog.service"));
    let told = fleet.alert(&ALERT);
    told.failed(&format!(
        "{{{{ 7*7 }}}} (pid {hog}, user nobody, hog.service) uses"
    ))
    .failed("none of these may be restarted")
    .changed(0);
    assert_eq!(pid(host, "burner.service"), burner);
    assert_eq!(pid(host, "hog.service"), hog);
    assert_eq!(niceness(host, &hog), "-5");
    let findings = told.findings(ROLE, "web1");
    let gauge = fleet.gauge("cpu_use_ratio", &[("host", "web1")]);
    assert_eq!(gauge, findings["cpu_use_ratio"].as_f64(), "{findings}");

    // Others go first, and it burns as before.
    let allowed = vars(&json!({"renice_units": ["hog.service"], "nice": 1}));
    let told = fleet.run(ROLE, &["web1"], &allowed);
    told.failed("reniced: {{ 7*7 }}, which did not help")
        .changed(1);
    assert_eq!(niceness(host, &hog), "1");
    fleet
        .run(ROLE, &["web1"], &allowed)
        .failed("reniced: nothing")
        .changed(0);

    // A container that is no unit has services of its own, of whatever names.
    host.sh("systemctl stop hog.service
        mkdir -p /sys/fs/cgroup/payload/system.slice/burner.service
        (echo 0 >/sys/fs/cgroup/payload/system.slice/burner.service/cgroup.procs
         exec nice -n -5 sh -c 'while :; do :; done' >/dev/null 2>&1 & echo $! >/run/contained)")
        .unwrap();
    let told = fleet.alert(&ALERT);
    told.failed("user root, no unit) uses")
        .failed("none of these may be restarted")
        .changed(0);
    assert_eq!(pid(host, "burner.service"), burner);
    host.sh("kill $(cat /run/contained)").unwrap();

    threads_that_end_do_not_spare_the_others(host);

    let hostile = vars(&json!({"restart_units": ["--force"]}));
    fleet
        .run(ROLE, &["web1"], &hostile)
        .failed("units must have full names");
}

/// Asks the role's program itself, for which one of the threads ends just then.
fn threads_that_end_do_not_spare_the_others(host: &Host) {
    let program = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/playbook/alert/roles/handle_cpu_threshold_exceeded/files/cpu.py"
    );
    host.write("/root/cpu.py", &std::fs::read_to_string(program).unwrap())
        .unwrap();
    host.write(
        "/root/threads.py",
        r#"
import json, os, subprocess, sys
def started(pid):
    return int(open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()[19])
sleepers = [subprocess.Popen(["sleep", "300"]) for _ in range(30)]
real = os.listdir
os.listdir = lambda path: (["4194303"] if path.endswith("/task") else []) + real(path)
sys.argv = ["-", "renice", json.dumps({"nice": 3, "check": False,
    "processes": [{"pid": sleeper.pid, "started": started(sleeper.pid)} for sleeper in sleepers]})]
exec(compile(open("/root/cpu.py").read(), "cpu.py", "exec"), {})
for sleeper in sleepers:
    assert os.getpriority(os.PRIO_PROCESS, sleeper.pid) == 3
    sleeper.kill()
"#,
    )
    .unwrap();
    let said = host.sh("python3 -I /root/threads.py").unwrap();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["number"], 30, "{said}");
    assert_eq!(said["changed"].as_array().unwrap().len(), 8, "{said}");
}

fn on_the_older_release_too() {
    let fleet = Fleet::with(Release::V2_16, &["web1"], BINDINGS);
    let host = fleet.host("web1");

    host.start_unit("burner.service", BURNER).unwrap();
    let first = pid(host, "burner.service");
    fleet.alert(&ALERT).successful().changed(1);
    assert_ne!(pid(host, "burner.service"), first);

    host.start_unit("hog.service", HOG).unwrap();
    let hog = pid(host, "hog.service");
    // Its name cannot be allowed over the API, where this release could take it for a template. The message names it unchanged.
    let allowed = vars(&json!({"renice_commands": ["another"], "nice": 1}));
    fleet
        .run(ROLE, &["web1"], &allowed)
        .failed("{{ 7*7 }} (pid ");
    assert_eq!(niceness(host, &hog), "-5", "as its unit has it");
}
