//! This program in the place of Ansible's: it says at once what a play that went well says.
//!
//! The folder that `ansible.bin_dir` names holds links to this program. Called by such a name, it first of all tells the
//! bench, through the datagram socket named by `BENCH_SOCKET`, when it was started and by which run.

use std::fs;
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::Failure;

/// How long the fake inventory takes: as long as `ansible-inventory` itself does at least.
const INVENTORY_TAKES: Duration = Duration::from_millis(800);

/// Where the bench listens.
pub(crate) const SOCKET: &str = "BENCH_SOCKET";

/// What a fake `ansible-playbook` told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spawned {
    /// When its `main` began, since 1970.
    pub(crate) at: Duration,
    /// The run.
    pub(crate) run: u64,
    /// On how many hosts.
    pub(crate) hosts: usize,
}

/// Links this program to Ansible's names.
pub(crate) fn install(bin_dir: &Path) -> io::Result<()> {
    fs::create_dir_all(bin_dir)?;
    let own = std::env::current_exe()?;
    for name in ["ansible-playbook", "ansible-inventory"] {
        std::os::unix::fs::symlink(&own, bin_dir.join(name))?;
    }
    Ok(())
}

/// Does what the name asks for that this program was called by; `None` if that is its own.
pub(crate) fn called() -> Option<ExitCode> {
    let at = since_epoch();
    let name = std::env::args_os().next()?;
    let done = match Path::new(&name).file_name()?.to_str()? {
        "ansible-playbook" => playbook(at),
        "ansible-inventory" => inventory(),
        _ => return None,
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("the fake of Ansible: {failure}");
            ExitCode::FAILURE
        }
    })
}

/// The clock that two processes share.
pub(crate) fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// Reads what a fake told; an error where none did in time.
pub(crate) fn hear(socket: &UnixDatagram) -> Result<Spawned, Failure> {
    let mut bytes = [0; 256];
    let n = socket
        .recv(&mut bytes)
        .map_err(|e| format!("no ansible-playbook was started: {e}"))?;
    let told: Value = serde_json::from_slice(&bytes[..n])?;
    let number = |name: &str| told[name].as_u64().ok_or(format!("{name} is missing"));
    Ok(Spawned {
        at: Duration::from_nanos(number("nanos")?),
        run: number("run")?,
        hosts: usize::try_from(number("hosts")?)?,
    })
}

fn playbook(at: Duration) -> Result<(), Failure> {
    let vars_file = option("--extra-vars")?;
    let vars: Value = serde_json::from_slice(&fs::read(vars_file.trim_start_matches('@'))?)?;
    let hosts: Vec<&str> = vars["promansible_hosts"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if let Ok(socket) = std::env::var(SOCKET) {
        let told = json!({
            "nanos": u64::try_from(at.as_nanos())?,
            "run": vars["promansible_run"]["id"],
            "hosts": hosts.len(),
        });
        UnixDatagram::unbound()?.send_to(told.to_string().as_bytes(), socket)?;
    }
    let mut events = json!({"event": "hello", "protocol": 1, "ansible": "fake"}).to_string();
    let mut stats = serde_json::Map::new();
    for host in hosts {
        let task = json!({
            "event": "task", "host": host, "role": "notify", "task": "Reclaim space",
            "action": "ansible.builtin.command", "status": "changed", "duration_seconds": 0.001,
            "message": "reclaimed 1.2 GiB",
        });
        events.push('\n');
        events.push_str(&task.to_string());
        stats.insert(
            host.to_owned(),
            json!({"ok": 1, "changed": 1, "end": "reached"}),
        );
    }
    events.push('\n');
    events.push_str(&json!({"event": "stats", "hosts": stats}).to_string());
    events.push('\n');
    let pipe = std::env::var("PROMANSIBLE_EVENTS")?;
    let mut pipe = fs::OpenOptions::new().write(true).open(pipe)?;
    tell(&vars, &mut pipe)?;
    pipe.write_all(events.as_bytes())?;
    println!("PLAY RECAP");
    Ok(())
}

/// Tells as many tasks as the variables ask for, so many a second, each with a line of output.
fn tell(vars: &Value, pipe: &mut fs::File) -> Result<(), Failure> {
    let count = vars["bench_events"].as_u64().unwrap_or(0);
    let pause =
        Duration::from_secs(1) / u32::try_from(vars["bench_per_second"].as_u64().unwrap_or(1))?;
    let host = &vars["promansible_hosts"][0];
    for number in 0..count {
        let task = json!({
            "event": "task", "host": host, "role": "notify", "task": format!("Step {number}"),
            "action": "ansible.builtin.command", "status": "changed", "duration_seconds": 0.01,
            "message": "removed 12 packages from the cache",
        });
        pipe.write_all(format!("{task}\n").as_bytes())?;
        println!("changed: [{host}] => step {number}");
        std::thread::sleep(pause);
    }
    Ok(())
}

/// Prints the inventory whose file holds a host a line.
fn inventory() -> Result<(), Failure> {
    // As `ansible-inventory` does, not by spinning: whoever waits for it is to feel it.
    std::thread::sleep(INVENTORY_TAKES);
    if std::env::args().any(|argument| argument == "--version") {
        println!("ansible-inventory [core 2.19.0]");
        return Ok(());
    }
    let file = std::env::args()
        .find_map(|argument| argument.strip_prefix("--inventory=").map(str::to_owned))
        .ok_or("no --inventory")?;
    let text = fs::read_to_string(file)?;
    let hosts: Vec<&str> = text.lines().collect();
    let vars: serde_json::Map<String, Value> = hosts
        .iter()
        .map(|host| ((*host).to_owned(), json!({"ansible_user": "deploy"})))
        .collect();
    println!(
        "{}",
        json!({
            "_meta": {"hostvars": vars},
            "all": {"children": ["ungrouped", "nodes"]},
            "nodes": {"hosts": hosts},
        })
    );
    Ok(())
}

fn option(name: &str) -> Result<String, Failure> {
    let mut arguments = std::env::args();
    arguments
        .find(|argument| argument == name)
        .and_then(|_| arguments.next())
        .ok_or_else(|| format!("no {name}").into())
}

/// Prints an inventory as a server under test would read it, without a server.
pub(crate) fn list(bin_dir: &Path, inventory: &Path) -> Result<Vec<u8>, Failure> {
    let printed = Command::new(bin_dir.join("ansible-inventory"))
        .arg(format!("--inventory={}", inventory.display()))
        .output()?;
    Ok(printed.stdout)
}
