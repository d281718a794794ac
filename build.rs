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
    for file in ["HEAD", "index"] {
        let path = ask("git", &["rev-parse", "--git-path", file]);
        if std::path::Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
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
