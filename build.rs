//! Tells the program which revision and compiler it was built from.

// A build script is no part of the product: it may ask git and rustc.
#![allow(clippy::disallowed_methods)]

use std::process::Command;

fn main() {
    let revision = ask("git", &["rev-parse", "--short=12", "HEAD"]);
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = ask(&rustc, &["--version"]);
    let version = version.split(' ').nth(1).unwrap_or("unknown");
    println!("cargo::rustc-env=PROMANSIBLE_REVISION={revision}");
    println!("cargo::rustc-env=PROMANSIBLE_RUSTC={version}");
    println!("cargo::rerun-if-changed=build.rs");
    // A development build may name an older revision: to compile everything anew after each commit costs more than that.
    // Nothing watches git's index, which `git status` alone touches.
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        for path in revision_files() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

/// Returns the files that change when another revision is checked out or committed.
fn revision_files() -> Vec<String> {
    let branch = ask("git", &["symbolic-ref", "--quiet", "HEAD"]);
    let files = ["HEAD", branch.as_str(), "packed-refs"];
    let paths = files.map(|file| ask("git", &["rev-parse", "--git-path", file]));
    paths
        .into_iter()
        .filter(|path| std::path::Path::new(path).is_file())
        .collect()
}

fn ask(program: &str, args: &[&str]) -> String {
    Command::new(program)
        .args(args)
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}
