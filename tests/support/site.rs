//! A folder with a configuration, an inventory, roles, and an Ansible that only pretends.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{PATIENCE, Server, promansible, run};

/// Prints the inventory, unless the file `hold` is there. The file `elsewhere` stands for what a script learns from a
/// machine far away: no source changes with it.
const INVENTORY: &str = r#"#!/bin/sh
here=$(dirname "$0")/..
[ "$1" = --version ] && { echo "ansible-inventory [core 2.19.0]"; exit; }
[ -e "$here/slow" ] && sleep 2
[ -e "$here/stuck" ] && { echo "waiting for the cloud" >&2; sleep 120; }
[ -e "$here/hold" ] && { echo "the inventory is held" >&2; exit 1; }
[ -e "$here/elsewhere" ] && exec cat "$here/elsewhere"
cat "$here/hosts"
"#;

/// Does what its roles are named for, on every host, and tells it as our callback would. `journal` gets a line at the
/// beginning and at the end of each run. The role `look`, made by [`Site::looking`], reports what is in `findings`.
const PLAYBOOK: &str = r#"#!/bin/sh
here=$(dirname "$0")/..
run=${PROMANSIBLE_RUN##*:}
check=
for arg; do case $arg in @*) vars=$(cat "${arg#@}") ;; */enrolled.yml) cp "${arg#--inventory=}" "$here/enrolled-$run.json" ;; --check) check=' (check)' ;; esac; done
list() { rest=${vars#*"\"promansible_$1\":["}; echo "${rest%%]*}" | tr -d '"' | tr , ' '; }
echo "$vars" >"$here/vars-$run.json"
hosts=$(list hosts)
roles=$(list roles)
exec 3>"$PROMANSIBLE_EVENTS"
echo "begin $run$check" $roles @ $hosts >>"$here/journal"
echo '{"event":"hello","protocol":1,"ansible":"2.19.0"}' >&3
failures=0
for role in $roles; do
    case $role in
        wait) while [ ! -e "$here/go" ]; do sleep 0.02; done ;;
        flood) echo FIRST; head -c 300000 /dev/zero | tr '\0' x; echo; echo LAST ;;
        fail) failures=1 ;;
    esac
    for host in $hosts; do
        [ $failures = 1 ] && status=failed || status=changed
        echo "$status: [$host] by $role"
        findings=
        if [ $role = look ] && [ -e "$here/findings" ]; then findings=',"findings":'$(cat "$here/findings"); fi
        echo '{"event":"task","host":"'$host'","role":"'$role'","task":"do it","action":"command","status":"'$status'","duration_seconds":0.1,"message":"said \u001b[31m'$role'"'"$findings"'}' >&3
    done
done
stats=
for host in $hosts; do
    stats=$stats${stats:+,}'"'$host'":{"ok":1,"changed":1,"failures":'$failures',"end":"reached"}'
done
echo '{"event":"stats","hosts":{'$stats'}}' >&3
echo "end $run" >>"$here/journal"
exit $((failures * 2))
"#;

/// web1 and web2 answer to names and addresses, twin1 and twin2 share one, `edge` is a host and a group.
pub fn inventory() -> Value {
    json!({
        "_meta": {"hostvars": {
            "web1": {"ansible_host": "10.0.0.1"},
            "web2": {"ansible_host": "10.0.0.2"},
            "twin1": {"ansible_host": "10.0.0.9"},
            "twin2": {"ansible_host": "10.0.0.9"},
        }},
        "all": {"children": ["ungrouped", "web", "edge", "empty"]},
        "web": {"hosts": ["web1", "web2"]},
        "edge": {"hosts": ["twin1", "twin2"]},
        "empty": {"hosts": []},
    })
}

/// A folder with everything that a promansible needs.
pub struct Site {
    dir: Arc<TempDir>,
    refresh: &'static str,
    ansible: BTreeMap<String, String>,
    storage: String,
    runs: BTreeMap<String, String>,
    receiver: BTreeMap<String, String>,
    bindings: String,
    more: String,
    args: Vec<String>,
}

