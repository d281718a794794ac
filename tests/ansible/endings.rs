//! Nothing outlives its run, however the run, its supervisor or promansible ends.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use promansible::ansible::{Cause, Event, ListError, Progress, sweep};
use promansible::model::run::Outcome;

use crate::harness::{Bench, PATIENCE, Version, on_both};

on_both!(
    a_stubborn_play_is_ended,
    a_play_that_listens_is_ended_gently,
    a_play_leaves_no_daemon,
    kill_9_of_the_supervisor
);

/// Ignores INT and TERM, forks, leaves its session, and leaves a grandchild behind with nohup.
const STUBBORN: &str = r#"trap "" INT TERM HUP
nohup setsid sh -c 'trap "" INT TERM HUP; (trap "" INT TERM; sleep 300) & sleep 300' >/dev/null 2>&1 &
setsid sleep 300 &
touch "$1/started"
while :; do sleep 1; done
"#;

fn stubborn(bench: &Bench) {
    bench.write("out/stubborn.sh", STUBBORN);
    bench.role(
        "handle",
        "- ansible.builtin.command: sh OUT/stubborn.sh OUT\n",
    );
}

async fn a_stubborn_play_is_ended(version: Version) {
    let bench = Bench::new(version);
    stubborn(&bench);
    let started = bench.start(&["web1", "web2"]);
    bench.wait_for("started").await;
    assert!(
        bench.processes().len() > 6,
        "the play did not start what it should"
    );
    let stop = started.stop.clone();
    stop.now();
    stop.now();
    let told = bench.finish(started, &["web1", "web2"]).await;
    // Some of it would have gone on for ever.
    let judged = told.judged(Some(Cause::TimedOut));
    assert_eq!(judged.outcome, Outcome::Timeout);
    assert_eq!(judged.results["web2"].outcome, Outcome::Timeout);
    stop.now();
}

async fn a_play_that_listens_is_ended_gently(version: Version) {
    let mut bench = Bench::new(version);
    bench.grace = PATIENCE;
    bench.role(
        "handle",
        "- ansible.builtin.command: sh -c 'touch OUT/started; exec sleep 300'\n",
    );
    let started = bench.start(&["web1"]);
    bench.wait_for("started").await;
    started.stop.now();
    let told = bench.finish(started, &["web1"]).await;
    assert_eq!(
        told.judged(Some(Cause::Canceled)).outcome,
        Outcome::Canceled
    );
    // INT was heard, and the grace not used up.
    assert_eq!(told.ending.code, Some(99), "{}", told.text());
}

async fn a_play_leaves_no_daemon(version: Version) {
    let bench = Bench::new(version);
    bench.role(
        "handle",
        "- ansible.builtin.shell: nohup setsid sleep 300 >/dev/null 2>&1 & touch OUT/started\n",
    );
    let told = bench.run(&["web1"]).await;
    assert!(bench.out("started").exists());
    assert_eq!(
        told.judged(None).outcome,
        Outcome::Successful,
        "{}",
        told.text()
    );
}

async fn kill_9_of_the_supervisor(version: Version) {
    let bench = Bench::new(version);
    stubborn(&bench);
    let started = bench.start(&["web1"]);
    bench.wait_for("started").await;
    kill(
        Pid::from_raw(i32::try_from(started.pid).unwrap()),
        Signal::SIGKILL,
    )
    .unwrap();
    let told = bench.finish(started, &["web1"]).await;
    assert_eq!((told.ending.code, told.ending.signal), (None, Some(9)));
    assert_eq!(told.judged(None).outcome, Outcome::Failed);
}

