//! `make demo`: breaks a web site on loopback and shows, step by step, how its alert repairs it.
//!
//! Everything is real: Prometheus, Alertmanager, promansible, ssh, Ansible. It ends with 0 once the repair is proven and
//! nothing is left behind. With `KEEP=1` it stays up until Ctrl-C. Before that, Ctrl-C tears everything down and ends it
//! with 130.

#![allow(unreachable_pub)] // a program has no outside

#[path = "demo/screen.rs"]
mod screen;
mod stack;
#[path = "demo/story.rs"]
mod story;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use screen::{Ink, Screen};
use stack::alertmanager::Timing;
use stack::ansible::Release;
use stack::wait::STOP;
use stack::world::Plan;
use stack::{Failure, World};
use story::Story;

/// The signal that asked for the end.
static SIGNAL: AtomicU8 = AtomicU8::new(0);

/// Set where everything is being torn down anyway: nothing may cut that short.
static TIDYING: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    stop_on_signals();
    let screen = Screen::new();
    match demo(&screen) {
        Ok(()) => ExitCode::SUCCESS,
        // What was waited for, and the servers' logs, are no news to whoever stopped it.
        Err(_) if STOP.load(Ordering::Relaxed) => {
            screen.line("");
            screen.line(&screen.ink(Ink::Dim, "  stopped, and everything torn down"));
            ExitCode::from(128 + SIGNAL.load(Ordering::Relaxed))
        }
        Err(failure) => {
            screen.line("");
            screen.line(&format!("  {}  {failure}", screen.ink(Ink::Red, "failed")));
            ExitCode::FAILURE
        }
    }
}

fn demo(screen: &Screen) -> Result<(), Failure> {
    let begin = Instant::now();
    screen.heading(
        "promansible",
        "one alert, from a broken site to a proven repair",
    );
    screen.heading(
        "Servers",
        "all of them real, all on 127.0.0.1, on ports that were free",
    );
    let plan = Plan {
        binary: binary()?,
        ansible: Release::V2_19,
        pair: false,
        timing: Timing::default(),
        note: "{{ 7 * 7 }}",
    };
    let world = World::start(&plan, |name, port| {
        screen.entry(name, &format!("127.0.0.1:{port}"), 16, remark(name));
    })?;
    screen.heading(
        "Pages",
        "open them while it runs, or with KEEP=1 afterwards",
    );
    pages(screen, &world, &plan.binary);

    let untouched = world.sites[1].pid();
    screen.heading("What happens", "seconds since the break");
    let story = Story::follow(&world, screen)?;

    screen.heading(
        "What Ansible said",
        &format!("promansible runs output {}", story.id()),
    );
    for line in excerpt(&world.promansible.output(story.id())?) {
        screen.quote(&line);
    }
    screen.heading("How long it took", "each step after the one before");
    durations(screen, &story);

    screen.heading("Proofs", "looked at, not assumed");
    prove(screen, &world, untouched)?;
    let mut seconds = begin.elapsed();
    if std::env::var_os("KEEP").is_some_and(|keep| keep == "1") {
        keep(screen, &world, &plan.binary);
    }
    let tidying = Instant::now();
    tidy_up(screen, world)?;
    seconds += tidying.elapsed();
    let seconds = seconds.as_secs_f64();
    screen.line("");
    screen.line(&screen.ink(
        Ink::Green,
        &format!("  Repaired and proven. The demo took {seconds:.0} s."),
    ));
    Ok(())
}

fn remark(name: &str) -> &'static str {
    match name {
        "web01" => "the site that will break",
        "web02" => "its neighbour, which nothing may touch",
        "sshd" => "both hosts; by key only, host key checked",
        "promansible" => "runs the role that is bound to the alert",
        "Alertmanager" => "delivers the alert",
        _ => "looks every second",
    }
}

fn pages(screen: &Screen, world: &World, binary: &Path) {
    let promansible = world.promansible.port;
    let alertmanager = world.alertmanagers[0].port;
    let prometheus = world.prometheus.port;
    for (name, page, what) in [
        (
            "Prometheus",
            format!("http://127.0.0.1:{prometheus}/alerts"),
            "the rule and its alert",
        ),
        (
            "Alertmanager",
            // Debian builds it without its web application; the API is always there.
            format!("http://127.0.0.1:{alertmanager}/api/v2/alerts"),
            "what is delivered",
        ),
        (
            "promansible",
            format!("http://127.0.0.1:{promansible}/api/v1/runs"),
            "the history",
        ),
        (
            "",
            format!("http://127.0.0.1:{promansible}/metrics"),
            "its metrics",
        ),
    ] {
        screen.entry(name, &page, 36, what);
    }
    let program = quoted(binary);
    let list = format!("{program} runs --server.url=http://127.0.0.1:{promansible} list");
    screen.entry("or paste", &list, 0, "");
}

