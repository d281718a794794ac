//! The binary, and an idle server's memory.

use super::client::Client;
use super::server::{BINARY, Server, Site};
use super::table::{Table, mebibytes};
use super::{Failure, alerts};

const MEBIBYTE: u64 = 1 << 20;

pub(crate) fn measure(table: &mut Table) -> Result<(), Failure> {
    let binary = std::fs::metadata(BINARY)?.len();
    table.goal(
        "binary, stripped",
        &mebibytes(binary),
        "< 20 MiB",
        binary < 20 * MEBIBYTE,
    );
    let site = Site::new(
        "{batch_window: 0}",
        &format!(
            "  - name: disk
    matchers: ['alertname = \"{}\"']
    roles: [notify]",
            alerts::ALERTNAME
        ),
    )?;
    let server = Server::start(&site)?;
    server.settle()?;
    Client::connect(server.port)?.get("/metrics")?;
    let (resident, most) = server.memory()?;
    table.goal(
        "idle, resident memory",
        &format!("{}, at most {}", mebibytes(resident), mebibytes(most)),
        "< 20 MiB",
        resident < 20 * MEBIBYTE,
    );
    server.stop()
}
