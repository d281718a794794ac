//! A disk that can be filled: a tmpfs of a few MiB in a mount namespace of its own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::Site;

/// The data folder of a site on a tmpfs that only those see who are brought [`inside`](SmallDisk::inside). It goes with
/// the process that holds its namespace.
pub(crate) struct SmallDisk {
    holder: Child,
    data: PathBuf,
}

impl SmallDisk {
    /// `None` where no namespace can be made: that takes root.
    pub(crate) fn under(site: &Site, megabytes: u32) -> Option<Self> {
        let data = site.path("data");
        fs::create_dir_all(&data).unwrap();
        let script =
            "mount -t tmpfs -o size=$1m small \"$0\" && echo mounted && exec cat >/dev/null";
        let mut holder = Command::new("unshare")
            .args(["--mount", "--", "sh", "-c", script])
            .arg(&data)
            .arg(megabytes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut said = String::new();
        let stdout = holder.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut said).unwrap();
        let made = Self { holder, data };
        (said == "mounted\n").then_some(made)
    }

    /// The command, where it sees this disk.
    pub(crate) fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside
            .arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()))
            .arg("--")
            .arg(command.get_program())
            .args(command.get_args());
        inside
    }

    /// The data folder, as it is seen from outside.
    pub(crate) fn path(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.data.strip_prefix("/").unwrap())
    }

    /// Takes all but so many bytes of what is free.
    pub(crate) fn fill_but(&self, bytes: u64) {
        let filler = self.path().join("filler");
        fill(&filler);
        let most = fs::metadata(&filler).unwrap().len();
        let file = fs::OpenOptions::new().write(true).open(&filler).unwrap();
        file.set_len(most.saturating_sub(bytes)).unwrap();
    }

    /// Gives the space back.
    pub(crate) fn free(&self) {
        fs::remove_file(self.path().join("filler")).unwrap();
    }
}

fn fill(filler: &Path) {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(filler)
        .unwrap();
    while file.write_all(&[b'x'; 4096]).is_ok() {}
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