/// A path as a shell reads it.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let harmless = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
    if path.chars().all(harmless) {
        return path;
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

/// The lines that tell the most: from the first task on, without the rows of asterisks.
fn excerpt(output: &str) -> Vec<String> {
    output
        .lines()
        .map(|line| line.trim_end_matches(['*', ' ']).to_owned())
        .filter(|line| !line.is_empty())
        .take(40)
        .collect()
}

fn durations(screen: &Screen, story: &Story) {
    const WIDTH: f64 = 40.0;
    let total = story
        .steps
        .last()
        .map_or(1.0, |(_, seconds)| *seconds)
        .max(0.001);
    let mut before = ("broken", 0.0);
    for (step, seconds) in &story.steps {
        let (start, took) = (before.1, (seconds - before.1).max(0.0));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to WIDTH
        let columns = |share: f64| (share / total * WIDTH).round() as usize;
        let bar = "▇".repeat(columns(took).max(1));
        let gap = " ".repeat(columns(start));
        let name = format!("{} → {}", before.0, step.word());
        let bar = screen.ink(Ink::Cyan, &bar);
        screen.line(&format!("    {name:<22} {took:5.2} s  {gap}{bar}"));
        before = (step.word(), *seconds);
    }
    screen.line(&format!("    {:<22} {total:5.2} s", "in all"));
}

fn prove(screen: &Screen, world: &World, untouched: Option<i32>) -> Result<(), Failure> {
    let broken = |text: String| Err(Failure::new(text).with_logs(world.processes()));
    let runs = world.promansible.runs()?;
    let run = &runs[0];
    if runs.len() != 1 || run["results"]["web01"]["outcome"] != "successful" {
        return broken(format!(
            "not just one run, or not successful on web01: {runs:#?}"
        ));
    }
    screen.proof("one episode, one run: the history holds this one, successful on web01");
    if run["hosts"] != serde_json::json!(["web01"]) || world.sites[1].pid() != untouched {
        return broken(format!("web02 was touched: {run:#}"));
    }
    screen.proof("web02 was not touched: the same process answers as before");
    let counted = world.promansible.count(
        "runs_total",
        &[("role", "start_service"), ("outcome", "successful")],
    )?;
    #[allow(clippy::float_cmp)] // a count
    if counted != 1.0 {
        return broken(format!(
            "/metrics counts {counted} successful runs of start_service"
        ));
    }
    screen.proof("promansible_runs_total{role=\"start_service\",outcome=\"successful\"} is 1");
    Ok(())
}

fn keep(screen: &Screen, world: &World, binary: &Path) {
    screen.heading("Still up", "because of KEEP=1; Ctrl-C ends it");
    pages(screen, world, binary);
    let folder = world.dir().display();
    screen.entry(
        "break it again",
        &format!("kill $(cat {folder}/web01/pid)"),
        0,
        "",
    );
    while !STOP.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
    }
    STOP.store(false, Ordering::Relaxed);
    screen.heading("Torn down", "and looked at once more");
}

/// Ends everything, and looks whether it did end.
fn tidy_up(screen: &Screen, world: World) -> Result<(), Failure> {
    // It waits as well, and a second Ctrl-C must not make it give up.
    TIDYING.store(true, Ordering::Relaxed);
    STOP.store(false, Ordering::Relaxed);
    let folder: PathBuf = world.dir().to_owned();
    let ports = world.ports();
    let left = world.stop();
    if !left.is_empty() {
        return Err(Failure::new(format!(
            "processes were left behind: {left:#?}"
        )));
    }
    for port in &ports {
        TcpListener::bind((Ipv4Addr::LOCALHOST, *port))
            .map_err(|e| Failure::new(format!("port {port} is still in use: {e}")))?;
    }
    if Path::exists(&folder) {
        return Err(Failure::new(format!("{} is still there", folder.display())));
    }
    screen.proof(&format!(
        "nothing is left behind: no process, none of {} ports, no folder",
        ports.len()
    ));
    Ok(())
}

/// The binary that was built along with this program, for the same profile.
fn binary() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().map_err(|e| Failure::new(format!("who am I? {e}")))?;
    own.parent()
        .and_then(Path::parent)
        .map(|profile| profile.join("promansible"))
        .filter(|binary| binary.is_file())
        .ok_or_else(|| {
            Failure::new("there is no promansible beside this program; `make demo` builds both")
        })
}

/// The first signal asks for the end, so that everything is torn down in order.
fn stop_on_signals() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
    else {
        return;
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let kinds = [
                SignalKind::interrupt(),
                SignalKind::terminate(),
                SignalKind::hangup(),
            ];
            if let [Ok(mut int), Ok(mut term), Ok(mut hup)] = kinds.map(signal) {
                loop {
                    let signal = tokio::select! {
                        _ = int.recv() => 2,
                        _ = term.recv() => 15,
                        _ = hup.recv() => 1,
                    };
                    SIGNAL.store(signal, Ordering::Relaxed);
                    if !TIDYING.load(Ordering::Relaxed) {
                        STOP.store(true, Ordering::Relaxed);
                    }
                }
            }
        });
    });
}
