//! The ansible-core releases that tests/setup.sh installs.

use std::path::{Path, PathBuf};

use super::wait::Failure;

/// A release of ansible-core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The oldest that is supported.
    V2_16,
    /// The newest that Debian 12's Python can run.
    V2_19,
}

impl Release {
    /// The folder that holds its `ansible-playbook`.
    pub fn bin_dir(self) -> Result<PathBuf, Failure> {
        let release = match self {
            Self::V2_16 => "2.16",
            Self::V2_19 => "2.19",
        };
        let dir = project().join(format!(".venv/ansible-{release}/bin"));
        if dir.join("ansible-playbook").is_file() {
            return Ok(dir);
        }
        Err(Failure::new(format!(
            "there is no {}/ansible-playbook; tests/setup.sh test installs it",
            dir.display()
        )))
    }
}

/// The folder of this project.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
