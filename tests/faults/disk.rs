//! Disks that cannot be written to.

use std::fs;
use std::process::Command;

use crate::support::{Site, alert, run};

/// Root may write to everything but a mount that is read-only, which only root can make: in a namespace of its own.
fn on_a_read_only_mount(site: &Site) -> Option<(i32, String)> {
    let data = site.path("data");
    let inner = site.command();
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--", "sh", "-c"])
        .arg(
            "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" || exit 99; exec \"$@\"",
        )
        .arg(data)
        .arg(inner.get_program())
        .args(inner.get_args());
    let output = run(&mut command);
    let error = String::from_utf8(output.stderr).unwrap();
    match output.status.code() {
        Some(99) => None,
        None if error.contains("unshare") => None,
        code if error.starts_with("unshare:") => {
            assert_ne!(code, Some(0));
            None
        }
        code => Some((code.expect("it was not killed"), error)),
    }
}

#[test]
fn a_store_on_a_read_only_disk_is_refused_with_a_sentence() {
    let site = Site::new();
    let server = site.start();
    server.deliver(&[alert("A", "web1")]);
    server.wait_run(1, "finished");
    assert!(server.stop().success());
    let before = fs::read(site.store()).unwrap();
    for case in ["the file", "the folder alone"] {
        if case == "the folder alone" {
            fs::rename(site.store(), site.path("kept")).unwrap();
        }
        let Some((code, error)) = on_a_read_only_mount(&site) else {
            eprintln!("left out: no read-only mount can be made here");
            return;
        };
        assert_eq!(code, 1, "{case}: {error}");
        assert!(error.contains("data/store.redb"), "{case}: {error}");
        assert!(error.contains("Read-only file system"), "{case}: {error}");
        assert!(!error.contains("panicked"), "{case}: {error}");
    }
    assert!(before == fs::read(site.path("kept")).unwrap());
}
