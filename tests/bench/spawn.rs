//! From the POST to the start of `ansible-playbook`, one notification at a time, without a batch window.

use std::time::{Duration, Instant};

use super::client::Client;
use super::server::{Server, Site};
use super::table::{Samples, Table, spread};
use super::{Failure, alerts, fake};

const ROUNDS: u64 = 300;
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn measure(table: &mut Table) -> Result<(), Failure> {
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
    let mut client = Client::connect(server.port)?;
    let (mut answers, mut spawns) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let notification = alerts::notification([round]);
        let start = Instant::now();
        let posted = fake::since_epoch();
        client.notify(&notification)?;
        answers.push(start.elapsed());
        let spawned = fake::hear(&site.spawned)?;
        spawns.push(spawned.at.saturating_sub(posted));
        finished(&mut client, spawned.run)?;
    }
    let (answers, spawns) = (Samples::new(answers), Samples::new(spawns));
    table.goal(
        "POST to ansible-playbook's main",
        &spread(&spawns),
        "p50 < 10 ms",
        spawns.median() < Duration::from_millis(10),
    );
    table.note("  of that, until 200", &spread(&answers));
    server.stop()
}

fn finished(client: &mut Client, run: u64) -> Result<(), Failure> {
    let start = Instant::now();
    loop {
        let data = client.data(&format!("/api/v1/runs/{run}"))?;
        if data["run"]["state"] == "finished" {
            return match data["run"]["outcome"].as_str() {
                Some("successful") => Ok(()),
                _ => Err(format!("run {run} went wrong: {}", data["run"]).into()),
            };
        }
        if start.elapsed() > LIMIT {
            return Err(format!("run {run} does not end").into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
