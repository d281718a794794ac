//! The facts of a large fleet: what scrapes, new facts and questions cost, and how each grows with the number of hosts.

use std::fs;
use std::time::{Duration, Instant};

use promansible::metrics::Metrics;
use promansible::model::facts::HostFacts;
use promansible::store;
use serde_json::{Map, Value, json};

use super::Failure;
use super::client::Client;
use super::server::{Server, Site};
use super::table::{Samples, Table, mebibytes, millis};

const FLEETS: [usize; 4] = [10, 100, 1_000, 10_000];
/// The fleet that the goals are for.
const LARGEST: usize = 10_000;
const ROUNDS: usize = 15;
const MEBIBYTE: u64 = 1 << 20;
/// Hosts whose facts share a commit while the store is filled.
const BATCH: usize = 500;

pub(crate) fn measure(table: &mut Table) -> Result<(), Failure> {
    for hosts in FLEETS {
        fleet(table, hosts)?;
    }
    Ok(())
}

fn fleet(table: &mut Table, hosts: usize) -> Result<(), Failure> {
    let site = Site::new("{batch_window: 0}", "  []")?;
    let names: Vec<String> = (0..hosts).map(name).collect();
    fs::write(site.inventory(), names.join("\n"))?;
    let begin = Instant::now();
    seed(&site, hosts)?;
    let kept = fs::metadata(site.store())?.len();
    table.note(
        &format!("facts of {hosts} hosts"),
        &format!(
            "{} on disk, made in {:.1} s",
            mebibytes(kept),
            begin.elapsed().as_secs_f64()
        ),
    );
    // The first start reads the inventory and keeps it; only later ones have it at hand.
    let server = Server::start(&site)?;
    server.settle()?;
    server.stop()?;
    let server = Server::start(&site)?;
    server.settle()?;
    let mut told = Told {
        table,
        is_goal: hosts == LARGEST,
    };
    told.time(
        "  start to ready",
        server.ready_after,
        Duration::from_secs(3),
    );

    let mut client = Client::connect(server.port)?;
    let plain = client.get("/metrics/hosts")?.body;
    let series = String::from_utf8_lossy(&plain)
        .lines()
        .filter(|line| !line.starts_with('#'))
        .count();
    let packed = client.get_packed("/metrics/hosts")?.body.len();
    told.table.note(
        "  series, and the page plain and gzip",
        &format!(
            "{series}, {}, {}",
            mebibytes(plain.len() as u64),
            mebibytes(packed as u64)
        ),
    );
    let scrape = cpu(&server, || client.get("/metrics/hosts").map(drop))?;
    told.time("  CPU of a plain scrape", scrape, Duration::from_millis(50));
    let scrape = cpu(&server, || client.get_packed("/metrics/hosts").map(drop))?;
    told.time("  CPU of a gzip scrape", scrape, Duration::from_millis(20));

    let mut number = 0;
    let post = cpu(&server, || {
        number += 1;
        let facts = json!({"facts": {name(number % hosts): facts(number % hosts, number)}});
        client.post("/api/v1/facts", &facts.to_string())
    })?;
    told.time(
        "  CPU of one host's new facts, to disk and page",
        post,
        Duration::from_millis(5),
    );
    let (resident, most) = server.memory()?;
    let memory = format!("{}, at most {}", mebibytes(resident), mebibytes(most));
    if told.is_goal {
        told.table.goal(
            "  resident memory",
            &memory,
            "< 400 MiB",
            most < 400 * MEBIBYTE,
        );
    } else {
        told.table.note("  resident memory", &memory);
    }

    let mut asked = Vec::new();
    for number in 0..200 {
        let path = format!("/api/v1/facts/{}", name(number * 7 % hosts));
        let begin = Instant::now();
        let answer = client.get(&path)?;
        asked.push(begin.elapsed());
        if answer.status != 200 {
            return Err(format!("{path} was answered {}", answer.status).into());
        }
    }
    told.time(
        "  one host's facts, until they are read (p50)",
        Samples::new(asked).median(),
        Duration::from_micros(200),
    );
    let targets = targets(&mut client, hosts)?;
    told.time(
        "  http_sd of all of them (p50)",
        targets,
        Duration::from_millis(30),
    );
    server.stop()
}