impl Site {
    /// One binding, `all`, that runs the role `ok` on the alerting host at once.
    pub fn new() -> Self {
        let site = Self {
            dir: Arc::new(TempDir::new().unwrap()),
            refresh: "5m",
            ansible: BTreeMap::new(),
            storage: String::new(),
            runs: BTreeMap::new(),
            receiver: BTreeMap::new(),
            bindings: String::new(),
            more: String::new(),
            args: Vec::new(),
        };
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbook");
        fs::create_dir_all(site.path("playbook/plugins/callback")).unwrap();
        for file in ["run.yml", "plugins/callback/promansible.py"] {
            fs::copy(shipped.join(file), site.path(&format!("playbook/{file}"))).unwrap();
        }
        for role in ["ok", "wait", "flood", "fail"] {
            fs::create_dir_all(site.path(&format!("playbook/alert/roles/{role}"))).unwrap();
        }
        fs::create_dir(site.path("bin")).unwrap();
        for (name, script) in [
            ("ansible-inventory", INVENTORY),
            ("ansible-playbook", PLAYBOOK),
        ] {
            let path = site.path(&format!("bin/{name}"));
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        site.write("hosts", &inventory().to_string());
        site.runs("batch_window", "0")
            .runs("grace", "1s")
            .runs("start_attempts", "1")
            .binding("all", "[ok]", "")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    /// A file that only its owner can read.
    pub fn secret(&self, name: &str, text: &str) {
        self.write(name, "");
        fs::set_permissions(self.path(name), Permissions::from_mode(0o600)).unwrap();
        self.write(name, text);
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// A role `look` with this `meta/promansible.yml`.
    pub fn looking(self, declaration: &str) -> Self {
        fs::create_dir_all(self.path("playbook/alert/roles/look/meta")).unwrap();
        self.declare(declaration);
        self
    }

    /// What `look` declares from the next reading on.
    pub fn declare(&self, declaration: &str) {
        self.write(
            "playbook/alert/roles/look/meta/promansible.yml",
            declaration,
        );
    }

    /// Lets every run of the role `wait` go on.
    pub fn go(&self) {
        self.write("go", "");
    }

    pub fn runs(mut self, key: &str, value: &str) -> Self {
        self.runs.insert(key.to_owned(), value.to_owned());
        self
    }

    /// How often the inventory is read although no source changed.
    pub fn refresh(mut self, every: &'static str) -> Self {
        self.refresh = every;
        self
    }

    /// Another key of `ansible`.
    pub fn ansible(mut self, key: &str, value: &str) -> Self {
        self.ansible.insert(key.to_owned(), value.to_owned());
        self
    }

    /// How much history is kept.
    pub fn retention_size(mut self, size: &str) -> Self {
        self.storage = format!(", retention: {{size: {size}}}");
        self
    }

    pub fn receiver(mut self, key: &str, value: &str) -> Self {
        self.receiver.insert(key.to_owned(), value.to_owned());
        self
    }

    pub fn no_bindings(mut self) -> Self {
        self.bindings.clear();
        self
    }

    /// A binding for the alerts whose label `for` is its name, or for all if it is called `all`, or for those that its
    /// own `matchers` match.
    pub fn binding(mut self, name: &str, roles: &str, more: &str) -> Self {
        let matcher = if name == "all" {
            "alertname=~\".+\"".to_owned()
        } else {
            format!("for=~\"(.*,)?{name}(,.*)?\"")
        };
        self.bindings
            .push_str(&format!("  - name: {name}\n    roles: {roles}\n"));
        if !more.contains("matchers: ") {
            self.bindings
                .push_str(&format!("    matchers: ['{matcher}']\n"));
        }
        for line in more.split("; ").filter(|line| !line.is_empty()) {
            self.bindings.push_str(&format!("    {line}\n"));
        }
        self
    }

    /// Further sections of the configuration, in the place of those before; `SITE` is the site's folder.
    pub fn sections(mut self, text: &str) -> Self {
        self.more = text.replace("SITE", &self.dir.path().display().to_string());
        self
    }

    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    pub fn store(&self) -> PathBuf {
        self.path("data/store.redb")
    }

    pub fn config_file(&self) -> PathBuf {
        let file = self.path("promansible.yml");
        let section = |values: &BTreeMap<String, String>| {
            let pairs: Vec<_> = values.iter().map(|(k, v)| format!("{k}: {v}")).collect();
            format!("{{{}}}", pairs.join(", "))
        };
        let dir = self.dir.path().display();
        let pairs = self.ansible.iter();
        let pairs: Vec<_> = pairs.map(|(k, v)| format!(", {k}: {v}")).collect();
        let ansible = pairs.concat();
        let text = format!(
            "ansible: {{bin_dir: {dir}/bin, playbook_dir: {dir}/playbook, inventory: [{dir}/hosts], inventory_refresh: {}{ansible}}}\nstorage: {{path: {dir}/data/store.redb{}}}\nruns: {}\nreceiver: {}\nbindings:\n{}{}",
            self.refresh,
            self.storage,
            section(&self.runs),
            section(&self.receiver),
            if self.bindings.is_empty() {
                "  []\n"
            } else {
                &self.bindings
            },
            self.more,
        );
        fs::write(&file, text).unwrap();
        file
    }

    /// The command line that serves; nothing is started.
    pub fn command(&self) -> Command {
        let mut command = promansible();
        command
            .arg("serve")
            .arg(format!("--config.file={}", self.config_file().display()))
            .arg("--log.level=debug")
            .args(&self.args);
        if !self.args.iter().any(|arg| arg.contains("listen-address")) {
            command.arg("--web.listen-address=127.0.0.1:0");
        }
        command
    }

    /// Starts it and waits until the inventory is read.
    pub fn start(&self) -> Server {
        let server = self.start_only();
        server.wait("ready", || server.get("/-/ready").status == 200);
        // One that the store kept makes it ready early.
        server.wait_for_log("inventory read");
        server
    }

    /// Starts it and waits until it listens.
    pub fn start_only(&self) -> Server {
        // The inventory must be there as long as the server is.
        Server::start(self.command()).keeping(Arc::clone(&self.dir))
    }

    /// Runs it to its end, which must come by itself.
    pub fn refused(&self) -> (i32, String) {
        let output = run(&mut self.command());
        let error = String::from_utf8(output.stderr).unwrap();
        (output.status.code().expect("it was not killed"), error)
    }

    /// Lines of the runs that began and ended, in their order.
    pub fn journal(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("journal")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The extra variables that a run was given. It shows as running a moment before its program has copied them.
    pub fn vars_of(&self, run: u64) -> Value {
        let file = self.path(&format!("vars-{run}.json"));
        let begin = Instant::now();
        loop {
            let text = fs::read(&file).unwrap_or_default();
            if let Ok(vars) = serde_json::from_slice(&text) {
                return vars;
            }
            assert!(begin.elapsed() < PATIENCE, "{}", file.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The processes of runs of this site.
    pub fn processes(&self) -> Vec<String> {
        let mark = format!("PROMANSIBLE_EVENTS={}/", self.dir.path().display());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
            if environ
                .split(|&b| b == 0)
                .any(|e| e.starts_with(mark.as_bytes()))
            {
                found.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        found
    }

    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let begin = Instant::now();
        while !self.processes().is_empty() {
            assert!(begin.elapsed() < PATIENCE, "left: {:?}", self.processes());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
