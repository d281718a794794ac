//! A real sshd on loopback that lets in one key.

use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{User, geteuid};

use super::process::{self, Process};
use super::wait::{Failure, on_free_port};

/// A running sshd. It works for root and for an ordinary user; either can log in only as itself.
pub struct Sshd {
    /// The server.
    pub process: Process,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// The user to log in as.
    pub user: String,
    /// The key that opens it.
    pub key: PathBuf,
    /// Its host key, under its address: checking host keys stays on.
    pub known_hosts: PathBuf,
}

impl Sshd {
    /// Starts it, with everything it needs in `dir`.
    pub fn start(dir: &Path) -> Result<Self, Failure> {
        Self::start_on(dir, &["127.0.0.1"])
    }

    /// The same on several addresses of loopback, the first of which is 127.0.0.1: each is another host.
    pub fn start_on(dir: &Path, addresses: &[&str]) -> Result<Self, Failure> {
        let io = |e: std::io::Error| Failure::new(format!("sshd in {}: {e}", dir.display()));
        fs::create_dir_all(dir).map_err(io)?;
        let sshd = process::find(&["sshd"])?;
        let user = User::from_uid(geteuid())
            .ok()
            .flatten()
            .ok_or_else(|| Failure::new(format!("user {} has no name", geteuid())))?
            .name;
        let host_key = make_key(&dir.join("host_key"))?;
        let key = make_key(&dir.join("key"))?;
        fs::copy(key.with_extension("pub"), dir.join("authorized_keys")).map_err(io)?;
        if geteuid().is_root() {
            // Debian's unit makes it, but that sshd may never have been started here.
            fs::create_dir_all("/run/sshd").map_err(io)?;
        }

        let config = dir.join("sshd_config");
        let log = dir.join("log");
        let (process, port) = on_free_port(
            "sshd",
            Duration::from_secs(30),
            |port| {
                fs::write(&config, settings(dir, addresses, port, &user)).map_err(io)?;
                let arguments = ["-D", "-e", "-f", &config.to_string_lossy()].map(str::to_owned);
                Process::start("sshd", &sshd, &arguments, &[], &log)
            },
            greets,
        )?;
        let public = fs::read_to_string(host_key.with_extension("pub")).map_err(io)?;
        let known_hosts = dir.join("known_hosts");
        let known = addresses.iter().map(|at| format!("[{at}]:{port} {public}"));
        fs::write(&known_hosts, known.collect::<String>()).map_err(io)?;
        Ok(Self {
            process,
            port,
            user,
            key,
            known_hosts,
        })
    }

    /// Options for ssh that use its key and its host key, and nothing of the invoking user's own configuration.
    pub fn client_options(&self) -> String {
        format!(
            "-F none -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile={} \
             -o GlobalKnownHostsFile=none",
            self.known_hosts.display()
        )
    }
}

fn settings(dir: &Path, addresses: &[&str], port: u16, user: &str) -> String {
    // Without PAM, sshd refuses an account whose password is locked, and root's often is.
    let pam = if password_is_locked(user) {
        "yes"
    } else {
        "no"
    };
    let dir = dir.display();
    let listen = addresses.iter();
    let listen = listen.map(|at| format!("ListenAddress {at}:{port}\n"));
    let listen: String = listen.collect();
    format!(
        "{listen}HostKey {dir}/host_key
AuthorizedKeysFile {dir}/authorized_keys
PidFile none
# The folder is a temporary one, below a /tmp that everybody may write to.
StrictModes no
UsePAM {pam}
AllowUsers {user}
PermitRootLogin prohibit-password
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowTcpForwarding no
X11Forwarding no
PrintMotd no
PrintLastLog no
Subsystem sftp internal-sftp
MaxStartups 100
MaxSessions 100
LogLevel VERBOSE
"
    )
}

/// Only root can look; another user's sshd cannot look either, and lets the user in.
fn password_is_locked(user: &str) -> bool {
    fs::read_to_string("/etc/shadow").is_ok_and(|shadow| {
        shadow
            .lines()
            .filter_map(|line| line.split_once(':'))
            .any(|(name, rest)| name == user && rest.starts_with('!'))
    })
}

/// Makes a key pair, and returns the path of the private one.
pub fn make_key(path: &Path) -> Result<PathBuf, Failure> {
    let generator = process::find(&["ssh-keygen"])?;
    let mut command = process::command(generator);
    process::run(
        command
            .args([
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-C",
                "promansible-test",
                "-f",
            ])
            .arg(path),
    )?;
    Ok(path.to_owned())
}

fn greets(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut greeting = [0; 4];
    TcpStream::connect_timeout(&address, Duration::from_secs(1))
        .and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            stream.read_exact(&mut greeting)
        })
        .is_ok()
        && &greeting == b"SSH-"
}
