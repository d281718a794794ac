//! One notification with a thousand alerts for two hundred hosts, two bindings matching each.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::client::Client;
use super::server::{Server, Site};
use super::table::{Samples, Table, spread};
use super::{Failure, alerts, fake};

const ALERTS: u64 = 1000;
const ROUNDS: u64 = 10;
const BINDINGS: usize = 2;
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn measure(table: &mut Table) -> Result<(), Failure> {
    let bindings = (0..BINDINGS).map(|number| {
        format!(
            "  - name: disk-{number}
    matchers: ['alertname = \"{}\"']
    roles: [notify]\n",
            alerts::ALERTNAME
        )
    });
    let site = Site::new("{batch_window: 100ms}", &bindings.collect::<String>())?;
    let server = Server::start(&site)?;
    server.settle()?;
    let mut client = Client::connect(server.port)?;
    let mut samples = Vec::new();
    let mut runs = BTreeSet::new();
    for round in 0..ROUNDS {
        let numbers = round * ALERTS..(round + 1) * ALERTS;
        let notification = alerts::notification(numbers);
        let start = Instant::now();
        client.notify(&notification)?;
        samples.push(start.elapsed());
        for _ in 0..BINDINGS {
            let spawned = fake::hear(&site.spawned)?;
            if spawned.hosts != alerts::HOSTS || !runs.insert(spawned.run) {
                return Err(format!("want one process on 200 hosts, found {spawned:?}").into());
            }
        }
        all_finished(&mut client)?;
    }
    no_more(&site)?;
    let successful =
        client.metric("promansible_runs_total{outcome=\"successful\",role=\"notify\"")?;
    if (successful - f64::from(u32::try_from(runs.len())?)).abs() > 0.1 {
        return Err(format!("{} runs, of which {successful} successful", runs.len()).into());
    }
    let samples = Samples::new(samples);
    table.goal(
        "1,000 alerts for 200 hosts, until 200",
        &spread(&samples),
        "< 100 ms",
        samples.max() < Duration::from_millis(100),
    );
    table.goal(
        "  ansible-playbook processes",
        &format!("{} in {ROUNDS} rounds × {BINDINGS} bindings", runs.len()),
        "1 each",
        runs.len() == BINDINGS * usize::try_from(ROUNDS)?,
    );
    server.stop()
}

fn all_finished(client: &mut Client) -> Result<(), Failure> {
    let start = Instant::now();
    loop {
        let open = client.metric("promansible_runs_queued")?
            + client.metric("promansible_runs_running")?;
        if open < 0.5 {
            return Ok(());
        }
        if start.elapsed() > LIMIT {
            return Err("the runs do not end".into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A process too many would have told by now, or does within another batch window.
fn no_more(site: &Site) -> Result<(), Failure> {
    site.spawned
        .set_read_timeout(Some(Duration::from_millis(500)))?;
    match fake::hear(&site.spawned) {
        Ok(spawned) => Err(format!("one process too many: {spawned:?}").into()),
        Err(_) => Ok(()),
    }
}
