//! The binary, run to its end.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::PATIENCE;

pub fn promansible() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_promansible"));
    command
        .env_remove("PROMANSIBLE_SERVER_URL")
        .env("COLUMNS", "100");
    command
}

/// Runs a command to its end, but not for ever.
pub fn run(command: &mut Command) -> Output {
    run_with(command, b"")
}

pub fn run_with(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}", command.get_program().display()));
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let done = Arc::new(Mutex::new(false));
    let watched = Arc::clone(&done);
    let watch = std::thread::spawn(move || {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
            if *watched.lock().unwrap() {
                return;
            }
        }
        let _ = kill(pid, Signal::SIGKILL);
    });
    // Who does not read its input is free not to.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    *done.lock().unwrap() = true;
    watch.join().unwrap();
    assert_eq!(output.status.signal(), None, "killed: {output:?}");
    output
}
