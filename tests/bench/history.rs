//! 100,000 finished runs in the history: memory, filtered pages, a search, and the start after a clean stop and a kill.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::client::Client;
use super::server::{Server, Site};
use super::table::{Samples, Table, mebibytes, millis, spread};
use super::{Failure, alerts, seed};

const RUNS: u64 = 100_000;
const STARTS: usize = 7;
const WRITERS: usize = 8;
const MEBIBYTE: u64 = 1 << 20;

pub(crate) fn measure(table: &mut Table) -> Result<(), Failure> {
    let site = Site::new(
        "{batch_window: 1h}",
        &format!(
            "  - name: disk
    matchers: ['alertname = \"{}\"']
    roles: [notify]",
            alerts::ALERTNAME
        ),
    )?;
    let begin = Instant::now();
    seed::seed(&site, RUNS)?;
    let bytes = std::fs::metadata(site.store())?.len();
    table.note(
        "history of 100,000 runs",
        &format!(
            "{} on disk, made in {:.0} s",
            mebibytes(bytes),
            begin.elapsed().as_secs_f64()
        ),
    );
    // The first start reads the inventory and keeps it; only later ones have it at hand.
    let server = Server::start(&site)?;
    server.settle()?;
    complete(&server)?;
    memory(table, &server)?;
    filters(table, &server)?;
    now(table, &server)?;
    let begin = Instant::now();
    server.stop()?;
    table.note("  stop", &millis(begin.elapsed()));

    let mut next = RUNS;
    let ends: [(&str, End); 2] = [("a stop", stopped), ("kill -9 under load", killed)];
    for (name, end) in ends {
        let mut starts = Vec::new();
        for _ in 0..STARTS {
            let server = Server::start(&site)?;
            server.settle()?;
            end(server, &mut next)?;
            let server = Server::start(&site)?;
            starts.push(server.ready_after);
            server.stop()?;
        }
        let starts = Samples::new(starts);
        table.goal(
            &format!("  start to ready, after {name}"),
            &spread(&starts),
            "< 500 ms",
            starts.median() < Duration::from_millis(500),
        );
    }
    Ok(())
}

/// Ends a server; the number is that of the next alert that nobody has sent yet.
type End = fn(Server, &mut u64) -> Result<(), Failure>;

/// The history is what it is said to be.
fn complete(server: &Server) -> Result<(), Failure> {
    let mut client = Client::connect(server.port)?;
    let data = client.data("/api/v1/runs?limit=1")?;
    let run = &data["runs"][0];
    if run["id"] == RUNS && run["outcome"] == "successful" {
        Ok(())
    } else {
        Err(format!("want {RUNS} successful runs, the last is {run}").into())
    }
}

fn memory(table: &mut Table, server: &Server) -> Result<(), Failure> {
    let mut client = Client::connect(server.port)?;
    client.get("/metrics")?;
    let (resident, _) = server.memory()?;
    table.goal(
        "  resident memory",
        &mebibytes(resident),
        "< 60 MiB",
        resident < 60 * MEBIBYTE,
    );
    // What a person and an Alertmanager do to it.
    for page in 0..100 {
        client.data(&format!(
            "/api/v1/runs?limit=50&cursor={}",
            RUNS - page * 50
        ))?;
        client.notify(&alerts::notification([page]))?;
    }
    let (resident, most) = server.memory()?;
    table.goal(
        "  after 100 pages of runs, 100 alerts",
        &format!("{}, at most {}", mebibytes(resident), mebibytes(most)),
        "< 60 MiB",
        resident < 60 * MEBIBYTE,
    );
    Ok(())
}

/// How often each page is asked for.
const PAGES: usize = 20;

fn filters(table: &mut Table, server: &Server) -> Result<(), Failure> {
    let mut client = Client::connect(server.port)?;
    let host = alerts::host(7);
    let alertname = alerts::ALERTNAME;
    let queries = [
        ("by host", format!("host={host}"), 50),
        ("oldest first", format!("host={host}&sort=oldest"), 50),
        (
            "by all of them",
            format!(
                "host={host}&role=notify&binding=disk&trigger=alert&outcome=successful&alertname={alertname}"
            ),
            50,
        ),
        ("far back", format!("host={host}&cursor=20000"), 50),
        ("nothing found", "outcome=failed&role=notify".to_owned(), 0),
    ];
    for (name, query, wanted) in queries {
        let mut took = Vec::new();
        for _ in 0..PAGES {
            let begin = Instant::now();
            let data = client.data(&format!("/api/v1/runs?{query}"))?;
            took.push(begin.elapsed());
            let found = data["runs"].as_array().map_or(0, Vec::len);
            if found != wanted {
                return Err(format!("{query}: want {wanted} runs, found {found}").into());
            }
        }
        let took = Samples::new(took);
        let is_quick = took.median() < Duration::from_millis(20);
        let name = format!("  page of runs, {name}");
        table.goal(&name, &spread(&took), "< 20 ms", is_quick);
    }
    let newest = client.data("/api/v1/runs?limit=1")?["runs"][0]["id"].as_u64();
    let mut took = Vec::new();
    for _ in 0..PAGES {
        let begin = Instant::now();
        let data = client.data("/api/v1/runs?text=Nothing+Says+This")?;
        took.push(begin.elapsed());
        if data["next"].as_u64() != newest.map(|newest| newest - 9_999) {
            return Err(format!("want 10,000 runs looked at, not up to {}", data["next"]).into());
        }
    }
    let took = Samples::new(took);
    let is_quick = took.median() < Duration::from_millis(500);
    table.goal(
        "  text in the last 10,000 outputs",
        &spread(&took),
        "< 500 ms",
        is_quick,
    );
    Ok(())
}

/// The portal's first page.
fn now(table: &mut Table, server: &Server) -> Result<(), Failure> {
    let mut client = Client::connect(server.port)?;
    let mut took = Vec::new();
    for _ in 0..PAGES {
        let begin = Instant::now();
        let page = client.get("/")?;
        took.push(begin.elapsed());
        if !String::from_utf8_lossy(&page.body).contains("<h1") {
            return Err("the page Overview has no heading".into());
        }
    }
    let took = Samples::new(took);
    let is_quick = took.median() < Duration::from_millis(20);
    table.goal("  the page Overview", &spread(&took), "< 20 ms", is_quick);
    Ok(())
}

fn stopped(server: Server, _: &mut u64) -> Result<(), Failure> {
    server.stop()
}

/// Kills it while notifications are being written.
fn killed(server: Server, next: &mut u64) -> Result<(), Failure> {
    let numbers = AtomicU64::new(*next);
    let port = server.port;
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                // Until the server is gone.
                while let Ok(mut client) = Client::connect(port) {
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    if client.notify(&alerts::notification([number])).is_err() {
                        break;
                    }
                }
            });
        }
        std::thread::sleep(Duration::from_millis(200));
        server.kill()
    })?;
    *next = numbers.into_inner();
    Ok(())
}