/// Until all scrape targets are there.
fn targets(client: &mut Client, hosts: usize) -> Result<Duration, Failure> {
    const PATH: &str = "/api/v1/sd?port=9100";
    let all: Vec<Value> = serde_json::from_slice(&client.get(PATH)?.body)?;
    if all.len() != hosts {
        return Err(format!("{PATH} has {} targets of {hosts}", all.len()).into());
    }
    let mut asked = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        client.get(PATH)?;
        asked.push(begin.elapsed());
    }
    Ok(Samples::new(asked).median())
}

/// Rows that have a goal for the largest fleet only.
struct Told<'a> {
    table: &'a mut Table,
    is_goal: bool,
}

impl Told<'_> {
    fn time(&mut self, what: &str, took: Duration, goal: Duration) {
        if self.is_goal {
            let wanted = format!("< {}", millis(goal));
            self.table.goal(what, &millis(took), &wanted, took < goal);
        } else {
            self.table.note(what, &millis(took));
        }
    }
}

/// The median of the server's CPU time for one of these, user and system together.
fn cpu(
    server: &Server,
    mut work: impl FnMut() -> Result<(), Failure>,
) -> Result<Duration, Failure> {
    let mut samples = Vec::new();
    for _ in 0..ROUNDS {
        let before = server.cpu()?;
        work()?;
        // What goes on behind the answer belongs to it.
        std::thread::sleep(Duration::from_millis(5));
        samples.push(server.cpu()?.saturating_sub(before));
    }
    Ok(Samples::new(samples).median())
}

/// Keeps the facts of this many hosts, through the store's own interface.
fn seed(site: &Site, hosts: usize) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let metrics = Metrics::new(prometheus::Registry::new())?;
        let now = promansible::util::clock::now();
        let opened = store::open(&site.store(), &metrics, now)?;
        let numbers: Vec<usize> = (0..hosts).collect();
        for batch in numbers.chunks(BATCH) {
            let gathered = batch.iter().map(|number| HostFacts {
                host: name(*number),
                gathered_at: now,
                live: true,
                facts: facts(*number, 0),
            });
            opened.store.keep_facts(gathered.collect()).await?;
        }
        opened.store.close().await;
        Ok(())
    })
}

fn name(number: usize) -> String {
    format!("host{number:05}.example.com")
}

/// The facts of a real host, with its names, addresses and sizes varied, and as many disks and interfaces as others have.
fn facts(number: usize, round: usize) -> Map<String, Value> {
    let sample = include_str!("../data/facts/ubuntu-14.04.json");
    let sample: Value = serde_json::from_str(sample).expect("a sample is JSON");
    let Some(Value::Object(mut facts)) = sample.get("ansible_facts").cloned() else {
        unreachable!("a sample has facts");
    };
    let address = format!(
        "10.{}.{}.{}",
        number / 65_536,
        number / 256 % 256,
        number % 256
    );
    facts["ansible_eth0"]["ipv4"]["address"] = address.clone().into();
    facts["ansible_default_ipv4"]["address"] = address.into();
    facts["ansible_nodename"] = name(number).into();
    facts["ansible_memfree_mb"] = (1000 + (number * 7 + round) % 3000).into();
    let mount = facts["ansible_mounts"][0].clone();
    let mounts = (0..=number % 3).map(|place| {
        let mut mount = mount.clone();
        mount["mount"] = if place == 0 {
            "/".into()
        } else {
            format!("/srv/data{place}").into()
        };
        mount["size_available"] = (600_000_000_000_u64 + (number * 4096 + place) as u64).into();
        mount
    });
    facts["ansible_mounts"] = mounts.collect();
    facts
}
