//! Durable intake: 64 connections in a closed loop, one alert in each notification, every 200 fsynced.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use promansible::metrics::Metrics;
use promansible::model::run::RunId;
use promansible::store::{self, RunFilter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::{self, Client};
use super::server::{Server, Site};
use super::table::{Samples, Table, millis};
use super::{Failure, alerts, disk};

const CONNECTIONS: usize = 64;
const DURING: Duration = Duration::from_secs(10);
const FSYNCS_DURING: Duration = Duration::from_secs(2);

pub(crate) fn measure(table: &mut Table) -> Result<(), Failure> {
    // Nothing starts meanwhile: it is the intake that is measured.
    let site = Site::new(
        "{batch_window: 1h, queue_limit: 1000000, queue_alerts_limit: 100000000}",
        &format!(
            "  - name: disk
    matchers: ['alertname = \"{}\"']
    roles: [notify]",
            alerts::ALERTNAME
        ),
    )?;
    let server = Server::start(&site)?;
    server.settle()?;
    let before = disk::fsyncs_per_second(site.folder(), FSYNCS_DURING)?;
    let load = load(server.port)?;
    let after = disk::fsyncs_per_second(site.folder(), FSYNCS_DURING)?;
    let decided = Client::connect(server.port)?
        .metric("promansible_decisions_total{binding=\"disk\",decision=\"run\"}")?;
    report(table, &load, before, after);
    server.kill()?;
    check(&site, &load, decided)
}

struct Load {
    latencies: Samples,
    took: Duration,
}

#[allow(clippy::cast_precision_loss)] // counts far below 2^52
fn report(table: &mut Table, load: &Load, before: f64, after: f64) {
    let rate = load.latencies.len() as f64 / load.took.as_secs_f64();
    let fsyncs = f64::midpoint(before, after);
    let wanted = (20.0 * fsyncs).min(10_000.0);
    table.note(
        "fsyncs of 4 KiB, before and after",
        &format!("{before:.0}/s, {after:.0}/s"),
    );
    table.goal(
        "durable intake, 64 connections",
        &format!("{rate:.0}/s"),
        &format!("≥ {wanted:.0}/s"),
        rate >= wanted,
    );
    table.note("  to the fsync rate", &format!("{:.1} ×", rate / fsyncs));
    let p99 = load.latencies.percentile(99);
    table.goal(
        "  p99 of its latency",
        &millis(p99),
        "< 50 ms",
        p99 < Duration::from_millis(50),
    );
    table.note(
        "  p50, max",
        &format!(
            "{}, {}",
            millis(load.latencies.median()),
            millis(load.latencies.max())
        ),
    );
}

/// Every 200 must be a decision, and after a kill -9 each must be on the disk.
#[allow(clippy::cast_precision_loss)] // counts far below 2^52
fn check(site: &Site, load: &Load, decided: f64) -> Result<(), Failure> {
    let answered = load.latencies.len();
    if decided < answered as f64 {
        return Err(format!("{answered} were answered 200, {decided} are counted").into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let kept = runtime.block_on(async {
        let metrics = Metrics::new(prometheus::Registry::new())?;
        let opened = store::open(&site.store(), &metrics, promansible::util::clock::now())?;
        let filter = RunFilter::default();
        let newest = opened.store.runs(filter, None, 1).await?.runs;
        let runs = newest.first().map_or(0, |run| run.id.0);
        let mut kept = 0;
        for run in 1..=runs {
            kept += opened.store.episodes_of(RunId(run)).await?.len();
        }
        opened.store.close().await;
        Ok::<_, Failure>(kept)
    })?;
    if kept != answered {
        return Err(format!("{answered} were answered 200, {kept} are in the store").into());
    }
    Ok(())
}

/// One thread is enough to keep the connections busy, and takes the least from the server.
fn load(port: u16) -> Result<Load, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let next = Arc::new(AtomicU64::new(0));
        let start = Instant::now();
        let loops: Vec<_> = (0..CONNECTIONS)
            .map(|_| tokio::spawn(connection(port, Arc::clone(&next), start + DURING)))
            .collect();
        let mut latencies = Vec::new();
        for each in loops {
            latencies.append(&mut each.await??);
        }
        Ok(Load {
            latencies: Samples::new(latencies),
            took: start.elapsed(),
        })
    })
}

async fn connection(
    port: u16,
    next: Arc<AtomicU64>,
    until: Instant,
) -> Result<Vec<Duration>, Failure> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let mut latencies = Vec::new();
    let mut heard = Vec::with_capacity(4096);
    while Instant::now() < until {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let request = client::post(&alerts::notification([number]));
        let start = Instant::now();
        stream.write_all(&request).await?;
        let answer = loop {
            if let Some((answer, length)) = client::parse(&heard)? {
                heard.drain(..length);
                break answer;
            }
            if stream.read_buf(&mut heard).await? == 0 {
                return Err("the server closed the connection".into());
            }
        };
        if answer.status != 200 {
            let said = String::from_utf8_lossy(&answer.body).into_owned();
            return Err(format!("answered {}: {said}", answer.status).into());
        }
        latencies.push(start.elapsed());
    }
    Ok(latencies)
}
