//! `promansible check`.

use std::path::PathBuf;

use clap::Subcommand;

use super::{Failure, colored, print};
use crate::config;

/// Check a file without a server.
#[derive(Debug, Subcommand)]
pub(super) enum Check {
    /// Check a configuration file; exit code 1 if it has defects.
    Config {
        /// The file.
        file: PathBuf,
    },
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Self::Config { file } = self;
        match config::load(&file) {
            Ok(config) => print(&format!(
                "{}: good ({} bindings, {} alert roles, {} routine roles)\n",
                file.display(),
                config.bindings.len(),
                config.roles.alert.len(),
                config.roles.routine.len()
            )),
            Err(errors) => Err(Failure::new(errors.render(colored(&std::io::stderr())))),
        }
    }
}
