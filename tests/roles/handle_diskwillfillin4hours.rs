//! `handle_DiskWillFillIn4Hours`: what fills a file system is named, and what may go is removed.

use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::host::Host;
use crate::stack::ansible::Release;
use crate::tests;

tests![
    only_what_may_go_is_removed_from_a_full_file_system,
    what_is_no_file_system_of_the_host_is_refused,
    on_the_older_release_too
];

const ROLE: &str = "handle_DiskWillFillIn4Hours";

const BINDINGS: &str = r#"
  - name: disk-will-fill
    matchers: ['alertname = "DiskWillFillIn4Hours"']
    roles: [handle_DiskWillFillIn4Hours]
    target: {alerting_host: instance}
    vars:
      disk_will_fill_journal_max_bytes: 10000000
      disk_will_fill_reclaim_paths:
        - {path: /srv/data/cache, older_than: 2d, patterns: ["*.log"]}
        - /srv/precious
        - /srv/data/missing
"#;

fn alert(mountpoint: &str) -> [(&str, &str); 3] {
    [
        ("alertname", "DiskWillFillIn4Hours"),
        ("instance", "web1:9100"),
        ("mountpoint", mountpoint),
    ]
}

/// A small file system with a cache that may be emptied, and all that must survive that.
fn prepare(host: &Host) {
    host.sh("mkdir -p /srv/data /srv/precious
        mount -t tmpfs -o size=64m data /srv/data
        cd /srv/data
        mkdir -p cache/deep cache/mounted app kept
        mount -t tmpfs -o size=1m mounted cache/mounted
        ln -s /srv/precious cache/link
        ln -s /srv/data/kept cache/inner
        ln -s /srv/precious/old.log cache/link.log
        touch cache/new.log
        touch -d '9 days ago' cache/deep/old.log cache/old.txt cache/mounted/old.log kept/old.log /srv/precious/old.log")
        .unwrap();
}

/// Holds the lock as apt-get does.
const LOCK: &str = "[Service]
Type=notify
NotifyAccess=all
ExecStart=/usr/bin/python3 -c \"import fcntl, os, time; \\
    file = open('/var/cache/apt/archives/lock', 'w'); fcntl.lockf(file, fcntl.LOCK_EX); \\
    os.system('systemd-notify --ready'); time.sleep(300)\"
";

const SURVIVORS: &str =
    "cd /srv/data/cache && test -e new.log && test -e old.txt && test -e mounted/old.log &&
    test -L link && test -L link.log && test -e /srv/data/kept/old.log && test -e /srv/precious/old.log";

fn fill(host: &Host) {
    host.sh("head -c 30M /dev/zero >/srv/data/cache/deep/old.log
        touch -d '9 days ago' /srv/data/cache/deep/old.log
        head -c 25M /dev/zero >'/srv/data/app/{{ 7*7 }}'")
        .unwrap();
}

fn only_what_may_go_is_removed_from_a_full_file_system() {
    let fleet = Fleet::start(&["web1"], BINDINGS);
    let host = fleet.host("web1");
    prepare(host);

    // There is room: what may go may stay as well.
    fleet.alert(&alert("/srv/data")).successful().changed(0);
    assert!(host.is_so("test -e /srv/data/cache/deep/old.log"));

    // It would be removed.
    fill(host);
    let vars = json!({
        "disk_will_fill_mountpoint": "/srv/data",
        "disk_will_fill_reclaim_paths": [{"path": "/srv/data/cache", "patterns": ["old.l?g"]}],
    });
    let told = fleet.check(ROLE, &["web1"], &vars);
    told.successful();
    let said = told.said("Show what would be deleted").join("");
    assert!(said.contains("/srv/data/cache/deep/old.log"), "{said}");
    assert!(host.is_so("test -s /srv/data/cache/deep/old.log"));

    // It is removed, and that helps.
    let told = fleet.alert(&alert("/srv/data"));
    told.successful().changed(1);
    assert!(host.is_so("test ! -e /srv/data/cache/deep/old.log"));
    assert!(host.is_so(SURVIVORS));
    let findings = told.findings(ROLE, "web1");
    assert_eq!(
        findings["removed"]["files"].to_string().trim_matches('"'),
        "1",
        "{findings}"
    );
    assert_eq!(
        findings["removed"]["left"],
        json!([
            {"path": "/srv/precious", "why": "on another file system"},
            {"path": "/srv/data/missing", "why": "No such file or directory"},
        ])
    );
    assert_eq!(
        findings["found"]["files"][0]["path"],
        "/srv/data/app/{{ 7*7 }}"
    );
    let labels = [("host", "web1"), ("mountpoint", "/srv/data")];
    let reclaimed = fleet.gauge("disk_reclaimed_bytes", &labels);
    assert!(
        reclaimed.is_some_and(|bytes| bytes > 29e6),
        "{reclaimed:?} {findings}"
    );

    // What fills it may not go: by name, and by a process that holds it.
    host.start_unit("holder.service", "[Service]
ExecStart=/bin/sh -c 'exec 3>/srv/data/gone && head -c 30M /dev/zero >&3 && rm /srv/data/gone && exec sleep infinity'
").unwrap();
    crate::stack::wait_until(std::time::Duration::from_secs(30), "the file to be held", || {
        Ok(host.is_so("test $(df --output=avail -k /srv/data | tail -n 1) -lt 12000 && test ! -e /srv/data/gone").then_some(()))
    }).unwrap();
    let told = fleet.alert(&alert("/srv/data"));
    told.failed("most space is used by /srv/data/app 25.0 MiB")
        .failed("largest file /srv/data/app/{{ 7*7 }}")
        .failed("deleted but held open by sleep (pid ")
        .changed(0);
    let findings = told.findings(ROLE, "web1");
    let held = &findings["found"]["deleted_open"][0];
    assert_eq!(held["path"], "/srv/data/gone", "{findings}");
    let avail = fleet.gauge("disk_avail_bytes", &labels);
    assert!(avail.is_some_and(|bytes| bytes < 12e6), "{avail:?}");

    the_journal_is_vacuumed(&fleet, host);
    the_package_cache_is_cleaned(&fleet, host);
}

fn the_journal_is_vacuumed(fleet: &Fleet, host: &Host) {
    host.write(
        "/etc/systemd/journald.conf.d/large.conf",
        "[Journal]
SystemMaxUse=60M
SystemKeepFree=1M
SystemMaxFileSize=8M
RateLimitIntervalSec=0
",
    )
    .unwrap();
    host.sh("mount -o remount,size=64m /var/log/journal
        systemctl restart systemd-journald
        head -c 24M /dev/urandom | base64 -w 4000 | systemd-cat
        journalctl --rotate
        head -c 20M /dev/zero >/var/log/journal/other")
        .unwrap();
    let told = fleet.alert(&alert("/var/log/journal"));
    told.successful().changed(1);
    assert_eq!(
        told.findings(ROLE, "web1")["found"]["files"][0]["path"],
        "/var/log/journal/other"
    );
}

fn the_package_cache_is_cleaned(fleet: &Fleet, host: &Host) {
    host.sh("mount -t tmpfs -o size=8m cache /var/cache/apt/archives
        head -c 7M /dev/zero >/var/cache/apt/archives/kept_1_all.deb")
        .unwrap();
    let mut vars = json!({"disk_will_fill_mountpoint": "/var/cache/apt/archives"});
    fleet
        .run(ROLE, &["web1"], &vars)
        .failed("/var/cache/apt/archives/kept_1_all.deb")
        .changed(0);
    vars["disk_will_fill_clean_package_cache"] = json!(true);

    // Another apt-get is at work: what else may go goes, and that is enough or is not.
    host.sh("mkdir /var/cache/apt/archives/old
        head -c 1M /dev/zero >/var/cache/apt/archives/old/file
        touch -d '9 days ago' /var/cache/apt/archives/old/file")
        .unwrap();
    host.start_unit("apt-lock.service", LOCK).unwrap();
    vars["disk_will_fill_reclaim_paths"] = json!(["/var/cache/apt/archives/old"]);
    let told = fleet.run(ROLE, &["web1"], &vars);
    told.failed("; E: Could not get lock /var/cache/apt/archives/lock")
        .changed(1);
    assert!(host.is_so("test ! -e /var/cache/apt/archives/old/file"));
    host.sh("systemctl stop apt-lock.service").unwrap();

    fleet.run(ROLE, &["web1"], &vars).successful().changed(1);
    assert!(host.is_so("test ! -e /var/cache/apt/archives/kept_1_all.deb"));
}

fn what_is_no_file_system_of_the_host_is_refused() {
    let fleet = Fleet::start(&["web1"], BINDINGS);
    let host = fleet.host("web1");
    prepare(host);
    fill(host);
    for hostile in ["-rf", "{{ 7*7 }}"] {
        fleet
            .alert(&alert(hostile))
            .failed(&format!("\"{hostile}\" is not a mountpoint of this host"))
            .changed(0);
    }
    let vars = json!({"disk_will_fill_mountpoint": "/srv/data", "disk_will_fill_reclaim_paths": ["/etc/nginx"]});
    fleet
        .run(ROLE, &["web1"], &vars)
        .failed("files in /etc/nginx are never deleted")
        .changed(0);

    // A symbolic link on the way is not followed.
    let vars = json!({
        "disk_will_fill_mountpoint": "/srv/data",
        "disk_will_fill_reclaim_paths": ["/srv/data/cache/link", "/srv/data/cache/inner"],
        "disk_will_fill_older_than": "0s",
    });
    fleet
        .run(ROLE, &["web1"], &vars)
        .failed("/srv/data on web1 has")
        .changed(0);
    assert!(host.is_so("test -s /srv/data/cache/deep/old.log"));
    assert!(host.is_so(SURVIVORS));

    the_words_of_every_refusal(host);
    the_program_keeps_its_bounds(host);
    assert!(host.is_so("test ! -e /tmp/x"));
}

/// Asks the role's program itself, without Ansible around it.
fn the_words_of_every_refusal(host: &Host) {
    let program = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/playbook/alert/roles/handle_DiskWillFillIn4Hours/files/disk.py"
    );
    let program = std::fs::read_to_string(program).unwrap();
    host.write("/root/disk.py", &program).unwrap();
    let refused = |mountpoint: &str, path: Value| {
        let request = json!({
            "mountpoint": mountpoint, "reclaim_paths": [path], "older_than": "7d", "host": "web1",
            "look_seconds": 1, "look_depth": 1, "free_ratio": 0.2,
        });
        host.write("/root/request", &request.to_string()).unwrap();
        let said = host
            .sh("python3 /root/disk.py look \"$(cat /root/request)\"")
            .unwrap();
        let said: Value = serde_json::from_str(&said).unwrap();
        said["refused"].as_str().unwrap_or_default().to_owned()
    };
    for hostile in [
        "../..",
        "; touch /tmp/x",
        "/srv/data/",
        "/srv/./data",
        "/srv/*",
        "srv/data",
    ] {
        let said = refused(hostile, json!("/srv/data/cache"));
        assert_eq!(
            said,
            format!("\"{hostile}\" is not a mountpoint of this host")
        );
    }
    for (mountpoint, words) in [
        ("", "no mountpoint: the alert"),
        (
            "/proc",
            "/proc is not a file system that stores files (proc)",
        ),
        (
            "/sys",
            "/sys is not a file system that stores files (sysfs)",
        ),
        (
            "/proc/sys",
            "/proc/sys is not a file system that stores files (proc)",
        ),
    ] {
        let said = refused(mountpoint, json!("/srv/data/cache"));
        assert!(said.starts_with(words), "{mountpoint}: {said}");
    }
    for path in [
        "/",
        "/etc",
        "/home",
        "/usr",
        "/usr/share/doc",
        "/var",
        "/var/",
        "/boot/grub",
    ] {
        let said = refused("/srv/data", json!(path));
        assert!(said.contains("are never deleted"), "{path}: {said}");
    }
    for (path, words) in [
        (json!("cache"), "\"cache\" is not an absolute path"),
        (json!(7), "7 is not an absolute path"),
        (json!("/srv/data/../precious"), "without '..'"),
        (json!("//srv/data/cache"), "without '..', '.' and '//'"),
        (
            json!({"path": "/srv/data/cache", "age": "1d"}),
            "unknown key age",
        ),
        (
            json!({"path": "/srv/data/cache", "older_than": "old"}),
            "\"old\" is not an age",
        ),
        (
            json!({"path": "/srv/data/cache", "older_than": "-1d"}),
            "\"-1d\" is not an age",
        ),
        // Seconds or days? An empty list is not all files.
        (
            json!({"path": "/srv/data/cache", "older_than": 7}),
            "7 is not an age",
        ),
        (
            json!({"path": "/srv/data/cache", "patterns": []}),
            "the patterns of /srv/data/cache are empty",
        ),
    ] {
        let said = refused("/srv/data", path.clone());
        assert!(said.contains(words), "{path}: {said}");
    }
    assert_eq!(refused("/srv/data", json!("/srv/data/cache")), "");
    host.sh("mount -o remount,ro /srv/data").unwrap();
    let said = refused("/srv/data", json!("/srv/data/cache"));
    assert_eq!(said, "/srv/data is read-only: nothing can fill it");
}

/// Loads the role's program, with its bounds tried by whoever may write there.
const BOUNDS: &str = r#"
import io, json, os, sys
REQUEST = {"mountpoint": "/srv/bounds", "host": "web1", "check": False, "free_ratio": 0.2, "look_seconds": 20,
           "look_depth": 6, "reclaim_paths": ["/srv/bounds/in"], "older_than": "0s"}

def ask(verb, **more):
    said, sys.argv, sys.stdout = sys.stdout, ["-", verb, json.dumps(dict(REQUEST, **more))], io.StringIO()
    try:
        exec(compile(open("/root/disk.py").read(), "disk.py", "exec"), {})
        return json.loads(sys.stdout.getvalue())
    finally:
        sys.stdout = said

def nest(depth):
    for _ in range(depth):
        os.mkdir("d")
        os.chdir("d")

# Deeper than there are file descriptors.
os.makedirs("/srv/bounds/in/deep")
os.chdir("/srv/bounds/in/deep")
nest(1500)
os.chdir("/")
open("/srv/bounds/in/old", "w").close()
told = ask("reclaim")
assert told["files"] == 1 and "nested" in told["left"][0]["why"], told
assert len(told["left"]) == 1, told

# Whatever names are made of, what is told of them is short.
for name in (bytes([255]) * 250, chr(0x7530).encode() * 80):
    with open(b"/srv/bounds/" + name, "wb") as file:
        file.write(bytes(100000))
told = ask("look")
assert all(len(file["path"].encode()) <= 200 for file in told["found"]["files"]), told

# The time is up within one directory.
os.mkdir("/srv/bounds/many")
for number in range(50000):
    os.close(os.open("/srv/bounds/many/%d" % number, os.O_CREAT))
assert ask("look", look_seconds=3600)["found"]["complete"] is True
assert ask("look", look_seconds=0.01)["found"]["complete"] is False

# What is mounted below is not even asked for: a server that is gone would not answer.
real = os.scandir
class Entry:
    def __init__(self, entry):
        self.path, self.entry = entry.path, entry
    def stat(self, **how):
        assert self.path != "/srv/bounds/share", "it was asked for"
        return self.entry.stat(**how)
class Entries(list):
    def __enter__(self):
        return self
    def __exit__(self, *_):
        pass
os.scandir = lambda path: Entries(map(Entry, real(path))) if path == "/srv/bounds" else real(path)
assert ask("look")["mountpoint"] == "/srv/bounds"
"#;

fn the_program_keeps_its_bounds(host: &Host) {
    host.write("/root/bounds.py", BOUNDS).unwrap();
    host.sh(
        "mkdir -p /srv/bounds && mount -t tmpfs -o size=64m bounds /srv/bounds
        mkdir /srv/bounds/share && mount -t tmpfs -o size=1m share /srv/bounds/share
        ulimit -n 1024
        python3 -I /root/bounds.py",
    )
    .unwrap();
}

fn on_the_older_release_too() {
    let fleet = Fleet::with(Release::V2_16, &["web1"], BINDINGS);
    let host = fleet.host("web1");
    prepare(host);
    fill(host);
    let told = fleet.alert(&alert("/srv/data"));
    told.successful().changed(1);
    assert!(host.is_so("test ! -e /srv/data/cache/deep/old.log"));
    assert!(host.is_so(SURVIVORS));
    assert_eq!(
        told.findings(ROLE, "web1")["found"]["files"][0]["path"],
        "/srv/data/app/{{ 7*7 }}"
    );

    host.sh("head -c 29M /dev/zero >/srv/data/app/more")
        .unwrap();
    fleet
        .alert(&alert("/srv/data"))
        .failed("most space is used by /srv/data/app")
        .changed(0);
}
