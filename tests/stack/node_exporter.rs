//! A real `node_exporter`, which tells of this machine.

use std::path::Path;
use std::time::Duration;

use super::http;
use super::process::{self, Process};
use super::wait::{Failure, on_free_port};

/// A running `node_exporter`.
pub struct NodeExporter {
    /// The server.
    pub process: Process,
    /// Its port on 127.0.0.1.
    pub port: u16,
}

impl NodeExporter {
    /// Starts it with the collectors that it has by default; its log lies in `dir`.
    pub fn start(dir: &Path) -> Result<Self, Failure> {
        let program = process::find(&["prometheus-node-exporter", "node_exporter"])?;
        let (process, port) = on_free_port(
            "node_exporter",
            Duration::from_secs(30),
            |port| {
                let arguments = [format!("--web.listen-address=127.0.0.1:{port}")];
                let log = dir.join("node_exporter.log");
                Process::start("node_exporter", &program, &arguments, &[], &log)
            },
            |port| http::is_ok(port, "/metrics"),
        )?;
        Ok(Self { process, port })
    }
}