/// Starts a supervisor as promansible does, but from outside the library, so that its standard input is ours to close.
fn supervisor(bench: &Bench, script: &str) -> std::process::Child {
    bench.write("runs/7/vars.json", "{}");
    bench.write("out/program.sh", script);
    #[allow(clippy::disallowed_methods)] // stands in for promansible
    Command::new(env!("CARGO_BIN_EXE_promansible"))
        .args(["supervise", "--grace=500", "--dir"])
        .arg(bench.runs_dir().join("7"))
        .args(["--", "bash"])
        .arg(bench.out("program.sh"))
        .arg(bench.path("out"))
        .env("PROMANSIBLE_RUN", format!("{}:7", bench.store()))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn the_death_of_promansible_ends_the_tree() {
    let bench = Bench::with_script("");
    let mut child = supervisor(&bench, STUBBORN);
    bench.wait_for("started").await;
    // The kernel closes it when promansible is killed.
    drop(child.stdin.take());
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(begin.elapsed() < PATIENCE, "the supervisor goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(status.code(), Some(128 + 9));
    bench.assert_nothing_left();
}

#[tokio::test]
async fn a_sweep_ends_what_both_left_behind() {
    let bench = Bench::with_script("");
    let mut child = supervisor(&bench, STUBBORN);
    bench.wait_for("started").await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!bench.processes().is_empty());
    assert_eq!(
        sweep("another-store", &bench.path("nowhere"))
            .unwrap()
            .processes
            .len(),
        0
    );
    assert!(
        !bench.processes().is_empty(),
        "another store's sweep must not touch ours"
    );

    bench.write("runs/not-ours/file", "x");
    let swept = sweep(&bench.store(), &bench.runs_dir()).unwrap();
    assert!(swept.processes.len() >= 3, "{swept:?}");
    assert!(swept.survivors.is_empty(), "{swept:?}");
    assert_eq!(swept.folders, 1);
    assert!(bench.path("runs/not-ours/file").exists());
    std::fs::remove_dir_all(bench.path("runs/not-ours")).unwrap();
    bench.assert_nothing_left();
    let again = sweep(&bench.store(), &bench.runs_dir()).unwrap();
    assert_eq!(again.processes.len(), 0);
}

/// Leaves a process behind without our mark, as sudo does, that does not care about TERM; its parent has the mark.
const UNMARKED: &str = r#"env -i bash -c 'trap "" TERM; echo $$ >"$0/unmarked"; touch "$0/started"; while :; do sleep 0.2; done' "$1"
true
"#;

fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

#[tokio::test]
async fn a_sweep_does_not_forget_what_it_found() {
    let bench = Bench::with_script("");
    let mut child = supervisor(&bench, UNMARKED);
    bench.wait_for("started").await;
    let unmarked = std::fs::read_to_string(bench.out("unmarked")).unwrap();
    let unmarked: i32 = unmarked.trim().parse().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(lives(unmarked));
    let swept = sweep(&bench.store(), &bench.runs_dir()).unwrap();
    assert!(swept.processes.contains(&unmarked), "{swept:?}");
    assert!(swept.survivors.is_empty() && !lives(unmarked), "{swept:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_role_leaves_behind_is_named() {
    let bench = Bench::with_script("setsid sleep 300 & sleep 0.3; exit 0");
    let told = bench.run(&["web1"]).await;
    let text = told.text();
    assert!(
        text.contains(
            "promansible: the roles left processes on this machine, which end with the run: sleep ("
        ),
        "{text}"
    );
}

#[tokio::test]
async fn signals_that_we_ignore_are_heard_by_the_program() {
    let bench = Bench::with_script("");
    bench.write("runs/7/x", "");
    // Started from a script's background without job control, INT and QUIT are ignored.
    bench.write(
        "out/start.sh",
        "trap '' INT QUIT TERM\nexec \"$1\" supervise --grace=20000 --dir \"$2\" -- sh -c 'grep SigIgn /proc/self/status > \"$0/ignored\"' \"$3\"\n",
    );
    #[allow(clippy::disallowed_methods)] // stands in for promansible
    let status = Command::new("bash")
        .arg(bench.out("start.sh"))
        .arg(env!("CARGO_BIN_EXE_promansible"))
        .args([bench.runs_dir().join("7"), bench.path("out")])
        .stdin(Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            let _held = child.stdin.take();
            child.wait()
        })
        .unwrap();
    assert_eq!(status.code(), Some(0));
    let text = std::fs::read_to_string(bench.out("ignored")).unwrap();
    let ignored = u64::from_str_radix(text.trim().rsplit('\t').next().unwrap(), 16).unwrap();
    for signal in [
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGPIPE,
    ] {
        assert_eq!(
            ignored & 1 << (signal as i32 - 1),
            0,
            "{signal} is ignored: {text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_says_nothing_has_failed() {
    let bench = Bench::with_script("exit 0");
    let told = bench.run(&["web1"]).await;
    assert!(told.events.is_empty() && told.output.is_empty());
    let judged = told.judged(None);
    assert_eq!(judged.outcome, Outcome::Failed);
    assert_eq!(
        judged.message.as_deref(),
        Some("Ansible reported nothing for this host (exit code 0)")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_is_counted_and_changes_nothing() {
    let bench = Bench::with_script(
        r#"exec 3>"$PROMANSIBLE_EVENTS"
echo 'not json' >&3
echo '{"event":"task","host":"web9","task":"t","action":"a","status":"ok"}' >&3
head -c 200000 /dev/zero | tr '\0' x >&3; echo >&3
echo '{"event":"from the future","host":1}' >&3
echo '{"event":"stats","hosts":{"web2":{"ok":1,"end":"reached"}}}' >&3
echo '{"event":"stats","hosts":{"web1":{"ok":1,"end":"reached"},"web9":{"ok":1}}}' >&3
printf '{"half' >&3
exit 0"#,
    );
    let told = bench.run(&["web1", "web2"]).await;
    // Text, a stranger's task, a line that is too long, a stranger's statistics, half a line.
    assert_eq!(told.ending.junk_lines, 5);
    // The statistics came in two parts.
    assert_eq!(told.events.len(), 2);
    assert_eq!(told.judged(None).outcome, Outcome::Successful);
}

const FLOOD: &str = "head -c 100M /dev/zero | tr '\\0' x";

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_arrives_whole_in_bounded_pieces() {
    let bench = Bench::with_script(FLOOD);
    let mut started = bench.start(&["web1"]);
    let (mut bytes, mut largest) = (0, 0);
    let mut ending = None;
    while let Some(progress) = started.progress.recv().await {
        match progress {
            Progress::Output(piece) => {
                bytes += piece.len();
                largest = largest.max(piece.len());
            }
            Progress::Ended(end) => ending = Some(end),
            Progress::Event(event) => panic!("{event:?}"),
        }
    }
    assert_eq!(bytes, 100 << 20);
    assert!(largest <= 64 << 10, "{largest}");
    assert_eq!(ending.unwrap().lost_bytes, 0);
    bench.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_sleeps_does_not_hold_up_a_stop() {
    let bench = Bench::with_script(&format!("trap '' INT TERM; {FLOOD}; sleep 300"));
    let started = bench.start(&["web1"]);
    // Nobody reads: the queue and the pipe fill up, and the program waits.
    tokio::time::sleep(Duration::from_secs(1)).await;
    started.stop.now();
    bench.wait_for_the_end().await;
    let told = bench.finish(started, &["web1"]).await;
    assert!(told.ending.lost_bytes > 0);
    assert_eq!(
        told.judged(Some(Cause::Interrupted)).outcome,
        Outcome::Interrupted
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_nobody_follows_is_ended() {
    let bench = Bench::with_script("sleep 300");
    let started = bench.start(&["web1"]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!bench.processes().is_empty());
    drop(started);
    bench.wait_for_the_end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stop_may_come_at_once_and_the_handles_may_be_gone() {
    let bench = Bench::with_script("sleep 300");
    let started = bench.start(&["web1"]);
    started.stop.now();
    bench.finish(started, &["web1"]).await;

    // Without any handle left a run comes to its own end.
    let bench = Bench::with_script("echo hello; exit 3");
    let mut started = bench.start(&["web1"]);
    drop(started.stop);
    let mut last = None;
    while let Some(progress) = started.progress.recv().await {
        last = Some(progress);
    }
    assert!(matches!(last, Some(Progress::Ended(ending)) if ending.code == Some(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_of_events_that_never_comes_or_goes_holds_up_nothing() {
    // Opens the FIFO, says one thing, and keeps it open in a process that outlives the program.
    let bench = Bench::with_script(
        "exec 3>\"$PROMANSIBLE_EVENTS\"\necho '{\"event\":\"no_hosts_matched\"}' >&3\nsetsid sleep 300 &\nexit 1",
    );
    let told = bench.run(&["web1"]).await;
    assert_eq!(told.events, [Event::NoHostsMatched]);
    assert_eq!(told.ending.code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inventory_that_fails_says_why_and_leaves_nothing() {
    let bench =
        Bench::with_script("for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; sleep 300 & exit 4");
    let error = bench.ansible().list().await.unwrap_err();
    assert!(
        matches!(&error, ListError::Failed { code: 4, stderr } if stderr.starts_with("line 3\n") && stderr.ends_with("line 7")),
        "{error}"
    );
    bench.assert_nothing_left();

    let bench = Bench::with_script("yes");
    assert!(matches!(
        bench.ansible().list().await.unwrap_err(),
        ListError::TooLarge
    ));
    bench.assert_nothing_left();
}
