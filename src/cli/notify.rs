//! `promansible notify`.

use std::path::PathBuf;

use clap::Subcommand;

use super::client::block_on;
use super::colored;
use super::print;
use super::{CONFIG_FILE, Failure};
use crate::config;
use crate::services::notifier;

/// Test the notifiers.
#[derive(Debug, Subcommand)]
pub(super) enum Notify {
    /// Send a test message through a notifier of the configuration, and report the result. Needs no server.
    #[command(after_help = AFTER)]
    Test {
        /// The name of the notifier.
        notifier: String,
        /// The configuration file.
        #[arg(long = "config.file", value_name = "FILE", default_value = CONFIG_FILE)]
        config_file: PathBuf,
    },
}

const AFTER: &str = "\
The exit code is 1 if the message could not be sent. Run it as the user of the server, because it reads the same secrets.

For example:
  sudo -u promansible promansible notify test team --config.file=/etc/promansible/promansible.yml";

impl Notify {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Self::Test {
            notifier: name,
            config_file: file,
        } = self;
        let config = config::load(&file)
            .map_err(|errors| Failure::new(errors.render(colored(&std::io::stderr()))))?;
        let Some(chosen) = config.notifiers.iter().find(|n| n.name == name) else {
            let names = config.notifiers.iter().map(|n| n.name.as_str());
            let names = names.collect::<Vec<_>>().join(", ");
            let file = file.display();
            return Err(Failure::new(if names.is_empty() {
                format!("there is no notifier {name:?}: {file} has no notifiers")
            } else {
                format!("there is no notifier {name:?}: {file} has {names}")
            }));
        };
        block_on(notifier::test(&config, chosen))?
            .map_err(|why| Failure::new(format!("the test message to {name} failed: {why}")))?;
        print(&format!("the test message to {name} was sent\n"))
    }
}
